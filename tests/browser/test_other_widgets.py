"""A turn leaves alone what else is in a notebook: widgets, cells in the queue, other notebooks."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from codex_magic.testing import call, say

from .script import held

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.testing import FakeModel

    from .drive import Notebook

TURN = "%%codex\ntell me"
ASKS = call("shell", command=["sh", "-c", "echo ran"], network=True)
SLIDER = """\
import ipywidgets
seen = []
slider = ipywidgets.IntSlider(value=1, min=0, max=100)
slider.observe(lambda change: seen.append(change["new"]), "value")
display(slider)
"""
INTERACT = """\
@ipywidgets.interact(n=(0, 10))
def doubled(n=3):
    print("doubled:", 2 * n)
"""


def push(page: Notebook, index: int, times: int = 1) -> None:
    handle = page.output(index).locator(".noUi-handle")
    handle.focus()
    for _ in range(times):
        handle.press("ArrowRight")


def test_sliders_work_before_while_and_after_a_turn(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(ASKS)
    model.enqueue(*held(say("Half of it, and the rest."), "rest"))
    page = notebook(SLIDER, INTERACT, TURN, "print([seen, slider.value])")
    page.run(1, 2)
    readout = page.output(1).locator(".widget-readout")
    push(page, 1)
    expect(readout).to_have_text("2")
    push(page, 2)
    expect(page.output(2)).to_contain_text("doubled: 8")
    page.run(3)
    expect(page.card(3)).to_be_visible()
    push(page, 1, times=2)
    page.button(3, "Allow once").click()
    expect(page.output(3)).to_contain_text("Half of it")
    push(page, 1)
    push(page, 2)
    expect(readout).to_have_text("5")
    model.gate("rest").set()
    page.settle()
    expect(page.output(2)).to_contain_text("doubled: 10")
    push(page, 1)
    expect(readout).to_have_text("6")
    page.settle()
    page.run(4)
    page.settle()
    seen, value = ast.literal_eval(page.printed(4))
    # A page leaves out values while a kernel is busy; none may come twice or out of order.
    assert (seen[0], seen[-1], value) == (2, 6, 6)
    assert seen == sorted(set(seen))
    assert page.kept(3).status == "completed"


def test_cells_in_the_queue_keep_their_order(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    for said in (ASKS, say("The first."), ASKS, say("The second.")):
        model.enqueue(said)
    adds = "order.append(len(order))"
    page = notebook("order = []", TURN, adds, TURN, adds, "print(order)")
    page.run_from(1)
    for index in (2, 4):
        page.button(index, "Allow once").click()
    expect(page.output(6)).to_contain_text("[0, 1]")
    page.settle()
    saved = page.save()
    assert [cell["execution_count"] for cell in saved["cells"]] == [1, 2, 3, 4, 5, 6, 7]
    texts = [page.bundle(index)["text/plain"] for index in (2, 4)]
    assert ["The first." in texts[0], "The second." in texts[1]] == [True, True]


@pytest.mark.parametrize("alone", [False, True], ids=["two tabs", "two pages"])
def test_two_notebooks_are_asked_at_once(
    model: FakeModel, notebook: Callable[..., Notebook], alone: bool
) -> None:
    for said in (ASKS, ASKS, say("The second notebook."), say("The first notebook.")):
        model.enqueue(said)
    first = notebook(TURN)
    second = notebook(TURN, alone=alone)
    for page in (first, second):
        page.run(1)
        expect(page.card(1)).to_be_visible()
    second.button(1, "Allow once").click()
    expect(second.output(1)).to_contain_text("The second notebook.")
    second.settle()
    first.show()
    expect(first.card(1)).to_be_visible()
    first.button(1, "Allow once").click()
    expect(first.output(1)).to_contain_text("The first notebook.")
    first.settle()
    assert (first.kept(1).status, second.kept(1).status) == ("completed", "completed")
