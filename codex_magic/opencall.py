"""A tool call that a backend waits for, and what a person is asked of it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from codex_magic import events as ev
from codex_magic.approval import Answer, ApprovalRequest, QuestionRequest
from codex_magic.items import CELL_ADDED, CELL_EDITED, CommandExecution, FileChange
from codex_magic.policy import Decision, Permission
from codex_magic.tools.ask_user import QuestionCall
from codex_magic.tools.shell import spoken

if TYPE_CHECKING:
    from codex_magic.tools.base import Call
    from codex_magic.turn import TurnRequest


@dataclass(slots=True)
class OpenCall:
    """A tool call that has no answer yet.

    Parameters
    ----------
    request_id
        What the answer must name.
    stop
        Ends the call where it runs.
    hand
        The OS thread in which it runs, once it does.
    answer
        What was decided of it, once that is so.
    """

    request_id: Any
    call: Call | QuestionCall
    stop: threading.Event = field(default_factory=threading.Event)
    hand: threading.Thread | None = None
    answer: Answer | None = None

    @property
    def permission(self) -> Permission:
        """Who allowed it: a person, or the policy by asking nobody."""
        if self.answer is None:
            return Permission()
        return Permission(self.answer.decision, self.answer.by)


def question(call: Call | QuestionCall, request: TurnRequest) -> ApprovalRequest | QuestionRequest:
    """Return what a person is asked."""
    if isinstance(call, QuestionCall):
        return QuestionRequest(call.item.question, call.item.options, call.item.id)
    cwd, reason, patch, cells = str(request.cwd), "", False, False
    match call.item:
        case CommandExecution(command=command, cwd=cwd, reason=reason):
            exact = spoken(command)
        case FileChange(changes=changes, cwd=cwd, reason=reason):
            patch = True
            cells = all(change.kind in (CELL_ADDED, CELL_EDITED) for change in changes)
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
        cells=cells,
        item_id=call.item.id,
        grant=call.grant,
        excess=call.excess,
    )


def told(call: Call | QuestionCall, answer: Answer) -> ev.Event:
    """Return an answer as the event that a page would report of it."""
    if not isinstance(call, QuestionCall) or answer.decision is Decision.CANCEL:
        return ev.ApprovalDecided(call.item.id, answer.decision.value, answer.by, answer.reason)
    by = answer.by if answer.decision is Decision.ACCEPT else ""
    return ev.QuestionAnswered(call.item.id, answer.reason, by)
