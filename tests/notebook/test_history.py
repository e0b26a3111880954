"""Turns as a tree, and their text for a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.notebook import history
from codex_magic.notebook.records import Kept
from codex_magic.policy import SandboxPolicy
from codex_magic.turn import Image, TurnRequest


def kept(turn_id: str, parent: str = "", thread: str = "a", **fields: Any) -> Kept:
    return Kept(id=turn_id, parent=parent, thread_id=thread, **fields)


def line(turns: list[Kept], last: str) -> list[str]:
    return [turn.id for turn in history.line(turns, last)]


TREE = [
    kept("1"),
    kept("2", "1"),
    kept("3", "2"),
    kept("2b", "1", "b"),
    kept("3b", "2b", "b"),
]


def test_a_line_follows_the_turns_before() -> None:
    assert line(TREE, "3") == ["1", "2", "3"]
    assert line(TREE, "3b") == ["1", "2b", "3b"]
    assert line(TREE, "none") == []


def test_a_turn_that_was_cleared_is_stepped_over_in_its_thread() -> None:
    assert line([TREE[0], TREE[2]], "3") == ["1", "3"]
    assert line([TREE[3]], "2b") == ["2b"]
    # So are turns from before there were parents.
    assert line([kept("1"), kept("2"), kept("x", thread="b"), kept("3")], "3") == ["1", "2", "3"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abcde"), st.sampled_from("abcde")), unique_by=lambda p: p[0]
    )
)
def test_rings_end(pairs: list[tuple[str, str]]) -> None:
    turns = [kept(turn_id, parent) for turn_id, parent in pairs]
    for turn in turns:
        found = line(turns, turn.id)
        assert found[-1] == turn.id
        assert len(found) == len(set(found))


def said(*texts: str) -> Kept:
    pairs = tuple((("user", "agent")[n % 2], text) for n, text in enumerate(texts))
    return kept("t", said=pairs)


def read(transcript: str) -> list[Any]:
    return [json.loads(each) for each in transcript.split("\n")[1:] if each.startswith("{")]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=8))
def test_nothing_that_was_said_leaves_its_line(texts: list[str]) -> None:
    names = ("person", "codex")
    found = read(history.transcript([said(*texts)]).text)
    assert found == [{names[n % 2]: text} for n, text in enumerate(texts)]


def test_a_transcript_has_an_end() -> None:
    turn = said("old", "x" * 100_000, *(["y" * 8000, "z"] * 20), "new")
    long = history.transcript([turn])
    assert len(long.text) < history.TRANSCRIPT_BYTES + len(history.HEADING) + 100
    found = read(long.text)
    assert found[-1] == {"person": "new"}
    assert long.left_out == len(turn.said) - len(found) > 0
    assert long.text.split("\n")[1] == f"(the first {long.left_out} messages are left out)"
    cut = read(history.transcript([said("x" * 10_000)]).text)
    assert cut == [{"person": "x" * history.MESSAGE_CHARS, "cut": True}]


def test_it_is_counted_in_bytes_and_its_lines_are_lines() -> None:
    wide = history.transcript([said(*(["\u8a9e" * 8000] * 9))])
    assert len(wide.text.encode()) < history.TRANSCRIPT_BYTES + len(history.HEADING) + 100
    broken = history.transcript([said("a\u2028b\x85c\u2029d\x0be\x1cf")])
    assert len(broken.text.splitlines()) == 2
    assert read(broken.text) == [{"person": "a\u2028b\x85c\u2029d\x0be\x1cf"}]


def test_nothing_said_is_no_transcript() -> None:
    assert history.transcript([]) == history.transcript([kept("1")]) == history.Transcript()


def request(folder: str = "/work", **fields: Any) -> TurnRequest:
    mode = fields.pop("mode", "workspace-write")
    network = fields.pop("network", False)
    policy = SandboxPolicy(mode=mode, workspace=Path(folder), network=network)
    return TurnRequest(**{"prompt": "p", "policy": policy} | fields)


def test_inputs_are_the_same_elsewhere() -> None:
    assert history.inputs(request("/a", names=("x",)), "b") == history.inputs(request("/b"), "b")


@pytest.mark.parametrize(
    "other",
    [
        {"prompt": "q"},
        {"model": "m"},
        {"effort": "low"},
        {"thread": "t"},
        {"mode": "read-only"},
        {"network": True},
        {"approval": "never"},
        {"summary": "detailed"},
        {"schema": {}},
        {"images": (Image("a", "data:,"),)},
    ],
)
def test_inputs_are_others(other: dict[str, Any]) -> None:
    assert history.inputs(request(**other), "") != history.inputs(request(), "")
    assert history.inputs(request(), "") != history.inputs(request(), "before")


def test_inputs_know_an_image_by_what_is_in_it_and_a_schema_by_what_it_says() -> None:
    made = [
        request(),
        request(images=(Image("a", "data:,1"),)),
        request(images=(Image("a", "data:,2"),)),
        request(images=(Image("b", "data:,1"),)),
        request(images=(Image("a", "data:,1"), Image("b", "data:,2"))),
        request(schema={"type": "object"}),
        request(schema={"type": "array"}),
    ]
    assert len({history.inputs(each, "") for each in made}) == len(made)


def test_inputs_without_any_are_those_that_notebooks_keep_already() -> None:
    assert history.inputs(request(), "before") == "ccf1603200ea42b94398c2ae125974f6"
