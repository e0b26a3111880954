"""How a person stops a turn, or changes its course; and what comes of the cells behind it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from playwright.sync_api import expect

from codex_magic.items import CommandExecution
from codex_magic.testing import call, say, user_texts
from codex_magic.turn import MIME

from .script import held

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.testing import FakeModel

    from .drive import Notebook

TURN = "%%codex\ndo it"
DROP = re.compile("^Stop, and drop")
HALF = "Half of the answer, and then the rest of it."


def test_stopped_by_its_button_it_keeps_what_it_had_and_the_next_cells_run(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say(HALF), "never"))
    model.enqueue(say("The second turn."))
    page = notebook(TURN, "print('behind')", TURN)
    page.run_from(1)
    expect(page.turn(1)).to_contain_text("Half of the")
    page.button(1, "Stop").click()
    expect(page.output(3)).to_contain_text("The second turn.")
    page.settle()
    assert (page.kept(1).status, page.kept(3).status) == ("interrupted", "completed")
    assert "Half of the" in page.bundle(1)["text/plain"]
    assert (page.errors(1), page.printed(2)) == ([], "behind\n")


def test_stopped_while_a_command_runs_nothing_of_it_goes_on(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(call("shell", command=["sh", "-c", "echo on; sleep 60; touch late"]))
    page = notebook(TURN)
    page.run(1)
    expect(page.turn(1).locator("details.codex-command")).to_contain_text("on")
    page.button(1, "Stop").click()
    page.settle(patience_s=10)
    (command,) = (item for item in page.kept(1).items if isinstance(item, CommandExecution))
    assert (page.kept(1).status, command.status) == ("interrupted", "interrupted")
    assert not (page.file.parent / "late").exists()


def test_stop_and_drop_ends_the_turns_behind_but_no_other_cell(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say(HALF), "never"))
    page = notebook(TURN, TURN, "print('still runs')", TURN, TURN)
    page.run_from(1)
    page.turn(1).get_by_role("button", name=DROP).click()
    page.settle()
    assert page.kept(1).status == "interrupted"
    for index in (2, 4, 5):
        assert not any(MIME in output.get("data", {}) for output in page.outputs(index))
    assert page.printed(3) == "still runs\n"
    assert len(model.requests) == 1
    # What was dropped was that one queue: run again, a cell is a turn again.
    model.enqueue(say("Here again."))
    page.run(2)
    expect(page.output(2)).to_contain_text("Here again.")
    page.settle()


def test_with_nothing_behind_there_is_nothing_to_drop(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say(HALF), "rest"))
    page = notebook(TURN, "print('not a turn')")
    page.run_from(1)
    expect(page.button(1, "Stop")).to_be_visible()
    expect(page.turn(1).get_by_role("button", name=DROP)).to_have_count(0)
    model.gate("rest").set()
    page.settle()


def test_an_interrupted_kernel_keeps_what_had_arrived(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say(HALF), "never"))
    model.enqueue(say("The next turn."))
    page = notebook(TURN, TURN)
    page.run(1)
    expect(page.output(1)).to_contain_text("Half of the")
    page.interrupt()
    page.settle()
    assert page.kept(1).status == "interrupted"
    assert page.errors(1) == ["TurnInterrupted"]
    assert "Half of the" in page.bundle(1)["text/plain"]
    page.run(2)
    expect(page.output(2)).to_contain_text("The next turn.")
    page.settle()


def test_a_second_interrupt_harms_nothing(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(call("shell", command=["sh", "-c", "echo on; sleep 60"]))
    model.enqueue(say("The next turn."))
    page = notebook(TURN, TURN)
    page.run(1)
    expect(page.output(1)).to_contain_text("on")
    page.interrupt()
    page.interrupt()
    page.settle()
    assert page.kept(1).status == "interrupted"
    assert page.errors(1) == ["TurnInterrupted"]
    page.run(2)
    expect(page.output(2)).to_contain_text("The next turn.")
    page.settle()


def test_an_interrupt_takes_the_card_away(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(call("shell", command=["touch", "ran"], network=True))
    page = notebook(TURN)
    page.run(1)
    expect(page.card(1)).to_be_visible()
    page.interrupt()
    page.settle()
    expect(page.card(1)).to_have_count(0)
    assert page.errors(1) == ["TurnInterrupted"]
    assert not (page.file.parent / "ran").exists()


def test_what_is_added_to_a_turn_reaches_the_model(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    # Codex breaks off what it is being told and asks again at once, with what was added.
    model.enqueue(*held(say(HALF), "never"))
    model.enqueue(*held(say("In French, then, from here to the end."), "end"))
    page = notebook(TURN)
    page.run(1)
    expect(page.turn(1)).to_contain_text("Half of the")
    box = page.turn(1).get_by_role("textbox", name="Add to this turn")
    box.fill("in French, please")
    page.button(1, "Send").click()
    expect(box).to_have_value("")
    expect(page.turn(1)).to_contain_text("in French, please")
    expect(page.turn(1)).to_contain_text("In French, then")
    model.gate("end").set()
    expect(page.output(1)).to_contain_text("to the end.")
    page.settle()
    assert "in French, please" in user_texts(model.requests[-1])
    assert len(model.requests) == 2


def test_enter_sends_what_is_added_and_an_empty_line_is_not_sent(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say(HALF), "never"))
    model.enqueue(*held(say("Shorter, from here to the end."), "end"))
    page = notebook(TURN)
    page.run(1)
    expect(page.turn(1)).to_contain_text("Half of the")
    box = page.turn(1).get_by_role("textbox", name="Add to this turn")
    page.button(1, "Send").click()
    box.fill("shorter")
    box.press("Enter")
    expect(page.turn(1)).to_contain_text("shorter")
    model.gate("end").set()
    expect(page.output(1)).to_contain_text("to the end.")
    page.settle()
    assert user_texts(model.requests[-1])[-1] == "shorter"
