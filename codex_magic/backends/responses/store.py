"""The threads of this backend, as files of lines in the person's Jupyter data folder.

A thread is stored from its first turn on; each thing that is said is written as soon as it has been
said, and is on the disk for good when the turn ends. One kernel writes a thread, any may read it.
Those that were used last stay open, and thereby this kernel's.
What the lines say is `lines`' business, who may write them `onewriter`'s.
"""

from __future__ import annotations

import re
import secrets
import shlex
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from codex_magic import folder
from codex_magic.backends.base import StoredThread, StoredTurn, ThreadMissingError
from codex_magic.backends.responses import lines
from codex_magic.backends.responses.listing import newest_first, row
from codex_magic.backends.responses.log import ThreadLog
from codex_magic.backends.responses.onewriter import LinesFile, slip_in, split
from codex_magic.backends.seats import SEE, missing
from codex_magic.errors import CellError, RecordError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Json = dict[str, Any]


OPEN: Final = 16
"""Threads that stay open while nothing runs in them; each has a descriptor, and its items in memory."""


class BusyError(CellError):
    """Another program has the thread open."""


class Store:
    """The stored threads of a person.

    Parameters
    ----------
    environ
        Where the person's Jupyter data folder is looked up.
    """

    def __init__(self, environ: Mapping[str, str] | None = None) -> None:
        self._environ = environ
        self._held: dict[str, ThreadLog] = {}
        self._lock = threading.RLock()

    # --- taking one up ------------------------------------------------------------------------

    def held(self, thread_id: str) -> ThreadLog | None:
        """Return a thread that is open here."""
        with self._lock:
            return self._used(thread_id)

    def begin(
        self, cwd: str, title: str = "", *, private: bool = False, history: Sequence[Json] = ()
    ) -> ThreadLog:
        """Return a new thread, which is stored once its first turn begins.

        Parameters
        ----------
        private
            Whether it is stored nowhere.
        history
            Items that it begins with.
        """
        log = self._made(lines.Record(title=title), cwd, private=private)
        if history:
            log.add(history)
        return log

    def open(self, thread_id: str) -> ThreadLog:
        """Return a stored thread to go on with; the same one again while it is open here.

        Raises
        ------
        ThreadMissingError
            There is none.
        BusyError
            Another program has it open.
        RecordError
            It cannot be read here.
        """
        with self._lock:
            if (held := self._used(thread_id)) is not None:
                return held
            file = self._taken(thread_id, "gone on with")
            try:
                log = _read(file, thread_id)
            except BaseException:
                file.close()
                raise
            self._hold(log)
            return log

    def _used(self, thread_id: str) -> ThreadLog | None:
        """Return a thread that is open here, as the one that was used last."""
        log = self._held.pop(thread_id, None)
        if log is not None:
            self._held[thread_id] = log
        return log

    def _hold(self, log: ThreadLog) -> None:
        """Keep a thread open, and close those that have not been used for longest.

        One that is not on the disk to its end, or stored nowhere at all, can only be kept.
        """
        self._held[log.thread_id] = log
        resting = [each for each in self._held.values() if each.is_all_stored and each is not log]
        for each in resting[: max(0, len(resting) - OPEN + 1)]:
            self._held.pop(each.thread_id).close()

    def fork(self, thread_id: str, until: str = "", *, cwd: str = "", title: str = "") -> ThreadLog:
        """Return a new thread that has the turns of another, also of one that is open elsewhere.

        Parameters
        ----------
        until
            The last turn that they share; all of them without it.
        cwd, title
            Its own; those of the other one without them.

        Raises
        ------
        ThreadMissingError
            There is no such thread, or no such turn in it.
        """
        shared = lines.shared(self._raws(thread_id), until)
        if shared is None:
            raise ThreadMissingError(
                f"thread {thread_id} has no turn {until!r}", hint="Type %codex show for its turns"
            )
        record = lines.fold(shared.raws)
        record.title = title or shared.title
        last = record.turns[-1].id if record.turns else ""
        head = shared.head
        log = self._made(
            record,
            cwd or (head.cwd if head else ""),
            parent=lines.Parent(thread_id=thread_id, turn_id=last),
            preview=head.preview if head else "",
        )
        log.carry(shared.raws)
        return log

    def _made(
        self,
        record: lines.Record,
        cwd: str,
        *,
        private: bool = False,
        parent: lines.Parent | None = None,
        preview: str = "",
    ) -> ThreadLog:
        head = lines.Head(
            version=lines.VERSION,
            id=new_id(),
            cwd=cwd,
            created_at=time.time(),
            origin=lines.ORIGIN,
            preview=preview,
            parent=parent,
        )
        make = None if private else lambda: self._new_file(head.id)
        log = ThreadLog(head, record, make=make)
        with self._lock:
            self._hold(log)
        return log

    def close(self) -> None:
        """Close all that is open here."""
        with self._lock:
            for log in self._held.values():
                log.close()
            self._held.clear()

    # --- the list -----------------------------------------------------------------------------

    def stored(self, cwd: str | None, limit: int, *, archived: bool = False) -> list[StoredThread]:
        """Return the threads of a folder, or of all, the latest used first; or those of the archive."""
        found: list[StoredThread] = []
        for path, used_at in newest_first(self._folder):
            if len(found) >= limit:
                break
            if not _ID.fullmatch(path.stem):
                continue
            if (thread := row(path, used_at, cwd, archived=archived)) is not None:
                found.append(thread)
        return found

    def turns(self, thread_id: str) -> list[StoredTurn]:
        """Return the turns of a stored thread, the oldest first.

        Raises
        ------
        ThreadMissingError
            There is none.
        """
        record = lines.fold(self._raws(thread_id))
        return [StoredTurn(turn.id, thread_id, tuple(lines.said(turn))) for turn in record.turns]

    def rename(self, thread_id: str, title: str) -> None:
        """Call a thread something else in the list; raises `ThreadMissingError`."""
        if (held := self._held.get(thread_id)) is not None:
            held.title = title
        self._note(thread_id, lines.TitleLine(title=title))

    def archive(self, thread_id: str) -> None:
        """Take a thread off the list until its next turn; likewise."""
        self._note(thread_id, lines.ArchivedLine(archived=True))

    def delete(self, thread_id: str) -> None:
        """Remove a thread for good.

        Raises
        ------
        ThreadMissingError
            There is none.
        BusyError
            Another program has it open, or a turn is running in it.
        """
        with self._lock:
            held = self._held.get(thread_id)
            if held is not None and held.is_stored:
                if held.is_running:
                    raise BusyError(
                        f"a turn is running in thread {thread_id}", hint="Stop it first"
                    )
                held.close()
                del self._held[thread_id]
            file = self._taken(thread_id, "deleted")
            file.remove()
            file.close()

    # --- the files ----------------------------------------------------------------------------

    @property
    def _folder(self) -> Path:
        return folder.data(self._environ) / folder.THREADS

    def _path(self, thread_id: str) -> Path:
        if not _ID.fullmatch(thread_id):
            raise missing(thread_id)
        return self._folder / f"{thread_id}.jsonl"

    def _new_file(self, thread_id: str) -> LinesFile:
        folder.make(self._environ)
        self._folder.mkdir(mode=folder.PRIVATE, exist_ok=True)
        return LinesFile(self._path(thread_id), make=True)

    def _taken(self, thread_id: str, done: str) -> LinesFile:
        path = self._path(thread_id)
        try:
            return LinesFile(path)
        except FileNotFoundError:
            raise _missing(thread_id) from None
        except BlockingIOError:
            raise BusyError(
                f"another program is using thread {thread_id}, so it cannot be {done}",
                hint="Shut down the kernel that has it open",
            ) from None
        except OSError as error:
            raise _unreadable(path, error) from None

    def _raws(self, thread_id: str) -> list[bytes]:
        """Return the lines of a thread, also of one that another program is writing."""
        path = self._path(thread_id)
        held = self._held.get(thread_id)
        try:
            whole, rest = split(path.read_bytes() + (held.unwritten() if held else b""))
        except FileNotFoundError:
            raise _missing(thread_id) from None
        except OSError as error:
            raise _unreadable(path, error) from None
        return [*whole, rest + b"\n"] if rest else whole

    def _note(self, thread_id: str, line: lines.Line) -> None:
        """Write a line about a thread, also about one that another program has open."""
        held = self._held.get(thread_id)
        if held is not None:
            held.note(line)
            return
        path = self._path(thread_id)
        try:
            slip_in(path, lines.encode(line))
        except FileNotFoundError:
            raise _missing(thread_id) from None
        except OSError as error:
            raise _unreadable(path, error) from None


