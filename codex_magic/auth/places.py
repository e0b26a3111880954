"""Where a sign-in is kept: a file, and who may look at it.

A place gives and takes bytes whole; what they mean is `document`'s. Writing is atomic, and between
processes there is a lock beside the file, so that of two that want to renew a token one waits.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from codex_magic.errors import BackendError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from codex_magic.auth.notices import Notices

LONGEST: Final = 1024 * 1024
PATIENCE_S: Final = 30.0
"""Seconds to wait for another process: longer than one of its requests may take."""

_PAUSE_S: Final = 0.01
# Not of a full or a failing disk: writing over what is there would lose it too.
_ALONE: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV}
_UNLOCKABLE: Final = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTSUP, errno.ENOLCK}


class UnreadableError(SetupError):
    """What is kept somewhere is no sign-in that can be read and understood here."""


class Place(Protocol):
    """Where one sign-in is kept.

    Parameters
    ----------
    words
        What a credential from here is said to be.
    again
        What a person does to sign in here anew.
    """

    words: str
    again: str

    @property
    def key(self) -> str:
        """What tells this place from all others."""
        ...

    def __str__(self) -> str: ...

    def read(self, *, afresh: bool = False) -> bytes | None:
        """Return what is kept; None for nothing.

        Parameters
        ----------
        afresh
            Whether it must be what is kept there now, whatever it takes.

        Raises
        ------
        SetupError
            It cannot be read.
        """
        ...

    def look(self) -> bytes | None:
        """Return what is kept, if that can be seen without a question, a change or an error."""
        ...

    def write(self, content: bytes) -> None:
        """Replace what is kept.

        Raises
        ------
        OSError
            It cannot be written; what was kept is still there.
        """
        ...

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from renewing what is here.

        Raises
        ------
        BackendError
            Another one takes too long.
        """
        ...


class FilePlace:
    """A file that only its owner may read; that is mended, with a notice, where it is not so."""

    def __init__(self, path: Path, words: str, again: str, notices: Notices) -> None:
        self.path = path
        self.words = words
        self.again = again
        self._notices = notices

    def __str__(self) -> str:
        return str(self.path)

    @property
    def key(self) -> str:
        """Where the file really is."""
        return str(self.path.resolve())

    def read(self, *, afresh: bool = False) -> bytes | None:  # noqa: ARG002 - it always is
        """Return what is in the file; None where there is no file."""
        return self._read(closes=True)

    def look(self) -> bytes | None:
        """Return what is in the file, if it can be read; who else can stays as it is."""
        with contextlib.suppress(SetupError):
            return self._read(closes=False)
        return None

    def _read(self, *, closes: bool) -> bytes | None:
        try:
            # Not to wait for a writer, should it be a pipe.
            handle = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise self._unreadable(error.strerror or "") from None
        try:
            found = os.fstat(handle)
            if not stat.S_ISREG(found.st_mode):
                raise self._unreadable("It is not a file")
            if closes and found.st_mode & 0o077:
                self._close_to_others(handle)
            content = _content(handle)
        except OSError as error:
            raise self._unreadable(error.strerror or "") from None
        finally:
            os.close(handle)
        if len(content) > LONGEST:
            raise self._unreadable(f"It is longer than {LONGEST // 1024} KB")
        return content

    def write(self, content: bytes) -> None:
        """Replace the file whole, or where that is not possible its content."""
        path = self.path.resolve()  # a link stays one
        try:
            replace(path, content)
        except OSError as error:
            if error.errno not in _ALONE:
                raise
            # A file alone may be writable: in a container it is mounted without its folder.
            try:
                _overwrite(path, content)
            except OSError:
                raise error from None

    def delete(self) -> None:
        """Remove the file, if it is there."""
        self.path.unlink(missing_ok=True)

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from renewing what is here, as far as this folder has locks."""
        return locked(lock(self.path))

    def _close_to_others(self, handle: int) -> None:
        try:
            os.fchmod(handle, 0o600)
        except OSError:
            what = f"and that cannot be changed. Type: chmod 600 {self.path}"
        else:
            what = "it is yours alone now"
        self._notices.say(f"other people of this machine could read {self.path}; {what}")

    def _unreadable(self, why: str) -> UnreadableError:
        return UnreadableError(
            f"the sign-in in {self.path} cannot be read: {why}",
            hint=f"Make it a file of yours, or sign in anew: {self.again}",
        )


def _content(handle: int) -> bytes:
    """Return what is in a file, and a little more than is allowed of one that is too long."""
    pieces: list[bytes] = []
    while sum(map(len, pieces)) <= LONGEST and (piece := os.read(handle, LONGEST + 1)):
        pieces.append(piece)
    return b"".join(pieces)


def replace(path: Path, content: bytes) -> None:
    """Write a file whole or not at all, readable by its owner only from its beginning."""
    handle, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    beside = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    with contextlib.suppress(OSError):  # not every disk does this for folders
        folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _overwrite(path: Path, content: bytes) -> None:
    """Write over what is in a file, after making sure that there is room for all of it.

    A disk that is full has to say so before the first byte is lost: so the end comes first, as
    blanks, which change no document.
    """
    handle = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        size = os.fstat(handle).st_size
        try:
            _write(handle, b" " * (len(content) - size), size)
        except OSError:
            os.ftruncate(handle, size)
            raise
        _write(handle, content, 0)
        os.ftruncate(handle, len(content))
        os.fsync(handle)
    finally:
        os.close(handle)


def _write(handle: int, content: bytes, at: int) -> None:
    while content:
        written = os.pwrite(handle, content, at)
        content, at = content[written:], at + written
    os.fsync(handle)


def lock(path: Path) -> Path:
    """Return where the lock of a file is: beside what it really is, should it be a link."""
    real = path.resolve()
    return real.with_name(f"{real.name}.lock")


@contextlib.contextmanager
def locked(path: Path, patience_s: float = PATIENCE_S) -> Iterator[None]:
    """Hold the lock at `path`; where none can be had, do without.

    Raises
    ------
    BackendError
        Another process holds it all the time.
    """
    handle = _opened(path)
    if handle is None:
        yield
        return
    try:
        _take(handle, path, time.monotonic() + patience_s)
        yield
    finally:
        os.close(handle)


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None  # a disk on which nothing can be made


def _take(handle: int, path: Path, deadline: float) -> None:
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise BackendError(
                    "another process renews this sign-in and does not come to an end",
                    hint=f"Look who has {path} open",
                ) from None
            time.sleep(_PAUSE_S)
        except OSError as error:
            if error.errno in _UNLOCKABLE:
                return  # as it is on some network disks
            raise
        else:
            return
