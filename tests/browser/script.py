"""Parts of a scripted response that stop in the middle."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from codex_magic.tape import wire
from codex_magic.tape.format import Response
from codex_magic.tape.steps import Setting
from codex_magic.testing import pause_at, raw

if TYPE_CHECKING:
    from codex_magic.tape.format import Chunk


def held(text: Chunk, gate: str) -> list[Chunk]:
    """Return a text that stops at a gate in the middle of its words."""
    setting = Setting(shape="functions", stem=secrets.token_hex(6))
    steps = wire.expand(Response(prompt="held", chunks=(text,)), setting)
    # Without the two that begin a response and the one that ends it.
    events = [step.act for step in steps[2:-1] if isinstance(step.act, dict)]
    deltas = [i for i, event in enumerate(events) if event["type"].endswith(".delta")]
    middle = deltas[len(deltas) // 2]
    return [*map(raw, events[:middle]), pause_at(gate), *map(raw, events[middle:])]
