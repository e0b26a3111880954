"""Where the turns of a `Codex` run: lanes, each a session with a backend of its own.

A backend runs one turn at a time, so threads that are to run side by side need a lane each. A lane
is a thread's for as long as the program holds that thread, and the next one's after that. A thread
that comes back goes to the lane it was on, because its backend may have it open; where another
thread has that lane by now, the two take turns.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from codex_magic import doors
from codex_magic.errors import CellError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codex_magic.backends.base import Backend
    from codex_magic.session import Session
    from codex_magic.tools.base import Tool

PATIENCE_S: Final = 5.0
"""Seconds that a running turn has to end when its `Codex` is closed."""


class Lane:
    """A session, and whose it is.

    Parameters
    ----------
    tools
        What its threads are offered beside the tools of this package.
    """

    def __init__(self, session: Session, tools: tuple[Tool, ...] = ()) -> None:
        self.session = session
        self.tools = tools
        self.holders: weakref.WeakSet[Any] = weakref.WeakSet()
        self.is_taken = threading.Lock()
        """Held while a turn runs here, or something else that a turn must not be disturbed by."""
        self.is_closed = False
        self._at_work: Backend | None = None

    @property
    def backend(self) -> Backend:
        """Where its turns run; raises where it is closed."""
        self.check()
        with doors.programs():
            return self.session.backend

    def check(self) -> None:
        """Say where it is closed: a session that is closed would begin anew when it is used."""
        if self.is_closed:
            raise closed()

    def compact(self, thread_id: str) -> None:
        """Have a thread made shorter; see `Backend.compact`."""
        with self.is_taken:
            self._at_work = self.backend
            try:
                self._at_work.compact(thread_id)
            finally:
                self._at_work = None

    def close(self) -> None:
        """End the running turn, then everything that was started here."""
        self.is_closed = True
        with contextlib.suppress(CellError):
            self.session.stop()
        if (at_work := self._at_work) is not None:
            at_work.interrupt()
        ended = self.is_taken.acquire(timeout=PATIENCE_S)
        try:
            self.session.close()
        finally:
            if ended:
                self.is_taken.release()


class Lanes:
    """The lanes of one `Codex`.

    Parameters
    ----------
    make
        Makes a session; its agent is offered these tools beside those of this package.
    """

    def __init__(self, make: Callable[[Sequence[Tool]], Session]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._lanes: list[Lane] = []
        self._homes: dict[str, Lane] = {}
        self._is_closed = False

    def take(self, holder: Any, tools: Sequence[Tool] = (), thread_id: str = "") -> Lane:
        """Return a lane for `holder`: the one that the thread with this id was on, a free one, a new one.

        Raises
        ------
        CellError
            All is closed.
        """
        with self._lock:
            self._check()
            lane = self._homes.get(thread_id)
            if lane is None or (tools and lane.tools != tuple(tools)):
                lane = self._free(tuple(tools))
            lane.holders.add(holder)
            return lane

    def settle(self, thread_id: str, lane: Lane) -> None:
        """Note that a thread lives on a lane."""
        with self._lock:
            self._homes[thread_id] = lane

    def home(self, thread_id: str) -> Lane:
        """Return the lane that a thread was on, or any."""
        with self._lock:
            self._check()
            return self._homes.get(thread_id) or self._any()

    def any(self) -> Lane:
        """Return some lane, to ask its backend something that concerns no thread."""
        with self._lock:
            self._check()
            return self._any()

    def close(self) -> None:
        """End everything; running turns end as interrupted."""
        with self._lock:
            lanes, self._lanes = self._lanes, []
            self._is_closed = True
            self._homes.clear()
        closers = [threading.Thread(target=lane.close, name="codex closer") for lane in lanes]
        for closer in closers:
            closer.start()
        for closer in closers:
            closer.join()

    def _free(self, tools: tuple[Tool, ...]) -> Lane:
        free = (lane for lane in self._lanes if not lane.holders and lane.tools == tools)
        return next(free, None) or self._new(tools)

    def _any(self) -> Lane:
        return self._lanes[0] if self._lanes else self._new(())

    def _new(self, tools: tuple[Tool, ...]) -> Lane:
        lane = Lane(self._make(tools), tools)
        self._lanes.append(lane)
        return lane

    def _check(self) -> None:
        if self._is_closed:
            raise closed()


def closed() -> CellError:
    """Return the error of a `Codex` that is used when it is closed."""
    return CellError("this Codex is closed", hint="Make another one: Codex()")
