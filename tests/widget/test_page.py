"""The page with a widget on it: what is sent when, and whose word counts."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import events as ev
from codex_magic.approval import Answer, ApprovalRequest, QuestionRequest
from codex_magic.items import AgentMessage, CommandExecution
from codex_magic.policy import Decision, Grant, SandboxPolicy
from codex_magic.tools.notebook import NoPageError
from codex_magic.turn import MIME, Turn, advance
from codex_magic.widget.page import HELLO_S, INTERVAL_S, WIDGET, WidgetPage

if TYPE_CHECKING:
    from collections.abc import Callable

REQUEST = ApprovalRequest("ls", "/w", "to see", ("use the network",), "read-only", item_id="c")
GRANT = Grant(("ls",), Path("/w"), SandboxPolicy(workspace=Path("/w"), network=True))


@dataclass
class Door:
    """A way in and out that a test holds in its hands."""

    sent: list[dict[str, Any]] = field(default_factory=list)
    receive: Callable[[Any, Any], None] | None = None
    pumps: int = 0

    def open(self, comm_id: str, receive: Callable[[Any, Any], None]) -> None:
        self.receive = receive

    def pump(self) -> None:
        self.pumps += 1

    def send(self, comm_id: str, content: dict[str, Any]) -> None:
        self.sent.append(content)

    def close(self) -> None:
        self.receive = None


class Asked:
    """Who is asked where there are no widgets."""

    def ask(self, request: object) -> Answer:
        return Answer(Decision.DECLINE, "stdin")


class Stage:
    """A page, its front end, and the time they live in."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.door = Door()
        self.published: list[tuple[dict[str, Any], bool]] = []
        self.reported: list[ev.Event] = []
        self.dropped: list[tuple[list[str], Any]] = []
        self.page = WidgetPage(
            lambda bundle, replaces: self.published.append((bundle, replaces)),
            self.door,
            otherwise=Asked(),
            drop=lambda cells, sent: self.dropped.append((list(cells), sent)),
            clock=lambda: self.now,
            **options,
        )
        self.page.open(self.reported.append)
        self.turn = advance(Turn(), ev.TurnStarted("t"))

    def fold(self, *events: ev.Event) -> None:
        for event in events:
            self.turn = advance(self.turn, event)
        self.page.show(self.turn)

    def person(self, **content: Any) -> None:
        assert self.door.receive is not None
        self.door.receive(content, "2026-01-01T00:00:00+00:00")

    def greet(self) -> None:
        self.fold()
        self.person(k="hello", markdown=True)
        self.fold()
        self.door.sent.clear()

    def ask(self, request: ApprovalRequest | QuestionRequest = REQUEST) -> str:
        command = CommandExecution(id="c", command=("ls",))
        self.fold(ev.ItemStarted(command), ev.ApprovalRequested("c"))
        self.door.sent.clear()
        assert self.page.ask(request) is None
        [[[_, own]]] = [sent["ops"] for sent in self.door.sent]
        return str(own["card"]["key"])


@pytest.fixture
def stage() -> Stage:
    return Stage()


@pytest.fixture
def greeted(stage: Stage) -> Stage:
    stage.greet()
    return stage


def words(count: int) -> list[ev.Event]:
    return [ev.ItemDelta("m", "text", f"w{i} ") for i in range(count)]


MESSAGE = ev.ItemStarted(AgentMessage(id="m"))


# --- sending ---------------------------------------------------------------------------------


def test_nothing_is_sent_before_the_page_says_hello(stage: Stage) -> None:
    stage.fold(MESSAGE, *words(3))
    assert stage.door.sent == []
    [(bundle, replaces)] = stage.published
    assert (set(bundle), replaces) == ({WIDGET, "text/plain"}, False)


def test_a_hello_is_answered_with_all_there_is(stage: Stage) -> None:
    stage.fold(MESSAGE, *words(3))
    stage.person(k="hello", markdown=True)
    stage.page.show(stage.turn)
    [message] = stage.door.sent
    assert [operation[0] for operation in message["all"]] == ["page", "turn", "item", "text"]
    assert message["all"][-1] == ["text", "m", 0, 9, "w0 w1 w2 ", False]


def test_the_first_word_goes_at_once_and_the_others_together(greeted: Stage) -> None:
    greeted.fold(MESSAGE, *words(1))
    for event in words(5):
        greeted.fold(event)
    greeted.now += INTERVAL_S
    greeted.page.show(greeted.turn)
    first, second = greeted.door.sent
    assert first["ops"][-1] == ["text", "m", 0, 3, "w0 ", False]
    assert second["ops"] == [["text", "m", 3, 18, "w0 w1 w2 w3 w4 ", False]]
    assert second["n"] == first["n"] + 1


