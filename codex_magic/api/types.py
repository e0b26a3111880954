"""The SDK's words for what goes in and comes out: enums, and what its methods answer with.

Plain frozen values over those of this package, with the SDK's names on them; nothing here acts. What
a turn came to is a `codex_magic.turn.Turn`, which `TurnResult` is another name of. What a stream
says can be had from here as well; it stands in `codex_magic.api.notifications`.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from codex_magic.backends import base
from codex_magic.events import TurnError, Usage
from codex_magic.items import Item
from codex_magic.turn import Turn

__all__ = [
    "Account",
    "AccountLoginCompletedNotification",
    "ApprovalMode",
    "CancelLoginAccountResponse",
    "CancelLoginAccountStatus",
    "GetAccountResponse",
    "InitializeResponse",
    "JsonObject",
    "Model",
    "ModelListResponse",
    "Personality",
    "ReasoningEffort",
    "ReasoningEffortOption",
    "ReasoningSummary",
    "Sandbox",
    "ServerInfo",
    "StoredThread",
    "ThreadArchiveResponse",
    "ThreadCompactStartResponse",
    "ThreadItem",
    "ThreadListResponse",
    "ThreadReadResponse",
    "ThreadSetNameResponse",
    "Turn",
    "TurnError",
    "TurnInterruptResponse",
    "TurnResult",
    "TurnStatus",
    "TurnSteerResponse",
    "Usage",
]

TurnResult = Turn
ThreadItem = Item
Account = base.Account
JsonObject = dict[str, Any]


class Word(enum.StrEnum):
    """A word of a fixed list, equal to its own text."""

    @classmethod
    def model_validate(cls, value: str) -> Self:
        """Return the word that `value` is."""
        return cls(value)


class Sandbox(Word):
    """What the agent's commands may touch."""

    read_only = "read-only"
    workspace_write = "workspace-write"
    workspace = "workspace-write"
    full_access = "full-access"


class ApprovalMode(Word):
    """Whether anybody is asked when a command wants more than its sandbox gives.

    Here no model reviews approvals: `auto_review` asks the `approver`, as ``on-request`` does, and
    declines where there is none.
    """

    deny_all = "deny_all"
    auto_review = "auto_review"


class ReasoningEffort(Word):
    """How hard a model thinks; a word that only a newer model knows is one as well."""

    none = "none"
    minimal = "minimal"
    low = "low"
    medium = "medium"
    high = "high"
    xhigh = "xhigh"
    max = "max"
    ultra = "ultra"

    @classmethod
    def _missing_(cls, value: object) -> ReasoningEffort | None:
        if not isinstance(value, str) or not value:
            return None
        word = str.__new__(cls, value)
        word._name_ = word._value_ = value
        return word


class ReasoningSummary(Word):
    """How much of its thoughts a model tells."""

    auto = "auto"
    concise = "concise"
    detailed = "detailed"
    none = "none"


class Personality(Word):
    """In which tone the SDK has a model speak; it means nothing here."""

    none = "none"
    friendly = "friendly"
    pragmatic = "pragmatic"


class TurnStatus(Word):
    """How far a turn is."""

    completed = "completed"
    interrupted = "interrupted"
    failed = "failed"
    in_progress = "inProgress"


class CancelLoginAccountStatus(Word):
    """Whether there was a sign-in to give up."""

    canceled = "canceled"
    not_found = "notFound"


@dataclass(frozen=True)
class Reply:
    """What a method of the SDK answers with."""

    def model_dump(self, **_how: Any) -> dict[str, Any]:
        """Return it as a mapping."""
        return asdict(self)


@dataclass(frozen=True)
class TurnSteerResponse(Reply):
    """What was said has been handed to the running turn."""

    turn_id: str


@dataclass(frozen=True)
class TurnInterruptResponse(Reply):
    """The turn has been asked to stop."""


@dataclass(frozen=True)
class ThreadArchiveResponse(Reply):
    """The thread is off the list."""


@dataclass(frozen=True)
class ThreadSetNameResponse(Reply):
    """The thread is called so."""


