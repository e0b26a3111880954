"""What a page is sent, and that it comes to the same as the turn."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic import events as ev
from codex_magic import items as it
from codex_magic.render import view
from codex_magic.render.html import html
from codex_magic.turn import Turn, advance

T = it.Text


class Shown:
    """What a page has: the same rules as the script's, in as few words as possible."""

    def __init__(self, operations: list[view.Operation]) -> None:
        self.turn: Any = None
        self.items: dict[str, Any] = {}
        self.texts: dict[str, tuple[int, str]] = {}
        self.take(operations)

    def take(self, operations: list[view.Operation]) -> None:
        for name, *rest in operations:
            getattr(self, f"_{name}")(*rest)

    def _turn(self, fields: Any) -> None:
        self.turn = fields

    def _item(self, facts: Any) -> None:
        was = self.items.get(facts["id"], facts)
        if was["kind"] != facts["kind"]:
            self.texts.pop(facts["id"], None)
        self.items[facts["id"]] = facts

    def _text(self, item_id: str, offset: int, end: int, text: str, gap: bool) -> None:
        length, shown = (offset, "") if gap else self.texts.get(item_id, (0, ""))
        assert (length, end) == (offset, offset + len(text))
        self.texts[item_id] = (end, shown + text)

    def __eq__(self, other: object) -> bool:
        return vars(self) == vars(other) if isinstance(other, Shown) else NotImplemented

    def __hash__(self) -> int:
        return 0


ids = st.sampled_from(["a", "b", "prompt"])
texts = st.text("ab\n😀", max_size=6)
some_items = st.one_of(
    st.builds(it.AgentMessage, id=ids, text=texts.map(T)),
    st.builds(it.Reasoning, id=ids, summary=texts.map(T), content=texts.map(T)),
    st.builds(it.CommandExecution, id=ids, command=texts, output=texts.map(T)),
    st.builds(it.ToolCall, id=ids, tool=texts, output=texts.map(T)),
    st.builds(it.Question, id=ids, question=texts, answer=texts),
    st.builds(it.UserMessage, id=ids, text=texts.map(T)),
    st.builds(it.Plan, id=ids, steps=st.just((it.PlanStep(text="x"),)), text=texts.map(T)),
)
some_events = st.one_of(
    st.builds(ev.ItemStarted, item=some_items),
    st.builds(ev.ItemCompleted, item=some_items),
    st.builds(ev.ItemDelta, item_id=ids, channel=st.sampled_from(["text", "output"]), text=texts),
    st.builds(ev.ApprovalRequested, item_id=ids),
    st.builds(ev.ApprovalDecided, item_id=ids, decision=st.just("accept")),
    st.builds(ev.Notice, text=texts),
    st.builds(ev.TurnCompleted, status=st.sampled_from(["completed", "failed", "interrupted"])),
)


@given(st.lists(some_events, max_size=12), st.sets(st.integers(0, 12)))
def test_updates_lead_where_the_whole_would(events: list[ev.Event], sent_at: set[int]) -> None:
    turn = sent = Turn()
    shown = Shown(view.whole(turn))
    for i, event in enumerate(events):
        turn = advance(turn, event)
        if i in sent_at:
            shown.take(view.update(sent, turn))
            sent = turn
    shown.take(view.update(sent, turn))
    assert vars(shown) == vars(Shown(view.whole(turn)))


@given(some_events)
def test_what_has_not_changed_is_not_sent(event: ev.Event) -> None:
    turn = advance(Turn(), event)
    assert view.update(turn, turn) == []


def said(*pieces: str) -> Turn:
    turn = advance(Turn(), ev.ItemStarted(it.AgentMessage(id="m")))
    for piece in pieces:
        turn = advance(turn, ev.ItemDelta("m", "text", piece))
    return turn


def test_a_text_that_has_grown_is_sent_from_where_it_was() -> None:
    turn = said("Hällo ")
    longer = advance(
        advance(turn, ev.ItemDelta("m", "text", "wör")), ev.ItemDelta("m", "text", "ld")
    )
    assert view.update(turn, longer) == [["text", "m", 6, 11, "wörld", False]]


