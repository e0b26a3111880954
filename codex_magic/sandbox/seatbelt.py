"""From a policy to the arguments of macOS's ``sandbox-exec``.

Not yet run on macOS: the profile is tested as text, by an interpreter of the few forms it uses.

Pure, as `bwrap` is: a `Machine` comes in, a profile in Seatbelt's language goes out. Its paths
are parameters, never part of the text, so no name of a file can end a string and begin a rule.
They are absolute and free of symbolic links: the kernel compares real paths, ``/private/tmp``
and not ``/tmp``.

The order of the rules is the policy, as of two that match the later one holds: first what may be
read, then the masks, then the few folders under a mask that must be seen all the same, then what
may be written, and at last what stays as it is. Seatbelt gives no namespaces: processes outside can
be seen in part, limits and the end of all processes are the runner's work, and temporary folders
are shared, so a command gets one of its own to write in.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.bwrap import outermost, roots, within_any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import PurePath

    from codex_magic.policy import SandboxPolicy
    from codex_magic.sandbox.bwrap import Machine

SANDBOX_EXEC: Final = "/usr/bin/sandbox-exec"
# A shell of its own goes to the folder, so that a command cannot start in one it may not see.
START: Final = ("/bin/sh", "-c", 'cd -- "$0" && exec "$@"')

_BASE: Final = """\
(version 1)
(deny default)
(allow process-exec)
(allow process-fork)
(allow process-info* (target same-sandbox))
(allow signal (target same-sandbox))
(allow sysctl-read)
(allow ipc-posix-sem)
(allow mach-lookup
  (global-name "com.apple.system.logger")
  (global-name "com.apple.system.notification_center")
  (global-name "com.apple.system.opendirectoryd.libinfo"))
"""
# Programs, their libraries, and the devices that any of them may open.
_SYSTEM: Final = """\
(allow file-read*
  (literal "/")
  (subpath "/System")
  (subpath "/Library/Apple")
  (subpath "/Library/Developer")
  (subpath "/Library/Frameworks")
  (subpath "/usr")
  (subpath "/bin")
  (subpath "/sbin")
  (subpath "/opt")
  (subpath "/private/etc")
  (subpath "/private/var/db/dyld")
  (subpath "/private/var/db/timezone")
  (subpath "/private/var/select")
  (literal "/etc")
  (literal "/tmp")
  (literal "/var")
  (literal "/dev/null")
  (literal "/dev/random")
  (literal "/dev/urandom")
  (literal "/dev/zero")
  (subpath "/dev/fd"))
"""
_DEVICES: Final = """\
(allow file-write-data
  (literal "/dev/null")
  (literal "/dev/zero")
  (subpath "/dev/fd"))
"""
_NETWORK: Final = """\
(allow system-socket)
(allow network-bind (local ip))
(allow network-inbound (local ip))
(allow network-outbound (remote ip))
(allow network-outbound (literal "/private/var/run/mDNSResponder"))
(allow mach-lookup
  (global-name "com.apple.SystemConfiguration.configd")
  (global-name "com.apple.dnssd.service")
  (global-name "com.apple.trustd.agent"))
