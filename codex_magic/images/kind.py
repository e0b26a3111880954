"""What an image is by its first bytes, and how large: pure, and without a library.

It decodes nothing. What is not one of the four kinds that models read is told apart only so far
that the person learns what it is instead.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

KINDS: Final = ("png", "jpeg", "webp", "gif")


@dataclass(frozen=True, slots=True)
class Kind:
    """An image that models read.

    Parameters
    ----------
    name
        One of `KINDS`, as in ``image/png``.
    width, height
        In pixels.
    """

    name: str
    width: int
    height: int

    @property
    def longest(self) -> int:
        """Pixels of the longer side."""
        return max(self.width, self.height)


def kind(data: bytes) -> Kind:
    """Return what image `data` is.

    Raises
    ------
    ValueError
        It is none that a model reads; the text goes on from "it".
    """
    if not data:
        raise ValueError("is empty")
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            found = Kind("png", *struct.unpack_from(">II", data, 16))
        elif data.startswith(b"\xff\xd8\xff"):
            found = _jpeg(data)
        elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            found = _webp(data)
        elif data[:6] in (b"GIF87a", b"GIF89a"):
            found = _gif(data)
        else:
            raise ValueError(_instead(data))
    except (struct.error, IndexError):
        raise ValueError("is cut off") from None
    if not (found.width and found.height):
        raise ValueError("has no pixels")
    return found


_BEGIN: Final = 0xFF
_FRAMES: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""The segments of a JPEG that tell its size."""
_BARE: Final = frozenset({0x01, *range(0xD0, 0xD9)})
"""Those that have no length."""


def _jpeg(data: bytes) -> Kind:
    at = 2
    while True:
        while data[at] != _BEGIN:  # between segments some cameras leave bytes
            at += 1
        while data[at] == _BEGIN:
            at += 1
        marker = data[at]
        at += 1
        if marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, at + 3)
            return Kind("jpeg", width, height)
        if marker not in _BARE:
            at += struct.unpack_from(">H", data, at)[0]


_ANIMATED: Final = 0x02


def _webp(data: bytes) -> Kind:
    form = data[12:16]
    if form == b"VP8X":
        if data[20] & _ANIMATED:
            raise ValueError(_MOVES)
        sides = int.from_bytes(data[24:27], "little"), int.from_bytes(data[27:30], "little")
        _whole(data, 30)
        return Kind("webp", sides[0] + 1, sides[1] + 1)
    if form == b"VP8L":
        bits = struct.unpack_from("<I", data, 21)[0]
        return Kind("webp", (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1)
    width, height = struct.unpack_from("<HH", data, 26)
    return Kind("webp", width & 0x3FFF, height & 0x3FFF)


_MOVES: Final = "moves, and models read still images only"
_EXTENSION: Final = 0x21
_PICTURE: Final = 0x2C
_TRAILER: Final = b";"


def _gif(data: bytes) -> Kind:
    width, height = struct.unpack_from("<HH", data, 6)
    at = 13 + _table(data[10])
    pictures = 0
    while at < len(data) and data[at] in (_EXTENSION, _PICTURE):
        if data[at] == _EXTENSION:
            at += 2
        else:
            pictures += 1
            if pictures > 1:
                raise ValueError(_MOVES)
            at += 11 + _table(data[at + 9])
        while data[at]:
            at += 1 + data[at]
        at += 1
    # Zeros before the end are harmless, and some programs write them.
    if not pictures or data[at:].lstrip(b"\0")[:1] != _TRAILER:
        raise ValueError("is cut off")
    return Kind("gif", width, height)


def _table(flags: int) -> int:
    """Return the bytes of the table of colours that these flags announce."""
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _whole(data: bytes, length: int) -> None:
    if len(data) < length:
        raise ValueError("is cut off")


def _instead(data: bytes) -> str:
    head = data[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(b"<") and b"<svg" in head:
        return "is an SVG drawing, and models read pixels only"
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "is a web page and no image"
    if head.startswith(b"%pdf"):
        return "is a PDF file and no image"
    return "is no PNG, JPEG, WEBP or GIF image"
