"""What a turn looks like: pure functions from a `Turn` to text, and nothing that displays it."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from codex_magic.items import CommandExecution, Text, ToolCall
from codex_magic.mask import mask
from codex_magic.render import markdown, plain
from codex_magic.render.words import SAVED_OUTPUT_BYTES, shortened
from codex_magic.turn import MIME, Turn, to_json

__all__ = ["MIME", "live", "masked", "saved"]


def live(
    turn: Turn, *, quiet: bool = False, secrets: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return what is shown of a turn while it runs, by media type.

    Masked too: a front end may save the notebook at any time.
    """
    turn = masked(turn, secrets)
    return {
        "text/markdown": markdown.text(turn, quiet=quiet),
        "text/plain": plain.text(turn, live=True, quiet=quiet),
    }


def saved(
    turn: Turn, *, quiet: bool = False, secrets: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return what a notebook keeps of a finished turn, by media type.

    Markdown for reading, plain text for terminals, and the turn itself as JSON with at most 8 KB of
    each command's output; of a private turn there is no JSON, so that nothing takes it up again.
    Credentials are masked in all three.
    """
    # Masked before anything is cut, quoted or escaped: what is left of a secret then is no longer
    # found. And after, for one that only stands there once terminal escapes are gone.
    turn = _trimmed(masked(turn, secrets))
    shown = {
        "text/markdown": mask(markdown.text(turn, quiet=quiet), secrets),
        "text/plain": mask(plain.text(turn, quiet=quiet), secrets),
    }
    return shown if turn.private else shown | {MIME: to_json(turn)}


def _trimmed(turn: Turn) -> Turn:
    items = tuple(
        msgspec.structs.replace(item, output=_short(item.output), draft=_short(item.draft))
        if isinstance(item, CommandExecution | ToolCall)
        else item
        for item in turn.items
    )
    return msgspec.structs.replace(turn, items=items)


def _short(text: Text) -> Text:
    return Text(shortened(str(text), SAVED_OUTPUT_BYTES)) if text else text


# Words of our own: what a stored turn is read by must not fall to a secret that is spelt the same.
_OURS: Final = frozenset({"id", "level", "outcome", "phase", "status", "version"})


def masked(value: Any, secrets: frozenset[str]) -> Any:
    """Return a turn, or any value of such parts, with credentials and all `secrets` masked."""
    match value:
        case str():
            return mask(value, secrets)
        case Text():
            return Text(mask(str(value), secrets)) if value else value
        case dict():
            return {mask(key, secrets): masked(part, secrets) for key, part in value.items()}
        case list() | tuple():
            return type(value)(masked(part, secrets) for part in value)
        case msgspec.Struct():
            parts = ((name, getattr(value, name)) for name in value.__struct_fields__)
            hidden = {name: masked(p, secrets) for name, p in parts if name not in _OURS}
            return msgspec.structs.replace(value, **hidden)
        case _:
            return value
