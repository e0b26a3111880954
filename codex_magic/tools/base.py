"""What a tool is: described to a model, prepared from its arguments, run under a policy.

Preparing checks and says what the call would exceed; running does it. In between stands whoever
decides. A tool knows neither backends nor displays: it emits events and returns text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

from codex_magic.events import Event

if TYPE_CHECKING:
    import threading

    from codex_magic.items import Item, Streams
    from codex_magic.policy import Excess, Grant, Permission
    from codex_magic.tools.ask_user import QuestionCall
    from codex_magic.turn import TurnRequest

Emit = Callable[[Event], None]


class ArgumentsError(ValueError):
    """A model's arguments that do not fit; the text is the model's to read."""


BEYOND: Final = "nobody may allow that"


class BeyondError(ArgumentsError):
    """A call that asks for what nobody may allow."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a call ended: the finished item, and the text that the model gets.

    Parameters
    ----------
    images
        ``data:`` URLs of images that the model gets beside the text.
    streams
        What a command wrote, apart; None for what was not run.
    """

    item: Item
    text: str
    success: bool
    images: tuple[str, ...] = ()
    streams: Streams | None = None


class Call(Protocol):
    """One call of a tool, checked and ready.

    `asks` names in words what exceeds the policy; `harmless` says that a cautious person would
    not want to be asked about it.
    """

    @property
    def item(self) -> Item:
        """The item that shows the call."""
        ...

    @property
    def asks(self) -> tuple[str, ...]:
        """What exceeds the policy."""
        ...

    @property
    def excess(self) -> Excess | None:
        """The same as `asks` for programs; None where only a person can judge it."""
        ...

    @property
    def harmless(self) -> bool:
        """Whether it only looks."""
        ...

    @property
    def forbidden(self) -> str:
        """Why nobody may allow it; empty where somebody may."""
        ...

    @property
    def grant(self) -> Grant | None:
        """What may be allowed for the kernel's life; None where each call must be looked at."""
        ...

    def run(self, emit: Emit, stop: threading.Event, permission: Permission) -> Outcome:
        """Do it, in the OS thread of the caller, until it ends or `stop` is set."""
        ...

    def decline(self, reason: str, permission: Permission) -> Outcome:
        """Return the outcome of not doing it; `permission` is who said no."""
        ...


class Tool(Protocol):
    """A tool."""

    name: str
    description: str
    parameters: Mapping[str, Any]

    def prepare(self, call_id: str, arguments: Any, request: TurnRequest) -> Call | QuestionCall:
        """Check the arguments.

        Raises
        ------
        ArgumentsError
            They do not fit.
        """
        ...
