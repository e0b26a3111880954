"""The same turn in other front ends and on other versions of ipykernel.

Which versions, `kernels` says.
"""

from __future__ import annotations

from importlib.metadata import version as installed
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from codex_magic.testing import call, say

from . import kernels
from .drive import widgets_in
from .script import held

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.testing import FakeModel

    from .drive import Front, Notebook

TURN = "%%codex\ndo it"
ASKS = call("shell", command=["sh", "-c", "echo ran >> ran.txt"], network=True)
MARKDOWN = "text/x-ipythongfm"
PYTHON = "text/x-ipython"


@pytest.mark.parametrize("version", kernels.versions())
def test_a_kernel_is_of_the_version_it_says(
    notebook: Callable[..., Notebook], kernel_of: Callable[[str], str], version: str
) -> None:
    source = "import ipykernel, codex_magic\nprint(ipykernel.__version__)"
    page = notebook(source, kernel=kernel_of(version), set_up=False)
    page.run(1)
    page.settle()
    expected = installed("ipykernel") if version == kernels.INSTALLED else version
    assert page.printed(1) == f"{expected}\n"


@pytest.mark.parametrize("version", kernels.versions())
def test_turns_stream_ask_and_stop_on_each_ipykernel(
    model: FakeModel,
    notebook: Callable[..., Notebook],
    kernel_of: Callable[[str], str],
    version: str,
) -> None:
    model.enqueue(ASKS)
    model.enqueue(*held(say("Half of it, and the rest."), "rest"))
    model.enqueue(*held(say("Half of the second."), "never"))
    page = notebook(TURN, TURN, "print('behind')", kernel=kernel_of(version))
    page.run_from(1)
    page.button(1, "Allow once").click()
    expect(page.turn(1)).to_contain_text("Half of it")
    expect(page.turn(1)).not_to_contain_text("rest.")
    model.gate("rest").set()
    expect(page.turn(2)).to_contain_text("Half of")
    page.button(2, "Stop").click()
    page.settle()
    assert (page.file.parent / "ran.txt").read_text() == "ran\n"
    assert [page.kept(index).status for index in (1, 2)] == ["completed", "interrupted"]
    assert (page.errors(2), page.printed(3)) == ([], "behind\n")
    assert widgets_in(page.save()) == []


def test_a_command_is_allowed_in_notebook_7(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(ASKS)
    model.enqueue(*held(say("Half of it, and the rest."), "rest"))
    page = notebook(TURN, front="notebook")
    page.run(1)
    expect(page.card(1)).to_be_focused()
    page.shot("notebook-7")
    page.button(1, "Allow once").click()
    expect(page.turn(1)).to_contain_text("Half of it")
    model.gate("rest").set()
    expect(page.output(1)).to_contain_text("and the rest.")
    page.settle()
    assert (page.file.parent / "ran.txt").read_text() == "ran\n"
    assert widgets_in(page.save()) == []


@pytest.mark.parametrize("front", ["lab", "notebook"])
def test_a_prompt_is_highlighted_as_prose_until_it_is_none(
    model: FakeModel, notebook: Callable[..., Notebook], front: Front
) -> None:
    model.enqueue(*held(say("Yes and no."), "rest"))
    page = notebook(TURN, "x = 1", front=front)
    page.run_from(1)
    expect(page.turn(1)).to_be_visible()
    page.becomes(1, MARKDOWN)
    model.gate("rest").set()
    expect(page.output(1)).to_contain_text("Yes and no.")
    page.settle()
    page.becomes(1, MARKDOWN)
    page.becomes(2, PYTHON)
    page.change(1, "%%codex\nsomething *else*")
    page.becomes(1, MARKDOWN)
    page.change(1, "y = 2")
    page.becomes(1, PYTHON)
