"""What a backend is.

A backend is only a brain: it reports events and asks for tools; it runs nothing on this machine.
Its methods may be called from any OS thread; what it has to report it puts into the mailbox.
"""

from __future__ import annotations

import queue
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, Protocol

from codex_magic.errors import CellError
from codex_magic.events import Event, Notice

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_magic.items import Streams
    from codex_magic.notebook.records import Kept
    from codex_magic.turn import TurnRequest


class ThreadMissingError(CellError):
    """There is no such thread."""


Mailbox = queue.SimpleQueue[Event]


@dataclass(frozen=True, slots=True)
class ToolSpec:
    """A tool as a model is offered it; `parameters` is a JSON Schema."""

    name: str
    description: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToolAnswer:
    """What a tool call came to, in text that the model reads.

    Parameters
    ----------
    images
        ``data:`` URLs of images that belong to it.
    streams
        The same of a command, for models that have a shell of their own in mind.
    """

    text: str
    success: bool = True
    images: tuple[str, ...] = ()
    streams: Streams | None = None


@dataclass(frozen=True, slots=True)
class Seat:
    """A thread that is ready for a turn.

    Parameters
    ----------
    notices
        How it came to be, where that is worth a line: resumed, copied, forked.
    forked
        Whether it is a fork because another program has the thread open.
    """

    thread_id: str
    model: str
    notices: tuple[Notice, ...] = ()
    forked: bool = False


@dataclass(frozen=True, slots=True)
class Start:
    """Where a thread stands before a turn.

    Parameters
    ----------
    known
        The id of the stored thread to go on with; None for a new one.
    branch
        The turn in it after which a thread of its own begins; empty to go on with `known` itself.
    turns
        What the notebook keeps of the turns so far. Their text begins a new thread where `known` is
        None, or stored no more.
    why
        Why `known` is None although there are turns.
    title
        What a new thread is called in the backend's list; empty for nothing.
    """

    known: str | None = None
    branch: str = ""
    turns: tuple[Kept, ...] = ()
    why: str = ""
    title: str = ""


@dataclass(frozen=True, slots=True)
class StoredTurn:
    """A turn as a backend keeps it: where, and pairs of ``user`` or ``agent`` and what was said."""

    turn_id: str
    thread_id: str
    said: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Account:
    """Who pays for the turns; `kind` is empty where nobody is signed in.

    Parameters
    ----------
    kind
        ``chatgpt``, ``apiKey`` or another word of the backend's.
    detail
        Who that is, in words without a secret.
    plan
        What the account has booked.
    source
        Where the credential comes from, in words.
    expires_at
        When it must be renewed, in seconds since the epoch; None where that is not known.
    """

    kind: str = ""
    detail: str = ""
    needed: bool = True
    plan: str = ""
    source: str = ""
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Model:
    """A model that can be asked for.

    Parameters
    ----------
    context_tokens
        How much it can read; 0 where nobody says.
    sees_images
        Whether it takes images; None where nobody says.
    """

    id: str
    name: str = ""
    description: str = ""
    efforts: tuple[str, ...] = ()
    default_effort: str = ""
    context_tokens: int = 0
    sees_images: bool | None = True
    hidden: bool = False
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Window:
    """A limit that fills up and empties; `resets_at` is in seconds since the epoch.

    Parameters
    ----------
    length_s
        How long it is; 0 where nobody says.
    name
        What it limits, where that is not everything.
    """

    used_percent: float
    length_s: int
    resets_at: float | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class Quota:
    """How much of an account's limits is used; `credits` and `reached` are words, or empty."""

    plan: str = ""
    windows: tuple[Window, ...] = ()
    credits: str = ""
    reached: str = ""


class SignIn(Protocol):
    """A sign-in that waits for a person.

    Parameters
    ----------
    url
        Where the person signs in.
    code
        What is typed in there; empty where the address says it all.
    who
        Who has signed in, in words, as soon as somebody has; empty where `Backend.account` says it.
    """

    url: str
    code: str
    who: str

    def wait(self, timeout_s: float) -> bool:
        """Wait for the person and return whether they have signed in by now.

        Raises
        ------
        SetupError
            They cannot sign in this way, or have refused.
        """
        ...

    def cancel(self) -> None:
        """Give it up; nothing is left running.

        Where the person has signed in by then, that stands, and `wait` says so.
        """
        ...


