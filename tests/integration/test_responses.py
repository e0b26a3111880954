"""Turns over the Responses API, against a host that refuses what the real ones refuse."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from typing import Any

import pytest

from codex_magic.approval import Answer
from codex_magic.backends.hints import hint
from codex_magic.backends.responses import compaction
from codex_magic.errors import BackendError, SetupError
from codex_magic.items import CommandExecution, Compaction, UserMessage
from codex_magic.policy import Decision
from codex_magic.settings import Settings
from codex_magic.testing import (
    FakeModel,
    call,
    cut,
    developer_texts,
    failed,
    incomplete,
    local_shell_call,
    pause_at,
    raw,
    say,
    shell_call,
    status,
    stream_error,
    think,
    tool_outputs,
    usage,
    user_texts,
)
from codex_magic.turn import Image

HINT = "Reconnecting"


def strict(stage: Any, *responses: Any, **how: Any) -> FakeModel:
    return stage.opened.enter_context(FakeModel(*responses, strict="api", **how))


def outputs(body: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [item for item in body["input"] if item["type"] == kind]


def waits(turn: Any) -> list[str]:
    return [notice.text for notice in turn.notices if notice.text.startswith(HINT)]


# --- threads ------------------------------------------------------------------------------------


def test_a_thread_goes_on_and_its_prefix_stays(stage: Any) -> None:
    model = strict(
        stage,
        [think("Hm.", encrypted="sealed-1"), say("one")],
        call("shell", command=["echo", "hi"]),
        say("two"),
    )
    kernel = stage.responses_kernel(model)
    kernel.ask("first")
    turn = kernel.ask("second")
    assert (turn.status, turn.final_response) == ("completed", "two")
    for earlier, later in zip(model.requests, model.requests[1:], strict=False):
        assert later["input"][: len(earlier["input"])] == earlier["input"]
        for key in ("instructions", "tools", "prompt_cache_key"):
            assert later[key] == earlier[key]
    sealed = outputs(model.requests[-1], "reasoning")
    assert [item["encrypted_content"] for item in sealed] == ["sealed-1"]
    assert not [item for body in model.requests for item in body["input"] if "id" in item]


def test_a_thread_is_taken_up_by_another_kernel(stage: Any) -> None:
    first = stage.responses_kernel(strict(stage, say("one")))
    thread_id = first.ask("first").thread_id
    first.session.close()
    model = strict(stage, say("two"))
    turn = stage.responses_kernel(model).ask("second", resume=thread_id)
    assert turn.thread_id == thread_id
    assert [notice.text for notice in turn.notices] == [f"thread resumed: {thread_id}"]
    assert user_texts(model.requests[0]) == ["first", "second"]


def test_sealed_thoughts_stay_with_their_model(stage: Any) -> None:
    model = strict(
        stage, [think("Hm.", encrypted="sealed-1"), say("one")], say("two"), say("three")
    )
    kernel = stage.responses_kernel(model)
    kernel.ask("first")
    kernel.ask("second", model="another")
    kernel.ask("third", model="another")
    assert [len(outputs(body, "reasoning")) for body in model.requests] == [0, 0, 0]
    assert user_texts(model.requests[2]) == ["first", "second", "third"]


@pytest.mark.parametrize("ending", ["refused", "stopped"])
def test_a_model_that_never_answered_changes_nothing(stage: Any, ending: str) -> None:
    sealed = [think("Hm.", encrypted="sealed-1"), say("one")]
    no = status(400, {"error": {"message": "no such model"}})
    second = no if ending == "refused" else [pause_at("here"), say("late")]
    model = strict(stage, sealed, second, say("three"), say("four"))
    kernel = stage.responses_kernel(model)
    kernel.ask("first")
    if ending == "stopped":
        kernel.page.once(lambda turn: model.reached("here").is_set(), kernel.session.stop)
    kernel.ask("second", model="another")
    kernel.ask("third", model="another")
    kernel.ask("fourth")
    model.gate("here").set()
    thoughts = [len(outputs(body, "reasoning")) for body in model.requests]
    assert thoughts == [0, 0, 0, 1]
    assert "sealed_by" not in json.dumps(model.requests)


def test_a_prompt_survives_another_model_and_a_summary(stage: Any) -> None:
    full = failed("context_length_exceeded", "too long")
    long = "x" * (compaction.LAST_WORDS_BYTES + 1)
    sealed = [think("Hm.", encrypted="sealed-1"), say("one")]
    model = strict(stage, sealed, LS, full, say("A summary."), say("two"))
    kernel = stage.responses_kernel(model)
    kernel.ask("first")
    assert kernel.ask(long, model="another", images=(DOT,)).final_response == "two"
    assert user_texts(model.requests[-1])[-1] == long
    assert "input_image" in json.dumps(model.requests[-1])


def test_a_private_thread_is_stored_nowhere(stage: Any) -> None:
    kernel = stage.responses_kernel(strict(stage, say("one"), say("two")))
    kernel.ask("first", private=True, thread="private")
    turn = kernel.ask("second", private=True, thread="private")
    assert turn.final_response == "two"
    stored = [path for path in stage.place("data").rglob("*") if path.is_file()]
    assert [path for path in stored if "first" in path.read_text(errors="ignore")] == []


CHANGES = [{"web_search": True}, {"tools": False}, {"api_key": "sk-another"}]


@pytest.mark.parametrize("changed", CHANGES, ids=lambda changed: next(iter(changed)))
@pytest.mark.parametrize("private", [True, False], ids=["private", "stored"])
def test_a_changed_setting_ends_no_thread(
    stage: Any, private: bool, changed: dict[str, Any]
) -> None:
    (stage.folder / "AGENTS.md").write_text("Be brief.")
    model = strict(stage, say("one"), say("two"))
    kernel = stage.responses_kernel(model)
    where = {"private": True, "thread": "private"} if private else {}
    first = kernel.ask("first", **where)
    before = kernel.session.backend
    kernel.session.settings = replace(kernel.session.settings, **changed)
    second = kernel.ask("second", **where)
    assert kernel.session.backend is not before
    assert (second.thread_id, [notice.text for notice in second.notices]) == (first.thread_id, [])
    said = [text for text in user_texts(model.requests[1]) if "project_instructions" not in text]
    assert said == ["first", "second"]


# --- tools --------------------------------------------------------------------------------------


def with_shell(form: str) -> Settings:
    return replace(Settings(), shell_tool=form)


def test_the_hosts_own_shell(stage: Any) -> None:
    model = strict(
        stage,
        shell_call("echo out; echo err >&2", "exit 3", max_output_length=99, call_id="s1"),
        say("done"),
    )
    turn = stage.responses_kernel(model, settings=with_shell("shell")).ask()
    assert turn.final_response == "done"
    assert {"type": "shell", "environment": {"type": "local"}} in model.requests[0]["tools"]
    (answered,) = outputs(model.requests[1], "shell_call_output")
    assert answered == {
        "type": "shell_call_output",
        "call_id": "s1",
        "max_output_length": 99,
        "output": [
            {
                "stdout": "out\n",
                "stderr": "err\n",
                "outcome": {"type": "exit", "exit_code": 0},
            },
            {"stdout": "", "stderr": "", "outcome": {"type": "exit", "exit_code": 3}},
        ],
    }
    ran = [item for item in turn.items if isinstance(item, CommandExecution)]
    assert [item.exit_code for item in ran] == [0, 3]


def test_the_older_shell_of_the_host(stage: Any) -> None:
    model = strict(stage, local_shell_call(["echo", "hi"], call_id="l1"), say("done"))
    stage.responses_kernel(model, settings=with_shell("local_shell")).ask()
    (answered,) = outputs(model.requests[1], "local_shell_call_output")
    assert answered["call_id"] == "l1"
    assert json.loads(answered["output"])["stdout"] == "hi\n"


def test_our_limit_wins_over_the_models(stage: Any) -> None:
    model = strict(stage, shell_call("sleep 60", timeout_ms=900_000), say("done"))
    stage.responses_kernel(model, settings=with_shell("shell")).ask(timeout_s=0.3)
    (answered,) = outputs(model.requests[1], "shell_call_output")
    assert answered["output"][0]["outcome"] == {"type": "timeout"}


def test_a_declined_command_of_the_hosts_shell_is_answered(stage: Any, people: Any) -> None:
    model = strict(stage, shell_call("rm -r x"), say("no"))
    person = people(Answer(Decision.DECLINE, "person", "not that"))
    kernel = stage.responses_kernel(model, settings=with_shell("shell"))
    kernel.ask(person=person, approval="untrusted")
    (answered,) = outputs(model.requests[1], "shell_call_output")
    assert "not that" in answered["output"][0]["stderr"]


def test_a_call_without_a_name_fails_the_turn_and_spoils_nothing(stage: Any) -> None:
    model = strict(stage, call_without_id(), say("two"))
    kernel = stage.responses_kernel(model)
    turn = kernel.ask()
    assert turn.status == "failed"
    assert turn.error is not None
    assert "without a call_id" in turn.error.message
    assert kernel.ask("again").final_response == "two"


def call_without_id() -> Any:
    item = {"type": "function_call", "id": "f", "name": "shell", "arguments": "{}"}
    return [
        raw({"type": "response.output_item.done", "output_index": 0, "item": item}),
    ]


def test_without_tools_none_is_offered_or_run(stage: Any) -> None:
    model = strict(stage, call("shell", command=["touch", "ran"]), say("none"))
    turn = stage.responses_kernel(model, settings=replace(Settings(), tools=False)).ask()
    assert "tools" not in model.requests[0]
    assert "there is no tool 'shell'" in str(tool_outputs(model.requests[1]))
    assert not (stage.folder / "ran").exists()
    assert turn.status == "completed"


# --- retries ------------------------------------------------------------------------------------

HASTE = 0.01


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits between requests that a test can sit through."""
    monkeypatch.setattr("codex_magic.backends.responses.retry.FIRST_S", HASTE)


