"""A credential in a file of another machine, read with the system's own ssh.

Keys, agent, aliases and which hosts are known stay the person's: nothing of their configuration is
overruled but what would ask a question that nobody can answer, or open more than is needed.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic.auth import program
from codex_magic.auth.command import last_line
from codex_magic.errors import BackendError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

TIMEOUT_S: Final = 30.0
CONNECT_S: Final = 15
FILE: Final = "~/.codex/auth.json"
_ASK: Final = "CODEX_MAGIC_ASKED_AT"

# No first character that ssh would take for an option, none that a shell would obey.
_PLACE: Final = re.compile(
    r"(?P<target>(?:[A-Za-z0-9_][\w.+-]*@)?"
    r"(?:(?P<name>[A-Za-z0-9_][\w.-]*)|\[(?P<address>[0-9A-Fa-f:.]+(?:%\w+)?)\]))"
    r"(?::(?P<port>[0-9]{1,5}))?",
    re.ASCII,
)

_OPTIONS: Final = (
    f"ConnectTimeout={CONNECT_S}",
    "NumberOfPasswordPrompts=1",
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RequestTTY=no",
)

# It answers with the password when asked for one, and with nothing when asked about a host's key.
_HELPER: Final = f"""#!/bin/sh
case "$1" in
  *yes/no*) exit 1 ;;
  *assword*) IFS= read -r answer < "${_ASK}" && printf '%s\\n' "$answer" ;;
  *) exit 1 ;;
esac
"""


@dataclass(frozen=True, slots=True)
class Remote:
    """A machine: what ssh calls it, and its port where that is said."""

    target: str
    port: str = ""


def remote(host: str) -> Remote:
    """Return the machine that ``user@host:port`` names.

    Raises
    ------
    SetupError
        It names none.
    """
    found = _PLACE.fullmatch(host)
    if found is None:
        raise SetupError(
            "the host to fetch the credential from is not of the form user@host:port",
            hint="Correct CODEX_MAGIC_TOKEN_HOST",
        )
    target = found["target"].replace("[", "").replace("]", "")
    return Remote(target, found["port"] or "")


def fetch(host: str, file: str | None, password: str | None, environ: Mapping[str, str]) -> bytes:
    """Return the content of a file of `host`.

    Raises
    ------
    SetupError
        There is no such file, or `host` lets nobody in.
    BackendError
        `host` cannot be reached.
    """
    where = remote(host)
    if (ssh := _program(environ)) is None:
        raise SetupError("there is no ssh on this machine", hint="Install an OpenSSH client")
    with _asking(password, environ) as given:
        argv = [ssh, *_words(where, file or FILE, is_silent=not password)]
        ran = program.run(argv, given, TIMEOUT_S)
    if ran.code:
        raise _failure(where, file or FILE, ran, environ, password or "")
    return ran.printed


def _program(environ: Mapping[str, str]) -> str | None:
    # Not from a relative entry: it would let the folder of a notebook choose the program.
    folders = [
        path for path in environ.get("PATH", "").split(os.pathsep) if Path(path).is_absolute()
    ]
    return shutil.which("ssh", path=os.pathsep.join(folders))


def _words(where: Remote, file: str, *, is_silent: bool) -> list[str]:
    options = [f"BatchMode={'yes' if is_silent else 'no'}", *_OPTIONS]
    flags = [word for option in options for word in ("-o", option)]
    port = ["-p", where.port] if where.port else []
    return ["-T", *flags, *port, "--", where.target, f"cat -- {_quoted(file)}"]


def _quoted(file: str) -> str:
    """Return a file's name for the shell over there, which knows where its ``~`` is."""
    home, slash, rest = file.partition("/")
    return f"~/{shlex.quote(rest)}" if home == "~" and slash else shlex.quote(file)


@contextlib.contextmanager
def _asking(password: str | None, environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Give the environment of an ssh that is told `password` when it asks for one.

    It passes through a pipe with a name, in a folder that only its owner can enter: ssh closes what
    it inherits, and words and environments are not private.
    """
    kept = {name: value for name, value in environ.items() if not password or value != password}
    if not password:
        yield kept
        return
    with tempfile.TemporaryDirectory(prefix="codex-magic-") as folder:
        helper, pipe = Path(folder, "answer"), Path(folder, "asked")
        helper.touch(0o700)
        helper.write_text(_HELPER)
        os.mkfifo(pipe, 0o600)
        handle = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            os.write(handle, f"{password}\n".encode())
            asked = {"SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force", _ASK: str(pipe)}
            yield {"DISPLAY": ":0", **kept, **asked}  # older ones ask a helper only with a display
        finally:
            os.close(handle)


def _failure(
    where: Remote, file: str, ran: program.Ran, environ: Mapping[str, str], password: str
) -> SetupError | BackendError:
    said, named = ran.complaint, where.target
    typed = shlex.join(["ssh", *(["-p", where.port] if where.port else []), where.target])
    if "IDENTIFICATION HAS CHANGED" in said:
        return SetupError(
            f"{named} shows another key than before: it may be another machine",
            hint="Ask whoever runs it; nothing was sent",
        )
    if "Host key verification failed" in said:
        return SetupError(
            f"{named} is a host that this machine does not know yet",
            hint=f"Type `{typed}` in a terminal once, and compare the key it shows",
        )
    if "Permission denied" in said and ran.code == _SSH_FAILED:
        return SetupError(
            f"{named} does not let us in",
            hint=f"Let `{typed}` work without a question, or set CODEX_MAGIC_TOKEN_PASSWORD",
        )
    if ran.code != _SSH_FAILED:
        return SetupError(
            f"{named} does not give {file}{last_line(said, environ, password)}",
            hint="Sign in over there, or set CODEX_MAGIC_TOKEN_FILE to its file",
        )
    return BackendError(
        f"{named} cannot be reached{last_line(said, environ, password)}",
        hint=f"Try `{typed}` in a terminal",
    )


_SSH_FAILED: Final = 255
