"""What a thread's next turn goes on from, decided by what a file and the index say of it. Pure.

The file may be ahead of the index, since it came from another machine, or behind it, since it was not
saved. Which it is the tree of turns tells; clocks, which may be another machine's, only where that
does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codex_magic.notebook import history

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from codex_magic.notebook.index import Entry, Standing
    from codex_magic.notebook.records import Kept

UNKNOWN: Final = "its thread is not known on this machine"
FROM_TOP: Final = "the notebook is run from its first cell"
ELSEWHERE: Final = "it ran on another backend"


@dataclass(frozen=True, slots=True)
class Past:
    """What a thread's next turn goes on from.

    Parameters
    ----------
    thread_id
        The stored thread to go on with; None where there is none, or none that may be used.
    turn_id
        The turn that the next one comes behind; empty where nobody knows.
    branch
        The same where it is not the last of the stored thread, or that is another's: then a thread
        of its own has to begin behind it. Else empty.
    turns
        The turns so far, the oldest first, as far as the notebook keeps them.
    why
        Why there is no thread to go on with although there are turns, in words.
    """

    thread_id: str | None = None
    turn_id: str = ""
    branch: str = ""
    turns: tuple[Kept, ...] = ()
    why: str = ""


def find(  # noqa: PLR0913 - all that is known
    name: str,
    stands: str | None,
    turns: Sequence[Kept],
    entry: Entry,
    others: Collection[str],
    *,
    why: str = UNKNOWN,
) -> Past:
    """Return what the next turn of the thread `name` goes on from.

    Parameters
    ----------
    stands
        The turn that it is to come behind, as this kernel knows it or a person has said; None where
        nobody has.
    turns, entry
        What the file keeps, and what the index knows.
    others
        Ids of another notebook's threads that may be branched off, and no more.
    why
        What to say where a thread is none of the notebook's on this machine.
    """
    standing, last = entry.threads.get(name), _leaf(turns, name)
    if stands is None and standing is not None:
        line = history.line(turns, standing.turn_id)
        if last is None or _is_ahead(standing, line, last, turns):
            return Past(standing.thread_id, standing.turn_id, turns=tuple(line))
    if stands is None and last is None:
        return Past()
    turn_id = stands if stands is not None else last.id if last else ""
    line = history.line(turns, turn_id)
    if not line:
        return Past() if standing is None else Past(standing.thread_id)
    thread_id = line[-1].thread_id
    if not entry.knows(thread_id) and thread_id not in others:
        return Past(None, turn_id, turns=tuple(line), why=why)
    ends = [turn.id for turn in turns if turn.thread_id == thread_id][-1:]
    is_its = entry.owner(thread_id) in ("", name) and thread_id not in others
    branch = "" if ends == [turn_id] and is_its else turn_id
    return Past(thread_id, turn_id, branch=branch, turns=tuple(line))


def _leaf(turns: Sequence[Kept], name: str) -> Kept | None:
    """Return the last turn of a thread: one that no other of it comes behind, not a lesson's."""
    own = [turn for turn in turns if turn.thread_name == name and not turn.private]
    own = [turn for turn in own if not turn.tape] or own
    parents = {turn.parent for turn in own}
    leaves = [turn for turn in own if turn.id not in parents] or own
    return leaves[-1] if leaves else None


def _is_ahead(standing: Standing, line: Sequence[Kept], last: Kept, turns: Sequence[Kept]) -> bool:
    """Whether the index is ahead of the file; only where nothing else tells, clocks do."""
    if last.tape or last.thread_id == standing.thread_id or last.id in {t.id for t in line}:
        return True
    behind = {turn.id for turn in history.line(turns, last.id)}
    return standing.turn_id not in behind and standing.at >= last.began