@pytest.mark.parametrize(
    "fault",
    [
        status(503, {"error": {"message": "busy"}}),
        [say("So"), cut()],
        [say("So"), failed("server_error", "try again")],
        stream_error("server_error", "try again"),
        status(429, {"error": {"message": "slow down"}}, {"retry-after-ms": "10"}),
    ],
    ids=["503", "cut", "failed", "error", "429"],
)
def test_a_fault_is_gone_through(stage: Any, hasty: None, fault: Any) -> None:
    model = strict(stage, fault, fault, say("there"))
    turn = stage.responses_kernel(model).ask()
    assert (turn.status, len(model.requests)) == ("completed", 3)
    assert turn.final_response.endswith("there")
    assert [wait.split(":")[0] for wait in waits(turn)] == ["Reconnecting 1/5", "Reconnecting 2/5"]


def test_patience_has_an_end(stage: Any, hasty: None) -> None:
    model = strict(stage, *[status(503, {"error": {"message": "busy"}})] * 9)
    turn = stage.responses_kernel(model).ask()
    assert (turn.status, len(model.requests)) == ("failed", 6)
    assert len(waits(turn)) == 5


@pytest.mark.parametrize(
    ("refusal", "kind"),
    [
        (status(400, {"error": {"message": "bad"}}), "badRequest"),
        (status(401, {"error": {"message": "who?"}}), "keyMissing"),
        (
            status(429, {"error": {"type": "usage_limit_reached", "message": "used up"}}),
            "usageLimitExceeded",
        ),
        (
            status(429, {"error": {"type": "insufficient_quota", "message": "no"}}),
            "insufficientQuota",
        ),
        (failed("invalid_prompt", "no"), "badRequest"),
        (incomplete("max_output_tokens"), "maxOutputTokens"),
    ],
)
def test_what_no_patience_mends_is_told_at_once(stage: Any, refusal: Any, kind: str) -> None:
    model = strict(stage, refusal, say("never"))
    turn = stage.responses_kernel(model).ask()
    assert turn.status == "failed"
    assert turn.error is not None
    assert (turn.error.kind, len(model.requests), waits(turn)) == (kind, 1, [])


