"""One running turn: ask the model, have its calls run, tell it what came of them, until it is done.

A thread that is to be made shorter between two turns is asked about in the same way.

The loop has an OS thread of its own. Everything it is told (answers, more words, that it is to stop)
comes from other OS threads; everything it reports goes into the mailbox, the end of the turn last.
Whatever the model is told or says stands in the thread's log before anything is built on it.
"""

from __future__ import annotations

import logging
import random
import threading
import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic import events as ev
from codex_magic.backends.hints import ADVISED
from codex_magic.backends.responses import wire
from codex_magic.backends.responses.client import AbortedError
from codex_magic.backends.responses.compaction import Compactor, Weight
from codex_magic.backends.responses.failures import Failure
from codex_magic.backends.responses.reader import ENDED_EARLY, Reader
from codex_magic.backends.responses.replay import portable, sealed
from codex_magic.backends.responses.waiting import StoppedError, Waiting
from codex_magic.errors import CellError, CodexMagicError
from codex_magic.items import Text, UserMessage
from codex_magic.mask import mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from codex_magic.backends.base import Mailbox, ToolAnswer
    from codex_magic.backends.responses.client import Stream
    from codex_magic.backends.responses.host import Host
    from codex_magic.backends.responses.log import ThreadLog

log = logging.getLogger(__name__)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Given:
    """What a turn is given to run with."""

    host: Host
    log: ThreadLog
    asking: wire.Asking
    account: str
    prompt: str
    weight: Weight
    secrets: tuple[str, ...] = ()

    @property
    def sealer(self) -> str:
        """Who can read what is sealed in this turn: a model, for an account, at a host."""
        return f"{self.asking.model} {self.account}"


