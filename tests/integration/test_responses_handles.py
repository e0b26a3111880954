"""Turns over the Responses API leave nothing behind: no OS thread, no socket, no file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.items import CommandExecution
from codex_magic.sandbox import probe
from codex_magic.testing import call, cut, pause_at, say, status

if TYPE_CHECKING:
    from collections.abc import Callable

TURNS = 200
PATIENCE_S = 20.0
BUSY = {"error": {"message": "busy"}}


def handles() -> tuple[list[str], list[str]]:
    """Return the OS threads of this process and what it has open, of sockets that they are some."""
    places = []
    for handle in Path("/proc/self/fd").iterdir():
        try:
            places.append(str(handle.readlink()).partition(":[")[0])
        except FileNotFoundError:
            continue  # the one that lists them
    return sorted(thread.name for thread in threading.enumerate()), sorted(places)


@pytest.fixture(autouse=True)
def _confined() -> None:
    if probe().level != "full":
        pytest.skip(probe().reason)


def warm(stage: Any) -> tuple[list[str], list[str]]:
    """Have opened what is opened once for the whole process, and return what is open then."""
    with_tool = stage.model(call("shell", command=["true"]), say("done"))
    kernel = stage.responses_kernel(with_tool)
    kernel.ask()
    kernel.session.close()
    with_tool.close()
    return handles()


def test_many_turns_leave_nothing_open(
    stage: Any, until: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_magic.backends.responses.retry.FIRST_S", 0.001)
    before = warm(stage)
    model = stage.model()
    kernel = stage.responses_kernel(model)
    ends = []
    for number in range(TURNS):
        match number % 10:
            case 3:
                model.enqueue(call("shell", command=["true"]))
            case 5:
                model.enqueue(say("So"), cut())
            case 7:
                model.enqueue(status(503, BUSY))
        model.enqueue(status(400, BUSY) if number % 10 == 9 else say("done"))
        ends.append(kernel.ask().status)
        if number == TURNS // 10:
            within = handles()
    assert ends == [*["completed"] * 9, "failed"] * (TURNS // 10)
    until(lambda: handles() == within, lambda: (handles(), within))
    kernel.session.close()
    model.close()
    until(lambda: handles() == before, lambda: (handles(), before))


WAITS: dict[str, tuple[list[Any], Callable[[Any, Any], object]]] = {
    "for the headers": (
        [pause_at("x"), say("never")],
        lambda _, model: model.reached("x").is_set(),
    ),
    "in the stream": ([say("So"), pause_at("x")], lambda turn, _: turn.final_response == "So"),
    "before another try": (
        [status(503, BUSY, {"retry-after": "30"})],
        lambda turn, _: turn.notices,
    ),
    "for a command": (
        [call("shell", command=["sleep", "60"])],
        lambda turn, _: any(isinstance(item, CommandExecution) for item in turn.items),
    ),
    "for a person": (
        [call("shell", command=["sleep", "60"], network=True)],
        lambda turn, _: turn.waiting_for,
    ),
}


@pytest.mark.parametrize("wait", WAITS)
def test_a_session_that_is_closed_in_mid_turn_leaves_nothing(
    stage: Any, people: Any, until: Any, wait: str
) -> None:
    before = warm(stage)
    responses, waits = WAITS[wait]
    model = stage.model(responses)
    kernel = stage.responses_kernel(model)
    reached, turns = threading.Event(), []
    kernel.page.once(lambda turn: waits(turn, model), reached.set)
    person = people(lambda _request: None)  # who thinks about it, with the card before them
    asking = threading.Thread(target=lambda: turns.append(kernel.ask(person=person)))
    asking.start()
    assert reached.wait(PATIENCE_S)
    kernel.session.close()
    asking.join(PATIENCE_S)
    model.close()
    assert [turn.status for turn in turns] == ["interrupted"]
    until(lambda: handles() == before, lambda: (handles(), before))
