"""What a turn looks like: pure functions from a `Turn` to text, and nothing that displays it."""

from __future__ import annotations

from typing import Any

import msgspec

from codex_magic.items import CommandExecution, Text
from codex_magic.mask import mask
from codex_magic.render import markdown, plain
from codex_magic.render.words import SAVED_OUTPUT_BYTES, shortened
from codex_magic.turn import MIME, Turn, to_json

__all__ = ["MIME", "live", "saved"]


def live(turn: Turn, *, quiet: bool = False) -> dict[str, Any]:
    """Return what is shown of a turn while it runs, by media type."""
    return {
        "text/markdown": markdown.text(turn, quiet=quiet),
        "text/plain": plain.text(turn, live=True, quiet=quiet),
    }


def saved(
    turn: Turn, *, quiet: bool = False, secrets: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return what a notebook keeps of a finished turn, by media type.

    Markdown for reading, plain text for terminals, and the turn itself as JSON with at most 8 KB of
    each command's output. Credentials are masked in all three.
    """
    turn = _trimmed(turn)
    return {
        "text/markdown": mask(markdown.text(turn, quiet=quiet), secrets),
        "text/plain": mask(plain.text(turn, quiet=quiet), secrets),
        MIME: _masked(to_json(turn), secrets),
    }


def _trimmed(turn: Turn) -> Turn:
    items = tuple(
        msgspec.structs.replace(item, output=Text(shortened(str(item.output), SAVED_OUTPUT_BYTES)))
        if isinstance(item, CommandExecution) and item.output
        else item
        for item in turn.items
    )
    return msgspec.structs.replace(turn, items=items)


def _masked(value: Any, secrets: frozenset[str]) -> Any:
    if isinstance(value, str):
        return mask(value, secrets)
    if isinstance(value, dict):
        return {key: _masked(part, secrets) for key, part in value.items()}
    if isinstance(value, list):
        return [_masked(part, secrets) for part in value]
    return value