"""


_MEANINGFUL: Final = frozenset("\\.^$*+?()[]{}|")


@dataclass(frozen=True, slots=True)
class Profile:
    """A text of rules and the values of the parameters it names."""

    text: str
    parameters: tuple[tuple[str, str], ...]


def arguments(  # noqa: PLR0913 - these are what a confined command is made of
    policy: SandboxPolicy,
    machine: Machine,
    command: Sequence[str],
    cwd: PurePath | str,
    *,
    scratch: PurePath | str,
    steering: Sequence[str],
) -> list[str]:
    """Return the whole line that runs `command` in `cwd` confined to `policy`.

    The caller gives it the command's environment: ``sandbox-exec`` is a program of the system, to
    which the loader's variables mean nothing. `profile` explains the other parameters.
    """
    made = profile(policy, machine, scratch=scratch, steering=steering)
    values = (word for name, value in made.parameters for word in ("-D", f"{name}={value}"))
    return [SANDBOX_EXEC, "-p", made.text, *values, "--", *START, str(cwd), *command]


def profile(
    policy: SandboxPolicy, machine: Machine, *, scratch: PurePath | str, steering: Sequence[str]
) -> Profile:
    """Return the profile that confines a command to `policy`.

    Parameters
    ----------
    scratch
        A new folder for this command alone: its temporary folder and its home.
    steering
        Names that may not be made at the top of a writable folder, in letters of any case; a star
        stands for any letters.
    """
    made = _Draft()
    own = (*roots(policy), str(scratch))
    _let_read(made, policy, machine, own)
    writable = outermost(own if policy.mode == "workspace-write" else own[-1:])
    made.rule("allow file-write*", "subpath", "WRITABLE", writable)
    made.say("(deny file-write-setugid)\n")
    guarded = sorted({*machine.protected, *map(str, policy.protected)})
    if policy.mode == "workspace-write":
        tops = [_names(folder, steering) for folder in roots(policy) if steering]
        made.rule("deny file-write*", "regex", "STEERING", tops)
        unprotected = sorted(map(str, policy.unprotected))
        made.rule("allow file-write*", "subpath", "UNPROTECTED", unprotected)
    # A path covers itself and all below it, whether anything is there yet or not.
    made.rule("deny file-write*", "subpath", "PROTECTED", guarded)
    # Under another name, or in a folder of another name, no rule would know a thing again.
    wanted = (*machine.hidden, *machine.hidden_files)
    secret = sorted({*machine.secret, *machine.secret_files, *wanted})
    pinned = {*own, *guarded, *secret}
    moved = [path for path in sorted({*_above(pinned), *pinned}) if within_any(path, writable)]
    made.rule("deny file-write-unlink", "literal", "PINNED", moved)
    _let_talk(made, policy, writable)
    made.rule("deny file-read* file-write*", "subpath", "SECRET", secret)
    return Profile("".join(made.text), tuple(made.parameters))


def _let_read(made: _Draft, policy: SandboxPolicy, machine: Machine, own: tuple[str, ...]) -> None:
    shown = [place for pair in machine.python for place in pair]
    shown += [*map(str, policy.shown), *own]
    made.say(_BASE)
    made.say("(allow file-read*)\n" if policy.readable == "all" else _SYSTEM)
    masks = outermost((*machine.scratch, *machine.covered))
    made.rule("deny file-read*", "subpath", "MASK", masks)
    made.rule("allow file-read*", "subpath", "SHOWN", outermost(shown))
    # To reach a folder is to ask what those above it are.
    made.rule("allow file-read-metadata", "literal", "WAY", _above(shown))
    made.say(_DEVICES)


def _let_talk(made: _Draft, policy: SandboxPolicy, writable: Sequence[str]) -> None:
    if policy.network:
        made.say(_NETWORK)
    if policy.unix_sockets:
        # Only those in folders of its own: others would be ways out.
        made.rule("allow network-bind network-outbound", "subpath", "SOCKETS", writable)


@dataclass(slots=True)
class _Draft:
    text: list[str] = field(default_factory=list)
    parameters: list[tuple[str, str]] = field(default_factory=list)

    def say(self, text: str) -> None:
        self.text.append(text)

    def rule(self, action: str, kind: str, name: str, values: Iterable[str]) -> None:
        """Add a rule for all `values`; none where there are none: it would hold for everything."""
        names = []
        for at, value in enumerate(values):
            names.append(f"{name}_{at}")
            self.parameters.append((names[-1], value))
        if names:
            filters = "".join(f'\n  ({kind} (param "{name}"))' for name in names)
            self.say(f"({action}{filters})\n")


def _above(paths: Iterable[str]) -> list[str]:
    """Return the folders that hold `paths`, outermost first."""
    found = {path[:end] or "/" for path in paths for end, char in enumerate(path) if char == "/"}
    return sorted(found, key=lambda path: (path.count("/"), path))


def _names(folder: str, names: Sequence[str]) -> str:
    """Return a regular expression for entries of `folder` under `names`, and all below them."""
    words = "|".join("".join(_letters(name)) for name in names)
    return f"^{''.join(map(_literally, folder.rstrip('/')))}/({words})(/|$)"


def _letters(name: str) -> Iterator[str]:
    """Yield what matches `name` in letters of any case: to macOS these are the same file."""
    for char in name:
        if char == "*":
            yield "[^/]*"
        elif char.isascii() and char.isalpha():
            yield f"[{char.upper()}{char.lower()}]"
        else:
            yield _literally(char)


def _literally(char: str) -> str:
    return f"\\{char}" if char in _MEANINGFUL else char
