"""Whether an image is there to its end, as far as that is told without decoding it: pure.

A file that broke off while it was written or copied begins like any other. Models' hosts refuse it,
and with it every later turn of the thread that it is in. What stands behind an image's end is
nobody's business here, as it is none of those who decode it.
"""

from __future__ import annotations

import re
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from codex_magic.images.kind import Kind


def check(data: bytes, found: Kind) -> None:
    """Make sure that `data` has the end of the image that it begins.

    Raises
    ------
    ValueError
        It has not; the text goes on from "it".
    """
    if found.name == "png":
        is_whole = _png(data)
    elif found.name == "jpeg":
        is_whole = _jpeg(data)
    elif found.name == "webp":
        is_whole = len(data) >= 8 + int.from_bytes(data[4:8], "little")
    else:
        is_whole = True  # a GIF's end was seen when its pictures were counted
    if not is_whole:
        raise ValueError("is cut off")


def _png(data: bytes) -> bool:
    at, has_pixels = 8, False
    while len(data) >= at + 12:
        length, name = int.from_bytes(data[at : at + 4]), data[at + 4 : at + 8]
        end = at + 8 + length
        if len(data) < end + 4:
            return False
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]):
            raise ValueError("is damaged")
        if name == b"IEND":
            return has_pixels
        has_pixels = has_pixels or name == b"IDAT"
        at = end + 4
    return False


_MARKER: Final = re.compile(rb"\xff+([^\x00\xff])")
_SCAN: Final = 0xDA
_END: Final = 0xD9
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Those that nothing follows: among the pixels, they only part them."""


def _jpeg(data: bytes) -> bool:
    at, has_pixels = 2, False
    while marker := _MARKER.search(data, at):
        at, name = marker.end(), marker[1][0]
        if name == _END:
            return has_pixels
        has_pixels = has_pixels or name == _SCAN
        if name not in _BARE:
            at += int.from_bytes(data[at : at + 2])
    return False
