"""The rows of a list of threads, read from the ends of their files.

A thread's first line says whose folder it is of, its last ones whether it is in the archive. Only
of the few that are shown is more read than that: somebody may have renamed them at any time.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from codex_magic.backends.base import StoredThread
from codex_magic.backends.responses import lines

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

_HEAD_BYTES: Final = 4 * 1024
_TAIL_BYTES: Final = 16 * 1024
_TURN: Final = lines.begins(lines.TurnLine)
_TITLE: Final = lines.begins(lines.TitleLine)
_ARCHIVED: Final = lines.begins(lines.ArchivedLine)


def newest_first(folder: Path) -> list[tuple[Path, float]]:
    """Return the files of a folder and when each was last written, the latest first."""
    try:
        with os.scandir(folder) as entries:
            names = [entry for entry in entries if entry.name.endswith(".jsonl")]
            found = [(entry.stat(follow_symlinks=False).st_mtime, entry.name) for entry in names]
    except OSError:
        return []
    return [(folder / name, at) for at, name in sorted(found, reverse=True)]


def row(
    path: Path, used_at: float, cwd: str | None, *, archived: bool = False
) -> StoredThread | None:
    """Return a thread's row; None for one of another folder, unreadable, or on the other list."""
    try:
        with path.open("rb") as file:
            head = _head(file)
            if head is None or (cwd is not None and head.cwd != cwd):
                return None
            if _is_archived(file) != archived:
                return None
            title = _title(file) or head.title or head.preview
    except OSError:
        return None
    return StoredThread(head.id, title, head.cwd, head.origin, used_at, ours=True)


def _head(file: BinaryIO) -> lines.Head | None:
    first = file.readline(_HEAD_BYTES)
    if not first.endswith(b"\n"):
        first += file.readline()
    try:
        line = lines.decode(first)
    except ValueError:
        return None
    return line if isinstance(line, lines.Head) else None


def _is_archived(file: BinaryIO) -> bool:
    """Whether it was archived behind its last turn."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    tail = file.read()
    if (turn := tail.rfind(_TURN)) < 0:
        file.seek(0)
        tail = file.read()
        turn = tail.rfind(_TURN)
    line = _last(tail, _ARCHIVED, turn)
    return isinstance(line, lines.ArchivedLine) and line.archived


def _title(file: BinaryIO) -> str:
    file.seek(0)
    line = _last(file.read(), _TITLE, 0)
    return line.title if isinstance(line, lines.TitleLine) else ""


def _last(data: bytes, begins: bytes, start: int) -> lines.Line | None:
    """Return the last line of a kind behind `start`."""
    at = data.rfind(begins, max(0, start))
    if at < 0:
        return None
    try:
        return lines.decode(data[at:].split(b"\n", 2)[1])
    except ValueError:
        return None