def test_what_finishes_an_item_goes_at_once(greeted: Stage) -> None:
    greeted.fold(MESSAGE, *words(1))
    done = AgentMessage(id="m", status="completed")
    greeted.fold(*words(1), ev.ItemCompleted(done))
    assert greeted.door.sent[-1]["ops"][-1] == ["text", "m", 3, 6, "w0 ", False]


def test_bytes_are_linear_in_the_text(greeted: Stage) -> None:
    greeted.fold(MESSAGE)
    for event in words(2000):
        greeted.now += INTERVAL_S / 4
        greeted.fold(event)
    greeted.now += INTERVAL_S
    greeted.page.show(greeted.turn)
    size = len(json.dumps(greeted.door.sent))
    texts = [
        operation[4]
        for sent in greeted.door.sent
        for operation in sent["ops"]
        if operation[0] == "text"
    ]
    assert "".join(texts) == "".join(f"w{i} " for i in range(2000))
    # Each word once, and a hundred bytes for each message that brings some.
    assert size <= sum(map(len, texts)) + 100 * len(greeted.door.sent)


def test_a_long_text_is_sent_less_often(greeted: Stage) -> None:
    greeted.fold(MESSAGE)
    for event in words(1500):
        greeted.now += 0.002
        greeted.fold(event)
    texts = [sent for sent in greeted.door.sent if sent["ops"][-1][0] == "text"]
    # 30 in the first second, 20 in each of the two behind it.
    assert 65 <= len(texts) <= 72


def test_a_second_view_gets_all_and_the_numbers_go_on(greeted: Stage) -> None:
    greeted.fold(MESSAGE, *words(1))
    number = greeted.door.sent[-1]["n"]
    greeted.person(k="hello", markdown=True)
    greeted.page.show(greeted.turn)
    assert greeted.door.sent[-1]["n"] == number
    assert "all" in greeted.door.sent[-1]


def test_what_waits_to_be_sent_when_a_second_view_comes_reaches_the_first_one_too(
    greeted: Stage,
) -> None:
    greeted.fold(MESSAGE, *words(1))
    number = greeted.door.sent[-1]["n"]
    greeted.fold(ev.Notice("look"), *words(1))  # not due yet
    greeted.person(k="hello", markdown=True)
    greeted.page.show(greeted.turn)
    update, everything = greeted.door.sent[-2:]
    assert [operation[0] for operation in update["ops"]] == ["turn", "text"]
    assert (update["n"], everything["n"]) == (number + 1, number + 1)


def test_a_card_that_is_decided_is_not_shown_to_a_second_view(greeted: Stage) -> None:
    greeted.ask()
    greeted.turn = advance(greeted.turn, ev.ApprovalDecided("c", "accept"))
    greeted.person(k="hello", markdown=True)
    greeted.page.show(greeted.turn)
    assert greeted.door.sent[-1]["all"][0][1]["card"] is None


def test_a_page_whose_host_draws_no_markdown_gets_it_drawn(stage: Stage) -> None:
    stage.fold()
    stage.person(k="hello", markdown=False)
    stage.fold(MESSAGE, ev.ItemDelta("m", "text", "a *b*"))
    stage.fold(ev.ItemCompleted(AgentMessage(id="m", status="completed")))
    drawn = [
        operation
        for sent in stage.door.sent
        for operation in sent.get("ops", ())
        if operation[0] == "html"
    ]
    assert drawn == [["html", "m", "<p>a <em>b</em></p>\n"]]


# --- the end, and pages that were away -------------------------------------------------------


def test_what_is_kept_takes_the_place_of_the_widget(greeted: Stage) -> None:
    greeted.fold(MESSAGE, *words(2))
    over = advance(advance(greeted.turn, words(1)[0]), ev.TurnCompleted("completed"))
    greeted.page.finish(over)
    assert ["text", "m", 6, 9, "w0 ", False] in greeted.door.sent[-1]["ops"]
    bundle, replaces = greeted.published[-1]
    assert (set(bundle), replaces) == ({"text/markdown", "text/plain", MIME}, True)
    assert greeted.door.receive is None


def test_a_turn_that_ends_before_anything_is_shown_is_kept_all_the_same(stage: Stage) -> None:
    stage.page.finish(advance(stage.turn, ev.TurnCompleted("failed")))
    assert [replaces for _, replaces in stage.published] == [False]


def test_the_state_is_the_turn_as_it_stands_with_secrets_masked() -> None:
    stage = Stage(secrets=frozenset({"swordfish1"}))
    stage.fold(MESSAGE, ev.ItemDelta("m", "text", "it is swordfish1"))
    widget = stage.page.widget
    assert widget is not None
    running = widget.get_state()["snapshot"]
    assert running["all"][-1] == ["text", "m", 0, 18, "it is ***masked***", False]
    assert running["kept"] is None
    stage.page.finish(advance(stage.turn, ev.TurnCompleted("completed")))
    over = widget.get_state()["snapshot"]
    assert over["kept"] == stage.published[-1][0]
    assert over["all"][0][1]["widget"] == widget.model_id


