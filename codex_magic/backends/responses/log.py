"""One thread as it goes on: what is sent to a model, and every line of it written as it comes.

Where nothing can be written, the thread goes on all the same: what is missing waits in memory and
is tried again with whatever comes next. A person is told of it once a turn.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import msgspec

from codex_magic.backends.responses import lines
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codex_magic.backends.responses.onewriter import LinesFile

log = logging.getLogger(__name__)

Json = dict[str, Any]


class ThreadLog:
    """A thread that is open here.

    Parameters
    ----------
    head, record
        What it is, and what it has been so far.
    file
        Where it is stored already.
    make
        Makes the file of a new one. Without either, the thread is private.

    Attributes
    ----------
    items
        What is sent to a model, in order.
    model, account
        Those of the last turn; empty before the first.
    notices
        What a person should be told; whoever tells it takes it away.
    """

    def __init__(
        self,
        head: lines.Head,
        record: lines.Record,
        *,
        file: LinesFile | None = None,
        make: Callable[[], LinesFile] | None = None,
    ) -> None:
        self.thread_id = head.id
        self.cwd = head.cwd
        self.title = record.title
        self.model, self.account = record.model, record.account
        self.items = list(record.items)
        self.notices: list[str] = []
        self._head = None if file else head
        self._file, self._make = file, make
        self._unwritten = bytearray()
        self._turn_id = ""
        self._told = False
        self._lock = threading.Lock()
        if record.unfinished:
            self._end(record.unfinished, "interrupted")

    @property
    def is_private(self) -> bool:
        """Whether it is stored nowhere."""
        return self._file is None and self._make is None

    @property
    def is_stored(self) -> bool:
        """Whether it has a file by now."""
        return self._file is not None

    @property
    def is_running(self) -> bool:
        """Whether a turn has begun and not ended."""
        return bool(self._turn_id)

    @property
    def is_all_stored(self) -> bool:
        """Whether it could be closed now, and opened again with nothing missing."""
        return self.is_stored and not self.is_running and not self._unwritten

    def begin_turn(self, turn_id: str, *, model: str, account: str, prompt: str) -> None:
        """Note that a turn begins; the first one has the thread stored."""
        self.model, self.account = model, account
        self._turn_id = turn_id
        self._told = False
        if self._file is not None and self._file.is_gone:
            self._file.close()
            self._file = self._make = None
            self.notices.append("this thread's file was removed; what follows is stored nowhere")
        if self._head is not None and self._make is not None:
            preview = self._head.preview or " ".join(prompt[: 4 * lines.PREVIEW].split())
            head = msgspec.structs.replace(
                self._head, cwd=self.cwd, title=self.title, preview=preview[: lines.PREVIEW]
            )
            self._head = None
            self._unwritten[:0] = lines.encode(head)
        self._put(
            lines.TurnLine(id=turn_id, at=time.time(), model=model, account=account, request=prompt)
        )

    def add(self, items: Sequence[Json]) -> None:
        """Add what went to the model or came from it."""
        self.items += items
        self._put(lines.ItemsLine(turn_id=self._turn_id, items=list(items)))

    def compact(self, items: Sequence[Json]) -> None:
        """Have `items` sent from now on instead of all so far, which stays where it is stored."""
        self.items = list(items)
        self._put(lines.CompactedLine(turn_id=self._turn_id, items=list(items)))

    def end_turn(self, status: str) -> None:
        """Note that the turn is over, and see that it outlasts the machine."""
        turn_id, self._turn_id = self._turn_id, ""
        self._end(turn_id, status)
        self.settle()

    def settle(self) -> None:
        """See that what is written outlasts the machine."""
        self._flush(sync=True)

    def _end(self, turn_id: str, status: str) -> None:
        line = lines.EndLine(turn_id=turn_id, status=status, at=time.time())
        self._put(line, later=True)

    def note(self, line: lines.Line) -> None:
        """Write a line that is about the thread and not of it."""
        self._put(line)

    def carry(self, raws: Sequence[bytes]) -> None:
        """Have the lines of another thread stored as the beginning of this one."""
        self._unwritten[:0] = b"".join(raws)

    def unwritten(self) -> bytes:
        """Return what stands behind the file's end once it can be written."""
        with self._lock:
            return bytes(self._unwritten)

    def close(self) -> None:
        """Let others have the thread; what cannot be written now either is lost, and logged."""
        why = self._flush()
        if why:
            size = len(self._unwritten)
            log.warning("the last %d bytes of thread %s are lost: %s", size, self.thread_id, why)
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = self._make = None

    def _put(self, line: lines.Line, *, later: bool = False) -> None:
        if self.is_private:
            return
        with self._lock:
            self._unwritten += lines.encode(line)
        if not later:
            self._flush()

    def _flush(self, *, sync: bool = False) -> str:
        """Write what is not written yet, once a turn has begun; return why that cannot be done."""
        if self._head is not None or self.is_private:
            return ""
        with self._lock:
            try:
                if self._file is None and self._make is not None:
                    self._file = self._make()
                if self._file is not None:
                    self._file.write(self._unwritten)
                    if sync:
                        self._file.sync()
            except (OSError, SetupError) as error:
                return self._complained(error)
        return ""

    def _complained(self, error: OSError | SetupError) -> str:
        why = str(error.strerror if isinstance(error, OSError) else error.message)
        if not self._told:
            self._told = True
            self.notices.append(
                f"this thread cannot be stored now ({why}); it goes on, and that is tried again"
            )
        return why
