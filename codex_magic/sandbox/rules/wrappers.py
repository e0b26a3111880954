"""The programs that only start another: where in their words that other one begins.

Their options are known here as far as they take a value; those that do more than that, as
``env -S TEXT``, are not followed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.rules.matching import is_option
from codex_magic.sandbox.rules.shelltext import Expanded, Unreadable, steers

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Wrapper:
    """How a program that starts another is written.

    Parameters
    ----------
    values
        Its options that take the next word.
    words
        How many words of its own stand before the other program.
    variables
        Whether variables may be set before the other program.
    itself
        Whether it also does something of its own, so that a rule must allow it too.
    opaque
        Its options that are not followed.
    """

    values: tuple[str, ...] = ()
    words: int = 0
    variables: bool = False
    itself: bool = False
    opaque: re.Pattern[str] | None = None


TIMEOUT: Final = Wrapper(("-s", "--signal", "-k", "--kill-after"), words=1)
WRAPPERS: Final[dict[str, Wrapper]] = {
    "sudo": Wrapper(
        (
            *("-u", "--user", "-g", "--group", "-h", "--host", "-p", "--prompt", "-D", "--chdir"),
            *("-C", "--close-from", "-R", "--chroot", "-r", "--role", "-t", "--type", "-T"),
            *("--command-timeout", "-U", "--other-user"),
        ),
        variables=True,
        itself=True,
        opaque=re.compile(r"-[A-Zbknv]*[is]|--(?:sh|l).*"),
    ),
    "doas": Wrapper(("-u", "-C"), itself=True),
    "env": Wrapper(
        ("-u", "--unset", "-C", "--chdir"),
        variables=True,
        opaque=re.compile(r"-[iv0]*[SP].*|--s.*", re.DOTALL),
    ),
    "nice": Wrapper(("-n", "--adjustment")),
    "nohup": Wrapper(),
    "timeout": TIMEOUT,
    "gtimeout": TIMEOUT,
    # As a word of the shell it may stand before variables too.
    "time": Wrapper(("-o", "--output", "-f", "--format"), variables=True),
    "command": Wrapper(),
    "builtin": Wrapper(),
    "exec": Wrapper(("-a",)),
    "setsid": Wrapper(),
    "stdbuf": Wrapper(("-i", "--input", "-o", "--output", "-e", "--error")),
    "ionice": Wrapper(("-c", "--class", "-n", "--classdata")),
    "busybox": Wrapper(),
    "xargs": Wrapper(
        (
            *("-a", "--arg-file", "-d", "--delimiter", "-E", "-I", "-L", "-n", "--max-args"),
            *("-P", "--max-procs", "-s", "--max-chars", "-R", "-S", "--process-slot-var"),
        ),
        opaque=re.compile(r"-[0prtx]*[iJ].*|--r.*", re.DOTALL),
    ),
}


def behind(argv: tuple[str, ...], wrapper: Wrapper, names: set[str]) -> tuple[str, ...]:
    """Return the command that `argv` starts; nothing when it starts none.

    Raises
    ------
    Unreadable
        It cannot be told where the command begins, or what it will be.
    """
    arguments = argv[1:]
    if "command" in names and {"-v", "-V"} & set(arguments[:1]):
        return ()
    at = 0
    while at < len(arguments) and (step := _own(arguments[at], wrapper)):
        if wrapper.opaque and wrapper.opaque.fullmatch(arguments[at]):
            raise Unreadable(f"an option of {argv[0]} is not followed: {arguments[at]}")
        at += step
    own, inner = arguments[: at + wrapper.words], arguments[at + wrapper.words :]
    if any(isinstance(word, Expanded) for word in own):
        raise Unreadable(f"where {argv[0]} begins its command cannot be told")
    return _with_input(inner, own) if "xargs" in names and inner else inner


def _own(word: str, wrapper: Wrapper) -> int:
    """Return how many words an option or a variable of a wrapper takes; 0 for anything else."""
    if wrapper.variables and (found := re.match(r"[^-/=][^/=]*(?==)|-\Z", word)):
        if steers(found[0], word[found.end() + 1 :]):
            raise Unreadable(f"{found[0]} steers which programs run")
        return 1
    if word == "--":
        return 1
    if not is_option(word):
        return 0
    if word.startswith("--"):
        long = "=" not in word and any(value.startswith(word) for value in wrapper.values)
        return 2 if long else 1
    taking = [at for at, letter in enumerate(word[1:], start=2) if f"-{letter}" in wrapper.values]
    return 2 if taking[:1] == [len(word)] else 1


def _with_input(argv: tuple[str, ...], own: Sequence[str]) -> tuple[str, ...]:
    """Return `argv` as ``xargs`` runs it: with words that nobody knows beforehand."""
    mark = ""
    for word, following in pairwise((*own, "")):
        if found := re.fullmatch(r"-[0prtx]*I(.*)", word, re.DOTALL):
            mark = found[1] or following
    if not mark:
        return (*argv, Expanded("{}"))
    return tuple(Expanded(word) if mark in word else word for word in argv)
