"""The threads of one notebook, as its kernel knows them.

They come from three places: the turns that the file keeps, the index on this machine, and what this
kernel has done since. The file is read once, at the first turn, and again where the kernel finds
itself on another one. A thread id out of a file is believed only where the index knows the notebook
with it; else the thread is begun anew with the text of what was said.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic.notebook import history, records
from codex_magic.notebook.index import Entry, Index, Standing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from codex_magic.notebook.records import Kept, Records
    from codex_magic.turn import Turn

MAIN: Final = "main"
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
        elif _exists(self._path):
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
            self._join(self._known_at(path, found), found.cells)

    def _known_at(self, path: Path, found: Records) -> Entry:
        """Return what this machine knows of the notebook at `path`."""
        if self._index is None:
            return Entry()
        entry = self._index.read(path)
        if not entry.ids:
            return self._moved(path, found) or entry
        if is_another(entry, found):
            self.news.append(f"a new thread: what stood at {path.name} before was another notebook")
            self._index.forget(path)
            return Entry()
        return entry

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

    def _moved(self, path: Path, found: Records) -> Entry | None:
        """Return what is known of the notebook under the name that it had before it was moved.

        It was moved and not copied if the one that stands in the index at the same turn, and has
        cells of it, is gone.
        """
        if self._index is None or not found.turns:
            return None
        last = found.turns[-1]
        homes = self._index.homes(last.thread_id, last.id)
        if len(homes) != 1 or _exists(homes[0]) or is_another(self._index.read(homes[0]), found):
            return None
        self.news.append(f"this is taken to be {homes[0].name}, moved")
        self._index.move(homes[0], path)
        return self._index.read(path)

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
        names = (name for name, x in self._entry.threads.items() if x.thread_id == thread_id)
        return next(names, "")

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
        found = self._past(name)
        standing = self._entry.threads.get(name)
        ran_on = found.turns[-1].backend if found.turns else standing.backend if standing else ""
        if found.thread_id is not None and ran_on and backend and ran_on != backend:
            return replace(found, thread_id=None, branch="", why=ELSEWHERE)
        return found

    def _past(self, name: str) -> Past:
        turn_id = self._stands.get(name)
        if turn_id is not None:
            return self._behind(turn_id, name)
        if self._from_top:
            return Past()
        standing, last = self._entry.threads.get(name), _leaf(self.turns, name)
        if standing is None:
            return Past() if last is None else self._behind(last.id, name)
        line = history.line(self.turns, standing.turn_id)
        if last is None or self._is_ahead(standing, line, last):
            return Past(standing.thread_id, standing.turn_id, turns=tuple(line))
        return self._behind(last.id, name)

    def _is_ahead(self, standing: Standing, line: Sequence[Kept], last: Kept) -> bool:
        """Whether the index is ahead of the file; only where nothing else tells, clocks do."""
        if last.tape or last.thread_id == standing.thread_id or last.id in {t.id for t in line}:
            return True
        behind = {turn.id for turn in history.line(self.turns, last.id)}
        return standing.turn_id not in behind and standing.at >= last.began

    def _behind(self, turn_id: str, name: str) -> Past:
        """Return what comes behind a turn that the notebook keeps."""
        turns = tuple(history.line(self.turns, turn_id))
        if not turns:
            standing = self._entry.threads.get(name)
            return Past() if standing is None else Past(standing.thread_id)
        thread_id = turns[-1].thread_id
        if not self._entry.knows(thread_id) and thread_id not in self._others:
            why = FROM_TOP if self._from_top else UNKNOWN
            return Past(None, turn_id, turns=turns, why=why)
        ends = [turn.id for turn in self.turns if turn.thread_id == thread_id][-1:]
        is_its = self.owner(thread_id) in ("", name) and thread_id not in self._others
        branch = "" if ends == [turn_id] and is_its else turn_id
        return Past(thread_id, turn_id, branch=branch, turns=turns)

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


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a folder that may not be looked into: what is in it may be there
        return True


def _leaf(turns: Sequence[Kept], name: str) -> Kept | None:
    """Return the last turn of a thread: one that no other of it comes behind, not a lesson's."""
    own = [turn for turn in turns if turn.thread_name == name and not turn.private]
    own = [turn for turn in own if not turn.tape] or own
    parents = {turn.parent for turn in own}
    leaves = [turn for turn in own if turn.id not in parents] or own
    return leaves[-1] if leaves else None


def is_another(entry: Entry, found: Records) -> bool:
    """Whether a file is not the notebook that `entry` tells of, but a later one in its place.

    A file that has no ids, or cannot be read, says nothing; cleared outputs leave the ids of cells.
    """
    if not entry.cells or not found.cells or found.cells.intersection(entry.cells):
        return False
    return not any(entry.knows(turn.thread_id) for turn in found.turns)
