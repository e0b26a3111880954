"""The names on the wire, against the schema that the binary prints: a new one fails by name."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import binary
from codex_magic.backends.appserver import wire
from codex_magic.backends.base import ToolAnswer
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Path:
    try:
        program = binary.candidates()[0].path
    except SetupError:
        pytest.skip("there is no Codex here")
    out = tmp_path_factory.mktemp("schema")
    words = [program, "app-server", "generate-json-schema", "--experimental", "--out", out]
    subprocess.run(words, check=True, capture_output=True)
    return out


def read(schema: Path, name: str) -> Json:
    return dict(json.loads((schema / f"{name}.json").read_text()))


def methods(schema: Path, name: str) -> set[str]:
    one_of = read(schema, name)["oneOf"]
    return {word for each in one_of for word in each["properties"]["method"]["enum"]}


def kinds(definition: Json) -> set[str]:
    return {word for each in definition["oneOf"] for word in each["properties"]["type"]["enum"]}


def listed_once(*tables: Any) -> set[str]:
    names = [name for table in tables for name in table]
    assert sorted(names) == sorted(set(names))
    return set(names)


def test_every_notification_is_translated_or_ignored(schema: Path) -> None:
    listed = listed_once(wire.NOTIFICATIONS, wire.IGNORED)
    assert methods(schema, "ServerNotification") ^ listed == set()


def test_every_request_of_the_server_is_served_or_refused(schema: Path) -> None:
    listed = listed_once(wire.SERVED, wire.REFUSALS, wire.UNANSWERED)
    assert methods(schema, "ServerRequest") ^ listed == set()


def test_every_kind_of_item_is_read_or_listed(schema: Path) -> None:
    listed = listed_once(wire.ITEMS, wire.OUR_OWN_ITEMS, wire.UNREAD_ITEMS)
    definitions = read(schema, "ServerNotification")["definitions"]
    assert kinds(definitions["ThreadItem"]) ^ listed == set()


def test_every_status_is_one_of_ours(schema: Path) -> None:
    definitions = read(schema, "ServerNotification")["definitions"]
    names = {
        "TurnStatus",
        "CommandExecutionStatus",
        "DynamicToolCallStatus",
        "McpToolCallStatus",
        "PatchApplyStatus",
    }
    words = {word for name in names for word in definitions[name]["enum"]}
    assert words ^ set(wire._STATUSES) == set()
    assert set(definitions["TurnPlanStepStatus"]["enum"]) ^ set(wire._STEPS) == set()
    # A part of an answer is shown as a message without a phase.
    phases = {word for each in definitions["MessagePhase"]["oneOf"] for word in each["enum"]}
    assert phases == {"commentary", "partial_answer", "final_answer"}


def test_the_content_of_a_tools_answer_is_known(schema: Path) -> None:
    answer = read(schema, "DynamicToolCallResponse")
    content = answer["definitions"]["DynamicToolCallOutputContentItem"]
    assert kinds(content) == {"inputText", "inputImage", "inputAudio"}
    assert faults(wire.tool_result(ToolAnswer("text", success=False)), answer, answer) == []
    seen = wire.tool_result(ToolAnswer("text", images=("data:image/png;base64,AAAA",)))
    assert [item["type"] for item in seen["contentItems"]] == ["inputText", "inputImage"]
    assert faults(seen, answer, answer) == []


RESPONSES = {
    "item/commandExecution/requestApproval": "CommandExecutionRequestApprovalResponse",
    "item/fileChange/requestApproval": "FileChangeRequestApprovalResponse",
    "execCommandApproval": "ExecCommandApprovalResponse",
    "applyPatchApproval": "ApplyPatchApprovalResponse",
    "item/permissions/requestApproval": "PermissionsRequestApprovalResponse",
    "item/tool/requestUserInput": "ToolRequestUserInputResponse",
    "mcpServer/elicitation/request": "McpServerElicitationRequestResponse",
}


@pytest.mark.parametrize("method", wire.REFUSALS)
def test_a_refusal_is_an_answer_of_the_schema(schema: Path, method: str) -> None:
    answer = read(schema, RESPONSES[method])
    assert faults(wire.REFUSALS[method], answer, answer) == []


def test_what_we_send_is_in_the_schema(schema: Path) -> None:
    """Hold the names of our own requests and of their parameters against the schema."""
    sent = {
        "thread/start": wire.thread_start(common(), ()),
        "thread/resume": wire.thread_again(common(), "t"),
        "thread/fork": wire.thread_fork(common(), "t", "s"),
    }
    request = read(schema, "ClientRequest")
    known = {
        method: each["properties"]["params"]["$ref"].rpartition("/")[2]
        for each in request["oneOf"]
        for method in each["properties"]["method"]["enum"]
        if "$ref" in each["properties"].get("params", {})
    }
    strange = {
        method: set(params) - set(request["definitions"][known[method]]["properties"])
        for method, params in sent.items()
    }
    assert [name for name in strange if strange[name]] == []


def common() -> Json:
    return wire.thread_params(
        cwd="/x", instructions="i", model="m", config={"mcp_servers": {"a": {}}}
    )


def faults(value: Any, schema: Json, root: Json) -> list[str]:
    """Return what in `value` breaks `schema`: as much of JSON Schema as these answers need."""
    if "$ref" in schema:
        return faults(value, root["definitions"][schema["$ref"].rpartition("/")[2]], root)
    for word in ("oneOf", "anyOf"):
        if word in schema:
            found = [faults(value, each, root) for each in schema[word]]
            return [] if [] in found else [f"{value!r} is none of: {found}"]
    if "allOf" in schema:
        return [fault for each in schema["allOf"] for fault in faults(value, each, root)]
    if "enum" in schema and value not in schema["enum"]:
        return [f"{value!r} is not in {schema['enum']}"]
    if isinstance(value, list):
        return [fault for each in value for fault in faults(each, schema.get("items", {}), root)]
    if not isinstance(value, dict):
        return []
    if schema.get("type") not in (None, "object") and "object" not in schema["type"]:
        return [f"an object where {schema['type']} is expected"]
    known = schema.get("properties", {})
    missing = [f"{name!r} is missing" for name in schema.get("required", ()) if name not in value]
    strange = [f"{name!r} is not known" for name in value if known and name not in known]
    inner = [f for name in value if name in known for f in faults(value[name], known[name], root)]
    return missing + strange + inner
