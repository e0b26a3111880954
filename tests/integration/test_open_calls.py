"""Calls that are open when a turn ends, or while a person thinks: nothing runs behind anybody."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import pytest

from codex_magic.approval import Answer
from codex_magic.errors import BackendError, CellError
from codex_magic.items import CommandExecution, UserMessage
from codex_magic.policy import Decision
from codex_magic.running import PATIENCE_S
from codex_magic.testing import call, js, pause_at, raw, say, tool_outputs, user_texts

YES = Answer(Decision.ACCEPT, "person")
YIELDS = '// @exec: {"yield_time_ms": 500}\n'


def wait_for_cell() -> Any:
    item = {
        "type": "function_call",
        "id": "fc_wait",
        "call_id": "call_wait",
        "name": "wait",
        "arguments": json.dumps({"cell_id": "1", "yield_time_ms": 5000}),
        "status": "completed",
    }
    return raw({"type": "response.output_item.done", "output_index": 0, "item": item})


def command(turn: Any) -> CommandExecution:
    (found,) = [item for item in turn.items if isinstance(item, CommandExecution)]
    return found


def test_a_command_dies_with_the_turn_that_left_it(stage: Any, processes: Any) -> None:
    words = ["sh", "-c", "echo begun; sleep 600.5"]
    script = f"{YIELDS}const r = await tools.shell({json.dumps({'command': words})}); text(r)"
    model = stage.model(js(script), say("left it"), say("next"))
    kernel = stage.kernel(model, "gpt-6.1-sol")
    turn = kernel.ask()
    assert processes("sleep 600.5") == {}
    left = command(turn)
    assert (turn.status, left.status, left.outcome, str(left.output)) == (
        "completed",
        "interrupted",
        "killed",
        "begun\n",
    )
    assert kernel.page.kept == turn
    after = kernel.ask()
    assert (after.status, after.final_response, after.notices) == ("completed", "next", ())


def test_a_yes_after_the_end_of_the_turn_runs_nothing(stage: Any, people: Any, until: Any) -> None:
    words = {"command": ["touch", "ran"], "network": True}
    script = f"{YIELDS}const r = await tools.shell({json.dumps(words)}); text(r)"
    model = stage.model(js(script), say("left it"), say("next"))
    kernel = stage.kernel(model, "gpt-6.1-sol")

    def when_it_is_over(_request: Any) -> Answer:
        until(lambda: kernel.backend._turn is None, "the turn did not end")
        return YES

    person = people(when_it_is_over)
    turn = kernel.ask(person=person)
    assert len(person.asked) == 1
    assert (turn.status, turn.final_response, command(turn).status, turn.waiting_for) == (
        "completed",
        "left it",
        "interrupted",
        "",
    )
    assert kernel.ask().final_response == "next"
    assert not (stage.folder / "ran").exists()


def test_events_arrive_while_a_person_thinks(stage: Any, people: Any, until: Any) -> None:
    words = {"command": ["true"], "network": True}
    script = f"{YIELDS}const r = await tools.shell({json.dumps(words)}); text(r)"
    said = "one two three four five six seven eight nine ten"
    model = stage.model(js(script), [say(said), pause_at("end")], [wait_for_cell()], say("done"))
    kernel = stage.kernel(model, "gpt-6.1-sol")
    waiting: list[int] = []

    def when_the_text_is_there(_request: Any) -> Answer:
        mailbox = kernel.session._mailbox
        waiting.append(until(lambda: mailbox.qsize() >= 10 and mailbox.qsize(), "nothing came"))
        model.gate("end").set()
        return YES

    turn = kernel.ask(person=people(when_the_text_is_there))
    assert waiting[0] >= 10
    assert said in [str(item.text) for item in turn.items if hasattr(item, "text")]


def test_a_script_that_goes_on_behind_its_turn_runs_nothing_in_the_next(stage: Any) -> None:
    first = json.dumps({"command": ["sleep", "600"]})
    second = json.dumps({"command": ["touch", "ran"]})
    script = f"{YIELDS}try {{ await tools.shell({first}) }} catch {{}}\nawait tools.shell({second})"
    model = stage.model(js(script), say("left it"), [wait_for_cell()], say("next"))
    kernel = stage.kernel(model, "gpt-6.1-sol")
    assert kernel.ask().final_response == "left it"
    turn = kernel.ask(mode="full-access")
    assert turn.final_response == "next"
    assert [item for item in turn.items if isinstance(item, CommandExecution)] == []
    assert not (stage.folder / "ran").exists()


def test_several_calls_at_once_are_answered_each(stage: Any, shape: str) -> None:
    calls = [call("shell", command=["echo", word]) for word in ("a", "b", "c")]
    if shape == "gpt-6.1-sol":
        one = "tools.shell({command: ['echo', w]})"
        calls = [js(f"text((await Promise.all(['a', 'b', 'c'].map(w => {one}))).join('|'))")]
    model = stage.model(calls, say("done"))
    turn = stage.kernel(model, shape).ask()
    ran = [item for item in turn.items if isinstance(item, CommandExecution)]
    # A script's own calls come in any order.
    assert sorted((i.command[1], i.status, str(i.output)) for i in ran) == [
        ("a", "completed", "a\n"),
        ("b", "completed", "b\n"),
        ("c", "completed", "c\n"),
    ]
    told = "".join(tool_outputs(model.requests[-1]))
    assert told.count("outcome: exit 0") == 3


def test_a_stop_from_elsewhere_ends_the_turn_and_its_command(
    stage: Any, shape: str, processes: Any
) -> None:
    words = ["sh", "-c", "echo begun; sleep 600.25"]
    model = stage.model(call("shell", command=words), say("next"))
    kernel = stage.kernel(model, shape)
    stopping = threading.Thread(target=kernel.session.stop)
    kernel.page.once(
        lambda turn: "begun" in str(getattr(turn.items[-1], "output", "")), stopping.start
    )
    turn = kernel.ask()
    stopping.join()
    assert (turn.status, command(turn).status) == ("interrupted", "interrupted")
    assert processes("sleep 600.25") == {}
    assert kernel.ask().final_response == "next"


def test_a_call_under_a_name_already_used_runs_nothing(stage: Any) -> None:
    one, other = (
        {
            "type": "response.output_item.done",
            "output_index": at,
            "item": {
                "type": "function_call",
                "id": f"fc{at}",
                "call_id": "same",
                "name": "shell",
                "arguments": json.dumps({"command": ["sh", "-c", f"echo x >> ran{at}"]}),
                "status": "completed",
            },
        }
        for at in (0, 1)
    )
    model = stage.model([raw(one), raw(other)], say("done"))
    turn = stage.kernel(model, "gpt-5.5").ask()
    ran = [path.read_text() for path in sorted(stage.folder.glob("ran*"))]
    assert (turn.status, ran) == ("completed", ["x\n"])


def test_a_page_that_fails_ends_the_turn(stage: Any, shape: str, processes: Any) -> None:
    model = stage.model(call("shell", command=["sleep", "600.5"]), say("next"))
    kernel = stage.kernel(model, shape)

    def fail() -> None:
        raise UnicodeEncodeError("latin-1", "…", 0, 1, "no such character")

    kernel.page.once(lambda turn: len(turn.items) > 1, fail)
    with pytest.raises(UnicodeEncodeError):
        kernel.ask()
    assert processes("sleep 600.5") == {}
    assert (kernel.session.last.status, kernel.ask().final_response) == ("interrupted", "next")


def test_what_is_added_to_a_running_turn_reaches_the_model_and_the_turn(
    stage: Any, shape: str
) -> None:
    go = stage.folder / "go"
    waits = "echo begun; while [ ! -e go ]; do sleep 0.01; done"
    model = stage.model(call("shell", command=waits), say("both"))
    kernel = stage.kernel(model, shape)

    def add() -> None:
        kernel.backend.steer("and the other")
        go.touch()

    kernel.page.once(lambda turn: "begun" in str(getattr(turn.items[-1], "output", "")), add)
    turn = kernel.ask("this")
    said = [str(item.text) for item in turn.items if isinstance(item, UserMessage)]
    assert (turn.final_response, said) == ("both", ["this", "and the other"])
    assert user_texts(model.requests[-1])[-1] == "and the other"
    with pytest.raises(CellError, match="no turn is running"):
        kernel.backend.steer("too late")


def test_a_turn_that_is_refused_at_its_start_is_told_at_once(stage: Any, shape: str) -> None:
    model = stage.model(say("next"))
    kernel = stage.kernel(model, shape)
    begun = time.monotonic()
    with pytest.raises(BackendError, match="exceeds the maximum length"):
        kernel.ask("x" * (1024 * 1024 + 1))
    assert time.monotonic() - begun < PATIENCE_S
    assert kernel.page.shown is None
    assert kernel.ask().final_response == "next"
