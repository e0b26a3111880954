from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.tape.format import Chunk, Response
from codex_magic.tape.steps import Cut, Gate, Reply, Setting
from codex_magic.tape.streamed import pieces, script
from codex_magic.tape.wire import answer, expand

FUNCTIONS = Setting(shape="functions", stem="s", model="m")
CODE = Setting(shape="code", stem="s", model="m")


def played(*chunks: Chunk, setting: Setting = FUNCTIONS) -> list[Any]:
    return [step.act for step in expand(Response(prompt="p", chunks=chunks), setting)]


def kinds(acts: list[Any]) -> list[str]:
    return [act["type"].removeprefix("response.") for act in acts]


@given(st.text())
def test_pieces_joined_are_the_text(text: str) -> None:
    assert "".join(pieces(text)) == text


@given(
    st.text(min_size=1),
    st.floats(min_value=0.001, max_value=1e9),
    st.sampled_from(["reasoning", "commentary", "answer", "message"]),
)
def test_deltas_joined_are_the_text_at_any_pace(text: str, rate: float, channel: str) -> None:
    setting = Setting(shape="functions", stem="s", words_per_s=rate)
    steps = expand(Response(prompt="p", chunks=(Chunk(0.5, channel, text),)), setting)
    acts = [step.act for step in steps if isinstance(step.act, dict)]
    assert "".join(act.get("delta", "") for act in acts) == text
    deltas = [step for step in steps if isinstance(step.act, dict) and "delta" in step.act]
    assert sum(step.delay_s for step in steps) == pytest.approx(0.5 + len(deltas) / rate)
    assert [act["sequence_number"] for act in acts] == list(range(len(acts)))


def test_a_message_streams_in_full_order() -> None:
    assert kinds(played(Chunk(0, "answer", "Two words."))) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]


@pytest.mark.parametrize(
    ("channel", "phase"),
    [("answer", "final_answer"), ("commentary", "commentary"), ("message", None)],
)
def test_a_message_has_its_phase(channel: str, phase: str | None) -> None:
    assert played(Chunk(0, channel, "a"))[-2]["item"].get("phase") == phase


def test_reasoning_is_a_summary_with_encrypted_content() -> None:
    acts = played(Chunk(0, "reasoning", "hm"))
    assert "reasoning_summary_part.added" in kinds(acts)
    item = acts[-2]["item"]
    assert item["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert item["encrypted_content"]


def test_a_call_takes_the_shape_of_an_older_model() -> None:
    item = played(Chunk(0, "shell", {"command": ["ls"]}))[-2]["item"]
    assert (item["type"], item["name"]) == ("function_call", "shell")
    assert json.loads(item["arguments"]) == {"command": ["ls"]}


def test_a_call_takes_the_shape_of_code_mode() -> None:
    item = played(Chunk(0, "call", {"tool": "f", "arguments": {"a": "“"}}), setting=CODE)[-2][
        "item"
    ]
    assert (item["type"], item["name"]) == ("custom_tool_call", "exec")
    assert item["input"] == script("f", {"a": "“"})
    assert item["input"].endswith('const r = await tools.f({"a": "“"}); text(r)')


def test_ids_within_a_response_differ() -> None:
    acts = played(Chunk(0, "reasoning", "a"), Chunk(0, "answer", "b"), Chunk(0, "answer", "c"))
    ids = [act["item"]["id"] for act in acts if act["type"] == "response.output_item.done"]
    assert len(set(ids)) == 3


def test_the_bill_is_plausible() -> None:
    setting = Setting(shape="functions", stem="s", input_words=100)
    chunks = (Chunk(0, "reasoning", "one two"), Chunk(0, "answer", "three four five"))
    last = expand(Response(prompt="p", chunks=chunks), setting)[-1].act
    assert isinstance(last, dict)
    assert last["response"]["usage"] == {
        "input_tokens": 130,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": 5,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 135,
    }


@pytest.mark.parametrize(
    ("chunk", "end"),
    [
        (Chunk(0, "cut"), "cut"),
        (Chunk(0, "failed", {"code": "c", "message": "m"}), "response.failed"),
        (Chunk(0, "event", {"type": "response.incomplete"}), "response.incomplete"),
        (Chunk(0, "event", {"type": "response.anything"}), "response.completed"),
        (Chunk(0, "gate", "g"), "response.completed"),
    ],
)
def test_how_a_response_ends(chunk: Chunk, end: str) -> None:
    last = played(chunk)[-1]
    assert ("cut" if last == Cut() else last["type"]) == end


def test_a_gate_stands_where_it_was_put() -> None:
    assert played(Chunk(0, "gate", "g"), Chunk(0, "answer", "a"))[2] == Gate("g")


def test_a_status_replaces_the_stream() -> None:
    line = Response(prompt="p", status=429, headers={"retry-after": "1"}, body={"e": 1})
    assert answer(line, FUNCTIONS) == Reply(429, {"e": 1}, (("retry-after", "1"),))
