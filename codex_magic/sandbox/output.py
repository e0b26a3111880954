"""What is kept of a stream: its head, its tail, and how much lay between.

Pure: bytes go in, text comes out. Reading, timing and killing are other modules' business.
"""

from __future__ import annotations

import codecs
import hashlib
from typing import Final

MARKER: Final = "\n... {count} bytes omitted ...\n"
CONTINUATION: Final = range(0x80, 0xC0)
LONGEST_CHARACTER: Final = 4


class Capture:
    """One stream of a command, in at most `limit` bytes.

    The first half of the limit is for the beginning, the second for the end. How the bytes were
    cut into chunks on the way does not change the text.

    Parameters
    ----------
    limit
        Bytes to keep.
    """

    __slots__ = ("_decoder", "_digest", "_head", "_head_limit", "_tail", "_tail_limit", "received")

    def __init__(self, limit: int) -> None:
        self.received = 0
        self._tail_limit = max(limit, 0) // 2
        self._head_limit = max(limit, 0) - self._tail_limit
        self._head = bytearray()
        self._tail = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._digest = hashlib.sha256()

    def feed(self, data: bytes) -> str:
        """Take `data` in and return the text to show now; nothing once the head is full."""
        self.received += len(data)
        self._digest.update(data)
        head = data[: self._head_limit - len(self._head)]
        self._head += head
        self._tail += data[len(head) :]
        # Twice the limit before cutting: the cost per byte stays the same however much comes.
        if len(self._tail) > 2 * self._tail_limit:
            del self._tail[: len(self._tail) - self._tail_limit]
        return self._decoder.decode(head)

    def finish(self) -> str:
        """Return what the decoder still holds, once the stream has ended."""
        return "" if self.truncated else self._decoder.decode(b"", final=True)

    @property
    def truncated(self) -> bool:
        """Whether the stream was longer than what is kept."""
        return self.received > self._head_limit + self._tail_limit

    @property
    def sha256(self) -> str:
        """The SHA-256 of all of it, also of what is not kept; empty if it is."""
        return self._digest.hexdigest() if self.received else ""

    def text(self) -> str:
        """Return the stream, with a line in the middle that names the bytes left out, if any."""
        if not self.truncated:
            return (self._head + self._tail).decode("utf-8", "replace")
        head = _without_cut_end(bytes(self._head))
        tail = _without_cut_start(bytes(self._tail[len(self._tail) - self._tail_limit :]))
        count = self.received - len(head) - len(tail)
        return (
            head.decode("utf-8", "replace")
            + MARKER.format(count=count)
            + tail.decode("utf-8", "replace")
        )


def _without_cut_end(data: bytes) -> bytes:
    """Return `data` less a character at its end of which only the beginning is there."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return data[: len(data) - len(decoder.getstate()[0])]


def _without_cut_start(data: bytes) -> bytes:
    """Return `data` less the end of a character whose beginning is missing."""
    start = 0
    while start < min(LONGEST_CHARACTER - 1, len(data)) and data[start] in CONTINUATION:
        start += 1
    return data[start:]
