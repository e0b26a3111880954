"""Writing the log: the lines of one kernel's commands, and the ends that dead kernels still owe.

Each call takes the lock once, and returns when its lines are on the disk.
"""

from __future__ import annotations

import contextlib
import os
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from codex_magic.errors import SandboxError
from codex_magic.mask import known_secrets
from codex_magic.sandbox.audit import chain, files, kernels, lines, reading

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from codex_magic.sandbox.audit.lines import Finished, Start, Started


class _Place(NamedTuple):
    offset: int
    line: bytes


class Log:
    """The log in the file `path`, made at the first line together with its folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open: dict[str, tuple[frozenset[str], _Place]] = {}

    def start(self, entry: Started, *, secrets: Iterable[str] = ()) -> str:
        """Write that a command is about to start, and return its id once that is on the disk.

        Parameters
        ----------
        secrets
            Values to mask in both lines, beside those of this process's own environment.

        Raises
        ------
        SandboxError
            It could not be written: the command should not start.
        """
        hidden = known_secrets() | frozenset(secrets)
        before = _before(entry, hidden)
        with files.appending(self.path) as fd:
            place = _append(fd, before)
        name: str = before["id"]
        self._open[name] = hidden, place
        return name

    def end(self, name: str, entry: Finished) -> None:
        """Write how the command ended that `start` called `name`.

        Raises
        ------
        SandboxError
            It could not be written; until this process ends, the start line stands alone.
        """
        hidden, place = self._open.pop(name)
        after = _after(name, entry, hidden)
        with files.appending(self.path) as fd:
            if os.pread(fd, len(place.line), place.offset) != place.line:
                after["start_missing"] = True
            _append(fd, after)

    def refused(self, entry: Started, message: str, *, secrets: Iterable[str] = ()) -> None:
        """Write both lines of a command that will not start: a rule, a person or the policy says no.

        Parameters
        ----------
        message
            Why not, in one sentence.
        secrets
            Values to mask in both lines, beside those of this process's own environment.

        Raises
        ------
        SandboxError
            They could not be written: the refusal stands, but not in the log.
        """
        hidden = known_secrets() | frozenset(secrets)
        before = _before(entry, hidden)
        refusal = lines.Finished(outcome="refused", message=message)
        with files.appending(self.path) as fd:
            _append(fd, before, _after(before["id"], refusal, hidden))


def close_unfinished(path: Path) -> list[Start]:
    """Return what `unfinished` does, and write their ends, so that each is returned once.

    Where that cannot be written they are returned all the same, and again the next time.
    """
    if not (found := reading.unfinished(path)):
        return found
    lost = lines.Finished(outcome=lines.UNKNOWN, message="its kernel was gone before it ended")
    with contextlib.suppress(SandboxError), files.appending(path) as fd:
        if found := reading.orphans(fd):  # another kernel may have closed them meanwhile
            _append(fd, *(_after(start.id, lost, frozenset()) for start in found))
    return found


def _before(entry: Started, hidden: frozenset[str]) -> dict[str, Any]:
    said = lines.started(entry, hidden)
    return {"kind": "start", "id": os.urandom(8).hex(), **kernels.whoami(), **said}


def _after(name: str, entry: Finished, hidden: frozenset[str]) -> dict[str, Any]:
    return {"kind": "end", "id": name, **lines.finished(entry, hidden)}


def _append(fd: int, *entries: Mapping[str, Any]) -> _Place:
    """Write lines behind the last, all or none, and return where the first one stands.

    What a crash left of a line before is closed first.
    """
    size = os.fstat(fd).st_size
    found = files.backwards(fd)
    torn = next(found)
    last = torn or next(found, b"")
    previous = chain.digest(last) if size else chain.ORIGIN
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    new = []
    for entry in entries:
        new.append(chain.linked(previous, {**entry, "at": now}))
        previous = chain.digest(new[-1])
    closed = b"\n" if torn else b""
    files.grow(fd, closed + b"".join(line + b"\n" for line in new))
    return _Place(size + len(closed), new[0])
