"""What a person sees: the first lesson in a real JupyterLab, live and reopened.

Screenshots go to ``tests/browser/shots``, which git ignores: they are for looking at.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from codex_magic import demo
from codex_magic.turn import MIME, from_json

LESSONS = Path(__file__).parents[2] / "notebooks"
SHOTS = Path(__file__).parent / "shots"
LESSON = "01-first-turn.ipynb"
READY = """() => {
  const panel = [...(window.jupyterapp?.shell.widgets('main') ?? [])].find(w => w.context);
  return panel?.context.isReady
    && panel.sessionContext.session?.kernel?.status === 'idle';
}"""
RUN_ALL = "() => { jupyterapp.commands.execute('notebook:run-all-cells') }"
SAVE = "() => jupyterapp.commands.execute('docmanager:save')"
THEME = "name => jupyterapp.commands.execute('apputils:change-theme', { theme: name })"
QUIET = """() => {
  for (const side of ['application:toggle-left-area', 'application:toggle-right-area'])
    if (jupyterapp.commands.isToggled(side)) jupyterapp.commands.execute(side);
}"""


@pytest.fixture
def troubles(page: Page) -> list[str]:
    found: list[str] = []
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


def opened(page: Page, lab: Any, notebook: str) -> None:
    page.goto(lab.page_of(notebook))
    page.wait_for_function(READY, timeout=60_000)
    page.evaluate(QUIET)


def shot(page: Page, name: str) -> Path:
    SHOTS.mkdir(exist_ok=True)
    path = SHOTS / f"{name}.png"
    page.screenshot(path=path)
    return path


def test_a_lesson_runs_live_and_is_saved_without_its_reader(
    page: Page, lab: Any, troubles: list[str]
) -> None:
    shutil.copy(LESSONS / LESSON, lab.root / "live.ipynb")
    opened(page, lab, "live.ipynb")
    page.evaluate(RUN_ALL)
    outputs = page.locator(".jp-OutputArea-output")
    # It streams: thinking is on the page while the turn still runs.
    expect(page.get_by_text("Thinking", exact=True).first).to_be_visible(timeout=30_000)
    shot(page, "live-thinking")
    expect(outputs.get_by_text("no model was called")).to_have_count(3, timeout=60_000)
    expect(page.locator("section.codex-turn")).to_have_count(0)
    page.evaluate(SAVE)
    page.wait_for_function(
        "() => !jupyterapp.shell.currentWidget.context.model.dirty", timeout=10_000
    )
    turns = stored_turns(lab.root / "live.ipynb")
    assert [(turn.status, turn.tape) for turn in turns] == [("completed", "first-turn")] * 3
    assert troubles == []


@pytest.mark.parametrize("theme", ["JupyterLab Light", "JupyterLab Dark"])
def test_a_saved_lesson_reads_well_without_a_kernel(
    page: Page, lab: Any, troubles: list[str], theme: str, executed: Path
) -> None:
    shutil.copy(executed, lab.root / "saved.ipynb")
    opened(page, lab, "saved.ipynb")
    page.evaluate(THEME, theme)
    answer = page.locator(".jp-OutputArea-output").get_by_text("344 penguins").first
    expect(answer).to_be_visible(timeout=20_000)
    answer.scroll_into_view_if_needed()
    shot(page, f"saved-{theme.rsplit(maxsplit=1)[-1].lower()}")
    command = page.locator(".jp-OutputArea-output details").filter(has_text="head -5").first
    expect(command.get_by_text("species,island")).to_be_hidden()
    command.locator("summary").click()
    expect(command.get_by_text("species,island")).to_be_visible()
    shot(page, f"saved-open-{theme.rsplit(maxsplit=1)[-1].lower()}")
    expect(page.get_by_text("model not found")).to_have_count(0)
    assert troubles == []


def test_the_page_made_of_it_reads_well(page: Page, executed: Path, troubles: list[str]) -> None:
    page.goto(executed.with_suffix(".html").as_uri())
    expect(page.get_by_text("344 penguins").first).to_be_visible()
    expect(page.locator("details summary", has_text="head -5").first).to_be_visible()
    shot(page, "nbconvert")
    assert [trouble for trouble in troubles if "require" not in trouble.lower()] == []


@pytest.fixture(scope="session")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    work = tmp_path_factory.mktemp("demo")
    shutil.copytree(LESSONS / "data", work / "data")
    with (work / "log").open("w") as log:
        result = demo.run(LESSONS / LESSON, work, out=log)
    assert result.trouble == ""
    return result.notebook


def stored_turns(path: Path) -> list[Any]:
    notebook = json.loads(path.read_text())
    return [
        from_json(output["data"][MIME])
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
        if MIME in output.get("data", {})
    ]
