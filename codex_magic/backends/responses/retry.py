"""When a failed request is worth sending again: one rule for requests and for streams.

Pure: it says how long to wait, and somebody else waits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from codex_magic.backends.responses.failures import Failure

FIRST_S: Final = 0.2
LONGEST_S: Final = 30.0
LONGEST_ASKED_S: Final = 120.0
"""A host that wants to be left alone for longer is told to the person instead."""
JITTER: Final = 0.1


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to put up with a model's host.

    Parameters
    ----------
    retries
        How often in a row a request is sent again; what brings the turn on starts the row anew.
    idle_s
        How long a stream may bring no event.
    connect_s
        How long a connection may take to come about.
    """

    retries: int = 5
    idle_s: float = 300.0
    connect_s: float = 15.0

    def wait_s(self, failure: Failure, attempt: int, jitter: float = 0.0) -> float | None:
        """Return the seconds to wait before the next try, or None if there should be none.

        Parameters
        ----------
        attempt
            How many tries in a row have failed so far, this one included: 1, 2, …
        jitter
            From -1 to 1, so that not all come back at once.
        """
        if not failure.retries or attempt > self.retries:
            return None
        if failure.after_s:
            return failure.after_s if failure.after_s <= LONGEST_ASKED_S else None
        # A power of two soon exceeds any float, and the longest wait long before.
        wait = math.ldexp(FIRST_S, min(attempt - 1, 16))
        return min(LONGEST_S, wait * (1 + JITTER * jitter))
