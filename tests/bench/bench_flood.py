"""One flood, in a process of its own: prints its memory before and after, in MiB."""

from __future__ import annotations

import sys
from pathlib import Path

from codex_magic.policy import GIB, Limits, SandboxPolicy
from codex_magic.sandbox import run


def peak_mib() -> float:
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) / 1024


def main(folder: str) -> None:
    policy = SandboxPolicy(workspace=Path(folder))
    run(["true"], policy=policy)
    before = peak_mib()
    limits = Limits(flood_bytes=5 * GIB, wall_s=60)
    result = run(["yes"], policy=policy, limits=limits)
    if result.receipt.stdout_bytes < 4 * GIB:
        sys.exit(f"only {result.receipt.stdout_bytes} bytes came: {result.message}")
    print(before, peak_mib())
