"""Tool calls of the Responses API: how tools are offered, what a call asks for, how it is answered.

Pure. Our own function tools come first; `shell` and `local_shell` are forms that some models have
been trained on, and mean our own shell.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from codex_magic.backends.responses.failures import Failure
from codex_magic.items import Streams, well_formed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_magic.backends.base import ToolAnswer, ToolSpec

Json = dict[str, Any]

SHELL: Final = "shell"
HOSTED: Final[Mapping[str, Json]] = {
    "shell": {"type": "shell", "environment": {"type": "local"}},
    "local_shell": {"type": "local_shell"},
}
"""The shell in a form of the host's own, by the setting that asks for it."""


# --- offering ---------------------------------------------------------------------------------


def offered(tools: Sequence[ToolSpec], *, shell: str, web_search: bool) -> list[Json]:
    """Return `tools` as a request names them.

    Parameters
    ----------
    shell
        ``function``, or one of `HOSTED`.
    """
    hosted = shell in HOSTED and any(tool.name == SHELL for tool in tools)
    found: list[Json] = [_function(tool) for tool in tools if not (hosted and tool.name == SHELL)]
    if hosted:
        found.append(HOSTED[shell])
    if web_search:
        found.append({"type": "web_search"})
    return found


def _function(tool: ToolSpec) -> Json:
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": strict(tool.parameters),
        "strict": True,
    }


def strict(schema: Mapping[str, Any]) -> Json:
    """Return `schema` as strict mode wants it: all is required, and what was optional may be null."""
    found = {key: _strict_inside(key, value) for key, value in schema.items()}
    properties = schema.get("properties")
    if properties is None:
        return found
    needed = schema.get("required") or ()
    found["properties"] = {
        name: strict(inner) if name in needed else _nullable(strict(inner))
        for name, inner in properties.items()
    }
    return found | {"required": list(properties), "additionalProperties": False}


def _strict_inside(key: str, value: Any) -> Any:
    if key == "items":
        return strict(value)
    if key == "anyOf":
        return [strict(choice) for choice in value]
    return value


def _nullable(schema: Json) -> Json:
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    nullable = {**schema, "type": [schema["type"], "null"]}
    return nullable | ({"enum": [*schema["enum"], None]} if "enum" in schema else {})


# --- calls ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Asked:
    """One run of one of our tools; a shell call of the host's own form may want several."""

    call_id: str
    tool: str
    arguments: Any


@dataclass(frozen=True, slots=True)
class Call:
    """An item that waits for its output."""

    item: Json
    asked: tuple[Asked, ...]


KINDS: Final = (
    "function_call",
    "custom_tool_call",
    "shell_call",
    "local_shell_call",
    "apply_patch_call",
)


def trouble(item: Json) -> Failure | None:
    """Return why a call cannot be answered; None where it can."""
    call_id, kind = item.get("call_id"), item["type"]
    if not (isinstance(call_id, str) and call_id):
        said = f"the host sent a {kind} without a call_id, so it cannot be answered"
    elif kind in _ACTING and not isinstance(item.get("action"), dict):
        said = f"the host sent a {kind} without an action"
    elif kind in _NAMED and not isinstance(item.get("name"), str):
        said = f"the host sent a {kind} that names no tool"
    else:
        return None
    return Failure(said, kind="badResponse")


_ACTING: Final = ("shell_call", "local_shell_call")
_NAMED: Final = ("function_call", "custom_tool_call")


def sound(item: Json) -> Json:
    """Return a call as it may be sent again: arguments are text."""
    arguments = item.get("arguments")
    if item["type"] != "function_call" or isinstance(arguments, str):
        return item
    return {**item, "arguments": json.dumps({} if arguments is None else arguments)}


