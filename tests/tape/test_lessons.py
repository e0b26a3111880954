"""The commands of the built-in lessons run, and give what the lessons say they give."""

from __future__ import annotations

import itertools
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from codex_magic import tape
from codex_magic.tape.player import compare
from codex_magic.tape.steps import Setting
from codex_magic.tape.wire import expand

if TYPE_CHECKING:
    from codex_magic.tape.format import Chunk, Expectation

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def commands() -> list[tuple[Chunk, Expectation]]:
    found: list[tuple[Chunk, Expectation]] = []
    for name in tape.lessons():
        lesson = tape.find(name)
        for prompt in lesson.prompts:
            lines = lesson.lines(prompt)
            for line, following in itertools.pairwise(lines):
                found += zip(line.calls, following.expect, strict=True)
    return found


@pytest.mark.parametrize(("call", "expect"), commands())
def test_a_command_gives_what_its_lesson_expects(call: Chunk, expect: Expectation) -> None:
    command = call.payload["command"]
    done = subprocess.run(
        command,
        shell=isinstance(command, str),
        cwd=NOTEBOOKS,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    text = f"outcome: exit {done.returncode}\nduration: 0.0 s\noutput:\n{done.stdout}"
    assert expect.pattern
    assert compare(expect, text) == ""


def test_the_first_lesson_is_short() -> None:
    lesson = tape.find("first-turn")
    setting = Setting(shape="code", stem="s", words_per_s=lesson.header.words_per_s)
    steps = [step for line in lesson.responses for step in expand(line, setting)]
    assert sum(step.delay_s for step in steps) <= 12
    assert len(lesson.prompts) == 3


def test_the_first_notebook_asks_what_the_first_lesson_answers() -> None:
    import nbformat

    path = NOTEBOOKS / "01-first-turn.ipynb"
    notebook = nbformat.reads(path.read_text(), as_version=4)  # type: ignore[no-untyped-call]
    sources = [cell.source for cell in notebook.cells if cell.cell_type == "code"]
    asked = [s.removeprefix("%%codex\n") for s in sources if s.startswith("%%codex\n")]
    assert tuple(asked) == tape.find("first-turn").prompts
    assert not any(cell.get("outputs") for cell in notebook.cells)
