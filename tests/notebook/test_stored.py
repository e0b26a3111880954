"""The turns in a notebook's outputs, and what stands in their place without being one."""

from __future__ import annotations

from typing import Any

import pytest
from nbformat import v4

from codex_magic.notebook import stored
from codex_magic.turn import MIME, Turn, to_json

TURN = Turn(prompt="p", status="completed")


def nested(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {"version": 1}
    for _ in range(levels):
        value = {"version": 1, "newer": value, "x": value}
    return value


HOSTILE = [1, "x", [], {}, {"version": 1, "items": 3}, {"version": 1, "status": "x"}, nested(2000)]


@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_turn_is_passed_over(value: Any) -> None:
    assert stored.read({MIME: value}) is None
    assert stored.read(value) is None


def test_turns_are_found_in_order() -> None:
    cell = v4.new_code_cell()
    other = Turn(prompt="q", status="failed")
    cell.outputs = [
        v4.new_output("stream", text="x"),
        v4.new_output("display_data", {MIME: to_json(TURN)}),
        v4.new_output("display_data", {MIME: "no turn"}),
        v4.new_output("display_data", {MIME: to_json(other)}),
    ]
    assert stored.turns(cell) == [TURN, other]
    assert stored.turns(v4.new_markdown_cell()) == []


def test_stripping_takes_turns_and_nothing_else() -> None:
    bundle = {"text/markdown": "**m**", "text/plain": "m"}
    cell = v4.new_code_cell("%%codex\np", metadata={"codex": {"a": 1}, "tags": ["t"]})
    cell.outputs = [v4.new_output("display_data", bundle | {MIME: to_json(TURN)})]
    notebook = v4.new_notebook(cells=[v4.new_markdown_cell("text"), cell])
    assert stored.strip(notebook) == (1, 1)
    assert dict(cell.outputs[0].data) == bundle
    assert (cell.source, dict(cell.metadata)) == ("%%codex\np", {"tags": ["t"]})
    assert stored.strip(notebook) == (0, 0)
