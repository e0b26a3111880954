"""A credential that a program prints: whatever a person has that knows one."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from codex_magic.auth import program
from codex_magic.errors import SetupError
from codex_magic.mask import known_secrets, mask

if TYPE_CHECKING:
    from collections.abc import Mapping

TIMEOUT_S: Final = 30.0


def words(command: str) -> list[str]:
    """Return the program and its arguments, as a shell would part them.

    Raises
    ------
    SetupError
        There are none, or a quote is not closed.
    """
    try:
        argv = shlex.split(command)
    except ValueError as error:
        raise SetupError(
            f"the command that prints the credential cannot be read: {error}",
            hint="Correct CODEX_MAGIC_TOKEN_COMMAND",
        ) from None
    if not argv:
        raise SetupError(
            "no command is named that prints the credential", hint="Set CODEX_MAGIC_TOKEN_COMMAND"
        )
    return argv


def fetch(command: str, environ: Mapping[str, str]) -> bytes:
    """Return what `command` prints.

    Raises
    ------
    SetupError, BackendError
        As `program.run`; also where it ends with a failure.
    """
    argv = words(command)
    ran = program.run(argv, environ, TIMEOUT_S)
    if ran.code:
        # What it complained of is not told: it knows secrets that nobody here could mask.
        raise SetupError(
            f"{argv[0]} prints no credential, it ended with exit {ran.code}",
            hint="Type it in a terminal to see why",
        )
    return ran.printed


def last_line(complaint: str, environ: Mapping[str, str], *secrets: str) -> str:
    """Return the last thing a program complained of, to stand behind a sentence."""
    known = known_secrets(environ).union(filter(None, secrets))
    lines = [line.strip() for line in complaint.splitlines() if line.strip()]
    return f": {mask(lines[-1], known)[:200]}" if lines else ""