def test_a_tool_never_runs_twice_because_of_a_break(stage: Any, hasty: None) -> None:
    count = ["sh", "-c", "echo x >> ran"]
    model = strict(stage, [call("shell", command=count), cut()], say("done"))
    turn = stage.responses_kernel(model).ask()
    assert turn.final_response == "done"
    assert (stage.folder / "ran").read_text() == "x\n"
    assert len(model.requests) == 2


def test_what_a_host_does_not_know_is_left_out(stage: Any) -> None:
    no = status(400, {"error": {"message": "Unsupported parameter: 'include'"}})
    model = strict(stage, no, say("one"), say("two"))
    kernel = stage.responses_kernel(model)
    turn = kernel.ask()
    kernel.ask()
    assert turn.status == "completed"
    assert ["include" in body for body in model.requests] == [True, False, False]
    assert ["does not take include" in notice.text for notice in turn.notices] == [True]


def test_an_empty_answer_is_said_to_be_one(stage: Any) -> None:
    turn = stage.responses_kernel(strict(stage, [usage(input_tokens=3)])).ask()
    assert (turn.status, turn.final_response) == ("completed", "")
    assert [notice.text for notice in turn.notices] == ["the model answered nothing"]


# --- stopping and steering ----------------------------------------------------------------------


def test_an_interrupt_answers_every_open_call(stage: Any) -> None:
    calls = [call("shell", command=["sleep", "60"]), call("shell", command=["sleep", "61"])]
    model = strict(stage, calls, say("on"))
    kernel = stage.responses_kernel(model)
    kernel.page.once(
        lambda turn: sum(isinstance(i, CommandExecution) for i in turn.items) == 2,
        kernel.session.stop,
    )
    assert kernel.ask().status == "interrupted"
    assert kernel.ask("go on").final_response == "on"
    assert len(tool_outputs(model.requests[1])) == 2


