"""Fakes for the tests of people who build on this package.

`FakeModel` is a model's server that says what a test has scripted, to the real Codex binary or
to any client of the Responses API. It does not judge what it is asked: a test reads that from
`requests`, with the readers below.
"""

from __future__ import annotations

import secrets
from collections import deque
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

from codex_magic.tape import request as asked
from codex_magic.tape.format import Chunk, Response
from codex_magic.tape.server import Served, Server
from codex_magic.tape.wire import Reply, Setting, Stream, answer, error

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_magic.tape.request import Body, Request

__all__ = [
    "FakeModel",
    "OfferedTools",
    "call",
    "cut",
    "developer_texts",
    "failed",
    "js",
    "offered_tools",
    "pause_at",
    "raw",
    "say",
    "status",
    "think",
    "tool_outputs",
    "user_texts",
]

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


def think(text: str) -> Chunk:
    """Return a summary of thoughts."""
    return Chunk(0, "reasoning", text)


def call(tool: str, /, **arguments: object) -> Chunk:
    """Return a tool call, sent in the shape of the model that Codex addresses."""
    return Chunk(0, "call", {"tool": tool, "arguments": arguments})


def js(source: str) -> Chunk:
    """Return a script, for models in code mode."""
    return Chunk(0, "js", source)


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


def status(
    code: int, body: dict[str, Any] | None = None, headers: dict[str, str] | None = None
) -> Response:
    """Return an HTTP error in the place of a response."""
    return Response(prompt=PROMPT, status=code, body=body or {}, headers=headers or {})


class FakeModel(Served):
    """A server that gives scripted responses, one per request, in their order.

    Parameters
    ----------
    *responses
        Each is one part, or a list of the parts that make up one response.

    Attributes
    ----------
    requests
        The body of each request so far.
    headers
        The headers of each, by their names in lower case.
    """

    def __init__(self, *responses: Part | Sequence[Part]) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._script: deque[Response] = deque()
        for response in responses:
            self.enqueue(*([response] if isinstance(response, Part) else response))
        self._server = Server(self._respond)

    def enqueue(self, *parts: Part) -> None:
        """Append one response to the script."""
        chunks = tuple(part for part in parts if isinstance(part, Chunk))
        if not chunks and len(parts) == 1 and isinstance(parts[0], Response):
            self._script.append(parts[0])
        elif len(chunks) == len(parts):
            self._script.append(Response(prompt=PROMPT, chunks=chunks))
        else:
            raise ValueError("a status stands alone: it is the whole response")

    def _respond(self, request: Request) -> Reply | Stream:
        self.requests.append(dict(request.body))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if not self._script:
            said = f"the script is over: this is request {len(self.requests)}"
            return error(500, "script_over", said)
        return answer(self._script.popleft(), _setting(request.body))


def _setting(body: Body) -> Setting:
    return Setting(
        shape=asked.shape(body),
        stem=secrets.token_hex(6),
        model=str(body.get("model", "")),
        input_words=asked.words(body),
    )


class OfferedTools(NamedTuple):
    """The tools of one request, by the exact names that the model sees.

    Parameters
    ----------
    direct
        Those it calls itself; in code mode `exec` and its companions.
    nested
        Those that only a script in `exec` reaches.
    """

    direct: tuple[str, ...]
    nested: tuple[str, ...]


def offered_tools(body: Body) -> OfferedTools:
    """Return what the model could call."""
    return OfferedTools(tuple(asked.direct_tools(body)), tuple(asked.nested_tools(body)))


def tool_outputs(body: Body) -> list[str]:
    """Return what the tools gave so far, in order."""
    return [asked.output(item) for item in asked.items(body) if asked.is_output(item)]


def user_texts(body: Body) -> list[str]:
    """Return the messages of the person, context included."""
    return asked.texts(body, "user")


def developer_texts(body: Body) -> list[str]:
    """Return what the model is told by developer messages."""
    return asked.texts(body, "developer")
