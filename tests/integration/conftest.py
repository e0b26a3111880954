"""What these tests share: the real Codex binary, a model that says what a test scripts, a person.

A `Kernel` is what a notebook's kernel holds, without the notebook: a session, its folder, a Codex
home of its own. When a test is over, nothing it started is alive; that is checked each time.
"""

from __future__ import annotations

import contextlib
import faulthandler
import os
import queue
import shutil
import tempfile
import time
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import binary
from codex_magic.approval import Answer, ApprovalRequest
from codex_magic.backends.appserver import wire
from codex_magic.backends.appserver.backend import AppServerBackend
from codex_magic.backends.appserver.connection import Connection
from codex_magic.backends.base import ToolSpec
from codex_magic.errors import SetupError
from codex_magic.policy import SandboxPolicy
from codex_magic.session import Session
from codex_magic.settings import Settings
from codex_magic.testing import FakeModel
from codex_magic.tools.shell import ShellTool
from codex_magic.turn import Turn, TurnRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Json = dict[str, Any]

PATIENCE_S = 20.0
HANGS_S = 60.0
NOT_THE_PERSONS = ("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN", binary.SETTING)


def until(condition: Callable[[], Any], what: Any, patience_s: float = PATIENCE_S) -> Any:
    """Return what `condition` gives as soon as that is something."""
    deadline = time.monotonic() + patience_s
    while not (found := condition()):
        assert time.monotonic() < deadline, what() if callable(what) else what
        time.sleep(0.01)
    return found