SignInWay = Literal["device", "browser"]


@dataclass(frozen=True, slots=True)
class StoredThread:
    """A row of a backend's list of threads; `updated_at` is in seconds since the epoch."""

    thread_id: str
    preview: str
    cwd: str
    origin: str
    updated_at: float
    ours: bool


@dataclass(frozen=True, slots=True)
class TurnInput:
    """One turn's input: the person's words, and what the model is told beside them.

    Parameters
    ----------
    context
        Our own notes to the model, by name.
    project
        Text of the project, by name; the model gets it marked as untrusted.
    """

    request: TurnRequest
    context: Mapping[str, str] = field(default_factory=dict)
    project: Mapping[str, str] = field(default_factory=dict)


class Backend(Protocol):
    """Where turns run."""

    name: str

    def seat(self, request: TurnRequest, start: Start) -> Seat:
        """Return the thread for `request`: the one to go on with, another stored one, or a new one."""
        ...

    def start_turn(self, seat: Seat, turn: TurnInput, mailbox: Mailbox) -> None:
        """Start a turn; its events arrive in `mailbox`, the last a `TurnCompleted`."""
        ...

    def answer(self, request_id: Any, answer: ToolAnswer) -> None:
        """Answer a `ToolCallRequested`; too late is not an error."""
        ...

    def interrupt(self) -> None:
        """Ask the running turn to stop; it still completes, as interrupted."""
        ...

    def steer(self, text: str) -> None:
        """Add `text` to the running turn; it is reported as an item.

        Raises
        ------
        CodexMagicError
            It could not be added.
        """
        ...

    def compact(self, thread_id: str) -> None:
        """Have a thread that was seated here made shorter, and wait for that.

        Raises
        ------
        CellError
            It is not open here, or a turn of it is running.
        BackendError
            It could not be done; the thread is as it was.
        """
        ...

    def threads(
        self, cwd: str | None, limit: int = 20, *, archived: bool = False
    ) -> Sequence[StoredThread]:
        """Return the stored threads of a folder, or of all, the newest first; or those put away."""
        ...

    def turns(self, thread_id: str) -> Sequence[StoredTurn]:
        """Return the turns of a stored thread, and of those it goes on from, the oldest first.

        Raises
        ------
        ThreadMissingError
            There is no such thread.
        """
        ...

    def rename(self, thread_id: str, title: str) -> None:
        """Call a stored thread something else in the list."""
        ...

    def archive(self, thread_id: str) -> None:
        """Take a thread off the list; it can be taken up again by its id.

        Raises
        ------
        ThreadMissingError
            There is no such thread.
        """
        ...

    def delete(self, thread_id: str) -> None:
        """Remove a stored thread for good; likewise."""
        ...

    def account(self) -> Account:
        """Return who is signed in."""
        ...

    def sign_in(self, way: SignInWay) -> SignIn:
        """Begin to sign a person in; the caller waits, or cancels.

        Raises
        ------
        SetupError
            It cannot be done here.
        """
        ...

    def sign_in_with_key(self, key: str) -> None:
        """Keep an API key for this and later kernels."""
        ...

    def sign_out(self) -> bool:
        """Revoke and forget what a sign-in brought; return whether there was one."""
        ...

    def models(self) -> Sequence[Model]:
        """Return the models that can be asked for, those that nobody lists included."""
        ...

    def quota(self) -> Quota:
        """Return how much of the account's limits is used.

        Raises
        ------
        BackendError, SetupError
            The backend cannot tell.
        """
        ...

    def close(self) -> None:
        """End everything this backend started."""
        ...


def instructions() -> str:
    """Return what every model is told about living in a notebook."""
    return files("codex_magic").joinpath("instructions.md").read_text(encoding="utf-8")
