"""The notebook around a turn, as the tools for cells see it.

Its cells, where they can be read and changed, and what is done where they cannot. Who reaches them,
and how, is not known here: a page does, by the methods of `Cells`. What a notebook says is data.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

CellType = Literal["code", "markdown", "raw"]

OUTPUTS: Final = 20
"""Outputs of one cell that are looked at."""
OUTPUT_CHARS: Final = 1600
"""Characters kept of each; of a longer one both ends."""


@dataclass(frozen=True, slots=True)
class Output:
    """One output: what it says as text, and its other forms by media type and size in bytes."""

    kind: str
    text: str = ""
    media: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of the notebook.

    Parameters
    ----------
    cut
        Whether `source` is only the beginning of it.
    count
        The number it last ran under.
    more_outputs
        How many it has beside `outputs`.
    running
        Whether it holds the turn that is running.
    """

    id: str
    type: CellType
    source: str
    cut: bool = False
    count: int | None = None
    outputs: tuple[Output, ...] = ()
    more_outputs: int = 0
    editable: bool = True
    running: bool = False


@dataclass(frozen=True, slots=True)
class NewCell:
    """A cell that is not there yet, with the id that it will have."""

    id: str
    type: Literal["code", "markdown"]
    source: str


class CellsError(Exception):
    """Why the cells could not be read or changed; the text is the model's to read."""


class NoPageError(CellsError):
    """There is no page of the notebook that could do it; nothing was tried."""


class StoppedError(CellsError):
    """The turn ended before it was done."""


class Cells(Protocol):
    """Who reads and changes cells; called from any OS thread but the main one, and may wait.

    Each method raises a `CellsError` where it cannot, and soon after `stop` is set.
    """

    def read(
        self, stop: threading.Event, *, ids: Sequence[str] = (), outputs: bool = True
    ) -> Sequence[Cell]:
        """Return the cells in their order, in full those of `ids` or, if there are none, all."""
        ...

    def insert(self, cells: Sequence[NewCell], stop: threading.Event) -> None:
        """Put cells below the running one, and below those that it has put there before."""
        ...

    def replace(self, cell_id: str, old: str, new: str, stop: threading.Event) -> None:
        """Replace the source of a cell, if it still is `old`."""
        ...


class Notebook:
    """What a turn can reach of its notebook, and what it has seen of it.

    Parameters
    ----------
    live
        A page's cells; None where there is no page.
    next_input
        Puts one text into a new cell below the running one, once that has ended; None where there
        is no such thing.
    """

    def __init__(
        self, live: Cells | None = None, next_input: Callable[[str], object] | None = None
    ) -> None:
        self._live = live
        self._next_input = next_input
        self._put: list[NewCell] = []
        self._putting = threading.Lock()
        self._seen: dict[str, Cell] = {}

    @property
    def live(self) -> Cells:
        """The page's cells.

        Raises
        ------
        NoPageError
            There is no page.
        """
        if self._live is None:
            raise NoPageError("there is no page of the notebook here")
        return self._live

    def put(self, cells: Sequence[NewCell], stop: threading.Event) -> Literal["below", "next"]:
        """Put cells below the running one, or all that were put so into one text for the next.

        Raises
        ------
        CellsError
            Neither can be done.
        """
        try:
            self.live.insert(cells, stop)
        except NoPageError:
            if self._next_input is None:
                raise
            with self._putting:
                self._put += cells  # a later text takes the place of an earlier one
                self._next_input(joined(self._put))
            return "next"
        self.saw(Cell(cell.id, cell.type, cell.source) for cell in cells)
        return "below"

    def saw(self, cells: Iterable[Cell]) -> None:
        """Remember what the model has seen whole: only that can it edit."""
        self._seen |= {cell.id: cell for cell in cells}

    def seen(self, cell_id: str) -> Cell | None:
        """Return a cell as the model has last seen it."""
        return self._seen.get(cell_id)


def joined(cells: Sequence[NewCell]) -> str:
    """Return several cells as the text of one, each below a line that says where it begins."""
    if len(cells) == 1:
        return _as_code(cells[0])
    heads = {"code": "# %%", "markdown": "# %% [markdown]"}
    return "\n\n".join(f"{heads[cell.type]}\n{_as_code(cell)}" for cell in cells)


def _as_code(cell: NewCell) -> str:
    if cell.type == "code":
        return cell.source
    return "\n".join(f"# {line}".rstrip() for line in cell.source.splitlines())


def clipped(text: str, limit: int = OUTPUT_CHARS) -> str:
    """Return `text` with its middle left out where it is longer than `limit` characters."""
    if len(text) <= limit:
        return text
    half = limit // 2
    left = len(text) - 2 * half
    return f"{text[:half]}\n[… {left:,} characters are left out here …]\n{text[-half:]}"


_TEXTS: Final = ("image/svg+xml",)


def media_bytes(media_type: str, characters: int) -> int:
    """Return about how many bytes a form of an output has: pictures are written in base64."""
    binary = media_type.startswith(("image/", "audio/", "video/")) and media_type not in _TEXTS
    return characters * 3 // 4 if binary or media_type == "application/pdf" else characters
