"""A response of a lesson, as the events that a model's server would send.

Pure: values in, timed steps out. The text of a chunk becomes deltas of a few characters each,
at the pace of the lesson; a tool call takes the shape that the addressed model has.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codex_magic.tape.format import Chunk, Response
    from codex_magic.tape.request import Shape

Event = dict[str, Any]

PIECE: Final = re.compile(r"\s*\S{1,32}|\s+\Z")
"""A word with the white space before it. Languages without spaces stream too."""
TOKENS_PER_WORD: Final = 1.3
YIELD_MS: Final = 3_600_000
"""How long a script may wait for its tool: a person may be thinking about an approval."""
ENDS: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})


@dataclass(frozen=True, slots=True)
class Gate:
    """Wait until the gate of this name is opened."""

    name: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Drop the connection."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next, after a delay."""

    delay_s: float
    act: Event | Gate | Cut


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    body: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that arrives step by step."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Setting:
    """What a response takes from the request and the lesson.

    Parameters
    ----------
    stem
        Goes into every id. It must be new for each response: Codex keys what it shows by ids.
    words_per_s
        Pace of texts; infinity for tests.
    input_words
        What the bill says was read.
    """

    shape: Shape
    stem: str
    model: str = ""
    words_per_s: float = float("inf")
    input_words: int = 0


def answer(response: Response, setting: Setting) -> Reply | Stream:
    """Return what goes back for one request."""
    if response.status is not None:
        return Reply(response.status, response.body, tuple(response.headers.items()))
    return Stream(tuple(expand(response, setting)))


def error(status: int, code: str, message: str) -> Reply:
    """Return an HTTP error in the form that clients of the Responses API read."""
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004
    return Reply(status, {"error": {"message": message, "type": kind, "code": code}})


def expand(response: Response, setting: Setting) -> list[Step]:
    """Return the steps of a response that is made of chunks."""
    head = {"id": f"resp_{setting.stem}", "object": "response", "model": setting.model}
    running = {**head, "status": "in_progress", "output": []}
    steps = [
        Step(0, {"type": "response.created", "response": running}),
        Step(0, {"type": "response.in_progress", "response": running}),
    ]
    index = itertools.count()
    for chunk in response.chunks:
        steps += EXPAND.get(chunk.channel, _text)(chunk, setting, index)
    if not _ended(steps):
        done = {**head, "status": "completed", "output": [], "usage": _usage(response, setting)}
        steps.append(Step(0, {"type": "response.completed", "response": done}))
    return [_numbered(step, number) for number, step in enumerate(steps)]


def pieces(text: str) -> list[str]:
    """Return `text` cut before its white space; joined they are `text` again."""
    return PIECE.findall(text)


def script(tool: str, arguments: dict[str, Any]) -> str:
    """Return the source with which a model in code mode calls one tool."""
    call = f"tools.{tool}({json.dumps(arguments, ensure_ascii=False)})"
    return f'// @exec: {{"yield_time_ms": {YIELD_MS}}}\nconst r = await {call}; text(r)'


def _text(chunk: Chunk, setting: Setting, index: Iterator[int]) -> Iterator[Step]:
    output_index = next(index)
    item_id = f"msg_{setting.stem}_{output_index}"
    item = {"type": "message", "id": item_id, "role": "assistant"}
    if chunk.channel != "message":
        item["phase"] = "final_answer" if chunk.channel == "answer" else "commentary"
    at = {"item_id": item_id, "output_index": output_index, "content_index": 0}
    part = {"type": "output_text", "text": chunk.payload, "annotations": []}
    yield Step(chunk.delay_s, _added(output_index, {**item, "content": []}))
    yield Step(0, {"type": "response.content_part.added", **at, "part": {**part, "text": ""}})
    yield from _deltas("response.output_text", at, chunk.payload, setting)
    yield Step(0, {"type": "response.content_part.done", **at, "part": part})
    yield Step(0, _done(output_index, {**item, "content": [part]}))


