"""A response of a lesson, as the events that a model's server would send.

Pure: values in, timed steps out. A script may use channels that no lesson has, for what only
tests need; the format of lessons does not know them:

===================  ==================================================================
channel              payload
===================  ==================================================================
`refusal`            text, said in the place of an answer
`custom`             ``{"tool": "…", "input": "…"}``: a call with free text
`shell_call`         the fields of the item of the shell that the API itself describes
`local_shell_call`   those of its predecessor
`search`             the query of a search of the web
`compaction`         what only the model can read
`incomplete`         the reason for which the response ends early
`error`              ``{"code": "…", "message": "…"}``, sent as an event of its own
`bare`               none: the response is only its end
`usage`              the bill, in the place of an estimate
`headers`            HTTP headers of the response
===================  ==================================================================
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

from codex_magic.tape.steps import Cut, Gate, Reply, Step, Stream
from codex_magic.tape.streamed import ITEMS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_magic.tape.format import Chunk, Response
    from codex_magic.tape.steps import Event, Setting

TOKENS_PER_WORD: Final = 1.3
ENDS: Final = frozenset({"response.completed", "response.failed", "response.incomplete", "error"})
DEFAULTS: Final[Event] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}, "verbosity": "medium"},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What a response repeats of its request, and what it says where the request was silent."""


def answer(response: Response, setting: Setting) -> Reply | Stream:
    """Return what goes back for one request."""
    if response.status is not None:
        return Reply(response.status, response.body, tuple(response.headers.items()))
    told = [chunk.payload for chunk in response.chunks if chunk.channel == "headers"]
    headers = tuple(pair for payload in told for pair in payload.items())
    return Stream(tuple(expand(response, setting)), headers)


def error(status: int, code: str | None, message: str, param: str | None = None) -> Reply:
    """Return an HTTP error in the form that clients of the Responses API read."""
    kind = "invalid_request_error" if status < 500 else "server_error"  # noqa: PLR2004
    told = {"message": message, "type": kind, "param": param, "code": code}
    return Reply(status, {"error": told})


def expand(response: Response, setting: Setting) -> list[Step]:
    """Return the steps of a response that is made of chunks."""
    frame = _frame(setting)
    begun = {**frame, "status": "in_progress", "output": [], "usage": None}
    steps: list[Step] = []
    if not any(chunk.channel == "bare" for chunk in response.chunks):
        steps += [
            Step(0, {"type": "response.created", "response": begun}),
            Step(0, {"type": "response.in_progress", "response": begun}),
        ]
    index = itertools.count()
    for chunk in response.chunks:
        if chunk.channel in ITEMS:
            steps += ITEMS[chunk.channel](chunk, setting, next(index))
        else:
            said = {**frame, "output": _output(steps, setting), "usage": _usage(response, setting)}
            steps += _aside(chunk, said)
    if not _ended(steps):
        said = {**frame, "output": _output(steps, setting), "usage": _usage(response, setting)}
        steps.append(Step(0, _end("completed", said, completed_at=setting.created_at)))
    return [_numbered(step, number) for number, step in enumerate(steps)]


def _aside(chunk: Chunk, said: Event) -> list[Step]:
    """Return what a chunk means that is no item; `said` is the response so far."""
    match chunk.channel:
        case "event":
            act: Event | Gate | Cut = chunk.payload
        case "gate":
            act = Gate(chunk.payload)
        case "cut":
            act = Cut()
        case "failed":
            act = _end("failed", {**said, "usage": None}, error=chunk.payload)
        case "incomplete":
            act = _end("incomplete", said, incomplete_details={"reason": chunk.payload})
        case "error":
            act = {"type": "error", "param": None, **chunk.payload}
        case "bare" | "usage" | "headers":
            return []
        case unknown:
            raise ValueError(f"there is no channel {unknown!r}")
    return [Step(chunk.delay_s, act)]


def _frame(setting: Setting) -> Event:
    told = {key: setting.asked[key] for key in DEFAULTS if setting.asked.get(key) is not None}
    return {
        "id": f"resp_{setting.stem}",
        "object": "response",
        "created_at": setting.created_at,
        "model": setting.model,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        **DEFAULTS,
        **told,
        "text": {**DEFAULTS["text"], **told.get("text", {})},
    }


def _end(status: str, said: Event, **fields: Any) -> Event:
    return {"type": f"response.{status}", "response": {**said, "status": status, **fields}}


def _output(steps: Sequence[Step], setting: Setting) -> list[Event]:
    """Return the items that are finished, in their order."""
    if setting.chatgpt:
        return []
    acts = [step.act for step in steps if isinstance(step.act, dict)]
    done = [act for act in acts if act["type"] == "response.output_item.done"]
    return [act["item"] for act in sorted(done, key=lambda act: act.get("output_index", 0))]


def _ended(steps: Sequence[Step]) -> bool:
    last = steps[-1].act if steps else None
    return isinstance(last, Cut) or (isinstance(last, dict) and last["type"] in ENDS)


def _numbered(step: Step, number: int) -> Step:
    if not isinstance(step.act, dict):
        return step
    # An event that a script spells out may have a number of its own, to be wrong on purpose.
    told = step.act.get("sequence_number", number)
    return Step(step.delay_s, {**step.act, "sequence_number": told})


def _usage(response: Response, setting: Setting) -> Event:
    for chunk in response.chunks:
        if chunk.channel == "usage":
            return dict(chunk.payload)
    read = int(setting.input_words * TOKENS_PER_WORD)
    thought = sum(_tokens(c) for c in response.chunks if c.channel == "reasoning")
    written = sum(_tokens(c) for c in response.chunks)
    return bill(read, 0, written, thought)


def bill(read: int, cached: int, written: int, thought: int) -> Event:
    """Return what a response cost, in the words of the API."""
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": cached, "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": thought},
        "total_tokens": read + written,
    }


def _tokens(chunk: Chunk) -> int:
    said = chunk.payload if isinstance(chunk.payload, str) else json.dumps(chunk.payload)
    return int(len(said.split()) * TOKENS_PER_WORD)
