"""One running turn: ask the model, have its calls run, tell it what came of them, until it is done.

The loop has an OS thread of its own. Everything it is told (answers, more words, that it is to stop)
comes from other OS threads; everything it reports goes into the mailbox, the end of the turn last.
Whatever the model is told or says stands in the thread's log before anything is built on it.
"""

from __future__ import annotations

import logging
import queue
import random
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from codex_magic import events as ev
from codex_magic.backends.base import Mailbox, ToolAnswer
from codex_magic.backends.responses import calls, wire
from codex_magic.backends.responses.client import AbortedError
from codex_magic.backends.responses.compaction import Compactor, Weight
from codex_magic.backends.responses.failures import Failure
from codex_magic.backends.responses.reader import ENDED_EARLY, Reader
from codex_magic.backends.responses.replay import portable
from codex_magic.errors import CellError, CodexMagicError
from codex_magic.items import Text, UserMessage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from codex_magic.backends.responses.client import Stream
    from codex_magic.backends.responses.host import Host
    from codex_magic.backends.responses.log import ThreadLog

log = logging.getLogger(__name__)

Json = dict[str, Any]

ABORTED: Final = ToolAnswer(
    "outcome: aborted - the turn was over before this was done", success=False
)


class _StoppedError(Exception):
    """The turn is to end here."""


