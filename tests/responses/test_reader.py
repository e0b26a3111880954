"""One response, read: events for whoever watches, items for the thread."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic import events as ev
from codex_magic.backends.responses.failures import Failure
from codex_magic.backends.responses.reader import IGNORED, Reader
from codex_magic.items import (
    AgentMessage,
    Compaction,
    Reasoning,
    Text,
    UnknownItem,
    WebSearch,
)

Json = dict[str, Any]


def message(text: str, **more: Any) -> Json:
    return {
        "type": "message",
        "role": "assistant",
        "id": "m",
        "content": [{"type": "output_text", "text": text}],
        **more,
    }


def added(place: int, item: Json) -> Json:
    return {"type": "response.output_item.added", "output_index": place, "item": item}


def done(place: int, item: Json) -> Json:
    return {"type": "response.output_item.done", "output_index": place, "item": item}


def delta(place: int, text: str, kind: str = "output_text") -> Json:
    return {"type": f"response.{kind}.delta", "item_id": "m", "output_index": place, "delta": text}


def completed(**response: Any) -> Json:
    return {"type": "response.completed", "response": {"output": [], **response}}


def read(*events: Json) -> tuple[Reader, list[ev.Event]]:
    reader = Reader("r")
    return reader, [found for event in events for found in reader.take(event)]


THINK: Json = {"type": "reasoning", "id": "t", "summary": []}


def test_a_whole_response() -> None:
    thought = {**THINK, "summary": [{"type": "summary_text", "text": "One."}] * 2}
    first = {"type": "response.reasoning_summary_part.added", "output_index": 0, "summary_index": 0}
    usage = {
        "input_tokens": 5,
        "input_tokens_details": {"cached_tokens": 2},
        "output_tokens": 3,
        "output_tokens_details": {"reasoning_tokens": 1},
    }
    reader, found = read(
        {"type": "response.created", "response": {}},
        added(0, THINK),
        first,
        delta(0, "One.", "reasoning_summary_text"),
        {**first, "summary_index": 1},
        delta(0, "One.", "reasoning_summary_text"),
        done(0, thought),
        added(1, message("", phase="final_answer")),
        delta(1, "He"),
        delta(1, "llo"),
        done(1, message("Hello", phase="final_answer")),
        completed(usage=usage),
    )
    assert found == [
        ev.ItemStarted(Reasoning(id="r.0")),
        ev.ItemDelta("r.0", "summary", "One."),
        ev.ItemDelta("r.0", "summary", "\n\n"),
        ev.ItemDelta("r.0", "summary", "One."),
        ev.ItemCompleted(Reasoning(id="r.0", status="completed", summary=Text("One.\n\nOne."))),
        ev.ItemStarted(AgentMessage(id="r.1", phase="final_answer")),
        ev.ItemDelta("r.1", "text", "He"),
        ev.ItemDelta("r.1", "text", "llo"),
        ev.ItemCompleted(
            AgentMessage(id="r.1", status="completed", text=Text("Hello"), phase="final_answer")
        ),
        ev.UsageUpdated(
            ev.Usage(
                input_tokens=5, cached_input_tokens=2, output_tokens=3, reasoning_output_tokens=1
            )
        ),
    ]
    assert reader.output == [thought, message("Hello", phase="final_answer")]
    assert (reader.is_over, reader.tokens, reader.calls) == (True, 8, [])


def test_the_output_is_in_the_hosts_order_and_calls_wait_in_it() -> None:
    one = {"type": "function_call", "call_id": "a", "name": "x", "arguments": "{}"}
    two = {"type": "function_call", "call_id": "b", "name": "y", "arguments": "{}"}
    reader, found = read(done(2, two), done(0, message("m")), done(1, one), completed())
    assert reader.output == [message("m"), one, two]
    assert [call.item for call in reader.calls] == [one, two]
    assert [type(event) for event in found] == [ev.ItemCompleted]


def test_items_may_stand_in_the_last_event_only() -> None:
    reader, found = read(completed(output=[message("late")]))
    assert reader.output == [message("late")]
    item = AgentMessage(id="r.0", status="completed", text=Text("late"))
    assert found == [ev.ItemCompleted(item)]


def test_what_was_finished_before_is_not_taken_twice() -> None:
    reader, found = read(
        done(0, message("once")), done(0, message("twice")), completed(output=[message("thrice")])
    )
    assert reader.output == [message("once")]
    assert len(found) == 1


def test_a_message_that_only_streamed_counts() -> None:
    reader, found = read(delta(0, "He"), delta(0, "llo"), completed())
    said = {"type": "output_text", "text": "Hello"}
    assert reader.output == [{"type": "message", "role": "assistant", "content": [said]}]
    assert [type(event).__name__ for event in found] == [
        "ItemStarted",
        "ItemDelta",
        "ItemDelta",
        "ItemCompleted",
    ]


def test_a_message_that_only_streamed_is_one_item() -> None:
    late = completed(output=[message("Hello")])
    bare = {"type": "response.output_text.delta", "item_id": "m", "delta": "Hello"}
    for events in ([delta(1, "Hello"), completed()], [bare, completed()], [bare, late]):
        _, found = read(*events)
        ids = {event.item.id for event in found if isinstance(event, ev.ItemCompleted)}
        assert len(ids) == 1, events
        assert ids == {event.item.id for event in found if isinstance(event, ev.ItemStarted)}


def test_hosts_that_count_no_places_are_read_by_their_ids() -> None:
    def bare(event: Json) -> Json:
        return {key: value for key, value in event.items() if key != "output_index"}

    events = [added(0, message("")), delta(0, "Hi"), done(0, message("Hi")), completed()]
    assert read(*map(bare, events))[1] == read(*events)[1]


def named(call_id: str, **more: Any) -> Json:
    return {"type": "function_call", "call_id": call_id, "name": "x", "arguments": "{}", **more}


def test_hosts_that_count_badly_lose_nothing() -> None:
    def bare(item: Json) -> Json:
        return {"type": "response.output_item.done", "item": item}

    orders = [
        [bare(named("a")), bare(named("b"))],
        [done(0, named("a", id="1")), done(0, named("b", id="2"))],
        [done(0, named("a")), done(0, named("b"))],
        [done(0, named("a")), completed(output=[named("a"), named("b")])],
        [done(0, named("a")), completed(output=[message("m"), named("b")])],
    ]
    for events in orders:
        reader, _ = read(*events)
        asked = [call.item["call_id"] for call in reader.calls]
        assert asked == ["a", "b"], events


def test_one_call_said_twice_is_one() -> None:
    reader, _ = read(done(0, named("a")), done(1, named("a")))
    assert [call.item["call_id"] for call in reader.calls] == ["a"]
    assert reader.history == [named("a")]


def test_what_a_host_would_refuse_is_not_sent_again() -> None:
    search = {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "q"}}
    odd = {"type": "web_search_call", "id": "v", "action": {"type": "other"}}
    reader, found = read(done(0, search), done(1, odd), done(2, named("")), done(3, named("a")))
    assert reader.history == [search, named("a")]
    assert len(reader.output) == 4
    assert [call.item for call in reader.calls] == [named("a")]
    assert reader.lost is not None
    assert "without a call_id" in reader.lost.message
    assert len(found) == 2


def test_what_breaks_off_ends_as_interrupted() -> None:
    reader, _ = read(
        added(0, THINK), done(0, THINK), added(1, message("")), delta(1, "So far"), delta(2, "x")
    )
    assert reader.closing() == [
        ev.ItemCompleted(AgentMessage(id="r.1", status="interrupted")),
        ev.ItemCompleted(AgentMessage(id="r.2", status="interrupted")),
    ]
    assert reader.closing() == []
    assert not reader.is_over


KINDS: list[tuple[Json, Any]] = [
    (
        {"type": "web_search_call", "id": "w", "action": {"type": "search", "query": "owls"}},
        WebSearch(id="r.0", status="completed", query="owls"),
    ),
    (
        {"type": "web_search_call", "action": {"type": "search", "queries": ["a", "b"]}},
        WebSearch(id="r.0", status="completed", query="a · b"),
    ),
    (
        {"type": "web_search_call", "action": {"type": "open_page", "url": "https://x.org"}},
        WebSearch(id="r.0", status="completed", query="https://x.org"),
    ),
    ({"type": "web_search_call"}, WebSearch(id="r.0", status="completed")),
    ({"type": "compaction", "encrypted_content": "e"}, Compaction(id="r.0", status="completed")),
    (
        {"type": "message", "content": [{"type": "refusal", "refusal": "I will not."}]},
        AgentMessage(id="r.0", status="completed", text=Text("I will not."), refused=True),
    ),
    (
        {"type": "message", "content": "plain"},
        AgentMessage(id="r.0", status="completed", text=Text("plain")),
    ),
    (
        {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "raw"}]},
        Reasoning(id="r.0", status="completed", content=Text("raw")),
    ),
    (
        {"type": "novelty", "id": "n", "a": 1},
        UnknownItem(id="r.0", status="completed", kind="novelty", data={"type": "novelty", "a": 1}),
    ),
]


@pytest.mark.parametrize(("raw", "item"), KINDS)
def test_every_kind_of_item(raw: Json, item: Any) -> None:
    reader, found = read(done(0, raw))
    assert found == [ev.ItemCompleted(item)]
    assert reader.output == [raw]


@pytest.mark.parametrize("kind", sorted(IGNORED))
def test_what_says_nothing_new_is_no_event(kind: str) -> None:
    assert read({"type": kind})[1] == []


STRANGE: list[Json] = [
    {"type": "response.novelty", "a": 1},
    {"type": "response.output_item.done", "output_index": 0},
    {"type": "response.output_item.added", "output_index": 0, "item": [1]},
    {"type": "response.output_text.delta", "output_index": 0, "delta": 7},
    {"type": "response.output_text.delta", "output_index": 0},
    {"type": "response.reasoning_summary_part.added", "output_index": 0},
    {"no": "type"},
]


@pytest.mark.parametrize("event", STRANGE)
def test_what_nobody_knows_is_reported_as_such(event: Json) -> None:
    reader, found = read(event)
    assert found == [ev.UnknownEvent(str(event.get("type")), event)]
    assert reader.output == []


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.failed", "response": {"error": {"code": "x", "message": "no"}}},
        {"type": "response.incomplete", "response": {"incomplete_details": {"reason": "x"}}},
        {"type": "error", "message": "no"},
        {"type": "error", "error": {"message": "no"}, "status": 400},
    ],
)
def test_a_failure_is_raised(event: Json) -> None:
    with pytest.raises(Failure):
        read(event)


some_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
names = st.sampled_from(
    [
        "response.output_item.added",
        "response.output_item.done",
        "response.output_text.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_part.added",
        "response.completed",
    ]
)
fields = st.sampled_from(["item", "output_index", "delta", "item_id", "response", "summary_index"])


@given(st.lists(st.tuples(names, st.dictionaries(fields, some_json, max_size=4)), max_size=6))
def test_no_shape_breaks_it(events: list[tuple[str, Json]]) -> None:
    reader = Reader("r")
    for name, event in events:
        for found in reader.take({**event, "type": name}):
            assert isinstance(found, ev.Event)
    assert all(isinstance(found, ev.ItemCompleted) for found in reader.closing())
