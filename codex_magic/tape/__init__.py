"""Tapes: recorded lessons, played to Codex in the place of a model.

A tape replaces the model's answers and nothing else. Nothing is played or listens until a
`Player` is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from codex_magic.errors import CellError
from codex_magic.tape.format import Tape, encode, parse, read
from codex_magic.tape.player import Player

__all__ = ["Player", "Tape", "encode", "find", "lessons", "parse", "read"]

LESSONS: Final = Path(__file__).parent / "lessons"


def lessons() -> tuple[str, ...]:
    """Return the names of the built-in lessons."""
    return tuple(sorted(path.stem for path in LESSONS.glob("*.jsonl")))


def find(name: str | Path) -> Tape:
    """Return a built-in lesson by its name, or the one in a file.

    Raises
    ------
    CellError
        There is none of that name.
    RecordError
        There is, and it cannot be read.
    """
    if str(name) in lessons():
        return read(LESSONS / f"{name}.jsonl")
    path = Path(name).expanduser()
    if path.is_file():
        return read(path)
    raise CellError(f"there is no lesson {str(name)!r}", hint=f"There are: {', '.join(lessons())}")