def test_a_text_that_was_corrected_is_sent_anew() -> None:
    turn = said("Hallo")
    other = msgspec.structs.replace(
        turn, items=(it.AgentMessage(id="m", text=T("Goodbye"), status="in_progress"),)
    )
    assert view.update(turn, other) == [["text", "m", 0, 7, "Goodbye", True]]


def output(text: str) -> Turn:
    item = it.CommandExecution(id="c", command=("x",), output=T(text))
    return Turn(items=(item,))


@pytest.mark.parametrize(
    ("before", "after", "sent"),
    [
        (10, 20, (10, 20, False)),
        (10, 10 + view.FLOOD, (10, 10 + view.FLOOD, False)),
        (10, 5_000_000, (5_000_000 - view.FLOOD, 5_000_000, True)),
    ],
)
def test_of_a_flood_only_its_end_is_sent(
    before: int, after: int, sent: tuple[int, int, bool]
) -> None:
    old = output("x" * before)
    grown = advance(old, ev.ItemDelta("c", "output", "x" * (after - before)))
    [[_, _, offset, end, text, gap]] = view.update(old, grown)
    assert (offset, end, gap, len(text)) == (*sent, sent[1] - sent[0])


def test_an_item_that_becomes_another_kind_is_laid_out_anew() -> None:
    first = advance(Turn(), ev.ItemDelta("c", "output", "# no heading"))
    then = advance(first, ev.ItemStarted(it.CommandExecution(id="c", command=("x",))))
    [[_, facts], text] = view.update(first, then)
    assert (facts["kind"], text) == ("command", ["text", "c", 0, 12, "# no heading", False])


def test_a_turn_with_hundreds_of_long_outputs_can_be_sent_whole() -> None:
    long = [
        it.CommandExecution(id=f"c{i}", command="x", status="completed", output=T("x" * 60_000))
        for i in range(200)
    ]
    sent = view.whole(Turn(items=tuple(long)))
    assert sum(len(text[4]) for text in sent if text[0] == "text") == 200 * view.FINISHED


def test_whoever_comes_late_gets_the_end_of_a_long_output() -> None:
    *_, [_, _, offset, end, text, gap] = view.whole(output("x" * 1_000_000))
    assert (offset, end, gap) == (1_000_000 - view.WINDOW, 1_000_000, True)
    assert len(text) == view.WINDOW


def test_the_facts_of_a_command_are_words_already() -> None:
    receipt = it.Receipt(level="full", mode="workspace-write", duration_s=0.5, created=("/w/a",))
    item = it.CommandExecution(
        id="c",
        command=("ls", "a\u202eb"),
        cwd="/w",
        reason="to see",
        asked=("use the network",),
        decision="accept by person",
        status="completed",
        outcome="exit",
        exit_code=1,
        receipt=receipt,
    )
    _, (_, facts) = view.whole(Turn(items=(item,)))
    assert facts == {
        "id": "c",
        "kind": "command",
        "status": "completed",
        "head": "ls 'a\\u202eb'",
        "inside": "",
        "good": False,
        "asked": False,
        "ending": "exit 1 · 500 ms · sandbox full",
        "notes": ["to see", "asked to use the network: accept by person"],
        "found": ["made a"],
    }


# --- where the host draws no Markdown --------------------------------------------------------


def test_only_what_is_finished_is_drawn_and_only_once() -> None:
    turn = said("a **b**")
    done = advance(
        turn, ev.ItemCompleted(it.AgentMessage(id="m", status="completed", text=T("a **b**")))
    )
    drawn = [["html", "m", "<p>a <strong>b</strong></p>\n"]]
    assert [view.drawn(None, turn), view.drawn(turn, done), view.drawn(done, done)] == [
        [],
        drawn,
        [],
    ]


HOSTILE = {
    "<img src=x onerror=alert(1)>": "<p>&lt;img src=x onerror=alert(1)&gt;</p>\n",
    "![a](http://e.org/x.png)": '<p>!<a href="http://e.org/x.png">a</a></p>\n',
    "[a](javascript:alert(1))": "<p>[a](javascript:alert(1))</p>\n",
    "`<b>`": "<p><code>&lt;b&gt;</code></p>\n",
}


@pytest.mark.parametrize("text", HOSTILE)
def test_drawn_markdown_fetches_nothing_and_runs_nothing(text: str) -> None:
    assert html(text) == HOSTILE[text]