def processes(mark: str) -> dict[int, str]:
    """Return every other process that names `mark`: in its words, its environment, its folder."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if not words:
                continue  # it has ended, and waits to be noticed
            environ = (entry / "environ").read_bytes().decode(errors="replace")
            place = str((entry / "cwd").readlink())
            if mark in words or mark in environ or mark in place:
                found[int(entry.name)] = words
    return found


class Page:
    """Keeps what it was shown last, and acts once where a test wants something to happen."""

    def __init__(self) -> None:
        self.shown: Turn | None = None
        self.kept: Turn | None = None
        self._acts: list[tuple[Callable[[Turn], Any], Callable[[], Any]]] = []

    def once(self, seen: Callable[[Turn], Any], act: Callable[[], Any]) -> None:
        self._acts.append((seen, act))

    def open(self, report: Callable[[Any], None]) -> None:
        self.report = report

    def show(self, turn: Turn) -> None:
        self.shown = turn
        due = [both for both in self._acts if both[0](turn)]
        self._acts = [both for both in self._acts if both not in due]
        for _, act in due:
            act()

    def finish(self, turn: Turn) -> None:
        self.kept = turn


class Person:
    """Answers what it was told to answer, and keeps the questions."""

    def __init__(self, *answers: Answer | Callable[[ApprovalRequest], Answer]) -> None:
        self.asked: list[ApprovalRequest] = []
        self._answers = deque(answers)

    def ask(self, request: ApprovalRequest) -> Answer:
        self.asked.append(request)
        answer = self._answers.popleft()
        return answer if isinstance(answer, Answer) else answer(request)


class Kernel:
    """A session on the real binary, and how to talk to it."""

    def __init__(
        self, session: Session, backend: AppServerBackend | None, folder: Path, model: str
    ) -> None:
        self.session = session
        self.backend = backend
        self.folder = folder
        self.model = model
        self.page = Page()

    def ask(
        self,
        prompt: str = "hi",
        *,
        mode: str = "workspace-write",
        person: Any = None,
        network: bool = False,
        **options: Any,
    ) -> Turn:
        folder = options.pop("folder", self.folder)
        policy = SandboxPolicy(mode=mode, workspace=folder, network=network)
        request = TurnRequest(prompt=prompt, policy=policy, **{"model": self.model, **options})
        return self.session.run(request, page=self.page, approver=person or Person())

    @property
    def pid(self) -> int:
        assert self.backend is not None
        assert self.backend._connection is not None
        return self.backend._connection.pid


class Client:
    """Another program that speaks to an app-server: an editor, a terminal."""

    def __init__(self, name: str, folder: Path, environ: Mapping[str, str], *settings: str) -> None:
        self.messages: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self.folder = folder
        program = str(binary.candidates(environ)[0].path)
        flags = [word for setting in settings for word in ("-c", setting)]
        self.connection = Connection(
            [program, "app-server", *flags],
            env=environ,
            cwd=folder,
            on_message=self.messages.put,
            on_lost=lambda reason: self.messages.put({"method": "lost", "params": reason}),
        )
        who = {"name": name, "title": name, "version": "1.0.0"}
        self.call("initialize", clientInfo=who, capabilities={"experimentalApi": True})
        self.connection.notify("initialized")

    def call(self, method: str, /, **params: Any) -> Any:
        return self.connection.call(method, params)

    def start(self, **params: Any) -> str:
        settings = {"cwd": str(self.folder), "model": "gpt-5.5", "approvalPolicy": "never"}
        return str(self.call("thread/start", **settings, **params)["thread"]["id"])

    def turn(self, thread_id: str, prompt: str) -> Json:
        said = [{"type": "text", "text": prompt}]
        self.call("turn/start", threadId=thread_id, input=said)
        while (message := self.messages.get(timeout=PATIENCE_S)).get("method") != "turn/completed":
            pass
        return dict(message["params"]["turn"])

    def close(self) -> None:
        self.connection.close()


class Stage:
    """Where a test plays: folders, a Codex home, and everything it opens, closed at the end."""

    def __init__(self, room: Path, opened: contextlib.ExitStack) -> None:
        self.room = room
        self.opened = opened
        self.folder = self.place("workspace")
        self.home = self.place("codex")
        self.home.chmod(0o700)
        self.environ = {
            **{name: value for name, value in os.environ.items() if name not in NOT_THE_PERSONS},
            "CODEX_HOME": str(self.home),
            "HOME": str(self.place("person")),
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        }

    def place(self, name: str) -> Path:
        folder = self.room / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def file(self, name: str, text: str) -> Path:
        path = self.room / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def program(self, name: str, source: str) -> Path:
        path = self.file(name, source)
        path.chmod(0o755)
        return path

    def model(self, *responses: Any) -> FakeModel:
        return self.opened.enter_context(FakeModel(*responses))

    def kernel(
        self,
        model: FakeModel | str,
        shape: str = "gpt-5.5",
        *,
        tools: Sequence[Any] = (),
        overrides: Sequence[str] = (),
        settings: Settings | None = None,
        **environ: str,
    ) -> Kernel:
        """Return a kernel whose turns go to `model`, a fake one or the address of one."""
        base_url = model if isinstance(model, str) else model.base_url
        return self.bare_kernel(
            [*wire.tape_provider(base_url), *overrides],
            shape,
            tools=tools,
            settings=settings,
            **environ,
        )

    def bare_kernel(
        self,
        overrides: Sequence[str] = (),
        shape: str = "gpt-5.5",
        *,
        tools: Sequence[Any] = (),
        settings: Settings | None = None,
        **environ: str,
    ) -> Kernel:
        """Return a kernel with the model provider that Codex chooses by itself."""
        environ = {**self.environ, **environ}
        settings = settings or Settings()
        offered = tools or (ShellTool(),)
        backend = AppServerBackend(
            tools=[ToolSpec(tool.name, tool.description, tool.parameters) for tool in offered],
            environ=environ,
            overrides=overrides,
            api_key=settings.api_key,
        )
        session = Session(settings, environ=environ, tools=offered, connect=lambda: backend)
        self.opened.callback(backend.close)
        self.opened.callback(session.close)
        return Kernel(session, backend, self.folder, shape)

    def responses_kernel(
        self,
        model: FakeModel | str,
        shape: str = "gpt-5.5",
        *,
        tools: Sequence[Any] = (),
        settings: Settings | None = None,
        **environ: str,
    ) -> Kernel:
        """Return a kernel whose turns go to `model` by the Responses API, without Codex."""
        base_url = model if isinstance(model, str) else model.base_url
        environ = {**self.environ, "JUPYTER_DATA_DIR": str(self.place("data")), **environ}
        settings = replace(settings or Settings(), backend="responses", base_url=base_url)
        session = Session(settings, environ=environ, tools=tools or (ShellTool(),))
        self.opened.callback(session.close)
        return Kernel(session, None, self.folder, shape)

    def settled_kernel(self, settings: Settings, shape: str = "gpt-5.5") -> Kernel:
        """Return a kernel whose backends are made of its settings, as a person's are."""
        session = Session(settings, environ=self.environ)
        self.opened.callback(session.close)
        return Kernel(session, None, self.folder, shape)

    def client(self, name: str, *settings: str) -> Client:
        client = Client(name, self.folder, self.environ, *settings)
        self.opened.callback(client.close)
        return client


@pytest.fixture(params=["gpt-5.5", "gpt-6.1-sol"])
def shape(request: pytest.FixtureRequest) -> str:
    """A model of each kind: one with function tools, one in code mode."""
    return str(request.param)


@pytest.fixture
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    try:
        binary.candidates()
    except SetupError:
        pytest.skip("there is no Codex here")
    # A test that waits for ever shows where, and ends the run.
    terminal = request.config.get_terminal_writer()._file
    faulthandler.dump_traceback_later(HANGS_S, exit=True, file=terminal)
    # Not below the temporary folder, which a sandbox replaces by a private one.
    room = Path(tempfile.mkdtemp(prefix=".room-", dir=Path(__file__).parent)).resolve()
    try:
        with contextlib.ExitStack() as opened:
            yield Stage(room, opened)
        until(lambda: not processes(room.name), lambda: f"left behind: {processes(room.name)}")
    finally:
        shutil.rmtree(room)
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(name="until")
def waiting() -> Callable[..., Any]:
    return until


@pytest.fixture(name="processes")
def alive() -> Callable[[str], dict[int, str]]:
    return processes


@pytest.fixture
def people() -> type[Person]:
    return Person
