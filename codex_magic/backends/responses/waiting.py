"""Calls that wait for their answers: asked for, answered one by one, none left open.

A call in a thread without its output makes a host refuse the whole thread. So each output is kept
as soon as it is there, and whatever ends the waiting, the rest get theirs too.
"""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any, Final

from codex_magic import events as ev
from codex_magic.backends.base import ToolAnswer
from codex_magic.backends.responses import calls

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Sequence

Json = dict[str, Any]

ABORTED: Final = ToolAnswer(
    "outcome: aborted - the turn was over before this was done", success=False
)


class StoppedError(Exception):
    """The turn is to end here."""


class Waiting:
    """The calls of one turn.

    Parameters
    ----------
    report
        Puts an event into the mailbox.
    keep
        Keeps items in the thread.
    stop
        Set when the turn is to end.
    """

    def __init__(
        self,
        report: Callable[[ev.Event], None],
        keep: Callable[[Sequence[Json]], None],
        stop: threading.Event,
    ) -> None:
        self._report = report
        self._keep = keep
        self._stop = stop
        self._answers: queue.SimpleQueue[tuple[int, ToolAnswer] | None] = queue.SimpleQueue()
        self._requests = 0
        self._names: set[str] = set()

    def answer(self, request_id: int, answer: ToolAnswer) -> None:
        """Take an answer; one that nobody waits for is passed over."""
        self._answers.put((request_id, answer))

    def wake(self) -> None:
        """Have the waiting look whether it is to end."""
        self._answers.put(None)

    def abandon(self, wanted: Sequence[calls.Call]) -> None:
        """Answer calls that are never run."""
        self._keep([calls.output(call, [ABORTED] * len(call.asked)) for call in wanted])

    def run(self, wanted: Sequence[calls.Call], before: frozenset[str] = frozenset()) -> None:
        """Have calls run, and keep the output of each.

        Parameters
        ----------
        before
            The calls of a response that broke off and was asked for again: one of these is the same
            call, and not to be run twice.

        Raises
        ------
        StoppedError
            The turn is to end; every call has its output.
        """
        places: dict[int, tuple[int, int]] = {}
        answers: list[list[ToolAnswer | None]] = [[None] * len(call.asked) for call in wanted]
        is_open = [True] * len(wanted)
        try:
            for i, call in enumerate(wanted):
                for j, asked in enumerate(call.asked):
                    self._requests += 1
                    places[self._requests] = i, j
                    is_same = call.item["call_id"] in before
                    name = asked.call_id if is_same else self._named(asked.call_id)
                    self._names.add(name)
                    self._report(
                        ev.ToolCallRequested(self._requests, name, asked.tool, asked.arguments)
                    )
            while places:
                request_id, answer = self._next()
                if request_id not in places:
                    continue
                i, j = places.pop(request_id)
                answers[i][j] = answer
                if None not in answers[i]:
                    is_open[i] = False
                    self._keep([calls.output(wanted[i], _all(answers[i]))])
        finally:
            left = [i for i, still in enumerate(is_open) if still]
            self._keep([calls.output(wanted[i], _all(answers[i])) for i in left])

    def _named(self, call_id: str) -> str:
        """Return a name that no call of this turn has yet: some hosts count anew each time."""
        name, number = call_id, 1
        while name in self._names:
            number += 1
            name = f"{call_id} ({number})"
        return name

    def _next(self) -> tuple[int, ToolAnswer]:
        while not self._stop.is_set():
            if (answered := self._answers.get()) is not None:
                return answered
        raise StoppedError


def _all(answers: Sequence[ToolAnswer | None]) -> list[ToolAnswer]:
    return [ABORTED if answer is None else answer for answer in answers]
