"""Which stored turns still hold: what was shown from the notebook, and what had to be asked again.

Pure: it compares the turns that a notebook held before a run with those that it holds after.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from codex_magic.turn import REUSED

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from codex_magic.turn import Turn

Verdict = Literal["same", "changed", "new", "gone", "not run"]


@dataclass(frozen=True, slots=True)
class Drift:
    """What became of one stored turn; `number` counts the cells that are run, from 1."""

    number: int
    verdict: Verdict
    prompt: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class CellTurns:
    """A cell's turns before a run and after; None where the run did not come so far."""

    number: int
    before: Sequence[Turn]
    after: Sequence[Turn] | None


def drifts(cells: Iterable[CellTurns]) -> list[Drift]:
    """Return what became of every turn, in order."""
    found: list[Drift] = []
    moved: set[str] = set()  # threads in which a turn was asked anew
    for cell in cells:
        if cell.after is None:
            found += [Drift(cell.number, "not run", turn.prompt) for turn in cell.before]
            continue
        for i in range(max(len(cell.before), len(cell.after))):
            old = cell.before[i] if i < len(cell.before) else None
            new = cell.after[i] if i < len(cell.after) else None
            drift = _drift(cell.number, old, new, moved)
            found.append(drift)
            if new is not None and drift.verdict != "same":
                moved.add(new.thread_name)
    return found


def _drift(number: int, old: Turn | None, new: Turn | None, moved: set[str]) -> Drift:
    if new is None:
        assert old is not None  # noqa: S101 - one of them is there
        return Drift(number, "gone", old.prompt, "the cell asks nothing any more")
    if any(notice.text == REUSED for notice in new.notices):
        return Drift(number, "same", new.prompt)
    if old is None:
        return Drift(number, "new", new.prompt)
    return Drift(number, "changed", new.prompt, "; ".join(_reasons(old, new, moved)))


_OPTIONS: Final = ("thread_name", "backend", "model", "sandbox", "approval")


def _reasons(old: Turn, new: Turn, moved: set[str]) -> list[str]:
    """Return why `old` could not be shown in the place of `new`, as far as they tell."""
    reasons = ["the prompt changed"] if old.prompt != new.prompt else []
    for name in _OPTIONS:
        was, now = getattr(old, name), getattr(new, name)
        if was and now and was != now:
            reasons.append(f"{name.removesuffix('_name')} was {was} and is {now}")
    if bool(old.tape) != bool(new.tape):
        played = f"played from tape {old.tape or new.tape}"
        reasons.append(f"it was {played}" if old.tape else f"it is {played}")
    if old.status != "completed":
        reasons.append(f"the stored turn was {old.status}")
    if reasons:
        return reasons
    if new.thread_name in moved:
        return ["an earlier turn of its thread changed"]
    if not old.inputs:
        return ["the stored turn does not tell what it was asked with"]
    if old.inputs != new.inputs:
        return ["an option, or a turn before it, changed"]
    return ["it was asked again although nothing changed"]


def report(found: Sequence[Drift]) -> list[str]:
    """Return the report as lines; what the notebook says in them is not yet fit for a terminal."""
    same = sum(drift.verdict == "same" for drift in found)
    asked = sum(drift.verdict in ("changed", "new") for drift in found)
    lines = [f"Drift: {_turns(same)} shown from the notebook, {asked} asked."]
    for drift in found:
        prompt = " ".join(drift.prompt.split())
        shown = prompt if len(prompt) <= _SHOWN else f"{prompt[:_SHOWN]} …"
        why = f"  ({drift.why})" if drift.why else ""
        lines.append(f"  cell {drift.number:<3} {drift.verdict:<8} {shown}{why}")
    return lines


_SHOWN: Final = 50


def _turns(count: int) -> str:
    return f"{count} turn{'' if count == 1 else 's'}"
