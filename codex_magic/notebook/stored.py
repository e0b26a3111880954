"""The turns that stand in a notebook's outputs: found, and taken out again.

Whatever stands there in the place of a turn is data: what is none is passed over.
"""

from __future__ import annotations

from typing import Any, Final

from codex_magic.errors import RecordError
from codex_magic.turn import MIME, Turn, from_json

KEY: Final = "codex"
"""What we keep in a cell's metadata."""


def turns(cell: Any) -> list[Turn]:
    """Return the turns that a cell's outputs hold, in order."""
    found = []
    for output in cell.get("outputs", ()):
        turn = read(output.get("data"))
        if turn is not None:
            found.append(turn)
    return found


def read(data: Any) -> Turn | None:
    """Return the turn in an output's bundle; None where there is none that can be read."""
    if not isinstance(data, dict) or MIME not in data:
        return None
    try:
        return from_json(data[MIME])
    except (RecordError, RecursionError):
        return None


def strip(notebook: Any) -> tuple[int, int]:
    """Take out all turns and our notes in cells, and nothing else; return how many of each."""
    turns = notes = 0
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            data, metadata = output.get("data"), output.get("metadata")
            turns += isinstance(data, dict) and _take(data, MIME)
            if isinstance(metadata, dict):
                notes += _take(metadata, MIME)
        notes += _take(cell.metadata, KEY)
    return turns, notes


def _take(values: dict[str, Any], key: str) -> bool:
    is_there = key in values
    values.pop(key, None)
    return is_there
