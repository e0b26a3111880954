"""Advice that is written for a notebook, in the words of another door: a shell, a program.

Whoever fails does not know who asks, so it is at the door that the words are changed. Pure; what
is in none of the tables stays as it is.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from codex_magic.errors import CodexMagicError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_CONFIG: Final = r"%config CodexMagics\.(\w+)(?: = '?(\w+)'?)?"
_SHELL: Final = (
    (r"%codex (login|logout|status|models|usage)\b", r"codex-magic auth \1"),
    (r"%codex (doctor|audit)\b", r"codex-magic \1"),
    (r"Run the cell again", "Try again"),
    (r"run the cell again", "try again"),
    (r"Jupyter is started", "this is started"),
    (r"(?:and|then) restart the kernel", "and try again"),
    (r"%pip ", "pip "),
    (rf"{_CONFIG}, or (?=CODEX_MAGIC_)|, or {_CONFIG}(?=\))", ""),
    (rf"\btype {_CONFIG}", lambda found: f"set {_variable(found[1], found[2])}"),
    (_CONFIG, lambda found: _variable(found[1], found[2])),
)
_PROGRAM: Final = (
    *_SHELL,
    (r"[Tt]ype %codex threads for", "thread_list() names"),
    (r"Start afresh with %%codex --new", "Go on in another thread: thread_start()"),
    (r"%%codex -m MODEL", "model='MODEL'"),
    (r" with -m\b", " with model="),
    (r" options of the cell", " options"),
)


def at_shell(text: str) -> str:
    """Return `text` as it is said at a shell."""
    return _put(text, _SHELL)


def in_program(text: str) -> str:
    """Return `text` as it is said in plain Python."""
    return _put(text, _PROGRAM)


@contextmanager
def programs() -> Iterator[None]:
    """Have what goes wrong within say what a program can do."""
    try:
        yield
    except CodexMagicError as error:
        error.hint = in_program(error.hint)
        raise


def _put(text: str, table: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...]) -> str:
    for wanted, instead in table:
        text = re.sub(wanted, instead, text)
    return text


def _variable(name: str, value: str | None) -> str:
    said = {"True": "1", "False": "0"}.get(value or "", value)
    return f"CODEX_MAGIC_{name.upper()}" + (f"={said}" if said else "")
