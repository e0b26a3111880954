"""What a shell does by itself for a command, beyond starting its first word."""

from __future__ import annotations

import re
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.rules.shelltext.values import Expanded
from codex_magic.sandbox.rules.shelltext.variables import evaluated, steers

if TYPE_CHECKING:
    from collections.abc import Sequence

PASSED_OVER: Final = frozenset(
    ("if", "then", "elif", "else", "fi", "while", "until", "do", "done", "{", "}", "!")
)
RESERVED: Final = PASSED_OVER | {"for", "case", "esac", "function", "select", "coproc", "in"}
# They change what later words mean, run a text, or are reserved in one shell only.
OPAQUE: Final = frozenset(
    (
        *("eval", "alias", "trap", "hash", "enable", "bind", "complete", "compgen", "let", "fc"),
        *("mapfile", "readarray", "repeat", "foreach", "always", "noglob", "nocorrect", "-"),
        *("emulate", "zmodload", "autoload", "functions", "aliases", "bindkey"),
    )
)
NAMERS: Final = frozenset(
    ("export", "readonly", "local", "declare", "typeset", "read", "getopts", "unset")
)
TESTS: Final = frozenset(("[[", "[", "test"))
ARITHMETIC: Final = frozenset(("=~", "-eq", "-ne", "-lt", "-le", "-gt", "-ge", "-v", "-R"))
NAME: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def objection(command: Sequence[str]) -> str:
    """Return why a shell could do more for `command` than start its first word, or nothing."""
    program, *arguments = command
    if isinstance(program, Expanded):
        return "the name of a program is not written out"
    if program in OPAQUE or program in RESERVED or program.startswith("="):
        return f"{program} can do more than its words show"
    if program in {"exec", "command", "builtin", "time"}:
        options = list(takewhile(lambda word: word.startswith("-"), arguments))
        if program == "exec" and options:
            return "exec with an option is not followed"
        rest = arguments[len(options) :]
        return objection(rest) if rest and not {"-v", "-V"} & set(options) else ""
    if program == "printf":
        return _printing(*arguments[:1])
    if program in NAMERS:
        return _naming(program, arguments)
    if program in TESTS:
        return _testing(program, arguments)
    return ""


def _printing(first: str = "") -> str:
    """Return why a ``printf`` may set a variable, as it does with ``-v``."""
    unknown = isinstance(first, Expanded) and first.startswith(("$", "`", "-", "*", "?", "["))
    return "printf -v is not followed" if unknown or first.startswith("-v") else ""


def _naming(program: str, arguments: Sequence[str]) -> str:
    """Return why a builtin that sets variables is unclear."""
    options = [word for word in arguments if word.startswith("-")]
    for word in arguments:
        name, equals, value = word.partition("=")
        if steers(name, value if equals else None):
            return f"{program} sets a variable that steers programs"
        # The numbers and the empty text are values of the options of `read`.
        plain = NAME.fullmatch(name) or (program == "read" and (not name or name.isdecimal()))
        if not plain and word not in options:
            return f"{program} sets a variable whose name is not plain"
        if evaluated(value):
            return f"{program} may evaluate its words"
    if program not in {"read", "unset"} and set(options) - {"-x", "-r", "-g", "-p"}:
        return f"{program} with this option is not followed"
    return ""


def _testing(program: str, arguments: Sequence[str]) -> str:
    """Return why a test is unclear."""
    if any(evaluated(word) for word in arguments if not isinstance(word, Expanded)):
        return f"{program} may evaluate its words"
    if program == "[[" and (arguments[-1:] != ["]]"] or ARITHMETIC & set(arguments)):
        return "[[ with an arithmetic test, a pattern, or more than one condition is not followed"
    return f"{program} -v may evaluate its words" if "-v" in arguments else ""
