"""Fakes for the tests of people who build on this package.

`FakeModel` is a model's server that says what a test has scripted, to the real Codex binary or
to any client of the Responses API. It does not judge what it is asked unless it is told to: a
test reads that from `requests`, with the readers below. `FakeIssuer` signs people in.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from codex_magic.issuer import FakeIssuer
from codex_magic.tape import request as asked
from codex_magic.tape import strict as judging
from codex_magic.tape.hosts import Host
from codex_magic.tape.script import (
    Part,
    call,
    compacted,
    custom,
    cut,
    done_without_output,
    failed,
    headers,
    incomplete,
    js,
    local_shell_call,
    pause_at,
    rate_limits,
    raw,
    refusal,
    response,
    say,
    search,
    shell_call,
    status,
    stream_error,
    think,
    usage,
)
from codex_magic.tape.server import Served, Server, setting
from codex_magic.tape.steps import Reply, Stream
from codex_magic.tape.wire import answer, error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from codex_magic.tape.format import Response
    from codex_magic.tape.request import Body, Request
    from codex_magic.tape.strict import Profile

__all__ = [
    "FakeIssuer",
    "FakeModel",
    "OfferedTools",
    "call",
    "compacted",
    "custom",
    "cut",
    "developer_texts",
    "done_without_output",
    "failed",
    "headers",
    "incomplete",
    "js",
    "local_shell_call",
    "offered_tools",
    "pause_at",
    "rate_limits",
    "raw",
    "refusal",
    "say",
    "search",
    "shell_call",
    "status",
    "stream_error",
    "think",
    "tool_outputs",
    "usage",
    "user_texts",
]


class FakeModel(Served):
    """A server that gives scripted responses, one per request, in their order.

    Parameters
    ----------
    *responses
        Each is one part, or a list of the parts that make up one response.
    strict
        Refuse what this host refuses: ``chatgpt`` or ``api``. A refusal uses up no response.
    models
        Rows of the catalogue, as ChatGPT's host gives them.
    usage_report
        What ``/backend-api/wham/usage`` says.
    accounts_check
        What ``/backend-api/wham/accounts/check`` says.
    require_token
        The bearer token without which nothing is answered, or what tells whether one is good.

    Attributes
    ----------
    requests
        The body of each model request so far.
    headers
        The headers of each, by their names in lower case.
    refused
        What was refused, by the token or by the strict host.
    looked_up
        What was asked about the host itself: its models, usage, accounts.
    sent_at
        When the first delta of a response left, on the clock of `time.perf_counter`, by the
        response's place among the requests.
    """

    def __init__(
        self,
        *responses: Part | Sequence[Part],
        strict: Profile | None = None,
        models: Sequence[Mapping[str, Any]] | None = None,
        usage_report: Mapping[str, Any] | None = None,
        accounts_check: Mapping[str, Any] | None = None,
        require_token: str | Callable[[str], bool] | None = None,
    ) -> None:
        self.strict = strict
        self.host = Host(models, usage_report, accounts_check, require_token)
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.refused: list[Reply] = []
        self.looked_up: list[Request] = []
        self.sent_at: dict[int, float] = {}
        self._script: deque[Response] = deque()
        for one in responses:
            self.enqueue(*([one] if isinstance(one, Part) else one))
        self._server = Server(self._respond, self._look_up, self._began)

    def enqueue(self, *parts: Part) -> None:
        """Append one response to the script."""
        self._script.append(response(*parts))

    def _respond(self, request: Request) -> Reply | Stream:
        number = len(self.requests)
        self.requests.append(dict(request.body))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        if refused := self._refusal(request):
            self.refused.append(refused)
            return refused
        if not self._script:
            said = f"the script is over: this is request {len(self.requests)}"
            return error(500, "script_over", said)
        given = answer(self._script.popleft(), setting(request))
        return replace(given, number=number) if isinstance(given, Stream) else given

    def _refusal(self, request: Request) -> Reply | None:
        if refused := self.host.turn_away(request):
            return refused
        if self.strict is None:
            return None
        return judging.refusal(self.strict, request, self.host.models or ())

    def _look_up(self, request: Request) -> Reply | None:
        self.looked_up.append(request)
        refused = self.host.turn_away(request)
        if refused:
            self.refused.append(refused)
        return refused or self.host.look_up(request)

    def _began(self, stream: Stream) -> None:
        self.sent_at[stream.number] = time.perf_counter()


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
    """Return what the tools gave so far, in order; of a shell, all that its commands printed."""
    return [asked.output(item) for item in asked.items(body) if asked.is_output(item)]


def user_texts(body: Body) -> list[str]:
    """Return the messages of the person, context included."""
    return asked.texts(body, "user")


def developer_texts(body: Body) -> list[str]:
    """Return what the model is told by developer messages."""
    return asked.texts(body, "developer")
