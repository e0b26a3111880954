"""The whole list, tried on this machine, and the table of what it showed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

from codex_magic.abuse.case import Row, Verdict
from codex_magic.abuse.cases import CASES
from codex_magic.abuse.scene import scene
from codex_magic.sandbox import probe
from codex_magic.sandbox.machine import COVERED, SYSTEM

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
MASKED: Final = ("/tmp", *COVERED, *SYSTEM)  # noqa: S108 - not to be used


def run(base: Path, *, only: Collection[int] | None = None) -> Iterator[Row]:
    """Try the cases in a new folder of `base`, one row each, as soon as it is known.

    Parameters
    ----------
    base
        A folder that this user may write and that a sandbox shows, so not a temporary one.
    only
        The numbers of the cases to try.
    """
    level = probe().level
    with scene(base) as made:
        for case in CASES:
            if only is None or case.number in only:
                yield case.judge(made, level)


def lines(rows: Iterable[Row]) -> Iterator[str]:
    """Yield `rows` as aligned text, each when it comes, and at last how many there are of each."""
    width = max(len(case.title) for case in CASES)
    seen: Counter[str] = Counter()
    for row in rows:
        seen[row.verdict] += 1
        yield f"{row.number:3}  {row.verdict:14}  {row.title:{width}}  {row.detail}".rstrip()
    named = {verdict: verdict for verdict in VERDICTS} | {"proves nothing": "prove nothing"}
    shown = [v for v in VERDICTS if seen[v] or v != "open"]
    yield ", ".join(f"{seen[verdict]} {named[verdict]}" for verdict in shown)


def good(rows: Iterable[Row]) -> bool:
    """Return whether nothing got through that must not."""
    return all(row.verdict != "through" for row in rows)


def place() -> Path:
    """Return a folder for the scene: the present one if a sandbox shows it, else a cache folder."""
    here = Path.cwd()
    masked = [*map(Path, MASKED), Path.home()]
    shown = not any(here.is_relative_to(folder) for folder in masked)
    if shown and here != here.parent and os.access(here, os.W_OK):
        return here
    cache = Path.home() / ".cache/codex-magic"
    cache.mkdir(parents=True, exist_ok=True, mode=0o700)
    return cache
