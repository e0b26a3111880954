"""A sign-in that waits for a person, whichever way they sign in."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from codex_magic.errors import CodexMagicError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable


class Outcome:
    """How a sign-in ends: set once, by whoever is first; waited for by any number."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._guard = threading.Lock()
        self._error: CodexMagicError | None = None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    @property
    def is_good(self) -> bool:
        """Whether somebody has signed in."""
        return self._over.is_set() and self._error is None

    def settle(self, work: Callable[[], None]) -> bool:
        """End it with `work`, unless it has ended by then; return whether `work` was done.

        Nobody can give it up meanwhile: so either something is kept, or it was given up.
        """
        with self._guard:
            if self._over.is_set():
                return False
            try:
                work()
            except CodexMagicError as error:
                self._error = error
            finally:
                self._over.set()
            return True

    def set(self, error: CodexMagicError | None = None) -> None:
        """End it: signed in, or with the reason why not."""
        with self._guard:
            if not self._over.is_set():
                self._error = error
                self._over.set()

    def ends_within(self, timeout_s: float) -> bool:
        """Wait for the end, whatever it is; return whether it has come."""
        return self._over.wait(timeout_s)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; return whether somebody is signed in by now."""
        if not self.ends_within(timeout_s):
            return False
        if self._error is not None:
            raise self._error
        return True


def given_up() -> SetupError:
    """Return what a sign-in ends with that was cancelled."""
    return SetupError("the sign-in was cancelled", hint="Type %codex login to begin anew")
