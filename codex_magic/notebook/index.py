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

log = logging.getLogger("codex_magic")

NOTEBOOKS: Final = 1000
"""Notebooks that are remembered; beyond that the one that rested longest is forgotten."""

IDS: Final = 200
"""Ids of threads, and of cells, that are remembered of a notebook."""

LOCK_S: Final = 2.0
LONGEST: Final = 16 * 1024 * 1024


class Standing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a thread of a notebook stands: its id, where it runs, its last turn, and when that began."""

    thread_id: str
    backend: str = ""
    turn_id: str = ""
    at: float = 0.0


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
    cells
        Ids of its cells, by which it is told from another notebook at the same place.
    at
        When it was used last, in seconds since the epoch.
    """

    threads: dict[str, Standing] = {}
    current: str = "main"
    ids: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    cells: tuple[str, ...] = ()
    at: float = 0.0

    def knows(self, thread_id: str) -> bool:
        """Whether a thread is, or was, this notebook's own."""
        return thread_id in self.ids


def _bounded(entry: Entry) -> Entry:
    ids, left, cells = entry.ids[-IDS:], entry.left[-IDS:], entry.cells[-IDS:]
    return msgspec.structs.replace(entry, ids=ids, left=left, cells=cells)


class _File(msgspec.Struct, kw_only=True):
    version: int = 1
    notebooks: dict[str, Entry] = {}


class Index:
    """The file of all notebooks.

    Parameters
    ----------
    environ
        Where the person's Jupyter data folder is looked up.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._told = False

    def read(self, path: Path) -> Entry:
        """Return what is known of the notebook at `path`; nothing where it, or the file, is not there."""
        return self._load().notebooks.get(str(path), Entry())

    def homes(self, thread_id: str, turn_id: str) -> list[Path]:
        """Return the notebooks that stand at this turn of this thread."""
        return [
            Path(path)
            for path, entry in self._load().notebooks.items()
            if any((x.thread_id, x.turn_id) == (thread_id, turn_id) for x in entry.threads.values())
        ]

    def write(self, path: Path, entry: Entry) -> None:
        """Remember `entry`; where that cannot be done, the log says so and the turn goes on."""

        def put(notebooks: dict[str, Entry]) -> None:
            notebooks[str(path)] = _bounded(entry)

        self._change(put)

    def move(self, old: Path, new: Path) -> None:
        """Take the notebook at `old` to be the one at `new`."""

        def put(notebooks: dict[str, Entry]) -> None:
            if (entry := notebooks.pop(str(old), None)) is not None:
                notebooks[str(new)] = entry

        self._change(put)

    def _load(self) -> _File:
        path = folder.data(self._environ) / folder.INDEX
        try:
            if path.stat().st_size > LONGEST:
                return _File()
            return msgspec.json.decode(path.read_bytes(), type=_File)
        except FileNotFoundError:
            return _File()
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            log.warning("the index of notebooks cannot be read: %s", path, exc_info=True)
            return _File()

    def _change(self, change: Callable[[dict[str, Entry]], None]) -> None:
        try:
            home = folder.make(self._environ)
            with _locked(home / f"{folder.INDEX}.lock"):
                found = self._load()
                change(found.notebooks)
                recent = sorted(found.notebooks.items(), key=lambda pair: pair[1].at)[-NOTEBOOKS:]
                _replace(home / folder.INDEX, msgspec.json.encode(_File(notebooks=dict(recent))))
        except Exception:  # the turn matters more; what the notebook itself keeps still counts
            if not self._told:
                log.warning("the index of notebooks cannot be written", exc_info=True)
            self._told = True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        deadline = time.monotonic() + LOCK_S
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # A stopped kernel may hold it for ever; a turn must not wait for that.
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
