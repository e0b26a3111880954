"""A thread in plain Python: turns on it, one at a time."""

from __future__ import annotations

import contextlib
import threading
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Unpack

from codex_magic import doors
from codex_magic.api import inputs, options
from codex_magic.api.failures import OptionError, failed
from codex_magic.api.handle import TurnHandle
from codex_magic.api.types import (
    StoredThread,
    ThreadCompactStartResponse,
    ThreadReadResponse,
    ThreadSetNameResponse,
)
from codex_magic.backends.base import ThreadMissingError
from codex_magic.errors import BackendError, CellError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from codex_magic import events as ev
    from codex_magic.api.handle import Observe
    from codex_magic.api.lanes import Lanes
    from codex_magic.api.options import TurnOptions
    from codex_magic.approval import Approver
    from codex_magic.backends.base import Start, StoredTurn
    from codex_magic.settings import Settings
    from codex_magic.structured.shape import Shape
    from codex_magic.turn import Turn, TurnRequest
    from codex_magic.typed import Answered

    Put = Callable[[ev.Event | None], None]

PER_TURN: Final = ("images", "schema")
"""Options that hold for one turn only."""


def value(answer: Answered) -> Any:
    """Return the value that an answer is.

    Raises
    ------
    TurnFailedError
        The turn failed.
    BackendError
        It was interrupted before its answer.
    """
    if answer.turn.status == "failed":
        raise failed(answer.turn)
    if not answer.has_value:
        raise BackendError("the turn was stopped before it had answered", hint="Run it again")
    return answer.value


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a turn is to be, who is asked, and what the answer must be."""

    request: TurnRequest
    approver: Approver
    shape: Shape | None


class Unseen:
    """A page that nobody looks at."""

    def open(self, report: Callable[[ev.Event], None]) -> None:
        """Begin; nothing is done on this page."""

    def show(self, turn: Turn) -> None:
        """Show nothing."""

    def finish(self, turn: Turn) -> None:
        """Likewise."""


class Thread:
    """A thread; made by `Codex.thread_start` and the like.

    Turns of one thread run one after the other, turns of different threads side by side. What is
    said to a turn about model, sandbox, approvals and the like holds for those behind it as well.

    Parameters
    ----------
    lanes
        Where it finds a lane.
    name
        What it is called there.
    home
        The id of the thread that it goes on from; empty for none.
    cwd
        The folder that it works in unless its options name another.
    values
        The options of its turns.
    tell
        Says once what there is to say about options, and returns what was not said before.
    moved
        Is told the thread when it has its id, or another one.

    Attributes
    ----------
    id
        What it is taken up by.
    last
        What came of its last turn here.
    """

    def __init__(  # noqa: PLR0913 - all that `Codex` knows of it
        self,
        lanes: Lanes,
        name: str,
        *,
        home: str,
        settings: Settings,
        cwd: Path,
        values: Mapping[str, Any],
        tell: Callable[[Sequence[str]], list[str]],
        moved: Callable[[Thread], None],
    ) -> None:
        self.id = ""
        self.last: Turn | None = None
        self._values = dict(values)
        self._lanes = lanes
        self._lane = lanes.take(self, self._values.pop("tools", ()), home)
        self._name = name
        self._settings = settings
        self._cwd = cwd
        self._tell = tell
        self._moved = moved
        self._news: list[str] = []
        self._is_busy = threading.Lock()
        self._is_fresh = True

    def __repr__(self) -> str:
        return f"Thread(id={self.id!r})"

    # --- turns --------------------------------------------------------------------------------

    def run(self, prompt: inputs.RunInput, **said: Unpack[TurnOptions]) -> Turn:
        """Run a turn to its end and return what came of it; Ctrl-C ends it.

        Parameters
        ----------
        prompt
            Text, or a list of inputs.
        **said
            See `TurnOptions`.

        Raises
        ------
        TurnFailedError
            The turn failed.
        CellError
            A turn of this thread is running, or an option cannot be understood.
        SetupError, BackendError
            The turn could not be started.
        """
        asked = self._asked(prompt, said)
        self._occupy()
        try:
            turn = self._play(asked.request, asked.approver)
        finally:
            self._is_busy.release()
        if turn.status == "failed":
            raise failed(turn)
        return turn

    def answer(self, prompt: inputs.RunInput, schema: Any, /, **said: Unpack[TurnOptions]) -> Any:
        """Run a turn whose answer fits `schema`, and return the value that it is.

        Where it does not fit, the model is told why and asked once more.

        Raises
        ------
        BackendError
            The second answer does not fit either; it is in `last`.
        CodexMagicError
            As for `run`.
        """
        asked = self._asked(prompt, {**said, "schema": schema})
        self._occupy()
        try:
            answer = self._answer(asked)
        finally:
            self._is_busy.release()
        return value(answer)

    def stream(self, prompt: inputs.RunInput, **said: Unpack[TurnOptions]) -> Iterator[ev.Event]:
        """Run a turn and yield its events as they come; to leave the loop early ends it.

        The same as what a cell shows. What came of it all is `last` afterwards.

        Raises
        ------
        CodexMagicError
            As for `run`, but for a turn that failed: its `TurnCompleted` says so.
        """
        handle = self.turn(prompt, **said)
        try:
            yield from handle.events()
        finally:
            handle.leave()

    def turn(self, prompt: inputs.RunInput, **said: Unpack[TurnOptions]) -> TurnHandle:
        """Start a turn, and return what can be done with it meanwhile; likewise."""
        handle = self.begin(prompt, said)
        handle.begun()
        return handle

    def begin(
        self,
        prompt: inputs.RunInput,
        said: Mapping[str, Any],
        put: Put | None = None,
        answered: Callable[[Answered], None] | None = None,
    ) -> TurnHandle:
        """Start a turn without waiting until it has begun.

        Parameters
        ----------
        put
            Where its events go.
        answered
            Is told the answer as a value; where it does not fit, there is a second turn.
        """
        asked = self._asked(prompt, said)
        self._occupy()

        def play(observe: Observe) -> Turn:
            try:
                if answered is None:
                    return self._play(asked.request, asked.approver, observe)
                answer = self._answer(asked, observe)
                answered(answer)
                return answer.turn
            finally:
                self._is_busy.release()

        handle = TurnHandle(self.id, self._lane.session, play, put)
        try:
            handle.start()
        except BaseException:
            self._is_busy.release()
            raise
        return handle

    def _occupy(self) -> None:
        if not self._is_busy.acquire(blocking=False):
            raise CellError(
                "a turn of this thread is running already",
                hint="Wait for it, add to it with steer(), or use another thread",
            )

    def _asked(self, prompt: inputs.RunInput, said: Mapping[str, Any]) -> _Asked:
        """Return what is asked for; keep what holds for later turns as well."""
        from codex_magic.api.approvers import approver  # noqa: PLC0415 - with the session, at a turn

        given = options.read(said, "turn", base=self._cwd)
        text, images = inputs.read(prompt, given.values.get("images", ()))
        shape = options.shape(given.values)
        values = {**self._values, **given.values}
        request = options.request(
            text,
            values,
            settings=self._settings,
            cwd=self._cwd,
            thread=self._name,
            images=images,
            shape=shape,
        )
        asked = _Asked(request, approver(values.get("approver")), shape)
        self._values |= {k: v for k, v in given.values.items() if k not in PER_TURN}
        self._news += self._tell(given.news)
        return asked

    def _answer(self, asked: _Asked, observe: Observe | None = None) -> Answered:
        from codex_magic import typed  # noqa: PLC0415 - most turns have no such answer

        def play(request: TurnRequest) -> Turn:
            return self._play(request, asked.approver, observe)

        return typed.run(self._lane.session, asked.request, asked.shape, play)

    def _play(self, request: TurnRequest, asked: Approver, observe: Observe | None = None) -> Turn:
        with self._lane.is_taken:
            self._lane.check()
            session = self._lane.session
            session.attachment.news += self._news
            self._news.clear()
            try:
                with doors.programs():
                    turn = session.run(request, page=Unseen(), approver=asked, observe=observe)
            except KeyboardInterrupt:
                self.last = session.last  # what had arrived
                raise
        self.last = turn
        self._is_fresh = False
        # Where another program had it open, a fork of it goes on.
        self._name = turn.thread_name
        self._is(turn.thread_id)
        return turn

    def _is(self, thread_id: str) -> None:
        if thread_id and thread_id != self.id:
            self.id = thread_id
            self._lanes.settle(thread_id, self._lane)
            self._moved(self)

    # --- the thread itself --------------------------------------------------------------------

    def open(self, start: Start, resume: str | None, news: Sequence[str]) -> None:
        """Have it ready for its first turn.

        Parameters
        ----------
        start
            What it goes on from.
        resume
            The stored thread that it is to be.
        news
            What its first turn tells of its options.
        """
        request = options.request(
            "", self._values, settings=self._settings, cwd=self._cwd, thread=self._name
        )
        with self._lane.is_taken:
            self._lane.check()
            with doors.programs():
                thread_id = self._lane.session.seat(replace(request, resume=resume), start)
        self._news += news
        self._is_fresh = start.known is None and resume is None
        self._is(thread_id)

    def update(self, said: Mapping[str, Any]) -> None:
        """Have its later turns do as `said`."""
        given = options.read(said, "thread", base=self._cwd)
        if "tools" in given.values:
            raise OptionError("the tools of a thread are fixed when it is started")
        self._values |= given.values
        self._news += self._tell(given.news)

    def read(self, *, include_turns: bool = False) -> ThreadReadResponse:
        """Return what is stored of it, with its turns where they are wanted."""
        backend = self._lane.backend
        turns: tuple[StoredTurn, ...] = ()
        if include_turns:
            # What has had no turn may be stored nowhere yet.
            with contextlib.suppress(*((ThreadMissingError,) if self._is_fresh else ())):
                turns = tuple(backend.turns(self.id))
        preview = next((text for turn in turns for who, text in turn.said if who == "user"), "")
        cwd = str(self._values.get("cwd", self._cwd))
        return ThreadReadResponse(StoredThread(self.id, preview, cwd, turns=turns))

    def set_name(self, name: str) -> ThreadSetNameResponse:
        """Call it something in the list of threads."""
        self._lane.backend.rename(self.id, name)
        return ThreadSetNameResponse()

    def compact(self) -> ThreadCompactStartResponse:
        """Have what was said so far replaced by a summary, and wait for that.

        Raises
        ------
        CellError
            A turn of this thread is running.
        BackendError
            The model gave none; the thread is as it was.
        """
        self._occupy()
        try:
            if not self._is_fresh:
                self._lane.compact(self.id)
        finally:
            self._is_busy.release()
        return ThreadCompactStartResponse()
