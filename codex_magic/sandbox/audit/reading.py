"""What the log tells: the last commands, and those whose kernel died before they ended.

It is read from its end, so that its length costs nothing. Lines are not held against the chain.
"""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from codex_magic.errors import SandboxError
from codex_magic.sandbox.audit import files, kernels
from codex_magic.sandbox.audit.lines import UNKNOWN, End, Start, parsed

if TYPE_CHECKING:
    from pathlib import Path

RECENT_BYTES: Final = 256 * 1024
PENDING: Final = 10_000

_HEAD: Final = re.compile(rb'\{"previous":"[0-9a-f]{64}","kind":"(start|end)","id":"(\w+)"')


class Record(NamedTuple):
    """One command: its two lines, as far as they are there; or lines that cannot be read."""

    start: Start | None = None
    end: End | None = None
    unreadable: int = 0


def read(path: Path, last: int = 20) -> list[Record]:
    """Return the `last` commands, the newest at the end, and between them what is unreadable.

    Raises
    ------
    SandboxError
        There is a log, but it cannot be read.
    """
    with contextlib.suppress(FileNotFoundError), files.reading(path) as file:
        return _records(file.fileno(), last)
    return []


def unfinished(path: Path) -> list[Start]:
    """Return the recent commands that never ended because their kernel is gone.

    Only the last `RECENT_BYTES` are looked at. Where nothing can be read, there are none.
    """
    with contextlib.suppress(FileNotFoundError, SandboxError), files.reading(path) as file:
        return orphans(file.fileno())
    return []


def orphans(fd: int) -> list[Start]:
    """Return what `unfinished` does, of an open log."""
    ended: set[bytes] = set()
    found: list[Start] = []
    for raw in files.backwards(fd, RECENT_BYTES):
        # Reading every line as JSON would take some ten milliseconds, at each load.
        if not (head := _HEAD.match(raw)):
            continue
        if head[1] == b"end":
            ended.add(head[2])
        elif head[2] not in ended:
            line = parsed(raw)
            if isinstance(line, Start) and not kernels.alive(line):
                found.append(line)
    return found[::-1]


def _records(fd: int, last: int) -> list[Record]:
    """Return what `read` does; the ends are met first, and wait for their starts."""
    found: list[Record] = []
    ends: dict[str, End] = {}
    for raw in files.backwards(fd):
        if len(found) >= last or len(ends) >= PENDING:
            break
        line = parsed(raw)
        if isinstance(line, Start):
            found.append(Record(line, ends.pop(line.id, None)))
        elif isinstance(line, End):
            # One that was held for lost may have gone on in a place that could not be seen.
            if line.id not in ends or ends[line.id].outcome == UNKNOWN:
                ends[line.id] = line
        elif raw and found and found[-1].unreadable:
            found[-1] = Record(unreadable=found[-1].unreadable + 1)
        elif raw:
            found.append(Record(unreadable=1))
    else:
        found.extend(Record(end=end) for end in list(ends.values())[: last - len(found)])
    return found[::-1]
