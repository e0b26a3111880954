"""In which files sign-ins are kept, ours and Codex's."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic import folder
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)


def ours(environ: Mapping[str, str], account: str | None) -> Path:
    """Return our own file for an account; None is the first one."""
    return _within(folder.data(environ), account)


def made(environ: Mapping[str, str], account: str | None) -> Path:
    """Return the same, in a folder that is there and open to its owner only."""
    path = _within(folder.make(environ), account)
    path.parent.mkdir(mode=folder.PRIVATE, exist_ok=True)
    return path


def codex(environ: Mapping[str, str]) -> Path:
    """Return Codex's home."""
    if named := environ.get("CODEX_HOME"):
        return Path(named)
    home = environ.get("HOME")
    return (Path(home) if home else Path.home()) / ".codex"


def codexs(environ: Mapping[str, str], account: str | None) -> Path:
    """Return Codex's file for an account."""
    return _within(codex(environ), account)


def check(account: str) -> None:
    """Pass what an account can be called.

    Raises
    ------
    SetupError
        It cannot.
    """
    if not _NAME.fullmatch(account):
        raise SetupError(
            "the name of an account has only letters, digits and . _ -, at most 64 of them",
            hint="Correct CODEX_MAGIC_ACCOUNT",
        )


def _within(home: Path, account: str | None) -> Path:
    if account is None:
        return home / folder.SIGN_IN
    check(account)
    return home / folder.ACCOUNTS / f"{account}.json"
