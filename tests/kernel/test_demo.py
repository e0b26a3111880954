"""``codex-magic demo`` as a stranger runs it, and the magics in a terminal."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbformat import v4

from codex_magic import demo
from codex_magic.turn import MIME, from_json

BIN = Path(sys.executable).parent


def test_the_demo_writes_into_a_new_folder_and_says_where(tmp_path: Path) -> None:
    work = tmp_path / "work"
    earlier = work / "first-turn"
    earlier.mkdir(parents=True)
    (earlier / "01-first-turn.ipynb").write_text("worked on")
    # A person's own kernel of the same name, which is not this environment's.
    spec = tmp_path / "data" / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text('{"argv": ["/bin/false"], "display_name": "other", "language": "python"}')
    done = subprocess.run(
        [BIN / "codex-magic", "demo"],
        cwd=work,
        env=os.environ | {"JUPYTER_DATA_DIR": str(tmp_path / "data")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(p.name for p in work.iterdir()) == ["first-turn", "first-turn-2"]
    assert [p.read_text() for p in earlier.iterdir()] == ["worked on"]
    written = sorted(p.name for p in (work / "first-turn-2").iterdir())
    assert written == ["01-first-turn.html", "01-first-turn.ipynb", "data"]
    work = work / "first-turn-2"
    notebook = json.loads((work / "01-first-turn.ipynb").read_text())
    turns = [
        from_json(output["data"][MIME])
        for cell in notebook["cells"]
        for output in cell.get("outputs", ())
        if MIME in output.get("data", {})
    ]
    assert [turn.status for turn in turns] == ["completed"] * 3
    for turn in turns:
        assert done.stdout.count(turn.final_response) == 1
    assert "widgets" not in notebook["metadata"]


def test_the_demo_says_so_when_a_turn_does_not_complete(tmp_path: Path) -> None:
    environ = os.environ | {"CODEX_MAGIC_CODEX": "/bin/false"}
    done = subprocess.run(
        [BIN / "codex-magic", "demo"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cell 3 failed" in done.stderr
    assert (tmp_path / "first-turn" / "01-first-turn.ipynb").is_file()


STOPS = {
    "import time; time.sleep(60)": "cell 2 took more than 2 s",
    "import os; os._exit(1)": "the kernel died in cell 2",
    "1 / 0": "cell 2 failed: ZeroDivisionError: division by zero",
    "x = 1": "there was no turn",
}


@pytest.mark.parametrize("code", STOPS)
def test_whatever_stops_a_lesson_its_outputs_are_written(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("work", "home", "tmp"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("IPYTHONDIR", raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    monkeypatch.setattr(demo, "CELL_TIMEOUT_S", 2)
    lesson = tmp_path / "lesson.ipynb"
    cells = [v4.new_code_cell("print('seen')"), v4.new_code_cell(code)]
    nbformat.write(v4.new_notebook(cells=cells), lesson)
    result = demo.run(lesson, tmp_path / "work", out=io.StringIO())
    assert (result.trouble, result.good, result.turns) == (STOPS[code], False, ())
    written = nbformat.read(tmp_path / "work" / "lesson.ipynb", as_version=4)
    assert written.cells[0].outputs[0].text == "seen\n"
    assert list((tmp_path / "home").glob(".ipython")) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_a_terminal_prints_text_and_no_object(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "test.jsonl").write_text(
        '{"tape":1,"name":"test","title":"test","model":"gpt-6.1-sol","words_per_s":500}\n'
        '{"prompt":"look","chunks":[[0,"shell",{"command":["echo","seen"]}]]}\n'
        '{"prompt":"look","chunks":[[0,"answer","There is **one** thing."]]}\n'
    )
    code = "%load_ext codex_magic\n%codex replay test.jsonl\n%codex ask look\n"
    done = subprocess.run(
        [sys.executable, "-m", "IPython", "--no-banner", "--no-confirm-exit", "--colors=NoColor"],
        input=code,
        cwd=work,
        env=os.environ | {"IPYTHONDIR": str(tmp_path / "ipy"), "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "$ echo seen\nseen\n-> exit 0" in done.stdout
    assert done.stdout.count("There is **one** thing.") == 1
    assert "object at 0x" not in done.stdout
    assert "<IPython" not in done.stdout


@pytest.mark.parametrize("words", [["doctor"], ["--version"], ["--help"], ["demo", "--help"]])
def test_every_command_answers(tmp_path: Path, words: list[str]) -> None:
    environ = os.environ | {"CODEX_HOME": str(tmp_path), "OPENAI_API_KEY": "sk-not-a-real-key"}
    done = subprocess.run(
        [BIN / "codex-magic", *words], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout
