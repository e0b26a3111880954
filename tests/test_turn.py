from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any, get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic import events as ev
from codex_magic import items as it
from codex_magic.errors import RecordError
from codex_magic.policy import SandboxPolicy
from codex_magic.turn import Image, Turn, TurnRequest, advance, from_json, opening, to_json

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# --- anything that can happen ----------------------------------------------------------------

any_text = st.text(max_size=12)
with_halves = st.text(st.characters(exclude_categories=()), max_size=12)
"""Text as Python can hold it: also halves of characters, which no encoding can."""

some_id = st.sampled_from(["a", "b", "plan"])
channels = st.sampled_from(["text", "summary", "content", "output", "draft", "sound"])
grown = st.lists(any_text, max_size=3).map(lambda pieces: it.Text(*pieces))
numbers = st.floats(0, 1e9)
some_json = st.recursive(
    st.none() | st.booleans() | st.integers() | any_text,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(any_text, inner, max_size=2),
    max_leaves=4,
)


def values(kind: type[Any], **known: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Any value of `kind`; each field is the strategy named here, or one for its type."""
    by_type = {it.Text: grown, str: any_text, float: numbers, int: st.integers(0, 10**12)}
    chosen = {
        field.name: known.get(field.name, st.from_type(field.type))
        if field.type not in by_type
        else known.get(field.name, by_type[field.type])
        for field in msgspec.structs.fields(kind)
    }
    return st.builds(kind, **chosen)


receipts = values(it.Receipt)
steps = st.lists(values(it.PlanStep), max_size=2).map(tuple)
ITEMS = {
    it.UserMessage: {"images": st.lists(any_text, max_size=2).map(tuple)},
    it.AgentMessage: {},
    it.Reasoning: {},
    it.CommandExecution: {
        "command": any_text | st.lists(any_text, max_size=3).map(tuple),
        "exit_code": st.none() | st.integers(0, 255),
        "asked": st.lists(any_text, max_size=2).map(tuple),
        "decision": st.none() | any_text,
        "receipt": st.none() | receipts,
    },
    it.FileChange: {
        "changes": st.lists(values(it.Change), max_size=2).map(tuple),
        "asked": st.lists(any_text, max_size=2).map(tuple),
        "decision": st.none() | any_text,
        "receipt": st.none() | receipts,
    },
    it.ToolCall: {},
    it.Question: {"options": st.lists(any_text, max_size=2).map(tuple)},
    it.Plan: {"steps": steps},
    it.Compaction: {},
    it.WebSearch: {},
    it.UnknownItem: {"data": st.dictionaries(any_text, some_json, max_size=2)},
}
any_item = st.one_of([values(kind, **known, id=some_id) for kind, known in ITEMS.items()])
usages = values(ev.Usage)
errors = st.none() | values(ev.TurnError)
times = st.none() | numbers
EVENTS = {
    ev.ThreadStarted: {},
    ev.TurnStarted: {"at": times},
    ev.ItemStarted: {"item": any_item},
    ev.ItemDelta: {"item_id": some_id, "channel": channels},
    ev.ItemCompleted: {"item": any_item},
    ev.ToolCallRequested: {
        "request_id": some_json,
        "call_id": some_id,
        "arguments": some_json | with_halves | st.just(object()),
    },
    ev.ApprovalRequested: {"item_id": some_id, "asks": st.just(("write",))},
    ev.ApprovalDecided: {"item_id": some_id},
    ev.QuestionAsked: {"item_id": some_id},
    ev.QuestionAnswered: {"item_id": some_id},
    ev.StopRequested: {},
    ev.SteerRequested: {},
    ev.UsageUpdated: {"usage": usages},
    ev.PlanUpdated: {"steps": steps},
    ev.Notice: {},
    ev.TurnCompleted: {"error": errors, "at": times},
    ev.UnknownEvent: {"params": some_json},
}
any_event = st.one_of([values(kind, **known) for kind, known in EVENTS.items()])
any_events = st.lists(any_event, max_size=12)


def test_every_kind_of_event_and_item_is_among_those_tried() -> None:
    assert set(EVENTS) == set(get_args(ev.Event))
    assert set(ITEMS) == set(get_args(it.Item)) == set(it.CHANNELS)


def fold(events: Iterable[ev.Event], turn: Turn | None = None) -> Turn:
    turn = turn or Turn()
    for event in events:
        turn = advance(turn, event)
    return turn


def said(event: ev.Event) -> list[str]:
    """Every text that `event` brings, by channel."""
    match event:
        case ev.ItemDelta():
            return [event.text]
        case ev.ItemStarted() | ev.ItemCompleted():
            kept = (*it.CHANNELS[type(event.item)], "draft")
            return [str(getattr(event.item, name)) for name in kept]
        case ev.PlanUpdated():
            return [event.explanation]
    return []


# --- laws of the fold ------------------------------------------------------------------------


@given(any_events)
def test_no_text_is_lost_whatever_comes_in_whatever_order(events: list[ev.Event]) -> None:
    """Each text can be read in one piece; a finished item may say the same as what streamed."""
    shown = it.texts(fold(events).items)
    assert [text for event in events for text in said(event) if text not in shown] == []


@given(any_events)
def test_an_item_has_one_place_and_keeps_it(events: list[ev.Event]) -> None:
    turn = Turn()
    for event in events:
        before = [item.id for item in turn.items]
        turn = advance(turn, event)
        after = [item.id for item in turn.items]
        assert after[: len(before)] == before
        assert len(set(after)) == len(after)


@given(any_events, st.lists(any_event, max_size=5))
def test_nothing_is_in_progress_once_the_turn_is_over(
    events: list[ev.Event], late: list[ev.Event]
) -> None:
    over = fold([*events, ev.TurnCompleted("completed")])
    later = fold((event for event in late if not isinstance(event, ev.TurnCompleted)), over)
    assert [item for item in later.items if item.status == "in_progress"] == []


GROWING = [
    (kind(id="a", **needed), channel)
    for kind, needed in (
        (it.AgentMessage, {}),
        (it.UserMessage, {}),
        (it.Reasoning, {}),
        (it.CommandExecution, {"command": ("ls",)}),
        (it.ToolCall, {"tool": "x"}),
        (it.Plan, {}),
        (it.UnknownItem, {}),
    )
    for channel in sorted(it.CHANNELS[kind])
]


def _named(part: it.Item | str) -> str:
    return part if isinstance(part, str) else type(part).__name__


@pytest.mark.parametrize(("item", "channel"), GROWING, ids=_named)
@given(pieces=st.lists(st.text(max_size=8), max_size=8))
def test_where_a_text_is_cut_makes_no_difference(
    item: it.Item, channel: str, pieces: list[str]
) -> None:
    whole = it.Text("".join(pieces))
    done = msgspec.structs.replace(item, status="completed", **{channel: whole})
    start, end = [ev.ItemStarted(item)], [ev.ItemCompleted(done)]
    streamed = [ev.ItemDelta("a", channel, piece) for piece in pieces]
    at_once = [ev.ItemDelta("a", channel, str(whole))]
    assert fold([*start, *streamed]) == fold([*start, *at_once])
    assert fold([*start, *streamed, *end]) == fold(end) == Turn(items=(done,))


@given(st.lists(st.text(max_size=8), min_size=1, max_size=8))
def test_text_that_comes_before_its_item_is_taken_over_by_it(pieces: list[str]) -> None:
    streamed = [ev.ItemDelta("a", "text", piece) for piece in pieces]
    turn = fold([*streamed, ev.ItemStarted(it.AgentMessage(id="a"))])
    assert turn.items == (it.AgentMessage(id="a", text=it.Text("".join(pieces))),)


# --- cases of the fold -----------------------------------------------------------------------

ASKED = it.CommandExecution(id="a", command="ls")
RAN = it.CommandExecution(id="a", command="ls", status="completed", output=it.Text("x"))
CASES: dict[str, tuple[list[ev.Event], Turn]] = {
    "a late start does not undo what is finished": (
        [ev.ItemCompleted(RAN), ev.ItemStarted(ASKED)],
        Turn(items=(RAN,)),
    ),
    "a finished text that differs from the streamed one leaves that as a draft": (
        [
            ev.ItemDelta("a", "text", "Helo"),
            ev.ItemCompleted(it.AgentMessage(id="a", text=it.Text("Hello"))),
        ],
        Turn(items=(it.AgentMessage(id="a", text=it.Text("Hello"), draft=it.Text("Helo")),)),
    ),
    "a finished item without its text keeps what streamed": (
        [
            ev.ItemStarted(it.AgentMessage(id="a")),
            ev.ItemDelta("a", "text", "Hello"),
            ev.ItemCompleted(it.AgentMessage(id="a", status="completed")),
        ],
        Turn(items=(it.AgentMessage(id="a", status="completed", text=it.Text("Hello")),)),
    ),
    "a channel that the kind does not have goes into the draft": (
        [ev.ItemStarted(ASKED), ev.ItemDelta("a", "smell", "hm")],
        Turn(items=(msgspec.structs.replace(ASKED, draft=it.Text("hm")),)),
    ),
    "a requested call is shown until its own item says more": (
        [ev.ToolCallRequested(1, "a", "shell", {"command": "ls"}), ev.ItemStarted(ASKED)],
        Turn(items=(ASKED,)),
    ),
    "a call shows its arguments as JSON": (
        [ev.ToolCallRequested(1, "a", "f", {"n": [1, None, "ü"]})],
        Turn(items=(it.ToolCall(id="a", tool="f", arguments='{"n":[1,null,"ü"]}'),)),
    ),
    "arguments that JSON cannot hold are shown as Python": (
        [ev.ToolCallRequested(1, "a", "f", "\ud800")],
        Turn(items=(it.ToolCall(id="a", tool="f", arguments="'\\ud800'"),)),
    ),
    "a plan replaces the plan before it": (
        [
            ev.PlanUpdated((it.PlanStep(text="look", status="in_progress"),)),
            ev.PlanUpdated((it.PlanStep(text="look", status="completed"),)),
        ],
        Turn(
            items=(
                it.Plan(
                    id="plan",
                    status="completed",
                    steps=(it.PlanStep(text="look", status="completed"),),
                ),
            )
        ),
    ),
    "tokens add up": (
        [ev.UsageUpdated(ev.Usage(input_tokens=1)), ev.UsageUpdated(ev.Usage(input_tokens=2))],
        Turn(usage=ev.Usage(input_tokens=3)),
    ),
    "an approval is waited for until it is decided": (
        [ev.ApprovalRequested("a"), ev.ApprovalDecided("a", "accept")],
        Turn(),
    ),
    "what nobody knows is counted": (
        [ev.UnknownEvent("x/y", {"z": 1}), ev.UnknownEvent("q"), ev.UnknownEvent("x/y")],
        Turn(unknown=(("x/y", 2), ("q", 1))),
    ),
    "what is open when the turn ends is interrupted": (
        [
            ev.ItemStarted(ASKED),
            ev.ApprovalRequested("a"),
            ev.TurnCompleted("failed", ev.TurnError(message="no"), 5.0),
        ],
        Turn(
            status="failed",
            error=ev.TurnError(message="no"),
            completed_at=5.0,
            items=(msgspec.structs.replace(ASKED, status="interrupted"),),
        ),
    ),
    "what finishes late says how it finished": (
        [ev.ItemStarted(ASKED), ev.TurnCompleted("completed"), ev.ItemCompleted(RAN)],
        Turn(status="completed", items=(RAN,)),
    ),
    "a model named later is the model": (
        [ev.ThreadStarted("t", "m"), ev.ThreadStarted("t")],
        Turn(thread_id="t", model="m"),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_advance(name: str) -> None:
    events, expected = CASES[name]
    assert fold(events) == expected


def message(text: str, phase: Any = None, **more: Any) -> it.AgentMessage:
    return it.AgentMessage(id=text, text=it.Text(text), phase=phase, **more)


@pytest.mark.parametrize(
    ("items", "answer"),
    [
        ((), ""),
        ((message("one"), message("two")), "two"),
        ((message("one", "final_answer"), message("two", "commentary")), "one"),
        ((message("", draft=it.Text("half an ans")),), "half an ans"),
    ],
)
def test_the_answer_is_the_last_final_message(items: tuple[it.Item, ...], answer: str) -> None:
    assert Turn(items=items).final_response == answer


def test_a_turn_opens_with_the_persons_words(tmp_path: Path) -> None:
    policy = SandboxPolicy(mode="read-only", workspace=tmp_path)
    request = TurnRequest(prompt="hi", policy=policy, thread="side", approval="never")
    assert opening(request, backend="b", tape="lesson") == Turn(
        prompt="hi",
        backend="b",
        thread_name="side",
        sandbox="read-only",
        approval="never",
        tape="lesson",
        items=(it.UserMessage(id="prompt", status="completed", text=it.Text("hi")),),
    )


def test_a_turn_opens_with_the_names_of_its_images_and_not_with_them(tmp_path: Path) -> None:
    policy = SandboxPolicy(mode="read-only", workspace=tmp_path)
    images = (Image("a.png", "data:image/png;base64,AAAA", (4, 3)), Image("https://b", "https://b"))
    request = TurnRequest(prompt="hi", policy=policy, images=images, schema={"type": "object"})
    turn = opening(request, backend="b")
    assert isinstance(turn.items[0], it.UserMessage)
    assert (turn.items[0].images, turn.structured) == (("a.png (4\u00d73)", "https://b"), True)
    assert [
        text for text in (repr(request), repr(turn), str(to_json(turn))) if "AAAA" in text
    ] == []


# --- values never change ---------------------------------------------------------------------


@given(any_events)
def test_advance_never_changes_what_it_is_given(events: list[ev.Event]) -> None:
    turn, seen = Turn(), []
    for event in events:
        seen.append((turn, it.texts(turn.items), to_json(turn)))
        turn = advance(turn, event)
    assert [(it.texts(t.items), to_json(t)) for t, _, _ in seen] == [(a, b) for _, a, b in seen]


@given(st.data())
def test_every_text_keeps_what_it_says_while_others_grow_from_it(data: st.DataObject) -> None:
    """Branches of branches, each beside the plain string that it must equal."""
    known = [(it.EMPTY, ""), (it.Text("a", "", "b"), "ab")]
    for piece in data.draw(st.lists(st.text(max_size=3), max_size=15)):
        text, plain = data.draw(st.sampled_from(known))
        known.append((text.plus(piece), plain + piece))
    assert [str(text) for text, _ in known] == [plain for _, plain in known]
    assert [bool(text) for text, _ in known] == [bool(plain) for _, plain in known]


def test_what_one_turn_says_does_not_stay_in_the_text_that_all_turns_begin_with() -> None:
    first = it.EMPTY.plus("one")
    assert (str(first), str(it.EMPTY.plus("two")), it.EMPTY._pieces) == ("one", "two", [])


def test_texts_are_equal_when_they_say_the_same() -> None:
    assert it.Text("a", "b") == it.Text("ab")
    assert {it.Text("a", "b")} == {it.Text("ab")}
    assert it.Text("ab") != "ab"
    assert repr(it.Text("a", "b")) == "Text('ab')"


# --- the stored form -------------------------------------------------------------------------


@given(any_events)
def test_a_stored_turn_is_read_back_as_it_was(events: list[ev.Event]) -> None:
    turn = fold(events)
    stored = to_json(turn)
    assert from_json(stored) == turn
    assert from_json(json.loads(json.dumps(stored))) == turn


@given(with_halves, with_halves)
def test_every_text_can_be_stored(one: str, other: str) -> None:
    """Also what no encoding can hold; it is stored with the missing halves marked."""
    turn = fold(
        [ev.ItemDelta("a", "text", one), ev.ItemStarted(it.ToolCall(id="b", tool=other))],
        Turn(prompt=one),
    )
    stored = json.dumps(to_json(turn), ensure_ascii=False).encode()
    assert from_json(json.loads(stored)).prompt == it.well_formed(one)


@pytest.mark.parametrize(
    ("text", "sound"),
    [("", ""), ("é😀", "é😀"), ("\ud83d\ude00", "😀"), ("a\ud800b", "a\ufffdb"), ("\x00", "\x00")],
)
def test_halves_of_characters_are_joined_or_marked(text: str, sound: str) -> None:
    assert it.well_formed(text) == sound


RICH = Turn(
    prompt="hi",
    status="completed",
    usage=ev.Usage(input_tokens=3),
    error=ev.TurnError(message="m"),
    notices=(ev.Notice("n"),),
    unknown=(("x", 1),),
    items=(
        it.UserMessage(id="u", text=it.Text("hi")),
        it.CommandExecution(
            id="c", command=("ls",), receipt=it.Receipt(level="full", mode="read-only")
        ),
        it.Plan(id="p", steps=(it.PlanStep(text="s"),)),
        it.FileChange(id="f", changes=(it.Change(path="a", kind="add"),)),
    ),
)
PLACES: list[tuple[str | int, ...]] = [
    (),
    ("usage",),
    ("error",),
    ("notices", 0),
    ("items", 0),
    ("items", 1),
    ("items", 1, "receipt"),
    ("items", 2, "steps", 0),
    ("items", 3, "changes", 0),
]


@pytest.mark.parametrize("place", PLACES, ids=str)
@given(value=some_json)
def test_fields_of_a_newer_version_survive(place: tuple[str | int, ...], value: Any) -> None:
    written = to_json(RICH)
    written["version"] = 7
    target = written
    for key in place:
        target = target[key]  # type: ignore[index]
    target["from_the_future"] = value
    read = from_json(copy.deepcopy(written))
    assert msgspec.structs.replace(read, newer={}, version=1) == RICH
    assert to_json(read) == written
    assert from_json(to_json(read)) == read


@given(st.dictionaries(st.text(max_size=5), some_json, max_size=3), st.integers(1, 3))
def test_an_item_of_a_newer_kind_is_kept_whole_in_its_place(
    extra: dict[str, Any], place: int
) -> None:
    newer = {**extra, "type": "hologram", "id": "h"}
    written = to_json(RICH)
    written["items"].insert(place, newer)
    read = from_json(written)
    assert read.items[place] == it.UnknownItem(id="h", kind="hologram", data=newer)
    assert (*read.items[:place], *read.items[place + 1 :]) == RICH.items
    assert from_json(to_json(read)) == read


def test_an_unknown_item_is_taken_for_what_it_is_once_its_kind_is_known() -> None:
    plan = {"type": "plan", "id": "p", "text": "look"}
    stored = {"type": "unknown", "id": "p", "kind": "plan", "data": plan}
    turn = from_json({"version": 1, "items": [stored, {**stored, "text": "more"}]})
    assert turn.items == (
        it.Plan(id="p", text=it.Text("look")),
        it.UnknownItem(id="p", kind="plan", data=plan, text=it.Text("more")),
    )


def test_a_known_kind_that_does_not_fit_is_kept_as_unknown() -> None:
    odd = {"type": "agent_message", "id": "m", "text": "hi", "phase": "rehearsal"}
    assert from_json({"version": 1, "items": [odd, 5]}).items == (
        it.UnknownItem(id="m", kind="agent_message", data=odd),
        it.UnknownItem(id="None", kind="None", data={"value": 5}),
    )


def test_what_is_read_can_go_on() -> None:
    written = to_json(RICH)
    written["items"][1]["receipt"]["joules"] = 4
    read = advance(from_json(written), ev.ItemDelta("late", "text", "more"))
    again = to_json(read)
    assert again["items"][1]["receipt"]["joules"] == 4
    assert again["items"][-1] == {
        "type": "unknown",
        "id": "late",
        "status": "interrupted",
        "text": "more",
    }


NOT_TURNS: list[Any] = [
    None,
    5,
    "turn",
    [],
    {},
    {"version": "1"},
    {"version": None},
    {"version": True},
    {"version": 1, "prompt": 5},
    {"version": 1, "items": 5},
    {"version": 1, "items": {"a": 1}},
    {"version": 1, "status": "asleep"},
    {"version": 1, "usage": {"input_tokens": "many"}},
]


@pytest.mark.parametrize("data", NOT_TURNS, ids=json.dumps)
def test_what_is_not_a_turn_is_refused(data: Any) -> None:
    with pytest.raises(
        RecordError, match=r"this (is not a stored turn|stored turn cannot be read)"
    ):
        from_json(data)


@given(some_json | st.dictionaries(st.sampled_from(["version", "items", "usage"]), some_json))
def test_reading_raises_nothing_else(data: Any) -> None:
    try:
        from_json(data)
    except RecordError:
        return
