"""The words in which a test writes what a model says.

They only name things; `wire` knows how each goes over the wire, `testing` who asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from codex_magic.tape.format import Chunk, Response
from codex_magic.tape.streamed import ENCRYPTED
from codex_magic.tape.wire import bill

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PROMPT: Final = "(scripted)"
CHANNELS: Final[dict[str | None, str]] = {
    None: "message",
    "commentary": "commentary",
    "final_answer": "answer",
}

Part = Chunk | Response
"""One piece of a scripted response; a `Response` stands alone."""


def say(text: str, phase: Literal["commentary", "final_answer"] | None = None) -> Chunk:
    """Return a message of the agent."""
    return Chunk(0, CHANNELS[phase], text)


def think(text: str = "", encrypted: str | None = ENCRYPTED) -> Chunk:
    """Return a summary of thoughts, none if `text` is empty, with what only the model can read."""
    return Chunk(0, "reasoning", {"text": text, "encrypted": encrypted})


def refusal(text: str) -> Chunk:
    """Return what the agent says when it will not answer."""
    return Chunk(0, "refusal", text)


def call(tool: str, /, **arguments: object) -> Chunk:
    """Return a tool call, sent in the shape of the model that is addressed."""
    return Chunk(0, "call", {"tool": tool, "arguments": arguments})


def custom(tool: str, text: str) -> Chunk:
    """Return a call of a tool that takes free text."""
    return Chunk(0, "custom", {"tool": tool, "input": text})


def js(source: str) -> Chunk:
    """Return a script, for models in code mode."""
    return Chunk(0, "js", source)


def shell_call(
    *commands: str,
    timeout_ms: int | None = None,
    max_output_length: int | None = None,
    call_id: str | None = None,
    **fields: object,
) -> Chunk:
    """Return a call of the API's own shell.

    Parameters
    ----------
    *commands
        Lines for a shell, which may run at the same time.
    call_id
        Made up where it is None.
    **fields
        More fields of the item, such as `caller`.
    """
    limits = {"timeout_ms": timeout_ms, "max_output_length": max_output_length}
    item: dict[str, object] = {"action": {"commands": list(commands), **limits}}
    return Chunk(0, "shell_call", {**item, **_named(call_id), **fields})


def local_shell_call(  # noqa: PLR0913 - the fields of the item
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout_ms: int | None = None,
    working_directory: str | None = None,
    user: str | None = None,
    call_id: str | None = None,
) -> Chunk:
    """Return a call of the API's older shell: one program and its arguments."""
    action: dict[str, object] = {"type": "exec", "command": list(command), "env": dict(env or {})}
    action |= {"timeout_ms": timeout_ms, "working_directory": working_directory, "user": user}
    return Chunk(0, "local_shell_call", {"action": action, **_named(call_id)})


def search(query: str) -> Chunk:
    """Return a search of the web, done by the model's host."""
    return Chunk(0, "search", query)


def compacted(encrypted: str = ENCRYPTED) -> Chunk:
    """Return the history in a form that only the model can read."""
    return Chunk(0, "compaction", encrypted)


def raw(event: dict[str, Any]) -> Chunk:
    """Return an event that goes over the wire as it is."""
    return Chunk(0, "event", event)


def pause_at(gate: str) -> Chunk:
    """Return a stop until the test opens ``model.gate(gate)``."""
    return Chunk(0, "gate", gate)


def cut() -> Chunk:
    """Return the end of the connection."""
    return Chunk(0, "cut")


def failed(code: str, message: str) -> Chunk:
    """Return a failure after the response began."""
    return Chunk(0, "failed", {"code": code, "message": message})


def incomplete(reason: str) -> Chunk:
    """Return an end before the model was done, such as ``max_output_tokens``."""
    return Chunk(0, "incomplete", reason)


def stream_error(code: str, message: str) -> Chunk:
    """Return an error in the place of the rest of the stream."""
    return Chunk(0, "error", {"code": code, "message": message})


def done_without_output() -> Chunk:
    """Return a response of which nothing comes but its end."""
    return Chunk(0, "bare")


def usage(input_tokens: int, cached: int = 0, output: int = 0, reasoning: int = 0) -> Chunk:
    """Return the bill of the response, in the place of an estimate."""
    return Chunk(0, "usage", bill(input_tokens, cached, output, reasoning))


def headers(named: Mapping[str, str]) -> Chunk:
    """Return HTTP headers of the response."""
    return Chunk(0, "headers", dict(named))


def rate_limits(**told: object) -> Chunk:
    """Return what is left of the account, in the headers that ChatGPT's host sends.

    Parameters
    ----------
    **told
        By the names of the headers: ``primary_used_percent=41`` is sent as
        ``x-codex-primary-used-percent: 41``.
    """
    named = {f"x-codex-{name.replace('_', '-')}": _spelled(value) for name, value in told.items()}
    return headers(named)


def status(
    code: int, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Return an HTTP error in the place of a response."""
    return Response(prompt=PROMPT, status=code, body=body or {}, headers=headers or {})


def response(*parts: Part) -> Response:
    """Return the parts of one response as one.

    Raises
    ------
    ValueError
        There is a status among other parts.
    """
    chunks = tuple(part for part in parts if isinstance(part, Chunk))
    if not chunks and len(parts) == 1 and isinstance(parts[0], Response):
        return parts[0]
    if len(chunks) < len(parts):
        raise ValueError("a status stands alone: it is the whole response")
    return Response(prompt=PROMPT, chunks=chunks)


def _named(call_id: str | None) -> dict[str, str]:
    return {} if call_id is None else {"call_id": call_id}


def _spelled(value: object) -> str:
    # The host writes truths as its own language does.
    return str(value).lower() if isinstance(value, bool) else str(value)
