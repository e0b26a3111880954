"""The encodings of an answer's body, taken off as it arrives.

Pure. An encoding that nobody asked for is a failure, and so is one that is not what it says.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from codex_magic.backends.responses.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

ACCEPTED: Final = "gzip"

_LARGEST_PIECE: Final = 1 << 20
_ANY_ZLIB: Final = 47  # gzip or deflate, whichever the first bytes say


def plain(chunks: Iterable[bytes], encoding: str) -> Iterator[bytes]:
    """Return the bytes that `chunks` stand for, each piece as soon as it can be had.

    Raises
    ------
    Failure
        They are not encoded as `encoding` says, or so that nobody here can read them.
    """
    if encoding in ("", "identity"):
        yield from chunks
    elif encoding in ("gzip", "x-gzip", "deflate"):
        yield from _inflated(chunks)
    else:
        raise Failure("the model's host encodes its answer as nobody asked it to", kind="badStream")


def _inflated(chunks: Iterable[bytes]) -> Iterator[bytes]:
    inflater = zlib.decompressobj(_ANY_ZLIB)
    for chunk in chunks:
        rest = chunk
        while rest:
            if inflater.eof:  # one part has ended, and another follows
                inflater = zlib.decompressobj(_ANY_ZLIB)
            try:
                piece = inflater.decompress(rest, _LARGEST_PIECE)
            except zlib.error:
                raise Failure(
                    "the model's host says that its answer is compressed, and it is not",
                    kind="badStream",
                    retries=True,
                ) from None
            rest = inflater.unconsumed_tail or inflater.unused_data
            if piece:
                yield piece
