"""The notebook's cells, read and changed by the page that shows a turn.

Tools wait in OS threads of their own; what they want goes to the page with its next update, under a
key that nobody else knows, and the answer to that key is taken once. Of several pages one is asked:
the last that said it can do this. A page that says so anew is asked anew, so every errand says what
must be true when it is done: cells come with their ids, an edit with the source that it replaces. Answers are data: they are checked here and trusted nowhere.
"""

from __future__ import annotations

import secrets as random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic.items import well_formed
from codex_magic.tools.notebook import (
    OUTPUT_CHARS,
    OUTPUTS,
    Cell,
    CellsError,
    CellType,
    NewCell,
    NoPageError,
    Output,
    StoppedError,
    clipped,
    media_bytes,
)
from codex_magic.tools.saved import CELL_ID

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codex_magic.render.view import Operation
    from codex_magic.turn import Turn

Json = dict[str, Any]

ANSWER_S: Final = 5.0
"""Seconds a page has to answer; one that is there takes a tenth of a second."""
LOOK_S: Final = 0.02
"""Seconds between two looks at whether the turn has been stopped."""
ANCHORS: Final = 50
"""Cells of before that new ones are put below, the last that is still there."""
CELLS: Final = 5000
SOURCE_CHARS: Final = 200_000


@dataclass(slots=True)
class _Errand:
    key: str
    asked: Json
    answered: threading.Event = field(default_factory=threading.Event)
    answer: Any = None
    page: str = ""


class LiveCells:
    """Cells of the notebook that a page shows; see `codex_magic.tools.notebook.Cells`.

    Parameters
    ----------
    cell
        The id of the cell that runs.
    answer_s
        Seconds a page has to answer.
    clock
        Seconds on a clock that only goes forward.
    """

    def __init__(
        self,
        cell: str,
        *,
        answer_s: float = ANSWER_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._cell = cell
        self._answer_s = answer_s
        self._clock = clock
        self._greeted = threading.Event()  # or given up
        self._pages: dict[str, None] = {}
        self._errands: dict[str, _Errand] = {}
        self._put: list[str] = []
        self._lost = False

    # --- Cells: on the OS threads of the tools ------------------------------------------------

    def read(
        self, stop: threading.Event, *, ids: Sequence[str] = (), outputs: bool = True
    ) -> Sequence[Cell]:
        """Return the cells; see `Cells.read`."""
        answer = self._ask(stop, do="read", ids=list(ids), outputs=outputs)
        return [_cell(cell, self._cell) for cell in answer.cells[:CELLS]]

    def insert(self, cells: Sequence[NewCell], stop: threading.Event) -> None:
        """Put cells below the running one; see `Cells.insert`."""
        after = [*reversed(self._put[-ANCHORS:]), self._cell]
        new = [{"id": cell.id, "type": cell.type, "source": cell.source} for cell in cells]
        # Before they are there: what is put at the same time goes below them.
        self._put += [cell.id for cell in cells]
        self._ask(stop, do="insert", after=after, cells=new)

    def replace(self, cell_id: str, old: str, new: str, stop: threading.Event) -> None:
        """Replace the source of a cell; see `Cells.replace`."""
        self._ask(stop, do="replace", id=cell_id, old=old, source=new)

    def _ask(self, stop: threading.Event, **asked: Any) -> _Answer:
        self._wait(self._greeted, stop)
        if not self._pages:
            # One that was there may have done it, and nobody else hears the end of this cell.
            kind = CellsError if self._lost else NoPageError
            raise kind("there is no page of the notebook here that could do it")
        errand = _Errand(random.token_hex(16), asked)
        self._errands[errand.key] = errand
        try:
            if not self._wait(errand.answered, stop):
                self._lost = True
                self._pages.pop(errand.page, None)
                raise CellsError("the page did not answer; whether it was done is not known")
        finally:
            self._errands.pop(errand.key, None)
        return _checked(errand.answer)

    def _wait(self, what: threading.Event, stop: threading.Event) -> bool:
        """Return whether it came in time."""
        deadline = self._clock() + self._answer_s
        while not what.wait(LOOK_S):
            if stop.is_set():
                raise StoppedError("the turn was over before the page answered")
            if self._clock() >= deadline:
                return False
        return True

    # --- the page: on the main thread ---------------------------------------------------------

    def greet(self, hello: Json) -> None:
        """Note that a page has said hello, and whether it can reach cells."""
        page = hello.get("page")
        if hello.get("cells") is True and isinstance(page, str) and CELL_ID.fullmatch(page):
            self._pages.pop(page, None)
            self._pages[page] = None
            for errand in list(self._errands.values()):
                errand.page = ""  # the page that had it may be gone
        self._greeted.set()

    def give_up(self) -> None:
        """Note that no page will come."""
        self._pages.clear()
        self._greeted.set()

    def errands(self, turn: Turn) -> list[Operation]:
        """Return the operations that ask for what no page has been asked for yet."""
        page = next(reversed(self._pages), "")
        new = [errand for errand in list(self._errands.values()) if not errand.page] if page else []
        operations: list[Operation] = []
        for errand in new:
            errand.page = page
            asked = errand.asked | {"key": errand.key, "to": page}
            if asked["do"] == "insert":
                asked["metadata"] = {"codex": {"thread_id": turn.thread_id, "turn_id": turn.id}}
            operations.append(["cells", asked])
        return operations

    # --- its answers: on whatever OS thread reads them ----------------------------------------

    def answer(self, content: Json) -> None:
        """Take an answer, once; one that nobody waits for does nothing."""
        key = content.get("key")
        errand = self._errands.pop(key, None) if isinstance(key, str) else None
        if errand is not None:
            errand.answer = content
            errand.answered.set()


class _SaidOutput(msgspec.Struct):
    kind: str = ""
    text: str = ""
    media: list[tuple[str, int]] = []


class _SaidCell(msgspec.Struct):
    id: str
    type: CellType
    source: str
    cut: bool = False
    count: int | None = None
    outputs: list[_SaidOutput] = []
    more: int = 0
    editable: bool = True


class _Answer(msgspec.Struct):
    no: str = ""
    cells: list[_SaidCell] = []


_REASONS: Final = {
    "gone": "the cell that new ones would stand below is not in the notebook any more",
    "unknown": "there is no cell with that id, or not any more",
    "changed": "the cell was changed meanwhile: read it again",
    "locked": "the person has locked that cell: it is not editable",
    "read-only": "the notebook is open for reading only",
}


def _checked(answer: Any) -> _Answer:
    try:
        said = msgspec.convert(answer, _Answer)
    except msgspec.ValidationError:
        raise CellsError("the page's answer cannot be understood") from None
    if said.no:
        raise CellsError(_REASONS.get(said.no, "the page could not do it"))
    return said


def _cell(said: _SaidCell, running: str) -> Cell:
    return Cell(
        id=said.id if CELL_ID.fullmatch(said.id) else "",
        type=said.type,
        source=well_formed(said.source[:SOURCE_CHARS]),
        cut=said.cut or len(said.source) > SOURCE_CHARS,
        count=said.count,
        outputs=tuple(_output(output) for output in said.outputs[:OUTPUTS]),
        more_outputs=max(0, said.more),
        editable=said.editable,
        running=said.id == running,
    )


def _output(said: _SaidOutput) -> Output:
    # Its middle is left out by the page already, with a line that says so.
    text = clipped(well_formed(said.text), 2 * OUTPUT_CHARS)
    media = [(well_formed(name), media_bytes(name, size)) for name, size in said.media[:OUTPUTS]]
    return Output(well_formed(said.kind), text, tuple(media))
