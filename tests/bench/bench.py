"""What things cost, each beside a bare control of the same run: ``python tests/bench/bench.py``.

Prints; asserts nothing. Times are medians. Names as arguments choose benchmarks.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from measure import MS, report, timed, workspace

from codex_magic import binary
from codex_magic import events as ev
from codex_magic.approval import NobodyApprover
from codex_magic.backends.appserver import wire
from codex_magic.backends.appserver.backend import AppServerBackend
from codex_magic.backends.base import ToolSpec
from codex_magic.items import AgentMessage
from codex_magic.page import NotebookPage
from codex_magic.policy import SandboxPolicy
from codex_magic.session import Session
from codex_magic.testing import FakeModel, call, pause_at, say, think
from codex_magic.tools.shell import ShellTool
from codex_magic.turn import Turn, TurnRequest, advance

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MODELS = ("gpt-5.5", "gpt-6.1-sol")

LOAD = """
import time
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell()
begin = time.perf_counter()
shell.run_line_magic("load_ext", {extension!r})
print(1000 * (time.perf_counter() - begin))
"""


def load() -> None:
    """Loading the extension, in a fresh process each, against loading an empty one."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "empty_extension.py").write_text("def load_ipython_extension(shell): pass\n")
        environ = os.environ | {"PYTHONPATH": folder, "IPYTHONDIR": folder}
        # An installed package has been compiled once; a checkout must not count for what it has not.
        environ |= {"PYTHONPYCACHEPREFIX": str(Path(folder, "compiled"))}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)

        def once(extension: str) -> float:
            code = LOAD.format(extension=extension)
            command = [sys.executable, "-c", code]
            return float(
                subprocess.run(command, env=environ, capture_output=True, check=True).stdout
            )

        ours, control = [], []
        for extension in ("codex_magic", "empty_extension"):
            once(extension)
        for _ in range(9):
            ours.append(once("codex_magic"))
            control.append(once("empty_extension"))
    report(
        "load_ext codex_magic",
        statistics.median(ours),
        statistics.median(control),
        "an empty extension",
        "15 ms over it",
    )


class Clocked:
    """A page that notes when what was first shown."""

    def __init__(self) -> None:
        self.first_text: float | None = None
        self.seen = threading.Event()
        self._page = NotebookPage(self._publish)

    def _publish(self, bundle: dict[str, Any], replaces: bool) -> None:
        if self.first_text is None and "word" in bundle["text/plain"]:
            self.first_text = time.perf_counter()
            self.seen.set()

    def open(self, report: Callable[[ev.Event], None]) -> None:
        self._page.open(report)

    def show(self, turn: Turn) -> None:
        self._page.show(turn)

    def finish(self, turn: Turn) -> None:
        self._page.finish(turn)


@contextmanager
def taped(model: FakeModel) -> Iterator[Session]:
    home = tempfile.mkdtemp()
    tool = ShellTool()
    backend = AppServerBackend(
        tools=[ToolSpec(tool.name, tool.description, tool.parameters)],
        environ=os.environ | {"CODEX_HOME": home, "NO_PROXY": "127.0.0.1"},
        overrides=wire.tape_provider(model.base_url),
    )
    session = Session(connect=lambda: backend)
    try:
        yield session
    finally:
        session.close()
        shutil.rmtree(home, ignore_errors=True)


def request(model: str, folder: Path) -> TurnRequest:
    return TurnRequest(prompt="go", model=model, policy=SandboxPolicy(workspace=folder))


def cold() -> None:
    """From nothing to the first event of the first turn, against starting the binary alone."""
    program = str(binary.candidates()[0].path)
    control = timed(
        lambda: subprocess.run([program, "--version"], capture_output=True, check=True), 5
    )
    for name in MODELS:
        took = []
        for _ in range(5):
            with FakeModel(say("word")) as model, taped(model) as session, workspace() as folder:
                begin = time.perf_counter()
                turn = session.run(request(name, folder), page=Clocked(), approver=NobodyApprover())
                assert turn.started_at is not None
                first = turn.started_at - (time.time() - (time.perf_counter() - begin))
                took.append(MS * first)
        report(
            f"cold turn to its first event, {name}",
            statistics.median(took),
            control,
            "codex --version",
            "500 ms",
        )


def first_text() -> None:
    """From the model's first token to the first text shown, against a queue between OS threads."""
    hop: queue.SimpleQueue[float] = queue.SimpleQueue()
    control = timed(lambda: (hop.put(0.0), hop.get()), 100)
    for name in MODELS:
        took = []
        with FakeModel() as model, taped(model) as session, workspace() as folder:
            for i in range(9):
                gate = f"gate {i}"
                model.enqueue(think("hm"), pause_at(gate), say("word"))
                page = Clocked()
                released: list[float] = []

                def release(gate: str = gate, released: list[float] = released) -> None:
                    model.reached(gate).wait()
                    released.append(time.perf_counter())
                    model.gate(gate).set()

                thread = threading.Thread(target=release)
                thread.start()
                session.run(request(name, folder), page=page, approver=NobodyApprover())
                thread.join()
                took.append(MS * (page.first_text - released[0]))
        report(
            f"first token to first text, {name}",
            statistics.median(took),
            control,
            "one queue hop",
            "150 ms",
        )


def fold() -> None:
    """One delta of a message, against appending to a list."""
    for count in (10_000, 100_000):
        turn = advance(Turn(), ev.ItemStarted(AgentMessage(id="a")))
        delta = ev.ItemDelta("a", "text", "word ")
        pieces: list[str] = []
        begin = time.perf_counter()
        for _ in range(count):
            turn = advance(turn, delta)
        middle = time.perf_counter()
        for _ in range(count):
            pieces.append(delta.text)  # noqa: PERF401 - the bare append is the control
        end = time.perf_counter()
        ours, control = MS * (middle - begin) / count, MS * (end - middle) / count
        report(
            f"advance, one of {count} deltas",
            MS * ours,
            MS * control,
            "list.append",
            "10 us",
        )


def press_interrupt() -> None:
    """Interrupt as a front end does: the signal reaches the main thread, and wakes it."""
    main = threading.main_thread().ident
    assert main is not None
    signal.pthread_kill(main, signal.SIGINT)


def interrupt() -> None:
    """From the signal to the cell's end while a command runs, against a bare wait on a queue."""

    def bare() -> None:
        threading.Timer(0.05, press_interrupt).start()
        with suppress(KeyboardInterrupt):
            queue.SimpleQueue[int]().get(timeout=5)

    control = timed(bare, 5) - 50
    for name in MODELS:
        took = []
        with FakeModel() as model, taped(model) as session, workspace() as folder:
            for _ in range(5):
                model.enqueue(call("shell", command=["sh", "-c", "echo word; exec sleep 60"]))
                page, sent = Clocked(), []

                def press(page: Clocked = page, sent: list[float] = sent) -> None:
                    page.seen.wait()
                    sent.append(time.perf_counter())
                    press_interrupt()

                thread = threading.Thread(target=press)
                thread.start()
                try:
                    session.run(request(name, folder), page=page, approver=NobodyApprover())
                except KeyboardInterrupt:
                    took.append(MS * (time.perf_counter() - sent[0]))
                thread.join()
        report(
            f"interrupt to idle, {name}",
            statistics.median(took),
            max(control, 0.01),
            "a bare wait",
            "250 ms",
        )


ALL = {work.__name__: work for work in (load, fold, cold, first_text, interrupt)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or ALL:
        ALL[chosen]()
