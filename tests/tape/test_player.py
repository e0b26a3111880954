from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from codex_magic import tape
from codex_magic.tape import Player
from codex_magic.tape.format import Expectation
from codex_magic.tape.player import compare

Json = dict[str, Any]
Connect = Callable[[str], Any]
Calls = Callable[[str, str], list[Json]]

LESSON = tape.parse(
    b"""{"tape":1,"name":"t","model":"m","words_per_s":1000000}
{"prompt":"one","chunks":[[0,"shell",{"command":["ls","-l"]}],[0,"shell",{"command":"pwd"}]]}
{"prompt":"two","chunks":[[0,"answer","two: end"]]}
{"prompt":"one","expect":[{"pattern":"^total"},{}],"chunks":[[0,"commentary","one: then"],[0,"call",{"tool":"f"}]]}
{"prompt":"one","chunks":[[0,"answer","one: end"]]}
{"prompt":"faults","status":429,"body":{"error":{"message":"slow down"}}}
{"prompt":"faults","chunks":[[0,"failed",{"code":"x","message":"y"}]]}
{"prompt":"faults","chunks":[[0,"answer","faults: end"]]}
"""
)


def user(*texts: str) -> Json:
    content = [{"type": "input_text", "text": text} for text in texts]
    return {"type": "message", "role": "user", "content": content}


def agent(text: str, phase: str = "final_answer") -> Json:
    content = [{"type": "output_text", "text": text}]
    return {"type": "message", "role": "assistant", "content": content, "phase": phase}


def called(call_id: str, output: object = None) -> list[Json]:
    call = {"type": "function_call", "call_id": call_id, "name": "shell"}
    given = {"type": "function_call_output", "call_id": call_id, "output": output}
    return [call] if output is None else [call, given]


def scripted(call_id: str, text: str) -> list[Json]:
    head = "Script completed\nWall time 0.1 seconds\nOutput:\n"
    call = {"type": "custom_tool_call", "call_id": call_id, "name": "exec"}
    output = [{"type": "input_text", "text": head}, {"type": "input_text", "text": text}]
    return [call, {"type": "custom_tool_call_output", "call_id": call_id, "output": output}]


def ended(outcome: str, printed: str = "") -> str:
    return f"outcome: {outcome}\nduration: 0.1 s\noutput:\n{printed}"


def said(answered: tuple[int, Any]) -> str:
    """Return what an answer comes down to: its text, its calls, or its error."""
    status, received = answered
    if status != 200:
        return f"{status} {received['error']['message']}"
    if received[-1]["type"] == "response.failed":
        return f"failed {received[-1]['response']['error']['code']}"
    done = [e["item"] for e in received if e["type"] == "response.output_item.done"]
    return " ".join(item.get("name") or item["content"][0]["text"] for item in done)


TWO_CALLS = [*called("a", "x"), *called("b", "y")]
ALL_CALLS = [*TWO_CALLS, agent("one: then", "commentary"), *called("c", "z")]
CONTEXT = user("<external_kernel>fresh</external_kernel>")
UNKNOWN = "400 tape 't' has no answer for this prompt; it has: “one”; “two”; “faults”"


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([user("one")], "shell shell"),
        ([user(" one\n")], "shell shell"),
        ([CONTEXT, user("one")], "shell shell"),
        ([user("one"), CONTEXT], "shell shell"),
        ([user("one", "[mention] df")], "shell shell"),
        ([user("one"), *TWO_CALLS], "one: then f"),
        ([user("one"), *TWO_CALLS, user("faster, please")], "one: then f"),
        ([user("one"), *ALL_CALLS], "one: end"),
        ([user("one"), *ALL_CALLS, agent("one: end"), user("two")], "two: end"),
        ([user("two"), agent("two: end"), user("one")], "shell shell"),
        ([user("one"), *called("a", "x"), user("<turn_aborted>…"), user("one")], "shell shell"),
        (
            [user("one"), *called("a", "x")],
            "400 tape 't' ends before this point of “one”",
        ),
        ([user("three")], UNKNOWN),
        ([user("two"), agent("two: end"), user("three")], UNKNOWN),
        ([user("two"), agent("two: end"), CONTEXT, user("three")], UNKNOWN),
        (
            [user("one"), *called("a", "x"), user("<turn_aborted>…"), user("three")],
            UNKNOWN,
        ),
        ([], UNKNOWN),
    ],
)
def test_the_request_alone_says_what_comes_next(
    client: Connect, history: list[Json], expected: str
) -> None:
    with Player(LESSON) as player:
        ask = client(player.base_url).ask
        assert said(ask(*history)) == expected
        assert said(ask(*history)) == expected, "sent again"


