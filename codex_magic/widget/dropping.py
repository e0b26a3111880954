"""Cells that wait behind a turn and are not to run any more.

A person names them on the page of the turn they stop. A kernel cannot take a request out of its
queue, so the cell comes to its turn and ends at once. One that is run again later runs: only
requests that were sent before the person's word are dropped, by the page's own clock.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Dropping:
    """The cells to drop, by their ids, and when that was said."""

    def __init__(self) -> None:
        self._said: dict[str, datetime] = {}

    def add(self, cells: Iterable[str], sent: Any) -> None:
        """Drop requests of `cells` that were sent before `sent`."""
        if (at := _time(sent)) is not None:
            self._said.update(dict.fromkeys(cells, at))

    def takes(self, request: Mapping[str, Any]) -> bool:
        """Whether the request that runs now is one of those."""
        cell = (request.get("metadata") or {}).get("cellId")
        said = self._said.pop(cell, None) if isinstance(cell, str) else None
        sent = _time((request.get("header") or {}).get("date"))
        return said is not None and sent is not None and sent <= said


def _time(value: Any) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    return value if isinstance(value, datetime) and value.tzinfo is not None else None
