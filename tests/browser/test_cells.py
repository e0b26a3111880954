"""Cells of the notebook that a turn puts there, rewrites and reads, in real front ends."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from codex_magic.items import FileChange
from codex_magic.testing import call, say, tool_outputs

from .script import held

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.testing import FakeModel

    from .drive import Front, Notebook, Theme

TURN = "%%codex\ndo it"
THREE = (
    {"type": "markdown", "source": "# Penguins\n\n![far](https://example.org/x.png)"},
    {"type": "code", "source": "n = 6 * 7\nprint(n)"},
    {"type": "code", "source": "n"},
)
PROPOSES = call("propose_cells", cells=list(THREE))
READS = call("read_cells")


def sources(page: Notebook) -> list[str]:
    """The sources of all cells but the first, as they stand on the page."""
    script = "path => drive.panel(path).context.model.sharedModel.cells.map(it => it.getSource())"
    found: list[str] = page.page.evaluate(script, page.path)
    return found[1:]


def ids(page: Notebook) -> list[str]:
    script = "path => drive.panel(path).context.model.sharedModel.cells.map(it => it.getId())"
    found: list[str] = page.page.evaluate(script, page.path)
    return found


def command(page: Notebook, name: str) -> None:
    page.show()
    page.page.evaluate("name => jupyterapp.commands.execute(name)", name)


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_three_cells_are_proposed_and_one_undo_takes_them_back(
    model: FakeModel, notebook: Callable[..., Notebook], front: Front
) -> None:
    for said in (PROPOSES, say("Three cells.")):
        model.enqueue(said)
    page = notebook(TURN, "print('behind')", front=front)
    page.run(1)
    page.settle()
    first, code, last = (cell["source"] for cell in THREE)
    assert first not in sources(page)  # its picture is a link by now: nothing is fetched
    assert sources(page)[2:] == [code, last, "print('behind')"]
    saved = page.save()["cells"]
    turn = page.kept(1)
    mark = {"codex": {"thread_id": turn.thread_id, "turn_id": turn.id}}
    assert [cell["cell_type"] for cell in saved[2:5]] == ["markdown", "code", "code"]
    assert [cell["metadata"] for cell in saved[2:5]] == [mark] * 3
    assert [cell.get("execution_count") for cell in saved[3:5]] == [None, None]
    (told,) = tool_outputs(model.requests[-1])
    assert all(cell["id"] in told for cell in saved[2:5])
    assert page.cell(2).locator("img").count() == 0
    command(page, "notebook:undo-cell-action")
    assert sources(page) == [TURN, "print('behind')"]


def test_a_second_proposal_goes_below_the_first_and_is_a_step_of_its_own(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    one = call("propose_cells", cells=[{"type": "code", "source": "one"}])
    two = call("propose_cells", cells=[{"type": "code", "source": "two"}])
    for said in (one, two, say("Both.")):
        model.enqueue(said)
    page = notebook(TURN, "behind = 1")
    page.run(1)
    page.settle()
    assert sources(page) == [TURN, "one", "two", "behind = 1"]
    command(page, "notebook:undo-cell-action")
    assert sources(page) == [TURN, "one", "behind = 1"]


def test_a_cell_is_edited_once_a_person_has_seen_the_difference(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    page = notebook(TURN, "a = 1\nb = 2")
    cell = ids(page)[2]
    edit = call("edit_cell", cell_id=cell, source="a = 1\nb = 3", justification="It is 3.")
    for said in (READS, edit, say("It stays."), READS, edit, say("It is changed.")):
        model.enqueue(said)
    page.run(1)
    shown = page.card(1).locator(".codex-card-command")
    expect(shown).to_contain_text("-b = 2")
    expect(shown).to_contain_text("+b = 3")
    expect(page.button(1, "Allow for this notebook")).to_have_count(0)
    page.button(1, "Decline").click()
    expect(page.output(1)).to_contain_text("It stays.")
    page.settle()
    assert sources(page)[1] == "a = 1\nb = 2"
    page.run(1)
    page.button(1, "Allow once").click()
    expect(page.output(1)).to_contain_text("It is changed.")
    page.settle()
    assert sources(page)[1] == "a = 1\nb = 3"
    page.page.evaluate(
        "path => drive.panel(path).context.model.sharedModel.cells[2].undo()", page.path
    )
    assert sources(page)[1] == "a = 1\nb = 2"


MEANWHILE = {
    "changed": ("cells[2].setSource(\"a = 'mine'\")", ["a = 'mine'"], "changed meanwhile"),
    "deleted": ("deleteCell(2)", [], "no cell with that id"),
    "locked": ("cells[2].setMetadata('editable', false)", ["a = 1"], "not editable"),
}


@pytest.mark.parametrize("case", MEANWHILE)
def test_what_a_person_did_meanwhile_stays(
    model: FakeModel, notebook: Callable[..., Notebook], case: str
) -> None:
    act, left, told = MEANWHILE[case]
    page = notebook(TURN, "a = 1")
    edit = call("edit_cell", cell_id=ids(page)[2], source="a = 2")
    for said in (READS, edit, say("Somebody was faster.")):
        model.enqueue(said)
    page.run(1)
    expect(page.button(1, "Allow once")).to_be_enabled()
    page.page.evaluate(f"path => drive.panel(path).context.model.sharedModel.{act}", page.path)
    page.button(1, "Allow once").click()
    expect(page.output(1)).to_contain_text("Somebody was faster.")
    page.settle()
    assert sources(page)[1:] == left
    assert told in tool_outputs(model.requests[-1])[-1]


def test_cells_are_read_from_the_page_with_what_is_not_saved(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    for said in (READS, say("Read.")):
        model.enqueue(said)
    page = notebook("print('out of it')\n1 / 0", TURN, "saved = 1")
    page.run(1)
    page.settle()
    page.change(3, "unsaved = '<b>'\n| not a bar of ours")
    page.run(2)
    page.settle()
    (told,) = tool_outputs(model.requests[-1])
    for said in (
        "live from the page, unsaved edits included",
        "| out of it",
        "ZeroDivisionError",
        "running now",
        "| unsaved = '<b>'\n| | not a bar of ours",
    ):
        assert said in told
    assert "saved = 1" not in told


def test_a_page_that_is_loaded_again_loses_no_cell(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    # Until the cell has ended such a page cannot say hello: nobody answers it before.
    model.enqueue(*held(say("I begin with it, and then go on."), "on"), PROPOSES)
    model.enqueue(say("Three cells."))
    page = notebook(TURN, alone=True)
    page.run(1)
    expect(page.turn(1)).to_contain_text("I begin")
    page.save()
    page.reload()
    model.gate("on").set()
    expect(page.output(1)).to_contain_text("Three cells.")
    page.settle()
    assert sources(page) == [TURN]
    assert "did not answer" in tool_outputs(model.requests[-1])[-1]
    (change,) = (item for item in page.kept(1).items if isinstance(item, FileChange))
    assert change.status == "failed"
    assert "n = 6 * 7" in page.bundle(1)["text/markdown"]
    assert "n = 6 * 7" in page.bundle(1)["text/plain"]


def test_a_second_view_of_the_turn_puts_nothing_there_again(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say("I begin with it, and then go on."), "on"), PROPOSES)
    model.enqueue(say("Three cells."))
    page = notebook(TURN)
    page.run(1)
    expect(page.turn(1)).to_contain_text("I begin")
    page.show()
    page.page.evaluate(
        "path => { drive.panel(path).content.activeCellIndex = 1;"
        " jupyterapp.commands.execute('notebook:create-output-view') }",
        page.path,
    )
    expect(page.page.locator("section.codex-turn")).to_have_count(2)
    model.gate("on").set()
    page.settle()
    assert len(sources(page)) == 4


def test_where_there_are_no_widgets_the_cells_come_as_one_below(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    for said in (PROPOSES, say("In one.")):
        model.enqueue(said)
    page = notebook("%config CodexMagics.widget = False", TURN)
    page.run(1)
    page.settle()
    page.run(2)
    page.settle()
    text = sources(page)[2]
    assert text.startswith("# %% [markdown]\n# # Penguins\n")
    assert text.endswith("# %%\nn = 6 * 7\nprint(n)\n\n# %%\nn")
    assert "one new cell below" in tool_outputs(model.requests[-1])[-1]


def test_a_notebook_that_is_only_to_be_read_is_left_as_it_is(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    for said in (PROPOSES, say("Then here.")):
        model.enqueue(said)
    page = notebook(TURN)
    page.page.evaluate("path => { drive.panel(path).context.model.readOnly = true }", page.path)
    page.run(1)
    page.settle()
    assert sources(page) == [TURN]
    assert "reading only" in tool_outputs(model.requests[-1])[-1]
    assert "n = 6 * 7" in page.bundle(1)["text/plain"]


def test_of_huge_outputs_the_ends_are_read(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    for said in (READS, say("Read.")):
        model.enqueue(said)
    page = notebook("print('a' * 500_000 + 'end')\n'b' * 5_000_000", TURN)
    page.run(1)
    page.settle()
    page.run(2)
    page.settle()
    (told,) = tool_outputs(model.requests[-1])
    left = [int(number) for number in re.findall(r"(\d+) characters are left out here", told)]
    assert (len(left), min(left) > 400_000) == (2, True)
    assert "aaend" in told
    assert len(told) < 6000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_what_it_looks_like(
    model: FakeModel, notebook: Callable[..., Notebook], theme: Theme
) -> None:
    page = notebook("%%codex\nLoad the penguins and plot their masses.", "mass = 1\nprint(mass)")
    edit = {
        "source": "mass = df.body_mass_g\nprint(mass.mean())",
        "justification": "It is a column.",
    }
    propose = [
        {"type": "markdown", "source": "## Body mass\n\nBy *species*, in grams."},
        {"type": "code", "source": "import pandas as pd\n\ndf = pd.read_csv('penguins.csv')"},
        {"type": "code", "source": "df.groupby('species').body_mass_g.plot.hist(alpha=0.5)"},
    ]
    for said in (
        call("propose_cells", cells=propose),
        READS,
        call("edit_cell", cell_id=ids(page)[2], **edit),
        say("Run the new cells from the top; the last one now prints the mean."),
    ):
        model.enqueue(said)
    page.theme(theme)
    page.run(1)
    expect(page.button(1, "Allow once")).to_be_enabled()
    page.shot(f"cells-1-card-{theme}")
    page.button(1, "Allow once").click()
    page.settle()
    page.shot(f"cells-2-done-{theme}")
