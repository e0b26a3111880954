"""Tool calls of the Responses API: what is offered, what is asked for, how it is answered."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codex_magic.backends.base import ToolAnswer, ToolSpec
from codex_magic.backends.responses import calls
from codex_magic.backends.responses.calls import Asked
from codex_magic.items import Streams
from codex_magic.session import Session

Json = dict[str, Any]

SHELL = ToolSpec("shell", "Runs.", {"type": "object", "properties": {}, "required": []})
PEEK = ToolSpec(
    "peek",
    "Looks.",
    {
        "type": "object",
        "properties": {
            "name": {"type": "string"},
            "how": {"type": "string", "enum": ["far", "near"]},
            "where": {
                "anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]
            },
            "each": {
                "type": "array",
                "items": {"type": "object", "properties": {"a": {"type": "integer"}}},
            },
        },
        "required": ["name"],
    },
)


def test_a_tool_is_offered_as_a_strict_function() -> None:
    (offered,) = calls.offered([PEEK], shell="function", web_search=False)
    assert offered == {
        "type": "function",
        "name": "peek",
        "description": "Looks.",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "how": {"type": ["string", "null"], "enum": ["far", "near", None]},
                "where": {
                    "anyOf": [
                        {"type": "string"},
                        {"type": "array", "items": {"type": "string"}},
                        {"type": "null"},
                    ]
                },
                "each": {
                    "type": ["array", "null"],
                    "items": {
                        "type": "object",
                        "properties": {"a": {"type": ["integer", "null"]}},
                        "required": ["a"],
                        "additionalProperties": False,
                    },
                },
            },
            "required": ["name", "how", "where", "each"],
            "additionalProperties": False,
        },
    }


def objects(schema: Any) -> list[Any]:
    """Return every schema of an object inside a schema."""
    if isinstance(schema, list):
        return [found for each in schema for found in objects(each)]
    if not isinstance(schema, dict):
        return []
    own = [schema] if "properties" in schema else []
    return own + [found for each in schema.values() for found in objects(each)]


def test_every_tool_of_ours_can_be_strict() -> None:
    tools = [ToolSpec(t.name, t.description, t.parameters) for t in Session(environ={}).tools()]
    for offered in calls.offered(tools, shell="function", web_search=False):
        found = objects(offered["parameters"])
        assert found
        for schema in found:
            assert schema["required"] == list(schema["properties"])
            assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("shell", "search", "kinds"),
    [
        ("function", False, ["function shell", "function peek"]),
        ("function", True, ["function shell", "function peek", "web_search"]),
        ("shell", False, ["function peek", "shell"]),
        ("local_shell", True, ["function peek", "local_shell", "web_search"]),
    ],
)
def test_the_shell_comes_in_three_forms(shell: str, search: bool, kinds: list[str]) -> None:
    found = calls.offered([SHELL, PEEK], shell=shell, web_search=search)
    assert [f"{tool['type']} {tool.get('name', '')}".strip() for tool in found] == kinds


def test_without_our_shell_there_is_none_in_another_form() -> None:
    found = calls.offered([PEEK], shell="shell", web_search=False)
    assert [tool["type"] for tool in found] == ["function"]


ASKED = [
    (
        {"type": "function_call", "name": "peek", "arguments": '{"name": "x", "how": null}'},
        [Asked("c", "peek", {"name": "x"})],
    ),
    ({"type": "function_call", "name": "peek", "arguments": ""}, [Asked("c", "peek", {})]),
    ({"type": "function_call", "name": "peek", "arguments": "{no"}, [Asked("c", "peek", "{no")]),
    ({"type": "function_call", "name": "peek", "arguments": "[1]"}, [Asked("c", "peek", [1])]),
    (
        {"type": "function_call", "name": "peek", "arguments": "[" * 10_000},
        [Asked("c", "peek", "[" * 10_000)],
    ),
    (
        {"type": "custom_tool_call", "name": "apply_patch", "input": "*** Begin"},
        [Asked("c", "apply_patch", {"input": "*** Begin"})],
    ),
    (
        {"type": "shell_call", "action": {"commands": ["ls"], "timeout_ms": 5}},
        [Asked("c", "shell", {"command": "ls", "timeout_ms": 5})],
    ),
    (
        {"type": "shell_call", "action": {"commands": ["ls", "pwd"]}},
        [Asked("c.0", "shell", {"command": "ls"}), Asked("c.1", "shell", {"command": "pwd"})],
    ),
    ({"type": "shell_call", "action": {}}, [Asked("c", "shell", {"command": None})]),
    (
        {
            "type": "local_shell_call",
            "action": {
                "type": "exec",
                "command": ["ls", "-l"],
                "env": {"A": "b"},
                "timeout_ms": 0,
                "working_directory": "sub",
            },
        },
        [Asked("c", "shell", {"command": ["env", "A=b", "ls", "-l"], "workdir": "sub"})],
    ),
    (
        {"type": "apply_patch_call", "operation": {"type": "delete_file", "path": "p"}},
        [Asked("c", "apply_patch_call", {"type": "delete_file", "path": "p"})],
    ),
]


@pytest.mark.parametrize(("item", "asked"), ASKED)
def test_what_a_call_asks_for(item: dict[str, Any], asked: list[Asked]) -> None:
    assert list(calls.read({"call_id": "c", **item}).asked) == asked


SOUND: Json = {"call_id": "c", "name": "x", "action": {}, "arguments": "{}"}


@pytest.mark.parametrize("kind", calls.KINDS)
@pytest.mark.parametrize("missing", [None, "", 7, ["c"]])
def test_a_call_without_a_name_cannot_be_answered(kind: str, missing: Any) -> None:
    assert calls.trouble({"type": kind, **SOUND}) is None
    why = calls.trouble({"type": kind, **SOUND, "call_id": missing})
    assert why is not None
    assert (why.kind, why.retries) == ("badResponse", False)
    assert f"{kind} without a call_id" in why.message


@pytest.mark.parametrize(
    ("item", "said"),
    [
        ({"type": "shell_call", **SOUND, "action": "ls"}, "a shell_call without an action"),
        ({"type": "local_shell_call", **SOUND, "action": None}, "without an action"),
        ({"type": "function_call", **SOUND, "name": None}, "names no tool"),
    ],
)
def test_a_call_that_says_nothing_cannot_be_answered(item: Json, said: str) -> None:
    why = calls.trouble(item)
    assert why is not None
    assert said in why.message


def test_arguments_are_sent_again_as_text() -> None:
    item = {"type": "function_call", **SOUND}
    assert calls.sound(item) == item
    assert calls.sound({**item, "arguments": {"a": 1}})["arguments"] == '{"a": 1}'
    assert calls.sound({**item, "arguments": None})["arguments"] == "{}"


GOOD = ToolAnswer("outcome: exit 0", streams=Streams(stdout="out", stderr="err", exit_code=0))
LATE = ToolAnswer("outcome: timeout", success=False, streams=Streams(stdout="o", timed_out=True))
DECLINED = ToolAnswer("outcome: declined - no", success=False)
SEEN = ToolAnswer("here", images=("data:image/png;base64,AA",))

ANSWERED = [
    (
        {"type": "function_call", "name": "peek"},
        [GOOD],
        {"type": "function_call_output", "output": "outcome: exit 0"},
    ),
    (
        {"type": "function_call", "name": "peek", "caller": {"type": "direct"}},
        [SEEN],
        {
            "type": "function_call_output",
            "caller": {"type": "direct"},
            "output": [
                {"type": "input_text", "text": "here"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA"},
            ],
        },
    ),
    (
        {"type": "custom_tool_call", "name": "x", "input": ""},
        [DECLINED],
        {"type": "custom_tool_call_output", "output": "outcome: declined - no"},
    ),
    (
        {
            "type": "shell_call",
            "caller": "me",
            "action": {"commands": ["a", "b", "c"], "max_output_length": 9},
        },
        [GOOD, LATE, DECLINED],
        {
            "type": "shell_call_output",
            "caller": "me",
            "max_output_length": 9,
            "output": [
                {"stdout": "out", "stderr": "err", "outcome": {"type": "exit", "exit_code": 0}},
                {"stdout": "o", "stderr": "", "outcome": {"type": "timeout"}},
                {
                    "stdout": "",
                    "stderr": "outcome: declined - no",
                    "outcome": {"type": "exit", "exit_code": 1},
                },
            ],
        },
    ),
    (
        {"type": "local_shell_call", "id": "ls_1", "action": {"command": ["a"]}},
        [GOOD],
        {
            "type": "local_shell_call_output",
            "id": "ls_1",
            "output": json.dumps(
                {"stdout": "out", "stderr": "err", "exit_code": 0, "timed_out": False}
            ),
        },
    ),
    (
        {"type": "apply_patch_call", "operation": {}},
        [DECLINED],
        {
            "type": "apply_patch_call_output",
            "status": "failed",
            "output": "outcome: declined - no",
        },
    ),
]


@pytest.mark.parametrize(("item", "answers", "output"), ANSWERED)
def test_how_a_call_is_answered(
    item: dict[str, Any], answers: list[ToolAnswer], output: dict[str, Any]
) -> None:
    call = calls.read({"call_id": "c", **item})
    assert calls.output(call, answers) == {"call_id": "c", **output}


def test_half_a_character_does_not_spoil_an_answer() -> None:
    call = calls.read({"type": "function_call", "call_id": "c", "name": "x"})
    text = calls.output(call, [ToolAnswer("a\ud800b")])["output"]
    assert text == "a\ufffdb"