@pytest.mark.parametrize("gate", ["before the headers", "in the stream"])
def test_a_turn_is_stopped_wherever_it_waits(stage: Any, gate: str) -> None:
    parts = [say("So far. ")] if gate == "in the stream" else []
    model = strict(stage, [*parts, pause_at("here"), say("never")], say("on"))
    kernel = stage.responses_kernel(model)

    def stop(_turn: Any) -> bool:
        return model.reached("here").is_set()

    if gate == "in the stream":
        kernel.page.once(stop, kernel.session.stop)
    else:
        waiter = threading.Thread(
            target=lambda: (model.reached("here").wait(20), kernel.session.stop())
        )
        waiter.start()
    turn = kernel.ask()
    model.gate("here").set()
    assert turn.status == "interrupted"
    assert kernel.ask("go on").final_response == "on"


def steered(kernel: Any, model: FakeModel) -> None:
    """Have a person add something once the model waits, and go on when that has been taken."""
    reached = model.reached("here")
    kernel.page.once(lambda turn: reached.is_set(), lambda: kernel.session.steer("and that"))
    kernel.page.once(
        lambda turn: any(str(getattr(i, "text", "")) == "and that" for i in turn.items),
        model.gate("here").set,
    )


def test_more_words_reach_the_next_request(stage: Any, until: Any) -> None:
    model = strict(stage, [say("So far. "), pause_at("here")], say("Both."))
    kernel = stage.responses_kernel(model)

    steered(kernel, model)
    turn = kernel.ask("this")
    assert turn.final_response == "Both."
    assert user_texts(model.requests[1]) == ["this", "and that"]
    assert [str(i.text) for i in turn.items if isinstance(i, UserMessage)] == ["this", "and that"]


# --- long threads -------------------------------------------------------------------------------

ROWS = [{"slug": "gpt-5.5", "context_window": 30_000, "visibility": "list", "priority": 1}]


def test_a_long_thread_is_summarised(stage: Any) -> None:
    model = strict(
        stage,
        [say("one"), usage(input_tokens=29_000)],
        say("They said one."),
        say("two"),
        models=ROWS,
    )
    kernel = stage.responses_kernel(model)
    kernel.ask("first")
    turn = kernel.ask("second")
    assert turn.final_response == "two"
    (summary,) = [item for item in turn.items if isinstance(item, Compaction)]
    assert (str(summary.text), summary.status) == ("They said one.", "completed")
    asked = user_texts(model.requests[1])
    assert asked[-1] == compaction.ASK
    sent = model.requests[2]
    assert user_texts(sent) == ["first", f"{compaction.HEAD}\n\nThey said one.", "second"]
    assert [text.partition("\n")[0] for text in developer_texts(sent)] == ["<notebook>"]


