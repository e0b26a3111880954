"""What a program gets where a turn failed, and how it tries again."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, TypeVar

from codex_magic.backends.hints import ADVISED, kind
from codex_magic.doors import in_program
from codex_magic.errors import BackendError, CellError, CodexMagicError
from codex_magic.mask import known_secrets, mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.turn import Turn

_Result = TypeVar("_Result")

CodexError = CodexMagicError
"""The SDK's word for the root of the errors."""
JsonRpcError = TransportClosedError = BackendError
"""The SDK's words for the other side's failures."""

AGAIN: Final = "Try again; if it stays, type `codex-magic doctor` in a terminal"
HINTS: Final = {
    "signInChanged": "Run it again to go on with the sign-in that is there now",
    ADVISED: "",
    "unauthorized": "Sign in again: type `codex-magic login` in a terminal",
    "keyMissing": "Set CODEX_MAGIC_ENV_KEY to the name of the variable that holds this host's key",
    "usageLimitExceeded": "Wait until your limit resets, or choose another model with model=",
    "rateLimitExceeded": "Wait a little, then try again: retry_on_overload does",
    "serverOverloaded": "Wait a little, then try again: retry_on_overload does",
    "contextWindowExceeded": "Go on in another thread: thread_start()",
    "badRequest": "Check the options, the model's name first",
    "connectionLost": "Run it again: Codex is started anew and the thread goes on",
}
"""What to do in a program, by the kind of the error."""

BUSY: Final = frozenset({"serverOverloaded", "rateLimitExceeded"})
"""Kinds of failures that pass by themselves."""


class OptionError(CellError, TypeError):
    """An option that there is not, or a value that it cannot have."""


class TurnFailedError(BackendError, RuntimeError):
    """A turn began and failed.

    Parameters
    ----------
    turn
        All that came of it until then.
    """

    def __init__(self, message: str, *, hint: str = "", turn: Turn) -> None:
        super().__init__(message, hint=hint)
        self.turn = turn


class ServerBusyError(TurnFailedError):
    """A turn failed because too much was asked of the other side; later it may be different."""


def failed(turn: Turn) -> TurnFailedError:
    """Return the error that says how `turn` failed."""
    error = turn.error
    if error is None:
        return TurnFailedError("the turn failed", turn=turn)
    # An error in a notebook is an output too, and is saved with it.
    message = mask(error.message, known_secrets()).rstrip(".")
    found = kind(error)
    message = in_program(message) if found == ADVISED else message
    made = ServerBusyError if found in BUSY else TurnFailedError
    return made(f"the turn failed: {message}", hint=HINTS.get(found, AGAIN), turn=turn)


def is_retryable_error(error: BaseException) -> bool:
    """Whether it may be different a little later."""
    return isinstance(error, ServerBusyError)


def retry_on_overload(
    op: Callable[[], _Result],
    *,
    max_attempts: int = 3,
    initial_delay_s: float = 0.25,
    max_delay_s: float = 2.0,
    jitter_ratio: float = 0.2,
) -> _Result:
    """Return what `op` does, trying again while the other side is too busy, with longer and longer waits.

    Raises
    ------
    ValueError
        `max_attempts` is below 1.
    ServerBusyError
        It was too busy each time.
    """
    if max_attempts < 1:
        raise ValueError("max_attempts must be 1 or more")
    delay_s = initial_delay_s
    for _ in range(max_attempts - 1):
        try:
            return op()
        except ServerBusyError:
            spread = delay_s * jitter_ratio * random.uniform(-1, 1)  # noqa: S311 - no secret
            time.sleep(max(0.0, min(delay_s, max_delay_s) + spread))
            delay_s *= 2
    return op()
