"""Reading files that a command may have replaced: by a pipe, a device, a link, or something huge.

Whoever opens such a thing may wait for ever. So only plain files are read, and only so much.
"""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUIETLY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextlib.contextmanager
def opened(path: str) -> Iterator[int]:
    """Open the plain file at `path`, not through a link at its end.

    Raises
    ------
    OSError
        There is none.
    """
    fd = os.open(path, _QUIETLY)
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise FileNotFoundError(f"{path} is no plain file")
        yield fd
    finally:
        os.close(fd)


def head(path: str, limit_bytes: int) -> bytes:
    """Return the beginning of the plain file at `path`; nothing if there is none."""
    try:
        with opened(path) as fd:
            return os.read(fd, limit_bytes)
    except OSError:
        return b""
