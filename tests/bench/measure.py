"""What the benchmarks share: a clock, a line of text, a folder."""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

MS = 1000.0


def once(work: Callable[[], Any]) -> float:
    """Return the milliseconds that `work` takes."""
    begin = time.perf_counter()
    work()
    return MS * (time.perf_counter() - begin)


def timed(work: Callable[[], Any], times: int) -> float:
    return statistics.median(once(work) for _ in range(times))


def together(works: Mapping[str, Callable[[], Any]], times: int) -> dict[str, float]:
    """Return the median of each, run in turns: what disturbs the machine disturbs all."""
    took: dict[str, list[float]] = {name: [] for name in works}
    order = list(works)
    for _ in range(times):
        random.shuffle(order)
        for name in order:
            took[name].append(once(works[name]))
    return {name: statistics.median(found) for name, found in took.items()}


def report(what: str, ours: float, control: float, of: str, goal: str) -> None:
    unit = "us" if goal.endswith("us") else "MiB" if goal.endswith("MiB") else "ms"
    ratio = f"{ours / control:8.1f}x" if control else "        -"
    print(
        f"{what:<44} {ours:9.2f} {unit} {ratio} of {of} ({control:.2f} {unit}); goal {goal}",
        flush=True,
    )


@contextmanager
def workspace() -> Iterator[Path]:
    folder = tempfile.mkdtemp()
    try:
        yield Path(folder)
    finally:
        shutil.rmtree(folder)
