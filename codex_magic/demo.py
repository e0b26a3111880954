"""A lesson run from end to end in a real kernel, its turns printed while they happen.

It uses nbclient and looks only at what a notebook's outputs hold; it knows nothing of sessions.
"""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TextIO

import nbformat
from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

from codex_magic.page import grown
from codex_magic.render import plain
from codex_magic.turn import MIME, Turn, from_json

if TYPE_CHECKING:
    from pathlib import Path

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


class _Watched(NotebookClient):
    """A notebook client that prints the turns of the running cell as they grow."""

    out: TextIO
    printed = ""

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        if msg["msg_type"] in ("display_data", "update_display_data"):
            self._watch(msg["content"]["data"])
        elif msg["msg_type"] == "stream":
            self._print(msg["content"]["text"])
        return super().process_message(msg, cell, cell_index)

    def begin(self, source: str) -> None:
        self.printed = ""
        self._print("".join(f"| {line}\n" for line in source.splitlines()) + "\n")

    def _watch(self, data: dict[str, Any]) -> None:
        stored = data.get(MIME)
        if stored is not None:
            turn = from_json(stored)
            self._grow(plain.body(turn, live=True))
            self._print(f"\n\n{plain.closing(turn)}\n\n")
        else:
            self._grow(data.get("text/plain", ""))

    def _grow(self, text: str) -> None:
        if new := grown(self.printed, text):
            self.printed = text
            self._print(new)

    def _print(self, text: str) -> None:
        self.out.write(text)
        self.out.flush()


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
    notebook = nbformat.read(lesson, as_version=4)
    path = work / lesson.name
    try:
        trouble = _execute(notebook, work, out)
    finally:
        nbformat.write(notebook, path)
    turns = tuple(_turns(notebook))
    return Result(path, _page(notebook, path), turns, trouble or _judged(turns))


def _execute(notebook: Any, work: Path, out: TextIO) -> str:
    """Run every cell; return what stopped it, or nothing."""
    # Without folders to look in, the only kernel there is runs in this very environment: a
    # person's own "python3" may be another one, without this package.
    here = KernelSpecManager(kernel_dirs=[])
    client = _Watched(
        notebook,
        km=AsyncKernelManager(kernel_name=NATIVE_KERNEL_NAME, kernel_spec_manager=here),
        timeout=CELL_TIMEOUT_S,
        resources={"metadata": {"path": str(work)}},
        # Nothing here makes widgets; the state of any would only be dead weight in the file.
        store_widget_state=False,
        # A kernel's own warnings are not part of what a person came to see.
        extra_arguments=["--log-level=40"],
    )
    client.out = out
    client.on_cell_execute = _announce(client)
    try:
        # A kernel keeps a profile and a history; a demo leaves none among the person's own.
        with tempfile.TemporaryDirectory(prefix="codex-magic-", ignore_cleanup_errors=True) as own:
            client.execute(cleanup_kc=True, env=os.environ | {"IPYTHONDIR": own})
    except CellExecutionError as error:
        return f"a cell failed: {error.ename}: {error.evalue}"
    except CellTimeoutError:
        return f"a cell took more than {CELL_TIMEOUT_S} s"
    except DeadKernelError:
        return "the kernel died"
    return ""


def _judged(turns: tuple[Turn, ...]) -> str:
    """Return what was not good of the turns of a lesson that ran to its end."""
    bad = [turn for turn in turns if turn.status != "completed"]
    if bad:
        return f"{len(bad)} of {len(turns)} turns did not complete"
    return "" if turns else "there was no turn"


def _announce(client: _Watched) -> Any:
    def announce(cell: Any, cell_index: int) -> None:
        del cell_index
        client.begin(cell.source)

    return announce


def _turns(notebook: Any) -> list[Turn]:
    """Return the turns that a notebook's outputs hold, in order."""
    found = []
    for cell in notebook.cells:
        for output in cell.get("outputs", ()):
            stored = output.get("data", {}).get(MIME)
            if stored is not None:
                found.append(from_json(stored))
    return found


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
