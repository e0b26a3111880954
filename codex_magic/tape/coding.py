"""How the body of a request was packed, and what was in it."""

from __future__ import annotations

import gzip
import importlib
import zlib
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from types import ModuleType

ZSTD: Final = ("compression.zstd", "backports.zstd", "zstandard")
"""Modules that read zstd; the first is Python's own from 3.14 on, none is a dependency."""


class CodingError(Exception):
    """Nobody here can read what a body is packed in."""


def decoded(body: bytes, coding: str) -> bytes:
    """Return what was packed.

    Raises
    ------
    CodingError
        Nobody here reads this coding.
    ValueError
        The body is not in this coding.
    """
    if coding == "identity":
        return body
    if coding == "gzip":
        try:
            return gzip.decompress(body)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"it is not gzip: {error}") from error
    if coding == "zstd" and (reader := _zstd()):
        try:
            return bytes(reader.decompress(body))
        except reader.ZstdError as error:
            raise ValueError(f"it is not zstd: {error}") from error
    raise CodingError(f"this server does not read {coding}")


def _zstd() -> ModuleType | None:
    for name in ZSTD:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None
