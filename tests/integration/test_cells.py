"""Cells of the notebook, from both kinds of models to whatever can show them."""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

from codex_magic.approval import Answer, NobodyApprover
from codex_magic.items import FileChange
from codex_magic.policy import Decision
from codex_magic.render import plain
from codex_magic.testing import call, js, say, tool_outputs
from codex_magic.tools.cells import EditCellTool, ProposeCellsTool
from codex_magic.tools.notebook import Cell, NewCell, Notebook
from codex_magic.tools.reading import ReadCellsTool

if TYPE_CHECKING:
    from collections.abc import Sequence

YES = Answer(Decision.ACCEPT, "person")
NO = Answer(Decision.DECLINE, "person", "it is mine")
READS = call("read_cells")
EDITS = call("edit_cell", cell_id="a", source="x = 2")


class Live:
    """A page's cells, in a list."""

    def __init__(self) -> None:
        self.cells = {"a": "x = 1"}
        self._change = threading.Lock()

    def read(
        self, stop: threading.Event, *, ids: Sequence[str] = (), outputs: bool = True
    ) -> Sequence[Cell]:
        return [Cell(name, "code", source) for name, source in self.cells.items()]

    def insert(self, cells: Sequence[NewCell], stop: threading.Event) -> None:
        with self._change:
            self.cells |= {cell.id: cell.source for cell in cells}

    def replace(self, cell_id: str, old: str, new: str, stop: threading.Event) -> None:
        assert self.cells[cell_id] == old
        self.cells[cell_id] = new


def tools(notebook: Notebook) -> list[Any]:
    return [tool(lambda: notebook) for tool in (ReadCellsTool, ProposeCellsTool, EditCellTool)]


def change(turn: Any) -> FileChange:
    (found,) = [item for item in turn.items if isinstance(item, FileChange)]
    return found


def test_an_edit_waits_for_a_person_and_never_means_never(
    stage: Any, shape: str, people: Any
) -> None:
    live = Live()
    model = stage.model(*[READS, EDITS, say("no")] * 3, READS, EDITS, say("yes"))
    kernel = stage.kernel(model, shape, tools=tools(Notebook(live)))
    person = people(NO, YES)
    for how in ({"person": person}, {"approval": "never"}, {"person": NobodyApprover()}):
        assert change(kernel.ask(**how)).status == "declined"
    assert live.cells == {"a": "x = 1"}
    done = change(kernel.ask(person=person))
    assert (done.status, done.decision) == ("completed", "accept by person")
    assert live.cells == {"a": "x = 2"}
    asked = person.asked[0]
    assert (asked.cells, asked.grant, "-x = 1\n+x = 2" in asked.command) == (True, None, True)
    assert "it is mine" in tool_outputs(model.requests[2])[-1]


def test_a_cell_that_was_not_read_is_not_edited(stage: Any, shape: str) -> None:
    model = stage.model(EDITS, say("no"))
    turn = stage.kernel(model, shape, tools=tools(Notebook(Live()))).ask()
    assert turn.status == "completed"
    assert "read it with read_cells first" in tool_outputs(model.requests[-1])[-1]


def test_cells_are_printed_where_there_is_nothing_to_put_them_into(stage: Any, shape: str) -> None:
    cells = [{"type": "code", "source": "x = 1\ny = 2"}, {"type": "markdown", "source": "# T"}]
    model = stage.model(call("propose_cells", cells=cells), say("As you see."))
    turn = stage.kernel(model, shape, tools=tools(Notebook())).ask()
    assert change(turn).status == "failed"
    shown = plain.text(turn)
    assert "(code)\nx = 1\ny = 2\nadd cell" in shown
    assert "(markdown)\n# T" in shown
    assert "code block in your answer" in tool_outputs(model.requests[-1])[-1]


def test_several_proposals_at_once_lose_nothing(stage: Any) -> None:
    texts: list[str] = []
    one = "tools.propose_cells({cells: [{type: 'code', source: w}]})"
    script = f"await Promise.all({json.dumps(list('abcdef'))}.map(w => {one}))"
    model = stage.model(js(script), say("done"))
    kernel = stage.kernel(model, "gpt-6.1-sol", tools=tools(Notebook(next_input=texts.append)))
    assert kernel.ask().status == "completed"
    assert sorted(texts[-1].replace("# %%", "").split()) == list("abcdef")
