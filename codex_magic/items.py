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
    Its length counts characters, as that of a string does.
    """

    __slots__ = ("_count", "_joined", "_length", "_pieces")

    def __init__(self, *pieces: str) -> None:
        self._pieces = list(pieces)
        self._count = len(self._pieces)
        self._length = sum(map(len, self._pieces))
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
        longer._length = self._length + len(piece)
        return longer

    def after(self, shorter: Text) -> str | None:
        """Return what this text says behind `shorter`, or None where it does not go on from it.

        A text that has grown out of `shorter` is not read again from its beginning.
        """
        if self._pieces is shorter._pieces:
            if self._count < shorter._count:
                return None
            return "".join(self._pieces[shorter._count : self._count])
        begun, whole = str(shorter), str(self)
        return whole[len(begun) :] if whole.startswith(begun) else None

    def __len__(self) -> int:
        return self._length

    def __str__(self) -> str:
        if self._joined is None:
            self._joined = "".join(self._pieces[: self._count])
        return self._joined

    def __repr__(self) -> str:
        return f"Text({str(self)!r})"

    def __bool__(self) -> bool:
        return self._length > 0

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
    """What the person said, at the start of a turn or while it ran; `images` are their names."""

    text: Text = EMPTY
    images: tuple[str, ...] = ()


class AgentMessage(ItemBase, frozen=True, kw_only=True, tag="agent_message"):
    """What the agent said.

    Parameters
    ----------
    phase
        Tells a remark on the way from the answer.
    refused
        Whether it says that the model will not do what was asked.
    """

    text: Text = EMPTY
    refused: bool = False
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
    mechanism
        What did it, in words.
    mode
        The sandbox mode it ran under.
    network
        Whether it had the machine's network.
    policy_hash
        The beginning of the SHA-256 of its sandbox policy; two commands under the same policy
        have the same.
    decision, decided_by
        Whether it might run, and who said so: a person, a policy, a rule.
    duration_s
        Seconds from start to end.
    cpu_s, peak_memory_bytes
        What all its processes used together; of memory the most that was seen at one time.
    stdout_bytes, stderr_bytes
        Bytes it wrote, also those that were not kept.
    stdout_sha256, stderr_sha256
        Of all these bytes; empty where there are none.
    truncated
        Whether anything it wrote was left out.
    created, changed, deleted
        Paths below the workspace and the writable folders, at most `FILES_NAMED` of each kind.
    files_more
        How many further ones there were; -1 where there is too much to compare.
    quarantined
        What was put aside because other programs would have obeyed it, and where it is now.
    restored
        What was put back as it had been.
    protected
        Protected files that are not as they were before, changed by it or by somebody else.
    imported
        Changed files that the kernel has imported.
    network_refused
        How often it tried to reach a network that it did not have.
    notes
        What of the policy this machine could not do, in words.
    """

    level: str
    mode: str
    mechanism: str = ""
    network: bool = False
    policy_hash: str = ""
    decision: str = ""
    decided_by: str = ""
    duration_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_sha256: str = ""
    stderr_sha256: str = ""
    truncated: bool = False
    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    files_more: int = 0
    quarantined: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    imported: tuple[str, ...] = ()
    network_refused: int = 0
    notes: tuple[str, ...] = ()


FILES_NAMED: Final = 20


Outcome = Literal["exit", "timeout", "killed", "refused", "error"]


class Streams(Value, frozen=True, kw_only=True):
    """What a command wrote, apart; `exit_code` is None where it did not end by itself."""

    stdout: str = ""
    stderr: str = ""
    exit_code: int | None = None
    timed_out: bool = False


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


CELL_ADDED: Final = "add cell"
CELL_EDITED: Final = "edit cell"
"""The kinds of a change to the notebook itself; its path is the cell's id."""


class FileChange(ItemBase, frozen=True, kw_only=True, tag="file_change"):
    """An edit.

    Parameters
    ----------
    changes
        What became of the files; until it has been made, and where it was declined, what was
        proposed: then a diff is in the words of the proposal.
    message
        What went wrong, in one sentence.
    asked, decision
        What exceeded the policy, and what the approver answered.
    receipt
        What the program that made it did.
    """

    changes: tuple[Change, ...] = ()
    cwd: str = ""
    reason: str = ""
    message: str = ""
    asked: tuple[str, ...] = ()
    decision: str | None = None
    receipt: Receipt | None = None


class ToolCall(ItemBase, frozen=True, kw_only=True, tag="tool_call"):
    """Any other tool the agent used; `arguments` is JSON text."""

    tool: str
    arguments: str = ""
    output: Text = EMPTY


class Question(ItemBase, frozen=True, kw_only=True, tag="question"):
    """Something the agent asked the person.

    Parameters
    ----------
    options
        Answers it offered; a person may give another.
    answer, answered_by
        What was said, and who said it: a person, or a policy in the place of one.
    """

    question: str
    options: tuple[str, ...] = ()
    answer: str = ""
    answered_by: str = ""


class PlanStep(Value, frozen=True, kw_only=True):
    """One line of a plan."""

    text: str
    status: Literal["pending", "in_progress", "completed"] = "pending"


class Plan(ItemBase, frozen=True, kw_only=True, tag="plan"):
    """What the agent means to do: steps, or a proposal as text."""

    steps: tuple[PlanStep, ...] = ()
    text: Text = EMPTY


class Compaction(ItemBase, frozen=True, kw_only=True, tag="compaction"):
    """The thread had become too long: what was said so far is now this summary, where it is known."""

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
    | Question
    | Plan
    | Compaction
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
    Question: frozenset(),
    Plan: frozenset({"text"}),
    Compaction: frozenset({"text"}),
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
