"""What a reading is made of: words that change, what was read, why it is not all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SHELLS: Final = frozenset(("sh", "bash", "zsh", "dash", "ksh", "ash", "mksh", "rbash"))


class Unreadable(Exception):  # noqa: N818 - the word its callers read
    """A text of which not every program can be told.

    Parameters
    ----------
    reason
        What is unclear, in words for a person.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Expanded(str):
    """A word whose value only the running shell knows, as it is written."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Reading:
    """What could be read of a text.

    Parameters
    ----------
    commands
        The simple commands in the order in which they are met; with `unclear`, perhaps not all.
    writes
        The files that redirections open for writing.
    unclear
        Why the commands may not be all; empty when they are.
    """

    commands: tuple[tuple[str, ...], ...]
    writes: tuple[str, ...]
    unclear: str