def _reasoning(chunk: Chunk, setting: Setting, index: Iterator[int]) -> Iterator[Step]:
    output_index = next(index)
    item_id = f"rs_{setting.stem}_{output_index}"
    item = {"type": "reasoning", "id": item_id, "encrypted_content": "dGFwZQ=="}
    at = {"item_id": item_id, "output_index": output_index, "summary_index": 0}
    part = {"type": "summary_text", "text": chunk.payload}
    yield Step(chunk.delay_s, _added(output_index, {**item, "summary": []}))
    opened = {**part, "text": ""}
    yield Step(0, {"type": "response.reasoning_summary_part.added", **at, "part": opened})
    yield from _deltas("response.reasoning_summary_text", at, chunk.payload, setting)
    yield Step(0, {"type": "response.reasoning_summary_part.done", **at, "part": part})
    yield Step(0, _done(output_index, {**item, "summary": [part]}))


def _deltas(kind: str, at: Event, text: str, setting: Setting) -> Iterator[Step]:
    for piece in pieces(text):
        yield Step(1 / setting.words_per_s, {"type": f"{kind}.delta", **at, "delta": piece})
    yield Step(0, {"type": f"{kind}.done", **at, "text": text})


def _call(chunk: Chunk, setting: Setting, index: Iterator[int]) -> Iterator[Step]:
    output_index = next(index)
    ids = {"call_id": f"call_{setting.stem}_{output_index}", "status": "completed"}
    item: Event
    if setting.shape == "code" or chunk.channel == "js":
        source = chunk.payload if chunk.channel == "js" else script(*_named(chunk))
        item = {"type": "custom_tool_call", "name": "exec", "input": source, **ids}
        item["id"] = f"ctc_{setting.stem}_{output_index}"
        blank = {"input": ""}
    else:
        tool, arguments = _named(chunk)
        item = {"type": "function_call", "name": tool, "arguments": json.dumps(arguments), **ids}
        item["id"] = f"fc_{setting.stem}_{output_index}"
        blank = {"arguments": ""}
    started = {**item, **blank, "status": "in_progress"}
    yield Step(chunk.delay_s, _added(output_index, started))
    yield Step(0, _done(output_index, item))


def _named(chunk: Chunk) -> tuple[str, dict[str, Any]]:
    if chunk.channel == "shell":
        return "shell", chunk.payload
    return chunk.payload["tool"], chunk.payload.get("arguments", {})


def _event(chunk: Chunk, _setting: Setting, _index: Iterator[int]) -> Iterator[Step]:
    yield Step(chunk.delay_s, chunk.payload)


def _gate(chunk: Chunk, _setting: Setting, _index: Iterator[int]) -> Iterator[Step]:
    yield Step(chunk.delay_s, Gate(chunk.payload))


def _cut(chunk: Chunk, _setting: Setting, _index: Iterator[int]) -> Iterator[Step]:
    yield Step(chunk.delay_s, Cut())


def _failed(chunk: Chunk, setting: Setting, _index: Iterator[int]) -> Iterator[Step]:
    failed = {"id": f"resp_{setting.stem}", "status": "failed", "error": chunk.payload}
    yield Step(chunk.delay_s, {"type": "response.failed", "response": failed})


EXPAND: Final[dict[str, Callable[[Chunk, Setting, Iterator[int]], Iterator[Step]]]] = {
    "reasoning": _reasoning,
    "shell": _call,
    "call": _call,
    "js": _call,
    "event": _event,
    "gate": _gate,
    "failed": _failed,
    "cut": _cut,
}


def _added(output_index: int, item: Event) -> Event:
    return {"type": "response.output_item.added", "output_index": output_index, "item": item}


def _done(output_index: int, item: Event) -> Event:
    return {"type": "response.output_item.done", "output_index": output_index, "item": item}


def _ended(steps: list[Step]) -> bool:
    last = steps[-1].act
    return isinstance(last, Cut) or (isinstance(last, dict) and last["type"] in ENDS)


def _numbered(step: Step, number: int) -> Step:
    if not isinstance(step.act, dict):
        return step
    return Step(step.delay_s, {**step.act, "sequence_number": number})


def _usage(response: Response, setting: Setting) -> Event:
    read = int(setting.input_words * TOKENS_PER_WORD)
    thought = sum(_tokens(c) for c in response.chunks if c.channel == "reasoning")
    written = sum(_tokens(c) for c in response.chunks)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + written,
    }


def _tokens(chunk: Chunk) -> int:
    said = chunk.payload if isinstance(chunk.payload, str) else json.dumps(chunk.payload)
    return int(len(said.split()) * TOKENS_PER_WORD)
