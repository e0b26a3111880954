"""The words of a shell text: quotes, escapes, patterns, and the expansions between them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from codex_magic.sandbox.rules.shelltext.expansions import Expansions
from codex_magic.sandbox.rules.shelltext.values import Expanded, Unreadable

PLAIN: Final = re.compile(r"[^\s;&|()<>'\"\\$`]+")
BRACES: Final = re.compile(r"\{[^}]*(?:,|\.\.)")


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text.

    Parameters
    ----------
    text
        What stands in it, without its quotes.
    plain
        What stands before its first quote.
    bare
        Whether nothing in it is quoted.
    expanded
        Whether the shell will change it.
    """

    text: str
    plain: str
    bare: bool
    expanded: bool

    def value(self) -> str:
        """Return the word as it stands in a command."""
        return Expanded(self.text) if self.expanded else self.text


class Words(Expansions):
    """Reads words."""

    __slots__ = ()

    def _word(self) -> Word:
        """Read one word; it may be empty only when it is quoted."""
        start = self._at
        pieces: list[str] = []
        plain: str | None = None
        expanded = False
        while (char := self._peek()) and char not in " \t\n;&|()<>":
            if run := PLAIN.match(self._text, self._at):
                self._at = run.end()
                pieces.append(run[0])
                expanded |= _globs(run[0], first=run.start() == start)
                continue
            if char in "'\"\\$`" and not self._text.startswith("\\\n", self._at):
                plain = "".join(pieces) if plain is None else plain
            text, live = self._special(char)
            pieces.append(text)
            expanded |= live
        text = "".join(pieces)
        if self._at == start:
            raise Unreadable(f"{self._peek()!r} stands where a word should")
        if self._pending and "\n" in self._text[start : self._at]:
            raise Unreadable("shells disagree on where this here-document begins")
        if plain is None:
            expanded = text not in {"[", "[["} and (expanded or bool(BRACES.search(text)))
        return Word(text, text if plain is None else plain, plain is None, expanded)

    def _special(self, char: str) -> tuple[str, bool]:
        """Read one quoted or expanded piece of a word: its text, and whether it will change."""
        if char == "'":
            end = self._text.find("'", self._at + 1)
            if end < 0:
                raise Unreadable("a quote is not closed")
            text, self._at = self._text[self._at + 1 : end], end + 1
            return text, False
        if char == '"':
            self._at += 1
            return self._data('"')
        if char == "\\":
            text = self._text[self._at + 1 : self._at + 2]
            if not text:
                raise Unreadable("the text ends in a backslash")
            self._at += 2
            return ("" if text == "\n" else text), False
        if char == "$":
            return self._dollar(quoted=False)
        if char == "`":
            return self._backquoted(quoted=False)
        self._at += 1  # white space that no shell splits at
        return char, False

    def _data(self, closer: str) -> tuple[str, bool]:
        """Read what stands in double quotes, or in a here-document without a `closer`."""
        pieces: list[str] = []
        expanded = False
        while (char := self._peek()) != closer:
            if not char:
                raise Unreadable("a quote is not closed")
            escaped = self._text[self._at + 1 : self._at + 2]
            if char in "$`":
                text, live = self._expansion()
                expanded |= live
            elif char == "\\" and escaped and escaped in '$`"\\\n':
                text = "" if escaped == "\n" else escaped
                self._at += 2
            else:
                text = char
                self._at += 1
            pieces.append(text)
        self._at += len(closer)
        return "".join(pieces), expanded

    def _process(self) -> Word:
        """Read ``<(commands)`` or ``>(commands)``, which stands for a file."""
        start = self._at
        self._nested()
        if self._peek() and self._peek() not in " \t\n;&|)":
            raise Unreadable("words that touch a <( ) are not followed")
        return Word(self._text[start : self._at], "", bare=False, expanded=True)


def _globs(run: str, *, first: bool) -> bool:
    """Return whether unquoted text is a pattern, or the name of somebody's home."""
    home = first and run.startswith("~") and not run.startswith("~/")
    return home or any(char in run for char in "*?[")
