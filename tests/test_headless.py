"""Headless runs without a kernel: options, progress, drift, and what a run is worth."""

from __future__ import annotations

import io
import json
import re
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from msgspec.structs import replace
from nbformat import v4

from codex_magic import cli
from codex_magic.events import Notice, TurnError
from codex_magic.headless import outcome
from codex_magic.headless.drift import CellTurns, drifts, report
from codex_magic.headless.progress import Progress, narrow
from codex_magic.items import CommandExecution, FileChange, Question
from codex_magic.notebook.run import Ending
from codex_magic.turn import MIME, REUSED, Turn, to_json

if TYPE_CHECKING:
    from pathlib import Path

    Capture = pytest.CaptureFixture[str]

STORED = Turn(prompt="why?", model="m", sandbox="read-only", inputs="1", status="completed")
SHOWN = replace(STORED, notices=(Notice(REUSED),))
FAILED = replace(STORED, status="failed", error=TurnError(message="gone"))


def displayed(turn: Turn) -> Any:
    return v4.new_output("display_data", {MIME: to_json(turn), "text/plain": "x"})


def cell(*outputs: Any, source: str = "%%codex\nwhy?", **metadata: Any) -> Any:
    made = v4.new_code_cell(source, metadata=metadata)
    made.outputs = list(outputs)
    return made


# --- the command line ------------------------------------------------------------------------


@pytest.fixture
def notebook(tmp_path: Path) -> Path:
    path = tmp_path / "n.ipynb"
    nbformat.write(v4.new_notebook(cells=[cell(displayed(STORED))]), path)
    return path


