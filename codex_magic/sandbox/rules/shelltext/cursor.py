"""A place in a shell text, and what was found on the way to it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from codex_magic.sandbox.rules.shelltext.values import Unreadable

DEEPEST: Final = 16
LONGEST: Final = 500_000
BLANKS: Final = re.compile(r"(?:[ \t]|\\\n)+")


@dataclass(slots=True)
class Notes:
    """What the readers of one text, and of the texts within it, have found."""

    commands: list[tuple[str, ...]] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    unclear: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Document:
    """A here-document that is announced, and begins with the next line.

    Parameters
    ----------
    literal
        Whether nothing in it is expanded.
    indented
        Whether tabs before its lines do not count.
    """

    delimiter: str
    literal: bool
    indented: bool


class Cursor:
    """One pass over one text.

    Raises
    ------
    Unreadable
        The text is no text for a shell, or stands too deep in others.
    """

    __slots__ = ("_at", "_depth", "_notes", "_pending", "_text")

    def __init__(self, text: str, notes: Notes, depth: int) -> None:
        if depth > DEEPEST:
            raise Unreadable("commands stand too deep within each other")
        if len(text) > LONGEST:
            raise Unreadable("the text is very long")
        if "\0" in text:
            raise Unreadable("the text holds a NUL character")
        self._text = text
        self._notes = notes
        self._depth = depth
        self._at = 0  # the next character
        self._pending: list[Document] = []

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _substitutes(self) -> bool:
        return self._text.startswith(("<(", ">("), self._at)

    def _after_blanks(self) -> str:
        self._blanks()
        return self._peek()

    def _blanks(self) -> None:
        """Go behind blanks, and behind a comment where a word could begin."""
        if found := BLANKS.match(self._text, self._at):
            self._at = found.end()
        if self._peek() == "#":
            end = self._text.find("\n", self._at)
            self._at = len(self._text) if end < 0 else end

    def _unclear(self, reason: str) -> None:
        """Note what is unclear about one command and go on to the next."""
        self._notes.unclear.append(reason)
