"""The threads of one kernel on this backend: begun, taken up, branched off, forked.

Those used last stay open, and thereby this kernel's; one that was closed meanwhile is taken up
again without a word. Tools are no part of a thread here, so other tools than yesterday's need no
new one.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from codex_magic.backends import seats
from codex_magic.backends.base import Seat, ThreadMissingError
from codex_magic.backends.responses.store import BusyError, Store
from codex_magic.errors import CellError, RecordError
from codex_magic.events import Notice

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from codex_magic.backends.base import Start, StoredThread, StoredTurn
    from codex_magic.backends.responses.log import ThreadLog
    from codex_magic.turn import TurnRequest


class Threads(seats.Seats):
    """Seats turns on stored threads; may be used from any OS thread.

    Parameters
    ----------
    environ
        Where the person's Jupyter data folder is looked up.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._store = Store(environ)
        self._models: dict[str, str] = {}
        self._lock = threading.Lock()

    def seat(
        self, request: TurnRequest, start: Start, *, default_model: Callable[[], str]
    ) -> tuple[Seat, ThreadLog]:
        """Return the thread for `request`, and its log; see `Backend.seat`.

        Parameters
        ----------
        default_model
            Asked for one where neither the request nor the thread names it.
        """
        with self._lock:
            seat = self.choose(request, start)
            log = self._store.held(seat.thread_id)
            assert log is not None  # noqa: S101 - every way to a seat opens its thread
            troubles = tuple(Notice(text, "warning") for text in log.notices)
            log.notices.clear()
            model = seat.model or default_model()
            self._models.setdefault(seat.thread_id, model)
            return replace(seat, model=model, notices=(*seat.notices, *troubles)), log

    def log(self, thread_id: str) -> ThreadLog:
        """Return the log of a thread that has had a seat; raises as `Store.open`."""
        return self._store.open(thread_id)

    def _open_model(self, thread_id: str) -> str | None:
        if thread_id not in self._models:
            return None
        try:
            self._store.open(thread_id)
        except (CellError, RecordError):  # why, is told when it is to be taken up aloud
            return None
        return self._models[thread_id]

    def _is_private(self, thread_id: str) -> bool:
        held = self._store.held(thread_id)
        return held is not None and held.is_private

    def _begin(self, request: TurnRequest, start: Start) -> Seat:
        log = self._store.begin(str(request.cwd), start.title, private=request.private)
        return Seat(log.thread_id, request.model or "")

    def _inject(self, seat: Seat, said: Sequence[tuple[str, str]]) -> None:
        log = self._store.open(seat.thread_id)
        roles = {"user": ("user", "input_text"), "agent": ("assistant", "output_text")}
        found = [(*roles[who], text) for who, text in said if text]
        if found:
            log.add(
                [
                    {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}
                    for role, kind, text in found
                ]
            )

    def _take_up(
        self,
        request: TurnRequest,
        thread_id: str,
        start: Start,  # noqa: ARG002 - a thread here needs nothing that the notebook keeps
        *,
        quietly: bool = False,
    ) -> Seat:
        told = seats.resumed(thread_id)
        try:
            log = self._store.open(thread_id)
        except BusyError:
            log = self._store.fork(thread_id, cwd=str(request.cwd))
            told = seats.forked(thread_id)
        return Seat(
            log.thread_id,
            request.model or self._models.get(thread_id) or log.model,
            () if quietly else (told,),
            forked=log.thread_id != thread_id,
        )

    def _branch(self, request: TurnRequest, known: str, start: Start) -> Seat:
        try:
            log = self._store.fork(known, start.branch, cwd=str(request.cwd), title=start.title)
        except ThreadMissingError:
            return self._without(request, known, start)
        return Seat(log.thread_id, request.model or log.model, (seats.branched(known),))

    # --- the list -----------------------------------------------------------------------------

    def stored(self, cwd: str | None, limit: int, *, archived: bool = False) -> list[StoredThread]:
        """Return the stored threads of a folder, or of all, the latest used first."""
        return self._store.stored(cwd, limit, archived=archived)

    def turns(self, thread_id: str) -> list[StoredTurn]:
        """Return the turns of a stored thread; see `Backend.turns`."""
        return self._store.turns(thread_id)

    def rename(self, thread_id: str, title: str) -> None:
        """Call a stored thread something else in the list."""
        self._store.rename(thread_id, title)

    def archive(self, thread_id: str) -> None:
        """Take a thread off the list; see `Backend.archive`."""
        self._store.archive(thread_id)

    def delete(self, thread_id: str) -> None:
        """Remove a stored thread for good; see `Backend.delete`."""
        self._store.delete(thread_id)

    def close(self) -> None:
        """Close all threads that are open here."""
        self._store.close()
