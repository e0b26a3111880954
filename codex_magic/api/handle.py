"""A turn that has been started: its events, its end, and what can be said to it meanwhile.

The turn runs in an OS thread of its own, because whoever started it wants to do something else: to
look at its events, or to say something to it. Where nobody does, `Thread.run` needs no handle.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from typing import TYPE_CHECKING, Final

from codex_magic import events as ev
from codex_magic.api import inputs
from codex_magic.api.failures import failed
from codex_magic.api.types import TurnInterruptResponse, TurnSteerResponse
from codex_magic.errors import CellError
from codex_magic.items import UserMessage
from codex_magic.running import NOT_TAKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codex_magic.api.notifications import Notification
    from codex_magic.session import Session
    from codex_magic.turn import Turn

    Observe = Callable[[ev.Event], None]

PATIENCE_S: Final = 5.0
"""Seconds that a turn has to end which its program has given up."""


class TurnHandle:
    """A running turn.

    Parameters
    ----------
    play
        Runs the turn to its end and tells each event; called in an OS thread of its own.
    put
        Is given each event, and None when there are no more; kept for `stream` by default.

    Attributes
    ----------
    id
        The turn's; empty until it has begun.
    turn
        All that came of it, once it is over.
    """

    def __init__(
        self,
        thread_id: str,
        session: Session,
        play: Callable[[Observe], Turn],
        put: Callable[[ev.Event | None], None] | None = None,
    ) -> None:
        self.thread_id = thread_id
        self.id = ""
        self.turn: Turn | None = None
        self._session = session
        self._play = play
        self._events: queue.SimpleQueue[ev.Event | None] = queue.SimpleQueue()
        self._put = put or self._events.put
        self._steered: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._error: BaseException | None = None
        self._switch = threading.Lock()
        self._is_on = False
        self._is_unwanted = False
        self._begun = threading.Event()
        self._ended = threading.Event()
        self._work = threading.Thread(target=self._run, name="codex turn", daemon=True)

    def __repr__(self) -> str:
        return f"TurnHandle(id={self.id!r}, thread_id={self.thread_id!r})"

    def start(self) -> None:
        """Start the turn."""
        self._work.start()

    def begun(self) -> None:
        """Wait until the turn has begun.

        Raises
        ------
        CodexMagicError
            It could not be started.
        """
        with self._given_up_on_interrupt():
            self._begun.wait()
        self.check_begun()

    def check_begun(self) -> None:
        """Say why it could not be started, where that is so; likewise."""
        if self._error is not None and not self.id:
            raise self._error

    # --- what comes of it ---------------------------------------------------------------------

    def events(self) -> Iterator[ev.Event]:
        """Yield the turn's events as they come, each once; those that have come already, first.

        Raises
        ------
        CodexMagicError
            The turn could not be run to its end. One that failed has a `TurnCompleted` that says so.
        """
        while (event := self._next()) is not None:
            yield event
        self.check()

    def check(self) -> None:
        """Say why it could not be run to its end, where that is so."""
        if self._error is not None:
            raise self._error

    def _next(self) -> ev.Event | None:
        with self._given_up_on_interrupt():
            event = self._events.get()
        if event is None:
            self._put(None)  # for whoever asks again
        return event

    def stream(self) -> Iterator[Notification]:
        """Yield the same in the SDK's shape: `method`, `payload`, and the `event` itself."""
        from codex_magic.api.notifications import Translator  # noqa: PLC0415 - at first use

        translator = Translator(self.thread_id)
        for event in self.events():
            yield translator.notification(event)

    def run(self) -> Turn:
        """Wait for the end and return what came of it; Ctrl-C ends the turn.

        Raises
        ------
        TurnFailedError
            The turn failed.
        """
        with self._given_up_on_interrupt():
            self._ended.wait()
        return self.result()

    def result(self) -> Turn:
        """Return what came of a turn that is over; likewise."""
        self.check()
        if self.turn is None:
            raise CellError("the turn is still running", hint="Wait for it: run()")
        if self.turn.status == "failed":
            raise failed(self.turn)
        return self.turn

    # --- what can be said to it ---------------------------------------------------------------

    def steer(self, given: inputs.RunInput) -> TurnSteerResponse:
        """Add words to the turn; the model reads them with its next step.

        Raises
        ------
        CellError
            The turn is over, or ends before they are taken; there are no words.
        """
        text, images = inputs.read(given)
        if images:
            raise CellError(
                "images cannot be added to a running turn", hint="Give them to the next"
            )
        with self._switch:
            if not self._is_on:
                raise CellError("the turn is over")
            self._session.steer(text)
        with contextlib.suppress(queue.Empty):
            if self._steered.get(timeout=PATIENCE_S) == "lost":
                raise CellError("the turn was over before that was taken")
        return TurnSteerResponse(self.id)

    def interrupt(self) -> TurnInterruptResponse:
        """Ask the turn to stop; it ends as interrupted. One that is over stays as it is."""
        with self._switch:
            self._is_unwanted = True
            if self._is_on:
                self._stop()
        return TurnInterruptResponse()

    def leave(self) -> None:
        """Have the turn stopped where it still runs, and wait for that."""
        if not self._ended.is_set():
            self.interrupt()
            self._ended.wait(PATIENCE_S)

    def _stop(self) -> None:
        with contextlib.suppress(CellError):  # it has just ended by itself
            self._session.stop()

    @contextlib.contextmanager
    def _given_up_on_interrupt(self) -> Iterator[None]:
        try:
            yield
        except KeyboardInterrupt:
            self.leave()
            raise

    # --- in its own OS thread -----------------------------------------------------------------

    def _run(self) -> None:
        try:
            self.turn = self._play(self._saw)
        except BaseException as error:  # noqa: BLE001 - whoever waits for the turn is told
            self._error = error
        finally:
            self._switched(on=False)
            self._begun.set()
            self._ended.set()
            self._put(None)

    def _saw(self, event: ev.Event) -> None:
        if isinstance(event, ev.ThreadStarted):  # from here on a turn listens, a second one too
            self._switched(on=True)
        if isinstance(event, ev.TurnStarted):
            self.id = event.turn_id
            self._begun.set()
        if isinstance(event, ev.ItemCompleted) and isinstance(event.item, UserMessage):
            self._steered.put("taken")
        if isinstance(event, ev.Notice) and event.text.startswith(NOT_TAKEN):
            self._steered.put("lost")
        self._put(event)

    def _switched(self, *, on: bool) -> None:
        with self._switch:
            self._is_on = on
            if on and self._is_unwanted:  # given up before it began
                self._stop()
