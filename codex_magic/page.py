"""Where a running turn is shown: in a notebook's output, or on a terminal.

A page is given the turn again and again and decides itself when to send something: at once where
a text begins, then at most so many times a second, and less often where drawing takes long. The
page with a widget on it is `codex_magic.widget`'s.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any, Final, Protocol, TextIO

from codex_magic import render
from codex_magic.render import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.events import Event
    from codex_magic.turn import Turn

INTERVAL_S: Final = 0.1
SUSTAINED: Final = 30
"""Drawings of one growing text, after which it is read and no longer awaited."""

Bundle = dict[str, Any]


class Page(Protocol):
    """Somewhere to show a turn."""

    def open(self, report: Callable[[Event], None]) -> None:
        """Begin; what a person does on the page is reported, from any OS thread."""
        ...

    def show(self, turn: Turn) -> None:
        """Show the turn as it stands; may pass when it has just shown something."""
        ...

    def finish(self, turn: Turn) -> None:
        """Show the finished turn, in the form that is kept."""
        ...


class Pace:
    """Says when the next drawing is due.

    Parameters
    ----------
    clock
        Seconds on a clock that only goes forward.
    interval_s
        Seconds between two drawings at least.
    sustained_s
        The same for a text that has been growing for `SUSTAINED` drawings; as before if None.
    """

    def __init__(
        self,
        clock: Callable[[], float],
        interval_s: float = INTERVAL_S,
        sustained_s: float | None = None,
    ) -> None:
        self._clock = clock
        self._interval_s = interval_s
        self._sustained_s = interval_s if sustained_s is None else sustained_s
        self._drawings = 0
        self._next = 0.0
        self._begun: tuple[object, ...] = ()

    def due(self, turn: Turn) -> bool:
        """Whether `turn` should be drawn now."""
        last = turn.items[-1] if turn.items else None
        # Something new has begun: a first item, a first word of it, a question to the person; or
        # the last item is finished.
        spoken = last is not None and (_has_text(last), last.status)
        begun = (len(turn.items), spoken, turn.waiting_for)
        if begun == self._begun and self._clock() < self._next:
            return False
        if begun != self._begun:
            self._begun, self._drawings = begun, 0
        return True

    def drawn(self, started: float) -> None:
        """Note that a drawing that was begun at `started` is done."""
        now = self._clock()
        self._drawings += 1
        interval_s = self._interval_s if self._drawings < SUSTAINED else self._sustained_s
        # A long turn may take long to draw; it must not draw all the time.
        self._next = now + max(interval_s, 5 * (now - started))

    def now(self) -> float:
        """Return the time."""
        return self._clock()


def _has_text(item: object) -> bool:
    return any(
        getattr(item, channel, "") for channel in ("text", "summary", "content", "output", "draft")
    )


class NotebookPage:
    """One output of a cell, replaced as the turn goes on.

    Parameters
    ----------
    publish
        Displays a bundle of media types; the second argument says whether it replaces the first.
    quiet
        Show the answer only.
    secrets
        Values that must not be saved; what is shown live may be saved before it is replaced.
    clock
        Seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        publish: Callable[[Bundle, bool], None],
        *,
        quiet: bool = False,
        secrets: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish = publish
        self._quiet = quiet
        self._secrets = secrets
        self._pace = Pace(clock)
        self._shown: Turn | None = None

    def open(self, report: Callable[[Event], None]) -> None:
        """Begin; nothing can be done on this page."""

    def show(self, turn: Turn) -> None:
        """Show the turn as it stands; see `Page.show`."""
        if turn is self._shown or not self._pace.due(turn):
            return
        started = self._pace.now()
        bundle = render.live(turn, quiet=self._quiet, secrets=self._secrets)
        self._publish(bundle, self._shown is not None)
        self._shown = turn
        self._pace.drawn(started)

    def finish(self, turn: Turn) -> None:
        """Replace what was shown by the form that the notebook keeps."""
        bundle = render.saved(turn, quiet=self._quiet, secrets=self._secrets)
        self._publish(bundle, self._shown is not None)
        self._shown = turn


class TerminalPage:
    """Standard output: the text of a turn, printed as it grows.

    Parameters
    ----------
    out
        Where to; what `sys.stdout` is when something is printed.
    quiet
        Print the answer only.
    clock
        Seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        out: TextIO | None = None,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._out = out
        self._quiet = quiet
        self._pace = Pace(clock)
        self._shown: Turn | None = None
        self._printed = ""

    def open(self, report: Callable[[Event], None]) -> None:
        """Begin; nothing can be done on this page."""

    def show(self, turn: Turn) -> None:
        """Print what is new; see `Page.show`."""
        if self._quiet or turn is self._shown or not self._pace.due(turn):
            return
        started = self._pace.now()
        self._grow(self._body(turn))
        if turn.waiting_for:
            self._part()
        self._shown = turn
        self._pace.drawn(started)

    def finish(self, turn: Turn) -> None:
        """Print what is still missing, and how the turn ended."""
        if self._quiet:
            self._write(plain.text(turn, quiet=True) + "\n")
            return
        self._grow(self._body(turn))
        self._write(f"{self._brightened()}\n\n{plain.closing(turn)}\n")

    def _part(self) -> None:
        """Set what has been printed off from the question that comes now."""
        apart = "" if self._printed.endswith("\n") or not self._printed else "\n"
        self._write(self._brightened() + apart)

    def _brightened(self) -> str:
        """Return what ends the dimming where it is on."""
        dim = self._printed.rfind(plain.DIM) > self._printed.rfind(plain.BRIGHT)
        return plain.BRIGHT * dim

    def _body(self, turn: Turn) -> str:
        return plain.body(turn, live=True, dimmed=(self._out or sys.stdout).isatty())

    def _grow(self, text: str) -> None:
        new = grown(self._printed, text)
        if new:
            self._printed = text
            self._write(new)

    def _write(self, text: str) -> None:
        out = self._out or sys.stdout
        out.write(writable(text, out.encoding))
        out.flush()


def writable(text: str, encoding: str | None) -> str:
    """Return `text` with a question mark for each character that `encoding` does not have."""
    encoding = encoding or "utf-8"
    return text.encode(encoding, "replace").decode(encoding, "replace")


def grown(old: str, new: str) -> str:
    """Return what `new` has behind `old`; where it is not a continuation, its last line anew."""
    if new.startswith(old):
        return new[len(old) :]
    common = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), len(new))
    line = new.rfind("\n", 0, common) + 1
    return "\n" + new[line:] if new[line:] else ""