def test_faults_are_played_once_each(client: Connect) -> None:
    with Player(LESSON) as player:
        ask = client(player.base_url).ask
        played = [said(ask(user("faults"))) for _ in range(4)]
    assert played == ["429 slow down", "failed x", "faults: end", "faults: end"]


def test_code_mode_gets_scripts(client: Connect) -> None:
    offer = {"type": "additional_tools", "role": "developer", "tools": []}
    with Player(LESSON) as player:
        assert said(client(player.base_url).ask(offer, user("one"))) == "exec exec"


def test_the_pace_is_the_lessons_and_gates_hold(client: Connect) -> None:
    lesson = tape.parse(
        b'{"tape":1,"name":"t","model":"m"}\n'
        b'{"prompt":"p","chunks":[[0,"gate","g"],[0,"answer","a"]]}'
    )
    with Player(lesson) as player:
        asked = b'{"stream":true,"input":[{"role":"user","content":"p"}]}'
        response = client(player.base_url).send("POST", "/responses", asked)
        assert player.reached("g").wait(30)
        player.gate("g").set()
        assert b"response.completed" in response.read()


@pytest.mark.parametrize("calls", [called, scripted])
def test_a_mismatch_is_told_once_and_playing_goes_on(client: Connect, calls: Calls) -> None:
    told: list[str] = []
    refused = [*calls("a", ended("refused - no sandbox")), *calls("b", ended("exit 0"))]
    with Player(LESSON, told.append) as player:
        ask = client(player.base_url).ask
        assert said(ask(user("one"), *refused)) == "one: then f"
        assert said(ask(user("one"), *refused)) == "one: then f"
    assert told == [
        (
            "the lesson expects `ls -l` to exit 0 and print /^total/; "
            "it ended with: refused - no sandbox"
        )
    ]


@pytest.mark.parametrize("calls", [called, scripted])
def test_what_the_lesson_expects_is_not_told(client: Connect, calls: Calls) -> None:
    told: list[str] = []
    fine = [*calls("a", ended("exit 0", "total 8\n")), *calls("b", ended("exit 0"))]
    with Player(LESSON, told.append) as player:
        client(player.base_url).ask(user("one"), *fine)
    assert told == []


@pytest.mark.parametrize(
    ("expect", "text", "difference"),
    [
        (Expectation(), ended("exit 0"), ""),
        (Expectation(pattern="^b$"), ended("exit 0", "a\nb\nc"), ""),
        (Expectation(exit=2), ended("exit 2"), ""),
        (Expectation(), ended("exit 1"), "exit 0; it ended with: exit 1"),
        (
            Expectation(pattern="exit"),
            ended("exit 0", "other"),
            "exit 0 and print /exit/; it ended with: exit 0, and printed something else",
        ),
        (
            Expectation(),
            ended("timeout after 2 s"),
            "exit 0; it ended with: timeout after 2 s",
        ),
        (
            Expectation(pattern="a"),
            ended("declined - not now"),
            "exit 0 and print /a/; it ended with: declined - not now",
        ),
        (
            Expectation(),
            "dynamic tool call was cancelled",
            "exit 0; it ended with: dynamic tool call was cancelled",
        ),
        (Expectation(), "", "exit 0; it ended with: no output"),
    ],
)
def test_how_an_output_is_compared(expect: Expectation, text: str, difference: str) -> None:
    assert compare(expect, text) == difference
