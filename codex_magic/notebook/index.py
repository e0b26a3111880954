"""Which notebook on this machine has which threads: a file in the person's Jupyter data folder.

It covers what a notebook's own file does not say, since it was not saved or its outputs were
cleared, and it is what a thread id in a file is checked against: only a notebook that stands here
with that id goes on with that very thread. Several kernels may write it; each takes a lock, reads,
changes its own notebook, and replaces the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from codex_magic import folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from codex_magic.notebook.records import Records

log = logging.getLogger("codex_magic")

NOTEBOOKS: Final = 1000
"""Notebooks that are remembered; beyond that the one that rested longest is forgotten."""

IDS: Final = 200
"""Ids of threads, and of cells, that are remembered of a notebook."""

VERSION: Final = 1


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a thread of a notebook stands.

    Parameters
    ----------
    thread_id, backend
        The thread, and where it runs.
    turn_id, at
        Its last turn, and when that began, in seconds since the epoch.
    earlier
        The threads that it goes on from: one whose tools have changed is begun anew.
    """

    thread_id: str
    backend: str = ""
    turn_id: str = ""
    at: float = 0.0
    earlier: tuple[str, ...] = ()


class Entry(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one notebook.

    Parameters
    ----------
    threads
        Its threads by name.
    current
        The name of the thread that a cell uses which names none.
    ids
        Every thread that ever was its own, the newest last.
    left
        Those of them that a person has archived or deleted: what the notebook keeps of them is not
        taken up again.
    names
        What threads are called now whose stored turns have another name.
    cells
        Ids of its cells, by which it is told from another notebook at the same place.
    at
        When it was used last, in seconds since the epoch.
    """

    threads: dict[str, Standing] = {}
    current: str = "main"
    ids: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    names: dict[str, str] = {}
    cells: tuple[str, ...] = ()
    at: float = 0.0

    def knows(self, thread_id: str) -> bool:
        """Whether a thread is, or was, this notebook's own."""
        return thread_id in self.ids

    def owner(self, thread_id: str) -> str:
        """Return the name of the thread with this id; empty if no name stands for it."""
        names = (name for name, x in self.threads.items() if x.thread_id == thread_id)
        return next(names, "")


def _is_another(entry: Entry, found: Records) -> bool:
    """Whether a file is not the notebook that `entry` tells of, but a later one in its place.

    A file that has no ids, or cannot be read, says nothing; cleared outputs leave the ids of cells.
    """
    if not entry.cells or not found.cells or found.cells.intersection(entry.cells):
        return False
    return not any(entry.knows(turn.thread_id) for turn in found.turns)


def exists(path: Path) -> bool:
    """Whether there is a file; one in a folder that may not be looked into may be there."""
    try:
        return path.exists()
    except OSError:
        return True


def _bounded(entry: Entry) -> Entry:
    own = [standing.thread_id for standing in entry.threads.values()]
    rest = [known for known in entry.ids if known not in own][-IDS:]
    left, cells = entry.left[-IDS:], entry.cells[-IDS:]
    names = dict([*entry.names.items()][-IDS:])
    return msgspec.structs.replace(entry, ids=(*rest, *own), left=left, cells=cells, names=names)


class _File(msgspec.Struct, kw_only=True):
    version: int = VERSION
    notebooks: dict[str, Entry] = {}


class Index:
    """The file of all notebooks.

    Parameters
    ----------
    environ
        Where the person's Jupyter data folder is looked up.
    lock_s
        Seconds that another kernel is waited for. A stopped one may hold the lock for ever, so a
        turn does not wait for it: what it had to say is written with the next one.
    """

    def __init__(self, environ: Mapping[str, str] | None = None, *, lock_s: float = 0.1) -> None:
        self._environ = environ
        self._lock_s = lock_s
        self._trouble = ""
        self._told = False

    def trouble(self) -> str:
        """Return why the index could not be used, in words for a person; each time something else."""
        found, self._trouble = self._trouble, ""
        return found

    def read(self, path: Path) -> Entry:
        """Return what is known of the notebook at `path`; nothing where it, or the file, is not there."""
        return self._load().notebooks.get(str(path), Entry())

    def entry_of(self, path: Path, found: Records) -> tuple[Entry, str]:
        """Return what is known of the notebook whose file at `path` was read, and what to say of it.

        It was moved here, and not copied, if the one that stands at the same turn, and has cells of
        it, is gone. Where none of its cells is in the file, another notebook has taken its place.
        """
        entry = self.read(path)
        if entry.ids and not _is_another(entry, found):
            return entry, ""
        if entry.ids:
            self.forget(path)
            return Entry(), f"a new thread: what stood at {path.name} before was another notebook"
        last = found.turns[-1] if found.turns else None
        homes = [] if last is None else self.homes(last.thread_id, last.id)
        if len(homes) != 1 or exists(homes[0]) or _is_another(self.read(homes[0]), found):
            return entry, ""
        self.move(homes[0], path)
        return self.read(path), f"this is taken to be {homes[0].name}, moved"

    def homes(self, thread_id: str, turn_id: str) -> list[Path]:
        """Return the notebooks that stand at this turn of this thread."""
        return [
            Path(path)
            for path, entry in self._load().notebooks.items()
            if any((x.thread_id, x.turn_id) == (thread_id, turn_id) for x in entry.threads.values())
        ]

    def users(self, thread_id: str) -> list[Path]:
        """Return the notebooks that go on with a thread."""
        return [
            Path(path)
            for path, entry in self._load().notebooks.items()
            if any(thread_id in (x.thread_id, *x.earlier) for x in entry.threads.values())
        ]

    def write(self, path: Path, merge: Callable[[Entry], Entry]) -> Entry | None:
        """Replace what is known of a notebook by what `merge` makes of it, and return that.

        None where it cannot be written; `trouble` then says why, and the turn goes on.
        """
        written: list[Entry] = []

        def put(notebooks: dict[str, Entry]) -> None:
            entry = _bounded(merge(notebooks.get(str(path), Entry())))
            notebooks[str(path)] = entry
            written.append(entry)

        return written[0] if self._change(put) else None

    def move(self, old: Path, new: Path) -> None:
        """Take the notebook at `old` to be the one at `new`."""

        def put(notebooks: dict[str, Entry]) -> None:
            if (entry := notebooks.pop(str(old), None)) is not None:
                notebooks[str(new)] = entry

        self._change(put)

    def forget(self, path: Path) -> None:
        """Forget the notebook at `path`."""
        self._change(lambda notebooks: notebooks.pop(str(path), None))

    def _load(self) -> _File:
        path = folder.data(self._environ) / folder.INDEX
        try:
            found = msgspec.json.decode(path.read_bytes(), type=_File)
        except FileNotFoundError:
            return _File()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self._say(f"cannot be read: {error}")
            return _File(version=0)
        if found.version != VERSION:
            self._say("was written by another version of codex_magic")
            return _File(version=found.version)
        return found

    def _change(self, change: Callable[[dict[str, Entry]], object]) -> bool:
        try:
            home = folder.make(self._environ)
            with _locked(home / f"{folder.INDEX}.lock", self._lock_s):
                found = self._load()
                if found.version > VERSION:
                    return False
                if found.version < VERSION:
                    (home / folder.INDEX).replace(home / f"{folder.INDEX}.bad")
                change(found.notebooks)
                recent = sorted(found.notebooks.items(), key=lambda pair: pair[1].at)[-NOTEBOOKS:]
                _replace(home / folder.INDEX, msgspec.json.encode(_File(notebooks=dict(recent))))
        except BlockingIOError:
            return False
        except (
            Exception
        ) as error:  # the turn matters more; what the notebook itself keeps still counts
            log.info("the index of notebooks cannot be written", exc_info=True)
            self._say(f"cannot be written: {error}")
            return False
        return True

    def _say(self, what: str) -> None:
        if not self._told:
            self._told = True
            line = " ".join(what.split())[:200]
            self._trouble = f"which notebook has which thread {line} ({folder.INDEX})"


@contextlib.contextmanager
def _locked(path: Path, patience_s: float) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + patience_s
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.005)
        yield
    finally:
        os.close(handle)


def _replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable by its owner only."""
    handle, beside = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(beside).replace(path)
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise
