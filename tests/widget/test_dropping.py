"""Cells that are dropped, and those that only look like it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from codex_magic.widget.dropping import Dropping

SAID = "2026-01-01T12:00:00.000Z"


def request(cell: Any, date: Any) -> dict[str, Any]:
    return {"metadata": {"cellId": cell}, "header": {"date": date}}


@pytest.mark.parametrize(
    ("message", "dropped"),
    [
        (request("a", "2026-01-01T11:59:59.999Z"), True),
        (request("a", datetime(2026, 1, 1, 11, 0, tzinfo=UTC)), True),
        (request("a", "2026-01-01T12:00:00.001Z"), False),
        (request("b", "2026-01-01T11:00:00Z"), False),
        (request("a", "no time"), False),
        (request("a", None), False),
        (request(["a"], "2026-01-01T11:00:00Z"), False),
        ({"metadata": None, "header": None}, False),
        ({}, False),
    ],
)
def test_only_what_waited_then_is_dropped(message: Any, dropped: bool) -> None:
    dropping = Dropping()
    dropping.add(["a"], SAID)
    assert dropping.takes(message) is dropped


def test_a_cell_is_dropped_once() -> None:
    dropping = Dropping()
    dropping.add(["a"], SAID)
    earlier = request("a", "2026-01-01T11:00:00Z")
    assert [dropping.takes(earlier), dropping.takes(earlier)] == [True, False]


def test_without_a_time_nothing_is_dropped() -> None:
    dropping = Dropping()
    dropping.add(["a"], None)
    assert not dropping.takes(request("a", "2026-01-01T11:00:00Z"))
