"""What a run is worth, as an exit code and in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codex_magic.items import CommandExecution, FileChange, ToolCall
from codex_magic.notebook import stored
from codex_magic.tools.base import BEYOND

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codex_magic.items import Item
    from codex_magic.notebook.run import Ending
    from codex_magic.turn import Turn

GOOD: Final = 0
CELL_FAILED: Final = 1
TURN_FAILED: Final = 2
REFUSED: Final = 3
NOTHING_RUN: Final = 64
UNWRITTEN: Final = 74
SIGNALLED: Final = 128


def judge(notebook: Any, ending: Ending) -> tuple[int, str]:
    """Return the exit code of a run, and what was not good about it; see `options.CODES`."""
    match ending.how:
        case "stopped":
            return SIGNALLED + ending.signum, ending.said
        case "unstarted":
            return NOTHING_RUN, ending.said
        case "failed":
            cell = notebook.cells[ending.executed[-1]]
            code = TURN_FAILED if _is_a_turns(cell) else CELL_FAILED
            return code, ending.said
        case "timeout" | "died":
            return CELL_FAILED, ending.said
    found = list(_turns(notebook, ending))
    if failed := [number for number, turn in found if turn.status == "failed"]:
        return TURN_FAILED, f"a turn failed in {_cells(failed)}"
    if refused := [number for number, turn in found if is_refused(turn)]:
        said = f"something that Codex wanted was refused in {_cells(refused)}"
        return REFUSED, f"{said}; see --allow, and codex-magic doctor"
    return GOOD, ""


def _is_a_turns(cell: Any) -> bool:
    """Return whether a cell failed because a turn in it did."""
    errors = [o for o in cell.outputs if o.get("output_type") == "error"]
    raised = bool(errors) and errors[-1].get("ename") == "BackendError"
    return raised and any(turn.status == "failed" for turn in stored.turns(cell))


def _turns(notebook: Any, ending: Ending) -> Iterator[tuple[int, Turn]]:
    """Yield the turns of this run, but those that may fail, and the numbers of their cells."""
    for number, index in enumerate(ending.executed, 1):
        cell = notebook.cells[index]
        tags = cell.metadata.get("tags")
        if not (isinstance(tags, list) and "raises-exception" in tags):
            for turn in stored.turns(cell):
                yield number, turn


def is_refused(turn: Turn) -> bool:
    """Return whether something was declined, or the machine ran no commands."""
    return any(map(_is_refused, turn.items))


def _is_refused(item: Item) -> bool:
    if isinstance(item, ToolCall):  # what asked for more than anybody may allow
        return item.status == "failed" and str(item.output).startswith(
            f"outcome: refused - {BEYOND}"
        )
    if not isinstance(item, CommandExecution | FileChange):
        return False
    refused = isinstance(item, CommandExecution) and item.outcome == "refused"
    return refused or item.status == "declined"


def _cells(numbers: list[int]) -> str:
    distinct = list(dict.fromkeys(numbers))
    return f"cell{'s' * (len(distinct) > 1)} {', '.join(map(str, distinct))}"
