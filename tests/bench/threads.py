"""What it costs to take up a notebook's threads: ``python tests/bench/threads.py``.

Prints; asserts nothing. Times are medians, each beside a bare control of the same run.
"""

from __future__ import annotations

import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
from measure import report, timed, together, workspace

from codex_magic import render
from codex_magic.approval import NobodyApprover
from codex_magic.backends.appserver import wire
from codex_magic.backends.appserver.backend import AppServerBackend
from codex_magic.backends.base import ToolSpec
from codex_magic.backends.responses.store import Store
from codex_magic.items import AgentMessage, CommandExecution, Text, UserMessage
from codex_magic.notebook import records
from codex_magic.notebook.attach import Attachment
from codex_magic.notebook.index import Index
from codex_magic.page import NotebookPage
from codex_magic.policy import SandboxPolicy
from codex_magic.session import Session
from codex_magic.testing import FakeModel, say
from codex_magic.tools.shell import ShellTool
from codex_magic.turn import Turn, TurnRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

TURNS = 200
BYTES = 5_000_000


def turn(number: int, words: int) -> Turn:
    items = (
        UserMessage(id="prompt", status="completed", text=Text(f"prompt {number}")),
        CommandExecution(
            id="c",
            status="completed",
            command=("cat", "data.csv"),
            output=Text("1,2,3,4\n" * 1000),
            outcome="exit",
            exit_code=0,
        ),
        AgentMessage(id="m", status="completed", text=Text("word " * words)),
    )
    return Turn(
        prompt=f"prompt {number}",
        backend="app-server",
        id=f"turn-{number}",
        thread_id="thread",
        parent=f"turn-{number - 1}" if number else "",
        status="completed",
        started_at=1000.0 + number,
        items=items,
    )


def write(path: Path, turns: int, words: int) -> None:
    cells = [
        {
            "cell_type": "code",
            "id": f"cell-{n}",
            "metadata": {},
            "source": f"%%codex\nprompt {n}",
            "execution_count": n,
            "outputs": [
                {
                    "output_type": "display_data",
                    "metadata": {},
                    "data": render.saved(turn(n, words)),
                }
            ],
        }
        for n in range(turns)
    ]
    whole = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(whole, indent=1))


def attach() -> None:
    """The first turn's look at its notebook, against nbformat's reading of the same file."""
    with workspace() as folder:
        environ = {"JUPYTER_DATA_DIR": str(folder / "data")}
        big, empty = folder / "big.ipynb", folder / "empty.ipynb"
        write(big, TURNS, 370)
        write(empty, 0, 0)
        size = big.stat().st_size / 1e6
        for path, goal, what in (
            (big, "50 ms", f"attach, {TURNS} turns, {size:.1f} MB"),
            (empty, "5 ms", "attach, no turns"),
        ):
            took = together(
                {
                    "ours": lambda p=path: Attachment(Index(environ)).at(p),
                    "bare": lambda p=path: nbformat.read(p, as_version=4),
                },
                15,
            )
            report(what, took["ours"], took["bare"], "nbformat.read", goal)
        assert len(records.read(big).turns) == TURNS


def remember() -> None:
    """Writing one turn into an index of 1,000 notebooks, against writing its bytes."""
    with workspace() as folder:
        environ = {"JUPYTER_DATA_DIR": str(folder)}
        notebook = Attachment(Index(environ))
        notebook.at(folder / "n.ipynb")
        home = folder / "codex_magic"
        standing = {"thread_id": "x" * 36, "backend": "app-server", "turn_id": "y" * 36, "at": 1.0}
        entry = {"threads": {"main": standing}, "ids": ["x" * 36], "at": 1.0}
        home.mkdir(mode=0o700)
        many = {f"/home/ada/{n}.ipynb": entry for n in range(1000)}
        (home / "index.json").write_text(json.dumps({"version": 1, "notebooks": many}))
        done = turn(1, 370)
        raw = (home / "index.json").read_bytes()
        ours = timed(lambda: notebook.ended(done), 15)
        bare = timed(lambda: (folder / "bare").write_bytes(raw), 15)
        report("remember a turn, 1,000 notebooks", ours, bare, "the bytes alone", "20 ms")


@contextmanager
def session(model: FakeModel, folder: Path) -> Iterator[Session]:
    environ = os.environ | {
        "CODEX_HOME": str(folder / "codex"),
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "NO_PROXY": "127.0.0.1",
    }
    (folder / "codex").mkdir(mode=0o700, exist_ok=True)
    tool = ShellTool()
    spec = ToolSpec(tool.name, tool.description, tool.parameters)
    overrides = wire.tape_provider(model.base_url)
    made: Any = Session(
        environ=environ,
        tools=(tool,),
        connect=lambda: AppServerBackend(tools=(spec,), environ=environ, overrides=overrides),
    )
    try:
        yield made
    finally:
        made.close()


def restore() -> None:
    """A warm kernel's first turn with 200 turns to restore, against one with none."""
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        work = folder / "work"
        work.mkdir()
        for what, turns in (("none", 0), ("all", TURNS)):
            notebook = work / f"{what}.ipynb"
            write(notebook, turns, 370)
            with FakeModel() as model, session(model, folder) as made:
                made.backend.account()  # the server is up
                model.enqueue(say("one"))
                made.at(notebook)
                policy = SandboxPolicy(workspace=work)
                request = TurnRequest(prompt="p", policy=policy, model="gpt-5.5")
                page = NotebookPage(lambda _bundle, _replaces: None)
                took[what] = timed(
                    lambda m=made, r=request, p=page: m.run(r, page=p, approver=NobodyApprover()), 1
                )
    report(f"a turn behind {TURNS} restored", took["all"], took["none"], "a first turn", "1000 ms")


def listing() -> None:
    """The newest 20 of 1,000 stored threads of 100 KB, against looking at each file's times."""
    with workspace() as folder:
        environ = {"JUPYTER_DATA_DIR": str(folder)}
        store = Store(environ)
        said = {"type": "message", "role": "user", "content": "word " * 20_000}
        for number in range(1000):
            log = store.begin(f"/folder-{number % 2}")
            log.begin_turn("t", model="m", account="a", prompt="p")
            log.add([said])
            log.end_turn("completed")
            log.close()
        files = folder / "codex_magic" / "threads"
        took = together(
            {
                "of a folder": lambda: store.stored("/folder-1", 20),
                "of none": lambda: store.stored("/nowhere", 20),
                "bare": lambda: [entry.stat() for entry in os.scandir(files)],
            },
            15,
        )
        assert len(store.stored("/folder-1", 20)) == 20
        report("list 20 of 1,000 threads", took["of a folder"], took["bare"], "stat", "50 ms")
        report("list none of 1,000 threads", took["of none"], took["bare"], "stat", "100 ms")


ALL = {work.__name__: work for work in (attach, remember, restore, listing)}

if __name__ == "__main__":
    import sys

    for chosen in sys.argv[1:] or ALL:
        ALL[chosen]()