def _read(file: LinesFile, thread_id: str) -> ThreadLog:
    try:
        raws, torn = file.read(lines.decode)
    except OSError as error:
        raise _unreadable(file.path, error) from None
    record = lines.fold(raws)
    head = record.head or lines.Head(version=lines.VERSION, id=thread_id, cwd="", created_at=0.0)
    if head.version > lines.VERSION:
        raise RecordError(
            f"thread {thread_id} was stored by a newer version of codex_magic",
            hint="Upgrade this one, or begin afresh with %%codex --new",
        )
    log = ThreadLog(head, record, file=file)
    if torn is not None:
        log.notices.append(
            f"the last line of thread {thread_id} was torn; what is left of it is in {torn}"
        )
    if record.broken:
        one = record.broken == 1
        what = "1 line" if one else f"{record.broken} lines"
        told = f"{what} of thread {thread_id} cannot be read and count{'s' * one} for nothing"
        log.notices.append(told)
    return log


_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIMED: Final = "7"
"""The version of an id that begins with the time, as Codex's own threads have it, and ours."""


def _missing(thread_id: str) -> ThreadMissingError:
    if thread_id[14] == _TIMED:
        return missing(thread_id, hint=f"{SEE}; one of Codex itself needs --backend app-server")
    return missing(thread_id)


def _unreadable(path: Path, error: OSError) -> RecordError:
    hint = f"Look at it: ls -l {shlex.quote(str(path))}"
    return RecordError(f"{path} cannot be used: {error.strerror}", hint=hint)


def new_id() -> str:
    """Return an id that is nobody else's and sorts behind all earlier ones: a UUID of version 7."""
    ms, ns = divmod(time.time_ns(), 1_000_000)
    fraction = (ns << 12) // 1_000_000
    number = (ms & (1 << 48) - 1) << 80 | 0x7 << 76 | fraction << 64
    digits = f"{number | 0b10 << 62 | secrets.randbits(62):032x}"
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
