"""The official client takes the scripted model for its host, in every form it can ask."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx2
import openai
import pytest
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from codex_magic.testing import (
    FakeModel,
    call,
    compacted,
    custom,
    cut,
    done_without_output,
    failed,
    headers,
    incomplete,
    local_shell_call,
    rate_limits,
    refusal,
    say,
    search,
    shell_call,
    status,
    stream_error,
    think,
    tool_outputs,
    usage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]

TOOL: Any = {
    "type": "function",
    "name": "f",
    "strict": True,
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer"}},
        "required": ["a"],
        "additionalProperties": False,
    },
}
EVERYTHING = [
    think("A short thought."),
    think(encrypted="sealed"),
    say("On my way.", "commentary"),
    search("penguins"),
    call("f", a=1),
    call("f", a=2),
    custom("p", "*** Begin Patch"),
    shell_call("ls", "sleep 9", timeout_ms=100, max_output_length=50),
    local_shell_call(["ls", "-l"], working_directory="/"),
    compacted("history"),
    refusal("I will not."),
    say("Two words.", "final_answer"),
    usage(100, cached=80, output=20, reasoning=5),
]


@pytest.fixture
def model() -> Iterator[FakeModel]:
    with FakeModel(strict="api") as made:
        yield made


@pytest.fixture
def client(model: FakeModel) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=model.base_url, api_key="k", max_retries=0) as made:
        yield made


def test_a_text_streams(model: FakeModel, client: openai.OpenAI) -> None:
    model.enqueue(say("Two words."))
    with client.responses.stream(model="m", input="hi", instructions="Be brief.") as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert [event.type.removeprefix("response.") for event in events] == [
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
    assert [event.sequence_number for event in events] == list(range(10))
    told = (final.output_text, final.status, final.instructions, final.tools)
    assert told == ("Two words.", "completed", "Be brief.", [])


def test_every_item_streams_and_comes_again_as_a_whole(
    model: FakeModel, client: openai.OpenAI
) -> None:
    model.enqueue(*EVERYTHING)
    stream = client.responses.create(model="m", input="hi", tools=[TOOL], stream=True)
    events = list(stream)
    done = [e.item.to_dict() for e in events if e.type == "response.output_item.done"]
    assert [item["type"] for item in done] == [
        "reasoning",
        "reasoning",
        "message",
        "web_search_call",
        "function_call",
        "function_call",
        "custom_tool_call",
        "shell_call",
        "local_shell_call",
        "compaction",
        "message",
        "message",
    ]
    assert events[-1].type == "response.completed"
    assert [item.to_dict() for item in events[-1].response.output] == done
    assert events[-1].response.usage
    assert events[-1].response.usage.to_dict() == {
        "input_tokens": 100,
        "input_tokens_details": {"cached_tokens": 80, "cache_write_tokens": 0},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 5},
        "total_tokens": 120,
    }


def test_every_event_has_what_its_type_asks_for(model: FakeModel) -> None:
    # The client itself forgives what is missing; its types, asked to judge, do not.
    types: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
    for ending in (say("done"), incomplete("max_output_tokens"), failed("server_error", "m")):
        model.enqueue(*EVERYTHING, ending)
    model.enqueue(stream_error("server_error", "m"))
    seen = {
        types.validate_python(event).type.removeprefix("response.")
        for _ in range(4)
        for event in streamed(model)
    }
    expected = """
        created in_progress completed incomplete failed error
        output_item.added output_item.done content_part.added content_part.done
        output_text.delta output_text.done refusal.delta refusal.done
        reasoning_summary_part.added reasoning_summary_part.done
        reasoning_summary_text.delta reasoning_summary_text.done
        function_call_arguments.delta function_call_arguments.done
        custom_tool_call_input.delta custom_tool_call_input.done
        shell_call_command.added shell_call_command.delta shell_call_command.done
        web_search_call.in_progress web_search_call.searching web_search_call.completed
        compaction.compacting
    """
    assert seen == set(expected.split())


def streamed(model: FakeModel) -> list[Json]:
    """Return the events of one response as they went over the wire."""
    body = {"model": "m", "input": "hi", "stream": True, "tools": [TOOL]}
    lines = httpx2.post(f"{model.base_url}/responses", json=body).text.splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: ")]


def test_thoughts_are_streamed_and_sent_back(model: FakeModel, client: openai.OpenAI) -> None:
    model.enqueue(think("Hm, well.", encrypted="sealed"), say("a"))
    model.enqueue(say("b"))
    asked: Any = [{"role": "user", "content": "hi"}]
    with client.responses.stream(model="m", input=asked, store=False) as stream:
        deltas = [e.delta for e in stream if e.type == "response.reasoning_summary_text.delta"]
        asked += [item.to_dict() for item in stream.get_final_response().output]
    assert deltas == ["Hm,", " well."]
    asked.append({"role": "user", "content": "and?"})
    for item in asked:
        for part in item["content"] if isinstance(item.get("content"), list) else ():
            part.pop("parsed", None)  # the client's own addition
    assert client.responses.create(model="m", input=asked, store=False).output_text == "b"
    assert model.requests[1]["input"][1]["encrypted_content"] == "sealed"


def test_functions_are_called_and_answered(model: FakeModel, client: openai.OpenAI) -> None:
    model.enqueue(call("f", a=1), call("f", a=2))
    model.enqueue(say("3"))
    asked: Any = [{"role": "user", "content": "hi"}]
    with client.responses.stream(model="m", input=asked, tools=[TOOL]) as stream:
        last = [e.snapshot for e in stream if e.type == "response.function_call_arguments.delta"]
        calls: list[Any] = stream.get_final_response().output
    assert last == ['{"a":', '{"a": 1}', '{"a":', '{"a": 2}']
    assert [item.parsed_arguments for item in calls] == [{"a": 1}, {"a": 2}]
    assert len({item.call_id for item in calls}) == 2
    for item in calls:
        asked += [
            {"type": "function_call", "call_id": item.call_id, "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": item.call_id, "output": item.arguments},
        ]
    assert client.responses.create(model="m", input=asked).output_text == "3"
    assert tool_outputs(model.requests[1]) == ['{"a": 1}', '{"a": 2}']


def test_a_shell_is_called_and_answered(model: FakeModel, client: openai.OpenAI) -> None:
    model.enqueue(shell_call("ls", "sleep 9", max_output_length=50, call_id="c1"))
    model.enqueue(say("done"))
    asked: Any = [{"role": "user", "content": "hi"}]
    with client.responses.stream(model="m", input=asked, tools=[{"type": "shell"}]) as stream:
        made: Any = stream.get_final_response().output[0]
    action = (made.call_id, made.action.commands, made.action.max_output_length)
    assert action == ("c1", ["ls", "sleep 9"], 50)
    ran = {
        "type": "shell_call_output",
        "call_id": "c1",
        "max_output_length": 50,
        "output": [
            {"stdout": "a\n", "stderr": "b\n", "outcome": {"type": "exit", "exit_code": 0}},
            {"stdout": "", "stderr": "", "outcome": {"type": "timeout"}},
        ],
    }
    asked += [made.to_dict(), ran]
    assert client.responses.create(model="m", input=asked).output_text == "done"
    assert tool_outputs(model.requests[1]) == ["a\nb\n"]


def test_a_structured_answer_is_parsed(model: FakeModel, client: openai.OpenAI) -> None:
    class Count(BaseModel):
        penguins: int

    model.enqueue(say('{"penguins": 344}'))
    given = client.responses.parse(model="m", input="how many?", text_format=Count)
    assert given.output_parsed == Count(penguins=344)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
def test_a_status_is_raised(
    model: FakeModel, client: openai.OpenAI, code: int, kind: type[openai.APIStatusError]
) -> None:
    error = {"message": "no", "type": "t", "param": None, "code": "c"}
    model.enqueue(status(code, {"error": error}, {"retry-after": "3"}))
    with pytest.raises(kind) as raised:
        client.responses.create(model="m", input="hi", stream=True)
    assert (raised.value.body, raised.value.response.headers["retry-after"]) == (error, "3")
    assert str(raised.value.request_id).startswith("req_")


def test_a_refusal_of_the_host_is_raised(model: FakeModel, client: openai.OpenAI) -> None:
    answer: Any = [{"type": "function_call_output", "call_id": "c1", "output": "x"}]
    with pytest.raises(openai.BadRequestError, match="No tool call found for function call"):
        client.responses.create(model="m", input=answer)
    assert len(model.refused) == 1


def test_a_stream_can_end_in_an_error(model: FakeModel, client: openai.OpenAI) -> None:
    model.enqueue(say("half"), stream_error("server_error", "broken"))
    *_, last = client.responses.create(model="m", input="hi", stream=True)
    assert last.type == "error"
    assert (last.code, last.message) == ("server_error", "broken")


def test_a_connection_can_end(model: FakeModel, client: openai.OpenAI) -> None:
    model.enqueue(say("half"), cut())
    stream = client.responses.create(model="m", input="hi", stream=True)
    assert next(e for e in stream if e.type == "response.output_text.done").text == "half"
    with pytest.raises(openai.APIConnectionError):
        list(stream)


def test_a_response_can_end_badly(model: FakeModel, client: openai.OpenAI) -> None:
    model.enqueue(say("half"), failed("server_error", "broken"))
    model.enqueue(say("half"), incomplete("max_output_tokens"))
    lost = client.responses.create(model="m", input="hi")
    short = client.responses.create(model="m", input="hi")
    assert lost.error
    assert (lost.status, lost.error.code, lost.error.message) == (
        "failed",
        "server_error",
        "broken",
    )
    assert short.incomplete_details
    assert (short.status, short.incomplete_details.reason, short.output_text) == (
        "incomplete",
        "max_output_tokens",
        "half",
    )


def test_a_response_can_be_nothing_but_its_end(model: FakeModel, client: openai.OpenAI) -> None:
    model.enqueue(done_without_output())
    (only,) = client.responses.create(model="m", input="hi", stream=True)
    assert only.type == "response.completed"
    assert only.response.output == []


def test_chatgpts_host_says_nothing_twice() -> None:
    asked: Any = [{"role": "user", "content": "hi"}]
    limits = rate_limits(primary_used_percent=41, primary_window_minutes=300)
    script = [say("Here."), limits, headers({"x-codex-turn-state": "s"})]
    with (
        FakeModel(script, strict="chatgpt") as model,
        openai.OpenAI(
            base_url=model.chatgpt_url,
            api_key="k",
            default_headers={"ChatGPT-Account-ID": "a"},
            max_retries=0,
        ) as client,
        client.responses.with_streaming_response.create(
            model="m", input=asked, instructions="Be brief.", store=False, stream=True
        ) as given,
    ):
        said = given.headers
        events = list(given.parse())
    assert said["x-codex-primary-used-percent"] == "41"
    assert (said["x-codex-primary-window-minutes"], said["x-codex-turn-state"]) == ("300", "s")
    assert events[-1].type == "response.completed"
    assert events[-1].response.output == []
    assert [e.item.type for e in events if e.type == "response.output_item.done"] == ["message"]


def test_models_are_listed() -> None:
    rows = [{"slug": "gpt-5.5"}, {"slug": "gpt-6-sol"}]
    with (
        FakeModel(models=rows, require_token="k") as model,
        openai.OpenAI(base_url=model.base_url, api_key="k", max_retries=0) as client,
    ):
        assert [row.id for row in client.models.list()] == ["gpt-5.5", "gpt-6-sol"]
        with pytest.raises(openai.AuthenticationError, match="Incorrect API key"):
            client.with_options(api_key="other").models.list()
