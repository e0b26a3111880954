"""Events in the SDK's shape: a method, and a payload with the SDK's names.

A `Notification` says no more than its `event`. It is made one by one as events come, so that a
stream costs no more than its events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from codex_magic import events as ev
from codex_magic.api.types import Reply, TurnStatus
from codex_magic.items import (
    AgentMessage,
    CommandExecution,
    ItemBase,
    Plan,
    PlanStep,
    Reasoning,
)

__all__ = [
    "AgentMessageDeltaNotification",
    "CommandExecutionOutputDeltaNotification",
    "ItemCompletedNotification",
    "ItemStartedNotification",
    "Notification",
    "OtherNotification",
    "PlanDeltaNotification",
    "ReasoningSummaryTextDeltaNotification",
    "ReasoningTextDeltaNotification",
    "ThreadStartedNotification",
    "ThreadTokenUsage",
    "ThreadTokenUsageUpdatedNotification",
    "TurnCompletedNotification",
    "TurnPlanUpdatedNotification",
    "TurnStartedNotification",
    "WarningNotification",
]


@dataclass(frozen=True)
class Named(Reply):
    """What every payload says: where it belongs."""

    thread_id: str
    turn_id: str


@dataclass(frozen=True)
class _Delta(Named):
    item_id: str
    delta: str


class AgentMessageDeltaNotification(_Delta):
    """Text of an answer."""


class PlanDeltaNotification(_Delta):
    """Text of a plan."""


class ReasoningSummaryTextDeltaNotification(_Delta):
    """Text of a summary of thoughts."""


class ReasoningTextDeltaNotification(_Delta):
    """Text of thoughts."""


class CommandExecutionOutputDeltaNotification(_Delta):
    """Output of a command."""


@dataclass(frozen=True)
class ThreadState(Reply):
    """A thread, as far as a notification names it."""

    id: str


@dataclass(frozen=True)
class TurnState(Reply):
    """A turn, as far as a notification tells of it."""

    id: str
    status: TurnStatus
    error: ev.TurnError | None = None


@dataclass(frozen=True)
class ThreadStartedNotification(Reply):
    """The turn has a thread."""

    thread: ThreadState


@dataclass(frozen=True)
class TurnStartedNotification(Reply):
    """The turn has begun."""

    thread_id: str
    turn: TurnState


@dataclass(frozen=True)
class TurnCompletedNotification(Reply):
    """The turn is over."""

    thread_id: str
    turn: TurnState


@dataclass(frozen=True)
class ItemStartedNotification(Named):
    """An item has begun."""

    item: ItemBase


@dataclass(frozen=True)
class ItemCompletedNotification(Named):
    """An item is finished."""

    item: ItemBase


@dataclass(frozen=True)
class TurnPlanUpdatedNotification(Named):
    """The plan now stands so."""

    plan: tuple[PlanStep, ...]
    explanation: str


@dataclass(frozen=True)
class TokenUsageBreakdown(Reply):
    """Tokens; cached ones are among the input, reasoning in the output."""

    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    reasoning_output_tokens: int
    total_tokens: int


@dataclass(frozen=True)
class ThreadTokenUsage(Reply):
    """Tokens of the last answer of the model, and of the turn so far."""

    last: TokenUsageBreakdown
    total: TokenUsageBreakdown
    model_context_window: int | None = None


@dataclass(frozen=True)
class ThreadTokenUsageUpdatedNotification(Named):
    """One more answer of the model has been paid for."""

    token_usage: ThreadTokenUsage


@dataclass(frozen=True)
class WarningNotification(Reply):
    """Something a person should know."""

    thread_id: str
    message: str


@dataclass(frozen=True)
class OtherNotification(Named):
    """An event that the SDK has no notification for."""

    event: ev.Event


@dataclass(frozen=True)
class Notification:
    """An event of a turn in the SDK's shape.

    Parameters
    ----------
    method
        What the SDK calls it; ``codex_magic/…`` where it has no name for it.
    event
        The event itself, in this package's words.
    """

    method: str
    payload: Any
    event: ev.Event


_DELTAS: Final[dict[type, tuple[str, type[_Delta]]]] = {
    AgentMessage: ("item/agentMessage/delta", AgentMessageDeltaNotification),
    Plan: ("item/plan/delta", PlanDeltaNotification),
    CommandExecution: (
        "item/commandExecution/outputDelta",
        CommandExecutionOutputDeltaNotification,
    ),
    Reasoning: ("item/reasoning/textDelta", ReasoningTextDeltaNotification),
}
_SUMMARY: Final = (
    "item/reasoning/summaryTextDelta",
    ReasoningSummaryTextDeltaNotification,
)
_BY_CHANNEL: Final = {"text": AgentMessage, "output": CommandExecution, "content": Reasoning}


class Translator:
    """Makes notifications of one turn's events, in their order."""

    def __init__(self, thread_id: str) -> None:
        self._thread_id = thread_id
        self._turn_id = ""
        self._kinds: dict[str, type] = {}
        self._usage = ev.Usage()

    def notification(self, event: ev.Event) -> Notification:
        """Return `event` in the SDK's shape."""
        if isinstance(event, ev.ThreadStarted):
            self._thread_id = event.thread_id
        if isinstance(event, ev.TurnStarted):
            self._turn_id = event.turn_id
        method, payload = self._translated(event)
        return Notification(method, payload, event)

    def _translated(self, event: ev.Event) -> tuple[str, Any]:  # noqa: C901 - one flat table
        where = self._thread_id, self._turn_id
        match event:
            case ev.ItemDelta():
                return self._delta(event)
            case ev.ItemStarted():
                self._kinds[event.item.id] = type(event.item)
                return "item/started", ItemStartedNotification(*where, event.item)
            case ev.ItemCompleted():
                return "item/completed", ItemCompletedNotification(*where, event.item)
            case ev.ThreadStarted():
                state = ThreadState(event.thread_id)
                return "thread/started", ThreadStartedNotification(state)
            case ev.TurnStarted():
                turn = TurnState(event.turn_id, TurnStatus.in_progress)
                return "turn/started", TurnStartedNotification(self._thread_id, turn)
            case ev.TurnCompleted():
                turn = TurnState(self._turn_id, TurnStatus[event.status], event.error)
                return "turn/completed", TurnCompletedNotification(self._thread_id, turn)
            case ev.UsageUpdated():
                self._usage += event.usage
                usage = ThreadTokenUsage(_breakdown(event.usage), _breakdown(self._usage))
                told = ThreadTokenUsageUpdatedNotification(*where, usage)
                return "thread/tokenUsage/updated", told
            case ev.PlanUpdated():
                plan = TurnPlanUpdatedNotification(*where, event.steps, event.explanation)
                return "turn/plan/updated", plan
            case ev.Notice():
                return "warning", WarningNotification(self._thread_id, event.text)
            case ev.UnknownEvent():
                return event.method, OtherNotification(*where, event)
            case _:
                name = type(event).__name__
                method = f"codex_magic/{name[0].lower()}{name[1:]}"
                return method, OtherNotification(*where, event)

    def _delta(self, event: ev.ItemDelta) -> tuple[str, Any]:
        kind = self._kinds.get(event.item_id, _BY_CHANNEL.get(event.channel, AgentMessage))
        method, payload = _DELTAS.get(kind, _DELTAS[AgentMessage])
        if event.channel == "summary":
            method, payload = _SUMMARY
        return method, payload(self._thread_id, self._turn_id, event.item_id, event.text)


def _breakdown(usage: ev.Usage) -> TokenUsageBreakdown:
    return TokenUsageBreakdown(
        usage.input_tokens,
        usage.cached_input_tokens,
        usage.output_tokens,
        usage.reasoning_output_tokens,
        usage.input_tokens + usage.output_tokens,
    )
