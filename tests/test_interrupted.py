"""An interrupt at every line of a turn with cards on its page: nothing may be left half done."""

from __future__ import annotations

import collections
import signal
import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from codex_magic import events as ev
from codex_magic import level, running
from codex_magic.backends.base import Seat
from codex_magic.desk import Desk, Hands
from codex_magic.items import CommandExecution
from codex_magic.policy import SandboxPolicy
from codex_magic.running import Running
from codex_magic.settings import Settings
from codex_magic.tools.base import Outcome
from codex_magic.turn import TurnRequest
from codex_magic.widget import model
from codex_magic.widget import page as pages

if TYPE_CHECKING:
    from pathlib import Path

LOOKED_AT = ("codex_magic/running.py", "codex_magic/widget/page.py")


class Call:
    forbidden, harmless, asks, grant, excess = "", False, ("use the network",), None, None

    def __init__(self, call_id: str) -> None:
        self.item = CommandExecution(id=call_id, command=("x",), asked=self.asks)

    def run(self, emit: Any, stop: Any, permission: Any) -> Outcome:
        return Outcome(msgspec.structs.replace(self.item, status="completed"), "ok", success=True)

    def decline(self, reason: str, permission: Any) -> Outcome:
        declined = msgspec.structs.replace(self.item, status="declined", message=reason)
        return Outcome(declined, "no", success=False)


class Tool:
    name, description, parameters = "t", "", {}

    def prepare(self, call_id: str, arguments: Any, request: Any) -> Call:
        return Call(call_id)


class Backend:
    """Asks for some calls and is done when all of them are answered."""

    name = "b"

    def __init__(self, calls: int) -> None:
        self.calls = calls
        self.answers: collections.Counter[int] = collections.Counter()
        self.mailbox: Any = None
        self.over = False

    def seat(self, request: Any, start: Any) -> Seat:
        return Seat("thread", "m")

    def start_turn(self, seat: Any, turn: Any, mailbox: Any) -> None:
        self.mailbox = mailbox
        mailbox.put(ev.TurnStarted("t"))
        for i in range(self.calls):
            mailbox.put(ev.ToolCallRequested(i, f"c{i}", "t", {}))

    def answer(self, request_id: int, answer: Any) -> None:
        self.answers[request_id] += 1
        if self.answers.total() >= self.calls:
            self._end("completed")

    def interrupt(self) -> None:
        self._end("interrupted")

    def _end(self, status: Any) -> None:
        if self.mailbox is not None and not self.over:
            self.over = True
            self.mailbox.put(ev.TurnCompleted(status))


class Door:
    """A front end that says hello and gives every card the same answer."""

    def __init__(self, word: str) -> None:
        self.word = word
        self.receive: Any = None
        self.waiting: list[Any] = [{"k": "hello", "markdown": True}]

    def open(self, comm_id: str, receive: Any) -> None:
        self.receive = receive

    def pump(self) -> None:
        while self.waiting and self.receive:
            self.receive(self.waiting.pop(0), None)

    def send(self, comm_id: str, content: Any) -> None:
        for name, *rest in content.get("ops") or content["all"]:
            if name == "page" and rest[0]["card"]:
                key = rest[0]["card"]["key"]
                self.waiting.append({"k": "decide", "key": key, "decision": self.word})

    def close(self) -> None:
        self.receive = None


class Stage:
    def __init__(self, folder: Path, word: str, calls: int) -> None:
        self.backend = Backend(calls)
        self.door = Door(word)
        self.published: list[tuple[Any, bool]] = []
        self.page = pages.WidgetPage(
            lambda bundle, replaces: self.published.append((bundle, replaces)),
            self.door,
            otherwise=SimpleNamespace(ask=None),  # type: ignore[arg-type]
        )
        request = TurnRequest(prompt="p", policy=SandboxPolicy(workspace=folder))
        tools: Any = {"t": Tool()}
        backend: Any = self.backend
        self.running = Running(Desk(backend), request, self.page, self.page, Hands(tools))

    def run(self, at: int) -> tuple[int, bool]:
        """Run the turn with an interrupt at the line `at`; return how many lines there were."""
        lines, interrupted = 0, False

        def trace(frame: Any, event: str, arg: Any) -> Any:
            nonlocal lines
            if not frame.f_code.co_filename.endswith(LOOKED_AT):
                return None
            if event == "line":
                lines += 1
                if lines == at:
                    signal.raise_signal(signal.SIGINT)
            return trace

        sys.settrace(trace)
        try:
            self.running.to_its_end(Settings(agents_md=False))
        except KeyboardInterrupt:
            interrupted = True
        finally:
            sys.settrace(None)
        return lines, interrupted

    def faults(self) -> list[str]:
        """Return what is left half done."""
        found = []
        hands = [t for t in threading.enumerate() if t.name.startswith("codex hand")]
        for hand in hands:
            hand.join(1)
        if any(hand.is_alive() for hand in hands):
            found.append("a command is running")
        self.page.leave()
        if self.backend.mailbox is None:
            return found
        turn = self.running.turn
        if not turn.is_over:
            found.append("the turn is not over")
        if not self.published or "text/markdown" not in self.published[-1][0]:
            found.append("nothing is kept")
        if sum(not replaces for _, replaces in self.published) != 1:
            found.append("it was displayed twice")
        known = [self.backend.answers[int(call[1:])] for call in self.running._seen]
        if set(known) - {1}:
            found.append(f"answers: {known}")
        if self.door.receive is not None:
            found.append("messages are still taken off")
        return found


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """No machine, no widget; the waits are short."""
    monkeypatch.setattr(running, "TICK_S", 0.002)
    monkeypatch.setattr(running, "PATIENCE_S", 0.05)
    monkeypatch.setattr(level.sandbox, "probe", lambda: SimpleNamespace(level="full"))
    monkeypatch.setattr(pages, "_warm", lambda: None)
    widget = SimpleNamespace(model_id="w", on_msg=lambda act: None, close=lambda: None)
    monkeypatch.setattr(model, "TurnWidget", lambda state: widget)


@pytest.mark.parametrize("word", ["accept", "decline", "cancel"])
@pytest.mark.parametrize("calls", [1, 2])
def test_an_interrupt_at_any_line_leaves_nothing_half_done(
    tmp_path: Path, word: str, calls: int
) -> None:
    quiet = Stage(tmp_path, word, calls)
    lines, _ = quiet.run(0)
    assert quiet.faults() == []
    assert lines > 100
    faults = {}
    for at in range(1, lines + 20):
        stage = Stage(tmp_path, word, calls)
        ran, interrupted = stage.run(at)
        if found := stage.faults():
            faults[at] = found
        if ran >= at and not interrupted:
            faults[at] = [*found, "the interrupt was swallowed"]
    assert faults == {}
