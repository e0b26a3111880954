"""A file of lines with one writer: locked while it is open, only ever longer, mended where it is torn.

It knows the file system and the ends of lines. What stands on them is others' business. The lock is
the file's own, so that none is left behind by a kernel that was killed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TORN: Final = ".torn"
"""What is added to a file's name for the one that keeps what was torn off it."""

_FLAGS: Final = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW
_MODE: Final = 0o600


class LinesFile:
    """A file that nobody else writes while it is open here.

    Parameters
    ----------
    path
        Where it is.
    make
        Whether it is a new one.

    Raises
    ------
    OSError
        FileNotFoundError or FileExistsError; BlockingIOError where another program has it open.
    """

    def __init__(self, path: Path, *, make: bool = False) -> None:
        self.path = path
        self._fd = os.open(path, _FLAGS | (os.O_CREAT | os.O_EXCL if make else 0), _MODE)
        self._is_new = make
        try:
            self._lock()
        except BaseException:
            os.close(self._fd)
            raise

    def _lock(self) -> None:
        fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if self.is_gone:  # whoever had the lock has removed it meanwhile
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self.path))

    @property
    def is_gone(self) -> bool:
        """Whether somebody has removed it, or moved it elsewhere."""
        try:
            return not os.path.samestat(os.fstat(self._fd), self.path.lstat())
        except FileNotFoundError:
            return True

    def read(self, is_whole: Callable[[bytes], object]) -> tuple[list[bytes], Path | None]:
        """Return its lines, and where what was torn off the last one is now, if anything was.

        Parameters
        ----------
        is_whole
            Raises ValueError for what is not a line, but the beginning of one.
        """
        lines, rest = split(self.path.read_bytes())
        if not rest:
            return lines, None
        try:
            is_whole(rest)
        except ValueError:
            return lines, self._torn_off(rest, sum(map(len, lines)))
        self.write(bytearray(b"\n"))
        return [*lines, rest + b"\n"], None

    def _torn_off(self, rest: bytes, at: int) -> Path:
        aside = self.path.with_name(self.path.name + TORN)
        fd = os.open(aside, os.O_CREAT | _FLAGS, _MODE)
        with os.fdopen(fd, "ab") as file:
            file.write(rest + b"\n")
            file.flush()
            os.fsync(fd)
        os.ftruncate(self._fd, at)
        return aside

    def write(self, unwritten: bytearray) -> None:
        """Append `unwritten`, and take from it what has been written, also where that is a part.

        Raises
        ------
        OSError
            The rest cannot be written now.
        """
        while unwritten:
            done = os.write(self._fd, unwritten)
            del unwritten[:done]

    def sync(self) -> None:
        """Wait until what was written would outlast a power cut."""
        os.fsync(self._fd)
        if self._is_new:
            self._is_new = False
            folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)

    def remove(self) -> None:
        """Remove it, and what was torn off it."""
        self.path.unlink(missing_ok=True)
        self.path.with_name(self.path.name + TORN).unlink(missing_ok=True)

    def close(self) -> None:
        """Let others have it."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            # A process that was forked meanwhile has the file open, too, and would keep the lock.
            with contextlib.suppress(OSError):
                fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """Return the whole lines of a file, and what stands behind the last one."""
    *lines, rest = data.split(b"\n")
    return [line + b"\n" for line in lines], rest


def slip_in(path: Path, line: bytes) -> None:
    """Append a short line to a file that another program may be writing.

    It is written in one go, begins a line whatever stands before it, and does not count as a use.
    """
    fd = os.open(path, _FLAGS)
    try:
        before = os.fstat(fd)
        os.write(fd, b"\n" + line)
        os.utime(fd, ns=(before.st_atime_ns, before.st_mtime_ns))
    finally:
        os.close(fd)