class RunningTurn:
    """A turn, from its first request to its end.

    Parameters
    ----------
    given
        Host, thread, and what its requests have in common.
    opening
        The items that begin it.
    mailbox
        Where its events go.
    """

    def __init__(self, given: Given, opening: Sequence[Json], mailbox: Mailbox) -> None:
        self.id = f"turn_{uuid.uuid4().hex}"
        self._given = given
        self._opening = opening
        self._mailbox = mailbox
        self._stop = threading.Event()
        self._stream: Stream | None = None
        self._guard = threading.Lock()
        self._steers: list[str] = []
        self._takes_no_more = False
        self._responses = 0
        self._breaks = 0
        self._broken_off: frozenset[str] = frozenset()
        self._turn_state = ""
        self._waiting = Waiting(self._report, self._keep, self._stop)
        self._compactor = Compactor(
            given.host,
            given.log,
            given.asking,
            given.weight,
            opening=opening,
            events=self._events,
            report=self._report,
        )
        self._has_compacted = False
        self._thread = threading.Thread(target=self._run, name=f"codex {self.id}", daemon=True)

    def start(self) -> None:
        """Begin; from here on the mailbox is sure to get a `TurnCompleted`."""
        self._thread.start()

    def answer(self, request_id: int, answer: ToolAnswer) -> None:
        """Take the answer to a `ToolCallRequested`; too late is not an error."""
        self._waiting.answer(request_id, answer)

    def interrupt(self) -> None:
        """End the turn, wherever it is."""
        with self._guard:
            self._takes_no_more = True
            self._stop.set()
            stream = self._stream
        self._waiting.wake()
        if stream is not None:
            stream.abort()

    def steer(self, text: str) -> None:
        """Tell the model `text` with the next request.

        Raises
        ------
        CellError
            It has said its last word.
        """
        with self._guard:
            if self._takes_no_more:
                raise CellError("the turn is over")
            self._steers.append(text)
        said = UserMessage(id=f"steer {uuid.uuid4()}", status="completed", text=Text(text))
        self._mailbox.put(ev.ItemCompleted(said))

    def is_over(self, within_s: float) -> bool:
        """Wait for its OS thread, and return whether it has ended."""
        self._thread.join(within_s)
        return not self._thread.is_alive()

    # --- the loop -----------------------------------------------------------------------------

    def _run(self) -> None:
        status: Any = "completed"
        error: ev.TurnError | None = None
        self._report(ev.TurnStarted(self.id, at=time.time()))
        try:
            self._through()
        except (StoppedError, AbortedError):
            status = "interrupted"
        except Failure as failure:
            status, error = "failed", ev.TurnError(message=failure.message, kind=failure.kind)
        except CodexMagicError as failure:
            kind = ADVISED if failure.hint else ""
            status, error = "failed", ev.TurnError(message=str(failure), kind=kind)
        except Exception as failure:  # whoever waits for the turn must not wait for ever
            log.exception("a turn failed")
            said = f"codex_magic itself failed: {type(failure).__name__}"
            status, error = "failed", ev.TurnError(message=said, kind="internal")
        if error is not None:
            error = msgspec.structs.replace(error, message=self._masked(error.message))
        self._end(status)
        self._report(ev.TurnCompleted(status, error, at=time.time()))

    def _end(self, status: str) -> None:
        with self._guard:
            self._takes_no_more = True
        try:
            self._keep(self._added())  # what a person has said is for the next turn to answer
            self._given.log.end_turn(status)
            self._tell_of_the_log()
        except Exception:  # likewise
            log.exception("the end of a turn could not be written")

    def _through(self) -> None:
        given = self._given
        given.log.begin_turn(
            self.id, model=given.asking.model, account=given.account, prompt=given.prompt
        )
        self._keep(self._opening)
        while True:
            if self._compactor.is_needed():
                self._compact()
            if not self._goes_on() and self._is_last():
                return

    def _report(self, event: ev.Event) -> None:
        """Put an event into the mailbox."""
        self._mailbox.put(event)

    def _warn(self, text: str) -> None:
        self._report(ev.Notice(self._masked(text), "warning"))

    def _masked(self, text: str) -> str:
        """Return what a host said without what it was shown."""
        return mask(text, self._given.secrets)

    def _keep(self, items: Sequence[Json]) -> None:
        if items:
            self._given.log.add(items)
            self._tell_of_the_log()

    def _tell_of_the_log(self) -> None:
        notices = self._given.log.notices
        while notices:
            self._report(ev.Notice(notices.pop(0), "warning"))

    def _added(self) -> list[Json]:
        """Take what a person has added since the last request."""
        with self._guard:
            steers, self._steers = self._steers, []
        return [wire.text_item("user", text) for text in steers]

    def _is_last(self) -> bool:
        """Whether nothing was added in the last moment; from here on nothing can be."""
        with self._guard:
            self._takes_no_more = not self._steers
            return self._takes_no_more

    # --- asking -------------------------------------------------------------------------------

    def _goes_on(self) -> bool:
        """Have the model respond once, and its calls run; return whether it must be asked again.

        What arrived whole before a break is kept and counts: a call among it is run once, and
        nothing is paid for twice.
        """
        self._responses += 1
        reader = Reader(f"{self.id}.{self._responses}")
        try:
            self._read(reader)
        except (Failure, AbortedError, StoppedError) as ending:
            self._broken(reader, ending)
            return True
        self._keep(sealed(reader.history, self._given.sealer))
        self._compactor.counted(reader.tokens)
        if not reader.output:
            self._warn("the model answered nothing")
        if reader.lost is not None:
            self._waiting.abandon(reader.calls)
            raise reader.lost
        self._breaks, self._has_compacted = 0, False
        self._run_calls(reader)
        return bool(reader.calls)

    def _broken(self, reader: Reader, ending: Exception) -> None:
        """Keep what is whole of a response that broke off, and mend what can be mended."""
        for found in reader.closing():
            self._report(found)
        self._keep(sealed(_whole(reader.history), self._given.sealer))
        mending = self._mending(ending) if isinstance(ending, Failure) else None
        if mending is None or reader.lost is not None:
            self._waiting.abandon(reader.calls)
            self._forget_images(ending)
            raise reader.lost or ending
        self._run_calls(reader)
        self._broken_off = frozenset(call.item["call_id"] for call in reader.calls)
        mending()

    def _run_calls(self, reader: Reader) -> None:
        """Have calls run, but for those that the response before made and then broke off."""
        before, self._broken_off = self._broken_off, frozenset()
        self._waiting.run(reader.calls, before)

    def _forget_images(self, ending: Exception) -> None:
        """Take back images that the host refused: it would refuse them with each later turn."""
        is_refused = isinstance(ending, Failure) and ending.status in REFUSED
        if not is_refused or self._responses > 1 or not wire.has_images(self._opening):
            return
        mine = {id(item) for item in self._opening}
        items = self._given.log.items
        self._given.log.compact(
            [wire.without_images(item) if id(item) in mine else item for item in items]
        )
        self._warn("the images of this turn are not kept in the thread")

    def _sent(self) -> list[Json]:
        """Return the thread as it is sent."""
        return portable(self._given.log.items, by=self._given.sealer)

    def _read(self, reader: Reader) -> None:
        """Send the thread, and report what comes back until it is over."""
        self._keep(self._added())
        asking, host = self._given.asking, self._given.host
        body = wire.body(asking, self._sent(), without=host.left_out(asking.model))
        for event in self._events(body):
            for found in reader.take(event):
                self._report(found)
            if reader.is_over:
                return
        raise Failure(ENDED_EARLY, kind="streamDisconnected", retries=True)

    def _events(self, body: Json) -> Iterator[Json]:
        """Yield the host's events of one request.

        Raises
        ------
        Failure, AbortedError, StoppedError
            The request failed; the turn is to stop.
        """
        headers = wire.of_thread(self._given.asking.thread_id, self._turn_state)
        stream = self._given.host.client.stream(body, headers=headers)
        with self._guard:
            if self._stop.is_set():
                raise StoppedError
            self._stream = stream
        try:
            with stream:
                self._told(stream.headers)
                yield from stream
        finally:
            with self._guard:
                self._stream = None

    def _told(self, headers: Mapping[str, str]) -> None:
        self._given.host.told(headers)
        self._turn_state = headers.get(wire.TURN_STATE) or self._turn_state
        model, asked = headers.get("openai-model"), self._given.asking.model
        if model and not model.startswith(asked) and self._responses == 1:
            self._warn(f"{asked} was replaced by {model}")

    # --- mending ------------------------------------------------------------------------------

    def _mending(self, failure: Failure) -> Callable[[], None] | None:
        """Return what lets the request be sent again; None where nothing does."""
        host, model = self._given.host, self._given.asking.model
        if failure.kind == "contextWindowExceeded":
            return None if self._has_compacted else self._compact
        part = wire.refused(failure.message) if failure.status == BAD_REQUEST else ""
        if part and part not in host.left_out(model):
            return partial(self._leave_out, part)
        jitter = random.uniform(-1, 1)  # noqa: S311 - not a secret
        wait_s = host.patience.wait_s(failure, self._breaks + 1, jitter)
        return None if wait_s is None else partial(self._wait, failure, wait_s)

    def _leave_out(self, part: str) -> None:
        host, model = self._given.host, self._given.asking.model
        host.leave_out(model, part)
        self._warn(f"{model} at {host.base_url} does not take {part}; it is left out from now on")

    def _wait(self, failure: Failure, wait_s: float) -> None:
        self._breaks += 1
        retries = self._given.host.patience.retries
        self._warn(f"Reconnecting {self._breaks}/{retries}: {failure.message}")
        if self._stop.wait(wait_s):
            raise StoppedError

    def _compact(self) -> None:
        self._has_compacted = True
        try:
            while not self._is_compacted():
                pass
        finally:
            self._compactor.give_up(is_stopped=self._stop.is_set())
        self._breaks = 0

    def _is_compacted(self) -> bool:
        try:
            self._compactor.compact(self._sent())
        except Failure as failure:
            is_too_long = failure.kind == "contextWindowExceeded"
            mending = None if is_too_long else self._mending(failure)
            if mending is None:
                raise
            mending()
            return False
        return True


class Shortening(RunningTurn):
    """A thread that is made shorter between two turns: one request, and none of a turn's lines."""

    def __init__(self, given: Given, mailbox: Mailbox) -> None:
        super().__init__(given, (), mailbox)

    def _through(self) -> None:
        if self._given.log.items:
            self._compact()

    def _end(self, status: str) -> None:
        """Have it outlast the machine; no turn ends."""
        if status == "completed":
            self._given.log.settle()


BAD_REQUEST: Final = 400
REFUSED: Final = frozenset({400, 413, 422})
"""Statuses by which a host says that it does not like what it was sent."""


def _whole(output: Sequence[Json]) -> list[Json]:
    """Return what a broken response left that can stand: thoughts need what they led to."""
    kept = list(output)
    while kept and kept[-1].get("type") == "reasoning":
        kept.pop()
    return kept
