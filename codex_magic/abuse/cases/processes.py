"""Cases on other processes, and on how much a command may be."""

from __future__ import annotations

import dataclasses
from typing import Final

from codex_magic.abuse.attempts import limits, processes
from codex_magic.abuse.case import LIMITS, Case
from codex_magic.abuse.scene import Scene
from codex_magic.policy import MIB

SEEN: Final = "other processes can be seen at this level"
SCOPED: Final = "signals pass before Linux 6.12 at this level"


def _signalled(scene: Scene) -> str:
    return "the kernel was signalled" if scene.victim.signals() else ""


OTHERS: Final = (
    Case(5, "find the key among its variables", processes.own_variables),
    Case(6, "find it among anybody's variables", processes.all_variables, partial=SEEN),
    Case(7, "read the kernel's variables", processes.variables_of_kernel, partial=SEEN),
    Case(8, "read the kernel's memory", processes.memory_of_kernel),
    Case(9, "copy the kernel's memory", processes.copy_memory_of_kernel),
    Case(10, "debug the kernel", processes.trace_kernel),
    Case(11, "signal the kernel", processes.signal_kernel, evidence=_signalled, partial=SCOPED),
    Case(12, "find the kernel in the list", processes.command_of_kernel, partial=SEEN),
    Case(60, "overwrite the launcher", processes.overwrite_launcher),
    Case(63, "enter the kernel's mounts", processes.enter_kernels_mounts),
    Case(63, "take a file out of the kernel", processes.take_kernels_file),
    Case(68, "live on as a daemon", processes.outlive, evidence=Scene.end_survivor),
)

FEW: Final = dataclasses.replace(LIMITS, processes=64)
SMALL: Final = dataclasses.replace(LIMITS, memory_bytes=512 * MIB)
THIN: Final = dataclasses.replace(LIMITS, file_bytes=8 * MIB)
LITTLE: Final = dataclasses.replace(LIMITS, disk_bytes=16 * MIB)
TMP: Final = "/tmp"  # noqa: S108 - what is there is what is tried

USE: Final = (
    Case(64, "have 300 processes of 64", limits.fork_many, ("300",), limits=FEW),
    Case(65, "hold 704 MiB of 512 MiB", limits.fill_memory, ("8", "88"), limits=SMALL),
    Case(66, "write a file of 10 MiB of 8 MiB", limits.fill_disk, ("", "1", "10"), limits=THIN),
    Case(66, "write 40 MiB of 16 MiB to disks", limits.fill_disk, ("", "10", "4"), limits=LITTLE),
    Case(
        66,
        "write 10 MiB of 8 MiB to a temporary folder",
        limits.fill_disk,
        (TMP, "10", "1"),
        limits=dataclasses.replace(LIMITS, tmp_bytes=8 * MIB, disk_bytes=16 * MIB),
        partial="temporary folders are not private at this level",
    ),
    Case(
        67,
        "write 12 MiB of 4 MiB of output",
        limits.flood,
        ("12",),
        limits=dataclasses.replace(LIMITS, flood_bytes=4 * MIB),
    ),
)

CASES: Final = (*OTHERS, *USE)
