"""What the strict hosts refuse, each case beside the request that they take."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.tape import strict
from codex_magic.tape.history import CALLS
from codex_magic.tape.request import Request
from codex_magic.tape.script import response
from codex_magic.tape.steps import Setting
from codex_magic.tape.wire import expand
from codex_magic.testing import (
    call,
    compacted,
    custom,
    local_shell_call,
    refusal,
    say,
    search,
    shell_call,
    think,
)

Json = dict[str, Any]

HEADERS = {"Authorization": "Bearer t", "ChatGPT-Account-Id": "a"}
USER: Json = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "hi"}]}
THOUGHT: Json = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "x"}
CALL: Json = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}
GAVE: Json = {"type": "function_call_output", "call_id": "c1", "output": "done"}
PATCH: Json = {"type": "custom_tool_call", "call_id": "c2", "name": "p", "input": "x"}
PATCHED: Json = {"type": "custom_tool_call_output", "call_id": "c2", "output": "done"}
LOCAL: Json = {
    "type": "local_shell_call",
    "id": "lsh_1",
    "call_id": "c3",
    "status": "completed",
    "action": {"type": "exec", "command": ["ls"], "env": {}},
}
LISTED: Json = {"type": "local_shell_call_output", "id": "lsh_1", "call_id": "c3", "output": "{}"}
SHELL: Json = {
    "type": "shell_call",
    "call_id": "c4",
    "action": {"commands": ["ls", "sleep 9"], "max_output_length": 100},
    "caller": {"type": "direct"},
}
RAN: Json = {
    "type": "shell_call_output",
    "call_id": "c4",
    "output": [
        {"stdout": "a", "stderr": "", "outcome": {"type": "exit", "exit_code": 0}},
        {"stdout": "", "stderr": "", "outcome": {"type": "timeout"}},
    ],
    "max_output_length": 100,
    "caller": {"type": "direct"},
}
SAID: Json = {
    "type": "message",
    "role": "assistant",
    "id": "msg_1",
    "content": [{"type": "output_text", "text": "hello", "annotations": []}],
}
SCHEMA: Json = {
    "type": "object",
    "properties": {"a": {"type": "string"}},
    "required": ["a"],
    "additionalProperties": False,
}
TOOL: Json = {"type": "function", "name": "f", "parameters": SCHEMA, "strict": True}
CATALOGUE = [{"slug": "m", "supported_reasoning_levels": [{"effort": "low"}, {"effort": "high"}]}]
SEARCHED: Json = {
    "type": "web_search_call",
    "id": "ws_1",
    "status": "completed",
    "action": {"type": "search", "query": "x"},
}

CHATGPT: Json = {
    "model": "m",
    "instructions": "Be brief.",
    "input": [USER, THOUGHT, CALL, GAVE, PATCH, PATCHED, LOCAL, LISTED, SHELL, RAN, SEARCHED, SAID],
    "tools": [TOOL, {"type": "web_search"}],
    "tool_choice": "auto",
    "parallel_tool_calls": True,
    "reasoning": {"effort": "low", "summary": "auto"},
    "store": False,
    "stream": True,
    "include": ["reasoning.encrypted_content"],
    "prompt_cache_key": "k",
    "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
}
API: Json = {
    **CHATGPT,
    "input": "hi",
    "temperature": 0,
    "metadata": {},
    "max_output_tokens": 9,
    "store": True,
}


def without(item: Json, *names: str) -> Json:
    return {name: value for name, value in item.items() if name not in names}


def refused(profile: Any, body: Json, headers: Json = HEADERS) -> Any:
    asked = Request("POST", "/x/responses", headers, body)
    answer = strict.refusal(profile, asked, CATALOGUE)
    return answer and (answer.status, answer.body)


@pytest.mark.parametrize(("profile", "body"), [("chatgpt", CHATGPT), ("api", API)])
def test_what_each_host_takes(profile: str, body: Json) -> None:
    assert refused(profile, body) is None


@pytest.mark.parametrize(
    ("change", "detail"),
    [
        ({"store": True}, "Store must be set to false"),
        ({"store": None}, "Store must be set to false"),
        ({"stream": False}, "Stream must be set to true"),
        ({"instructions": ""}, "Instructions are required"),
        ({"instructions": None}, "Instructions are required"),
        ({"input": "hi"}, "Input must be a list"),
        ({"max_output_tokens": 1}, "Unsupported parameter: max_output_tokens"),
        ({"temperature": 1}, "Unsupported parameter: temperature"),
        ({"top_p": 1}, "Unsupported parameter: top_p"),
        ({"metadata": {}}, "Unsupported parameter: metadata"),
        ({"truncation": "auto"}, "Unsupported parameter: truncation"),
        ({"previous_response_id": "r"}, "Unsupported parameter: previous_response_id"),
        (
            {"model": "old"},
            "The 'old' model is not supported when using Codex with a ChatGPT account.",
        ),
    ],
)
def test_what_chatgpts_host_refuses(change: Json, detail: str) -> None:
    assert refused("chatgpt", CHATGPT | change) == (400, {"detail": detail})


WORDS = st.sampled_from(
    [
        say("a", "commentary"),
        call("f", a=1),
        custom("p", "x"),
        shell_call("ls", "pwd", max_output_length=9, caller={"type": "direct"}),
        local_shell_call(["ls"]),
        search("x"),
        refusal("no"),
        compacted(),
        think("hm"),
        think(),
    ]
)


@given(st.lists(WORDS), st.sampled_from(["chatgpt", "api"]), st.sampled_from(["functions", "code"]))
def test_both_hosts_take_back_what_the_fake_says(
    parts: list[Any], profile: str, shape: Any
) -> None:
    steps = expand(response(*parts, say("done")), Setting(shape=shape, stem="s"))
    (*_, last) = (step.act for step in steps)
    assert isinstance(last, dict)
    history = [USER, *last["response"]["output"]]
    gave = [output(item) for item in history if item["type"] in CALLS]
    assert refused(profile, {**CHATGPT, "input": [*history, *gave, USER]}) is None


def output(made: Json) -> Json:
    """Return an honest answer to a call."""
    entry = {"stdout": "", "stderr": "", "outcome": {"type": "timeout"}}
    answer: Json = {"type": f"{made['type']}_output", "call_id": made["call_id"], "output": "x"}
    if made["type"] == "shell_call":
        answer["output"] = [entry for _ in made["action"]["commands"]]
        answer["max_output_length"] = made["action"]["max_output_length"]
        answer["caller"] = made["caller"]
    return answer


def test_instructions_may_be_the_first_message_of_a_developer() -> None:
    body = without(CHATGPT, "instructions")
    assert refused("chatgpt", body) == (400, {"detail": "Instructions are required"})
    first = {"type": "message", "role": "developer", "content": "Be brief."}
    assert refused("chatgpt", {**body, "input": [first, USER]}) is None


@pytest.mark.parametrize("name", ["Authorization", "ChatGPT-Account-Id"])
def test_chatgpts_host_wants_to_know_who_asks(name: str) -> None:
    expected = (401, {"detail": "Unauthorized"})
    assert refused("chatgpt", CHATGPT, without(HEADERS, name)) == expected
    assert refused("api", API, {}) is None


LITE = {**HEADERS, "X-OpenAI-Internal-Codex-Responses-Lite": "true"}
IN_FULL = {"reasoning": {"context": "all_turns"}}


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"tools": [TOOL]}, "reasoning.context"),
        ({"tools": [{"type": "web_search"}], **IN_FULL}, "tools"),
        ({"tools": [TOOL], **IN_FULL}, None),
    ],
)
def test_what_lite_models_do_not_take(change: Json, param: str | None) -> None:
    answer = refused("chatgpt", CHATGPT | change, LITE)
    assert (answer and answer[1]["error"]["param"]) == param


def told(message: str, param: str | None = "input", code: str | None = None) -> Any:
    kind = "invalid_request_error"
    return 400, {"error": {"message": message, "type": kind, "param": param, "code": code}}


UNKEPT = (
    "Items are not persisted when `store` is set to false. Try again with `store` set to true, "
    "or remove this item from your input."
)


@pytest.mark.parametrize("profile", ["chatgpt", "api"])
@pytest.mark.parametrize(
    ("history", "expected"),
    [
        ([CALL], told("No tool output found for function call c1.")),
        ([PATCH], told("No tool output found for custom tool call c2.")),
        ([SHELL], told("No tool output found for shell call c4.")),
        (
            [LOCAL, without(LISTED, "call_id")],
            told("No tool output found for local shell call c3."),
        ),
        ([GAVE], told("No tool call found for function call output with call_id c1.")),
        ([RAN], told("No tool call found for shell call output with call_id c4.")),
        ([GAVE, CALL], told("No tool call found for function call output with call_id c1.")),
        (
            [CALL, without(GAVE, "call_id")],
            told(
                "Missing required parameter: 'input[1].call_id'.",
                "input[1].call_id",
                "missing_required_parameter",
            ),
        ),
        (
            [THOUGHT, USER],
            told(
                "Item 'rs_1' of type 'reasoning' was provided without its required following item."
            ),
        ),
        (
            [SAID, SAID],
            told(
                "Duplicate item found with id msg_1. "
                "Remove duplicate items from your input and try again."
            ),
        ),
        (
            [{"type": "item_reference", "id": "msg_0"}],
            told(f"Item with id 'msg_0' not found. {UNKEPT}"),
        ),
        (
            [without(THOUGHT, "encrypted_content"), SAID],
            told(f"Item with id 'rs_1' not found. {UNKEPT}"),
        ),
        (
            [{**SAID, "content": [{"type": "input_text", "text": "a"}]}],
            told(
                "Invalid value: 'input_text'. Supported values are: 'output_text', 'refusal'.",
                "input[0].content[0]",
                "invalid_value",
            ),
        ),
        (
            [{**SAID, "started_at": 1}],
            told(
                "Unknown parameter: 'input[0].started_at'.",
                "input[0].started_at",
                "unknown_parameter",
            ),
        ),
        ([{"type": "thought"}], told("Invalid value: 'thought'.", "input[0]", "invalid_value")),
        (
            [CALL, {**GAVE, "output": None}],
            told(
                "Invalid type for 'input[1].output': "
                "expected one of an array of objects or string, but got null instead.",
                "input[1].output",
                "invalid_type",
            ),
        ),
        (
            [SHELL, {**RAN, "output": "text"}],
            told(
                "Invalid type for 'input[1].output': "
                "expected an array of objects, but got a string instead.",
                "input[1].output",
                "invalid_type",
            ),
        ),
        (
            [SHELL, {**RAN, "output": RAN["output"][:1]}],
            told(
                "Expected one output for each of 2 commands, but got 1.",
                "input[1].output",
                "invalid_value",
            ),
        ),
        (
            [SHELL, {**RAN, "output": [{"stdout": "", "stderr": ""}] * 2}],
            told(
                "Missing required parameter: 'input[1].output[0].outcome.type'.",
                "input[1].output[0].outcome.type",
                "missing_required_parameter",
            ),
        ),
        (
            [SHELL, without(RAN, "max_output_length")],
            told(
                "'input[1].max_output_length' must be that of the call.",
                "input[1].max_output_length",
                "invalid_value",
            ),
        ),
        (
            [SHELL, without(RAN, "caller")],
            told("'input[1].caller' must be that of the call.", "input[1].caller", "invalid_value"),
        ),
        (
            [{**SEARCHED, "action": {"type": "other"}}],
            told(
                "Invalid value: 'other'. "
                "Supported values are: 'search', 'open_page', and 'find_in_page'.",
                "input[0].action.type",
                "invalid_value",
            ),
        ),
    ],
)
def test_what_neither_host_takes_in_a_history(
    profile: str, history: list[Json], expected: Any
) -> None:
    assert refused(profile, {**CHATGPT, "input": history}) == expected


def test_a_history_may_end_in_thoughts() -> None:
    assert refused("chatgpt", {**CHATGPT, "input": [USER, THOUGHT]}) is None


def test_only_the_api_fetches_images() -> None:
    image = {"type": "input_image", "image_url": "https://example.org/a.png"}
    seen = {**USER, "content": [image]}
    expected = told(
        "Error while downloading https://example.org/a.png.",
        "input[0]",
        "failed_to_download_image",
    )
    assert refused("chatgpt", {**CHATGPT, "input": [seen]}) == expected
    assert refused("api", {**API, "input": [seen]}) is None
    inline = {**USER, "content": [{**image, "image_url": "data:image/png;base64,AA=="}]}
    assert refused("chatgpt", {**CHATGPT, "input": [inline]}) is None


@pytest.mark.parametrize(
    ("change", "message", "param", "code"),
    [
        ({"seed": 1}, "Unknown parameter: 'seed'.", "seed", "unknown_parameter"),
        (
            {"model": ""},
            "Missing required parameter: 'model'.",
            "model",
            "missing_required_parameter",
        ),
        (
            {"previous_response_id": "r"},
            "Previous response with id 'r' not found.",
            "previous_response_id",
            "previous_response_not_found",
        ),
        (
            {"reasoning": {"effort": "ultra"}},
            (
                "Unsupported value: 'ultra' is not supported with the 'm' model. "
                "Supported values are: 'low', 'high'."
            ),
            "reasoning.effort",
            "unsupported_value",
        ),
        (
            {"tool_choice": {"type": "web_search_preview"}},
            "Tool choice 'web_search_preview' not found in 'tools' parameter.",
            "tool_choice",
            None,
        ),
        (
            {"tools": [without(TOOL, "name")]},
            "Missing required parameter: 'tools[0].name'.",
            "tools[0].name",
            "missing_required_parameter",
        ),
    ],
)
def test_what_the_api_refuses(change: Json, message: str, param: str, code: str | None) -> None:
    assert refused("api", API | change) == told(message, param, code)


@pytest.mark.parametrize("choice", ["auto", {"type": "function", "name": "f"}])
def test_a_tool_that_is_offered_can_be_chosen(choice: Any) -> None:
    assert refused("api", {**API, "tool_choice": choice}) is None


@pytest.mark.parametrize(
    ("schema", "fault"),
    [
        (
            without(SCHEMA, "additionalProperties"),
            "In context=(), 'additionalProperties' is required to be supplied and to be false.",
        ),
        (
            {**SCHEMA, "required": []},
            (
                "In context=(), 'required' is required to be supplied and to be an array "
                "including every key in properties. Missing 'a'."
            ),
        ),
        (
            {**SCHEMA, "properties": {"a": {"type": "array", "items": {"type": "object"}}}},
            (
                "In context=('properties', 'a', 'items'), "
                "'additionalProperties' is required to be supplied and to be false."
            ),
        ),
        ({"type": "string"}, "schema must be a JSON Schema of 'type: \"object\"', got another."),
    ],
)
def test_a_promised_schema_is_complete(schema: Json, fault: str) -> None:
    tool = {**TOOL, "parameters": schema}
    expected = told(
        f"Invalid schema for function 'f': {fault}",
        "tools[0].parameters",
        "invalid_function_parameters",
    )
    assert refused("api", {**API, "tools": [tool]}) == expected
    assert refused("api", {**API, "tools": [{**tool, "strict": False}]}) is None
    wanted = {"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}}
    message = f"Invalid schema for response_format 'n': {fault}"
    expected = told(message, "text.format.schema", "invalid_json_schema")
    assert refused("api", {**API, "text": wanted}) == expected