WRONG: dict[str, tuple[list[str], str]] = {
    "no output": (["N"], "one of the arguments -o/--output --in-place is required"),
    "both": (["N", "--in-place", "-o", "x"], "not allowed with"),
    "no number": (["N", "-o", "OUT", "--timeout", "soon"], "must be a number of seconds above 0"),
    "no time": (["N", "-o", "OUT", "--timeout", "0"], "must be a number of seconds above 0"),
    "missing": (["MISSING", "-o", "OUT"], "cannot be read: No such file or directory"),
    "itself": (["N", "-o", "N"], "is the notebook itself. To write into it, type --in-place"),
    "no folder": (["N", "-o", "MISSING/out.ipynb"], "cannot be written: "),
    "a folder": (["N", "-o", "."], "is a folder"),
    "no tape": (["N", "-o", "OUT", "--tape", "x"], "there is no lesson 'x'. There are: first-turn"),
    "no kind": (
        ["N", "-o", "OUT", "--allow", "all"],
        "'all' is none of network, rules, unsandboxed",
    ),
    "no kernel": (["N", "-o", "OUT", "--kernel", "x"], "there is no kernel 'x'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_cannot_be_run_is_said_and_nothing_is(
    name: str, notebook: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.chdir(notebook.parent)
    words, said = WRONG[name]
    names = {"N": "n.ipynb", "OUT": "out.ipynb"}
    before = notebook.read_bytes()
    try:
        code = cli.main(["run", *(names.get(word, word) for word in words)])
    except SystemExit as error:
        code = error.code
    assert code == 64
    assert said in capsys.readouterr().err
    assert [path.name for path in notebook.parent.iterdir()] == ["n.ipynb"]
    assert notebook.read_bytes() == before


def test_a_notebook_in_another_language_needs_its_kernel(
    notebook: Path, tmp_path: Path, capsys: Capture
) -> None:
    metadata = {"kernelspec": {"name": "ir", "language": "R", "display_name": "R"}}
    nbformat.write(v4.new_notebook(metadata=metadata), notebook)
    assert cli.main(["run", str(notebook), "-o", str(tmp_path / "out.ipynb")]) == 64
    assert "is a notebook in R. Name its kernel with --kernel" in capsys.readouterr().err


def test_the_help_names_the_exit_codes(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        cli.main(["run", "--help"])
    shown = capsys.readouterr().out
    assert re.findall(r"^  (\d+) ", shown, re.MULTILINE) == ["0", "1", "2", "3", "64", "74", "130"]


# --- stripping -------------------------------------------------------------------------------


def test_strip_rewrites_a_notebook_once(notebook: Path, capsys: Capture) -> None:
    notebook.chmod(0o640)
    assert cli.main(["strip", str(notebook)]) == 0
    assert "removed 1 stored turn;" in capsys.readouterr().out
    expected = nbformat.read(notebook, 4)
    assert dict(expected.cells[0].outputs[0].data) == {"text/plain": "x"}
    assert notebook.stat().st_mode & 0o777 == 0o640
    assert notebook.read_bytes().endswith(b"}\n")
    before = notebook.stat()
    assert cli.main(["strip", str(notebook)]) == 0
    assert "there was no stored turn" in capsys.readouterr().out
    assert (notebook.stat().st_ino, notebook.stat().st_mtime_ns) == (
        before.st_ino,
        before.st_mtime_ns,
    )


def test_strip_writes_elsewhere_and_leaves_the_notebook(notebook: Path, tmp_path: Path) -> None:
    before = notebook.read_bytes()
    out = tmp_path / "out.ipynb"
    assert cli.main(["strip", str(notebook), "-o", str(out)]) == 0
    assert notebook.read_bytes() == before
    assert MIME not in out.read_text()


def test_strip_changes_no_old_notebook_and_no_closed_one(notebook: Path, capsys: Capture) -> None:
    notebook.chmod(0o444)
    before = notebook.read_bytes()
    assert cli.main(["strip", str(notebook)]) == 64
    assert "is read-only" in capsys.readouterr().err
    assert notebook.read_bytes() == before
    notebook.chmod(0o644)
    old = json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []})
    notebook.write_text(old)
    assert cli.main(["strip", str(notebook)]) == 64
    assert "Upgrade it: jupyter nbconvert --to notebook --inplace" in capsys.readouterr().err
    assert notebook.read_text() == old


# --- what a run is worth ---------------------------------------------------------------------

DECLINED = replace(STORED, items=(FileChange(id="f", status="declined"),))
UNCONFINED = replace(STORED, items=(CommandExecution(id="c", command="x", outcome="refused"),))
ASKED = replace(STORED, items=(Question(id="q", status="declined", question="?"),))
RAISED = v4.new_output("error", ename="BackendError", evalue="gone", traceback=[])
DIVIDED = v4.new_output("error", ename="ZeroDivisionError", evalue="", traceback=[])
HOSTILE = v4.new_output("display_data", {MIME: {"version": "x"}})

CODES = [
    ("done", [], 0),
    ("done", [cell(displayed(STORED)), cell(HOSTILE)], 0),
    ("done", [cell(displayed(ASKED))], 0),
    ("done", [cell(displayed(FAILED))], 2),
    ("done", [cell(displayed(FAILED), tags=["raises-exception"])], 0),
    ("done", [cell(displayed(DECLINED))], 3),
    ("done", [cell(displayed(UNCONFINED)), cell(displayed(STORED))], 3),
    ("done", [cell(displayed(DECLINED)), cell(displayed(FAILED))], 2),
    ("failed", [cell(displayed(DECLINED)), cell(DIVIDED)], 1),
    ("failed", [cell(displayed(FAILED), RAISED)], 2),
    ("failed", [cell(displayed(FAILED), DIVIDED)], 1),
    ("failed", [cell(RAISED)], 1),
    ("timeout", [cell(displayed(FAILED), RAISED)], 1),
    ("died", [cell()], 1),
    ("unstarted", [], 64),
]


@pytest.mark.parametrize(("how", "cells", "code"), CODES)
def test_a_run_ends_with_the_code_of_the_worst(how: Any, cells: list[Any], code: int) -> None:
    ending = Ending(how, "words", executed=list(range(len(cells))))
    # What was not reached is not of this run.
    notebook = v4.new_notebook(cells=[*cells, cell(displayed(FAILED))])
    found, said = outcome.judge(notebook, ending)
    assert (found, bool(said)) == (code, code != 0)


def test_a_stopped_run_ends_as_a_shell_says_it() -> None:
    ending = Ending("stopped", "stopped in cell 2", signum=15)
    assert outcome.judge(v4.new_notebook(), ending) == (143, "stopped in cell 2")


# --- drift -----------------------------------------------------------------------------------

OTHER = replace(STORED, inputs="2")
DRIFTS = [
    ([STORED], [SHOWN], "same", ""),
    ([], [STORED], "new", ""),
    ([], [SHOWN], "same", ""),
    ([STORED], None, "not run", ""),
    ([STORED], [], "gone", "the cell asks nothing any more"),
    ([STORED], [replace(OTHER, prompt="how?")], "changed", "the prompt changed"),
    (
        [STORED],
        [replace(OTHER, model="n", sandbox="workspace-write")],
        "changed",
        "model was m and is n; sandbox was read-only and is workspace-write",
    ),
    ([STORED], [replace(OTHER, tape="t")], "changed", "it is played from tape t"),
    ([replace(STORED, tape="t")], [OTHER], "changed", "it was played from tape t"),
    ([FAILED], [STORED], "changed", "the stored turn was failed"),
    ([STORED], [OTHER], "changed", "an option, or a turn before it, changed"),
    (
        [replace(STORED, inputs="")],
        [STORED],
        "changed",
        "the stored turn does not tell what it was asked with",
    ),
    ([STORED], [STORED], "changed", "it was asked again although nothing changed"),
]


@pytest.mark.parametrize(("before", "after", "verdict", "why"), DRIFTS)
def test_the_drift_of_a_turn(before: Any, after: Any, verdict: str, why: str) -> None:
    [found] = drifts([CellTurns(1, before, after)])
    assert (found.verdict, found.why) == (verdict, why)


def test_what_stands_behind_a_changed_turn_of_its_thread_changed_for_that() -> None:
    elsewhere = replace(OTHER, thread_name="other")
    found = drifts(
        [
            CellTurns(1, [STORED], [SHOWN]),
            CellTurns(2, [STORED], [replace(OTHER, prompt="how?")]),
            CellTurns(3, [STORED], [OTHER]),
            CellTurns(4, [replace(elsewhere, inputs="3")], [elsewhere]),
        ]
    )
    assert [drift.why for drift in found] == [
        "",
        "the prompt changed",
        "an earlier turn of its thread changed",
        "an option, or a turn before it, changed",
    ]
    assert report(found)[0] == "Drift: 1 turn shown from the notebook, 3 asked."
    assert report(found)[2].split(maxsplit=3) == [
        "cell",
        "2",
        "changed",
        "how?  (the prompt changed)",
    ]


# --- progress --------------------------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def watched(out: io.StringIO) -> Progress:
    return Progress(3, out, clock=iter(range(1000)).__next__)


def feed(progress: Progress) -> None:
    progress.begins(2, cell(source="%%codex -q\n\n\x1b]0;title\x07red \u202e wh\ny?"))
    progress.shows({"text/plain": "Looking.\n\n$ ls -l \x1b[31m\x9b1m\nout"})
    progress.prints("\x1b[2J")
    progress.shows({"text/plain": ["no", "text"]})
    progress.shows({MIME: {"version": "x"}})
    progress.shows({MIME: to_json(replace(SHOWN, model="m\x1b[2J"))})
    progress.ends(2, cell())


def test_without_a_terminal_progress_is_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.StringIO()
    feed(watched(out))
    lines = out.getvalue().splitlines()
    assert lines[0] == "[2/3] %%codex -q red \\u202e wh"
    assert lines[1] == f"[2/3] turn completed · m · thread main · {REUSED}"
    assert re.fullmatch(r"\[2/3\] ended after [\d.]+ s", lines[2])
    assert len(lines) == 3


def test_a_terminal_has_one_line_that_is_redrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "70")
    out = Terminal()
    progress = watched(out)
    feed(progress)
    progress.close()
    drawn = out.getvalue().split("\r\x1b[K")
    assert re.match(r"\[####\.{8}\] 2/3 · \d+ s · %%codex -q red \\u202e wh$", drawn[1])
    assert re.search(r"wh · \d+ s \$ ls -l", drawn[2])
    assert [line for line in drawn if len(line) > 69 and not line.endswith("\n")] == []
    kept = [line for line in drawn if line.endswith("\n")]
    assert kept == [f"[2/3] turn completed · m · thread main · {REUSED}\n"]
    assert drawn[-1] == ""
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", "".join(drawn)) is None


def test_a_dumb_terminal_gets_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()
    feed(watched(out))
    assert "\r" not in out.getvalue()


@pytest.mark.parametrize(
    ("text", "shown"), [("abc", "abc"), ("abcdef", "abcd"), ("日本語", "日本")]
)
def test_a_line_is_cut_where_the_terminal_would_wrap(text: str, shown: str) -> None:
    assert narrow(text, 4) == shown
