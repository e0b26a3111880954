"""A thread that has become too long: its beginning is replaced by a summary of the model's own.

The summary is an item that a person can read. What was said stays in the thread's log; it is only
not sent any more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic import events as ev
from codex_magic.backends.responses import wire
from codex_magic.backends.responses.failures import Failure, of_event
from codex_magic.backends.responses.reader import ENDED_EARLY, words
from codex_magic.backends.responses.replay import answered
from codex_magic.items import EMPTY, Compaction, Status, Text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from codex_magic.backends.responses.host import Host
    from codex_magic.backends.responses.log import ThreadLog

Json = dict[str, Any]

FULL: Final = 0.9
"""The part of a model's context above which a thread is summarised before it is sent again."""

SMALL_TOKENS: Final = 16_000
"""A thread below this fits every model: nobody need be asked how much a model can read."""

BYTES_PER_TOKEN: Final = 4
"""For an estimate of what the host has not counted yet."""

IMAGE_TOKENS: Final = 2_500

LAST_WORDS_BYTES: Final = 32 * 1024
"""Of what a person said last, as much is kept word for word."""

ASK: Final = (
    "This conversation has become too long to go on with. Write a summary for the agent that takes "
    "it over from here and sees nothing else of it: what the person wants, in their own words where "
    "these matter; what has been done and found out, with names of files, variables and figures; "
    "what was decided and why; what is still to do, and the next step. Only the summary, no tools."
)

HEAD: Final = "The conversation so far was too long and has been summarised. The summary:"


@dataclass(slots=True)
class Weight:
    """What the host has counted of a thread: so many tokens for so many of its items."""

    tokens: int = 0
    items: int = 0


class Compactor:
    """Keeps one turn's thread within what its model can read.

    Parameters
    ----------
    weight
        Of the thread; it outlives the turn.
    opening
        The items that began the turn: they are never shortened.
    events
        Yields the host's events of one request.
    report
        Puts an event into the mailbox.
    """

    def __init__(  # noqa: PLR0913 - all of a turn that it needs
        self,
        host: Host,
        log: ThreadLog,
        asking: wire.Asking,
        weight: Weight,
        *,
        opening: Sequence[Json],
        events: Callable[[Json], Iterator[Json]],
        report: Callable[[ev.Event], None],
    ) -> None:
        self._host = host
        self._log = log
        self._asking = asking
        self._events = events
        self._report = report
        self._weight = weight
        self._opening = opening
        self._times = 0
        self._item: Compaction | None = None

    def counted(self, tokens: int) -> None:
        """Take the host's count of the thread as it is now."""
        if tokens:
            self._weight.tokens, self._weight.items = tokens, len(self._log.items)

    def is_needed(self) -> bool:
        """Whether the thread no longer fits."""
        counted = self._weight
        tokens = counted.tokens + estimate(self._log.items[counted.items :])
        if tokens < SMALL_TOKENS:
            return False
        context = self._host.context_tokens(self._asking.model)
        return bool(context) and tokens > FULL * context

    def compact(self, items: Sequence[Json]) -> None:
        """Replace the thread so far by a summary of it.

        Parameters
        ----------
        items
            The thread as it is sent.

        Raises
        ------
        Failure
            The model did not give one.
        """
        if self._item is None:
            self._times += 1
            self._item = Compaction(id=f"compaction {self._asking.thread_id} {self._times}")
            self._report(ev.ItemStarted(self._item))
        summary = self._summary(items)
        self._end("completed", Text(summary))
        self._log.compact(shortened(self._log.items, self._opening, summary))
        self._weight.tokens = self._weight.items = 0

    def give_up(self, *, is_stopped: bool) -> None:
        """Note that there will be no summary; where none is open this does nothing."""
        if self._item is not None:
            self._end("interrupted" if is_stopped else "failed")

    def _end(self, status: Status, text: Text = EMPTY) -> None:
        item, self._item = self._item, None
        if item is not None:
            self._report(ev.ItemCompleted(msgspec.structs.replace(item, status=status, text=text)))

    def _summary(self, items: Sequence[Json]) -> str:
        while True:
            try:
                return self._asked(items)
            except Failure as failure:
                if failure.kind != "contextWindowExceeded" or len(items) < 2:  # noqa: PLR2004 - halves
                    raise
                # Even this is too long: the older half goes unsummarised.
                items = answered(items[len(items) // 2 :])

    def _asked(self, items: Sequence[Json]) -> str:
        body = wire.body(
            replace(self._asking, schema=None),
            [*items, wire.text_item("user", ASK)],
            without=self._host.left_out(self._asking.model),
        )
        if "tool_choice" in body:
            body = {**body, "tool_choice": "none"}
        pieces: list[str] = []
        whole = ""
        for event in self._events(body):
            match event.get("type"):
                case "response.output_text.delta":
                    pieces.append(str(event.get("delta") or ""))
                case "response.output_item.done":
                    item = event.get("item") or {}
                    whole += words(item) if item.get("type") == "message" else ""
                case "response.completed":
                    break
                case "response.failed" | "response.incomplete" | "error":
                    raise of_event(event)
        else:
            raise Failure(ENDED_EARLY, kind="streamDisconnected", retries=True)
        if found := whole or "".join(pieces):
            return found
        raise Failure(
            "the thread is too long, and the model gave no summary of it", kind="badResponse"
        )


def estimate(items: Sequence[Json]) -> int:
    """Return about how many tokens `items` are; an image counts as an image, not by its bytes."""
    total = 0
    for item in items:
        text = msgspec.json.encode(item)
        images = text.count(b'"data:image/')
        if images:
            total += images * IMAGE_TOKENS + len(_without_images(text)) // BYTES_PER_TOKEN
        else:
            total += len(text) // BYTES_PER_TOKEN
    return total


def _without_images(text: bytes) -> bytes:
    pieces = text.split(b'"data:image/')
    return pieces[0] + b"".join(piece.partition(b'"')[2] for piece in pieces[1:])


def shortened(items: Sequence[Json], opening: Sequence[Json], summary: str) -> list[Json]:
    """Return what is sent from now on.

    That is our notes, what the person said last, the summary, and what this turn is about: its
    prompt whole, with its images, and what was added to it.
    """
    begin = next((n for n, item in enumerate(items) if any(item is o for o in opening)), len(items))
    notes: dict[str, Json] = {}
    kept: list[Json] = []
    left = LAST_WORDS_BYTES
    for item in reversed(items[:begin]):
        if item.get("role") == "developer":
            notes.setdefault(words(item).partition("\n")[0], item)
        for text in _said(item):
            left -= len(text.encode(errors="replace"))
            if left >= 0:
                kept.append(wire.text_item("user", text))
    told = wire.text_item("user", f"{HEAD}\n\n{summary}")
    own = [item for item in items[begin:] if item.get("role") in ("developer", "user")]
    for item in own:
        if item.get("role") == "developer":
            notes.pop(words(item).partition("\n")[0], None)
    return [*notes.values(), *reversed(kept), told, *own]


def _said(item: Json) -> list[str]:
    """Return what a person says in `item`, but for an earlier summary."""
    found = [text for who, text in wire.said([item]) if who == "user"]
    return [text for text in found if not text.startswith(HEAD)]
