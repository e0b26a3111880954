"""One running turn: its fold, its page, and the calls that are open.

The loop runs in the cell's own OS thread. It takes events from the mailbox, folds them into the
turn, and shows it. Commands run in OS threads of their own that put what they see into the same
mailbox, so that a long command never stops the events behind it; while a person is asked they wait
there. Every wait is a wait on the mailbox or for the person, and an interrupt ends either at once.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import shutil
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic import context, sandbox
from codex_magic import events as ev
from codex_magic.approval import Answer, ApprovalRequest, Approver, verdict
from codex_magic.backends.base import Backend, Mailbox, Seat, ToolAnswer, TurnInput
from codex_magic.errors import BackendError
from codex_magic.items import CommandExecution, FileChange, Text, ToolCall
from codex_magic.policy import Decision, Permission
from codex_magic.tools.base import ArgumentsError, Call, Outcome, Tool
from codex_magic.tools.shell import spoken
from codex_magic.turn import Turn, TurnRequest, advance, opening

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from codex_magic.page import Page
    from codex_magic.settings import Settings
    from codex_magic.tape import Player, Tape

log = logging.getLogger("codex_magic")

TICK_S: Final = 0.03
"""Seconds between two looks at the clock when nothing arrives; an event ends the wait at once."""

BATCH: Final = 1000
"""Events folded before the page is looked at again, so that a flood cannot starve it."""

PATIENCE_S: Final = 1.0
"""Seconds a stopped turn has to say that it has ended before it is ended here."""

STRAGGLER_S: Final = 2.0
"""Seconds a killed command has to be gone; it takes milliseconds."""


@dataclass(slots=True)
class Desk:
    """A backend and the threads of this kernel that live there, by name."""

    backend: Backend
    threads: dict[str, str] = field(default_factory=dict)
    told: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    tape: Tape | None = None
    player: Player | None = None
    home: str | None = None

    def close(self) -> None:
        """End the backend, and the tape with everything that was made for it."""
        self.backend.close()
        if self.player is not None:
            self.player.close()
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)


@dataclass(slots=True)
class _OpenCall:
    """A tool call that the backend waits for."""

    request_id: Any
    call: Call
    stop: threading.Event = field(default_factory=threading.Event)
    hand: threading.Thread | None = None
    answer: Answer | None = None

    @property
    def permission(self) -> Permission:
        """Who allowed it: a person, or the policy by asking nobody."""
        if self.answer is None:
            return Permission()
        return Permission(self.answer.decision, self.answer.by)


class Running:
    """A turn from its request to its end; see `Session.run`."""

    def __init__(
        self,
        desk: Desk,
        request: TurnRequest,
        page: Page,
        approver: Approver,
        tools: Mapping[str, Tool],
    ) -> None:
        self._desk = desk
        self._backend = desk.backend
        self._request = request
        self._page = page
        self._approver = approver
        self._tools = tools
        self._open: dict[str, _OpenCall] = {}
        self._begun = False
        self._seen: set[str] = set()
        self.mailbox: Mailbox = queue.SimpleQueue()
        tape = desk.tape.name if desk.tape else ""
        self.turn = opening(request, backend=desk.backend.name, tape=tape)

    def to_its_end(self, settings: Settings) -> Turn:
        """Run the turn; see `Session.run`."""
        level = _Level(self._request)
        try:
            seat = self._seat()
            turn = self._input(seat, settings, level)
            self._begun = True
            self._backend.start_turn(seat, turn, self.mailbox)
            while not self.turn.is_over:
                self._step()
            self._tidy()
            self._page.finish(self.turn)
        except BackendError:
            raise  # it could not be started: there is nothing to stop, and nothing to show
        except BaseException as error:
            # Also where the page itself fails: the turn must not go on unseen.
            if isinstance(error, KeyboardInterrupt) or self._begun:
                self._stopped()
            raise
        return self.turn

    def _seat(self) -> Seat:
        known = self._desk.threads.get(self._request.thread)
        seat = self._backend.seat(self._request, known)
        self._desk.threads[self._request.thread] = seat.thread_id
        self._fold(ev.ThreadStarted(seat.thread_id, seat.model))
        for notice in seat.notices:
            self._fold(notice)
        return seat

    def _input(self, seat: Seat, settings: Settings, level: _Level) -> TurnInput:
        probed = level.wait()
        self.turn = msgspec.structs.replace(self.turn, level=probed)
        fresh = seat.thread_id not in self._desk.used
        self._desk.used.add(seat.thread_id)
        note = context.notebook_note(self._request, level=probed, fresh=fresh)
        project = context.agents_md(self._request.cwd) if settings.agents_md else None
        if project is None or not project.text:
            return TurnInput(self._request, {"notebook": note})
        if self._desk.told.get(seat.thread_id) != project.text:
            self._desk.told[seat.thread_id] = project.text
            paths = ", ".join(map(str, project.paths))
            cut = ", the first 32 KB" if project.truncated else ""
            self._fold(ev.Notice(f"the model was told what {paths} says{cut}"))
        return TurnInput(self._request, {"notebook": note}, {"project_instructions": project.text})

    # --- the loop -----------------------------------------------------------------------------

    def _step(self) -> None:
        try:
            event = self.mailbox.get(timeout=TICK_S)
            for _ in range(BATCH):
                self._take(event)
                event = self.mailbox.get_nowait()
        except queue.Empty:
            pass
        if not self.turn.is_over:  # how it ended is for its last form to say
            self._page.show(self.turn)

    def _take(self, event: ev.Event) -> None:
        if isinstance(event, ev.ToolCallRequested) and event.call_id in self._seen:
            text = f"outcome: refused - a call named {event.call_id} has been made before"
            self._backend.answer(event.request_id, ToolAnswer(text, success=False))
            return
        self._fold(event)
        match event:
            case ev.ToolCallRequested() if not self.turn.is_over:
                self._requested(event)
            case ev.ApprovalDecided() if not self.turn.is_over:
                self._decided(event.item_id)

    def _fold(self, event: ev.Event) -> None:
        self.turn = advance(self.turn, event)

    # --- what the agent wants done ------------------------------------------------------------

    def _requested(self, event: ev.ToolCallRequested) -> None:
        self._seen.add(event.call_id)
        if (tool := self._tools.get(event.tool)) is None:
            offered = ", ".join(self._tools)
            self._refuse(event, f"there is no tool {event.tool!r}; there are: {offered}")
            return
        try:
            call = tool.prepare(event.call_id, event.arguments, self._request)
        except ArgumentsError as error:
            self._refuse(event, f"the arguments do not fit: {error}")
            return
        opened = self._open[event.call_id] = _OpenCall(event.request_id, call)
        self._fold(ev.ItemStarted(call.item))
        if call.forbidden:
            opened.answer = Answer(Decision.DECLINE, "rule", call.forbidden)
            self._decline(opened)
            return
        match verdict(self._request.approval, exceeds=bool(call.asks), harmless=call.harmless):
            case "run":
                self._start(opened)
            case "decline":
                wish = ", ".join(call.asks)
                reason = f"nobody is asked (-a never), so it may not {wish}"
                opened.answer = Answer(Decision.DECLINE, "policy", reason)
                self._decline(opened)
            case "ask":
                self._ask(opened)

    def _refuse(self, event: ev.ToolCallRequested, reason: str) -> None:
        text = f"outcome: refused - {reason}"
        shown = next(item for item in self.turn.items if item.id == event.call_id)
        if isinstance(shown, ToolCall):
            failed = msgspec.structs.replace(shown, status="failed", output=Text(text))
            self._fold(ev.ItemCompleted(failed))
        self._backend.answer(event.request_id, ToolAnswer(text, success=False))

    def _ask(self, opened: _OpenCall) -> None:
        call = opened.call
        self._fold(ev.ApprovalRequested(call.item.id, call.asks))
        self._page.show(self.turn)
        try:
            opened.answer = self._approver.ask(_question(call, self._request))
        except EOFError:
            opened.answer = Answer(Decision.DECLINE, "nobody", "nobody answered")
        # Behind whatever arrived while the person thought: the turn may be over by now.
        decision = opened.answer.decision.value
        self.mailbox.put(ev.ApprovalDecided(call.item.id, decision, opened.answer.by))

    def _decided(self, call_id: str) -> None:
        opened = self._open.get(call_id)
        if opened is None or opened.answer is None:
            return
        if opened.answer.decision is Decision.ACCEPT:
            self._start(opened)
            return
        self._decline(opened)
        if opened.answer.decision is Decision.CANCEL:
            raise KeyboardInterrupt

    def _decline(self, opened: _OpenCall) -> None:
        reason = opened.answer.reason if opened.answer else ""
        self._settle(opened, opened.call.decline(reason, opened.permission))

    def _start(self, opened: _OpenCall) -> None:
        # An OS thread for each command, because it has to outlive the sandbox: the kernel kills a
        # process whose parent *thread* ends.
        opened.hand = threading.Thread(
            target=self._run, args=(opened,), name=f"codex hand {opened.call.item.id}", daemon=True
        )
        opened.hand.start()

    def _run(self, opened: _OpenCall) -> None:
        try:
            outcome = opened.call.run(self.mailbox.put, opened.stop, opened.permission)
        except Exception as error:  # the turn waits for an answer, whatever a tool does
            log.exception("a tool failed")
            item = msgspec.structs.replace(opened.call.item, status="failed")
            text = f"outcome: error - the tool itself failed: {error}"
            outcome = Outcome(item, text, success=False)
        try:
            self._settle(opened, outcome)
        except Exception:  # likewise: this OS thread has nobody to tell
            log.exception("an answer could not be sent")

    def _settle(self, opened: _OpenCall, outcome: Outcome) -> None:
        """Report a finished call to the fold, then to the backend: in this order it is saved."""
        item = outcome.item
        if opened.answer is not None and isinstance(item, CommandExecution | FileChange):
            said = f"{opened.answer.decision.value} by {opened.answer.by}"
            item = msgspec.structs.replace(item, decision=said)
        self.mailbox.put(ev.ItemCompleted(item))
        self._open.pop(item.id, None)
        self._backend.answer(opened.request_id, ToolAnswer(outcome.text, outcome.success))

    # --- the end ------------------------------------------------------------------------------

    def _stopped(self) -> None:
        """End the turn on both sides and keep what there is, however often a person interrupts."""
        deadline = time.monotonic() + PATIENCE_S
        steps: list[Callable[[], None]] = [
            self._backend.interrupt,
            self._stop_calls,
            lambda: self._await_the_end(deadline),
            self._tidy,
            lambda: self._page.finish(self.turn),
        ]
        for step in steps:
            done = False
            while not done:
                # Interrupted again, a step is begun again: none of them may be left out.
                try:
                    step()
                    done = True
                except KeyboardInterrupt:
                    continue
                except Exception:  # what failed before may fail here; the others must be done
                    log.exception("a turn did not end cleanly")
                    done = True

    def _stop_calls(self) -> None:
        for opened in list(self._open.values()):
            opened.stop.set()

    def _await_the_end(self, deadline: float) -> None:
        if not self._begun:
            return  # nobody would say so
        while not self.turn.is_over and time.monotonic() < deadline:
            with contextlib.suppress(queue.Empty):
                self._fold(self.mailbox.get(timeout=TICK_S))

    def _tidy(self) -> None:
        """Wait for what was killed, and fold what it had to say; nothing is left running."""
        self._stop_calls()
        for opened in list(self._open.values()):
            if opened.hand is not None:
                opened.hand.join(STRAGGLER_S)
            else:
                self._withdraw(opened)
        with contextlib.suppress(queue.Empty):
            while True:
                self._fold(self.mailbox.get_nowait())
        if not self.turn.is_over:
            self._fold(ev.TurnCompleted("interrupted", at=time.time()))

    def _withdraw(self, opened: _OpenCall) -> None:
        """Answer a call that a person was asked about when the turn ended."""
        nobody = Permission(Decision.DECLINE, "nobody")
        outcome = opened.call.decline("the turn was over before anybody answered", nobody)
        item = msgspec.structs.replace(outcome.item, status="interrupted")
        self._settle(opened, replace(outcome, item=item))
        if opened.answer is not None and opened.answer.decision is Decision.ACCEPT:
            text = "the turn was over before the answer: nothing was run"
            self._fold(ev.Notice(text, "warning"))


def _question(call: Call, request: TurnRequest) -> ApprovalRequest:
    cwd, reason, patch = str(request.cwd), "", False
    match call.item:
        case CommandExecution(command=command, cwd=cwd, reason=reason):
            exact = spoken(command)
        case FileChange(changes=changes, cwd=cwd, reason=reason):
            patch = True
            exact = "\n".join(change.diff for change in changes)
        case item:
            exact = item.id
    return ApprovalRequest(
        command=exact,
        cwd=cwd,
        reason=reason,
        asks=call.asks,
        sandbox=request.policy.mode,
        network=request.policy.network,
        patch=patch,
    )


class _Level:
    """What the machine can enforce, found out while the backend starts."""

    def __init__(self, request: TurnRequest) -> None:
        self._mode = request.policy.mode
        self._found = ""
        self._work = threading.Thread(target=self._probe, name="codex probe", daemon=True)
        self._work.start()

    def _probe(self) -> None:
        self._found = sandbox.probe().level

    def wait(self) -> str:
        if self._mode == "external":
            return "external"
        if self._mode == "full-access":
            return "off"
        self._work.join()
        return self._found or "none"
