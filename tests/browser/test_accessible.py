"""A turn without a mouse, without colours, without motion: axe looks at it in both themes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from codex_magic.testing import call, pause_at, say, think

from .accessible import violations
from .script import held

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.testing import FakeModel

    from .drive import Notebook, Theme

TURN = "%%codex\ndo it"
ASKS = call("shell", command=["sh", "-c", "echo ran"], network=True)
ASKS_A_PERSON = call("ask_user", question="Which colour?", options=["red", "blue"])
LIVE = "section.codex-turn"
KEPT = ".jp-OutputArea-output.jp-RenderedMarkdown"
MOVING = """() => document.getAnimations().filter(
  it => it.playState === 'running' && it.effect?.target?.closest('section.codex-turn')
).length"""


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious(
    model: FakeModel, notebook: Callable[..., Notebook], theme: Theme
) -> None:
    model.enqueue(think("I will need the network."), say("First this.", "commentary"), ASKS)
    model.enqueue(ASKS_A_PERSON)
    model.enqueue(pause_at("end"), say("It *ran*, see `echo`."))
    page = notebook(TURN)
    page.theme(theme)
    page.run(1)
    expect(page.card(1)).to_be_visible()
    assert violations(page.page, LIVE) == []
    page.button(1, "Allow once").click()
    expect(page.button(1, "red")).to_be_visible()
    assert violations(page.page, LIVE) == []
    page.button(1, "red").click()
    expect(page.card(1)).to_have_count(0)
    assert violations(page.page, LIVE) == []
    model.gate("end").set()
    expect(page.output(1)).to_contain_text("It ran")
    page.settle()
    expect(page.page.locator(KEPT)).to_have_count(1)
    assert violations(page.page, KEPT) == []


def test_nothing_moves_for_whoever_has_asked_for_that(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(think("I look at it from here and there."), "rest"), say("Seen."))
    page = notebook(TURN)
    page.page.emulate_media(reduced_motion="reduce")
    page.run(1)
    expect(page.turn(1).locator(".codex-reasoning")).to_contain_text("I look at")
    assert page.page.evaluate(MOVING) == 0
    page.page.emulate_media(reduced_motion="no-preference")
    model.gate("rest").set()
    page.settle()


def test_a_turn_is_answered_and_stopped_with_keys_alone(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(ASKS)
    model.enqueue(*held(say("Half of it, and the rest."), "never"))
    page = notebook(TURN)
    page.run(1)
    expect(page.card(1)).to_be_focused()
    expect(page.button(1, "Allow once")).to_be_enabled()
    tab_to(page, "Allow once")
    page.page.keyboard.press("Space")
    expect(page.turn(1)).to_contain_text("Half of it")
    page.turn(1).locator("summary").first.focus()
    tab_to(page, "Stop")
    page.page.keyboard.press("Enter")
    page.settle()
    assert page.kept(1).status == "interrupted"


def tab_to(page: Notebook, name: str) -> None:
    for _ in range(12):
        page.page.keyboard.press("Tab")
        if page.page.evaluate("document.activeElement.textContent.trim()") == name:
            return
    where = page.page.evaluate("document.activeElement.outerHTML.slice(0, 300)")
    pytest.fail(f"{name} is not reached with Tab, which ends at {where}")
