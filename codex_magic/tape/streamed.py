"""The events with which a model's server streams one item of its output.

Pure. An item is begun, filled by deltas of a few characters each, and given once more as a
whole. Texts take the time of the lesson; what a tool is called with takes none.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from codex_magic.tape.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codex_magic.tape.format import Chunk
    from codex_magic.tape.steps import Event, Setting

PIECE: Final = re.compile(r"\s*\S{1,32}|\s+\Z")
"""A word with the white space before it. Languages without spaces stream too."""
YIELD_MS: Final = 3_600_000
"""How long a script may wait for its tool: a person may be thinking about an approval."""
ENCRYPTED: Final = "dGFwZQ=="
"""What only the model could read, where a script says nothing of it."""
PHASES: Final = {"answer": "final_answer", "commentary": "commentary"}
"""The channels of messages that say what they are."""


def pieces(text: str) -> list[str]:
    """Return `text` cut before its white space; joined they are `text` again."""
    return PIECE.findall(text)


def script(tool: str, arguments: dict[str, Any]) -> str:
    """Return the source with which a model in code mode calls one tool."""
    call = f"tools.{tool}({json.dumps(arguments, ensure_ascii=False)})"
    return f'// @exec: {{"yield_time_ms": {YIELD_MS}}}\nconst r = await {call}; text(r)'


def message(chunk: Chunk, setting: Setting, index: int) -> Iterator[Step]:
    """Yield a message of the agent, or its refusal to say one."""
    item: Event = {"type": "message", "id": f"msg_{setting.stem}_{index}", "role": "assistant"}
    if chunk.channel in PHASES:
        item["phase"] = PHASES[chunk.channel]
    extra: Event = {"logprobs": []}
    kind, key, part = "output_text", "text", {"annotations": [], **extra}
    if chunk.channel == "refusal":
        kind, key, part, extra = "refusal", "refusal", {}, {}
    part = {"type": kind, key: chunk.payload, **part}
    at = {"item_id": item["id"], "output_index": index, "content_index": 0}
    yield _added(chunk, index, {**item, "status": "in_progress", "content": []})
    yield _at_once("content_part.added", at, part={**part, key: ""})
    for piece in pieces(chunk.payload):
        yield _paced(f"{kind}.delta", at, setting, delta=piece, **extra)
    yield _at_once(f"{kind}.done", at, **{key: chunk.payload}, **extra)
    yield _at_once("content_part.done", at, part=part)
    yield _done(index, {**item, "status": "completed", "content": [part]})


def reasoning(chunk: Chunk, setting: Setting, index: int) -> Iterator[Step]:
    """Yield thoughts: a summary, where one is told, and what only the model can read."""
    # A lesson has the text alone; a script may say what is encrypted beside it.
    told = chunk.payload if isinstance(chunk.payload, dict) else {"text": chunk.payload}
    text, sealed = told["text"], told.get("encrypted", ENCRYPTED)
    item: Event = {"type": "reasoning", "id": f"rs_{setting.stem}_{index}"}
    if sealed is not None:
        item["encrypted_content"] = sealed
    at = {"item_id": item["id"], "output_index": index, "summary_index": 0}
    part = {"type": "summary_text", "text": text}
    yield _added(chunk, index, {**item, "summary": []})
    if text:
        yield _at_once("reasoning_summary_part.added", at, part={**part, "text": ""})
        for piece in pieces(text):
            yield _paced("reasoning_summary_text.delta", at, setting, delta=piece)
        yield _at_once("reasoning_summary_text.done", at, text=text)
        yield _at_once("reasoning_summary_part.done", at, part=part)
    yield _done(index, {**item, "summary": [part] if text else []})


def call(chunk: Chunk, setting: Setting, index: int) -> Iterator[Step]:
    """Yield a call of a tool, in the shape of the model that is addressed."""
    if chunk.channel == "custom":
        return _custom(chunk, setting, index, chunk.payload["tool"], chunk.payload["input"])
    if chunk.channel == "js":
        return _custom(chunk, setting, index, "exec", chunk.payload)
    if chunk.channel == "shell":
        tool, arguments = "shell", chunk.payload
    else:
        tool, arguments = chunk.payload["tool"], chunk.payload.get("arguments", {})
    if setting.shape == "code":
        return _custom(chunk, setting, index, "exec", script(tool, arguments))
    return _function(chunk, setting, index, tool, json.dumps(arguments))


def _function(
    chunk: Chunk, setting: Setting, index: int, tool: str, arguments: str
) -> Iterator[Step]:
    item = {"type": "function_call", **_ids("fc", setting, index), "name": tool}
    at = {"item_id": item["id"], "output_index": index}
    yield _added(chunk, index, {**item, "status": "in_progress", "arguments": ""})
    for piece in pieces(arguments):
        yield _at_once("function_call_arguments.delta", at, delta=piece)
    yield _at_once("function_call_arguments.done", at, arguments=arguments)
    yield _done(index, {**item, "status": "completed", "arguments": arguments})


def _custom(chunk: Chunk, setting: Setting, index: int, tool: str, source: str) -> Iterator[Step]:
    item = {"type": "custom_tool_call", **_ids("ctc", setting, index), "name": tool}
    at = {"item_id": item["id"], "output_index": index}
    yield _added(chunk, index, {**item, "status": "in_progress", "input": ""})
    for piece in pieces(source):
        yield _at_once("custom_tool_call_input.delta", at, delta=piece)
    yield _at_once("custom_tool_call_input.done", at, input=source)
    yield _done(index, {**item, "status": "completed", "input": source})


def shell_call(chunk: Chunk, setting: Setting, index: int) -> Iterator[Step]:
    """Yield a call of the shell that a model has in mind, with all its commands."""
    action, commands = chunk.payload["action"], chunk.payload["action"]["commands"]
    item = {"type": "shell_call", **_ids("sh", setting, index), **chunk.payload}
    yield _added(
        chunk, index, {**item, "status": "in_progress", "action": {**action, "commands": []}}
    )
    for number, command in enumerate(commands):
        at = {"output_index": index, "command_index": number}
        yield _at_once("shell_call_command.added", at, command="")
        for piece in pieces(command):
            yield _at_once("shell_call_command.delta", at, delta=piece)
        yield _at_once("shell_call_command.done", at, command=command)
    yield _done(index, {**item, "status": "completed"})


def local_shell_call(chunk: Chunk, setting: Setting, index: int) -> Iterator[Step]:
    """Yield a call of the shell that older models have in mind; it comes as a whole."""
    item = {"type": "local_shell_call", **_ids("lsh", setting, index), **chunk.payload}
    yield _added(chunk, index, {**item, "status": "in_progress"})
    yield _done(index, {**item, "status": "completed"})


def search(chunk: Chunk, setting: Setting, index: int) -> Iterator[Step]:
    """Yield a search of the web, which the model's host does by itself."""
    item: Event = {"type": "web_search_call", "id": f"ws_{setting.stem}_{index}"}
    item["action"] = {"type": "search", "query": chunk.payload, "queries": [chunk.payload]}
    at = {"item_id": item["id"], "output_index": index}
    yield _added(chunk, index, {**item, "status": "in_progress"})
    for word in ("in_progress", "searching", "completed"):
        yield _at_once(f"web_search_call.{word}", at)
    yield _done(index, {**item, "status": "completed"})