def read(item: Json) -> Call:
    """Return the call that an item of one of `KINDS` is; one with which there is no `trouble`."""
    call_id, action = item["call_id"], item.get("action") or {}
    asked: tuple[Asked, ...]
    match item["type"]:
        case "function_call":
            asked = (Asked(call_id, item["name"], _arguments(item.get("arguments"))),)
        case "custom_tool_call":
            asked = (Asked(call_id, item["name"], {"input": item.get("input")}),)
        case "shell_call":
            asked = _commands(call_id, action)
        case "local_shell_call":
            asked = (Asked(call_id, SHELL, _local(action)),)
        case kind:
            asked = (Asked(call_id, kind, item.get("operation")),)
    return Call(item, asked)


def _arguments(text: Any) -> Any:
    """Return a function's arguments without the nulls that stand for what was left out."""
    try:
        found = json.loads(text) if isinstance(text, str) and text else {}
    except (ValueError, RecursionError):
        return text
    if isinstance(found, dict):
        return {name: value for name, value in found.items() if value is not None}
    return found


def _commands(call_id: str, action: Json) -> tuple[Asked, ...]:
    commands = action.get("commands")
    if not isinstance(commands, list) or not commands:
        return (Asked(call_id, SHELL, {"command": commands}),)
    limit = _limit(action)
    # Each run is an item of its own, and items need names of their own.
    names = [call_id] if len(commands) == 1 else [f"{call_id}.{n}" for n in range(len(commands))]
    return tuple(
        Asked(name, SHELL, {"command": command, **limit})
        for name, command in zip(names, commands, strict=True)
    )


def _local(action: Json) -> Json:
    command = action.get("command")
    env = action.get("env") or {}
    if env and isinstance(env, dict) and isinstance(command, list):
        command = ["env", *(f"{name}={value}" for name, value in env.items()), *command]
    folder = action.get("working_directory")
    return {"command": command, **({"workdir": folder} if folder else {}), **_limit(action)}


def _limit(action: Json) -> Json:
    limit = action.get("timeout_ms")
    return {"timeout_ms": limit} if isinstance(limit, int | float) and limit > 0 else {}


# --- answers ----------------------------------------------------------------------------------


def output(call: Call, answers: Sequence[ToolAnswer]) -> Json:
    """Return the item that answers `call`, one answer for each run that it asked for."""
    item = call.item
    match item["type"]:
        case "shell_call":
            result: Json = {
                "type": "shell_call_output",
                "output": [_streamed(answer) for answer in answers],
                **_echoed(item.get("action") or {}, "max_output_length"),
            }
        case "local_shell_call":
            result = {
                "type": "local_shell_call_output",
                "output": json.dumps(_local_output(answers[0])),
                **_echoed(item, "id"),
            }
        case "apply_patch_call":
            result = {
                "type": "apply_patch_call_output",
                "status": "completed" if answers[0].success else "failed",
                "output": answers[0].text,
            }
        case kind:
            result = {"type": f"{kind}_output", "output": _content(answers[0])}
    return {**result, "call_id": item["call_id"], **_echoed(item, "caller")}


def _content(answer: ToolAnswer) -> Any:
    text = well_formed(answer.text)
    if not answer.images:
        return text
    images = [{"type": "input_image", "image_url": url} for url in answer.images]
    return [{"type": "input_text", "text": text}, *images]


def _streamed(answer: ToolAnswer) -> Json:
    streams = _streams(answer)
    outcome: Json = {"type": "timeout"}
    if not streams.timed_out:
        # What did not end by itself, or never began, has no code of its own.
        code = 1 if streams.exit_code is None else streams.exit_code
        outcome = {"type": "exit", "exit_code": code}
    return {
        "stdout": well_formed(streams.stdout),
        "stderr": well_formed(streams.stderr),
        "outcome": outcome,
    }


def _local_output(answer: ToolAnswer) -> Json:
    streams = _streams(answer)
    return {
        "stdout": well_formed(streams.stdout),
        "stderr": well_formed(streams.stderr),
        "exit_code": streams.exit_code,
        "timed_out": streams.timed_out,
    }


def _streams(answer: ToolAnswer) -> Streams:
    """Return what was written; of a command that was not run, why it was not."""
    return answer.streams or Streams(stderr=answer.text)


def _echoed(item: Json, name: str) -> Json:
    return {name: item[name]} if item.get(name) is not None else {}
