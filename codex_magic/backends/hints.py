"""What to do about a turn that failed, in words, by the kind of its error.

The kinds are those of Codex; a backend that learns of a failure by itself calls it by the same word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_magic.events import TurnError

AGAIN: Final = "Run the cell again; if it stays, type %codex doctor"

SIGN_IN: Final = (
    "Three ways: type `codex-magic login` in a terminal; or set OPENAI_API_KEY and restart the kernel; "
    "or see it work without an account: type `codex-magic demo` in a terminal"
)

HINTS: Final[Mapping[str, str]] = {
    "unauthorized": "Sign in again: type `codex-magic login` in a terminal",
    "usageLimitExceeded": "Wait until your limit resets, or choose another model with -m",
    "rateLimitExceeded": "Wait a little, then run the cell again",
    "contextWindowExceeded": "Start afresh with %%codex --new",
    "badRequest": "Check the options of the cell, the model's name first",
    "connectionLost": "Run the cell again: Codex is started anew and the thread goes on",
}


def hint(error: TurnError) -> str:
    """Return what to do about a failed turn."""
    if error.kind.endswith(" 401"):
        return HINTS["unauthorized"]
    if error.kind.endswith(" 429"):
        return HINTS["rateLimitExceeded"]
    return HINTS.get(error.kind.split(" ")[0], AGAIN)