def test_a_card_in_the_state_is_masked_and_can_still_be_answered() -> None:
    stage = Stage(secrets=frozenset({"swordfish1"}))
    stage.greet()
    key = stage.ask(ApprovalRequest("curl -H swordfish1", "/w", "", (), "read-only", item_id="c"))
    assert stage.page.widget is not None
    state = stage.page.widget.get_state()["snapshot"]
    card = state["all"][0][1]["card"]
    assert (card["key"], card["command"]) == (key, "curl -H ***masked***")


@pytest.mark.parametrize("broken", ["publish", "send"])
def test_messages_are_left_alone_again_whatever_goes_wrong_at_the_end(
    greeted: Stage, broken: str
) -> None:
    def fail(*_arguments: object) -> None:
        raise OSError("the socket is closed")

    greeted.fold(MESSAGE, *words(1))
    if broken == "send":
        greeted.door.send = fail  # type: ignore[method-assign]
        greeted.page.finish(advance(greeted.turn, ev.TurnCompleted("completed")))
        assert MIME in greeted.published[-1][0]
    else:
        greeted.page._publish = fail
        with pytest.raises(OSError, match="closed"):
            greeted.page.finish(advance(greeted.turn, ev.TurnCompleted("completed")))
    assert greeted.door.receive is None


# --- front ends without widgets --------------------------------------------------------------


def test_where_nobody_says_hello_the_output_is_replaced_as_the_turn_goes_on(stage: Stage) -> None:
    stage.fold(MESSAGE, *words(1))
    stage.now += HELLO_S + 0.1
    stage.fold(*words(1))
    assert stage.published[-1][1] is True
    assert stage.published[-1][0]["text/markdown"] == "w0 w0 "
    assert (stage.page.greeted, stage.page.gave_up) == (False, True)
    stage.page.finish(advance(stage.turn, ev.TurnCompleted("completed")))
    assert MIME in stage.published[-1][0]


def test_where_nobody_says_hello_the_person_is_asked_otherwise(stage: Stage) -> None:
    stage.fold(ev.ItemStarted(CommandExecution(id="c", command=("ls",))), ev.ApprovalRequested("c"))
    stage.now += HELLO_S + 0.1
    assert stage.page.ask(REQUEST) == Answer(Decision.DECLINE, "stdin")


# --- what a person does ----------------------------------------------------------------------


def test_a_card_says_all_and_hides_nothing(greeted: Stage) -> None:
    hostile = ApprovalRequest(
        "ls\u202e\u200b",
        "/w",
        "why\x1b[2J",
        ("write in /x",),
        "read-only",
        item_id="c",
        grant=GRANT,
    )
    greeted.ask(hostile)
    [[[_, own]]] = [sent["ops"] for sent in greeted.door.sent]
    card = {name: value for name, value in own["card"].items() if name != "key"}
    assert card == {
        "kind": "approval",
        "title": "Codex wants to run",
        "command": "ls\\u202e\\u200b",
        "facts": [
            "in /w, sandbox read-only, no network",
            "It asks to write in /x.",
            "Its reason: why\\x1b[2J",
        ],
        "grant": (
            "exactly this command, in /w, sandbox workspace-write, with network, "
            "whatever the files it names say by then, until this kernel ends"
        ),
    }


DECISIONS = [
    ({"decision": "accept"}, ("accept", "")),
    ({"decision": "accept_for_session"}, ("accept_for_session", "")),
    ({"decision": "decline", "reason": " not now "}, ("decline", "not now")),
    ({"decision": "decline", "reason": 7}, ("decline", "")),
    ({"decision": "decline", "reason": "cut \ud83d"}, ("decline", "cut \ufffd")),
    ({"decision": "cancel"}, ("cancel", "")),
]


@pytest.mark.parametrize(("said", "decided"), DECISIONS)
def test_a_decision_is_reported(greeted: Stage, said: Any, decided: tuple[str, str]) -> None:
    key = greeted.ask()
    greeted.person(k="decide", key=key, **said)
    decision, reason = decided
    assert greeted.reported == [ev.ApprovalDecided("c", decision, "person", reason)]


def test_a_card_that_is_answered_twice_is_answered_once(greeted: Stage) -> None:
    key = greeted.ask()
    for decision in ("decline", "accept", "accept"):
        greeted.person(k="decide", key=key, decision=decision)
    assert [type(event).__name__ for event in greeted.reported] == ["ApprovalDecided"]


