"""One kernel's threads and its running turn: the one owner of everything that changes.

It knows which backend the next turn runs on and which threads live there; how a turn runs is
`codex_magic.running`'s.
"""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from typing import TYPE_CHECKING

from codex_magic import again, choosing, folder
from codex_magic import events as ev
from codex_magic.backends.base import Backend, Mailbox, ToolSpec
from codex_magic.cell import PRIVATE
from codex_magic.desk import Desk, Hands
from codex_magic.errors import CellError, SetupError
from codex_magic.interrupts import interrupts_held
from codex_magic.items import well_formed
from codex_magic.notebook.attach import Attachment
from codex_magic.notebook.index import Index
from codex_magic.running import Running
from codex_magic.sandbox import audit
from codex_magic.seating import back_to, early, own_model
from codex_magic.settings import Settings
from codex_magic.shelf import Shelf
from codex_magic.tools.ask_user import AskUserTool
from codex_magic.tools.cells import EditCellTool, ProposeCellsTool
from codex_magic.tools.notebook import Notebook
from codex_magic.tools.patch import PatchTool
from codex_magic.tools.reading import ReadCellsTool
from codex_magic.tools.rulebook import Rulebook
from codex_magic.tools.shell import ShellTool

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from codex_magic.approval import Approver
    from codex_magic.backends.base import Start
    from codex_magic.page import Page
    from codex_magic.policy import Grant
    from codex_magic.tape import Tape
    from codex_magic.tools.base import Tool
    from codex_magic.turn import Turn, TurnRequest