@dataclass(frozen=True, slots=True)
class Given:
    """What a turn is given to run with."""

    host: Host
    log: ThreadLog
    asking: wire.Asking
    account: str
    prompt: str
    weight: Weight


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
        self._answers: queue.SimpleQueue[tuple[int, ToolAnswer] | None] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._stream: Stream | None = None
        self._guard = threading.Lock()
        self._steers: list[str] = []
        self._takes_no_more = False
        self._requests = 0
        self._responses = 0
        self._breaks = 0
        self._turn_state = ""
        self._compactor = Compactor(
            given.host,
            given.log,
            given.asking,
            given.weight,
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
        self._answers.put((request_id, answer))

    def interrupt(self) -> None:
        """End the turn, wherever it is."""
        with self._guard:
            self._takes_no_more = True
            self._stop.set()
            stream = self._stream
        self._answers.put(None)
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

    def join(self, timeout_s: float) -> None:
        """Wait for its OS thread."""
        self._thread.join(timeout_s)

    # --- the loop -----------------------------------------------------------------------------

    def _run(self) -> None:
        status: Any = "completed"
        error: ev.TurnError | None = None
        self._report(ev.TurnStarted(self.id, at=time.time()))
        try:
            self._through()
        except (_StoppedError, AbortedError):
            status = "interrupted"
        except Failure as failure:
            status, error = "failed", ev.TurnError(message=failure.message, kind=failure.kind)
        except CodexMagicError as failure:
            status, error = "failed", ev.TurnError(message=str(failure))
        except Exception as failure:  # whoever waits for the turn must not wait for ever
            log.exception("a turn failed")
            said = f"codex_magic itself failed: {type(failure).__name__}"
            status, error = "failed", ev.TurnError(message=said, kind="internal")
        self._end(status)
        self._report(ev.TurnCompleted(status, error, at=time.time()))

    def _end(self, status: str) -> None:
        with self._guard:
            self._takes_no_more = True
        try:
            self._given.log.end_turn(status)
            self._tell_of_the_log()
        except Exception:  # likewise
            log.exception("the end of a turn could not be written")

    def _through(self) -> None:
        given = self._given
        model, account = given.asking.model, given.account
        before, now = (given.log.model, given.log.account), (model, account)
        if given.log.items and before != now:
            # Sealed thoughts are good only for the model and the account that they came from.
            kept = portable(given.log.items, same=False)
            if len(kept) != len(given.log.items):
                given.log.compact(kept)
                given.weight.tokens = given.weight.items = 0
        given.log.begin_turn(self.id, model=model, account=account, prompt=given.prompt)
        self._keep(self._opening)
        while True:
            if self._compactor.is_needed():
                self._compact()
            reader = self._respond()
            wanted = reader.calls
            if wanted:
                self._keep(self._done(wanted))
            if self._says_more():
                continue
            if not wanted and self._is_last():
                return

    def _report(self, event: ev.Event) -> None:
        """Put an event into the mailbox."""
        self._mailbox.put(event)

    def _keep(self, items: Sequence[Json]) -> None:
        if items:
            self._given.log.add(items)
            self._tell_of_the_log()

    def _tell_of_the_log(self) -> None:
        notices = self._given.log.notices
        while notices:
            self._report(ev.Notice(notices.pop(0), "warning"))

    def _says_more(self) -> bool:
        with self._guard:
            steers, self._steers = self._steers, []
        self._keep([wire.text_item("user", text) for text in steers])
        return bool(steers)

    def _is_last(self) -> bool:
        """Whether nothing was added in the last moment; from here on nothing can be."""
        with self._guard:
            self._takes_no_more = not self._steers
            return self._takes_no_more

    # --- asking -------------------------------------------------------------------------------

    def _respond(self) -> Reader:
        """Return the model's next response; one that breaks off is asked for again.

        Items that arrived whole before a break are kept and count: so a call among them is run once,
        and nothing is paid for twice.
        """
        while True:
            self._responses += 1
            reader = Reader(f"{self.id}.{self._responses}")
            try:
                self._read(reader)
            except (Failure, AbortedError, _StoppedError) as ending:
                for found in reader.closing():
                    self._report(found)
                self._keep(_whole(reader.history))
                if not isinstance(ending, Failure):
                    self._abandon(reader.calls)
                    raise
                self._mend(ending)
                if reader.calls:
                    return reader
            else:
                self._breaks, self._has_compacted = 0, False
                self._keep(reader.history)
                self._compactor.counted(reader.tokens)
                if not reader.output:
                    self._report(ev.Notice("the model answered nothing", "warning"))
                return reader

    def _read(self, reader: Reader) -> None:
        """Send the thread, and report what comes back until it is over."""
        items = portable(self._given.log.items, same=True)
        body = wire.body(self._given.asking, items, without=self._given.host.without)
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
        Failure, AbortedError
            The request failed; the turn is to stop.
        """
        host = self._given.host
        headers = wire.of_thread(self._given.asking.thread_id, self._turn_state)
        with host.client.stream(body, headers=headers) as stream:
            with self._guard:
                self._stream = stream
                stopped = self._stop.is_set()
            if stopped:
                raise _StoppedError
            try:
                for number, event in enumerate(stream):
                    if number == 0:
                        self._told(stream.headers)
                    yield event
            finally:
                with self._guard:
                    self._stream = None

    def _told(self, headers: Mapping[str, str]) -> None:
        self._given.host.told(headers)
        self._turn_state = headers.get(wire.TURN_STATE) or self._turn_state
        model, asked = headers.get("openai-model"), self._given.asking.model
        if model and not model.startswith(asked) and self._requests == 0:
            self._report(ev.Notice(f"{asked} was replaced by {model}", "warning"))

    def _mend(self, failure: Failure) -> None:
        """Do what lets the request be sent again; raise the failure where nothing does."""
        host = self._given.host
        if failure.kind == "contextWindowExceeded" and not self._has_compacted:
            self._compact()
            return
        part = wire.refused(failure.message) if failure.status == BAD_REQUEST else ""
        if part and part not in host.without:
            host.without |= {part}
            said = f"{host.base_url} does not take {part}; it is left out from now on"
            self._report(ev.Notice(said, "warning"))
            return
        self._wait(failure)

    def _compact(self) -> None:
        self._has_compacted = True
        while True:
            try:
                self._compactor.compact()
            except Failure as failure:
                self._wait(failure)
            else:
                return

    def _wait(self, failure: Failure) -> None:
        """Wait until a request may be sent again; raise the failure where it may not."""
        host = self._given.host
        jitter = random.uniform(-1, 1)  # noqa: S311 - not a secret
        wait_s = host.patience.wait_s(failure, self._breaks + 1, jitter)
        if wait_s is None:
            raise failure
        self._breaks += 1
        again = f"Reconnecting {self._breaks}/{host.patience.retries}"
        self._report(ev.Notice(f"{again}: {failure.message}", "warning"))
        if self._stop.wait(wait_s):
            raise _StoppedError

    # --- having calls done --------------------------------------------------------------------

    def _done(self, wanted: Sequence[calls.Call]) -> list[Json]:
        """Have calls run, and return the items that answer them; all of them, whatever happens."""
        places: dict[int, tuple[int, int]] = {}
        answers = [[ABORTED] * len(call.asked) for call in wanted]
        try:
            for i, call in enumerate(wanted):
                for j, asked in enumerate(call.asked):
                    self._requests += 1
                    places[self._requests] = i, j
                    self._report(
                        ev.ToolCallRequested(
                            self._requests, asked.call_id, asked.tool, asked.arguments
                        )
                    )
            while places:
                request_id, answer = self._answered()
                if (place := places.pop(request_id, None)) is not None:
                    answers[place[0]][place[1]] = answer
        except BaseException:
            self._keep(_outputs(wanted, answers))
            raise
        return _outputs(wanted, answers)

    def _answered(self) -> tuple[int, ToolAnswer]:
        answered = self._answers.get()
        if answered is None or self._stop.is_set():
            raise _StoppedError
        return answered

    def _abandon(self, wanted: Sequence[calls.Call]) -> None:
        """Answer calls that are never run: an open one would spoil the thread."""
        self._keep(_outputs(wanted, [[ABORTED] * len(call.asked) for call in wanted]))


BAD_REQUEST: Final = 400


def _outputs(wanted: Sequence[calls.Call], answers: Sequence[Sequence[ToolAnswer]]) -> list[Json]:
    return [calls.output(call, given) for call, given in zip(wanted, answers, strict=True)]


def _whole(output: Sequence[Json]) -> list[Json]:
    """Return what a broken response left that can stand: thoughts need what they led to."""
    kept = list(output)
    while kept and kept[-1].get("type") == "reasoning":
        kept.pop()
    return kept
