"""A hundred turns at once: each hears all of its own, in its order, and nothing of another's."""

from __future__ import annotations

import queue
from typing import TYPE_CHECKING, Any

from codex_magic import events as ev
from codex_magic.backends.base import Mailbox, Start, TurnInput
from codex_magic.backends.responses.backend import ResponsesBackend
from codex_magic.policy import SandboxPolicy
from codex_magic.settings import Settings
from codex_magic.testing import pause_at, say, user_texts
from codex_magic.turn import Turn, TurnRequest, advance

if TYPE_CHECKING:
    from codex_magic.testing import FakeModel

TURNS = 100
WORDS = 40
PATIENCE_S = 40.0


def heard(mailbox: Mailbox, until: type[ev.Event]) -> list[ev.Event]:
    """Return the events up to the first of a kind, each of which comes in time."""
    found = [mailbox.get(timeout=PATIENCE_S)]
    while not isinstance(found[-1], until):
        found.append(mailbox.get(timeout=PATIENCE_S))
    return found


def begun(stage: Any, model: FakeModel, prompt: str) -> Mailbox:
    environ = {**stage.environ, "JUPYTER_DATA_DIR": str(stage.place("data"))}
    backend = ResponsesBackend(Settings(base_url=model.base_url), environ=environ)
    stage.opened.callback(backend.close)
    request = TurnRequest(prompt=prompt, model="m", policy=SandboxPolicy(workspace=stage.folder))
    mailbox: Mailbox = queue.SimpleQueue()
    backend.start_turn(backend.seat(request, Start()), TurnInput(request), mailbox)
    return mailbox


def folded(events: list[ev.Event]) -> Turn:
    turn = Turn()
    for event in events:
        turn = advance(turn, event)
    return turn


def test_a_hundred_turns_lose_nothing_of_each_other(stage: Any) -> None:
    words = [[f" {turn}.{word}" for word in range(WORDS)] for turn in range(TURNS)]
    model = stage.model(*([say("first"), pause_at("all"), say("".join(said))] for said in words))
    mailboxes = {prompt: begun(stage, model, prompt) for prompt in map(str, range(TURNS))}

    events = {prompt: heard(mailbox, ev.ItemDelta) for prompt, mailbox in mailboxes.items()}
    model.gate("all").set()  # each of them has begun, and none is over
    for prompt, mailbox in mailboxes.items():
        events[prompt] += heard(mailbox, ev.TurnCompleted)

    found = {}
    for prompt, happened in events.items():
        turn = folded(happened)
        deltas = [event.text for event in happened if isinstance(event, ev.ItemDelta)]
        found[prompt] = (turn.status, turn.final_response, deltas)
    prompts = [user_texts(body)[-1] for body in model.requests]
    assert found == {
        prompt: ("completed", "".join(said), ["first", *said])
        for prompt, said in zip(prompts, words, strict=True)
    }