def test_a_thread_that_overflows_is_summarised_and_goes_on(stage: Any) -> None:
    full = failed("context_length_exceeded", "too long")
    model = strict(stage, full, say("A summary."), say("two"))
    turn = stage.responses_kernel(model).ask("first")
    assert (turn.status, turn.final_response) == ("completed", "two")


def test_a_thread_that_cannot_be_shortened_fails_once(stage: Any) -> None:
    full = failed("context_length_exceeded", "too long")
    model = strict(stage, full, say("A summary."), full, say("never"))
    turn = stage.responses_kernel(model).ask("first")
    assert turn.status == "failed"
    assert turn.error is not None
    assert turn.error.kind == "contextWindowExceeded"


DOT = Image(
    "dot.png",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
)


def test_what_a_turn_is_about_is_never_shortened(stage: Any) -> None:
    long = "x" * (compaction.LAST_WORDS_BYTES + 1)
    model = strict(
        stage,
        [say("one"), usage(input_tokens=29_000)],
        say("They said one."),
        say("two"),
        models=ROWS,
    )
    kernel = stage.responses_kernel(model)
    kernel.ask("first")
    kernel.ask(long, images=(DOT,))
    assert user_texts(model.requests[2])[-1] == long
    content = [part for item in model.requests[2]["input"] for part in item["content"]]
    assert [part["image_url"] for part in content if part["type"] == "input_image"] == [DOT.url]


def test_a_thread_that_ends_in_thoughts_is_summarised_too(stage: Any) -> None:
    model = strict(
        stage,
        [say("one"), think("Hm.", encrypted="s"), usage(input_tokens=29_000)],
        say("A summary."),
        say("two"),
        models=ROWS,
    )
    kernel = stage.responses_kernel(model)
    kernel.ask("first")
    assert kernel.ask("second").final_response == "two"
    assert model.refused == []


def test_a_summary_that_fails_is_one_item_and_said_to_have_failed(stage: Any, hasty: None) -> None:
    busy = status(500, {"error": {"message": "busy"}})
    model = strict(stage, [say("one"), usage(input_tokens=29_000)], *[busy] * 6, models=ROWS)
    kernel = stage.responses_kernel(model)
    kernel.ask("first")
    turn = kernel.ask("second")
    assert turn.status == "failed"
    summaries = [item for item in turn.items if isinstance(item, Compaction)]
    assert [(item.status, str(item.text)) for item in summaries] == [("failed", "")]


# --- a thread stays good ------------------------------------------------------------------------

LS = call("shell", command=["ls"])
FULL = failed("context_length_exceeded", "too long")
SPOILERS: dict[str, list[Any]] = {
    "cut short by a limit": [[LS, incomplete("max_output_tokens")]],
    "a used-up limit": [[LS, failed("usage_limit_reached", "used up")]],
    "six breaks": [[LS, cut()]] * 6,
    "one call of two cannot be answered": [
        [
            LS,
            raw(
                {
                    "type": "response.output_item.done",
                    "output_index": 1,
                    "item": {
                        "type": "function_call",
                        "id": "f",
                        "name": "shell",
                        "arguments": "{}",
                    },
                }
            ),
        ]
    ],
    "arguments that are no text": [
        [
            raw(
                {
                    "type": "response.output_item.done",
                    "output_index": 0,
                    "item": {
                        "type": "function_call",
                        "call_id": "c",
                        "name": "shell",
                        "arguments": {"command": ["ls"]},
                    },
                }
            )
        ],
        say("there"),
    ],
    "a search of another kind": [
        [
            raw(
                {
                    "type": "response.output_item.done",
                    "output_index": 0,
                    "item": {
                        "type": "web_search_call",
                        "id": "w",
                        "status": "completed",
                        "action": {"type": "other"},
                    },
                }
            ),
            say("found"),
        ],
    ],
    "an overflow after a call": [[LS, FULL], say("A summary."), say("there")],
}