@dataclass(frozen=True)
class ThreadCompactStartResponse(Reply):
    """The thread is being made shorter."""


@dataclass(frozen=True)
class ServerInfo(Reply):
    """What runs the turns."""

    name: str
    version: str


@dataclass(frozen=True)
class InitializeResponse(Reply):
    """What `Codex.metadata` tells."""

    server_info: ServerInfo

    @property
    def serverInfo(self) -> ServerInfo:  # noqa: N802 - the SDK's spelling
        """The same in the SDK's spelling."""
        return self.server_info


class GetAccountResponse(base.Account):
    """Who pays for the turns; in the SDK's words as well."""

    __slots__ = ()

    @classmethod
    def of(cls, account: base.Account) -> Self:
        """Return `account` with these words."""
        return cls(**_fields(account))

    @property
    def account(self) -> base.Account | None:
        """Who is signed in; None where nobody is."""
        return self if self.kind else None

    @property
    def requires_openai_auth(self) -> bool:
        """Whether somebody has to sign in before a turn."""
        return self.needed


@dataclass(frozen=True)
class AccountLoginCompletedNotification(Reply):
    """How a sign-in ended."""

    success: bool
    error: str | None = None
    login_id: str = ""


@dataclass(frozen=True)
class CancelLoginAccountResponse(Reply):
    """What became of a sign-in that was given up."""

    status: CancelLoginAccountStatus


@dataclass(frozen=True)
class ReasoningEffortOption(Reply):
    """An effort that a model offers."""

    reasoning_effort: ReasoningEffort
    description: str = ""


class Model(base.Model):
    """A model that can be asked for; in the SDK's words as well."""

    __slots__ = ()

    @classmethod
    def of(cls, model: base.Model) -> Self:
        """Return `model` with these words."""
        return cls(**_fields(model))

    @property
    def model(self) -> str:
        """What it is asked for by."""
        return self.id

    @property
    def display_name(self) -> str:
        """What a person calls it."""
        return self.name or self.id

    @property
    def supported_reasoning_efforts(self) -> list[ReasoningEffortOption]:
        """The efforts it offers."""
        return [ReasoningEffortOption(ReasoningEffort(effort)) for effort in self.efforts]

    @property
    def default_reasoning_effort(self) -> ReasoningEffort | None:
        """The effort it takes where none is named."""
        return ReasoningEffort(self.default_effort) if self.default_effort else None

    @property
    def upgrade(self) -> None:
        """The model that follows it; nobody tells."""


class ModelListResponse(tuple[Model, ...]):
    """The models there are: a tuple, and `data` as the SDK has it."""

    __slots__ = ()

    @property
    def data(self) -> list[Model]:
        """The models."""
        return list(self)


@dataclass(frozen=True)
class StoredThread(Reply):
    """A stored thread; `turns` is filled where they were asked for.

    Parameters
    ----------
    preview
        The beginning of what was first said.
    origin
        Which program began it.
    ours
        Whether it has this package's tools, so that it goes on without being copied.
    updated_at
        In seconds since the epoch.
    """

    id: str
    preview: str = ""
    cwd: str = ""
    origin: str = ""
    updated_at: float = 0.0
    ours: bool = True
    turns: tuple[base.StoredTurn, ...] = ()

    @classmethod
    def of(cls, thread: base.StoredThread) -> Self:
        """Return a row of a backend's list."""
        known = _fields(thread)
        return cls(id=known.pop("thread_id"), **known)


class ThreadListResponse(tuple[StoredThread, ...]):
    """Stored threads: a tuple, and `data` as the SDK has it."""

    __slots__ = ()
    next_cursor = None

    @property
    def data(self) -> list[StoredThread]:
        """The threads."""
        return list(self)


@dataclass(frozen=True)
class ThreadReadResponse(Reply):
    """What `Thread.read` tells."""

    thread: StoredThread


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def __getattr__(name: str) -> Any:
    from codex_magic.api import notifications  # noqa: PLC0415 - takes long, and few programs name one

    if name in notifications.__all__:
        return getattr(notifications, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
