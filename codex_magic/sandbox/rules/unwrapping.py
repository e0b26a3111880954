"""Every command within a command, followed through wrappers, shells and ``find -exec``.

Nothing is run or looked up. What a script, a module or an interpreter's text does is not looked at;
where a command cannot be followed, the reason is kept beside what can be seen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.rules.matching import VALUES, is_option, names_of, next_words
from codex_magic.sandbox.rules.shelltext import Expanded, Unreadable, objection, survey
from codex_magic.sandbox.rules.shelltext.values import SHELLS
from codex_magic.sandbox.rules.wrappers import WRAPPERS, behind

if TYPE_CHECKING:
    from collections.abc import Sequence

DEEPEST: Final = 8
MOST: Final = 2_000

EXECUTING: Final = frozenset(("-exec", "-execdir", "-ok", "-okdir"))
RUNNERS: Final = frozenset(("uv", "poetry", "pipenv", "pdm", "hatch", "rye", "conda", "mamba"))
# Shell words that read a script into the shell itself, where it may change what the words behind
# it mean.
SOURCES: Final = frozenset(("source", "."))
ACTIVATE: Final = "/bin/activate"
"""What is sourced all the time: it sets PATH, and commands cannot write it in an environment."""

# What starts a program it is given, but does more, or has options that are not known here.
NOT_FOLLOWED: Final = frozenset(
    (
        *("parallel", "watch", "entr", "script", "flock", "expect", "tmux", "screen", "unshare"),
        *("nsenter", "setpriv", "capsh", "strace", "ltrace", "gdb", "su", "runuser", "xonsh"),
        *("systemd-run", "fish", "csh", "tcsh", "pwsh", "nu", "start-stop-daemon", "setarch"),
        *("chroot", "chrt", "taskset", "toybox", "prlimit", "valgrind", "fakeroot", "rlwrap"),
        *("runcon", "faketime", "xvfb-run", "dbus-run-session", "bwrap", "firejail", "proot"),
        *("unbuffer", "caffeinate", "choom", "numactl", "cgexec", "sg", "eatmydata", "hyperfine"),
        *(
            "linux32",
            "linux64",
            "perf",
            "lldb",
            "rr",
            "cpulimit",
            "chpst",
            "ssh-agent",
            "run-parts",
        ),
        *("proxychains", "torsocks", "torify", "mpirun", "mpiexec", "srun"),
    )
)
# The dynamic loader runs the program that it is given.
LOADER: Final = re.compile(r"ld(?:64|-linux.*|-musl.*|-\d.*)?\.so(?:\.\d+)*", re.DOTALL)
STANDARD_INPUT: Final = re.compile(r"-|/dev/(?:stdin|fd/.*)|/proc/.*/fd/.*")
# Settings of git that people set for one command and that start nothing.
QUIET_SETTING: Final = re.compile(
    r"(?:user|color|advice)\.|core\.(?:quotepath|autocrlf)=|core\.pager=(?:cat)?\Z"
    r"|safe\.directory=|init\.defaultbranch=|commit\.gpgsign=false\Z",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Part:
    """One command within another; an `incidental` one needs no rule that allows it."""

    argv: tuple[str, ...]
    incidental: bool = False


@dataclass(slots=True)
class Parts:
    """The parts of a command, what cannot be seen through, and whether its text writes files."""

    found: list[Part] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)
    writes: bool = False


def take_apart(command: Sequence[str] | str) -> Parts:
    """Return the parts of `command`, a text for a shell or the words of a program."""
    parts = Parts()
    try:
        if isinstance(command, str):
            _shell_text(command, parts, 0)
        elif command:
            _unwrap(tuple(command), parts, 0)
    except Unreadable as error:
        parts.unclear.append(error.reason)
    return parts


def programs(command: Sequence[str] | str) -> list[list[str]]:
    """Return every command within `command` that can be seen, the wrappers themselves included."""
    return [list(part.argv) for part in take_apart(command).found]


def wraps(argv: Sequence[str]) -> bool:
    """Return whether `argv` only starts another command, which `programs` lists beside it."""
    return any(part.incidental for part in take_apart(argv).found[:1])


def _shell_text(text: str, parts: Parts, depth: int) -> None:
    reading = survey(text)
    for command in reading.commands:
        _unwrap(command, parts, depth)
    parts.writes |= bool(reading.writes)
    if reading.unclear:
        parts.unclear.append(reading.unclear)


def _unwrap(argv: tuple[str, ...], parts: Parts, depth: int, *, incidental: bool = False) -> None:
    """Note `argv` and what it starts."""
    if depth > DEEPEST or len(parts.found) >= MOST:
        raise Unreadable("commands stand too deep within each other")
    place = len(parts.found)
    parts.found.append(Part(argv, incidental))
    try:
        if _inner(argv, parts, depth + 1):
            parts.found[place] = Part(argv, incidental=True)
    except Unreadable as error:
        parts.unclear.append(error.reason)


def _inner(argv: tuple[str, ...], parts: Parts, depth: int) -> bool:
    """Note what `argv` starts; return whether starting it is all that `argv` does."""
    names = names_of(argv[0])
    if reason := objection(argv):
        parts.unclear.append(reason)
    if wrapper := next((WRAPPERS[name] for name in sorted(names) if name in WRAPPERS), None):
        inner = behind(argv, wrapper, names)
        if inner:
            _unwrap(inner, parts, depth)
        return bool(inner) and not wrapper.itself
    if names & SHELLS:
        return _shell(argv, names, parts, depth)
    if argv[0] in SOURCES and not _activates(argv):
        parts.unclear.append(f"what {argv[0]} reads into the shell is not followed")
    if names & NOT_FOLLOWED or any(map(LOADER.fullmatch, names)):
        parts.unclear.append(f"what {argv[0]} starts is not followed")
    if "git" in names:
        _git(argv[1:], parts)
    for inner in _found(argv, names):
        _unwrap(inner, parts, depth)
    for inner in _beside(argv, names):
        _unwrap(inner, parts, depth, incidental=True)
    return False


def _found(argv: tuple[str, ...], names: set[str]) -> list[tuple[str, ...]]:
    """Return the commands that ``find`` is told to run."""
    if names & {"fd", "fdfind"} and any(re.match(r"-\w*[xX]|--exec", word) for word in argv[1:]):
        raise Unreadable(f"what {argv[0]} starts is not followed")
    if not names & {"find", "gfind"}:
        return []
    commands: list[tuple[str, ...]] = []
    words: list[str] | None = None
    for word in argv[1:]:
        if words is None:
            words = [] if word in EXECUTING else None
        elif word == ";" or (word == "+" and words[-1:] == ["{}"]):
            commands.append(tuple(words))
            words = None
        else:
            words.append(Expanded(word) if "{}" in word else word)
    return [command for command in (*commands, tuple(words or ())) if command]


def _beside(argv: tuple[str, ...], names: set[str]) -> list[tuple[str, ...]]:
    """Return what ``python -m MODULE`` and ``uv run PROGRAM`` also are."""
    if names & {"python", "pypy"}:
        return _module(argv)
    if names & RUNNERS:
        behind_run = {at + 1 for at in next_words(argv, {1}) if argv[at] == "run"}
        return [argv[at:] for at in next_words(argv, behind_run)]
    return []


def _module(argv: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Return the module that ``python -m`` runs, as if it were a program."""
    for at, word in enumerate(argv[1:], start=1):
        if found := re.fullmatch(r"-[bBdEhiIOPqsSuvVx]*m(.*)", word, re.DOTALL):
            module = (found[1], *argv[at + 1 :]) if found[1] else argv[at + 1 :]
            return [module] if module else []
        if not is_option(word) and argv[at - 1] not in {"-W", "-X"}:
            break
    return []


