"""Cells as a notebook's file has them.

Whoever wrote the file: it is read as far as it can be understood, up to a size, and nothing of it is
obeyed.
"""

from __future__ import annotations

import json
import os
import re
import stat
from typing import TYPE_CHECKING, Any, Final, get_args

from codex_magic.items import well_formed
from codex_magic.policy import MIB
from codex_magic.tools.notebook import (
    OUTPUTS,
    Cell,
    CellsError,
    CellType,
    Output,
    clipped,
    media_bytes,
)

if TYPE_CHECKING:
    from pathlib import Path

FILE_BYTES: Final = 32 * MIB

CELL_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,64}")
"""What nbformat allows as the id of a cell."""


def read_saved(path: Path) -> list[Cell]:
    """Return the cells of the notebook that is saved at `path`.

    Raises
    ------
    CellsError
        There is no notebook that could be read.
    """
    try:
        saved = json.loads(_content(path))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no notebook"
        raise CellsError(f"the file {path.name!r} cannot be read: {why}") from None
    cells = saved.get("cells") if isinstance(saved, dict) else None
    if not isinstance(cells, list):
        raise CellsError(f"the file {path.name!r} is no notebook of format 4")
    return [_cell(cell) for cell in cells if isinstance(cell, dict)]


def _content(path: Path) -> bytes:
    # Never waits for the other end of a pipe.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise CellsError(f"{path.name!r} is no file")
        content = file.read(FILE_BYTES + 1)
    if len(content) > FILE_BYTES:
        raise CellsError(f"the file {path.name!r} is too large to read, above {FILE_BYTES:,} bytes")
    return content


def _cell(cell: dict[str, Any]) -> Cell:
    cell_id, count, outputs = cell.get("id"), cell.get("execution_count"), cell.get("outputs")
    outputs = [one for one in outputs if isinstance(one, dict)] if isinstance(outputs, list) else []
    metadata = cell.get("metadata")
    kind: CellType = next((k for k in get_args(CellType) if k == cell.get("cell_type")), "raw")
    return Cell(
        id=cell_id if isinstance(cell_id, str) and CELL_ID.fullmatch(cell_id) else "",
        type=kind,
        source=_text(cell.get("source")),
        count=count if type(count) is int else None,
        outputs=tuple(_output(output) for output in outputs[:OUTPUTS]),
        more_outputs=max(0, len(outputs) - OUTPUTS),
        editable=not (isinstance(metadata, dict) and metadata.get("editable") is False),
    )


def _output(output: dict[str, Any]) -> Output:
    data = output.get("data")
    match output.get("output_type"):
        case "stream":
            return Output(_text(output.get("name")) or "stream", clipped(_text(output.get("text"))))
        case "error":
            lines = output.get("traceback")
            said = "\n".join(map(_text, lines)) if isinstance(lines, list) else ""
            named = f"{_text(output.get('ename'))}: {_text(output.get('evalue'))}"
            return Output("error", clipped(said or named))
        case kind if isinstance(data, dict):
            text = _text(data.get("text/plain")) or _text(data.get("text/markdown"))
            return Output(_text(kind), clipped(text), _media(data))
        case _:
            return Output("of an unknown kind")


def _media(data: dict[str, Any]) -> tuple[tuple[str, int], ...]:
    return tuple(
        (name, media_bytes(name, len(_text(value) or json.dumps(value))))
        for name, value in list(data.items())[:OUTPUTS]
        if name != "text/plain"
    )


def _text(value: Any) -> str:
    """Return a text that may be written as a list of its lines; empty where it is neither."""
    if isinstance(value, list):
        value = "".join(part for part in value if isinstance(part, str))
    return well_formed(value) if isinstance(value, str) else ""
