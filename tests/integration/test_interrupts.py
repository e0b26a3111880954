"""Ctrl-C, at any moment and however often; and a kernel that is killed without a word."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.testing import call, pause_at, say, think

if TYPE_CHECKING:
    from collections.abc import Callable

LONG_S = 2.0
"""Many times what it takes, and less than any wait of ours that would be a fault."""


def stop() -> None:
    signal.raise_signal(signal.SIGINT)


def interrupted(kernel: Any, when: Callable[[Any], Any], *, times: int = 1) -> tuple[Any, float]:
    """Run a turn that a person interrupts; return it, and the seconds from there to the end.

    What comes after the first time comes while the turn is being stopped: before the server is
    told, after it, and when the turn is about to be shown for the last time.
    """
    begun: list[float] = []
    left = [None] * (times - 1)
    tell, finish = kernel.backend.interrupt, kernel.page.finish

    def again() -> None:
        if left:
            left.pop()
            stop()

    def interrupt() -> None:
        again()
        tell()
        again()

    def last(turn: Any) -> None:
        again()
        finish(turn)

    def first() -> None:
        begun.append(time.monotonic())
        kernel.backend.interrupt, kernel.page.finish = interrupt, last
        stop()

    kernel.page.once(when, first)
    with pytest.raises(KeyboardInterrupt):
        kernel.ask()
    took_s = time.monotonic() - begun[0]
    kernel.backend.interrupt, kernel.page.finish = tell, finish
    assert left == []
    return kernel.page.kept, took_s


def running(turn: Any) -> bool:
    return "begun" in str(getattr(turn.items[-1], "output", ""))


def test_before_the_first_event(stage: Any, shape: str, until: Any) -> None:
    model = stage.model([pause_at("never"), say("x")], say("next"))
    kernel = stage.kernel(model, shape)
    turn, took_s = interrupted(kernel, lambda turn: model.reached("never").is_set())
    assert (turn.status, len(turn.items), took_s < LONG_S) == ("interrupted", 1, True)
    assert kernel.session.last == turn
    assert kernel.ask().final_response == "next"


def test_while_the_server_is_asked(stage: Any, shape: str) -> None:
    """The thread is being seated, and no turn has begun."""
    model = stage.model(say("next"))
    kernel = stage.kernel(model, shape)
    call_it, seen = kernel.backend._call, []

    def slow(method: str, *words: Any, **options: Any) -> Any:
        answer = call_it(method, *words, **options)
        if method == "thread/start" and not seen:
            seen.append(time.monotonic())
            stop()
        return answer

    kernel.backend._call = slow
    with pytest.raises(KeyboardInterrupt):
        kernel.ask()
    took_s = time.monotonic() - seen[0]
    assert (kernel.page.kept.status, took_s < LONG_S / 4) == ("interrupted", True)
    assert kernel.ask().final_response == "next"


def test_as_the_turn_begins(stage: Any, shape: str) -> None:
    """The request is out, and its answer has not come."""
    model = stage.model([say("unheard"), pause_at("never")], say("next"))
    kernel = stage.kernel(model, shape)
    call_it, seen = kernel.backend._call, []

    def hurried(method: str, params: Any, **options: Any) -> Any:
        if method == "turn/start" and not seen:
            seen.append(time.monotonic())
            kernel.backend._connection.post(method, params)
            stop()
        return call_it(method, params, **options)

    kernel.backend._call = hurried
    with pytest.raises(KeyboardInterrupt):
        kernel.ask()
    took_s = time.monotonic() - seen[0]
    assert (kernel.page.kept.status, took_s < LONG_S) == ("interrupted", True)
    # The model may not have been asked yet; then its first answer is the next turn's.
    model.gate("never").set()
    after = kernel.ask()
    assert (after.status, after.final_response in ("unheard", "next")) == ("completed", True)


@pytest.mark.parametrize("times", [1, 2, 4])
def test_while_it_speaks(stage: Any, shape: str, times: int) -> None:
    said = [think("well"), say("half a sentence"), pause_at("never")]
    kernel = stage.kernel(stage.model(said, say("next")), shape)
    turn, took_s = interrupted(
        kernel, lambda turn: turn.final_response == "half a sentence", times=times
    )
    assert (turn.status, turn.final_response) == ("interrupted", "half a sentence")
    assert took_s < LONG_S
    assert kernel.ask().final_response == "next"


@pytest.mark.parametrize("times", [1, 2, 4])
@pytest.mark.parametrize("mode", ["workspace-write", "full-access", "external"])
def test_during_a_command(stage: Any, shape: str, processes: Any, mode: str, times: int) -> None:
    model = stage.model(call("shell", command="echo begun; sleep 600.0625; true"), say("next"))
    kernel = stage.kernel(model, shape)
    ask = kernel.ask
    kernel.ask = lambda: ask(mode=mode)
    turn, took_s = interrupted(kernel, running, times=times)
    assert (turn.status, turn.items[1].status) == ("interrupted", "interrupted")
    assert str(turn.items[1].output) == "begun\n"
    assert took_s < LONG_S
    assert processes("sleep 600.0625") == {}
    assert kernel.ask().final_response == "next"


def test_while_a_person_is_asked(stage: Any, shape: str, people: Any) -> None:
    model = stage.model(call("shell", command=["touch", "ran"], network=True), say("next"))
    kernel = stage.kernel(model, shape)

    def at_the_question(_request: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kernel.ask(person=people(at_the_question))
    turn = kernel.page.kept
    assert (turn.status, turn.items[1].status) == ("interrupted", "interrupted")
    assert not (stage.folder / "ran").exists()
    assert kernel.ask().final_response == "next"


def test_the_servers_turn_has_ended_too(stage: Any, shape: str) -> None:
    """Otherwise the next prompt would steer the old turn instead of beginning one."""
    model = stage.model([say("half"), pause_at("never"), say("late")], say("next"))
    kernel = stage.kernel(model, shape)
    turn, _ = interrupted(kernel, lambda turn: turn.final_response == "half")
    after = kernel.ask("again")
    assert (after.id != turn.id, after.status, after.final_response) == (True, "completed", "next")
    assert "late" not in str(after)


KERNEL = """
import os, sys
from pathlib import Path
from codex_magic.approval import NobodyApprover
from codex_magic.backends.appserver import wire
from codex_magic.backends.appserver.backend import AppServerBackend
from codex_magic.backends.base import ToolSpec
from codex_magic.policy import SandboxPolicy
from codex_magic.session import Session
from codex_magic.tools.shell import ShellTool
from codex_magic.turn import TurnRequest