class Session:
    """One kernel's threads.

    Parameters
    ----------
    settings
        The defaults; the tape among them is played from the first turn.
    environ
        What backends are started with; the process's own by default.
    tools
        What the agent is offered.
    beside
        What it is offered beside these.
    connect
        Makes the live backend; the app-server by default.
    """

    def __init__(
        self,
        settings: Settings | None = None,
        *,
        environ: Mapping[str, str] | None = None,
        tools: Sequence[Tool] | None = None,
        beside: Sequence[Tool] = (),
        connect: Callable[[], Backend] | None = None,
    ) -> None:
        self.settings = settings or Settings()
        self.last: Turn | None = None
        self._environ = dict(os.environ if environ is None else environ)
        self._rules = Rulebook(self._environ)
        self._log: audit.Log | None = None
        offered = (*(tools or self.tools()), *beside)
        self._hands = Hands(_by_name(offered))
        self._connect = connect
        self._attachment = Attachment(Index(self._environ))
        self._where: tuple[Path | None, bool] = None, False
        self._live: dict[tuple[object, ...], Desk] = {}
        self._taped: Desk | None = None
        self._busy = threading.Lock()
        self._mailbox: Mailbox | None = None
        self._notebook = Notebook()
        if self.settings.tape:
            self.replay(self.settings.tape)

    def tools(self) -> Sequence[Tool]:
        """Return the tools that an agent is offered unless others are given."""
        shell = ShellTool(judge=self._rules.judge, log=self._audit)
        read = ReadCellsTool(self._around, path=lambda: self._attachment.path)
        cells = (read, ProposeCellsTool(self._around), EditCellTool(self._around))
        return (shell, PatchTool(log=self._audit), AskUserTool(), *cells)

    def _around(self) -> Notebook:
        """Return the notebook around the running turn."""
        return self._notebook

    def _audit(self) -> audit.Log | None:
        """Return the log of commands; None where a person has switched it off."""
        if not self.settings.audit:
            return None
        if self._log is None:
            path = folder.data(self._environ) / folder.AUDIT
            audit.close_unfinished(path)
            self._log = audit.Log(path)
        return self._log

    # --- backends -----------------------------------------------------------------------------

    @property
    def backend(self) -> Backend:
        """The backend that the next turn runs on."""
        return self._desk().backend

    @property
    def signing_backend(self) -> Backend:
        """The backend that a person signs in to, also where no turn could run yet."""
        try:
            return self.backend
        except SetupError:
            return self._desk(choosing.RESPONSES).backend

    @property
    def tape(self) -> Tape | None:
        """The tape that is played instead of calling a model."""
        return self._taped.tape if self._taped else None

    @property
    def threads(self) -> Mapping[str, str]:
        """The threads of this kernel: their ids by name."""
        desk = self._taped
        return dict((desk.attachment if desk else self._attachment).threads)

    @property
    def current(self) -> str:
        """The name of the thread that a cell uses which names none."""
        return (self._taped.attachment if self._taped else self._attachment).current

    @property
    def own_model(self) -> str:
        """The model that the current thread goes on with where none is named; empty for none yet."""
        return own_model(self._desk(), self.current)

    @property
    def attachment(self) -> Attachment:
        """What is known of the notebook's threads, on the backend that the next turn runs on."""
        return self._taped.attachment if self._taped else self._attachment

    @property
    def shelf(self) -> Shelf:
        """The notebook's threads, to be handled by a person."""
        return Shelf(self._desk())

    def at(self, path: Path | None, cell_id: str = "", *, from_top: bool = False) -> None:
        """Take up the threads of the notebook at `path`, or follow it there; see `Attachment.at`."""
        self._where = path, from_top
        self._attachment.at(path, cell_id, from_top=from_top)
        if self._taped is not None:
            # A lesson begins at its beginning; what is kept of it can only be shown again.
            self._taped.attachment.at(path, from_top=True)

    def replay(self, name: str | None) -> Tape | None:
        """Play a tape from now on, or with None call models again.

        Raises
        ------
        CellError
            There is no such lesson.
        RecordError
            It cannot be read.
        """
        from codex_magic import tape as tapes  # noqa: PLC0415 - a live turn needs none of it
        from codex_magic.tape import homes  # noqa: PLC0415

        tape = None if name is None else tapes.find(name)
        if self._taped is not None:
            self._taped.close()
            self._taped = None
        if tape is not None:
            # Codex writes databases, logs and threads into its home; a lesson's must not be the
            # person's, and the person's configuration must not change what a lesson asks.
            home = homes.make()
            player = tapes.Player(tape, on_mismatch=self._mismatch)
            backend = choosing.make_for_tape(
                self.settings, self._environ, self._specs(), url=player.base_url, home=home
            )
            self._taped = Desk(backend, tape=tape, player=player)
            self._taped.home = home
            self._taped.attachment.at(self._where[0], from_top=True)
        return tape

    def _desk(self, wanted: str | None = None) -> Desk:
        """Return the desk of the backend that is wanted, else of the one in the settings."""
        if self._taped is not None:
            return self._taped
        if self._connect is not None:
            if not self._live:
                self._live[()] = Desk(self._connect(), self._attachment)
            return self._live[()]
        settings = self.settings
        which = choosing.name(wanted or settings.backend, settings, self._environ)
        made = choosing.made_of(which, settings)
        if made not in self._live:
            self._live[made] = self._made(which)
        return self._live[made]

    def _made(self, which: str) -> Desk:
        """Return a desk for a backend, which goes on from the one that a changed setting ends."""
        key = next((key for key in self._live if key[0] == which), None)
        old = None if key is None else self._live.pop(key)
        replaced = None if old is None else old.backend
        backend = choosing.make(
            which, self.settings, self._environ, self._specs(), replaced=replaced
        )
        desk = Desk(backend, self._attachment)
        if old is not None:
            desk.told, desk.used = old.told, old.used
        return desk

    def _specs(self) -> list[ToolSpec]:
        tools = self._hands.tools.values() if self.settings.tools else ()
        return [ToolSpec(t.name, t.description, t.parameters) for t in tools]

    def _mismatch(self, text: str) -> None:
        if self._mailbox is not None:
            self._mailbox.put(ev.Notice(text, "warning"))

    @property
    def grants(self) -> Sequence[Grant]:
        """What a person has allowed for as long as this kernel lives, in the order it was allowed."""
        return tuple(self._hands.grants)

    def rules(self) -> str:
        """Return in words which rules for commands hold.

        Raises
        ------
        SetupError
            The person's own cannot be read.
        """
        self._rules.use(self.settings.rules)
        return self._rules.described()

    def stop(self) -> None:
        """End the running turn, from any OS thread; the cell ends without an error.

        Raises
        ------
        CellError
            No turn is running.
        """
        self._report(ev.StopRequested())

    def steer(self, text: str) -> None:
        """Add `text` to the running turn, from any OS thread.

        Raises
        ------
        CellError
            No turn is running, or there is nothing to add.
        """
        if not text.strip():
            raise CellError("there is nothing to add", hint="Type: %codex steer TEXT")
        self._report(ev.SteerRequested(well_formed(text)))

    def _report(self, event: ev.Event) -> None:
        mailbox = self._mailbox
        if mailbox is None:
            raise CellError("no turn is running")
        mailbox.put(event)

    def close(self) -> None:
        """End everything this session started."""
        for desk in (self._taped, *self._live.values()):
            if desk is not None:
                desk.close()
        self._taped = None
        self._live.clear()

    # --- turns --------------------------------------------------------------------------------

    def seat(self, request: TurnRequest, start: Start) -> str:
        """Have the thread that `request` names ready before its first turn, and return its id.

        Raises
        ------
        CellError
            A turn is running, or there is no thread to go on from.
        SetupError, BackendError
            The backend cannot be used.
        """
        self._occupy()
        try:
            return early(self._desk(), request, start)
        finally:
            self._busy.release()

    def run(
        self,
        request: TurnRequest,
        *,
        page: Page,
        approver: Approver,
        notebook: Notebook | None = None,
        observe: Callable[[ev.Event], None] | None = None,
    ) -> Turn:
        """Run one turn to its end, shown on `page`, and return it; its tools reach `notebook`.

        What is folded into it, `observe` is told, in the OS thread that runs the turn.

        A failed turn is returned, not raised, and so is one that the person stopped on its page. An
        interrupted one is kept as `last` and shown, then the interrupt goes on.

        Raises
        ------
        CellError
            A turn is running already, or the tape has no answer to this prompt.
        SetupError, BackendError
            The turn could not be started; the person's rules cannot be read.
        KeyboardInterrupt
            The person interrupted the kernel.
        """
        self._occupy()
        try:
            self._rules.use(self.settings.rules)
            desk = self._desk(request.backend)
            mark = desk.attachment.mark()
            running: Running | None = None
            try:
                request = self._placed(request, desk)
                if request.reuse and (kept := again.find(desk.attachment, request)) is not None:
                    self.last = again.show(desk.attachment, request, kept, page)
                    return self.last
                hands = self._hands if self.settings.tools else replace(self._hands, tools={})
                request = _on_tape(request, desk.tape)
                running = Running(desk, request, page, approver, hands, observe=observe)
                self._mailbox = running.mailbox
                self._notebook = notebook or Notebook()
                return running.to_its_end(self.settings)
            except BaseException:
                if running is None or not running.has_begun:
                    with interrupts_held():  # nothing of it stays, and the cell can be run again
                        desk.attachment.back(mark)
                raise
            finally:
                self._mailbox = None
                if running is not None and running.turn.is_over:
                    with interrupts_held():
                        self.last = running.turn
                        desk.attachment.ended(running.turn)
        finally:
            self._busy.release()

    def _occupy(self) -> None:
        if not self._busy.acquire(blocking=False):
            raise CellError(
                "a turn is running already", hint="Wait for it, or interrupt the kernel"
            )

    def _placed(self, request: TurnRequest, desk: Desk) -> TurnRequest:
        """Return `request` with its branch begun, and with the hash of what it depends on."""
        notebook, name = desk.attachment, request.thread
        if name in notebook.private and not (request.new or request.resume):
            request = replace(request, private=True)
        if name == PRIVATE and not request.private:
            raise CellError(
                f"the name {PRIVATE!r} is for threads that are stored nowhere",
                hint="Add --private, or choose another name",
            )
        if request.private and name in notebook.threads and name not in notebook.private:
            raise CellError(
                f"thread {name!r} is stored, so it cannot be private",
                hint="Leave out -t, or choose another name",
            )
        if request.fork is not None:
            branch, number = Shelf(desk).fork(name, request.fork)
            said = f"this is the branch {branch}, from turn {number} of {name} on"
            notebook.news.append(f"{said}; {back_to(name)}")
            request = replace(request, thread=branch, fork=None)
        return replace(request, inputs=again.inputs(notebook, request))


def _by_name(tools: Sequence[Tool]) -> dict[str, Tool]:
    found: dict[str, Tool] = {}
    for tool in tools:
        if tool.name in found:
            raise CellError(f"there are two tools called {tool.name!r}", hint="Rename one of them")
        found[tool.name] = tool
    return found


def _on_tape(request: TurnRequest, tape: Tape | None) -> TurnRequest:
    if tape is None:
        return request
    if not tape.has(request.prompt):
        raise CellError(tape.no_answer(request.prompt), hint="To call a model: %codex replay off")
    return replace(request, model=tape.model)
