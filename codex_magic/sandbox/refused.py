"""How often a command tried to reach a network that it does not have.

In a network namespace of its own every attempt to leave finds no route, and the system counts
those. The counters are opened while the command lives and read when it is dead: an open one keeps
the namespace.
"""

from __future__ import annotations

import contextlib
import os
from typing import Final

_COUNTERS: Final = (("snmp", b"Ip:", b"OutNoRoutes"), ("snmp6", b"Ip6OutNoRoutes", b""))


class Refused:
    """The counters of the namespace that a process is in; its own, or nothing is counted."""

    def __init__(self, pid: int) -> None:
        self._open: list[int] = []
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net"):
                for name, _, _ in _COUNTERS:
                    self._open.append(os.open(f"/proc/{pid}/net/{name}", os.O_RDONLY))

    def count(self) -> int:
        """Return how many attempts there have been."""
        return sum(
            _value(os.pread(fd, 64 * 1024, 0), start, column)
            for fd, (_, start, column) in zip(self._open, _COUNTERS, strict=False)
        )

    def close(self) -> None:
        """Let the namespace go."""
        while self._open:
            os.close(self._open.pop())


def _value(table: bytes, start: bytes, column: bytes) -> int:
    rows = [line.split() for line in table.splitlines() if line.startswith(start)]
    with contextlib.suppress(ValueError, IndexError):  # a kernel that counts other things
        return int(rows[1][rows[0].index(column)]) if column else int(rows[0][1])
    return 0
