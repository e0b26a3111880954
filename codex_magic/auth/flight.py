"""Work that must not be torn in two: in an OS thread of its own, for all who wait for it.

A person may interrupt a cell at any moment. The issuer has then perhaps given a new token, and
whoever does not write it down is signed out: so the work goes on, and only the waiting ends.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_Result = TypeVar("_Result")


class Flight(Generic[_Result]):
    """One piece of work on its way; not a daemon, so that the end of a kernel waits for it."""

    def __init__(self, work: Callable[[], _Result], name: str) -> None:
        self._work = work
        self._results: list[_Result] = []
        self._error: Exception | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=False)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether there is a result, or an error."""
        return self._over.is_set()

    def result(self) -> _Result:
        """Wait, and return what it came to; any OS thread may, and any number of them."""
        # Not `join`: interrupted, it takes the OS thread for ended, and nothing waits for it then.
        self._over.wait()
        if self._error is not None:
            # The same error is raised in several OS threads: none may see another's frames.
            raise self._error.with_traceback(None)
        return self._results[0]

    def _run(self) -> None:
        try:
            self._results.append(self._work())
        except Exception as error:  # noqa: BLE001 - it is raised where somebody waits
            self._error = error
        finally:
            self._over.set()
