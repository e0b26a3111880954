"""Limits on all processes of a command at once, by a control group, where one may be made.

Only the second version of control groups, and only below a folder that was given to this person
with both controllers switched on: that is tried by doing it. Elsewhere the runner looks at the
processes from time to time.
"""

from __future__ import annotations

import contextlib
import functools
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from codex_magic.policy import Limits

MOUNT: Final = Path("/sys/fs/cgroup")
PREFIX: Final = "codex-magic-"
NEEDED: Final = ("memory.max", "pids.max", "cgroup.procs", "cgroup.kill")


class Group:
    """A control group of its own for one command, in `folder`."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        (folder / "memory.max").write_text(str(limits.memory_bytes))
        (folder / "pids.max").write_text(str(limits.processes))
        for optional, value in (("memory.swap.max", "0"), ("memory.oom.group", "1")):
            with contextlib.suppress(OSError):
                (folder / optional).write_text(value)

    def add(self, pid: int) -> None:
        """Put a process in; what it starts from now on is in, too."""
        with contextlib.suppress(OSError):  # it ended, or the group may not be entered after all
            (self._folder / "cgroup.procs").write_text(str(pid))

    def peak_bytes(self) -> int:
        """Return the most memory it held at one time; 0 where the system does not note that."""
        with contextlib.suppress(OSError, ValueError):
            return int((self._folder / "memory.peak").read_text())
        return 0

    def ran_out(self) -> bool:
        """Return whether the system has killed something in it for want of memory."""
        with contextlib.suppress(OSError):
            return "oom_kill 0" not in (self._folder / "memory.events").read_text()
        return False

    def close(self) -> None:
        """Kill what is left in it, and take the group away."""
        with contextlib.suppress(OSError):
            (self._folder / "cgroup.kill").write_text("1")
        with contextlib.suppress(OSError):
            self._folder.rmdir()


def make(limits: Limits, parent: Path | None) -> Group | None:
    """Return a new group below `parent`, or None where none can be made."""
    if parent is None:
        return None
    folder = None
    try:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        return Group(folder, limits)
    except OSError:
        if folder is not None:
            with contextlib.suppress(OSError):
                folder.rmdir()
        return None


@functools.cache
def delegated(mount: Path = MOUNT, own: Path = Path("/proc/self/cgroup")) -> Path | None:
    """Return where groups of ours can be made: beside the kernel's own, or below it."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return None
    mine = [mount / line[3:].strip("/") for line in lines if line.startswith("0::")]
    places = [place for here in mine for place in (here.parent, here)]
    return next((place for place in places if _usable(place)), None)


def _usable(place: Path) -> bool:
    if not os.access(place, os.W_OK) or not (place / "cgroup.controllers").exists():
        return False
    trial = None
    try:
        trial = Path(tempfile.mkdtemp(prefix=PREFIX, dir=place))
        return all((trial / name).exists() for name in NEEDED)
    except OSError:
        return False
    finally:
        if trial is not None:
            with contextlib.suppress(OSError):
                trial.rmdir()
