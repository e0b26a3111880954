"""The threads of one notebook, as its kernel knows them.

They come from three places: the turns that the file keeps, the index on this machine, and what this
kernel has done since. The file is read once, at the first turn, and again if the kernel finds itself
on another. A thread id out of a file is believed only where the index knows the notebook with it;
else the thread is begun anew with the text of what was said.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from codex_magic.notebook import history, records
from codex_magic.notebook.index import Entry, Index, Standing

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from codex_magic.notebook.records import Kept, Records
    from codex_magic.turn import Turn

MAIN: Final = "main"
UNKNOWN: Final = "its thread is not known on this machine"
FROM_TOP: Final = "the notebook is run from its first cell"


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


class Attachment:
    """What is known of a notebook's threads.

    Parameters
    ----------
    index
        Where they are remembered on this machine; None remembers nothing.
    """

    def __init__(self, index: Index | None = None) -> None:
        self._index = index
        self._path: Path | None = None
        self._from_top = False
        self._entry = Entry()
        self._stands: dict[str, str] = {}
        self._used: set[str] = set()
        self._private: dict[str, str] = {}
        self.turns: list[Kept] = []
        self.current = MAIN
        self.news: list[str] = []

    # --- where it is ----------------------------------------------------------------------------

    def at(self, path: Path | None, cell_id: str = "", *, from_top: bool = False) -> None:
        """Take up the notebook at `path`, or follow it there.

        Parameters
        ----------
        cell_id
            The cell that runs, where the front end names it.
        from_top
            The notebook is executed from its first cell on, so nothing in it is taken up; what it
            keeps can only be shown again.
        """
        if path is None:
            return
        if cell_id and cell_id not in self._entry.cells:
            cells = (*self._entry.cells, cell_id)
            self._entry = msgspec.structs.replace(self._entry, cells=cells)
        if path == self._path:
            return
        if self._path is None:
            self._take_up(path, from_top=from_top)
        elif self._index is not None and not self._path.exists():
            self._index.move(self._path, path)
        self._path = path
        self._remember()

    def _take_up(self, path: Path, *, from_top: bool) -> None:
        found = records.read(path)
        own = self.turns  # of this kernel, from before it knew its notebook
        self.turns = [turn for turn in found.turns if turn.id not in {t.id for t in own}] + own
        if found.trouble:
            self.news.append(f"the earlier turns of {path.name} are lost: {found.trouble}")
        elif found.unreadable:
            plural = "" if found.unreadable == 1 else "s"
            self.news.append(f"{found.unreadable} turn{plural} in {path.name} cannot be read")
        self._from_top = from_top
        if self._index is None or from_top:
            return
        entry = self._index.read(path)
        if not entry.ids:
            entry = self._moved(path) or entry
        elif _is_another(entry, found):
            self.news.append(f"a new thread: what stood at {path.name} before was another notebook")
            entry = Entry()
        self._join(entry, found.cells)

    def _join(self, entry: Entry, cells: frozenset[str]) -> None:
        """Take over what is known of the notebook, beside what this kernel has done so far."""
        had_turns = bool(self._used)
        threads = entry.threads | dict(self._entry.threads)
        names = {standing.thread_id: name for name, standing in threads.items()}
        self.turns = [
            msgspec.structs.replace(turn, thread_name=names.get(turn.thread_id, turn.thread_name))
            for turn in self.turns
            if turn.thread_id not in entry.left
        ]
        known = dict.fromkeys((*entry.cells, *sorted(cells), *self._entry.cells))
        self._entry = msgspec.structs.replace(
            entry, threads=threads, ids=(*entry.ids, *self._entry.ids), cells=tuple(known)
        )
        if not had_turns:
            self.current = entry.current

    def _moved(self, path: Path) -> Entry | None:
        """Return what is known of the notebook under the name that it had before it was moved.

        It was moved and not copied if the one that stands in the index at the same turn is gone.
        """
        if self._index is None or not self.turns:
            return None
        last = self.turns[-1]
        homes = self._index.homes(last.thread_id, last.id)
        if len(homes) != 1 or homes[0].exists():
            return None
        self._index.move(homes[0], path)
        return self._index.read(path)

    # --- its threads ----------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """The notebook's file."""
        return self._path

    @property
    def threads(self) -> Mapping[str, str]:
        """The notebook's threads: their ids by name; of one that has to be begun anew it is empty."""
        names = dict.fromkeys([*self._known(), *self._private])
        return {name: self._private.get(name) or self.past(name).thread_id or "" for name in names}

    @property
    def private(self) -> list[str]:
        """The names of those that are stored nowhere."""
        return list(self._private)

    @property
    def pending(self) -> list[str]:
        """The names of those whose first turn is still to come."""
        begun = (*self._used, *self._entry.threads)
        return [name for name in self._stands if name not in begun]

    def _known(self) -> list[str]:
        kept = {} if self._from_top else history.last_turns(self.turns)
        return list(dict.fromkeys([*self._entry.threads, *self._stands, *kept]))

    def past(self, name: str, backend: str = "") -> Past:
        """Return what the next turn of the thread `name` goes on from on this backend."""
        if name in self._private:
            return Past(self._private[name])
        found = self._past(name)
        ran_on = next((turn.backend for turn in reversed(found.turns)), "")
        if (standing := self._entry.threads.get(name)) and not found.turns:
            ran_on = standing.backend
        if found.thread_id is not None and ran_on not in ("", backend) and backend:
            why = f"it ran on the backend {ran_on}"
            return replace(found, thread_id=None, branch="", why=why)
        return found

    def _past(self, name: str) -> Past:
        turn_id = self._stands.get(name)
        if turn_id is None and self._from_top:
            return Past()
        standing = self._entry.threads.get(name)
        if turn_id is not None:
            return self._behind(turn_id, name)
        last = history.last_turns(self.turns).get(name)
        if standing is not None and (last is None or standing.at >= last.began):
            turns = tuple(history.line(self.turns, standing.turn_id))
            return Past(standing.thread_id, standing.turn_id, turns=turns)
        return Past() if last is None else self._behind(last.id, name)

    def _behind(self, turn_id: str, name: str) -> Past:
        """Return what comes behind a turn that the notebook keeps."""
        turns = tuple(history.line(self.turns, turn_id))
        if not turns:
            standing = self._entry.threads.get(name)
            return Past() if standing is None else Past(standing.thread_id)
        thread_id = turns[-1].thread_id
        if not self._entry.knows(thread_id):
            why = FROM_TOP if self._from_top else UNKNOWN
            return Past(None, turn_id, turns=turns, why=why)
        ends = [turn.id for turn in self.turns if turn.thread_id == thread_id][-1:]
        owners = [key for key, x in self._entry.threads.items() if x.thread_id == thread_id]
        own = ends == [turn_id] and (not owners or name in owners)
        return Past(thread_id, turn_id, branch="" if own else turn_id, turns=turns)

    def unused(self, name: str) -> bool:
        """Whether no turn of the thread `name` has been run or shown by this kernel."""
        return name not in self._used

    def find(self, inputs: str) -> Kept | None:
        """Return the turn with these `inputs` that completed last, if the notebook keeps one."""
        found = [t for t in self.turns if t.inputs == inputs and t.status == "completed"]
        return found[-1] if found and not found[-1].private else None

    # --- what happens ---------------------------------------------------------------------------

    def seated(self, name: str, thread_id: str, *, backend: str, private: bool) -> None:
        """Note that the thread `name` is this one from now on."""
        self._used.add(name)
        if private:
            self._private[name] = thread_id
            return
        self._private.pop(name, None)
        before = self._entry.threads.get(name)
        if before is not None and before.thread_id == thread_id:
            return
        standing = Standing(thread_id=thread_id, backend=backend, at=time.time())
        self._put(name, standing)

    def ended(self, turn: Turn) -> None:
        """Note a turn that is over."""
        if turn.private or not turn.id:
            return
        kept = records.kept(turn)
        self.turns.append(kept)
        self._stands[kept.thread_name] = kept.id
        at = kept.began or time.time()
        standing = Standing(thread_id=kept.thread_id, backend=kept.backend, turn_id=kept.id, at=at)
        self._put(kept.thread_name, standing)

    def shown(self, turn_id: str, name: str) -> None:
        """Note that a kept turn was shown again; its thread stands behind it."""
        self._used.add(name)
        self._stands[name] = turn_id

    def begin(self, name: str) -> None:
        """Have the thread `name` begin afresh with its next turn."""
        self._forget(name)
        self._stands[name] = ""

    def stand(self, name: str, turn: Kept) -> None:
        """Have the thread `name` go on behind `turn`."""
        self._private.pop(name, None)
        self._stands[name] = turn.id

    def switch(self, name: str) -> None:
        """Make `name` the thread of cells that name none."""
        self.current = name
        self._remember()

    def rename(self, old: str, new: str) -> None:
        """Give a thread another name."""
        for held in (self._stands, self._private):
            if old in held:
                held[new] = held.pop(old)
        threads = {new if name == old else name: x for name, x in self._entry.threads.items()}
        self._entry = msgspec.structs.replace(self._entry, threads=threads)
        renamed = (t for t in self.turns if t.thread_name == old)
        again = {t.id: msgspec.structs.replace(t, thread_name=new) for t in renamed}
        self.turns = [again.get(turn.id, turn) for turn in self.turns]
        if old in self._used:
            self._used.add(new)
        self.current = new if self.current == old else self.current
        self._remember()

    def drop(self, thread_id: str) -> None:
        """Forget a thread that is stored no more."""
        for name, standing in list(self._entry.threads.items()):
            if standing.thread_id == thread_id:
                self._forget(name)
        for name in [name for name, known in self._private.items() if known == thread_id]:
            del self._private[name]
        self.turns = [turn for turn in self.turns if turn.thread_id != thread_id]
        ids = tuple(known for known in self._entry.ids if known != thread_id)
        left = (*self._entry.left, thread_id)
        self._entry = msgspec.structs.replace(self._entry, ids=ids, left=left)
        if self.current not in self._known():
            self.current = MAIN
        self._remember()

    def _forget(self, name: str) -> None:
        threads = {key: x for key, x in self._entry.threads.items() if key != name}
        self._entry = msgspec.structs.replace(self._entry, threads=threads)
        self._stands.pop(name, None)
        self._private.pop(name, None)

    def _put(self, name: str, standing: Standing) -> None:
        ids = tuple(known for known in self._entry.ids if known != standing.thread_id)
        self._entry = msgspec.structs.replace(
            self._entry,
            threads=self._entry.threads | {name: standing},
            ids=(*ids, standing.thread_id),
        )
        self._remember()

    def _remember(self) -> None:
        self._entry = msgspec.structs.replace(self._entry, current=self.current, at=time.time())
        is_its = self._path is not None and self._entry.ids and not self._from_top
        if self._index is not None and self._path is not None and is_its:
            self._index.write(self._path, self._entry)


def _is_another(entry: Entry, found: Records) -> bool:
    """Whether the file at a place is not the notebook that is known there, but a later one.

    A file that has no ids, or cannot be read, says nothing; cleared outputs leave the ids of cells.
    """
    if not entry.cells or not found.cells or found.cells.intersection(entry.cells):
        return False
    return not any(entry.knows(turn.thread_id) for turn in found.turns)
