"""Attempts to use more than is given, each with an end of its own, for the control's sake.

What was taken is held for a while: a command that has let go again before anybody could look has
done no harm.
"""

from __future__ import annotations

import os
import sys
import time

# typing would take as long as most attempts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from codex_magic.abuse.inside import Place

MIB = 1024 * 1024
HELD_S = 0.3


def fork_many(_: Place, count: str) -> str:
    """Have very many processes at once."""
    reader, writer = os.pipe()
    children = []
    try:
        for _number in range(int(count)):
            if (child := os.fork()) == 0:
                os.close(writer)
                os.read(reader, 1)
                os._exit(0)
            children.append(child)
        time.sleep(HELD_S)
    finally:
        os.close(writer)
        for child in children:
            os.waitpid(child, 0)
    return f"had {count} processes"


def fill_memory(_: Place, processes: str, mib: str) -> str:
    """Fill memory in several processes, none of which has much."""
    ready_reader, ready = os.pipe()
    reader, writer = os.pipe()
    children = []
    for _number in range(int(processes)):
        if (child := os.fork()) == 0:
            try:
                os.close(writer)
                taken = bytearray(b"x" * MIB) * int(mib)
                os.write(ready, b"x" if taken else b"")
                os.read(reader, 1)
            finally:
                os._exit(0)
        children.append(child)
    os.close(ready)
    filled = 0
    while arrived := len(os.read(ready_reader, 64)):
        filled += arrived
        if filled == len(children):
            break
    time.sleep(HELD_S)
    os.close(writer)
    for child in children:
        os.waitpid(child, 0)
    if filled < len(children):
        raise MemoryError(f"{filled} of {processes} processes were filled")
    return f"filled {filled * int(mib)} MiB"


def fill_disk(place: Place, folder: str, files: str, mib: str) -> str:
    """Fill a disk with several files."""
    paths = [f"{folder or place.workspace}/{place.stamp}-{n}" for n in range(int(files))]
    try:
        for path in paths:
            with open(path, "wb") as file:  # noqa: PTH123 - pathlib takes long to import
                file.writelines(b"x" * MIB for _number in range(int(mib)))
        time.sleep(HELD_S)
    finally:
        for path in paths:
            if os.path.exists(path):  # noqa: PTH110 - likewise
                os.unlink(path)  # noqa: PTH108 - likewise
    return f"wrote {int(files) * int(mib)} MiB"


def flood(_: Place, mib: str) -> str:
    """Write far more than anybody reads."""
    for _number in range(int(mib)):
        sys.stdout.buffer.write(b"x" * (MIB - 1) + b"\n")
    sys.stdout.buffer.flush()
    return f"wrote {mib} MiB"
