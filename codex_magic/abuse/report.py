"""The whole list, tried on this machine, and the table of what it showed."""

from __future__ import annotations

import contextlib
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
    from typing import TextIO

VERDICTS: Final[tuple[Verdict, ...]] = get_args(Verdict)
LEGEND: Final = (
    "held: kept from it; private: only its own copy; allowed: the policy lets it; "
    "proves nothing: fails unconfined too; open: not kept from it at this level; through: got out"
)
MASKED: Final = ("/tmp", *COVERED, *SYSTEM)  # noqa: S108 - not to be used


def tell(out: TextIO, base: Path | None = None, only: Collection[int] | None = None) -> int:
    """Write the whole report to `out`, each line when it is known, and return the exit code.

    It is 1 where something got through that must not, or where no sandbox works. `base` and
    `only` are those of `run`.
    """
    found = probe()
    if found.level == "none":
        out.write(f"no sandbox works here, so every command is refused: {found.reason}\n")
        return 1
    rows: list[Row] = []

    def kept(folder: Path) -> Iterator[Row]:
        for row in run(folder, only=only):
            rows.append(row)
            yield row

    extent = _extent([case.number for case in CASES if only is None or case.number in only])
    out.write(f"level {found.level}, by {found.mechanism}: {extent}\n")
    with _chosen(base) as folder:
        for line in lines(kept(folder)):
            out.write(f"{line}\n")
            out.flush()
    return 0 if good(rows) else 1


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
    """Yield `rows` as aligned text, each when it comes, between a legend and what they come to."""
    width = max(len(case.title) for case in CASES)
    seen: Counter[str] = Counter()
    out = []
    yield LEGEND
    for row in rows:
        seen[row.verdict] += 1
        out += [f"{row.number} {row.title}"] if row.verdict == "through" else []
        yield f"{row.number:3}  {row.verdict:14}  {row.title:{width}}  {row.detail}".rstrip()
    named = {verdict: verdict for verdict in VERDICTS} | {"proves nothing": "prove nothing"}
    shown = [v for v in VERDICTS if seen[v] or v != "open"]
    counts = ", ".join(f"{seen[verdict]} {named[verdict]}" for verdict in shown)
    yield f"{counts}. {_closing(out, seen['open'])}"


def _closing(out: list[str], opened: int) -> str:
    """Return the sentence that the report comes to."""
    if out:
        return f"{len(out)} got out: {', '.join(out)}."
    return f"Nothing got out, beside the {opened} that are open." if opened else "Nothing got out."


def _extent(numbers: list[int]) -> str:
    """Return how much is tried; several attempts may share a number."""
    return f"{len(numbers)} attempts of {len(set(numbers))} kinds"


def good(rows: Iterable[Row]) -> bool:
    """Return whether nothing got through that must not."""
    return all(row.verdict != "through" for row in rows)


def place() -> Path:
    """Return a folder for the scene: the present one if a sandbox shows it, else a cache folder.

    The cache folder need not be there yet.
    """
    here = Path.cwd()
    masked = [*map(Path, MASKED), Path.home()]
    shown = not any(here.is_relative_to(folder) for folder in masked)
    if shown and here != here.parent and os.access(here, os.W_OK):
        return here
    return Path.home() / ".cache/codex-magic"


@contextlib.contextmanager
def _chosen(base: Path | None) -> Iterator[Path]:
    """Give a folder for the scene; what had to be made for it is removed again."""
    folder = base or place()
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        yield folder
    finally:
        with contextlib.suppress(OSError):  # somebody else has begun to use it
            for path in missing:
                path.rmdir()