def compaction(chunk: Chunk, setting: Setting, index: int) -> Iterator[Step]:
    """Yield the history in a form that only the model can read."""
    item: Event = {"type": "compaction", "id": f"cmp_{setting.stem}_{index}"}
    yield _added(chunk, index, {**item, "encrypted_content": ""})
    yield _at_once("compaction.compacting", {"item_id": item["id"], "output_index": index})
    yield _done(index, {**item, "encrypted_content": chunk.payload})


def _ids(kind: str, setting: Setting, index: int) -> Event:
    return {"id": f"{kind}_{setting.stem}_{index}", "call_id": f"call_{setting.stem}_{index}"}


def _at_once(kind: str, at: Event, /, **fields: Any) -> Step:
    return Step(0, {"type": f"response.{kind}", **at, **fields})


def _paced(kind: str, at: Event, setting: Setting, /, **fields: Any) -> Step:
    return Step(1 / setting.words_per_s, {"type": f"response.{kind}", **at, **fields})


def _added(chunk: Chunk, index: int, item: Event) -> Step:
    event = {"type": "response.output_item.added", "output_index": index, "item": item}
    return Step(chunk.delay_s, event)


def _done(index: int, item: Event) -> Step:
    return Step(0, {"type": "response.output_item.done", "output_index": index, "item": item})


ITEMS: Final[dict[str, Callable[[Chunk, Setting, int], Iterator[Step]]]] = {
    "message": message,
    "commentary": message,
    "answer": message,
    "refusal": message,
    "reasoning": reasoning,
    "shell": call,
    "call": call,
    "js": call,
    "custom": call,
    "shell_call": shell_call,
    "local_shell_call": local_shell_call,
    "search": search,
    "compaction": compaction,
}
"""What streams the item of each channel."""
