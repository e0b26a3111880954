"""Where our own data live: a folder of ours in the person's Jupyter data folder.

It knows the place and the names in it. What stands in the files is their modules' business.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

NAME: Final = "codex_magic"
AUDIT: Final = "audit.jsonl"
INDEX: Final = "index.json"
THREADS: Final = "threads"
SIGN_IN: Final = "auth.json"
ACCOUNTS: Final = "accounts"
PRIVATE: Final = 0o700


def data(environ: Mapping[str, str] | None = None) -> Path:
    """Return our data folder, which need not be there; asking makes nothing."""
    environ = os.environ if environ is None else environ
    if named := environ.get("JUPYTER_DATA_DIR"):
        return Path(named, NAME)
    from jupyter_core.paths import jupyter_data_dir  # noqa: PLC0415 - 50 ms, and seldom needed

    return Path(jupyter_data_dir(), NAME)


def make(environ: Mapping[str, str] | None = None) -> Path:
    """Return our data folder, made if it was missing, and open to its owner only.

    Raises
    ------
    SetupError
        It cannot be made, or it belongs to somebody else.
    """
    folder = data(environ)
    try:
        folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        if folder.stat().st_mode & 0o077:
            folder.chmod(PRIVATE)
    except OSError as error:
        raise SetupError(
            f"the folder {folder} cannot be used: {error.strerror}",
            hint=f"Make {shlex.quote(str(folder.parent))} a folder of yours,"
            " or set JUPYTER_DATA_DIR to one",
        ) from None
    return folder
