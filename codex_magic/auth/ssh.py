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
_WHO: Final = "CODEX_MAGIC_ASKED_BY"

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

# It answers with the password when the machine it is for asks for one: not when another machine on
# the way does, nor about a host's key. The second form is that of a question of the machine's own.
_HELPER: Final = f"""#!/bin/sh
case "$1" in
  *yes/no*) exit 1 ;;
  "${_WHO}'s password: " | "(${_WHO}) "*assword*) IFS= read -r answer < "${_ASK}" && printf '%s\\n' "$answer" ;;
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
    who = _who(ssh, where, password, environ) if password else ""
    with _asking(password, who, environ) as given:
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


def _who(ssh: str, where: Remote, password: str, environ: Mapping[str, str]) -> str:
    """Return what ssh calls `where` when it asks for a password there.

    Raises
    ------
    SetupError
        It cannot be told, or there is another machine on the way, which might ask as well.
    """
    argv = [ssh, "-G", *_port(where), "--", where.target]
    ran = program.run(argv, _without(password, environ), TIMEOUT_S)
    lines = (line.partition(" ") for line in ran.printed.decode(errors="replace").splitlines())
    said = {name.lower(): value.strip() for name, _, value in lines}
    for name in ("proxyjump", "proxycommand"):
        if said.get(name, "none") != "none":
            raise SetupError(
                f"a password is set, and {where.target} is reached through another machine,"
                " which could ask for it too",
                hint="Let a key open both, and unset CODEX_MAGIC_TOKEN_PASSWORD",
            )
    host = said.get("hostkeyalias") or said.get("hostname")
    if ran.code or not host or not said.get("user"):
        raise SetupError(
            f"this ssh does not say how it would ask for the password of {where.target}",
            hint="Let a key open it, and unset CODEX_MAGIC_TOKEN_PASSWORD",
        )
    return f"{said['user']}@{host}"


def _words(where: Remote, file: str, *, is_silent: bool) -> list[str]:
    # With a password to tell, nobody on the way: whatever ssh starts would inherit the helper.
    direct = () if is_silent else ("ProxyCommand=none",)
    options = [f"BatchMode={'yes' if is_silent else 'no'}", *direct, *_OPTIONS]
    flags = [word for option in options for word in ("-o", option)]
    return ["-T", *flags, *_port(where), "--", where.target, f"cat -- {_quoted(file)}"]


def _port(where: Remote) -> list[str]:
    return ["-p", where.port] if where.port else []


def _quoted(file: str) -> str:
    """Return a file's name for the shell over there, which knows where its ``~`` is."""
    home, slash, rest = file.partition("/")
    return f"~/{shlex.quote(rest)}" if home == "~" and slash else shlex.quote(file)


@contextlib.contextmanager
def _asking(password: str | None, who: str, environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Give the environment of an ssh that is told `password` when it asks for that of `who`.

    It passes through a pipe with a name, in a folder that only its owner can enter: ssh closes what
    it inherits, and words and environments are not private.
    """
    kept = _without(password, environ)
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
            asked = {"SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force"}
            # Older ones ask a helper only with a display.
            yield {"DISPLAY": ":0", **kept, **asked, _ASK: str(pipe), _WHO: who}
        finally:
            os.close(handle)


def _without(password: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environ.items() if not password or value != password}


def _failure(
    where: Remote, file: str, ran: program.Ran, environ: Mapping[str, str], password: str
) -> SetupError | BackendError:
    said, named = ran.complaint, where.target
    typed = shlex.join(["ssh", *_port(where), where.target])
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
