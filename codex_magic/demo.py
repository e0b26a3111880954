"""A lesson run from end to end in a real kernel, its turns printed while they happen.

It looks only at what a notebook's outputs hold; it knows nothing of sessions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

from codex_magic.notebook import files, stored
from codex_magic.notebook.run import execute
from codex_magic.page import grown
from codex_magic.render import plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from codex_magic.turn import Turn

CELL_TIMEOUT_S: Final = 120


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it: the executed notebook, the page made of it, and what was not good."""

    notebook: Path
    page: Path | None
    turns: tuple[Turn, ...]
    trouble: str = ""

    @property
    def good(self) -> bool:
        """Whether there were turns, and every one completed."""
        return not self.trouble


class _Printer:
    """Prints the turns of the running cell as they grow."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._printed = ""

    def begins(self, number: int, cell: Any) -> None:
        del number
        self._printed = ""
        self.prints("".join(f"| {line}\n" for line in cell.source.splitlines()) + "\n")

    def shows(self, data: Mapping[str, Any]) -> None:
        turn = stored.read(data)
        if turn is None:
            self._grow(data.get("text/plain", ""))
        else:
            self._grow(plain.body(turn, live=True))
            self.prints(f"\n\n{plain.closing(turn)}\n\n")

    def prints(self, text: str) -> None:
        self._out.write(text)
        self._out.flush()

    def ends(self, number: int, cell: Any) -> None:
        """Print nothing: what the cell had to say is there."""

    def ticks(self) -> None:
        """Print nothing: what grows is enough to see."""

    def _grow(self, text: str) -> None:
        if new := grown(self._printed, text):
            self._printed = text
            self.prints(new)


def run(lesson: Path, work: Path, *, out: TextIO) -> Result:
    """Execute `lesson` in the folder `work`; its outputs are written there, whatever happens.

    Parameters
    ----------
    lesson
        A notebook; it is not changed.
    work
        The kernel's folder, and where the executed notebook and the page go.
    out
        Where turns are printed while they run.
    """
    notebook = files.read(lesson)
    path = work / lesson.name
    try:
        ending = execute(notebook, folder=work, watcher=_Printer(out), timeout_s=CELL_TIMEOUT_S)
    finally:
        files.write(notebook, path)
    if ending.how == "stopped":
        raise KeyboardInterrupt
    turns = tuple(turn for cell in notebook.cells for turn in stored.turns(cell))
    return Result(path, _page(notebook, path), turns, ending.said or _judged(turns))


def _judged(turns: tuple[Turn, ...]) -> str:
    """Return what was not good of the turns of a lesson that ran to its end."""
    bad = [turn for turn in turns if turn.status != "completed"]
    if bad:
        return f"{len(bad)} of {len(turns)} turns did not complete"
    return "" if turns else "there was no turn"


def _page(notebook: Any, path: Path) -> Path | None:
    """Write the notebook as HTML beside it, where nbconvert is installed."""
    try:
        from nbconvert import HTMLExporter  # noqa: PLC0415 - it comes with the `lab` extra
    except ImportError:
        return None
    page, _ = HTMLExporter().from_notebook_node(notebook)
    target = path.with_suffix(".html")
    target.write_text(page, encoding="utf-8")
    return target