@pytest.mark.parametrize("spoiler", SPOILERS)
def test_nothing_spoils_a_thread(stage: Any, hasty: None, spoiler: str) -> None:
    model = strict(stage, *SPOILERS[spoiler], say("on"))
    kernel = stage.responses_kernel(model)
    kernel.ask("first")
    turn = kernel.ask("go on")
    assert (turn.status, turn.final_response) == ("completed", "on")
    assert model.refused == []


def test_a_stop_between_two_tries_spoils_nothing(stage: Any) -> None:
    model = strict(stage, [LS, cut()], say("on"))
    kernel = stage.responses_kernel(model)
    kernel.page.once(waits, kernel.session.stop)
    assert kernel.ask("first").status == "interrupted"
    assert kernel.ask("go on").final_response == "on"


def test_what_is_done_is_kept_before_the_rest_is(stage: Any, until: Any) -> None:
    calls = [call("shell", command=["echo", "1"]), call("shell", command=["sleep", "60"])]
    model = strict(stage, calls, say("on"))
    kernel = stage.responses_kernel(model)

    def kept() -> bool:
        stored = stage.place("data").rglob("*.jsonl")
        return any("function_call_output" in path.read_text() for path in stored)

    def stop_once_kept(turn: Any) -> bool:
        return kept()

    kernel.page.once(stop_once_kept, kernel.session.stop)
    assert kernel.ask().status == "interrupted"


def test_images_that_a_host_refuses_are_taken_back(stage: Any) -> None:
    no = status(400, {"error": {"message": "Invalid image"}})
    model = strict(stage, no, say("on"))
    kernel = stage.responses_kernel(model)
    turn = kernel.ask("look", images=(DOT,))
    assert [notice.text for notice in turn.notices] == [
        "the images of this turn are not kept in the thread"
    ]
    assert kernel.ask("never mind").final_response == "on"
    assert "input_image" not in json.dumps(model.requests[1])


def test_a_stop_before_the_headers_ends_the_request(stage: Any, until: Any) -> None:
    model = strict(stage, [pause_at("here"), say("late")], say("on"))
    kernel = stage.responses_kernel(model)
    waiter = threading.Thread(
        target=lambda: (until(lambda: model.requests, "no request"), kernel.session.stop())
    )
    waiter.start()
    assert kernel.ask().status == "interrupted"
    waiter.join()
    assert not [t.name for t in threading.enumerate() if t.name.startswith("codex turn_")]
    assert kernel.ask("go on").final_response == "on"
    model.gate("here").set()


def test_words_that_came_too_late_are_answered_by_the_next_turn(stage: Any) -> None:
    no = failed("invalid_prompt", "no")
    model = strict(stage, [say("So far. "), pause_at("here"), no], say("on"))
    kernel = stage.responses_kernel(model)

    steered(kernel, model)
    assert kernel.ask("this").status == "failed"
    kernel.ask("go on")
    assert user_texts(model.requests[1]) == ["this", "and that", "go on"]


def test_more_words_go_with_the_next_try(stage: Any, hasty: None) -> None:
    model = strict(stage, [say("So far. "), pause_at("here"), cut()], say("Both."))
    kernel = stage.responses_kernel(model)

    steered(kernel, model)
    assert kernel.ask("this").status == "completed"
    assert len(model.requests) == 2
    assert user_texts(model.requests[1]) == ["this", "and that"]


def test_a_host_that_counts_its_calls_anew(stage: Any) -> None:
    model = strict(stage, *[shell_call(f"echo {n}", call_id="call_0") for n in (1, 2)], say("done"))
    model.strict = None  # which would take a name once only
    turn = stage.responses_kernel(model, settings=with_shell("shell")).ask()
    ran = [str(item.output) for item in turn.items if isinstance(item, CommandExecution)]
    assert ran == ["1\n", "2\n"]


