"""``codex-magic run`` as a script or a person runs it: a real kernel, the real Codex, a tape."""

from __future__ import annotations

import io
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import nbformat
import pytest
from nbformat import v4

from codex_magic import tape
from codex_magic.headless.progress import Progress
from codex_magic.items import CommandExecution
from codex_magic.notebook import run
from codex_magic.turn import MIME, REUSED, from_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PROGRAM = Path(sys.executable).parent / "codex-magic"
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
LOAD = "%load_ext codex_magic"
WIDGETS = {"application/vnd.jupyter.widget-state+json": {"state": {}, "version_major": 2}}


class Room:
    """A folder with a notebook and a tape, and runs of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "work"
        self.folder.mkdir()
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.out = self.folder / "out.ipynb"
        self.started: list[subprocess.Popen[str]] = []

    def notebook(self, *sources: Any, **metadata: Any) -> None:
        cells = [v4.new_code_cell(s) if isinstance(s, str) else s for s in sources]
        nbformat.write(v4.new_notebook(cells=cells, metadata=metadata), self.folder / "n.ipynb")

    def tape(self, *lines: dict[str, Any]) -> None:
        header = {"tape": 1, "name": "test", "title": "test", "model": "gpt-6.1-sol"}
        text = "\n".join(json.dumps(line) for line in (header | {"words_per_s": 500}, *lines))
        (self.folder / "test.jsonl").write_text(text + "\n")

    def start(self, *words: str, **how: Any) -> subprocess.Popen[str]:
        words = words or ("-o", "out.ipynb")
        environ = os.environ | {"TMPDIR": str(self.temporary)}
        pipes: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen(
            [PROGRAM, "run", "n.ipynb", *words],
            cwd=self.folder,
            env=environ,
            text=True,
            **pipes,
            **how,
        )
        self.started.append(process)
        return process

    def run(self, *words: str, **how: Any) -> tuple[int, str, str]:
        process = self.start(*words, **how)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err

    @property
    def outputs(self) -> list[list[Any]]:
        notebook = nbformat.read(self.out, as_version=4)
        return [cell.get("outputs", []) for cell in notebook.cells]

    @property
    def turns(self) -> list[Any]:
        data = [o.get("data", {}) for outputs in self.outputs for o in outputs]
        return [from_json(each[MIME]) for each in data if MIME in each]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    made = Room(tmp_path)
    yield made
    for process in made.started:
        process.kill()
        process.communicate()


def say(prompt: str, text: str) -> dict[str, Any]:
    return {"prompt": prompt, "chunks": [[0, "answer", text]]}


def shell(prompt: str, *command: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chunks": [[0, "shell", {"command": command, **more}]]}


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_every_notebook_runs_from_its_tape(path: Path, tmp_path: Path) -> None:
    shutil.copy(path, tmp_path)
    shutil.copytree(NOTEBOOKS / "data", tmp_path / "data")
    lesson = path.stem.partition("-")[2]
    words = ["--tape", lesson] if lesson in tape.lessons() else []
    done = subprocess.run(
        [PROGRAM, "run", path.name, "-o", "out.ipynb", "--timeout", "120", *words],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "Written: out.ipynb\n"), done.stderr
    notebook = nbformat.read(tmp_path / "out.ipynb", as_version=4)
    nbformat.validate(notebook)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        outputs = cell.get("outputs", ())
        shown = [o.data for o in outputs if "data" in o]
        assert not any("widget" in mime for data in shown for mime in data)
        if cell.source.startswith("%%codex"):
            [turn] = [from_json(data[MIME]) for data in shown]
            assert (turn.status, bool(turn.tape)) == ("completed", True)
    assert path.read_bytes() == (tmp_path / path.name).read_bytes()


def test_what_has_not_changed_is_shown_from_the_notebook(room: Room) -> None:
    room.notebook(LOAD, "%%codex\none", "%%codex\ntwo", "%%codex -t aside\nthree")
    room.tape(say("one", "First."), say("two", "Second."), say("three", "Third."), say("2", "New."))
    assert room.run("-o", "out.ipynb", "--tape", "test.jsonl")[0] == 0
    asked = room.turns
    room.out.rename(room.folder / "n.ipynb")
    # Neither a tape nor an account now.
    code, out, err = room.run("-o", "out.ipynb", "--reuse")
    assert (code, out.splitlines()) == (
        0,
        [
            "Drift: 3 turns shown from the notebook, 0 asked.",
            "  cell 2   same     one",
            "  cell 3   same     two",
            "  cell 4   same     three",
            "Written: out.ipynb",
        ],
    ), err
    shown = room.turns
    assert [turn.notices[-1].text for turn in shown] == [REUSED] * 3
    assert [msgspec.structs.replace(turn, notices=()) for turn in shown] == asked
    first = room.out.read_bytes()
    room.out.rename(room.folder / "n.ipynb")
    assert room.run("-o", "out.ipynb", "--reuse")[0] == 0
    assert room.out.read_bytes() == first, "from then on nothing changes any more"
    # What comes behind a change in its thread is asked again, the rest is not.
    room.notebook(LOAD, "%%codex\n2", "%%codex\ntwo", "%%codex -t aside\nthree")
    changed = nbformat.read(room.folder / "n.ipynb", as_version=4)
    for cell, before in zip(changed.cells, json.loads(first)["cells"], strict=True):
        cell.outputs = [nbformat.from_dict(output) for output in before["outputs"]]
    nbformat.write(changed, room.folder / "n.ipynb")
    code, out, err = room.run("-o", "out.ipynb", "--reuse", "--tape", "test.jsonl")
    assert (code, out.splitlines()[:4]) == (
        0,
        [
            "Drift: 1 turn shown from the notebook, 2 asked.",
            "  cell 2   changed  2  (the prompt changed)",
            "  cell 3   changed  two  (an earlier turn of its thread changed)",
            "  cell 4   same     three",
        ],
    ), err


def test_a_good_run_says_how_far_it_is_and_leaves_others_widgets(room: Room) -> None:
    room.notebook(LOAD, v4.new_markdown_cell("text"), "%%codex\nhello", widgets=WIDGETS)
    room.tape(say("hello", "Good day."))
    before = (room.folder / "n.ipynb").read_bytes()
    code, out, err = room.run("-o", "out.ipynb", "--tape", "test.jsonl", "--reuse")
    assert (code, out.splitlines()[-1]) == (0, "Written: out.ipynb")
    assert out.splitlines()[:2] == [
        "Drift: 0 turns shown from the notebook, 1 asked.",
        "  cell 2   new      hello",
    ]
    assert re.findall(r"^\[(\d/\d)\] (\S+ \S+)", err, re.MULTILINE) == [
        ("1/2", "%load_ext codex_magic"),
        ("1/2", "ended after"),
        ("2/2", "%%codex hello"),
        ("2/2", "turn completed"),
        ("2/2", "ended after"),
    ]
    assert nbformat.read(room.out, 4).metadata.widgets == WIDGETS
    assert (room.folder / "n.ipynb").read_bytes() == before
    assert list(room.temporary.iterdir()) == []


def test_the_kernel_knows_its_notebook_and_its_folder(room: Room) -> None:
    room.notebook("import os\nprint(*sorted(k for k in os.environ if k.startswith('CODEX_MAGIC')))")
    room.run("--in-place", "--reuse", "--allow", "network", "--allow", ".", "--tape", "first-turn")
    room.out = room.folder / "n.ipynb"
    [[printed]] = room.outputs
    names = "CODEX_MAGIC_ALLOW CODEX_MAGIC_NOTEBOOK CODEX_MAGIC_REUSE CODEX_MAGIC_TAPE"
    assert printed.text == f"{names}\n"
    room.notebook("import os\nprint(os.getcwd(), os.environ['CODEX_MAGIC_NOTEBOOK'])")
    room.run("--in-place")
    [[printed]] = room.outputs
    assert printed.text == f"{room.folder} {room.folder / 'n.ipynb'}\n"


def test_a_failing_cell_ends_the_run_and_what_there_is_is_written(room: Room) -> None:
    room.notebook("print('seen')", "1 / 0", "print('not reached')")
    code, out, err = room.run()
    assert (code, out) == (1, "Written: out.ipynb\n")
    assert err.splitlines()[-1] == (
        "codex-magic: cell 2 failed: ZeroDivisionError: division by zero"
    )
    assert [len(outputs) for outputs in room.outputs] == [1, 1, 0]


def test_a_failed_turn_is_told_from_a_failed_cell(room: Room) -> None:
    room.notebook(LOAD, "%%codex\nhello", "%%codex\nhello")
    room.tape({"prompt": "hello", "chunks": [[0, "failed", {"code": "x", "message": "gone"}]]})
    code, _, err = room.run("-o", "out.ipynb", "--tape", "test.jsonl")
    assert (code, [turn.status for turn in room.turns]) == (2, ["failed"])
    assert "codex-magic: cell 2 failed: BackendError: the turn failed" in err


@pytest.mark.parametrize(
    ("words", "code", "decision"),
    [([], 3, "decline by nobody"), (["--allow", "network"], 0, "accept by allowance")],
)
def test_what_is_refused_and_what_was_allowed(
    room: Room, words: list[str], code: int, decision: str
) -> None:
    room.notebook(LOAD, "%%codex\nlook")
    room.tape(shell("look", "true", network=True), say("look", "Done."))
    found, _, err = room.run("-o", "out.ipynb", "--tape", "test.jsonl", *words)
    [item] = [i for turn in room.turns for i in turn.items if isinstance(i, CommandExecution)]
    assert (found, item.decision) == (code, decision), err
    assert ("something that Codex wanted was refused in cell 2" in err) == (code == 3)


def test_a_notebook_cannot_allow_itself_anything(room: Room) -> None:
    room.notebook(LOAD, "%config CodexMagics.allow = 'network'", "%%codex\nlook")
    room.tape(shell("look", "true", network=True), say("look", "Done."))
    assert room.run("-o", "out.ipynb", "--tape", "test.jsonl")[0] == 3


STOPPED_CELLS = {
    "import time; print('seen'); time.sleep(60)": "cell 2 took more than 2 s",
    "import os; os.write(2, b'\\x1b[2Jlast words\\n'); os._exit(1)": "the kernel died in cell 2: last words",
}


@pytest.mark.parametrize("source", STOPPED_CELLS)
def test_a_cell_that_hangs_or_kills_its_kernel(room: Room, source: str) -> None:
    room.notebook("print('before')", source)
    room.out.write_text("an older one")
    code, _, err = room.run("-o", "out.ipynb", "--timeout", "2")
    assert code == 1
    assert f"codex-magic: {STOPPED_CELLS[source]}\n" in err
    assert "\x1b" not in err
    assert room.outputs[0][0].text == "before\n"
    assert list(room.temporary.iterdir()) == []


def test_a_cell_that_ignores_its_interrupt_is_killed(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "GRACE_S", 0.5)
    ignoring = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    notebook = v4.new_notebook(cells=[v4.new_code_cell(ignoring + "time.sleep(60)")])
    watcher = Progress(1, io.StringIO())
    ending = run.execute(notebook, folder=room.folder, watcher=watcher, timeout_s=0.5)
    assert (ending.how, ending.said) == ("timeout", "cell 1 took more than 0.5 s")


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_turn_well(
    room: Room, processes: Callable[[str], list[str]], signum: int, code: int
) -> None:
    room.notebook(LOAD, "%%codex\nwait", "print('not reached')")
    os.mkfifo(room.folder / "fifo")
    # The command says by itself that it runs: it opens the other end.
    room.tape(shell("wait", "sh", "-c", "echo x > fifo; exec sleep 61.75"), say("wait", "x"))
    process = room.start("-o", "out.ipynb", "--tape", "test.jsonl")
    assert (room.folder / "fifo").read_text() == "x\n"
    process.send_signal(signum)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (code, "Written: out.ipynb\n")
    assert err.splitlines()[-1] == "codex-magic: stopped in cell 2"
    [turn] = room.turns
    [item] = [i for i in turn.items if isinstance(i, CommandExecution)]
    assert (turn.status, item.status) == ("interrupted", "interrupted")
    assert room.outputs[2] == []
    assert processes("sleep 61.75") == processes(str(room.folder)) == []
    assert list(room.temporary.iterdir()) == []


def test_a_second_signal_ends_what_does_not_listen(
    room: Room, processes: Callable[[str], list[str]]
) -> None:
    os.mkfifo(room.folder / "fifo")
    ignoring = "import signal, time\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n"
    opened = "open('fifo', 'w').write('x')\n"
    room.notebook("print('before')", ignoring + opened + "time.sleep(62.25)")
    process = room.start()
    assert (room.folder / "fifo").read_text() == "x"
    process.send_signal(signal.SIGINT)
    process.send_signal(signal.SIGINT)
    while process.poll() is None:
        # Two at once may arrive as one; the next is the second then.
        try:
            process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
    assert process.returncode == 130
    assert room.outputs[0][0].text == "before\n"
    assert processes(str(room.folder)) == []


def test_a_full_disk_destroys_nothing(room: Room) -> None:
    room.notebook("print('x' * 5_000_000)")
    room.out.write_text("an older one")

    def full() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    code, out, err = room.run(preexec_fn=full)
    assert (code, out) == (74, "")
    assert "codex-magic: out.ipynb cannot be written: File too large" in err
    assert room.out.read_text() == "an older one"
    assert sorted(path.name for path in room.folder.iterdir()) == ["n.ipynb", "out.ipynb"]


def test_hostile_outputs_reach_no_terminal_and_break_nothing(room: Room) -> None:
    turn = '{"version": 1, "status": "completed", "model": "\\x1b[2J\\u202e"}'
    display = "from IPython.display import display\n"
    room.notebook(
        f"{display}for bad in ({turn}, 1, [], {{'version': 'x'}}):\n"
        f"    display({{'{MIME}': bad, 'text/plain': '\\x1b]0;x\\x07'}}, raw=True)",
        "print('\\x1b[2J' * 100_000)",
        "raise type('E\\x1b[2J', (Exception,), {})('\\x1b[2J\\nWritten: x\\n\\x07')",
    )
    code, _, err = room.run()
    assert code == 1
    assert re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", err) is None
    # The notebook's words stay on the line that they are in.
    assert err.splitlines()[-1].startswith("codex-magic: cell 3 failed: E: ")
    assert len(room.outputs[0]) == 4
