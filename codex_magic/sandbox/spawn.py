"""Starting processes, and finding those that came from one.

What they are and how they are kept together is known to `tree` and what builds on it.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

CHUNK_BYTES: Final = 64 * 1024
LAUNCHER_ENV: Final = {"PATH": "/usr/bin:/bin"}
"""What a launcher gets: were it a command's own, a library to preload would run outside."""


@contextlib.contextmanager
def in_memory(name: str, content: bytes) -> Iterator[int]:
    """Give a file that holds `content` and is on no disk."""
    with os.fdopen(os.memfd_create(name), "w+b", 0) as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()


def named(command: Sequence[str]) -> None:
    """Refuse a command without a name.

    Raises
    ------
    FileNotFoundError
        It has none.
    """
    if not command[0]:  # looked up, it would be each folder of PATH
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "''")


def popen(
    command: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    fds: Sequence[int] = (),
    gated: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `command` in a session of its own, its output on pipes, its input one if `gated`."""
    return subprocess.Popen(  # noqa: S603 - running what it is given is its purpose
        list(command),
        stdin=subprocess.PIPE if gated else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=cwd,
        env=dict(env),
        pass_fds=fds,
        start_new_session=True,
    )


def readable(fd: int, timeout_s: float) -> bool:
    """Wait until `fd` can be read; unlike `select` for any number of open files."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(timeout_s, 0) * 1000))


def stat(pid: int) -> tuple[str, int, int]:
    """Return the state, the parent and the session of a process."""
    words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    return words[0].decode(), int(words[1]), int(words[3])


def kin(first: int, mark: bytes) -> Iterator[int]:
    """Yield the living processes that came from `first`, less itself."""
    folder = Path("/proc")
    family = {first}
    for pid in sorted(int(p.name) for p in folder.glob("[0-9]*")):
        with contextlib.suppress(OSError):
            state, parent, session = stat(pid)
            related = parent in family or session == first
            if related or mark in (folder / str(pid) / "environ").read_bytes():
                family.add(pid)
                if pid != first and state not in "ZX":
                    yield pid
