"""The threads of one app-server: begun, taken up, branched off, copied, listed.

A thread's tools are frozen when it starts, so one with other tools than today's is copied into a new
one; one that is not stored here is begun anew with the text that the notebook keeps of it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from codex_magic import events as ev
from codex_magic.backends import seats
from codex_magic.backends.appserver import wire
from codex_magic.backends.appserver.connection import RefusedError
from codex_magic.backends.base import (
    Seat,
    Start,
    StoredThread,
    StoredTurn,
)
from codex_magic.errors import BackendError, CellError
from codex_magic.notebook import history

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from codex_magic.backends.base import ToolSpec
    from codex_magic.notebook.records import Kept
    from codex_magic.turn import TurnRequest


@dataclass(slots=True)
class Loaded:
    """A thread that the server has open: its own model, and whether a turn has named an effort."""

    model: str
    effort_named: bool = False
    private: bool = False


class Threads(seats.Seats):
    """Seats turns on a server's threads.

    Parameters
    ----------
    call
        Calls the server.
    tools
        What every thread is offered.
    instructions
        What every model is told.
    ended
        Private threads that are over, and in words how that came.
    """

    def __init__(
        self,
        call: Callable[[str, Mapping[str, Any]], Any],
        tools: Sequence[ToolSpec],
        instructions: Callable[[], str],
        ended: Mapping[str, str],
    ) -> None:
        self._call = call
        self._tools = tuple(tools)
        self._instructions = instructions
        self._loaded: dict[str, Loaded] = {}
        self.ended = dict(ended)

    def loaded(self, seat: Seat) -> Loaded:
        """Return what is known of a seat's thread while the server has it open."""
        return self._loaded.setdefault(seat.thread_id, Loaded(seat.model))

    def is_open(self, thread_id: str) -> bool:
        """Whether the server has a thread open."""
        return thread_id in self._loaded

    def forget(self, how: str = "ended with Codex") -> None:
        """Note that the server is gone, and with it what it had open."""
        self.ended |= {thread_id: how for thread_id, known in self._loaded.items() if known.private}
        self._loaded.clear()

    def seat(self, request: TurnRequest, start: Start, *, quietly: bool) -> Seat:
        """Return the thread for `request`; see `Backend.seat` and `Seats.choose`."""
        seat = self.choose(request, start, quietly=quietly)
        self.loaded(seat).private = request.private
        return seat

    def _open_model(self, thread_id: str) -> str | None:
        return self._loaded[thread_id].model if thread_id in self._loaded else None

    def _was(self, thread_id: str) -> str:
        return self.ended.get(thread_id) or super()._was(thread_id)

    def _is_private(self, thread_id: str) -> bool:
        return thread_id in self._loaded and self._loaded[thread_id].private

    # --- new ones -----------------------------------------------------------------------------

    def _begin(
        self,
        request: TurnRequest,
        start: Start,
        model: str | None = None,
        after: tuple[str, str] | None = None,
    ) -> Seat:
        common = self._common(request, model)
        params = wire.thread_start(common, self._tools, after, private=request.private)
        answer = self._call("thread/start", params)
        return self._titled(Seat(answer["thread"]["id"], answer.get("model") or ""), start)

    def _titled(self, seat: Seat, start: Start) -> Seat:
        """Have a new thread carry the notebook's name; without it, it goes on just as well."""
        if start.title:
            try:
                self.rename(seat.thread_id, start.title)
            except BackendError as error:
                told = ev.Notice(f"the thread could not be named: {error.message}", "warning")
                return replace(seat, notices=(*seat.notices, told))
        return seat

    def _inject(self, seat: Seat, said: Sequence[tuple[str, str]]) -> None:
        items = wire.transcript([pair for pair in said if pair[1]])
        if items:
            self._call("thread/inject_items", {"threadId": seat.thread_id, "items": items})

    # --- stored ones --------------------------------------------------------------------------

    def _take_up(
        self, request: TurnRequest, thread_id: str, start: Start, *, quietly: bool = False
    ) -> Seat:
        """Resume a thread of ours; copy one whose tools are not today's."""
        thread = self._read(thread_id)
        if not wire.has_tools(thread, self._tools):
            return self._copy(request, thread, start)
        common = self._common(request, request.model or thread.get("model"))
        told = seats.resumed(thread_id)
        answer = self._unarchived(thread_id, lambda: self._resumed(common, thread_id))
        if answer is None:
            source = thread["threadSource"]
            answer = self._call("thread/fork", wire.thread_fork(common, thread_id, source))
            told = seats.forked(thread_id)
        notices = () if quietly else (told,)
        forked = answer["thread"]["id"] != thread_id
        return Seat(answer["thread"]["id"], answer.get("model") or "", notices, forked=forked)

    def _resumed(self, common: wire.Json, thread_id: str) -> Any:
        """Resume a thread; None where another program has it open."""
        try:
            return self._call("thread/resume", wire.thread_again(common, thread_id))
        except RefusedError as error:
            if "active writer" not in str(error):
                raise
            return None

    def _unarchived(self, thread_id: str, work: Callable[[], Any]) -> Any:
        """Do `work` on a thread; on one that is in the archive, once it has been taken out."""
        try:
            return work()
        except RefusedError as error:
            if "archived" not in str(error):
                raise
            self._call("thread/unarchive", {"threadId": thread_id})
            return work()

    def _branch(self, request: TurnRequest, known: str, start: Start) -> Seat:
        """Begin a thread that has a stored one's turns up to one of them."""
        try:
            thread = self._read(known)
        except CellError:
            return self._without(request, known, start)
        if not wire.has_tools(thread, self._tools):
            return self._copy(request, thread, start)
        common = self._common(request, request.model or thread.get("model"))
        params = wire.thread_fork(common, known, thread["threadSource"], until=start.branch)
        try:
            answer = self._unarchived(known, lambda: self._call("thread/fork", params))
        except RefusedError:
            return self._without(request, known, start)  # it has no such turn
        told = (seats.branched(known),)
        seat = Seat(answer["thread"]["id"], answer.get("model") or "", told)
        return self._titled(seat, start)

    def _copy(self, request: TurnRequest, thread: wire.Json, start: Start) -> Seat:
        """Seat a thread anew with our tools: a thread's tools are frozen when it starts."""
        thread_id = thread["id"]
        found = self._chain(thread_id, start.branch)
        after = (thread_id, found[-1][1]["id"]) if found else wire.goes_on_from(thread)
        seat = self._begin(request, start, request.model or thread.get("model"), after)
        # What a restored thread began with is in none of its turns, but in the notebook.
        before = _before(start.turns, {turn["id"] for _, turn in found})
        said = [pair for _, turn in found for pair in wire.said(turn)]
        self._inject(seat, [("user", history.transcript(before).text), *said])
        if wire.stored_thread(thread).ours:
            text = f"the tools have changed since thread {thread_id} began; it goes on as a new one"
        else:
            text = f"copied from {thread_id}, with this kernel's tools; the original is untouched"
        return replace(seat, notices=(*seat.notices, ev.Notice(text)))

    def _chain(self, thread_id: str, until: str = "") -> list[tuple[str, wire.Json]]:
        """Return a thread's turns, and those of the threads it goes on from, each with its thread."""
        found: list[tuple[str, wire.Json]] = []
        seen: set[str] = set()
        before: tuple[str, str] | None = (thread_id, until)
        while before is not None and before[0] not in seen:
            thread_id, until = before
            seen.add(thread_id)
            try:
                whole = self._read(thread_id, turns=True)
            except CellError:
                if not found:
                    raise
                break  # it has been deleted; what came after it is all there is
            found = [(thread_id, turn) for turn in wire.turns(whole, until)] + found
            before = wire.goes_on_from(whole)
        return found

    def _read(self, thread_id: str, *, turns: bool = False) -> Any:
        try:
            params = {"threadId": thread_id, "includeTurns": turns}
            return self._call("thread/read", params)["thread"]
        except RefusedError:
            raise seats.missing(thread_id) from None

    def _common(self, request: TurnRequest, model: str | None) -> dict[str, Any]:
        cwd = str(request.cwd)
        # Asked each time and for this folder: a configuration may change while the kernel lives.
        config = self._call("config/read", {"cwd": cwd})["config"]
        return wire.thread_params(
            cwd=cwd,
            instructions=self._instructions(),
            model=model or request.model,
            config=config,
        )

    # --- the list -----------------------------------------------------------------------------

    def stored(self, cwd: str | None, limit: int, *, archived: bool = False) -> list[StoredThread]:
        """Return the stored threads of a folder, or of all, the latest used first."""
        answer = self._call("thread/list", wire.thread_list(cwd, limit, archived=archived))
        return [wire.stored_thread(thread) for thread in answer["data"]]

    def turns(self, thread_id: str) -> list[StoredTurn]:
        """Return the turns of a stored thread; see `Backend.turns`."""
        return [
            StoredTurn(turn["id"], thread, tuple(wire.said(turn)))
            for thread, turn in self._chain(thread_id)
        ]

    def rename(self, thread_id: str, title: str) -> None:
        """Call a stored thread something else in the list."""
        self._call("thread/name/set", {"threadId": thread_id, "name": title})

    def remove(self, thread_id: str, method: str) -> None:
        """Archive or delete a stored thread; see `Backend.archive`."""
        try:
            self._call(method, {"threadId": thread_id})
        except RefusedError as error:
            if any(said in str(error) for said in _NOT_THERE):
                raise seats.missing(thread_id) from None
            raise CellError(
                error.message, hint="Delete its branches first, or archive it: %codex archive"
            ) from None
        finally:
            self._loaded.pop(thread_id, None)  # the server has closed it, also where it refused


_NOT_THERE: Final = ("no rollout found", "thread not loaded", "not found", "invalid thread id")
"""In Codex's own words, that there is no such thread; 0.163."""


def _before(turns: Sequence[Kept], stored: set[str]) -> Sequence[Kept]:
    """Return the turns before the first one that is stored; none where none of them is."""
    places = [place for place, turn in enumerate(turns) if turn.id in stored]
    return turns[: places[0]] if places else ()
