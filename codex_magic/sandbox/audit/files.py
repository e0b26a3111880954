"""The file of the log: opened, locked, read from its end, and grown by whole lines.

Only an ordinary file is opened, never through a link in its place. What a line says is not known
here.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shlex
import stat
import time
from typing import TYPE_CHECKING, Final

from codex_magic.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader
    from pathlib import Path

LONGEST_BYTES: Final = 4 * 1024 * 1024
BLOCK_BYTES: Final = 16 * 1024
LOCK_S: Final = 3.0
SYNC: Final = getattr(os, "fdatasync", os.fsync)

_FLAGS: Final = os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


@contextlib.contextmanager
def appending(path: Path) -> Iterator[int]:
    """Give the log, made if it was missing, locked, and its owner's alone.

    Raises
    ------
    SandboxError
        For all that the system refuses, here and in the body.
    """
    try:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o700, parents=True)
        fd = _opened(path, os.O_RDWR | os.O_CREAT)
        try:
            if os.fstat(fd).st_mode & 0o077:
                os.fchmod(fd, 0o600)
            lock(fd, fcntl.LOCK_EX)
            yield fd
        finally:
            # Closing would not do it while a forked process holds the same open file.
            fcntl.flock(fd, fcntl.LOCK_UN)
            os.close(fd)
    except OSError as error:
        raise _trouble(path, error, "written") from None


@contextlib.contextmanager
def reading(path: Path) -> Iterator[BufferedReader]:
    """Give the log, not locked.

    Raises
    ------
    FileNotFoundError
        There is no log.
    SandboxError
        For all else that the system refuses, here and in the body.
    """
    try:
        with os.fdopen(_opened(path, os.O_RDONLY), "rb") as file:
            yield file
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _trouble(path, error, "read") from None


def lock(fd: int, kind: int) -> None:
    """Lock an open file as `fcntl.flock` does, but wait no longer than `LOCK_S`."""
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            return fcntl.flock(fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(errno.ETIMEDOUT, "another process keeps it locked") from None
            time.sleep(0.001)


def backwards(fd: int, limit_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the lines of a file, the last one first; a very long one without its beginning.

    Behind a newline at the end there is an empty line. The first line within the last
    `limit_bytes` may lack its beginning.
    """
    size = os.fstat(fd).st_size
    rest, stop = b"", max(0, size - limit_bytes) if limit_bytes else 0
    while size > stop:
        step = min(BLOCK_BYTES, size - stop)
        size -= step
        block = os.pread(fd, step, size)
        if len(rest) >= LONGEST_BYTES and b"\n" not in block:
            continue
        rest, *lines = (block + rest).split(b"\n")
        yield from reversed(lines)
    yield rest


def grow(fd: int, data: bytes) -> None:
    """Write `data` at the end, all or nothing, and return once it is on the disk."""
    if len(data) > LONGEST_BYTES:
        raise OSError(errno.EMSGSIZE, "a line would be too long")
    size = os.fstat(fd).st_size
    if os.write(fd, data) < len(data):
        with contextlib.suppress(OSError):  # what stays of it is closed by who writes next
            os.ftruncate(fd, size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    SYNC(fd)


def _opened(path: Path, flags: int) -> int:
    fd = os.open(path, flags | _FLAGS, 0o600)
    if stat.S_ISREG(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    raise OSError(errno.EINVAL, "it is not an ordinary file")


def _trouble(path: Path, error: OSError, done: str) -> SandboxError:
    quoted = shlex.quote(str(path))
    reason, hint = error.strerror, f"Look at it: ls -l {quoted}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        hint = "Make room on that disk, and run the cell again"
    elif error.errno == errno.ELOOP:
        reason, hint = "it is a symbolic link", f"Remove the link: rm {quoted}"
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR):
        hint = "Make its folder yours, or set JUPYTER_DATA_DIR to one that is, and restart"
    return SandboxError(f"the audit log {path} cannot be {done}: {reason}", hint=hint)
