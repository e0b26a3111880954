"""What this process knows of a sign-in that stands in no file: one memory for each place.

Whoever asks for a credential makes a source anew now and then. What must not be forgotten with the
old one is here: a renewed token that could not be written down, and what need not be asked again.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from codex_magic.auth.document import Json
    from codex_magic.errors import CodexMagicError


@dataclass(frozen=True, slots=True)
class Unsaved:
    """A renewed sign-in that could not be written down, and what it takes the place of."""

    instead_of: bytes = field(repr=False)
    document: Json = field(repr=False)


@dataclass(slots=True)
class Memory:
    """What is known of the sign-in in one place.

    Parameters
    ----------
    unsaved
        What is to be written there.
    again_at
        When that is to be tried; this and all other moments are those of `time.monotonic`.
    over
        A refresh token that gives nothing any more, and why.
    quiet_until
        Until when an issuer that did not answer is left in peace.
    came
        The token that came last, and when.
    odd
        A token that was too old at its birth, by this machine's clock.
    """

    unsaved: Unsaved | None = None
    again_at: float = 0.0
    over: tuple[str, CodexMagicError] | None = field(default=None, repr=False)
    quiet_until: float = 0.0
    came: tuple[str, float] = field(default=("", 0.0), repr=False)
    odd: str = field(default="", repr=False)


_MEMORIES: Final[dict[str, Memory]] = {}
_GUARD: Final = threading.Lock()


def of(key: str) -> Memory:
    """Return the memory of a place; the same for everybody in this process."""
    with _GUARD:
        return _MEMORIES.setdefault(key, Memory())


def forget(key: str) -> None:
    """Let a place be as if nothing were known of it: somebody has signed in or out there."""
    with _GUARD:
        _MEMORIES.pop(key, None)