def test_a_host_that_counts_anew_after_a_break_too(stage: Any, hasty: None) -> None:
    busy = status(503, {"error": {"message": "busy"}})
    one, two = (shell_call(f"echo {n}", call_id="call_0") for n in (1, 2))
    model = strict(stage, one, busy, two, say("done"))
    model.strict = None
    turn = stage.responses_kernel(model, settings=with_shell("shell")).ask()
    ran = [str(item.output) for item in turn.items if isinstance(item, CommandExecution)]
    assert ran == ["1\n", "2\n"]


def test_a_project_is_quoted_once(stage: Any) -> None:
    stage.place("workspace/.git")
    stage.file("workspace/AGENTS.md", "Say please.")
    model = strict(stage, say("one"), say("two"))
    kernel = stage.responses_kernel(model)
    kernel.ask("first")
    kernel.ask("second")
    assert json.dumps(model.requests[1]).count("Say please.") == 1


def test_a_key_that_a_host_repeats_is_masked(stage: Any) -> None:
    key = "opaque-key-0123456789"
    model = strict(stage, failed("invalid_prompt", f"the key {key} is no good"))
    settings = replace(Settings(), env_key="HOST_KEY")
    turn = stage.responses_kernel(model, settings=settings, HOST_KEY=key).ask()
    assert turn.error is not None
    assert key not in repr(turn)


def test_a_refused_value_is_no_unknown_part(stage: Any) -> None:
    no = status(400, {"error": {"message": "Unsupported value: 'reasoning.effort' is 'low'"}})
    model = strict(stage, no, say("on"))
    kernel = stage.responses_kernel(model)
    assert kernel.ask(effort="low").status == "failed"
    kernel.ask(effort="high")
    assert model.requests[1]["reasoning"]["effort"] == "high"


# --- what is missing ----------------------------------------------------------------------------


def test_without_a_credential_the_three_ways_are_named(stage: Any) -> None:
    kernel = stage.responses_kernel("http://127.0.0.1:9")
    kernel.session.settings = Settings(backend="responses")
    with pytest.raises(SetupError, match="nobody is signed in") as caught:
        kernel.ask()
    assert "gpt-5.5" in [model.id for model in kernel.session.backend.models()]
    for way in ("login", "OPENAI_API_KEY", "demo"):
        assert way in caught.value.hint


def test_advice_is_given_once(stage: Any) -> None:
    model = stage.opened.enter_context(FakeModel(require_token="another"))
    settings = Settings(env_key="MINE", model="m")
    turn = stage.responses_kernel(model, settings=settings, MINE="sk-test-1").ask()
    assert turn.error is not None
    assert turn.error.message.endswith("is refused. Check it where it was made, and set it anew")
    assert hint(turn.error) == ""


def test_a_sign_in_that_is_not_used_is_said_to_be_there(stage: Any) -> None:
    tokens = {"access_token": "t", "refresh_token": "r", "account_id": "a"}
    auth = {"auth_mode": "chatgpt", "tokens": tokens}
    stage.file("codex/auth.json", json.dumps(auth)).chmod(0o600)
    kernel = stage.responses_kernel("http://127.0.0.1:9")
    kernel.session.settings = Settings(backend="responses")
    account = kernel.session.backend.account()
    assert (account.kind, account.needed) == ("", True)
    assert "not used, because that is unofficial" in account.detail


def test_a_host_of_several_models_wants_one_named(stage: Any) -> None:
    model = stage.opened.enter_context(FakeModel(models=[{"slug": "a"}, {"slug": "b"}]))
    kernel = stage.responses_kernel(model)
    with pytest.raises(BackendError, match="a, b") as caught:
        kernel.ask(model=None)
    assert "-m MODEL" in caught.value.hint


def test_a_host_that_is_down_is_said_to_be(stage: Any) -> None:
    kernel = stage.responses_kernel("http://127.0.0.1:9/v1")
    with pytest.raises(BackendError) as caught:
        kernel.ask(model=None)
    assert "names no models" not in str(caught.value)
    assert "127.0.0.1:9" in str(caught.value)


def test_without_tools_nothing_is_searched_either(stage: Any) -> None:
    model = strict(stage, say("one"))
    settings = replace(Settings(), tools=False, web_search=True)
    stage.responses_kernel(model, settings=settings).ask()
    assert "tools" not in model.requests[0]
