"""The pieces of a turn.

Frozen values, equal when they say the same: a text that arrived in a thousand deltas equals the
same text that arrived in one. Identity, storage and looks are other modules' business. Kinds
that this version does not know become `UnknownItem` and keep everything they came with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Status = Literal["in_progress", "completed", "interrupted", "failed", "declined"]


class Text:
    """A text that grows: appending costs the same however long it already is.

    The pieces stand in a list that several values may share; each value sees only the first
    `_count` of them. The newest value appends in place, an older one copies first, so no value
    ever changes. Appending from two OS threads at once is not supported: one loop folds a turn.
    """

    __slots__ = ("_count", "_joined", "_pieces")

    def __init__(self, *pieces: str) -> None:
        self._pieces = list(pieces)
        self._count = len(self._pieces)
        self._joined: str | None = None

    def plus(self, piece: str) -> Text:
        """Return this text with `piece` behind it."""
        if not piece:
            return self
        if not self._count:
            return Text(piece)  # never into `EMPTY`, which all turns share
        pieces = self._pieces
        if len(pieces) != self._count:
            pieces = pieces[: self._count]
        pieces.append(piece)
        longer = Text()
        longer._pieces, longer._count = pieces, self._count + 1
        return longer

    def __str__(self) -> str:
        if self._joined is None:
            self._joined = "".join(self._pieces[: self._count])
        return self._joined

    def __repr__(self) -> str:
        return f"Text({str(self)!r})"

    def __bool__(self) -> bool:
        return any(self._pieces[i] for i in range(self._count))

    def __eq__(self, other: object) -> bool:
        return str(self) == str(other) if isinstance(other, Text) else NotImplemented

    def __hash__(self) -> int:
        return hash(str(self))


EMPTY: Final = Text()


def well_formed(text: str) -> str:
    """Return `text` with halves of characters joined, or replaced where the other is missing.

    Python's strings hold such halves, from a front end or a file's name; JSON in UTF-8 cannot.
    """
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frozen value that becomes JSON without its defaults."""


class ItemBase(Value, frozen=True, kw_only=True, tag_field="type"):
    """What every item has.

    Parameters
    ----------
    id
        The backend's name for it, unique within a turn.
    draft
        Text that streamed but is not in the finished item: the backend corrected itself, or used
        a channel that this kind does not have. Kept, so that nothing that was shown is lost.
    """

    id: str
    status: Status = "in_progress"
    draft: Text = EMPTY


class UserMessage(ItemBase, frozen=True, kw_only=True, tag="user_message"):
    """What the person said, at the start of a turn or while it ran."""

    text: Text = EMPTY


class AgentMessage(ItemBase, frozen=True, kw_only=True, tag="agent_message"):
    """What the agent said; `phase` tells a remark on the way from the answer."""

    text: Text = EMPTY
    phase: Literal["commentary", "final_answer"] | None = None


class Reasoning(ItemBase, frozen=True, kw_only=True, tag="reasoning"):
    """What the agent thought: the summary a backend offers, and the raw text where it gives it."""

    summary: Text = EMPTY
    content: Text = EMPTY


class Receipt(Value, frozen=True, kw_only=True):
    """What a command really did, as the runner saw it.

    Parameters
    ----------
    level
        What confined it: ``full``, ``partial``, ``none``, or ``external``.
    mode
        The sandbox mode it ran under.
    network
        Whether it had the machine's network.
    duration_s
        Seconds from start to end.
    stdout_bytes, stderr_bytes
        Bytes it wrote, also those that were not kept.
    truncated
        Whether anything it wrote was left out.
    """

    level: str
    mode: str
    network: bool = False
    duration_s: float = 0.0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    truncated: bool = False


Outcome = Literal["exit", "timeout", "killed", "refused", "error"]


class CommandExecution(ItemBase, frozen=True, kw_only=True, tag="command_execution"):
    """A program that the agent ran in the kernel's sandbox.

    Parameters
    ----------
    command
        The argument list, or one string for ``/bin/sh -c``.
    output
        Both streams in the order they arrived, without what the runner left out.
    outcome
        How it ended; `exit_code` is there for ``exit`` only.
    asked, decision
        What exceeded the policy, and what the approver answered.
    """

    command: tuple[str, ...] | str
    cwd: str = ""
    reason: str = ""
    output: Text = EMPTY
    outcome: Outcome | None = None
    exit_code: int | None = None
    message: str = ""
    asked: tuple[str, ...] = ()
    decision: str | None = None
    receipt: Receipt | None = None


class Change(Value, frozen=True, kw_only=True):
    """One file of a file change; `diff` is a unified diff."""

    path: str
    kind: str
    diff: str = ""


class FileChange(ItemBase, frozen=True, kw_only=True, tag="file_change"):
    """An edit."""

    changes: tuple[Change, ...] = ()


class ToolCall(ItemBase, frozen=True, kw_only=True, tag="tool_call"):
    """Any other tool the agent used; `arguments` is JSON text."""

    tool: str
    arguments: str = ""
    output: Text = EMPTY


class PlanStep(Value, frozen=True, kw_only=True):
    """One line of a plan."""

    text: str
    status: Literal["pending", "in_progress", "completed"] = "pending"


class Plan(ItemBase, frozen=True, kw_only=True, tag="plan"):
    """What the agent means to do: steps, or a proposal as text."""

    steps: tuple[PlanStep, ...] = ()
    text: Text = EMPTY


class WebSearch(ItemBase, frozen=True, kw_only=True, tag="web_search"):
    """A search the model's host made."""

    query: str = ""


class UnknownItem(ItemBase, frozen=True, kw_only=True, tag="unknown"):
    """A kind of item that this version does not know, kept as it came."""

    kind: str = ""
    text: Text = EMPTY
    data: dict[str, Any] = {}


Item = (
    UserMessage
    | AgentMessage
    | Reasoning
    | CommandExecution
    | FileChange
    | ToolCall
    | Plan
    | WebSearch
    | UnknownItem
)

CHANNELS: Final[Mapping[type[ItemBase], frozenset[str]]] = {
    UserMessage: frozenset({"text"}),
    AgentMessage: frozenset({"text"}),
    Reasoning: frozenset({"summary", "content"}),
    CommandExecution: frozenset({"output"}),
    FileChange: frozenset(),
    ToolCall: frozenset({"output"}),
    Plan: frozenset({"text"}),
    WebSearch: frozenset(),
    UnknownItem: frozenset({"text"}),
}
"""The channels a delta can name, for each kind: the fields that hold growing text."""


def texts(items: Iterable[ItemBase]) -> str:
    """Return all growing text of `items`, drafts included, in order."""
    return "".join(
        str(getattr(item, channel))
        for item in items
        for channel in (*sorted(CHANNELS[type(item)]), "draft")
    )
