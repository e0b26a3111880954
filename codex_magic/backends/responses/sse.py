"""Server-sent events to JSON, from bytes cut anywhere.

Pure: bytes in, objects out. Strict where a turn depends on it (whole events, real JSON, a bounded
size) and indifferent to the rest of the format: `event:`, `id:` and `retry:` say nothing that the
data do not say. What an event means is the business of whoever reads it.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from codex_magic.backends.responses.failures import Failure

Json = dict[str, Any]

LARGEST_EVENT: Final = 16 * 1024 * 1024
"""Bytes; the largest real ones hold an image."""

_BOM: Final = b"\xef\xbb\xbf"
_ENDS: Final = b"\r\n"
_CR: Final = 13

_ESCAPE: Final = re.compile(
    rb"\\(?:u[dD][89abAB]..\\u[dD][c-fC-F]..|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
"""Any escape of JSON; half a pair of surrogates is the group."""


class Decoder:
    """The events of one stream.

    However its bytes are cut, the events are the same: `feed` returns those that its bytes complete.

    Attributes
    ----------
    failure
        Why no more events come; what was complete before has been returned.
    """

    def __init__(self) -> None:
        self.failure: Failure | None = None
        self._decode = msgspec.json.Decoder().decode
        self._pieces: list[bytes] = []  # of a line that has not ended
        self._lines: list[bytes] = []  # the data of an event that has not ended
        self._held = 0
        self._is_named = False  # by a line that says nothing else
        self._is_first = True
        self._after_cr = False

    @property
    def is_within(self) -> bool:
        """Whether something has begun that has not ended."""
        return bool(self._pieces or self._lines or self._is_named)

    def feed(self, data: bytes) -> list[Json]:
        """Return the events that end in `data`.

        Raises
        ------
        Failure
            No event ends before one that is not JSON, not an object with a type, or larger than
            any real one; where some do, the next call raises.
        """
        if self.failure is not None:
            raise self.failure
        if self._after_cr:
            # Bytes may part a line's two ends.
            data = data.removeprefix(b"\n")
        if not data:
            return []
        self._after_cr = data[-1] == _CR
        lines = data.splitlines()
        rest = b"" if data[-1] in _ENDS else lines.pop()
        events: list[Json] = []
        try:
            self._read(lines, rest, events)
        except Failure as failure:
            self.failure = failure
            if not events:
                raise
        return events

    def close(self) -> None:
        """End the stream.

        Raises
        ------
        Failure
            It ends within an event, or has failed before.
        """
        if self.failure is not None:
            raise self.failure
        begun = b"".join(self._pieces)
        if self._lines or self._is_named or (begun and not begun.startswith(b":")):
            raise Failure(
                "the model's answer broke off in the middle of an event",
                kind="connectionLost",
                retries=True,
            )

    def _read(self, lines: list[bytes], rest: bytes, events: list[Json]) -> None:
        if lines:
            self._begin(lines)
        for line in lines:
            if not line:
                self._is_named = False
                if self._lines:
                    self._end(events)
            elif line.startswith(b"data:"):
                self._lines.append(line[5:].removeprefix(b" "))
                self._held += len(line)
            elif not line.startswith(b":"):
                self._is_named = True
        if rest:
            self._pieces.append(rest)
            self._held += len(rest)
        if self._held > LARGEST_EVENT:
            raise _too_large()

    def _begin(self, lines: list[bytes]) -> None:
        """Join the first of `lines` with what came of it before."""
        if self._pieces:
            self._held -= sum(map(len, self._pieces))
            lines[0] = b"".join([*self._pieces, lines[0]])
            self._pieces.clear()
        if self._is_first:
            self._is_first = False
            lines[0] = lines[0].removeprefix(_BOM)

    def _end(self, events: list[Json]) -> None:
        raw = self._lines[0] if len(self._lines) == 1 else b"\n".join(self._lines)
        self._lines.clear()
        self._held = 0
        if len(raw) > LARGEST_EVENT:
            raise _too_large()
        try:
            event = self._decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            if raw.strip() == b"[DONE]":
                return
            event = _mended(raw)
        is_typed = isinstance(event, dict) and isinstance(event.get("type"), str)
        events.append(event if is_typed else _typed(event))


def _mended(raw: bytes) -> Any:
    """Return the JSON of a host that cuts its text within characters, as JavaScript counts them."""
    whole = _ESCAPE.sub(lambda found: rb"\ufffd" if found[1] else found[0], raw)
    try:
        return msgspec.json.decode(whole)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise Failure(
            "the model's host sent an event that is not JSON", kind="badStream", retries=True
        ) from None


def _typed(event: Any) -> Json:
    """Return an error that a host or a proxy sends without saying that it is one."""
    if isinstance(event, dict) and event.get("error"):
        return {"type": "error", **event}
    raise Failure(
        "the model's host does not stream the events of the Responses API", kind="badStream"
    )


def _too_large() -> Failure:
    return Failure("the model's host sent an event of more than 16 MiB", kind="badStream")
