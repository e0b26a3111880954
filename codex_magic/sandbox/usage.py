"""What the processes of one command use, and when that is too much.

The system limits a process; a command is many. So the limits of each process are set on the first
one before it begins, and all inherit them; what they hold together is looked at from time to time.
Killing is not done here.

Memory is counted as the resident pages of all processes, which is quick but counts shared pages
once for each; only where that is too much the exact, slow count decides. What a command writes is
what its processes made dirty on disks, as the system accounts it.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import stat
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from codex_magic.policy import GIB, MIB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codex_magic.policy import Limits

PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
FASTEST_FILL: Final = 4 * GIB
"""Bytes a second in which two cores can fill fresh memory, and a little more."""

WIDE_BYTES: Final = 32 * GIB
"""Address space from which on its tables count: a page of them for each 2 MiB that is touched."""

SELDOM_S: Final = 0.05
OFTEN_S: Final = 0.002
SECOND_NS: Final = 1_000_000_000


NICE: Final = 5
"""Commands stand back a little: who watches them, and the page that shows them, must get a turn."""


def set_limits(pid: int, limits: Limits, *, own_namespace: bool) -> None:
    """Limit the process `pid` and all it will start.

    Parameters
    ----------
    own_namespace
        Whether it is in a user namespace of its own. Elsewhere the number of processes would
        count all of this person's.
    """
    wanted = {
        resource.RLIMIT_CPU: limits.cpu_s,
        # Address space would forbid what programs only reserve: WebAssembly takes 10 GiB for each
        # memory, of which it uses nothing.
        resource.RLIMIT_DATA: limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    _stand_back(pid)
    if own_namespace:
        wanted[resource.RLIMIT_NPROC] = limits.processes
    for kind, most in wanted.items():
        with contextlib.suppress(ProcessLookupError):
            _, hard = resource.prlimit(pid, kind)
            # At the soft limit of processor time a process is told, a second later it is killed.
            most_hard = most + 1 if kind == resource.RLIMIT_CPU else most
            bound = most_hard if hard == resource.RLIM_INFINITY else min(hard, most_hard)
            resource.prlimit(pid, kind, (min(most, bound), bound))


def _stand_back(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, pid, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    # Where the scheduler groups processes by session, it is the group that must stand back.
    with contextlib.suppress(OSError), open(f"/proc/{pid}/autogroup", "w", encoding="ascii") as f:
        f.write(str(NICE))


@dataclass(slots=True)
class Usage:
    """What a tree of processes uses, and has used at most.

    Parameters
    ----------
    limits
        What it may use.
    disk
        A folder on the disk that it fills, to notice what is not written but reserved.
    """

    limits: Limits
    disk: str
    cpu_s: float = 0.0
    peak_bytes: int = 0
    _free_at_first: int = field(init=False)
    _began_ns: int = field(default_factory=time.time_ns)
    _shared: int = 0

    def __post_init__(self) -> None:
        self._free_at_first = _free(self.disk)

    def look(self, first: int) -> tuple[str, float]:
        """Look at `first` and its descendants.

        Returns
        -------
        str
            What there is too much of, in words that end a sentence; empty if nothing.
        float
            Seconds after which to look again.
        """
        family: list[_Process] = []
        threads = 0
        for process in _family(first):
            family.append(process)
            threads += process.threads
            if threads > self.limits.processes:
                return f"having more than {self.limits.processes} processes", SELDOM_S
        self.cpu_s = max(self.cpu_s, sum(p.ticks for p in family) / TICKS_PER_S)
        held = self._held(family)
        self.peak_bytes = max(self.peak_bytes, held)
        if held > self.limits.memory_bytes:
            return f"using more than {size(self.limits.memory_bytes)} of memory", SELDOM_S
        if self._filled(family):
            return f"writing more than {size(self.limits.disk_bytes)} to disks", SELDOM_S
        left_s = (self.limits.memory_bytes - held) / FASTEST_FILL
        return "", min(max(left_s / 2, OFTEN_S), SELDOM_S)

    def _held(self, family: list[_Process]) -> int:
        """Return the bytes that the processes hold, shared ones once where that decides."""
        counted = sum(process.pages for process in family) * PAGE_BYTES
        tables = sum(_tables(p.pid) for p in family if p.mapped > WIDE_BYTES)
        if counted - self._shared + tables <= self.limits.memory_bytes:
            return max(counted - self._shared, 0) + tables
        with _stopped(family):  # it would grow while it is counted
            held = sum(_share(process.pid) for process in family)
        # What is shared hardly changes: the slow count is not needed again for some time.
        self._shared = max(counted - held, 0)
        return held + tables

    def _filled(self, family: list[_Process]) -> bool:
        if sum(_written(p.pid) for p in family) > self.limits.disk_bytes:
            return True
        if self._free_at_first - _free(self.disk) <= self.limits.disk_bytes:
            return False
        # Not all that is written is accounted, and another program may have filled the disk: who
        # has it shows.
        named = _occupied(self.disk, self._began_ns)
        return named + sum(_unlinked(p.pid) for p in family) > self.limits.disk_bytes


@dataclass(frozen=True, slots=True)
class _Process:
    """One line of the system's account: pages it holds, and clock ticks it and its dead used."""

    pid: int
    runs: bool
    threads: int
    ticks: int
    pages: int
    mapped: int


