"""A card in the running cell asks a person, and what they answer is what happens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from codex_magic.testing import call, say, tool_outputs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from codex_magic.testing import FakeModel

    from .drive import Notebook

# What asks for the network is asked about; without any it still leaves a trace.
ASKS = call("shell", command=["sh", "-c", "echo ran >> ran.txt"], network=True)
OTHER = call("shell", command=["sh", "-c", "echo ran >> ran.txt; true"], network=True)
TURN = "%%codex\ndo it"


def runs(page: Notebook) -> int:
    trace: Path = page.file.parent / "ran.txt"
    return len(trace.read_text().splitlines()) if trace.exists() else 0


def test_allowed_once_it_runs_once(model: FakeModel, notebook: Callable[..., Notebook]) -> None:
    for said in (ASKS, say("It ran."), ASKS, say("It did not.")):
        model.enqueue(said)
    page = notebook(TURN, TURN)
    page.run(1)
    expect(page.card(1).locator(".codex-card-command")).to_contain_text("echo ran")
    assert runs(page) == 0
    page.button(1, "Allow once").click()
    expect(page.output(1)).to_contain_text("It ran.")
    page.settle()
    assert runs(page) == 1
    page.run(2)
    page.button(2, "Decline").click()
    expect(page.output(2)).to_contain_text("It did not.")
    page.settle()
    assert runs(page) == 1


def test_the_reason_for_no_reaches_the_model(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(ASKS)
    model.enqueue(say("As you like."))
    page = notebook(TURN)
    page.run(1)
    page.card(1).get_by_role("textbox", name="Reason, if you decline").fill("not on a Sunday")
    page.button(1, "Decline").click()
    expect(page.output(1)).to_contain_text("As you like.")
    page.settle()
    assert runs(page) == 0
    (told,) = tool_outputs(model.requests[-1])
    assert "not on a Sunday" in told


def test_allowed_for_this_notebook_the_same_is_not_asked_again(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    for said in (ASKS, ASKS, say("Twice."), ASKS, say("Once more.")):
        model.enqueue(said)
    page = notebook(TURN, TURN)
    page.run(1)
    page.button(1, "Allow for this notebook").click()
    expect(page.output(1)).to_contain_text("Twice.")
    page.run(2)
    expect(page.output(2)).to_contain_text("Once more.")
    page.settle()
    assert runs(page) == 3


def test_allowed_for_this_notebook_another_command_is_asked_about(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    for said in (ASKS, OTHER, say("The end.")):
        model.enqueue(said)
    page = notebook(TURN)
    page.run(1)
    page.button(1, "Allow for this notebook").click()
    expect(page.card(1).locator(".codex-card-command")).to_contain_text("true")
    page.button(1, "Decline").click()
    expect(page.output(1)).to_contain_text("The end.")
    page.settle()
    assert runs(page) == 1


def test_answered_twice_it_runs_once(model: FakeModel, notebook: Callable[..., Notebook]) -> None:
    for said in (ASKS, OTHER, say("The end.")):
        model.enqueue(said)
    page = notebook(TURN)
    page.run(1)
    expect(page.button(1, "Allow once")).to_be_enabled()
    # The second click must not answer the question that comes behind.
    page.button(1, "Allow once").evaluate("it => { it.click(); it.click() }")
    expect(page.card(1).locator(".codex-card-command")).to_contain_text("true")
    assert runs(page) == 1
    page.button(1, "Decline").click()
    expect(page.output(1)).to_contain_text("The end.")
    page.settle()
    assert runs(page) == 1


def test_the_turn_can_be_stopped_from_the_card(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(ASKS)
    page = notebook(TURN, "print('behind')")
    page.run_from(1)
    page.button(1, "Stop the turn").click()
    page.settle()
    assert page.kept(1).status == "interrupted"
    assert (runs(page), page.errors(1), page.printed(2)) == (0, [], "behind\n")


def test_the_card_has_the_focus_and_no_key_answers_it(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(ASKS)
    model.enqueue(say("The end."))
    page = notebook(TURN, "print('kept')")
    page.run(1)
    expect(page.card(1)).to_be_focused()
    expect(page.card(1)).to_have_attribute("tabindex", "-1")
    expect(page.button(1, "Allow once")).to_be_enabled()
    # JupyterLab's own keys: edit, insert a cell, cut it, delete it, interrupt the kernel.
    for key in ("Enter", "Space", "a", "b", "x", "d", "d", "i", "i"):
        page.page.keyboard.press(key)
    expect(page.card(1)).to_be_focused()
    expect(page.root.locator(".jp-Notebook .jp-Cell")).to_have_count(3)
    assert (runs(page), len(model.requests)) == (0, 1)
    page.button(1, "Allow once").focus()
    page.page.keyboard.press("Enter")
    expect(page.button(1, "Allow once")).to_be_enabled()
    assert runs(page) == 0
    page.page.keyboard.press("Space")
    expect(page.output(1)).to_contain_text("The end.")
    page.settle()
    assert runs(page) == 1


@pytest.mark.parametrize(
    ("word", "shown"),
    [
        ("a\u202eb", "\\u202e"),
        ("a\u200bb", "\\u200b"),
        ("a\x1b[2Kb", "\\x1b"),
        ("<img src=x onerror=alert(1)>", "<img src=x"),
    ],
)
def test_nothing_in_a_command_is_hidden(
    model: FakeModel, notebook: Callable[..., Notebook], word: str, shown: str
) -> None:
    model.enqueue(call("shell", command=["echo", word], network=True))
    model.enqueue(say("The end."))
    page = notebook(TURN)
    page.run(1)
    expect(page.card(1).locator(".codex-card-command")).to_contain_text(shown)
    expect(page.turn(1).locator("img")).to_have_count(0)
    page.button(1, "Decline").click()
    expect(page.output(1)).to_contain_text("The end.")
    page.settle()


def test_a_question_is_answered_in_words(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(call("ask_user", question="Which year?"))
    model.enqueue(say("Thank you."))
    page = notebook(TURN)
    page.run(1)
    expect(page.card(1)).to_contain_text("Which year?")
    page.card(1).get_by_role("textbox", name="Your answer").fill("1984, please")
    page.button(1, "Answer").click()
    expect(page.output(1)).to_contain_text("Thank you.")
    page.settle()
    (told,) = tool_outputs(model.requests[-1])
    assert "1984, please" in told


def test_a_question_is_answered_by_one_of_its_options(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(call("ask_user", question="Which colour?", options=["red", "dark blue"]))
    model.enqueue(say("Thank you."))
    page = notebook(TURN)
    page.run(1)
    expect(page.button(1, "red")).to_be_visible()
    page.button(1, "dark blue").click()
    expect(page.output(1)).to_contain_text("Thank you.")
    page.settle()
    (told,) = tool_outputs(model.requests[-1])
    assert "dark blue" in told
