"""How far a run is: one line that is redrawn on a terminal, plain lines anywhere else.

What a notebook says is shown in it, and never as what a terminal would obey.
"""

from __future__ import annotations

import os
import shutil
import time
import unicodedata
from typing import TYPE_CHECKING, Any, Final, TextIO

from codex_magic.items import CommandExecution, FileChange
from codex_magic.notebook import stored
from codex_magic.page import writable
from codex_magic.render import words

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from codex_magic.turn import Turn

WIDTH: Final = 12
"""Characters of the bar itself."""

TITLE: Final = 50


class Progress:
    """Watches a run; see `codex_magic.notebook.run.Watcher`.

    Parameters
    ----------
    total
        How many cells there are to run.
    out
        Where to show it.
    clock
        Seconds on a clock that only goes forward.
    """

    def __init__(
        self, total: int, out: TextIO, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._total = total
        self._out = out
        self._clock = clock
        self._draws = out.isatty() and os.environ.get("TERM") != "dumb"
        self._number = 0
        self._title = ""
        self._state = ""
        self._since = self._state_since = clock()

    def begins(self, number: int, cell: Any) -> None:
        """Name the cell."""
        self._number, self._title = number, title(cell.source)
        self._since = self._clock()
        self._now_at("")
        if not self._draws:
            self._line(f"[{number}/{self._total}] {self._title}")
        self.ticks()

    def shows(self, data: Mapping[str, Any]) -> None:
        """Say what a turn is at; a finished one has a line that stays."""
        turn = stored.read(data)
        if turn is not None:
            self._now_at("")
            self._line(f"[{self._number}/{self._total}] {summary(turn)}")
        elif isinstance(text := data.get("text/plain"), str):
            self._now_at(_last_said(text))
        self.ticks()

    def prints(self, text: str) -> None:
        """Pass over it: it will stand in the notebook."""

    def ends(self, number: int, cell: Any) -> None:
        """Say how long it took."""
        del cell
        self._now_at("")
        if not self._draws:
            took = words.duration(self._clock() - self._since)
            self._line(f"[{number}/{self._total}] ended after {took}")

    def ticks(self) -> None:
        """Draw the line anew."""
        if self._draws:
            self._out.write(f"\r\x1b[K{self._drawn()}")
            self._out.flush()

    def close(self) -> None:
        """Take the line away."""
        if self._draws:
            self._out.write("\r\x1b[K")
            self._out.flush()

    def _now_at(self, state: str) -> None:
        if not (self._state and state.startswith(self._state)):
            self._state_since = self._clock()
        self._state = state

    def _drawn(self) -> str:
        now = self._clock()
        done = max(0, self._number - 1)
        full = round(WIDTH * done / max(1, self._total))
        bar = f"[{'#' * full}{'.' * (WIDTH - full)}] {self._number}/{self._total}"
        parts = [bar, f"{now - self._since:.0f} s", self._title]
        if self._state:
            parts.append(f"{now - self._state_since:.0f} s {self._state}")
        width = shutil.get_terminal_size().columns - 1
        return writable(narrow(" · ".join(parts), width), self._out.encoding)

    def _line(self, text: str) -> None:
        gone = "\r\x1b[K" if self._draws else ""
        self._out.write(f"{gone}{writable(text, self._out.encoding)}\n")
        self._out.flush()


def title(source: str) -> str:
    """Return a cell in a few words: its first line, and of a prompt the first one of that too."""
    lines = [line for line in source.splitlines() if line.strip()]
    shown = lines[:2] if lines and lines[0].startswith("%%") else lines[:1]
    return words.one_line(words.clean(" ".join(shown)), TITLE)


def summary(turn: Turn) -> str:
    """Return a finished turn on one line."""
    facts = words.footer(turn)
    commands = sum(isinstance(item, CommandExecution) for item in turn.items)
    edits = sum(isinstance(item, FileChange) for item in turn.items)
    counted = [
        f"{n} {what}{'s' * (n != 1)}" for n, what in ((commands, "command"), (edits, "edit")) if n
    ]
    ended = words.outcome(turn) or turn.status
    parts = [f"turn {ended}", *counted, *facts, *(notice.text for notice in turn.notices)]
    return words.one_line(words.clean(" · ".join(parts)), 400)


def _last_said(text: str) -> str:
    """Return how the last thing begins that a running turn says."""
    last = text.rstrip().rpartition("\n\n")[2]
    return " ".join(words.clean(last[:500].partition("\n")[0]).split())


def narrow(text: str, columns: int) -> str:
    """Return as much of `text` as fits: on a line that wraps, nothing can be redrawn."""
    used = 0
    for i, char in enumerate(text):
        used += 2 if unicodedata.east_asian_width(char) in "WF" else 1
        if used > columns:
            return text[:i]
    return text
