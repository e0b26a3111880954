"""One running turn: its fold, its page, and the calls that are open.

The loop runs in the cell's own OS thread. It takes events from the mailbox, folds them into the
turn, and shows it. Commands run in OS threads of their own that put what they see into the same
mailbox, so that a long command never stops the events behind it. What a person does on the page
arrives there as well: while a card waits for its answer the turn goes on. Only where the person is
asked by `input` do events wait. Every wait is a wait on the mailbox or for the person, and an
interrupt ends either at once.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from codex_magic import context, seating
from codex_magic import events as ev
from codex_magic.approval import DECIDE_YOURSELF, UNSAID, Answer, Approver, verdict
from codex_magic.backends.base import Mailbox, ToolAnswer, TurnInput
from codex_magic.errors import BackendError, CodexMagicError
from codex_magic.interrupts import interrupts_held
from codex_magic.items import CommandExecution, FileChange, Text, ToolCall
from codex_magic.level import Level
from codex_magic.opencall import OpenCall, question, told
from codex_magic.policy import Decision, Permission
from codex_magic.tools.ask_user import QuestionCall
from codex_magic.tools.base import BEYOND, ArgumentsError, BeyondError, Call, Outcome
from codex_magic.turn import Turn, TurnRequest, advance, opening

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.desk import Desk, Hands
    from codex_magic.page import Page
    from codex_magic.seating import Seated
    from codex_magic.settings import Settings

log = logging.getLogger("codex_magic")

TICK_S: Final = 0.03
"""Seconds between two looks at the clock when nothing arrives; an event ends the wait at once."""

BATCH: Final = 1000
"""Events folded before the page is looked at again, so that a flood cannot starve it."""

PATIENCE_S: Final = 1.0
"""Seconds a stopped turn has to say that it has ended before it is ended here."""

STRAGGLER_S: Final = 2.0
"""Seconds a killed command has to be gone; it takes milliseconds."""


class _StoppedError(Exception):
    """A person has ended the turn on its page; the cells behind it go on."""


NOT_TAKEN: Final = "what was added did not reach the model"
"""How the notice begins that a steer came to nothing."""


class Running:
    """A turn from its request to its end; see `Session.run`."""

    def __init__(  # noqa: PLR0913 - all that a turn is given
        self,
        desk: Desk,
        request: TurnRequest,
        page: Page,
        approver: Approver,
        hands: Hands,
        *,
        observe: Callable[[ev.Event], None] | None = None,
    ) -> None:
        self._desk = desk
        self._backend = desk.backend
        self._request = request
        self._page = page
        self._approver = approver
        self._tools = hands.tools
        self._grants = hands.grants
        self._observe = observe
        self._waiting: deque[OpenCall] = deque()
        self._open: dict[str, OpenCall] = {}
        self._begun = False
        self._is_accepted = False
        self._seen: set[str] = set()
        self.mailbox: Mailbox = queue.SimpleQueue()
        tape = desk.tape.name if desk.tape else ""
        self.turn = opening(request, backend=desk.backend.name, tape=tape)

    @property
    def has_begun(self) -> bool:
        """Whether the backend has started it."""
        return self._is_accepted or bool(self.turn.id)

    def to_its_end(self, settings: Settings) -> Turn:
        """Run the turn; see `Session.run`."""
        try:
            self._through(settings, Level(self._request))
        except BackendError:
            raise  # it could not be started: there is nothing to stop, and nothing to show
        except BaseException as error:
            # Also where the page itself fails: the turn must not go on unseen.
            with interrupts_held():
                if isinstance(error, KeyboardInterrupt) or self._begun:
                    self._stopped()
            raise
        return self.turn

    def _through(self, settings: Settings, level: Level) -> None:
        try:
            self._page.open(self.mailbox.put)
            seated = self._seat()
            turn = self._input(seated, settings, level)
            self._begun = True
            self._backend.start_turn(seated.seat, turn, self.mailbox)
            self._is_accepted = True
            self._desk.used.add(seated.seat.thread_id)
            while not self.turn.is_over:
                self._step()
            self._tidy()
            self._page.finish(self.turn)
        except _StoppedError:
            with interrupts_held():
                self._stopped()

    def _seat(self) -> Seated:
        seated = seating.take(self._desk, self._request)
        self._request = replace(self._request, thread=seated.name)
        self.turn = msgspec.structs.replace(
            self.turn, thread_name=seated.name, parent=seated.parent
        )
        self._fold(ev.ThreadStarted(seated.seat.thread_id, seated.seat.model))
        for notice in seated.notices:
            self._fold(notice)
        return seated

    def _input(self, seated: Seated, settings: Settings, level: Level) -> TurnInput:
        probed = level.wait()
        seat = seated.seat
        self.turn = msgspec.structs.replace(self.turn, level=probed)
        note = context.notebook_note(self._request, level=probed, fresh=seated.is_fresh)
        notes = {"notebook": note} | context.images_note(self._request)
        before = context.names_before(seated.names) if seated.is_fresh else {}
        project = context.agents_md(self._request.cwd) if settings.agents_md else None
        if project is None or not project.text:
            return TurnInput(self._request, notes, before)
        if self._desk.told.get(seat.thread_id) != project.text:
            self._desk.told[seat.thread_id] = project.text
            paths = ", ".join(map(str, project.paths))
            cut = ", the first 32 KB" if project.truncated else ""
            self._fold(ev.Notice(f"the model was told what {paths} says{cut}"))
        quoted = {"project_instructions": project.text} | before
        return TurnInput(self._request, notes, quoted)

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
            case ev.ApprovalDecided():
                decision = Decision(event.decision)
                reason = event.reason or UNSAID.get(decision, "")
                self._answered(event.item_id, Answer(decision, event.by, reason))
            case ev.QuestionAnswered():
                decision = Decision.ACCEPT if event.by else Decision.DECLINE
                self._answered(event.item_id, Answer(decision, event.by, event.answer))
            case ev.StopRequested() if not self.turn.is_over:
                raise _StoppedError
            case ev.SteerRequested() if not self.turn.is_over:
                self._steer(event.text)

    def _steer(self, text: str) -> None:
        try:
            self._backend.steer(text)
        except CodexMagicError as error:
            said = f"{NOT_TAKEN}: {error.message}"
            self._fold(ev.Notice(said, "warning"))

    def _fold(self, event: ev.Event) -> None:
        self.turn = advance(self.turn, event)
        if self._observe is not None:
            self._observe(event)

    # --- what the agent wants done ------------------------------------------------------------

    def _requested(self, event: ev.ToolCallRequested) -> None:
        with interrupts_held():  # a call that is known is answered, whatever comes
            opened = self._opened(event)
        if opened is None:
            return
        if isinstance(opened.call, QuestionCall):
            self._inquire(opened, opened.call)
        else:
            self._judge(opened, opened.call)

    def _opened(self, event: ev.ToolCallRequested) -> OpenCall | None:
        """Return the call, checked; None where it was refused."""
        self._seen.add(event.call_id)
        if (tool := self._tools.get(event.tool)) is None:
            offered = ", ".join(self._tools)
            self._refuse(event, f"there is no tool {event.tool!r}; there are: {offered}")
            return None
        try:
            call = tool.prepare(event.call_id, event.arguments, self._request)
        except BeyondError as error:
            self._refuse(event, f"{BEYOND}: {error}")
            return None
        except ArgumentsError as error:
            self._refuse(event, f"the arguments do not fit: {error}")
            return None
        opened = self._open[event.call_id] = OpenCall(event.request_id, call)
        return opened

    def _inquire(self, opened: OpenCall, call: QuestionCall) -> None:
        if self._request.approval == "never":
            self._settle(opened, call.unanswered(DECIDE_YOURSELF, "policy"))
        else:
            self._ask(opened)

    def _judge(self, opened: OpenCall, call: Call) -> None:
        """Run the call, decline it or ask, as rules, grants and the approval policy say."""
        if call.forbidden:
            opened.answer = Answer(Decision.DECLINE, "rule", call.forbidden)
            self._decline(opened, call)
            return
        match verdict(self._request.approval, exceeds=bool(call.asks), harmless=call.harmless):
            case "run":
                self._start(opened, call)
            case "decline":
                wish = ", ".join(call.asks)
                reason = f"nobody is asked (-a never), so it may not {wish}"
                opened.answer = Answer(Decision.DECLINE, "policy", reason)
                self._decline(opened, call)
            case "ask" if call.grant in self._grants:
                opened.answer = Answer(Decision.ACCEPT_FOR_SESSION, "grant")
                self._start(opened, call)
            case "ask":
                self._ask(opened)

    def _refuse(self, event: ev.ToolCallRequested, reason: str) -> None:
        text = f"outcome: refused - {reason}"
        shown = next(item for item in self.turn.items if item.id == event.call_id)
        if isinstance(shown, ToolCall):
            failed = msgspec.structs.replace(shown, status="failed", output=Text(text))
            self._fold(ev.ItemCompleted(failed))
        self._backend.answer(event.request_id, ToolAnswer(text, success=False))

    def _ask(self, opened: OpenCall) -> None:
        """Ask the person, or have the call wait until those before it are answered."""
        self._waiting.append(opened)
        if len(self._waiting) == 1:
            self._ask_next()

    def _ask_next(self) -> None:
        call = self._waiting[0].call
        self._fold(ev.ItemStarted(call.item))
        if isinstance(call, QuestionCall):
            self._fold(ev.QuestionAsked(call.item.id))
        else:
            self._fold(ev.ApprovalRequested(call.item.id, call.asks))
        self._page.show(self.turn)
        try:
            answer = self._approver.ask(question(call, self._request))
        except EOFError:
            answer = Answer(Decision.DECLINE, "nobody", "nobody answered")
        if answer is not None:
            # Behind whatever arrived while the person thought: the turn may be over by now.
            self.mailbox.put(told(call, answer))

    def _answered(self, item_id: str, answer: Answer) -> None:
        """Do what was decided; an answer to what does not wait, or no longer, does nothing."""
        if not self._waiting or self._waiting[0].call.item.id != item_id:
            return
        opened = self._waiting.popleft()
        opened.answer = answer
        if self.turn.is_over:
            return  # it is withdrawn, and the page says so
        self._carry_out(opened, answer)
        if answer.decision is Decision.CANCEL:
            raise _StoppedError
        while self._waiting and self._waiting[0].call.grant in self._grants:
            granted = self._waiting.popleft()
            granted.answer = Answer(Decision.ACCEPT_FOR_SESSION, "grant")
            self._carry_out(granted, granted.answer)
        if self._waiting:
            self._ask_next()

    def _carry_out(self, opened: OpenCall, answer: Answer) -> None:
        call = opened.call
        if isinstance(call, QuestionCall):
            said = answer.decision is Decision.ACCEPT
            outcome = call.answered if said else call.unanswered
            self._settle(opened, outcome(answer.reason, answer.by))
        elif answer.decision in (Decision.DECLINE, Decision.CANCEL):
            self._decline(opened, call)
        else:
            if answer.decision is Decision.ACCEPT_FOR_SESSION and call.grant is not None:
                self._grants[call.grant] = None
            self._start(opened, call)

    def _decline(self, opened: OpenCall, call: Call) -> None:
        reason = opened.answer.reason if opened.answer else ""
        self._settle(opened, call.decline(reason, opened.permission))

    def _start(self, opened: OpenCall, call: Call) -> None:
        self._fold(ev.ItemStarted(call.item))
        # An OS thread for each command, because it has to outlive the sandbox: the kernel kills a
        # process whose parent *thread* ends.
        name = f"codex hand {call.item.id}"
        hand = threading.Thread(target=self._run, args=(opened, call), name=name, daemon=True)
        with interrupts_held():
            hand.start()
            opened.hand = hand

    def _run(self, opened: OpenCall, call: Call) -> None:
        try:
            outcome = call.run(self.mailbox.put, opened.stop, opened.permission)
        except Exception as error:  # the turn waits for an answer, whatever a tool does
            log.exception("a tool failed")
            item = msgspec.structs.replace(call.item, status="failed")
            text = f"outcome: error - the tool itself failed: {error}"
            outcome = Outcome(item, text, success=False)
        try:
            self._settle(opened, outcome)
        except Exception:  # likewise: this OS thread has nobody to tell
            log.exception("an answer could not be sent")

    def _settle(self, opened: OpenCall, outcome: Outcome) -> None:
        """Report a finished call to the fold, then to the backend: in this order it is saved."""
        item = outcome.item
        if opened.answer is not None and isinstance(item, CommandExecution | FileChange):
            said = f"{opened.answer.decision.value} by {opened.answer.by}"
            item = msgspec.structs.replace(item, decision=said)
        with interrupts_held():
            self.mailbox.put(ev.ItemCompleted(item))
            self._open.pop(item.id, None)
            answer = ToolAnswer(outcome.text, outcome.success, outcome.images, outcome.streams)
            self._backend.answer(opened.request_id, answer)

    # --- the end ------------------------------------------------------------------------------

    def _stopped(self) -> None:
        """End the turn on both sides and keep what there is; further interrupts are held."""
        deadline = time.monotonic() + PATIENCE_S
        steps: list[Callable[[], None]] = [
            self._backend.interrupt,
            self._stop_calls,
            lambda: self._await_the_end(deadline),
            self._tidy,
            lambda: self._page.finish(self.turn),
        ]
        for step in steps:
            try:
                step()
            except Exception:  # what failed before may fail here; the others must be done
                log.exception("a turn did not end cleanly")

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

    def _withdraw(self, opened: OpenCall) -> None:
        """Answer a call that a person was asked about when the turn ended."""
        reason = "the turn was over before anybody answered"
        if isinstance(opened.call, QuestionCall):
            outcome = opened.call.unanswered(reason, "")
        else:
            outcome = opened.call.decline(reason, Permission(Decision.DECLINE, "nobody"))
        item = msgspec.structs.replace(outcome.item, status="interrupted")
        self._settle(opened, replace(outcome, item=item))
        allowed = (Decision.ACCEPT, Decision.ACCEPT_FOR_SESSION)
        if opened.answer is not None and opened.answer.decision in allowed:
            text = "the turn was over before the answer: nothing was run"
            self._fold(ev.Notice(text, "warning"))
