"""How a turn gets its thread, and what the person is told of that: the same on every backend.

What a thread is made of, and how one is begun, opened and forked, is each backend's own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from codex_magic.backends.base import Seat, ThreadMissingError
from codex_magic.errors import CellError
from codex_magic.events import Notice
from codex_magic.notebook import history

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_magic.backends.base import Start, StoredThread
    from codex_magic.turn import TurnRequest

SEE: Final = "Type %codex threads for those there are"


def missing(thread_id: str, *, hint: str = SEE) -> ThreadMissingError:
    """Return the error that there is no such thread."""
    return ThreadMissingError(f"there is no thread {thread_id!r}", hint=hint)


def resumed(thread_id: str) -> Notice:
    """Return the notice that a stored thread goes on."""
    return Notice(f"thread resumed: {thread_id}")


def forked(thread_id: str) -> Notice:
    """Return the notice that a thread is busy elsewhere."""
    return Notice(f"another program is using thread {thread_id}; this is a fork of it")


def branched(thread_id: str) -> Notice:
    """Return the notice that a thread was branched off, as the person asked."""
    return Notice(f"branched off thread {thread_id}; both go on")


class Seats(ABC):
    """Seats turns on threads."""

    def choose(self, request: TurnRequest, start: Start, *, quietly: bool = False) -> Seat:
        """Return the thread for `request`; see `Backend.seat`.

        Parameters
        ----------
        quietly
            Whether it goes without saying that a thread is taken up again.
        """
        known = start.known
        if request.resume is not None:
            return self._take_up(request, self._resolve(request), start)
        if request.new or (known is None and not start.turns):
            return self._begin(request, start)
        if known is None:
            return self._restore(request, start)
        model = self._open_model(known)
        if request.private and not self._is_private(known):
            return self._without(request, known, start)
        if start.branch:
            return self._branch(request, known, start)
        if model is not None:
            return Seat(known, request.model or model)
        return self._go_on(request, known, start, quietly=quietly)

    @abstractmethod
    def stored(self, cwd: str | None, limit: int, *, archived: bool = False) -> list[StoredThread]:
        """Return the stored threads of a folder, or of all, the latest used first."""

    @abstractmethod
    def _begin(self, request: TurnRequest, start: Start) -> Seat:
        """Begin a thread."""

    @abstractmethod
    def _inject(self, seat: Seat, said: Sequence[tuple[str, str]]) -> None:
        """Have a new thread know what ``user`` and ``agent`` have said."""

    @abstractmethod
    def _take_up(
        self, request: TurnRequest, thread_id: str, start: Start, *, quietly: bool = False
    ) -> Seat:
        """Go on with a stored thread, or with a copy or a fork of it."""

    @abstractmethod
    def _branch(self, request: TurnRequest, known: str, start: Start) -> Seat:
        """Begin a thread that has a stored one's turns up to one of them."""

    @abstractmethod
    def _open_model(self, thread_id: str) -> str | None:
        """Return the own model of a thread that is open; None for one that is not."""

    @abstractmethod
    def _is_private(self, thread_id: str) -> bool:
        """Whether a thread is open and stored nowhere."""

    def _was(self, thread_id: str) -> str:  # noqa: ARG002 - a backend may know more of it
        """Return in words why a thread that never had a turn is not there."""
        return "was not stored"

    def _restore(self, request: TurnRequest, start: Start) -> Seat:
        """Begin a thread with what the notebook keeps of the turns so far, as text."""
        seat = self._begin(request, start)
        text = history.transcript(start.turns)
        self._inject(seat, [("user", text.text)])
        turns = "1 turn" if len(start.turns) == 1 else f"{len(start.turns)} turns"
        less = f" (without the first {text.left_out} messages)" if text.left_out else ""
        told = f"restored from the notebook: {turns} as unverified text{less}, because {start.why}"
        return replace(seat, notices=(*seat.notices, Notice(told)))

    def _resolve(self, request: TurnRequest) -> str:
        if request.resume != "last":
            return str(request.resume)
        newest = self.stored(str(request.cwd), limit=1)
        if not newest:
            raise CellError(
                f"no thread is stored for {request.cwd}", hint="Start one: leave out --resume"
            )
        return newest[0].thread_id

    def _go_on(self, request: TurnRequest, known: str, start: Start, *, quietly: bool) -> Seat:
        """Take up a thread of this notebook; one that never had a turn is stored nowhere."""
        try:
            return self._take_up(request, known, start, quietly=quietly)
        except CellError:
            return self._without(request, known, start)

    def _without(self, request: TurnRequest, known: str, start: Start) -> Seat:
        """Begin anew because the thread to go on with is not there."""
        if start.turns:
            return self._restore(request, replace(start, why=f"thread {known} is not stored here"))
        seat = self._begin(request, start)
        lost = Notice(f"thread {known} {self._was(known)}; this is a new one", "warning")
        return replace(seat, notices=(*seat.notices, lost))
