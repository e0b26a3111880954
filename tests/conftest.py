"""What the tests of the values, the views and the magics share."""

from __future__ import annotations

import atexit
import os
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from codex_magic import events as ev
from codex_magic import magics
from codex_magic.backends.base import (
    Account,
    Mailbox,
    Model,
    Quota,
    Seat,
    SignIn,
    SignInWay,
    Start,
    StoredThread,
    StoredTurn,
    ToolAnswer,
    TurnInput,
    Window,
)
from codex_magic.items import AgentMessage, CommandExecution, PlanStep, Reasoning, Receipt, Text
from codex_magic.session import Session
from codex_magic.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from codex_magic.turn import TurnRequest

# A law is as true on a busy machine.
hypothesis.settings.register_profile(
    "house", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("house")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Iterator[Any]:
    """Where everything must be there, what is missing is a failure and not a reason to skip."""
    report = yield
    if report.skipped and os.environ.get("CI"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
    return report


Step = ev.Event | BaseException
"""What a scripted turn does: report an event, or be stopped by an exception on the main thread."""


class ScriptedBackend:
    """A backend whose turns are lists of events."""

    name = "scripted"
    version = (0, 163, 0)

    def __init__(self, *turns: Sequence[Step]) -> None:
        self.scripted = deque(turns)
        self.asked: list[TurnRequest] = []
        self.starts: list[Start] = []
        self.told: list[TurnInput] = []
        self.stored: list[StoredThread] = []
        self.kept: dict[str, list[StoredTurn]] = {}
        self.done: list[tuple[str, ...]] = []
        self.interrupts = 0
        self.is_closed = False
        self._mailbox: Mailbox | None = None

    def seat(self, request: TurnRequest, start: Start) -> Seat:
        self.asked.append(request)
        self.starts.append(start)
        known = None if start.branch else start.known
        return Seat(known or f"id-of-{request.thread}", "a-model")

    def start_turn(self, seat: Seat, turn: TurnInput, mailbox: Mailbox) -> None:
        self.told.append(turn)
        self._mailbox = mailbox
        for step in self.scripted.popleft():
            if isinstance(step, BaseException):
                raise step
            mailbox.put(step)

    def answer(self, request_id: Any, answer: ToolAnswer) -> None: ...

    def interrupt(self) -> None:
        self.interrupts += 1
        assert self._mailbox is not None
        self._mailbox.put(ev.TurnCompleted("interrupted"))

    def threads(self, cwd: str | None, limit: int = 20) -> Sequence[StoredThread]:
        return self.stored

    def turns(self, thread_id: str) -> Sequence[StoredTurn]:
        return self.kept.get(thread_id, [])

    def rename(self, thread_id: str, title: str) -> None:
        self.done.append(("rename", thread_id, title))

    def archive(self, thread_id: str) -> None:
        self.done.append(("archive", thread_id))

    def delete(self, thread_id: str) -> None:
        self.done.append(("delete", thread_id))

    def account(self) -> Account:
        return Account("chatgpt", "ada@example.org")

    def sign_in(self, way: SignInWay) -> SignIn:
        self.done.append(("sign in", way))
        return ScriptedSignIn()

    def sign_in_with_key(self, key: str) -> None:
        self.done.append(("key", key))

    def sign_out(self) -> bool:
        self.done.append(("sign out",))
        self.account = Account  # type: ignore[method-assign]
        return True

    def models(self) -> Sequence[Model]:
        return [Model("a-model", efforts=("low", "high"), default_effort="low")]

    def quota(self) -> Quota:
        return Quota("plus", (Window(42.0, 18_000),))

    def close(self) -> None:
        self.is_closed = True


class ScriptedSignIn:
    """A sign-in that a person finishes at once."""

    url = "http://127.0.0.1:1/device"
    code = "CODE-1"
    who = ""

    def wait(self, timeout_s: float) -> bool:
        return True

    def cancel(self) -> None: ...


@pytest.fixture(scope="session", autouse=True)
def data_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The commands of tests are not in the log of whoever runs them."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("data")
        patch.setenv("JUPYTER_DATA_DIR", str(folder))
        yield folder


@pytest.fixture
def reply() -> Callable[[str], list[ev.Event]]:
    """The events of a turn that only answers."""

    def events(text: str) -> list[ev.Event]:
        return [
            ev.TurnStarted("t", 100.0),
            ev.ItemDelta("m", "text", text),
            ev.ItemCompleted(AgentMessage(id="m", status="completed", text=Text(text))),
            ev.TurnCompleted("completed", at=101.0),
        ]

    return events


@pytest.fixture
def typical() -> list[ev.Event]:
    """The events of a turn as backends report them: thoughts, a plan, commands, an answer."""
    receipt = Receipt(level="full", mode="workspace-write", duration_s=0.012)
    wc = CommandExecution(id="c1", command=("wc", "-l", "a.csv"), cwd="/w")
    done = CommandExecution(
        id="c1",
        status="completed",
        command=("wc", "-l", "a.csv"),
        cwd="/w",
        output=Text("345 a.csv\n"),
        outcome="exit",
        exit_code=0,
        receipt=receipt,
    )
    ls = CommandExecution(id="c2", command="ls | head", cwd="/w")
    return [
        ev.ThreadStarted("thread-1", "a-model"),
        ev.TurnStarted("turn-1", 100.0),
        ev.ItemStarted(Reasoning(id="r")),
        ev.ItemDelta("r", "summary", "Counting "),
        ev.ItemDelta("r", "summary", "lines."),
        ev.ItemCompleted(Reasoning(id="r", status="completed", summary=Text("Counting lines."))),
        ev.PlanUpdated((PlanStep(text="count", status="in_progress"), PlanStep(text="tell"))),
        ev.ToolCallRequested(7, "c1", "shell", {"command": ["wc", "-l", "a.csv"]}),
        ev.ItemStarted(wc),
        ev.ItemDelta("c1", "output", "345 "),
        ev.ItemDelta("c1", "output", "a.csv\n"),
        ev.ItemCompleted(done),
        ev.UsageUpdated(ev.Usage(input_tokens=1200, output_tokens=40)),
        ev.PlanUpdated((PlanStep(text="count", status="completed"), PlanStep(text="tell"))),
        ev.ItemStarted(ls),
        ev.ItemDelta("c2", "output", "a.csv\n"),
        ev.ItemCompleted(
            CommandExecution(
                id="c2",
                status="failed",
                command="ls | head",
                cwd="/w",
                output=Text("a.csv\n"),
                outcome="exit",
                exit_code=2,
                receipt=receipt,
            )
        ),
        ev.ItemStarted(AgentMessage(id="m", phase="final_answer")),
        ev.ItemDelta("m", "text", "There are "),
        ev.ItemDelta("m", "text", "**344** penguins."),
        ev.ItemCompleted(
            AgentMessage(
                id="m",
                status="completed",
                text=Text("There are **344** penguins."),
                phase="final_answer",
            )
        ),
        ev.UsageUpdated(ev.Usage(input_tokens=1300, output_tokens=60)),
        ev.TurnCompleted("completed", at=102.5),
    ]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[InteractiveShell]:
    """A real IPython without a terminal, in an empty folder."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    config = Config()
    config.HistoryManager.enabled = False
    config.InteractiveShell.colors = "nocolor"
    InteractiveShell.clear_instance()
    made = InteractiveShell.instance(config=config)
    yield made
    magics.unload(made)
    atexit.unregister(made.atexit_operations)
    made.atexit_operations()
    InteractiveShell.clear_instance()


@pytest.fixture
def script(shell: InteractiveShell) -> Callable[..., ScriptedBackend]:
    """Load the extension with a backend that plays these turns."""

    def load(*turns: Sequence[Step]) -> ScriptedBackend:
        shell.run_line_magic("load_ext", "codex_magic")
        backend = ScriptedBackend(*turns)
        registered = shell.magics_manager.registry["CodexMagics"]
        assert isinstance(registered, magics.CodexMagics)
        registered._session = Session(Settings(), environ={}, connect=lambda: backend)
        return backend

    return load
