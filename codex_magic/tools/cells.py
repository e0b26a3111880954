"""The ``propose_cells`` and ``edit_cell`` tools: cells of the notebook, put there or rewritten.

They change the notebook a person looks at and run nothing in it. New cells need no permission, as
one step takes them back; an edit always does, and shows its diff.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from codex_magic.items import CELL_ADDED, CELL_EDITED, Change, FileChange, Status, well_formed
from codex_magic.render import words
from codex_magic.render.written import harmless
from codex_magic.tools.base import ArgumentsError, Emit, Outcome
from codex_magic.tools.differences import DIFF_BYTES, unified
from codex_magic.tools.notebook import CellsError, NewCell, Notebook, StoppedError

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping, Sequence

    from codex_magic.policy import Permission
    from codex_magic.tools.notebook import Cell
    from codex_magic.turn import TurnRequest

CELLS: Final = 50
"""Cells that can be proposed at once."""
SOURCE_CHARS: Final = 50_000
"""Characters of all sources in one call: a person has to read them."""

Surroundings = Callable[[], Notebook]
"""Returns the notebook of the turn that is running."""


class _Proposed(msgspec.Struct, forbid_unknown_fields=True):
    type: Literal["code", "markdown"]
    source: str


class _Proposal(msgspec.Struct, forbid_unknown_fields=True):
    cells: list[_Proposed]


class ProposeCellsTool:
    """Puts new cells below the running one.

    Parameters
    ----------
    notebook
        Returns the notebook that they belong to.
    """

    name = "propose_cells"
    description = (
        "Put new code and Markdown cells into the notebook, below the running cell, in the order "
        "given. They are not run: the person runs what they like, and can undo it in one step."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "cells": {
                "type": "array",
                "minItems": 1,
                "maxItems": CELLS,
                "items": {
                    "type": "object",
                    "properties": {
                        "type": {"type": "string", "enum": ["code", "markdown"]},
                        "source": {"type": "string"},
                    },
                    "required": ["type", "source"],
                    "additionalProperties": False,
                },
            },
        },
        "required": ["cells"],
        "additionalProperties": False,
    }

    def __init__(self, notebook: Surroundings = Notebook) -> None:
        self._notebook = notebook

    def prepare(self, call_id: str, arguments: Any, request: TurnRequest) -> ProposeCellsCall:  # noqa: ARG002 - cells need no policy
        """Check the arguments; see `Tool.prepare`."""
        try:
            asked = msgspec.convert(arguments, _Proposal)
        except msgspec.ValidationError as error:
            raise ArgumentsError(str(error)) from None
        if not 0 < len(asked.cells) <= CELLS:
            raise ArgumentsError(f"propose 1 to {CELLS} cells, and not {len(asked.cells)}")
        sources = [_source(cell.source) for cell in asked.cells]
        if empty := [i for i, source in enumerate(sources, 1) if not source.strip()]:
            raise ArgumentsError(f"cell {empty[0]} of them is empty")
        _check_length(sum(map(len, sources)))
        cells = [
            # A page draws a Markdown cell when it appears, and would fetch what its images name.
            NewCell(_new_id(), cell.type, harmless(source) if cell.type == "markdown" else source)
            for cell, source in zip(asked.cells, sources, strict=True)
        ]
        return ProposeCellsCall(call_id, cells, self._notebook())


class ProposeCellsCall:
    """New cells, ready to be put into the notebook."""

    asks = ()
    harmless = False
    forbidden = ""
    excess = None
    grant = None

    def __init__(self, call_id: str, cells: Sequence[NewCell], notebook: Notebook) -> None:
        self._cells = cells
        self._notebook = notebook
        self.item = FileChange(
            id=call_id,
            changes=tuple(
                Change(path=f"{cell.id} ({cell.type})", kind=CELL_ADDED, diff=_all_new(cell))
                for cell in cells
            ),
        )

    def run(self, emit: Emit, stop: threading.Event, permission: Permission) -> Outcome:  # noqa: ARG002 - it has nothing to tell on the way
        """Put them there, or tell that somebody else has to show them."""
        try:
            place = self._notebook.put(self._cells, stop)
        except CellsError as error:
            return self._missed(error)
        if place == "below":
            named = ", ".join(f"{cell.id} ({cell.type})" for cell in self._cells)
            text = f"outcome: put below the running cell, none of them run\ncells: {named}"
            return Outcome(_ended(self.item, "completed", "not run"), text, success=True)
        said = "in one new cell below, as there is no page to put them into"
        text = (
            "outcome: this front end takes one cell only, so all cells of this turn will stand in "
            "one new cell below, Markdown as comments, once the turn has ended; tell the person"
        )
        return Outcome(_ended(self.item, "completed", said), text, success=True)

    def _missed(self, error: CellsError) -> Outcome:
        stopped = isinstance(error, StoppedError)
        status: Status = "interrupted" if stopped else "failed"
        item = _ended(self.item, status, str(error))
        text = (
            f"outcome: {status} - {error}. Give the person each cell as a code block in your answer"
        )
        return Outcome(item, text, success=False)

    def decline(self, reason: str, permission: Permission) -> Outcome:  # noqa: ARG002 - nothing of it is logged
        """Return the outcome of not putting them there."""
        text = f"outcome: declined - {reason}"
        return Outcome(_ended(self.item, "declined", reason), text, success=False)


class _Edit(msgspec.Struct, forbid_unknown_fields=True):
    cell_id: str
    source: str
    justification: str | None = None


class EditCellTool:
    """Replaces the source of one cell, once a person has seen the difference.

    Parameters
    ----------
    notebook
        Returns the notebook that it belongs to.
    """

    name = "edit_cell"
    description = (
        "Replace the whole source of one cell that you have read in this turn with read_cells. "
        "The person sees a diff and decides. The cell is not run."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "cell_id": {"type": "string", "description": "Its id, as read_cells gives it."},
            "source": {"type": "string", "description": "All of its new source."},
            "justification": {"type": "string", "description": "Why, in words a person can judge."},
        },
        "required": ["cell_id", "source"],
        "additionalProperties": False,
    }

    def __init__(self, notebook: Surroundings = Notebook) -> None:
        self._notebook = notebook

    def prepare(self, call_id: str, arguments: Any, request: TurnRequest) -> EditCellCall:  # noqa: ARG002 - cells need no policy
        """Check the arguments; see `Tool.prepare`."""
        try:
            asked = msgspec.convert(arguments, _Edit)
        except msgspec.ValidationError as error:
            raise ArgumentsError(str(error)) from None
        notebook, source = self._notebook(), _source(asked.source)
        _check_length(len(source))
        cell = notebook.seen(asked.cell_id)
        if cell is None:
            raise ArgumentsError(
                f"you have not read the whole of a cell {asked.cell_id!r} in this turn from the "
                "page: read it with read_cells first"
            )
        if cell.running:
            raise ArgumentsError("the running cell holds the person's prompt: leave it as it is")
        if not cell.editable:
            raise ArgumentsError(f"the person has locked cell {cell.id}: it is not editable")
        if source == cell.source:
            raise ArgumentsError(f"cell {cell.id} says just that already")
        return EditCellCall(call_id, cell, source, asked.justification or "", notebook)


def _fetches(old: str, new: str) -> bool:
    """Whether an edit adds something to a Markdown cell that a page draws, and fetches for it."""
    known = set(old.splitlines())
    added = "\n".join(line for line in new.splitlines() if line not in known)
    return harmless(new) != new and harmless(added) != added


class EditCellCall:
    """One edit, ready to be shown and made."""

    harmless = False
    forbidden = ""
    excess = None  # what a cell should say only a person can judge
    grant = None  # no edit is like the one before

    def __init__(
        self, call_id: str, cell: Cell, source: str, reason: str, notebook: Notebook
    ) -> None:
        self._cell = cell
        self._source = source
        self._notebook = notebook
        # A person knows a cell by its number and by what it says; nobody shows them its id.
        number = "" if cell.count is None else f" [{cell.count}]"
        first = next((line for line in cell.source.splitlines() if line.strip()), "")
        says = f", which begins: {words.one_line(first, 60)}" if first else ", which is empty"
        self.asks: tuple[str, ...] = (f"replace the source of the {cell.type} cell{number}{says}",)
        if cell.type == "markdown" and _fetches(cell.source, source):
            self.asks += ("have the page draw pictures or HTML, and fetch what they name",)
        head = f"cell {cell.id}"
        diff = "".join(unified(_lines(cell.source), _lines(source), head, head)).removesuffix("\n")
        self.item = FileChange(
            id=call_id,
            changes=(Change(path=cell.id, kind=CELL_EDITED, diff=diff),),
            reason=reason,
            asked=self.asks,
        )

    def run(self, emit: Emit, stop: threading.Event, permission: Permission) -> Outcome:  # noqa: ARG002 - as above
        """Make it, if the cell still says what the diff was made of."""
        cell = self._cell
        try:
            self._notebook.live.replace(cell.id, cell.source, self._source, stop)
        except CellsError as error:
            status: Status = "interrupted" if isinstance(error, StoppedError) else "failed"
            text = f"outcome: {status}, not edited - {error}"
            return Outcome(self._settled(status, str(error)), text, success=False)
        self._notebook.saw([replace(cell, source=self._source)])
        text = f"outcome: cell {cell.id} has the new source; it was not run"
        return Outcome(self._settled("completed", "replaced, not run"), text, success=True)

    def decline(self, reason: str, permission: Permission) -> Outcome:  # noqa: ARG002 - as above
        """Return the outcome of leaving the cell as it is."""
        text = f"outcome: declined - {reason}"
        return Outcome(self._settled("declined", reason), text, success=False)

    def _settled(self, status: Status, message: str) -> FileChange:
        """Return the item as it is kept; the card had all of the diff."""
        (change,) = self.item.changes
        kept = msgspec.structs.replace(change, diff=words.shortened(change.diff, DIFF_BYTES))
        return msgspec.structs.replace(_ended(self.item, status, message), changes=(kept,))


def _new_id() -> str:
    return secrets.token_hex(6)


def _source(text: str) -> str:
    """Return a source as a notebook holds it: with one kind of line end, and whole characters."""
    if "\0" in text:
        raise ArgumentsError("a source holds a NUL character, which no cell can hold")
    return well_formed(text).replace("\r\n", "\n").replace("\r", "\n")


def _check_length(characters: int) -> None:
    if characters > SOURCE_CHARS:
        raise ArgumentsError(
            f"{characters:,} characters are too many to read: at most {SOURCE_CHARS:,} in one call"
        )


def _lines(source: str) -> list[str]:
    return [f"{line}\n" for line in source.split("\n")]


def _all_new(cell: NewCell) -> str:
    head = f"@@ cell {cell.id} ({cell.type}) @@"  # else several would read as one
    return "\n".join([head, *(f"+{line}" for line in cell.source.split("\n"))])


def _ended(item: FileChange, status: Status, message: str) -> FileChange:
    return msgspec.structs.replace(item, status=status, message=message)
