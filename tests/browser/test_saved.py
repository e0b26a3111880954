"""What stays of a turn on the page and in the file: its kept form, and nothing of the widget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from codex_magic.testing import say, status
from codex_magic.turn import MIME

from .drive import widgets_in
from .script import held

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.testing import FakeModel

    from .drive import Desk, Notebook

TURN = "%%codex\ntell me"
SAID = "Half of the answer, and then **the rest** of it."
OTHERS = """\
print("before")
get_ipython().run_cell_magic("codex", "", "tell me")
print("after")
"""


def test_a_finished_turn_is_saved_without_a_widget(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(say(SAID))
    page = notebook(TURN)
    page.run(1)
    expect(page.output(1).locator("strong")).to_have_text("the rest")
    page.settle()
    saved = page.save()
    assert widgets_in(saved) == []
    (output,) = saved["cells"][1]["outputs"]
    assert set(output["data"]) == {"text/markdown", "text/plain", MIME}


def test_a_failed_turn_is_saved_as_one(model: FakeModel, notebook: Callable[..., Notebook]) -> None:
    model.enqueue(status(400, {"error": {"message": "no such thing", "type": "invalid"}}))
    page = notebook(TURN)
    page.run(1)
    expect(page.output(1)).to_contain_text("no such thing")
    page.settle()
    assert page.kept(1).status == "failed"
    assert len(page.errors(1)) == 1
    assert widgets_in(page.save()) == []


def test_prints_around_a_turn_stay_in_their_order(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say(SAID), "rest"))
    page = notebook("print('earlier')", OTHERS)
    page.run_from(1)
    expect(page.output(2)).to_contain_text("before")
    expect(page.output(2)).to_contain_text("Half of the answer")
    model.gate("rest").set()
    expect(page.output(2)).to_contain_text("after")
    page.settle()
    assert page.printed(1) == "earlier\n"
    kinds = [output.get("text", "the turn") for output in page.outputs(2)]
    assert kinds == ["before\n", "the turn", "after\n"]
    assert widgets_in(page.save()) == []


def test_a_page_loaded_again_in_the_midst_has_the_whole_turn_at_the_end(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say(SAID), "rest"))
    page = notebook(TURN, alone=True)
    page.run(1)
    expect(page.output(1)).to_contain_text("Half of the answer")
    page.save()
    page.reload()
    model.gate("rest").set()
    expect(page.output(1).locator("strong")).to_have_text("the rest")
    page.settle()
    expect(page.turn(1)).to_have_count(0)
    saved = page.save()
    assert widgets_in(saved) == []
    assert page.kept(1).status == "completed"


def test_a_second_view_of_the_output_shows_the_same(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say(SAID), "rest"))
    page = notebook(TURN)
    page.run(1)
    expect(page.turn(1)).to_contain_text("Half of the")
    page.page.evaluate(
        "args => jupyterapp.commands.execute('notebook:create-output-view', args)",
        {"path": page.path, "index": 1},
    )
    second = page.page.locator(".jp-LinkedOutputView")
    expect(second.locator("section.codex-turn")).to_contain_text("Half of the")
    model.gate("rest").set()
    for view in (page.output(1), second):
        expect(view.locator("strong")).to_have_text("the rest")
        expect(view.locator("section.codex-turn")).to_have_count(0)
    page.settle()
    assert widgets_in(page.save()) == []


def test_opened_again_without_a_kernel_it_reads_the_same(
    model: FakeModel, notebook: Callable[..., Notebook], desk: Desk
) -> None:
    model.enqueue(say(SAID))
    page = notebook(TURN)
    page.run(1)
    expect(page.output(1).locator("strong")).to_have_text("the rest")
    page.settle()
    page.save()
    page.close()
    again = desk.reopen(page.file, kernel=False)
    expect(again.output(1).locator("strong")).to_have_text("the rest")
    expect(again.page.get_by_text("model not found")).to_have_count(0)
    assert again.page.evaluate("path => Boolean(drive.kernel(path))", again.path) is False
    again.close()


def test_of_a_turn_whose_kernel_is_gone_a_person_can_keep_what_is_here(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say(SAID), "rest"))
    page = notebook(TURN)
    page.run(1)
    expect(page.turn(1)).to_contain_text("Half of the answer")
    page.page.evaluate("path => { drive.kernel(path).restart() }", page.path)
    keep = page.turn(1).get_by_role("button", name="Keep this in the notebook")
    expect(keep).to_be_visible(timeout=20_000)
    assert "Half of the answer" not in str(page.save())  # nobody has masked it
    keep.click()
    expect(page.turn(1)).to_have_count(0)
    model.gate("rest").set()
    page.settle()
    assert widgets_in(page.save()) == []
    (output,) = page.outputs(1)
    text = "".join(output["data"]["text/plain"])
    assert text.startswith("Half of the answer")
    assert text.endswith("The kernel is gone, and the turn with it")
