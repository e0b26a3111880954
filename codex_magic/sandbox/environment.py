"""The variables a command gets.

A confined command gets a list of harmless ones, made anew. A command with full access gets the
person's own, less those that hold secrets. Either way what the caller adds comes last.
"""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic import binary
from codex_magic.mask import is_secret

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PASSED: Final = (
    *("LANG", "LANGUAGE", "TZ", "VIRTUAL_ENV", "CONDA_PREFIX", "LC_ALL", "LC_CTYPE", "LC_COLLATE"),
    *("LC_MESSAGES", "LC_MONETARY", "LC_NUMERIC", "LC_TIME", "LC_PAPER", "LC_MEASUREMENT"),
)
QUIET: Final = {"PYTHONDONTWRITEBYTECODE": "1"}
"""Compiled modules that a command leaves would be put aside: they run in place of their source."""

SYSTEM_PATH: Final = ("/usr/local/bin", "/usr/bin", "/bin")


def confined(
    home: str,
    extra: Mapping[str, str],
    environ: Mapping[str, str] = os.environ,
    *,
    allowed: Iterable[str] = (),
) -> dict[str, str]:
    """Return the variables of a confined command whose home is `home`.

    Parameters
    ----------
    extra
        What the caller adds.
    allowed
        Names of variables that are passed on although they are not among the harmless ones.
    """
    passed = {name: environ[name] for name in (*PASSED, *allowed) if name in environ}
    own = [str(Path(sys.executable).parent)] if sys.executable else []
    tools = binary.bundled_tools()  # `rg`, which models are used to have
    codex = [str(tools)] if tools else []
    path = _joined((*own, str(Path(sys.prefix, "bin")), *SYSTEM_PATH, *codex))
    always = {"HOME": home, "USER": _user(), "PATH": path, "TERM": "dumb", **QUIET}
    return {**passed, **always, **extra}


def open_to_all(
    extra: Mapping[str, str], environ: Mapping[str, str] = os.environ
) -> dict[str, str]:
    """Return the person's variables, less those that hold secrets."""
    kept = {name: value for name, value in environ.items() if not is_secret(name, environ)}
    return {**kept, "TERM": "dumb", **extra}


def _joined(folders: Iterable[str]) -> str:
    return os.pathsep.join(dict.fromkeys(folders))


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        return str(os.getuid())
