"""The real Codex binary takes the tape for a model, in both shapes."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from codex_magic import tape
from codex_magic.tape import Player
from codex_magic.testing import (
    FakeModel,
    call,
    cut,
    offered_tools,
    pause_at,
    say,
    status,
    think,
    tool_outputs,
    user_texts,
)

Start = Callable[..., Any]
NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SHAPES = pytest.mark.parametrize("model", ["gpt-5.5", "gpt-6.1-sol"])
FIRST = "What is in data/penguins.csv?"


def run(arguments: dict[str, Any]) -> str:
    done = subprocess.run(
        arguments["command"], cwd=NOTEBOOKS, capture_output=True, text=True, check=True
    )
    return f"outcome: exit 0\nduration: 0.1 s\noutput:\n{done.stdout}"


def refuse(_: dict[str, Any]) -> str:
    return "outcome: refused - no sandbox here\nduration: 0.0 s\noutput:\n"


def fast(name: str) -> tape.Tape:
    """Return a lesson without its pace."""
    lesson = tape.find(name)
    return replace(lesson, header=replace(lesson.header, words_per_s=1e6))


def items(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    done = [m["params"]["item"] for m in messages if m.get("method") == "item/completed"]
    return [item for item in done if item["type"] == kind]


def last(messages: list[dict[str, Any]]) -> dict[str, Any]:
    return dict(messages[-1]["params"]["turn"])


@SHAPES
def test_a_prompt_of_the_lesson_is_played(codex: Start, model: str) -> None:
    told: list[str] = []
    lesson = tape.find("first-turn")
    with Player(lesson, told.append) as player:
        server = codex(player.base_url)
        seen = server.turn(server.start_thread(model), FIRST, run)
    assert last(seen)["status"] == "completed"
    commands = [i["arguments"]["command"] for i in items(seen, "dynamicToolCall")]
    assert commands == [["head", "-5", "data/penguins.csv"], ["wc", "-l", "data/penguins.csv"]]
    said = items(seen, "agentMessage")
    assert [i["phase"] for i in said] == ["commentary", "commentary", "final_answer"]
    assert said[-1]["text"] == lesson.lines(FIRST)[-1].chunks[0].payload
    streamed = [m for m in seen if m.get("method") == "item/agentMessage/delta"]
    assert "".join(m["params"]["delta"] for m in streamed) == "".join(i["text"] for i in said)
    assert items(seen, "reasoning")
    assert told == []


@SHAPES
def test_a_refused_command_is_told_and_the_lesson_goes_on(codex: Start, model: str) -> None:
    told: list[str] = []
    with Player(fast("first-turn"), told.append) as player:
        server = codex(player.base_url)
        seen = server.turn(server.start_thread(model), FIRST, refuse)
    assert last(seen)["status"] == "completed"
    assert len(told) == 2
    assert told[1] == (
        r"the lesson expects `wc -l data/penguins.csv` to exit 0 and print /\b345\b/; "
        "it ended with: refused - no sandbox here"
    )


@SHAPES
def test_a_prompt_that_is_not_on_the_tape_fails_the_turn(codex: Start, model: str) -> None:
    with Player(fast("first-turn")) as player:
        server = codex(player.base_url)
        thread = server.start_thread(model)
        server.turn(thread, FIRST, run)
        turn = last(server.turn(thread, "Who are you?", run))
    assert turn["status"] == "failed"
    assert "has no answer for this prompt; it has: “What is in" in turn["error"]["message"]


@SHAPES
def test_an_unknown_prompt_after_an_interruption_is_unknown(codex: Start, model: str) -> None:
    lesson = tape.parse(
        b'{"tape":1,"name":"t","model":"m"}\n'
        b'{"prompt":"one","chunks":[[0,"shell",{"command":["ls"]}]]}\n'
        b'{"prompt":"one","chunks":[[0,"gate","g"],[0,"answer","done"]]}\n'
    )
    with Player(lesson) as player:
        server = codex(player.base_url)
        thread = server.start_thread(model)
        turn = server.start_turn(thread, "one")
        server.until("item/tool/call")
        server.request("turn/interrupt", threadId=thread, turnId=turn)
        server.until("turn/completed")
        failed = last(server.turn(thread, "two", run))
    assert failed["status"] == "failed"
    assert "has no answer for this prompt; it has: “one”" in failed["error"]["message"]


@SHAPES
def test_a_scripted_model_sees_what_the_tools_gave(codex: Start, model: str) -> None:
    asks = [think("hm"), say("wait", "commentary"), call("shell", command=["ls"])]
    with FakeModel(asks, say("done", "final_answer")) as fake:
        server = codex(fake.base_url)
        server.turn(server.start_thread(model), "hi", lambda _: "outcome: exit 0")
        offered = offered_tools(fake.requests[0])
        assert tool_outputs(fake.requests[1]) == ["outcome: exit 0"]
        assert user_texts(fake.requests[0])[-1] == "hi"
    assert "shell" in (offered.direct if model == "gpt-5.5" else offered.nested)
    assert ("exec" in offered.direct) == (model != "gpt-5.5")


@SHAPES
def test_codex_asks_again_after_a_break(codex: Start, model: str) -> None:
    busy = status(503, {"error": {"message": "busy"}})
    with FakeModel(busy, [say("half"), cut()], [pause_at("g"), say("whole")]) as fake:
        fake.gate("g").set()
        server = codex(fake.base_url, retries=2)
        seen = server.turn(server.start_thread(model), "hi", refuse)
        assert len(fake.requests) == 3
    assert last(seen)["status"] == "completed"
    assert items(seen, "agentMessage")[-1]["text"] == "whole"


WORK = [
    think("hm"),
    say("wait", "commentary"),
    call("shell", command=["ls"]),
    call("shell", command=["pwd"]),
]


@SHAPES
def test_a_strict_host_takes_what_codex_sends(codex: Start, model: str) -> None:
    script = [[think("hm"), cut()], WORK, say("done", "final_answer"), say("again")]
    with FakeModel(*script, strict="api") as fake:
        server = codex(fake.base_url, retries=1)
        thread = server.start_thread(model)
        ended = [last(server.turn(thread, prompt, run))["status"] for prompt in ("one", "two")]
        assert (ended, fake.refused) == (["completed", "completed"], [])


@SHAPES
def test_chatgpts_host_takes_what_codex_sends(signed_in: Start, model: str) -> None:
    with FakeModel(WORK, say("done", "final_answer"), strict="chatgpt") as fake:
        fake.host.accounts_check = ACCOUNTS
        server = signed_in(fake)
        seen = server.turn(server.start_thread(model), "hi", run)
        looked_up = {request.path for request in fake.looked_up}
        assert (last(seen)["status"], fake.refused) == ("completed", [])
    assert [i["text"] for i in items(seen, "agentMessage")] == ["wait", "done"]
    assert {"/backend-api/codex/models", "/backend-api/wham/accounts/check"} <= looked_up
    assert fake.headers[0]["content-encoding"] == "zstd"


ACCOUNTS = {
    "accounts": [
        {
            "id": "account-1",
            "workspace_backend_origin": "NO_CONSTRAINT",
            "account_routing_override": "NO_CONSTRAINT",
            "structure": "personal",
            "plan_type": "plus",
        }
    ],
    "account_ordering": ["account-1"],
    "default_account_id": "account-1",
}