NOT_AN_ANSWER = [
    {"k": "decide", "decision": "accept"},
    {"k": "decide", "decision": "accept", "key": "0" * 32},
    {"k": "decide", "decision": "accept", "key": None},
    {"k": "decide", "decision": "allow", "key": "its own"},
    {"k": "decide", "decision": ["accept"], "key": "its own"},
    {"k": "answer", "text": "yes", "key": "its own"},
    {"k": "answer", "option": 0, "key": "its own"},
    {"k": "something newer"},
    {"k": ["hello"]},
    {},
]


@pytest.mark.parametrize("content", NOT_AN_ANSWER)
def test_what_is_no_answer_to_the_card_does_nothing(greeted: Stage, content: Any) -> None:
    key = greeted.ask()
    greeted.person(**{**content, "key": key} if content.get("key") == "its own" else content)
    assert greeted.reported == []
    greeted.person(k="decide", key=key, decision="accept")
    assert len(greeted.reported) == 1


@pytest.mark.parametrize("content", [None, 3, "accept", ["accept"]])
def test_a_message_of_another_shape_is_nothing(greeted: Stage, content: Any) -> None:
    greeted.ask()
    assert greeted.door.receive is not None
    greeted.door.receive(content, None)
    assert greeted.reported == []


def test_the_card_goes_when_the_question_is_settled_elsewhere(greeted: Stage) -> None:
    key = greeted.ask()
    greeted.fold(ev.TurnCompleted("completed"))
    name, own = greeted.door.sent[-1]["ops"][-1]
    assert (name, own["card"]) == ("page", None)
    greeted.person(k="decide", key=key, decision="accept")
    assert greeted.reported == []


QUESTION = QuestionRequest("Which?", ("one", "two\u200b"), "c")


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ({"text": " a third "}, "a third"),
        ({"option": 1}, "two\u200b"),
        ({"option": 9, "text": "x"}, "x"),
    ],
)
def test_a_question_is_answered_in_words_or_by_an_option(
    greeted: Stage, said: Any, answer: str
) -> None:
    key = greeted.ask(QUESTION)
    greeted.person(k="answer", key=key, **said)
    greeted.person(k="answer", key=key, text="again")
    assert greeted.reported == [ev.QuestionAnswered("c", answer, "person")]


@pytest.mark.parametrize("said", [{"text": "  "}, {"option": -1}, {"option": True, "text": ""}, {}])
def test_an_empty_answer_leaves_the_question(greeted: Stage, said: Any) -> None:
    key = greeted.ask(QUESTION)
    greeted.person(k="answer", key=key, **said)
    greeted.person(k="answer", key=key, text="yes")
    assert greeted.reported == [ev.QuestionAnswered("c", "yes", "person")]


def test_stop_steer_and_drop_are_reported(greeted: Stage) -> None:
    greeted.person(k="steer", text=" look here ")
    greeted.person(k="steer", text="   ")
    greeted.person(k="stop", drop=["a", 7, "b"])
    assert greeted.reported == [ev.SteerRequested("look here"), ev.StopRequested()]
    assert greeted.dropped == [(["a", "b"], "2026-01-01T00:00:00+00:00")]


# --- the cells around it ---------------------------------------------------------------------


def test_what_is_wanted_of_cells_goes_with_the_next_update_and_its_answer_comes_back() -> None:
    stage = Stage(cell="here")
    stage.fold()
    stage.person(k="hello", markdown=True, page="p1", cells=True)
    stage.fold()
    number = stage.door.sent[-1]["n"]
    read: list[Any] = []
    stop = threading.Event()
    hand = threading.Thread(target=lambda: read.append(stage.page.cells.read(stop)), daemon=True)
    hand.start()
    while not (sent := stage.door.sent[-1]).get("ops"):
        stage.page.show(stage.turn)
    [[name, errand]] = sent["ops"]
    assert (sent["n"], name, errand["to"], errand["do"]) == (number + 1, "cells", "p1", "read")
    # A page that is told all anew is told of it too, and none of it is kept.
    stage.person(k="hello", markdown=True, page="p1", cells=True)
    stage.fold()
    assert stage.door.sent[-1]["ops"][0][1]["key"] == errand["key"]
    assert stage.page.widget is not None
    assert errand["key"] not in json.dumps(stage.page.widget.get_state())
    stage.person(k="cells", key=errand["key"], cells=[])
    hand.join(10)
    assert read == [[]]


def test_where_nobody_says_hello_there_are_no_cells(stage: Stage) -> None:
    stage.fold(MESSAGE, *words(1))
    stage.now += HELLO_S + 0.1
    stage.fold(*words(1))
    with pytest.raises(NoPageError):
        stage.page.cells.read(threading.Event())
