"""Which items can be sent again: every call answered, nothing that only its own host can read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.backends.responses.replay import SEALER, answered, portable, sealed

Json = dict[str, Any]

USER: Json = {"type": "message", "role": "user", "content": "go"}
AGENT: Json = {"type": "message", "role": "assistant", "content": "done"}


def call(kind: str, call_id: str = "c", **more: Any) -> Json:
    return {"type": f"{kind}_call", "call_id": call_id, **more}


def output(kind: str, call_id: str = "c", **more: Any) -> Json:
    return {"type": f"{kind}_call_output", "call_id": call_id, **more}


SHELL = {"action": {"commands": ["ls", "pwd"], "max_output_length": 9}, "caller": {"type": "x"}}
KILLED = {"stdout": "", "stderr": "aborted", "outcome": {"type": "exit", "exit_code": 130}}

OPEN: list[tuple[Json, Json]] = [
    (call("function", name="f"), output("function", output="aborted")),
    (call("custom_tool"), output("custom_tool", output="aborted")),
    (
        call("function", caller={"type": "x"}),
        output("function", output="aborted", caller={"type": "x"}),
    ),
    (call("local_shell", id="i"), output("local_shell", id="i", output="aborted")),
    (call("apply_patch"), output("apply_patch", status="failed", output="aborted")),
    (
        call("shell", **SHELL),
        output("shell", output=[KILLED, KILLED], max_output_length=9, caller={"type": "x"}),
    ),
    (call("shell"), output("shell", output=[KILLED])),
]


@pytest.mark.parametrize(("made", "expected"), OPEN)
def test_an_open_call_gets_an_output_of_its_own_shape(made: Json, expected: Json) -> None:
    assert answered([USER, made, USER]) == [USER, made, expected, USER]


F1, F2 = call("function", "1"), call("function", "2")
O1, O2 = output("function", "1", output="x"), output("function", "2", output="y")
A1, A2 = output("function", "1", output="aborted"), output("function", "2", output="aborted")

PLACES: list[tuple[str, list[Json], list[Json]]] = [
    ("all answered", [USER, F1, F2, AGENT, O2, O1], [USER, F1, F2, AGENT, O2, O1]),
    ("after a steer", [F1, USER, O1], [F1, USER, O1]),
    ("one of two", [F1, F2, O2], [F1, F2, O2, A1]),
    ("before the next prompt", [F1, F2, AGENT, USER], [F1, F2, AGENT, A1, A2, USER]),
    ("no call", [O1, USER], [USER]),
    ("an output before its call", [O1, F1], [F1, A1]),
    ("answered twice", [F1, O1, O1], [F1, O1]),
    ("answered in another shape", [F1, output("shell", "1")], [F1, A1]),
    ("an id twice", [F1, F1, O1], [F1, A1, F1, O1]),
    ("no id", [{"type": "function_call"}, USER], [USER]),
    ("hosted", [{"type": "web_search_call", "id": "w"}], [{"type": "web_search_call", "id": "w"}]),
]


@pytest.mark.parametrize(("items", "expected"), [p[1:] for p in PLACES], ids=[p[0] for p in PLACES])
def test_where_an_output_stands(items: list[Json], expected: list[Json]) -> None:
    assert answered(items) == expected


KINDS = ["function", "custom_tool", "shell", "local_shell", "apply_patch"]
IDS = st.sampled_from(["1", "2", "3", None, 4])
ITEM: st.SearchStrategy[Json] = st.one_of(
    st.builds(call, st.sampled_from(KINDS), IDS),
    st.builds(output, st.sampled_from(KINDS), IDS),
    st.sampled_from([USER, AGENT, {"type": "reasoning", "id": "r"}, {"type": 7}, {}]),
)


@given(st.lists(ITEM, max_size=12))
def test_no_call_stays_open_and_no_output_stays_alone(items: list[Json]) -> None:
    once = answered(items)
    assert answered(once) == once
    waiting: list[tuple[Any, str]] = []
    for item in once:
        kind = str(item.get("type"))
        if kind.endswith("_call"):
            waiting.append((item["call_id"], kind))
        elif kind.endswith("_output"):
            waiting.remove((item["call_id"], kind.removesuffix("_output")))
    assert waiting == []
    kept = [item for item in items if item.get("type") in ("message", "reasoning")]
    assert [item for item in once if item.get("type") in ("message", "reasoning")] == kept


BY: Json = {SEALER: "me"}
THOUGHT: Json = {"type": "reasoning", "id": "r", "summary": [], "encrypted_content": "x", **BY}
SUMMARY: Json = {"type": "compaction", "id": "s", "encrypted_content": "x", **BY}


def without_id(*items: Json) -> list[Json]:
    ours = ("id", SEALER)
    return [{name: item[name] for name in item if name not in ours} for item in items]


def test_only_what_is_encrypted_is_marked_and_no_mark_is_sent() -> None:
    bare = [{name: THOUGHT[name] for name in THOUGHT if name != SEALER}, USER, AGENT]
    assert sealed(bare, "me") == [THOUGHT, USER, AGENT]
    assert portable([*sealed(bare[:1], "me"), AGENT], by="me") == without_id(THOUGHT, AGENT)


def test_the_same_model_gets_its_thoughts_back_without_ids() -> None:
    items = [SUMMARY, USER, THOUGHT, call("function", id="f"), O1, THOUGHT, AGENT]
    assert portable(items, by="me") == without_id(*items)
    assert THOUGHT["id"] == "r"


def test_another_model_gets_no_thoughts() -> None:
    items = [SUMMARY, USER, THOUGHT, F1, O1, THOUGHT, AGENT]
    assert portable(items, by="you") == [USER, F1, O1, AGENT]


@pytest.mark.parametrize("behind", [[], [USER], [O1], [THOUGHT, USER]])
def test_a_thought_that_led_to_nothing_is_left_out(behind: list[Json]) -> None:
    rest = [item for item in behind if item is not THOUGHT]
    assert portable([USER, THOUGHT, *behind], by="me") == [USER, *rest]
