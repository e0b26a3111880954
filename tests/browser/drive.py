"""A notebook in a page, driven by JupyterLab's own commands: keys would race with its loading.

`Desk` keeps one page of JupyterLab for all tests, because loading it takes longer than a test;
a notebook that has a page of its own is opened with ``alone=True``, and always in Notebook 7.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import nbformat
from nbformat import v4

from codex_magic.turn import MIME, from_json

if TYPE_CHECKING:
    from collections.abc import Sequence

    from playwright.sync_api import BrowserContext, Dialog, Error, Locator, Page

    from codex_magic.turn import Turn

SHOTS = Path(__file__).parent / "shots"
DRIVER = Path(__file__).with_name("drive.js")
PATIENCE_S = 30.0
LOADS_S = 60.0
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}
NO_KERNEL = {"shouldStart": False, "autoStartDefault": False}
WIDGET = "application/vnd.jupyter.widget-view+json"
# What the front ends report of themselves: message, and whose script.
THEIR_OWN = (
    # Notebook 7.6, whenever it starts: it asks for its shortcuts before they are loaded.
    ("Cannot read properties of undefined (reading 'schema')", "/static/notebook/"),
    # The same where it is slow: it opens a folder in a list that is not there yet.
    ("Command 'filebrowser:open-path' not registered.", "/static/notebook/"),
    # ipywidgets, in a notebook that is opened without a kernel.
    ("Cannot read properties of null (reading 'kernel')", "@jupyter-widgets/jupyterlab-manager"),
)

Front = Literal["lab", "notebook"]
Theme = Literal["light", "dark"]


class Served(Protocol):
    """The server and its folder, as the fixture `lab` has them."""

    root: Path

    def page_of(self, notebook: str, front: Front = "lab") -> str: ...

    def empty_page(self) -> str: ...


@dataclass
class Notebook:
    """One open notebook; its cells are counted from 0.

    `run` and `run_from` come back as soon as the cells are on their way.
    """

    page: Page
    path: str
    file: Path
    troubles: list[str] = field(default_factory=list)
    is_shared: bool = False

    # --- opening and closing ------------------------------------------------------------------

    def ready(self, *, kernel: bool = True) -> None:
        self._until("isOpen", LOADS_S)
        self.page.evaluate("drive.quiet()")
        if kernel:
            self._until("isIdle", LOADS_S)

    def reload(self) -> None:
        """Load the page again, also while a cell runs; what was not saved is lost."""
        self.page.reload()
        self._until("isOpen", LOADS_S)
        self._until("isConnected", LOADS_S)

    def close(self) -> None:
        if self.page.is_closed():
            return
        self._do("close")
        if not self.is_shared:
            self.page.close()

    def show(self) -> None:
        """Bring its tab to the front."""
        self._do("show")

    # --- the kernel ---------------------------------------------------------------------------

    def run(self, *cells: int) -> None:
        for index in cells:
            self._do("run", "notebook:run-cell", index)

    def run_from(self, index: int) -> None:
        """Run this cell and all below it, as a person does who runs everything at once."""
        self._do("run", "notebook:run-all-below", index)

    def settle(self, patience_s: float = PATIENCE_S) -> None:
        """Wait until every cell has ended."""
        self._until("isIdle", patience_s)

    def interrupt(self) -> None:
        self.page.evaluate("path => drive.kernel(path).interrupt()", self.path)

    def restart(self) -> None:
        """Restart the kernel, and wait until it is there."""
        self.page.evaluate("path => drive.kernel(path).restart()", self.path)
        self._until("isIdle", LOADS_S)

    # --- the file -----------------------------------------------------------------------------

    def rename(self, name: str) -> None:
        """Give the open notebook another name, as a person does in the file browser."""
        self.page.evaluate(
            "([path, name]) => drive.panel(path).context.rename(name)", [self.path, name]
        )
        self.file = self.file.with_name(name)
        self.path = str(Path(self.path).with_name(name))

    def clear_outputs(self) -> None:
        self._do("run", "notebook:clear-all-cell-outputs", 0)
        self._until("isIdle", PATIENCE_S)

    # --- what is on the page ------------------------------------------------------------------

    @property
    def root(self) -> Locator:
        name = self.page.evaluate("path => drive.panel(path).id", self.path)
        return self.page.locator(f'[id="{name}"]')

    def cell(self, index: int) -> Locator:
        return self.root.locator(".jp-Notebook .jp-Cell").nth(index)

    def output(self, index: int) -> Locator:
        return self.cell(index).locator(".jp-Cell-outputArea")

    def turn(self, index: int) -> Locator:
        """The live view of the turn that a cell runs."""
        return self.output(index).locator("section.codex-turn")

    def card(self, index: int) -> Locator:
        return self.turn(index).get_by_role("group", name="Codex asks")

    def button(self, index: int, name: str) -> Locator:
        return self.turn(index).get_by_role("button", name=name, exact=True)

    def theme(self, theme: Theme) -> None:
        change = "theme => jupyterapp.commands.execute('apputils:change-theme', { theme })"
        self.page.evaluate(change, THEMES[theme])
        is_light = str(theme == "light").lower()
        self.page.wait_for_function(
            "is => document.body.dataset.jpThemeLight === is", arg=is_light, timeout=10_000
        )

    def shot(self, name: str) -> Path:
        SHOTS.mkdir(exist_ok=True)
        path = SHOTS / f"{name}.png"
        self.page.screenshot(path=path, animations="disabled")
        return path

    # --- what is in the file ------------------------------------------------------------------

    def outputs(self, index: int) -> list[dict[str, Any]]:
        """The outputs of a cell as they would be saved now."""
        source = "([path, index]) => drive.cell(path, index).model.outputs.toJSON()"
        found: list[dict[str, Any]] = self.page.evaluate(source, [self.path, index])
        return found

    def bundle(self, index: int) -> dict[str, Any]:
        """The kept form of the one turn that a cell ran."""
        (found,) = (o["data"] for o in self.outputs(index) if MIME in o.get("data", {}))
        return dict(found)

    def kept(self, index: int) -> Turn:
        return from_json(self.bundle(index)[MIME])

    def errors(self, index: int) -> list[str]:
        return [o["ename"] for o in self.outputs(index) if o["output_type"] == "error"]

    def printed(self, index: int) -> str:
        texts = [output.get("text", "") for output in self.outputs(index)]
        return "".join(text if isinstance(text, str) else "".join(text) for text in texts)

    def becomes(self, index: int, mime_type: str) -> None:
        """Wait until a cell is highlighted as something of this type."""
        self.page.wait_for_function(
            "([path, index, type]) => drive.cell(path, index).model.mimeType === type",
            arg=[self.path, index, mime_type],
            timeout=10_000,
        )

    def change(self, index: int, source: str) -> None:
        script = """([path, index, source]) =>
            drive.cell(path, index).model.sharedModel.setSource(source)"""
        self.page.evaluate(script, [self.path, index, source])

    def save(self) -> dict[str, Any]:
        """Save the notebook and return what is in the file now."""
        self.page.evaluate("path => drive.panel(path).context.save()", self.path)
        saved: dict[str, Any] = json.loads(self.file.read_text())
        return saved

    # --- with the driver in the page ----------------------------------------------------------

    def _do(self, name: str, *arguments: Any) -> None:
        self.page.evaluate(
            "([name, ...given]) => drive[name](...given)", [name, self.path, *arguments]
        )

    def _until(self, name: str, patience_s: float) -> None:
        self.page.wait_for_function(
            "([name, path]) => window.drive?.[name](path)",
            arg=[name, self.path],
            timeout=1000 * patience_s,
        )


class Desk:
    """Opens notebooks, and keeps what went wrong in any of their pages."""

    def __init__(self, window: BrowserContext, lab: Served) -> None:
        self.troubles: list[str] = []
        self._window = window
        self._lab = lab
        self._kept: Page | None = None
        self._count = 0

    def open(
        self,
        cells: Sequence[str],
        *,
        front: Front = "lab",
        kernel: str | None = "python3",
        alone: bool = False,
    ) -> Notebook:
        """Write a notebook into a folder of its own and open it; without a kernel for None."""
        self._count += 1
        file = self._lab.root / f"notebook-{self._count}" / "turns.ipynb"
        file.parent.mkdir()
        write(file, cells, kernel or "python3")
        return self.reopen(file, front=front, alone=alone, kernel=kernel is not None)

    def reopen(
        self, file: Path, *, front: Front = "lab", alone: bool = False, kernel: bool = True
    ) -> Notebook:
        path = str(file.relative_to(self._lab.root))
        if alone or front == "notebook":
            notebook = Notebook(self._page(), path, file, self.troubles)
            notebook.page.goto(self._lab.page_of(path, front))
        else:
            notebook = Notebook(self._lab_page(), path, file, self.troubles, is_shared=True)
            asked = {"path": path, "factory": "Notebook"}
            asked |= {} if kernel else {"kernelPreference": NO_KERNEL}
            notebook.page.evaluate("asked => drive.open(asked)", asked)
        notebook.ready(kernel=kernel)
        return notebook

    def clear(self) -> list[str]:
        """Return what went wrong since the last time; a page that did is not used again."""
        found = list(self.troubles)
        self.troubles.clear()
        if self._kept is not None and (found or self._kept.locator(".jp-Dialog").count()):
            self._kept.close()
        return found

    def _lab_page(self) -> Page:
        if self._kept is None or self._kept.is_closed():
            self._kept = self._page()
            self._kept.goto(self._lab.empty_page())
            self._kept.wait_for_function("() => window.drive.isUp()", timeout=1000 * LOADS_S)
        return self._kept

    def _page(self) -> Page:
        page = self._window.new_page()
        page.add_init_script(path=DRIVER)
        page.on("pageerror", self._note)
        page.on("dialog", _agree)
        return page

    def _note(self, error: Error) -> None:
        stack = error.stack or ""
        if not any(error.message == said and whose in stack for said, whose in THEIR_OWN):
            self.troubles.append(f"{error.message}\n{stack}")


def widgets_in(saved: dict[str, Any]) -> list[str]:
    """Return what a file holds of widgets, which no other program can draw."""
    outputs = [output for cell in saved["cells"] for output in cell.get("outputs", ())]
    views = [key for output in outputs for key in output.get("data", {}) if key == WIDGET]
    return views + [key for key in saved["metadata"] if key == "widgets"]


def write(file: Path, cells: Sequence[str], kernel: str) -> None:
    """Write a notebook of code cells."""
    notebook = v4.new_notebook(cells=[v4.new_code_cell(cell) for cell in cells])
    spec = {"name": kernel, "display_name": kernel, "language": "python"}
    notebook.metadata["kernelspec"] = spec
    nbformat.write(notebook, file)


def _agree(dialog: Dialog) -> None:
    # A page with changes asks before it is loaded again.
    dialog.accept()
