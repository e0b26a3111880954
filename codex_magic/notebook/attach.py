"""The threads of one notebook, as its kernel knows them.

They come from three places: the turns that the file keeps, the index on this machine, and what this
kernel has done since. The file is read once, at the first turn, and again where the kernel finds
itself on another one. A thread id out of a file is believed only where the index knows the notebook
with it; else the thread is begun anew with the text of what was said.
"""

from __future__ import annotations

import re
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic.notebook import past, records
from codex_magic.notebook.index import Entry, Index, Standing, exists
from codex_magic.notebook.past import ELSEWHERE, FROM_TOP, UNKNOWN, Past

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from codex_magic.notebook.records import Kept
    from codex_magic.turn import Turn

MAIN: Final = "main"


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
        self._others: set[str] = (
            set()
        )  # another notebook's, that this kernel has run: to branch off
        self._changed: set[str] = set()
        self._kept_on: set[str] = set()
        self._left_now: set[str] = set()  # these three since the index was last written
        self._has_switched = False
        self.ran: set[str] = set()
        """The ids of turns that this kernel has run."""
        self.turns: list[Kept] = []
        self.current = MAIN
        self.news: list[str] = []

    # --- where it is ----------------------------------------------------------------------------

    @property
    def path(self) -> Path | None:
        """The notebook's file."""
        return self._path

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
        if path != self._path:
            self._go_to(path, from_top=from_top)
        if cell_id and cell_id not in self._entry.cells:
            cells = (*self._entry.cells, cell_id)
            self._entry = msgspec.structs.replace(self._entry, cells=cells)

    def _go_to(self, path: Path, *, from_top: bool) -> None:
        if self._path is None:
            self._take_up(path, from_top=from_top)
        elif exists(self._path):
            # Saved under another name, or a kernel that several notebooks share.
            self._leave()
            self._take_up(path, from_top=from_top)
        elif self._index is not None and not self._from_top:
            self._index.move(self._path, path)
        self._path = path
        self._remember()

    def _leave(self) -> None:
        self._others |= {*self._entry.ids}
        self._path = None  # so that an interrupt in between begins this again
        self._entry, self.turns, self.current = Entry(), [], MAIN
        self._has_switched = False
        self._stands.clear()
        self._private.clear()
        for names in (self._used, *self._unwritten()):
            names.clear()

    def _take_up(self, path: Path, *, from_top: bool) -> None:
        found = records.read(path)
        own = {turn.id for turn in self.turns}  # from before the kernel knew its notebook
        self.turns = [turn for turn in found.turns if turn.id not in own] + self.turns
        if found.trouble:
            self.news.append(f"the earlier turns of {path.name} are lost: {found.trouble}")
        elif found.unreadable:
            plural = "" if found.unreadable == 1 else "s"
            self.news.append(f"{found.unreadable} turn{plural} in {path.name} cannot be read")
        self._from_top = from_top
        if self._index is not None and not from_top:
            entry, said = self._index.entry_of(path, found)
            self.news += [said] if said else []
            self._join(entry, found.cells)

    def _join(self, entry: Entry, cells: frozenset[str]) -> None:
        """Take over what is known of the notebook, beside what this kernel has done so far."""
        own = self._entry
        threads = entry.threads | own.threads
        names = dict(entry.names)
        for name, standing in threads.items():
            names |= dict.fromkeys(standing.earlier, name)
        names |= {standing.thread_id: name for name, standing in threads.items()}
        self.turns = [
            msgspec.structs.replace(turn, thread_name=names.get(turn.thread_id, turn.thread_name))
            for turn in self.turns
            if turn.thread_id not in entry.left
        ]
        self._entry = msgspec.structs.replace(
            entry,
            threads=threads,
            ids=_union(entry.ids, own.ids),
            cells=_union(entry.cells, sorted(cells), own.cells),
        )
        self._others -= {*self._entry.ids}
        if not self._has_switched:
            self.current = entry.current

    # --- its threads ----------------------------------------------------------------------------

    @property
    def threads(self) -> Mapping[str, str]:
        """The notebook's threads: their own ids by name; empty for one that has none yet, or here."""
        return {name: self.own(name) for name in dict.fromkeys([*self._known(), *self._private])}

    def own(self, name: str) -> str:
        """Return the id of the thread that is stored under `name`; empty if none is."""
        standing = self._entry.threads.get(name)
        return self._private.get(name) or (standing.thread_id if standing else "")

    def chain(self, name: str) -> list[str]:
        """Return the ids of the threads that make up `name` and no other, the newest last."""
        standing = self._entry.threads.get(name)
        if standing is None:
            return []
        others = [x for key, x in self._entry.threads.items() if key != name]
        used = {known for x in others for known in (*x.earlier, x.thread_id)}
        return [known for known in (*standing.earlier, standing.thread_id) if known not in used]

    def owner(self, thread_id: str) -> str:
        """Return the name of the thread with this id; empty if it is none of the notebook's."""
        return self._entry.owner(thread_id)

    @property
    def private(self) -> list[str]:
        """The names of those that are stored nowhere."""
        return list(self._private)

    @property
    def pending(self) -> list[str]:
        """The names of those whose first turn is still to come."""
        begun = (*self._used, *self._entry.threads)
        return [name for name in self._stands if name not in begun]

    def free_name(self, source: str) -> str:
        """Return a name for a branch of `source`."""
        stem = re.sub(r"-\d+\Z", "", source)
        pending = self.pending
        taken = {source, *(name for name in self.threads if name not in pending)}
        number = 2
        while f"{stem}-{number}" in taken:
            number += 1
        return f"{stem}-{number}"

    def _known(self) -> list[str]:
        kept = () if self._from_top else (turn.thread_name for turn in self.turns)
        return list(dict.fromkeys([*self._entry.threads, *self._stands, *kept]))

    def past(self, name: str, backend: str = "") -> Past:
        """Return what the next turn of the thread `name` goes on from on this backend."""
        if name in self._private:
            return Past(self._private[name])
        stands = self._stands.get(name)
        found = Past() if stands is None and self._from_top else self._found(name, stands)
        standing = self._entry.threads.get(name)
        ran_on = found.turns[-1].backend if found.turns else standing.backend if standing else ""
        if found.thread_id is not None and ran_on and backend and ran_on != backend:
            return replace(found, thread_id=None, branch="", why=ELSEWHERE)
        return found

    def _found(self, name: str, stands: str | None) -> Past:
        why = FROM_TOP if self._from_top else UNKNOWN
        return past.find(name, stands, self.turns, self._entry, self._others, why=why)

    def is_unused(self, name: str) -> bool:
        """Whether no turn of the thread `name` has been run or shown by this kernel."""
        return name not in self._used

    def find(self, inputs: str) -> Kept | None:
        """Return the turn with these `inputs` that completed last, if the notebook keeps one."""
        found = [t for t in self.turns if t.inputs == inputs and t.status == "completed"]
        return found[-1] if found and not found[-1].private else None

    # --- what happens ---------------------------------------------------------------------------

    def mark(self) -> Any:
        """Return what `back` goes back to where a turn could not be started."""
        held = (dict(self._stands), dict(self._private), set(self._used))
        return self._entry, held, self.current, self._has_switched, list(self.news)

    def back(self, mark: Any) -> None:
        """Be as at the `mark`."""
        now = self._entry.threads
        self._entry, held, self.current, self._has_switched, news = mark
        self._stands, self._private, self._used = (each.copy() for each in held)
        self.news = list(news)
        before = self._entry.threads
        # What has been written since has to be taken back there, too.
        self._changed |= {n for n in {*now, *before} if now.get(n) != before.get(n)}
        self._remember()

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
        turn_id = self._stands.get(name, before.turn_id if before else "")
        earlier = (*before.earlier, before.thread_id) if before else ()
        standing = Standing(
            thread_id=thread_id, backend=backend, turn_id=turn_id, at=time.time(), earlier=earlier
        )
        self._put(name, standing)

    def ended(self, turn: Turn) -> None:
        """Note a turn that is over."""
        if turn.id:
            self.ran.add(turn.id)
        if turn.private or not turn.id:
            return
        kept = records.kept(turn)
        self.turns.append(kept)
        self._stands[kept.thread_name] = kept.id
        before = self._entry.threads.get(kept.thread_name)
        standing = Standing(
            thread_id=kept.thread_id,
            backend=kept.backend,
            turn_id=kept.id,
            at=kept.began or time.time(),
            earlier=before.earlier if before else (),
        )
        self._put(kept.thread_name, standing)

    def shown(self, turn_id: str, name: str) -> None:
        """Note that a kept turn was shown again; its thread stands behind it."""
        self._used.add(name)
        self._stands[name] = turn_id

    def begin(self, name: str) -> None:
        """Have the thread `name` begin afresh with its next turn."""
        self._forget(name)
        self._stands[name] = ""

    def stand(self, name: str, turn_id: str) -> None:
        """Have the thread `name` go on behind a turn."""
        self._private.pop(name, None)
        self._stands[name] = turn_id

    def learn(self, turns: Sequence[Kept]) -> None:
        """Take over the turns of a thread as its backend has them, in their order."""
        ids = {turn.id for turn in turns}
        self.turns = [*turns, *(turn for turn in self.turns if turn.id not in ids)]

    def switch(self, name: str) -> None:
        """Make `name` the thread of cells that name none."""
        self.current = name
        if name not in self._private:
            self._has_switched = True
            self._remember()

    def rename(self, old: str, new: str) -> None:
        """Give a thread another name."""
        for held in (self._stands, self._private):
            if old in held:
                held[new] = held.pop(old)
        self._changed |= {old, new}
        threads = {new if name == old else name: x for name, x in self._entry.threads.items()}
        ids = (turn.thread_id for turn in self.turns if turn.thread_name == old)
        names = self._entry.names | dict.fromkeys(ids, new)
        self._entry = msgspec.structs.replace(self._entry, threads=threads, names=names)
        self.turns = [
            msgspec.structs.replace(turn, thread_name=new) if turn.thread_name == old else turn
            for turn in self.turns
        ]
        if old in self._used:
            self._used.remove(old)
            self._used.add(new)
        if self.current == old:
            self.switch(new)
        self._remember()

    def drop(self, name: str, thread_ids: Collection[str]) -> None:
        """Forget a thread, and what it was made of: those with these ids are not taken up again."""
        if name:
            self._forget(name)
        ids = tuple(known for known in self._entry.ids if known not in thread_ids)
        left = _union(self._entry.left, thread_ids)
        self._entry = msgspec.structs.replace(self._entry, ids=ids, left=left)
        self._left_now.update(thread_ids)
        self._kept_on.difference_update(thread_ids)
        # A branch goes on from turns of what it branched off.
        lines = (self.past(other).turns for other in self._entry.threads)
        kept = {turn.id for line in lines for turn in line}
        self.turns = [t for t in self.turns if t.thread_id not in thread_ids or t.id in kept]
        if self.current not in self.threads:
            self.switch(MAIN)
        self._remember()

    def _forget(self, name: str) -> None:
        self._changed.add(name)
        threads = {key: x for key, x in self._entry.threads.items() if key != name}
        self._entry = msgspec.structs.replace(self._entry, threads=threads)
        self._stands.pop(name, None)
        self._private.pop(name, None)
        self._used.discard(name)

    def waiting_on(self, thread_ids: Collection[str]) -> list[str]:
        """Return the names of branches that are to begin behind a turn of one of these threads."""
        turns = {turn.id: turn.thread_id for turn in self.turns}
        return [name for name in self.pending if turns.get(self._stands[name]) in thread_ids]

    def users(self, thread_id: str) -> list[Path]:
        """Return the other notebooks on this machine that go on with a thread."""
        homes = [] if self._index is None else self._index.users(thread_id)
        return [path for path in homes if path != self._path]

    def _put(self, name: str, standing: Standing) -> None:
        self._changed.add(name)
        self._kept_on.add(standing.thread_id)
        self._others.discard(standing.thread_id)
        self._entry = msgspec.structs.replace(
            self._entry,
            threads=self._entry.threads | {name: standing},
            ids=_union(self._entry.ids, [standing.thread_id]),
        )
        self._remember()

    # --- the index ------------------------------------------------------------------------------

    def _remember(self) -> None:
        if self._index is None or self._path is None or self._from_top:
            return
        if not (self._entry.ids or self._changed):
            return  # there is nothing to remember yet
        written = self._index.write(self._path, self._merged)
        if written is not None:
            self._entry = written
            for held in self._unwritten():
                held.clear()
        if trouble := self._index.trouble():
            self.news.append(trouble)

    def _unwritten(self) -> tuple[set[str], ...]:
        """Return what the index does not know yet: names of threads, and two sets of their ids."""
        return self._changed, self._kept_on, self._left_now

    def _merged(self, stored: Entry) -> Entry:
        """Return what stands in the index with what this kernel has changed of it."""
        mine = self._entry
        left = tuple(x for x in _union(stored.left, self._left_now) if x not in self._kept_on)
        threads = {name: x for name, x in stored.threads.items() if name not in self._changed}
        threads |= {name: mine.threads[name] for name in self._changed if name in mine.threads}
        is_own = self._has_switched and self.current not in self._private
        return Entry(
            threads={name: x for name, x in threads.items() if x.thread_id not in left},
            current=self.current if is_own else stored.current,
            ids=tuple(known for known in _union(stored.ids, mine.ids) if known not in left),
            left=left,
            names=stored.names | mine.names,
            cells=_union(stored.cells, mine.cells),
            at=time.time(),
        )


def _union(*groups: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(each for group in groups for each in group))
