"""Plays a lesson to Codex, in the place of the model and of nothing else.

Commands run for real; the player only reads what they gave and says where a lesson expected
something else. Which response comes next is read off the request alone, so a request that is
sent again gets the same answer.
"""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from codex_magic.tape import request as asked
from codex_magic.tape.format import Chunk, Expectation, Response, Tape, clip, normal
from codex_magic.tape.hosts import Host
from codex_magic.tape.server import Served, Server, setting
from codex_magic.tape.wire import answer, error

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.tape.request import Body, Request
    from codex_magic.tape.steps import Reply, Stream

OUTCOME: Final = re.compile(r"^outcome: (.+)$", re.MULTILINE)
PRINTED: Final = re.compile(r"^output:", re.MULTILINE)
ABORTED: Final = "<turn_aborted>"
"""How the message begins that Codex puts behind an interrupted turn."""


class Turn(NamedTuple):
    """The turn that a request belongs to: its prompt, and its history since then."""

    prompt: str
    at: int
    history: list[dict[str, Any]]

    @property
    def calls(self) -> list[dict[str, Any]]:
        """What the model has asked for so far."""
        return [item for item in self.history if asked.is_call(item)]


class Player(Served):
    """A server that plays one tape; it listens until closed.

    Parameters
    ----------
    tape
        What to play.
    on_mismatch
        Gets one line when a command did not give what the lesson expects, once per response. It
        is called in the server's thread and must not wait.
    """

    def __init__(self, tape: Tape, on_mismatch: Callable[[str], object] | None = None) -> None:
        self.tape = tape
        self._on_mismatch = on_mismatch
        self._reported: set[tuple[str, int, int]] = set()
        self._broken: dict[tuple[str, int, int], int] = {}
        self._server = Server(self._respond, Host().look_up)

    def _respond(self, request: Request) -> Reply | Stream:
        body = request.body
        turn = find_turn(self.tape, body)
        if turn is None:
            return error(400, "not_on_tape", self.tape.no_answer())
        place = (str(body.get("prompt_cache_key")), turn.at, len(turn.calls))
        candidates = places(self.tape.lines(turn.prompt)).get(len(turn.calls), [])
        if not candidates:
            said = f"tape {self.tape.name!r} ends before this point of “{normal(turn.prompt)}”"
            return error(400, "not_on_tape", said)
        response = self._unbroken(place, candidates)
        self._compare(place, turn, response)
        header = self.tape.header
        return answer(response, setting(request, header.model, header.words_per_s))

    def _unbroken(self, place: tuple[str, int, int], candidates: list[Response]) -> Response:
        """Return the next of several responses to one request: faults come first, each once."""
        if len(candidates) == 1:
            return candidates[0]
        played = self._broken.get(place, 0)
        self._broken[place] = played + 1
        return candidates[min(played, len(candidates) - 1)]

    def _compare(self, place: tuple[str, int, int], turn: Turn, response: Response) -> None:
        if not response.expect or place in self._reported or self._on_mismatch is None:
            return
        wanted = [c for line in self.tape.lines(turn.prompt) for c in line.calls]
        made = turn.calls
        before = previous(self.tape.lines(turn.prompt), response)
        first = len(made) - len(before.calls)
        given = asked.outputs(turn.history, made[first:])
        told = [
            f"the lesson expects {spoken(call)} to {difference}"
            for call, expect, text in zip(wanted[first:], response.expect, given, strict=False)
            if (difference := compare(expect, text))
        ]
        if told:
            self._reported.add(place)
            self._on_mismatch("; ".join(told))


def find_turn(tape: Tape, body: Body) -> Turn | None:
    """Return the turn that a request belongs to, if its prompt is on the tape.

    The prompt is the last message of the person that the tape knows. Messages behind it are
    context or steering, unless an answer or an interruption stands between: then the turn of
    that prompt is over, and the messages are a prompt that the tape does not know.
    """
    history = asked.items(body)
    newer = False
    for at in range(len(history) - 1, -1, -1):
        item = history[at]
        if asked.is_message(item, "user"):
            parts = asked.parts(item)
            whole = "\n".join(parts)
            for text in (*parts, whole):
                if tape.has(text):
                    return Turn(text, at, history[at + 1 :])
            if whole.startswith(ABORTED):
                return None
            newer = True
        elif newer and asked.is_message(item, "assistant") and item.get("phase") != "commentary":
            return None
    return None


def places(lines: tuple[Response, ...]) -> dict[int, list[Response]]:
    """Return the responses of one prompt by the number of calls made before each."""
    found: dict[int, list[Response]] = {}
    made = 0
    for line in lines:
        found.setdefault(made, []).append(line)
        made += len(line.calls)
    return found


def previous(lines: tuple[Response, ...], response: Response) -> Response:
    """Return the line before `response`."""
    return lines[next(n for n, line in enumerate(lines) if line is response) - 1]


def compare(expect: Expectation, text: str) -> str:
    """Return what was expected and what came in its place; nothing when it fits."""
    found = OUTCOME.search(text)
    outcome = found[1] if found else clip(normal(text)) or "no output"
    header = PRINTED.search(text, found.end() if found else 0)
    printed = text[header.end() :] if header else ""
    matches = re.search(expect.pattern, printed, re.MULTILINE) is not None
    if outcome == f"exit {expect.exit}":
        if matches:
            return ""
        outcome += ", and printed something else"
    prints = f" and print /{expect.pattern}/" if expect.pattern else ""
    return f"exit {expect.exit}{prints}; it ended with: {outcome}"


def spoken(call: Chunk) -> str:
    """Return a call as one short line."""
    if call.channel == "shell":
        command = call.payload["command"]
        line = command if isinstance(command, str) else shlex.join(command)
    else:
        line = call.payload["tool"] if call.channel == "call" else "a script"
    return f"`{clip(normal(line))}`"