url, shape, mode = sys.argv[1:]
tool = ShellTool()

class Page:
    def open(self, report):
        pass
    def show(self, turn):
        if "begun" in str(getattr(turn.items[-1], "output", "")):
            print("begun", flush=True)
    def finish(self, turn):
        print(turn.status, turn.items[1].status, flush=True)

spec = ToolSpec(tool.name, tool.description, tool.parameters)
backend = AppServerBackend(tools=[spec], overrides=wire.tape_provider(url))
session = Session(connect=lambda: backend)
policy = SandboxPolicy(mode=mode, workspace=Path.cwd())
try:
    session.run(
        TurnRequest(prompt="hi", policy=policy, model=shape), page=Page(), approver=NobodyApprover()
    )
except KeyboardInterrupt:
    print("stopped", flush=True)
session.close()
"""


def process(stage: Any, model: Any, shape: str, mode: str = "workspace-write") -> Any:
    """Start a process that runs a turn, and return it once its command runs."""
    done = subprocess.Popen(
        [sys.executable, "-c", KERNEL, model.base_url, shape, mode],
        cwd=stage.folder,
        env=stage.environ,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    stage.opened.enter_context(done)
    stage.opened.callback(done.kill)
    assert done.stdout.readline() == "begun\n"
    return done


def test_a_real_ctrl_c_to_the_whole_group(stage: Any, shape: str, processes: Any) -> None:
    model = stage.model(call("shell", command="echo begun; sleep 600.03125; true"))
    kernel = process(stage, model, shape)
    os.killpg(kernel.pid, signal.SIGINT)
    said = kernel.stdout.read().replace("begun\n", "")
    assert (kernel.wait(), said) == (0, "interrupted interrupted\nstopped\n")
    assert processes("sleep 600.03125") == {}


@pytest.mark.parametrize("mode", ["workspace-write", "full-access"])
def test_nothing_survives_a_killed_kernel(
    stage: Any, shape: str, mode: str, processes: Any, until: Any
) -> None:
    words = "echo begun; (sleep 600.015625 &) ; setsid sleep 600.015625"
    model = stage.model(call("shell", command=words))
    kernel = process(stage, model, shape, mode)
    assert len(processes("sleep 600.015625")) >= 2
    assert len(processes(stage.room.name)) >= 3
    kernel.kill()
    kernel.wait()
    until(lambda: processes(stage.room.name) == {}, "something survived", 5.0)
    assert processes("sleep 600.015625") == {}
