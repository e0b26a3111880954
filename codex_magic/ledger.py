"""The log of what ran as a table for a person: what ``%codex audit`` shows.

A `pandas.DataFrame` where pandas is installed, else a `Table` that looks the same everywhere.
What a model wrote is shown, never rendered: a command stands on one line, everything invisible
made visible.
"""

from __future__ import annotations

import importlib.util
import re
import shlex
import sys
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from codex_magic.approval import visible
from codex_magic.render import words
from codex_magic.render.table import inert

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from codex_magic.sandbox.audit import Record, Start

COLUMNS: Final = (
    *("time", "command", "folder", "outcome", "exit", "duration_s"),
    *("level", "decision", "network", "why"),
)
PATCH: Final = "apply_patch"
LINE_CHARS: Final = 120
# How the long cells share what a line has left; the others are short.
SHARES: Final = {"command": 4, "folder": 2, "why": 3}
SHORT_CHARS: Final = 20
COMMAND_CHARS: Final = 200
CELL_CHARS: Final = 60
RUNNING: Final = "no end yet"
OPEN_MODES: Final = ("full-access", "external")
_YEAR: Final = re.compile(r"\A\d{4}-(?=\d\d-)")


def rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """Return a row for each record, with the names in `COLUMNS`; what is not known is None."""
    return [_row(record) for record in records]


def table(records: Iterable[Record]) -> Any:
    """Return the records as a `pandas.DataFrame`, or as a `Table` without pandas."""
    found = rows(records)
    if not _has_pandas():
        return Table(tuple(found))
    import pandas as pd  # type: ignore[import-untyped, import-not-found, unused-ignore] # noqa: PLC0415 - not ours; half a second

    frame = pd.DataFrame(found, columns=list(COLUMNS))
    return frame.astype({"exit": "Int64", "duration_s": "float64"})  # None stays a gap


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """Rows as aligned text, and as a table in a notebook."""

    rows: tuple[Mapping[str, Any], ...]

    def __repr__(self) -> str:
        if not self.rows:
            return "no command has run yet"
        recent = [row | {"time": _YEAR.sub("", row["time"] or "")} for row in map(dict, self.rows)]
        lines = [COLUMNS, *map(_cells, recent)]
        widths = _widths([max(map(len, column)) for column in zip(*lines, strict=True)])
        return "\n".join("  ".join(map(_fitted, COLUMNS, line, widths)).rstrip() for line in lines)

    def _repr_markdown_(self) -> str:
        if not self.rows:
            return repr(self)
        lines = [COLUMNS, ("---",) * len(COLUMNS), *(map(inert, _cells(r)) for r in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(record: Record) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS)
    start, end = record.start, record.end
    if record.unreadable:
        lines = f"{record.unreadable} line{'s' if record.unreadable > 1 else ''}"
        return row | {"outcome": "unreadable", "why": f"{lines} of the log cannot be read"}
    if start:
        # Codex's program is started by a script of ours, which says nothing of the patch.
        command = PATCH if start.tool == PATCH else _shown(start.command)
        row |= {"time": _local(start.at), "command": command, "outcome": RUNNING}
        row["folder"] = _line(start.cwd)
        row |= {"level": _line(start.level), "network": _network(start)}
        row["decision"] = _line(f"{start.decision} by {start.decided_by}".removesuffix(" by "))
    if end:
        row |= {"outcome": _line(end.outcome), "exit": end.exit_code, "duration_s": end.duration_s}
        row["why"] = words.one_line(visible(end.message), COMMAND_CHARS)
        row["time"] = row["time"] or _local(end.at)
    return row


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    cells = dict(row)
    if (seconds := row["duration_s"]) is not None:
        cells["duration_s"] = f"{seconds:.3f}"
    cells["command"] = words.one_line(row["command"] or "", CELL_CHARS)
    return tuple("" if cells[name] is None else str(cells[name]) for name in COLUMNS)


def _widths(natural: Sequence[int]) -> list[int]:
    """Return the widths of the columns, less what does not fit on a line."""
    widths = {
        name: width if name in SHARES else min(width, SHORT_CHARS)
        for name, width in zip(COLUMNS, natural, strict=True)
    }
    gaps = 2 * (len(COLUMNS) - 1)
    while sum(widths.values()) + gaps > LINE_CHARS:
        shrinking = [name for name in SHARES if widths[name] > len(name)]
        if not shrinking:
            break
        widths[max(shrinking, key=lambda name: widths[name] / SHARES[name])] -= 1
    return list(widths.values())


def _fitted(name: str, text: str, width: int) -> str:
    """Return a cell as wide as its column; of a folder, the end is what tells it."""
    if len(text) > width:
        text = f"…{text[1 - width :]}" if name == "folder" else f"{text[: width - 1]}…"
    return text.ljust(width)


def _shown(command: str | tuple[str, ...]) -> str:
    typed = command if isinstance(command, str) else shlex.join(command)
    return words.one_line(visible(typed), COMMAND_CHARS)


def _line(text: str) -> str:
    return words.one_line(visible(text))


def _network(start: Start) -> str:
    granted = start.policy.get("network") or start.policy.get("mode") in OPEN_MODES
    return "on" if granted else "off"


def _local(at: str) -> str:
    try:
        return datetime.fromisoformat(at).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (ValueError, OverflowError):
        return _line(at)


def _has_pandas() -> bool:
    """Return whether pandas is there: loaded or installed, not a file in the working folder.

    What a command leaves in that folder must not run because somebody looks at the log.
    """
    if "pandas" in sys.modules:
        return True
    found = importlib.util.find_spec("pandas")
    if found is None or not found.origin:
        return False
    origin, prefix = Path(found.origin).resolve(), Path(sys.prefix).resolve()
    return origin.is_relative_to(prefix) or not origin.is_relative_to(Path.cwd())
