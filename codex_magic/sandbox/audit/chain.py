"""The chain through the log: how a line is linked to the one before, and whether all are."""

from __future__ import annotations

import dataclasses
import fcntl
import hashlib
import json
import os
from typing import TYPE_CHECKING, Any, Final

from codex_magic.sandbox.audit import files
from codex_magic.sandbox.audit.lines import loaded

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedReader
    from pathlib import Path

ORIGIN: Final = "0" * 64

_BEGIN: Final = b'{"previous":"%s"'
_SEAL: Final = b',"sum":"%s"}'
_SEAL_BYTES: Final = len(_SEAL % ORIGIN.encode())
_START_MISSING: Final = b'"start_missing":true'  # in a text the quotes would be escaped


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What `verify` found.

    Parameters
    ----------
    ok
        Whether every line is as it was written, and follows from the one before it.
    lines
        How many lines were looked at: all, or those up to the first bad one.
    bad_line, why
        The number of the first bad line, counted from 1 (0: of the log as a whole), and what
        is wrong with it.
    torn
        Lines whose writing a crash cut short: the beginning of what had to come. They are not
        held for bad.
    last
        The hash of the last line. Kept somewhere else, it tells a later cut at the end.
    """

    ok: bool
    lines: int
    bad_line: int | None = None
    why: str = ""
    torn: int = 0
    last: str = ORIGIN

    def __str__(self) -> str:
        torn = f"; {self.torn} of them cut short while being written" if self.torn else ""
        if self.ok:
            return f"the audit log is whole: {self.lines} lines{torn}; the last is {self.last}"
        where = f"at line {self.bad_line}" if self.bad_line else "as a whole"
        return f"the audit log was changed: {where}, {self.why}{torn}"


def digest(line: bytes) -> str:
    """Return the hash of a whole line, without its newline, as the next one names it."""
    return hashlib.sha256(line).hexdigest()


def linked(previous: str, said: Mapping[str, Any]) -> bytes:
    """Return the line that says `said` behind the one whose hash is `previous`."""
    body = json.dumps({"previous": previous, **said}, separators=(",", ":")).encode()
    return body[:-1] + _SEAL % digest(body).encode()


def verify(path: Path, known: str = "") -> Verdict:
    """Return whether the chain holds, up to where the log ends now; a missing log is whole.

    Parameters
    ----------
    known
        The hash of a line, as an earlier `Verdict.last` said it, that must still be there.

    Raises
    ------
    SandboxError
        The log cannot be read.
    """
    try:
        with files.reading(path) as file:
            files.lock(file.fileno(), fcntl.LOCK_SH)
            size = os.fstat(file.fileno()).st_size  # while nobody is in the middle of a line
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)
            verdict, met = _followed(file, size, known)
    except FileNotFoundError:
        verdict, met = Verdict(ok=True, lines=0), known == ORIGIN
    if verdict.ok and known and not met:
        why = f"the line {known} is gone: the log was cut or begun anew"
        return dataclasses.replace(verdict, ok=False, bad_line=0, why=why)
    return verdict


def _followed(file: BufferedReader, size: int, known: str) -> tuple[Verdict, bool]:
    """Follow the chain through `size` bytes; say also whether the line `known` was met."""
    previous, count, torn, met = ORIGIN, 0, 0, known == ORIGIN
    while size > 0 and (whole := file.readline(min(size, files.LONGEST_BYTES))):
        size -= len(whole)
        count += 1
        raw = whole.removesuffix(b"\n")
        why = _wrong(raw, previous)
        if why and _cut_short(raw, previous):
            torn += 1
        elif why:
            return Verdict(ok=False, lines=count, bad_line=count, why=why, torn=torn), met
        previous = digest(raw)
        met = met or previous == known
    return Verdict(ok=True, lines=count, torn=torn, last=previous), met


def _cut_short(raw: bytes, previous: str) -> bool:
    """Return whether `raw` is the beginning of the line to come; a crash may fill it with NULs."""
    begin, there = _BEGIN % previous.encode(), raw.rstrip(b"\0")
    if not raw or there[: len(begin)] != begin[: len(there)]:
        return False
    return loaded(there) is None


def _wrong(raw: bytes, previous: str) -> str:
    """Return what is wrong with a line behind the one whose hash is `previous`, if anything."""
    if not raw.startswith(_BEGIN.partition(b"%")[0]):
        return "it is no line of this log"
    if not _sealed(raw):
        return "it is not as it was written"
    if not raw.startswith(_BEGIN % previous.encode()):
        before = "the log's beginning" if previous == ORIGIN else "the line before, or its place,"
        return f"{before} is not what it was when this line was written"
    return "its start was taken out while it ran" if _START_MISSING in raw else ""


def _sealed(raw: bytes) -> bool:
    return raw.endswith(_SEAL % digest(raw[:-_SEAL_BYTES] + b"}").encode())
