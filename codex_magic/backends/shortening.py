"""Waiting until a thread has been made shorter, between two turns and because a person said so.

Either backend does that as it runs a turn, with a mailbox that nobody folds; only the end counts.
"""

from __future__ import annotations

import contextlib
import queue
from typing import TYPE_CHECKING, Final

from codex_magic.errors import BackendError
from codex_magic.events import TurnCompleted

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.backends.base import Mailbox

PATIENCE_S: Final = 2.0
"""Seconds that it has to end once it was interrupted."""


def wait(told: Mailbox, interrupt: Callable[[], None]) -> None:
    """Wait for the end that `told` gets; Ctrl-C has it interrupted.

    Raises
    ------
    BackendError
        The thread is as long as before.
    """
    try:
        ended = _end(told)
    except KeyboardInterrupt:
        interrupt()
        with contextlib.suppress(queue.Empty):
            _end(told, PATIENCE_S)
        raise
    if ended.status == "completed":
        return
    why = ended.error.message.rstrip(".") if ended.error else "that was stopped"
    raise BackendError(
        f"the thread could not be made shorter: {why}",
        hint="It goes on as it is; one that becomes too long is shortened by itself",
    )


def _end(told: Mailbox, timeout_s: float | None = None) -> TurnCompleted:
    while not isinstance(event := told.get(timeout=timeout_s), TurnCompleted):
        pass
    return event
