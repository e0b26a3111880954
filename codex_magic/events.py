"""What a backend, a tool or an approver reports: facts, in the past tense.

Small frozen values in the field's own words. They carry their own times, because the fold that
reads them has no clock. A notification that nobody here knows is an `UnknownEvent`, not an error.
"""

from __future__ import annotations

from typing import Any

import msgspec

from codex_magic.items import Item, PlanStep, Status, Value


class Usage(Value, frozen=True, kw_only=True):
    """Tokens, as the backend counts them; cached ones are among the input, reasoning in the output."""

    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            reasoning_output_tokens=self.reasoning_output_tokens + other.reasoning_output_tokens,
        )


class TurnError(Value, frozen=True, kw_only=True):
    """Why a turn failed.

    Parameters
    ----------
    message
        The backend's own sentence.
    kind
        Its word for it where it has one, such as ``unauthorized`` or ``usageLimitExceeded``.
    """

    message: str
    kind: str = ""


class EventBase(msgspec.Struct, frozen=True, tag=True):
    """What every event is."""


class ThreadStarted(EventBase, frozen=True):
    """The turn has a thread."""

    thread_id: str
    model: str = ""


class TurnStarted(EventBase, frozen=True):
    """The backend has taken the turn; `at` is in seconds since the epoch."""

    turn_id: str
    at: float | None = None


class ItemStarted(EventBase, frozen=True):
    """An item has begun."""

    item: Item


class ItemDelta(EventBase, frozen=True):
    """Text to append to an item, on one of its channels."""

    item_id: str
    channel: str
    text: str


class ItemCompleted(EventBase, frozen=True):
    """An item is finished, and this is all of it."""

    item: Item


class ToolCallRequested(EventBase, frozen=True):
    """The agent wants one of our tools to run; the backend waits for the answer.

    Parameters
    ----------
    request_id
        What the answer must name.
    call_id
        The id of the item that shows the call.
    arguments
        Whatever the model sent, not yet checked.
    """

    request_id: Any
    call_id: str
    tool: str
    arguments: Any = None


class ApprovalRequested(EventBase, frozen=True):
    """A command waits for a person; `asks` says in words what exceeds the policy."""

    item_id: str
    asks: tuple[str, ...] = ()


class ApprovalDecided(EventBase, frozen=True):
    """The approver has answered; `by` says who that was: a person or a policy.

    Parameters
    ----------
    decision
        One of `codex_magic.policy.Decision`.
    reason
        What the model is told of a refusal.
    """

    item_id: str
    decision: str
    by: str = ""
    reason: str = ""


class QuestionAsked(EventBase, frozen=True):
    """The agent waits for a person's answer to the question that the item holds."""

    item_id: str


class QuestionAnswered(EventBase, frozen=True):
    """The question has its answer; an empty `by` says that nobody gave one, and `answer` why."""

    item_id: str
    answer: str
    by: str = ""


class StopRequested(EventBase, frozen=True):
    """A person wants the turn to end here."""


class SteerRequested(EventBase, frozen=True):
    """A person has something to add to the running turn."""

    text: str


class UsageUpdated(EventBase, frozen=True):
    """One more answer of the model has cost this much."""

    usage: Usage


class PlanUpdated(EventBase, frozen=True):
    """The agent's plan now stands so."""

    steps: tuple[PlanStep, ...]
    explanation: str = ""


class Notice(EventBase, frozen=True):
    """Something the person should know, in one line; `level` is ``info`` or ``warning``."""

    text: str
    level: str = "info"


class TurnCompleted(EventBase, frozen=True):
    """The turn is over."""

    status: Status
    error: TurnError | None = None
    at: float | None = None


class UnknownEvent(EventBase, frozen=True):
    """A report that this version does not know."""

    method: str
    params: Any = None


Event = (
    ThreadStarted
    | TurnStarted
    | ItemStarted
    | ItemDelta
    | ItemCompleted
    | ToolCallRequested
    | ApprovalRequested
    | ApprovalDecided
    | QuestionAsked
    | QuestionAnswered
    | StopRequested
    | SteerRequested
    | UsageUpdated
    | PlanUpdated
    | Notice
    | TurnCompleted
    | UnknownEvent
)