@contextlib.contextmanager
def _stopped(family: list[_Process]) -> Iterator[None]:
    """Stop those that run for as long as somebody looks."""
    running = [process.pid for process in family if process.runs]
    for pid in running:
        _signal(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in running:
            _signal(pid, signal.SIGCONT)


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, number)


def _family(first: int) -> Iterator[_Process]:
    """Yield `first` and all its living descendants, parents before children."""
    waiting = [first]
    while waiting:
        pid = waiting.pop()
        with contextlib.suppress(OSError, ValueError, IndexError):  # it ended meanwhile
            process = _process(pid)
            yield process
            tasks = [str(pid)] if process.threads == 1 else os.listdir(f"/proc/{pid}/task")
            for task in tasks:
                waiting.extend(map(int, _read(f"/proc/{pid}/task/{task}/children").split()))


def _process(pid: int) -> _Process:
    words = _read(f"/proc/{pid}/stat").rpartition(b") ")[2].split()
    # proc_pid_stat(5), counted from the state, which is its third field.
    ticks = sum(map(int, words[11:15]))
    runs = words[0] not in b"TtZX"
    return _Process(pid, runs, int(words[17]), ticks, int(words[21]), int(words[20]))


def _tables(pid: int) -> int:
    """Return the bytes of the tables in which the system notes what `pid` has mapped where."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return 1024 * int(_read(f"/proc/{pid}/status").split(b"VmPTE:")[1].split()[0])
    return 0


def _share(pid: int) -> int:
    """Return the bytes of memory that are `pid`'s, of shared ones its share."""
    with contextlib.suppress(OSError):
        found = (line.split() for line in _read(f"/proc/{pid}/smaps_rollup").splitlines())
        return 1024 * sum(int(words[1]) for words in found if words[0] in (b"Pss:", b"SwapPss:"))
    return 0


def _written(pid: int) -> int:
    """Return the bytes that `pid` and its dead children gave to disks."""
    with contextlib.suppress(OSError, ValueError):
        named = dict(line.split(b":") for line in _read(f"/proc/{pid}/io").splitlines())
        return int(named[b"write_bytes"]) - int(named[b"cancelled_write_bytes"])
    return 0


def _free(folder: str) -> int:
    try:
        facts = os.statvfs(folder)
    except OSError:
        return 0
    return facts.f_bavail * facts.f_frsize


def _occupied(folder: str, since_ns: int) -> int:
    """Return the bytes of disk that those files below `folder` occupy that have changed since."""
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                facts = os.lstat(f"{where}/{name}")
                if facts.st_ctime_ns >= since_ns - SECOND_NS:
                    total += facts.st_blocks * 512
    return total


def _unlinked(pid: int) -> int:
    """Return the bytes of disk in files that have no name any more and that `pid` has open."""
    found = {}
    with contextlib.suppress(OSError):
        for fd in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                facts = os.stat(f"/proc/{pid}/fd/{fd}")
                if stat.S_ISREG(facts.st_mode) and facts.st_nlink == 0:
                    found[facts.st_dev, facts.st_ino] = facts.st_blocks * 512
    return sum(found.values())


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read(64 * 1024) or b""


def size(count: int) -> str:
    """Return a number of bytes as people say it."""
    return f"{count / GIB:g} GiB" if count >= GIB else f"{count / MIB:g} MiB"


def first_child(pid: int) -> int | None:
    """Return the process that `pid` started first, if it lives."""
    with contextlib.suppress(OSError, IndexError):
        return int(_read(f"/proc/{pid}/task/{pid}/children").split()[0])
    return None
