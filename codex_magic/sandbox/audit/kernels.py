"""Which kernel wrote a line, and whether it still lives.

A process number alone says little: it is given again. So a line also tells when its process began,
and after which boot of the machine; where the system does not tell either, the number must do.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from codex_magic.sandbox.audit.lines import Start


def whoami() -> dict[str, Any]:
    """Return what a line says of this process."""
    return _described(os.getpid())


def alive(start: Start) -> bool:
    """Return whether the process that wrote `start` still lives."""
    if start.boot != _boot() or start.pid < 1:
        return False
    if start.born:
        return _born(start.pid) == start.born
    try:
        os.kill(start.pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


@functools.cache
def _described(pid: int) -> dict[str, Any]:
    """Return the same for `pid`, which a fork changes."""
    return {"pid": pid, "born": _born(pid), "boot": _boot()}


@functools.cache
def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _born(pid: int) -> str:
    """Return when a living process began, in ticks after the boot; empty where none is found."""
    try:
        words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    except OSError:
        return ""
    return "" if words[0] in b"ZX" else words[19].decode()
