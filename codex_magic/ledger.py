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

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from codex_magic.sandbox.audit import Record, Start

COLUMNS: Final = (
    *("time", "command", "outcome", "exit", "duration_s"),
    *("level", "decision", "network"),
)
COMMAND_CHARS: Final = 200
CELL_CHARS: Final = 60
RUNNING: Final = "no end yet"
OPEN_MODES: Final = ("full-access", "external")
_SPECIAL: Final = re.compile(r"[^A-Za-z0-9 ,.]")


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
        lines = [COLUMNS, *map(_cells, self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)

    def _repr_markdown_(self) -> str:
        if not self.rows:
            return repr(self)
        lines = [COLUMNS, ("---",) * len(COLUMNS), *(map(_inert, _cells(r)) for r in self.rows)]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(record: Record) -> dict[str, Any]:
    row = dict.fromkeys(COLUMNS)
    start, end = record.start, record.end
    if record.unreadable:
        lines = f"{record.unreadable} line{'s' if record.unreadable > 1 else ''}"
        return row | {"outcome": f"{lines} of the log cannot be read"}
    if start:
        row |= {"time": _local(start.at), "command": _shown(start.command), "outcome": RUNNING}
        row |= {"level": _line(start.level), "network": _network(start)}
        row["decision"] = _line(f"{start.decision} by {start.decided_by}".removesuffix(" by "))
    if end:
        row |= {"outcome": _line(end.outcome), "exit": end.exit_code, "duration_s": end.duration_s}
        row["time"] = row["time"] or _local(end.at)
    return row


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    cells = dict(row)
    if (seconds := row["duration_s"]) is not None:
        cells["duration_s"] = f"{seconds:.3f}"
    cells["command"] = words.one_line(row["command"] or "", CELL_CHARS)
    return tuple("" if cells[name] is None else str(cells[name]) for name in COLUMNS)


def _inert(text: str) -> str:
    """Return `text` so that neither Markdown nor a browser finds anything in it."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", text)


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
