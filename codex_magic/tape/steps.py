"""What a server does for one request, as values: a whole answer, or steps in time."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_magic.tape.request import Shape

Event = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Gate:
    """Wait until the gate of this name is opened."""

    name: str


@dataclass(frozen=True, slots=True)
class Cut:
    """Drop the connection."""


@dataclass(frozen=True, slots=True)
class Step:
    """What to do next, after a delay."""

    delay_s: float
    act: Event | Gate | Cut


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole HTTP answer."""

    status: int
    body: dict[str, Any]
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that arrives step by step.

    Parameters
    ----------
    number
        Tells it from the others of one server; what is measured of it goes by this.
    """

    steps: tuple[Step, ...]
    headers: tuple[tuple[str, str], ...] = ()
    number: int = 0


@dataclass(frozen=True, slots=True)
class Setting:
    """What a response takes from the request and the lesson.

    Parameters
    ----------
    stem
        Goes into every id. It must be new for each response: Codex keys what it shows by ids.
    words_per_s
        Pace of texts; infinity for tests.
    input_words
        What the bill says was read.
    asked
        The body of the request, of which a response repeats a part.
    chatgpt
        Whether ChatGPT's host is played, which says at the end nothing of what it said before.
    created_at
        When the response began, in seconds since the epoch.
    """

    shape: Shape
    stem: str
    model: str = ""
    words_per_s: float = float("inf")
    input_words: int = 0
    asked: Mapping[str, Any] = field(default_factory=dict)
    chatgpt: bool = False
    created_at: float = 0
