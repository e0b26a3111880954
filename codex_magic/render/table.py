"""Rows of words as a table: aligned in a terminal, drawn in a notebook.

Whatever stands in a cell is text there, whoever wrote it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codex_magic.render import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_SPECIAL: Final = re.compile(r"[^A-Za-z0-9 ,.]")


@dataclass(frozen=True, slots=True, repr=False)
class Table:
    """A table with remarks below it; `repr` is its text, and a notebook draws its Markdown."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        if not self.columns:
            return "\n".join(self.remarks)
        lines = [self.columns, *self.rows]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join((*(_aligned(line, widths) for line in lines), *self.remarks))

    def _repr_markdown_(self) -> str:
        if not self.columns:
            return "\n\n".join(map(inert, self.remarks))
        lines = [self.columns, ("---",) * len(self.columns), *self.rows]
        drawn = (
            _drawn(line if number == 1 else map(inert, line)) for number, line in enumerate(lines)
        )
        return "\n".join(drawn) + "".join(f"\n\n{inert(text)}" for text in self.remarks)


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], remarks: Iterable[str] = ()
) -> Table:
    """Return a table of the columns in which anything stands, each cell on one line."""
    cells = [[" ".join(words.clean(cell).split()) for cell in row] for row in rows]
    filled = [at for at in range(len(columns)) if any(row[at] for row in cells)]
    return Table(
        tuple(columns[at] for at in filled),
        tuple(tuple(row[at] for at in filled) for row in cells),
        tuple(" ".join(words.clean(text).split()) for text in remarks if text),
    )


def inert(text: str) -> str:
    """Return `text` so that neither Markdown nor a browser finds anything in it."""
    return _SPECIAL.sub(lambda found: f"&#{ord(found[0])};", text)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(map(str.ljust, cells, widths)).rstrip()


def _drawn(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
