"""The front end of this kernel: where a turn is shown there, and who can be asked.

A terminal gets text. A front end without a person gets the finished turn, one with a person a
widget, and where it has no widgets an output that is replaced as the turn goes on.
"""

from __future__ import annotations

import os
import sys
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from codex_magic import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from IPython.core.interactiveshell import InteractiveShell

    from codex_magic.approval import Approver
    from codex_magic.notebook.where import Place
    from codex_magic.page import Page
    from codex_magic.tools.notebook import Notebook
    from codex_magic.turn import TurnRequest
    from codex_magic.widget.dropping import Dropping
    from codex_magic.widget.page import WidgetPage

MISSES: Final = 2
"""Turns in a row that a front end may leave without a hello before it is taken to have no widgets."""

NAMES_CHARS: Final = 1000
"""Characters of the names of variables, the newest, that a turn is told and a notebook keeps."""

KEPT: Final = 8
"""Widgets of finished turns that still answer a page that was reloaded while they ran."""


class Front:
    """What a shell's front end can do.

    Parameters
    ----------
    shell
        The IPython shell; one with a kernel has a notebook in front of it.
    """

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell
        self._dropping: Dropping | None = None
        self._misses: dict[str, int] = {}
        self._place: Place | None = None
        self._pages: deque[WidgetPage] = deque()

    @property
    def has_kernel(self) -> bool:
        """Whether a notebook or the like is in front of it, and not a terminal."""
        return getattr(self._shell, "kernel", None) is not None

    def has_person(self) -> bool:
        """Whether somebody sits there who can be asked."""
        if not self.has_kernel:
            return sys.stdin is not None and sys.stdin.isatty()
        return bool(self._request().get("content", {}).get("allow_stdin", False))

    def board(self) -> Callable[[str, str], None]:
        """Return what shows a text, given also as Markdown, in the place of the one before."""
        if not self.has_kernel:
            return lambda text, _markdown: print(text)
        publish, shown = _publisher(), 0

        def show(text: str, markdown: str) -> None:
            nonlocal shown
            publish({"text/plain": text, "text/markdown": markdown}, shown > 0)
            shown += 1

        return show

    def is_dropped(self) -> bool:
        """Whether a person has said that the running cell is not to run."""
        return self._dropping is not None and self._dropping.takes(self._request())

    def place(self) -> tuple[Place, bool]:
        """Return where the running cell is, and whether its notebook is executed from the top.

        That is so where nobody sits at it: what the file keeps is of an earlier execution.
        """
        from codex_magic.notebook import where  # noqa: PLC0415 - at a turn

        kernel = getattr(self._shell, "kernel", None)
        if kernel is None:
            return where.Place(), False
        request = self._request()
        hints = where.Hints(
            cell=str((request.get("metadata") or {}).get("cellId") or ""),
            vscode=self._shell.user_ns.get("__vsc_ipynb_file__"),
            connection_file=_connection_file(),
            runtime=_runtime(),
        )
        headless = not self.has_person()
        found = where.find(hints, os.environ)
        if found.is_sure:
            self._place = found
        elif self._place is not None:
            # A server that does not answer once must not send us back to where we began.
            found = replace(self._place, cell_id=found.cell_id)
        return found, headless

    def names(self) -> tuple[str, ...]:
        """Return what the person's variables are called, in the order of their making."""
        hidden = self._shell.user_ns_hidden
        chosen: list[str] = []
        left = NAMES_CHARS
        for name in reversed(list(self._shell.user_ns)):
            if not isinstance(name, str) or name.startswith("_") or name in hidden:
                continue
            left -= len(name) + 2
            if left < 0:
                break
            chosen.append(name)
        return tuple(reversed(chosen))

    @contextmanager
    def shown(
        self, request: TurnRequest, *, widget: bool
    ) -> Iterator[tuple[Page, Approver, Notebook]]:
        """Return where a turn is shown, who is asked, and what can be reached of the notebook."""
        from codex_magic.approval import NobodyApprover, StdinApprover  # noqa: PLC0415 - at a turn
        from codex_magic.mask import known_secrets  # noqa: PLC0415
        from codex_magic.page import NotebookPage, TerminalPage  # noqa: PLC0415
        from codex_magic.tools.notebook import Notebook  # noqa: PLC0415

        kernel = getattr(self._shell, "kernel", None)
        if kernel is None:
            yield TerminalPage(quiet=request.quiet), StdinApprover(), Notebook()
            return
        how: dict[str, Any] = {"quiet": request.quiet, "secrets": known_secrets()}
        if not self.has_person():
            nobody = NobodyApprover(settings.allowed())
            yield NotebookPage(_publisher(), **how), nobody, Notebook()
        elif (
            widget
            and self._misses.get(session := self._session(), 0) < MISSES
            and _routable(kernel)
        ):
            page = self._widget(kernel, **how)
            try:
                yield page, page, Notebook(page.cells, self._shell.set_next_input)
            finally:
                missed = self._misses.get(session, 0) + page.gave_up
                self._misses[session] = 0 if page.greeted else missed
                self._keep(page)
        else:
            notebook = Notebook(next_input=self._shell.set_next_input)
            yield NotebookPage(_publisher(), **how), StdinApprover(), notebook

    def _widget(self, kernel: Any, **how: Any) -> WidgetPage:
        from codex_magic.approval import StdinApprover  # noqa: PLC0415
        from codex_magic.widget.dropping import Dropping  # noqa: PLC0415
        from codex_magic.widget.page import WidgetPage  # noqa: PLC0415
        from codex_magic.widget.routing import KernelDoor  # noqa: PLC0415

        if self._dropping is None:
            self._dropping = Dropping()
        how["drop"] = self._dropping.add
        how["cell"] = str((self._request().get("metadata") or {}).get("cellId") or "")
        return WidgetPage(_publisher(), KernelDoor(kernel), otherwise=StdinApprover(), **how)

    def _keep(self, page: WidgetPage) -> None:
        """Let the page answer those that come late, and an older one no longer."""
        page.leave()
        if page.widget is not None:
            self._pages.append(page)
        if len(self._pages) > KEPT:
            self._pages.popleft().close()

    def _request(self) -> dict[str, Any]:
        """Return the message that the running cell came with."""
        if not hasattr(self._shell, "kernel"):
            return {}
        found: dict[str, Any] = self._shell.get_parent()  # type: ignore[attr-defined]  # a kernel has it or {}
        return found

    def _session(self) -> str:
        """Return the name of the front end that sent the running cell; a reloaded page has another."""
        return str(self._request().get("header", {}).get("session"))

    def close(self) -> None:
        """Take away the widgets of finished turns."""
        while self._pages:
            self._pages.popleft().close()


def _routable(kernel: Any) -> bool:
    # Colab's widgets come from the network, and its kernel's messages another way.
    return hasattr(kernel, "shell_stream") and "google.colab" not in sys.modules


def _connection_file() -> str:
    from ipykernel.connect import get_connection_file  # noqa: PLC0415 - in a kernel only

    try:
        return str(get_connection_file())
    except RuntimeError:  # the kernel is embedded in another program
        return ""


def _runtime() -> Path:
    from jupyter_core.paths import jupyter_runtime_dir  # noqa: PLC0415 - in a kernel only

    return Path(jupyter_runtime_dir())


def _publisher() -> Callable[[dict[str, Any], bool], None]:
    """Return what displays a bundle, and replaces it from then on, in the running cell's output."""
    from IPython.display import DisplayHandle  # noqa: PLC0415

    handle: Any = DisplayHandle()

    def publish(bundle: dict[str, Any], replaces: bool) -> None:  # noqa: FBT001
        (handle.update if replaces else handle.display)(bundle, raw=True)

    return publish