def _activates(argv: Sequence[str]) -> bool:
    """Return whether what is sourced is the start of a virtual environment, by its plain name."""
    named = argv[1:2]
    return any(word.endswith(ACTIVATE) and not isinstance(word, Expanded) for word in named)


def _shell(argv: tuple[str, ...], names: set[str], parts: Parts, depth: int) -> bool:
    """Note what a shell is told to run; return whether it is told here."""
    if {"--version", "--help"} & set(argv[1:2]):
        return False
    told, rest = _told(argv)
    if not rest:
        raise Unreadable(f"{argv[0]} reads its commands from its input")
    text = rest[0]
    if isinstance(text, Expanded) or (not told and STANDARD_INPUT.fullmatch(text)):
        raise Unreadable(f"what {argv[0]} runs cannot be told")
    if told:
        _shell_text(text, parts, depth)
        if "zsh" in names and "#" in text:
            raise Unreadable("zsh may not take this for a comment")
    return told


def _told(argv: tuple[str, ...]) -> tuple[bool, tuple[str, ...]]:
    """Return whether a shell has ``-c``, and the words behind its options."""
    at, told = 1, False
    while at < len(argv) and len(argv[at]) > 1 and argv[at].startswith(("-", "+")):
        word = argv[at]
        at += 1
        if word == "--":
            break
        short = "" if word.startswith("--") else word
        if isinstance(word, Expanded) or "s" in short or word in {"--rcfile", "--init-file"}:
            raise Unreadable(f"what {argv[0]} runs cannot be told")
        told |= short.startswith("-") and "c" in short
        at += sum(letter in "oO" for letter in short)
    return told, argv[at:]


def _git(arguments: tuple[str, ...], parts: Parts) -> None:
    """Note the settings on git's own command line that may run another program."""
    at = 0
    while at < len(arguments) and is_option(arguments[at]):
        word = arguments[at]
        setting = word == "-c" and not QUIET_SETTING.match("".join(arguments[at + 1 : at + 2]))
        if setting or word.startswith(("--config-env", "--exec-path=")):
            parts.unclear.append(f"git {word.partition('=')[0]} may run another program")
        at += 2 if word in VALUES["git"] else 1
