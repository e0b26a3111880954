"""The chunks of an HTTP/1.1 body, taken apart as they come.

Pure. httpcore2 can do this too, and does for whatever is not read through here; but it is written for
every body there is, and a stream of deltas is thousands of tiny ones: most of what one costs was this.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST_LINE: Final = 16 * 1024

_SIZE: Final = re.compile(rb"([0-9a-fA-F]{1,15})[ \t]*(?:;[^\r\n]*)?")


class Dechunker:
    """The body of one answer.

    Attributes
    ----------
    is_over
        Whether its last chunk has come.
    rest
        What came behind it.
    """

    def __init__(self) -> None:
        self.is_over = False
        self.rest = b""
        self._held = b""
        self._left = 0
        self._is_behind_data = False
        self._is_in_trailers = False

    def feed(self, data: bytes) -> bytes:
        """Return what of the body is in `data`.

        Raises
        ------
        ValueError
            These are no chunks.
        """
        if self._held:
            data = self._held + data
            self._held = b""
        found: list[bytes] = []
        at = 0
        while at < len(data) and not self.is_over:
            if self._left:
                piece = data[at : at + self._left]
                found.append(piece)
                at += len(piece)
                self._left -= len(piece)
                self._is_behind_data = True
                continue
            end = data.find(b"\r\n", at)
            if end < 0:
                if len(data) - at > LONGEST_LINE:
                    raise ValueError
                break
            self._line(data[at:end])
            at = end + 2
        if self.is_over:
            self.rest = data[at:]
        else:
            self._held = data[at:]
        return found[0] if len(found) == 1 else b"".join(found)

    def _line(self, line: bytes) -> None:
        if self._is_in_trailers:
            self.is_over = not line
        elif self._is_behind_data:
            if line:
                raise ValueError
            self._is_behind_data = False
        elif (size := _SIZE.fullmatch(line)) is None:
            raise ValueError
        else:
            self._left = int(size[1], 16)
            self._is_in_trailers = not self._left
