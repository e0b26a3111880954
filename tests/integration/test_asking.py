"""Questions, grants, and answers that come while the turn goes on."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from codex_magic import events as ev
from codex_magic.approval import Answer, NobodyApprover, StdinApprover
from codex_magic.items import CommandExecution, Question
from codex_magic.policy import Decision
from codex_magic.testing import call, js, pause_at, say, tool_outputs
from codex_magic.tools.ask_user import AskUserTool

ALWAYS = Answer(Decision.ACCEPT_FOR_SESSION, "person")
ONCE = Answer(Decision.ACCEPT, "person")
ASK = call("ask_user", question="Which file?", options=["a.csv", "b.csv"])


class Later:
    """Who answers through the page, as a person does who clicks."""

    def __init__(self, *reports: Any) -> None:
        self.asked: list[Any] = []
        self._reports = list(reports)
        self.page: Any = None

    def ask(self, request: Any) -> None:
        self.asked.append(request)
        if self._reports:
            threading.Thread(target=self._answer, args=(request, self._reports.pop(0))).start()

    def _answer(self, request: Any, events: Any) -> None:
        for event in events(request.item_id):
            self.page.report(event)


def later(kernel: Any, *reports: Any) -> Later:
    person = Later(*reports)
    person.page = kernel.page
    return person


def items(turn: Any, kind: type) -> list[Any]:
    return [item for item in turn.items if isinstance(item, kind)]


def decided(*words: str, reason: str = "") -> Any:
    return lambda item_id: [ev.ApprovalDecided(item_id, word, "person", reason) for word in words]


# --- questions -------------------------------------------------------------------------------

PEOPLE = [
    (
        StdinApprover(lambda _prompt: "2"),
        ("completed", "b.csv", "person"),
        "answered\nanswer: b.csv",
    ),
    (StdinApprover(lambda _prompt: "x"), ("completed", "x", "person"), "answered\nanswer: x"),
    (
        NobodyApprover(),
        ("declined", "nobody can be asked here: decide yourself, and say what you assumed", ""),
        "no answer - nobody can be asked here: decide yourself, and say what you assumed",
    ),
]


@pytest.mark.parametrize(("person", "kept", "told"), PEOPLE)
def test_an_answer_reaches_the_model_and_stays_with_the_turn(
    stage: Any, shape: str, person: Any, kept: Any, told: str
) -> None:
    model = stage.model(ASK, say("Thanks."))
    turn = stage.kernel(model, shape, tools=[AskUserTool()]).ask(person=person)
    [asked] = items(turn, Question)
    assert (asked.status, asked.answer, asked.answered_by) == kept
    assert f"outcome: {told}" in tool_outputs(model.requests[-1])[-1]


def test_never_asks_no_question(stage: Any, shape: str) -> None:
    model = stage.model(ASK, say("Then I assume a.csv."))
    turn = stage.kernel(model, shape, tools=[AskUserTool()]).ask(approval="never")
    assert items(turn, Question)[0].status == "declined"
    assert "decide yourself" in tool_outputs(model.requests[-1])[-1]


BAD = [
    ({"question": " "}, "is empty"),
    ({"question": "q", "options": ["x"] * 9}, "too many"),
    ({}, "question"),
]


@pytest.mark.parametrize(("arguments", "why"), BAD)
def test_a_question_that_cannot_be_asked_is_refused(
    stage: Any, shape: str, arguments: Any, why: str
) -> None:
    model = stage.model(call("ask_user", **arguments), say("Hm."))
    turn = stage.kernel(model, shape, tools=[AskUserTool()]).ask()
    assert (turn.status, items(turn, Question)) == ("completed", [])
    told = tool_outputs(model.requests[-1])[-1]
    assert "outcome: refused" in told
    assert why in told


# --- grants ----------------------------------------------------------------------------------


def touch(name: str, **more: Any) -> Any:
    return call("shell", command=["touch", name], network=True, **more)


def test_what_is_allowed_for_the_notebook_is_not_asked_again(
    stage: Any, shape: str, people: Any
) -> None:
    person = people(ALWAYS)
    kernel = stage.kernel(stage.model(touch("a"), say("1"), touch("a"), say("2")), shape)
    first, second = kernel.ask(person=person), kernel.ask(person=person)
    said = [items(turn, CommandExecution)[0].decision for turn in (first, second)]
    assert said == ["accept_for_session by person", "accept_for_session by grant"]
    assert len(person.asked) == len(kernel.session.grants) == 1


OTHERS = {
    "other words": {"command": ["touch", "a", "b"]},
    "a string": {"command": "touch a"},
    "another folder": {"workdir": ".."},
    "more to write": {"paths": [".git"]},
}


@pytest.mark.parametrize("other", OTHERS)
def test_another_command_is_asked_about(stage: Any, people: Any, other: str) -> None:
    person = people(ALWAYS, Answer(Decision.DECLINE, "person", "no"))
    changed = call("shell", **{"command": ["touch", "a"], "network": True, **OTHERS[other]})
    kernel = stage.kernel(stage.model(touch("a"), say("1"), changed, say("2")), "gpt-5.5")
    kernel.ask(person=person)
    turn = kernel.ask(person=person)
    assert (len(person.asked), items(turn, CommandExecution)[0].status) == (2, "declined")


def test_without_a_sandbox_a_command_is_allowed_once_at_most(stage: Any, people: Any) -> None:
    bare = call("shell", command=["true"], unsandboxed=True)
    person = people(ONCE)
    stage.kernel(stage.model(bare, say("1")), "gpt-5.5").ask(person=person)
    assert [request.grant for request in person.asked] == [None]


# --- answers from the page -------------------------------------------------------------------


def test_while_a_card_waits_the_turn_goes_on(stage: Any) -> None:
    """A model in code mode goes on beside its call: what it says must not wait for the person."""
    script = (
        "// @exec: {\"yield_time_ms\": 300}\nawait tools.shell({command: ['true'], network: true});"
    )
    model = stage.model(js(script), [say("Meanwhile.", "commentary"), pause_at("end"), say("End.")])
    kernel = stage.kernel(model, "gpt-6.1-sol")
    person = later(kernel)

    def answer() -> None:
        kernel.page.report(ev.ApprovalDecided(person.asked[0].item_id, "decline", "person", "no"))
        model.gate("end").set()

    kernel.page.once(lambda turn: "Meanwhile." in str(turn.items), answer)
    turn = kernel.ask(person=person)
    assert items(turn, CommandExecution)[0].decision == "decline by person"
    assert turn.final_response == "End."


def test_two_calls_are_asked_about_one_after_the_other(stage: Any) -> None:
    script = (
        "await Promise.all(['a', 'b'].map((name) => "
        "tools.shell({command: ['touch', name], network: true})));"
    )
    kernel = stage.kernel(stage.model(js(script), say("Done.")), "gpt-6.1-sol")
    person = later(kernel, decided("accept"), decided("decline", reason="not b"))
    turn = kernel.ask(person=person)
    assert sorted(item.status for item in items(turn, CommandExecution)) == [
        "completed",
        "declined",
    ]
    assert len(person.asked) == 2


@pytest.mark.parametrize(
    "words", [("accept", "accept"), ("accept", "decline"), ("decline", "accept")]
)
def test_the_first_answer_counts(stage: Any, shape: str, words: Any) -> None:
    kernel = stage.kernel(stage.model(touch("ran"), say("ok")), shape)
    turn = kernel.ask(person=later(kernel, decided(*words)))
    assert items(turn, CommandExecution)[0].decision == f"{words[0]} by person"
    assert (stage.folder / "ran").exists() is (words[0] == "accept")


def test_an_answer_to_something_else_does_nothing(stage: Any, shape: str) -> None:
    def wrong_then_right(item_id: str) -> list[ev.Event]:
        return [
            ev.ApprovalDecided("another", "accept", "person"),
            ev.ApprovalDecided(item_id, "decline", "person", "no"),
        ]

    kernel = stage.kernel(stage.model(touch("ran"), say("ok")), shape)
    turn = kernel.ask(person=later(kernel, wrong_then_right))
    assert items(turn, CommandExecution)[0].status == "declined"
    assert not (stage.folder / "ran").exists()


def test_a_reason_reaches_the_model(stage: Any, shape: str) -> None:
    model = stage.model(touch("ran"), say("ok"))
    kernel = stage.kernel(model, shape)
    kernel.ask(person=later(kernel, decided("decline", reason="the disk is full")))
    assert "outcome: declined - the disk is full" in tool_outputs(model.requests[-1])[-1]


def test_a_stop_while_a_card_waits_ends_the_turn_and_runs_nothing(stage: Any, shape: str) -> None:
    kernel = stage.kernel(stage.model(touch("ran"), say("next")), shape)
    turn = kernel.ask(person=later(kernel, lambda _item_id: [ev.StopRequested()]))
    assert (turn.status, items(turn, CommandExecution)[0].status) == ("interrupted", "interrupted")
    assert not (stage.folder / "ran").exists()
    assert kernel.ask().final_response == "next"


def test_what_is_added_reaches_the_model_and_the_turn(stage: Any, shape: str) -> None:
    model = stage.model([say("one"), pause_at("here")], say("two"))
    kernel = stage.kernel(model, shape)

    def said(turn: Any) -> list[str]:
        return [str(getattr(item, "text", "")) for item in turn.items]

    kernel.page.once(
        lambda turn: turn.final_response == "one", lambda: kernel.session.steer("look at b.csv")
    )
    # Else the turn may be over before Codex has taken it.
    kernel.page.once(lambda turn: "look at b.csv" in said(turn), model.gate("here").set)
    turn = kernel.ask()
    assert turn.status == "completed"
    assert "look at b.csv" in str(model.requests[-1])
    assert "look at b.csv" in said(turn)
