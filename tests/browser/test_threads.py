"""A notebook's thread in JupyterLab: kernels restart, files get other names, outputs are cleared."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.testing import FakeModel, say, user_texts

if TYPE_CHECKING:
    from collections.abc import Callable

    from .drive import Desk, Notebook

TURNS = ("%%codex\nfirst", "%%codex\nsecond", "%%codex\nthird")


@pytest.fixture
def homes(tmp_path: Path) -> dict[str, str]:
    """Folders that outlive a kernel: Codex's home and the person's Jupyter data."""
    made = {"home": tmp_path / "codex", "data": tmp_path / "data"}
    for folder in made.values():
        folder.mkdir(mode=0o700)
    return {name: str(folder) for name, folder in made.items()}


@pytest.fixture
def begun(model: FakeModel, notebook: Callable[..., Notebook], homes: dict[str, str]) -> Notebook:
    """Open a notebook whose first two turns have been run and saved."""
    model.enqueue(say("one"))
    model.enqueue(say("two"))
    model.enqueue(say("three"))
    page = notebook(*TURNS, set_up=False)
    page.change(0, set_up(model, homes))
    run(page, 0, 1, 2)
    page.save()
    assert notices(page, 1) == notices(page, 2) == []
    return page


def set_up(model: FakeModel, homes: dict[str, str]) -> str:
    return f"import scripted\nscripted.use({model.base_url!r}, **{homes!r})"


def run(page: Notebook, *cells: int) -> None:
    for each in cells:
        page.run(each)
        page.settle()
        assert page.errors(each) == []


def notices(page: Notebook, cell: int) -> list[str]:
    return [notice.text for notice in page.kept(cell).notices]


def said(model: FakeModel) -> list[Any]:
    return [text for text in user_texts(model.requests[-1]) if not text.startswith("<")]


@pytest.mark.parametrize("change", ["restart", "rename", "clear"])
def test_a_notebook_goes_on_with_its_thread(begun: Notebook, model: FakeModel, change: str) -> None:
    thread_id = begun.kept(1).thread_id
    if change == "rename":
        begun.rename("better name.ipynb")
        run(begun, 3)
        assert (begun.kept(3).thread_id, notices(begun, 3)) == (thread_id, [])
        model.enqueue(say("four"))
    if change == "clear":
        begun.clear_outputs()
        begun.save()
    begun.restart()
    run(begun, 0, 3)
    assert (begun.kept(3).thread_id, notices(begun, 3)) == (
        thread_id,
        [f"thread resumed: {thread_id}"],
    )
    assert said(model)[:3] == ["first", "second", "third"]


def test_a_copy_in_another_home_goes_on_with_the_text(
    begun: Notebook, model: FakeModel, desk: Desk, tmp_path: Path
) -> None:
    theirs = {"home": str(tmp_path / "their codex"), "data": str(tmp_path / "their data")}
    for folder in theirs.values():
        Path(folder).mkdir(mode=0o700)
    copy = begun.file.with_name("copy.ipynb")
    shutil.copy(begun.file, copy)
    page = desk.reopen(copy)
    try:
        page.change(0, set_up(model, theirs))
        run(page, 0, 3)
        why = "its thread is not known on this machine"
        assert notices(page, 3) == [
            f"restored from the notebook: 2 turns as unverified text, because {why}"
        ]
        transcript, prompt = said(model)
        assert [json.loads(line) for line in transcript.split("\n")[1:]] == [
            {"person": "first"},
            {"codex": "one"},
            {"person": "second"},
            {"codex": "two"},
        ]
        assert prompt == "third"
    finally:
        page.close()


def test_a_notebook_that_was_never_saved_has_its_thread_back(
    model: FakeModel, notebook: Callable[..., Notebook], homes: dict[str, str]
) -> None:
    model.enqueue(say("one"))
    model.enqueue(say("two"))
    page = notebook(*TURNS, set_up=False)
    page.change(0, set_up(model, homes))
    run(page, 0, 1)
    page.restart()
    run(page, 0, 2)
    assert page.kept(2).thread_id == page.kept(1).thread_id
