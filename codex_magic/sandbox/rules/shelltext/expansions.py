"""What a shell puts in place of ``$``, backquotes and ``<( )``: the texts within are read too."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from typing import Final

from codex_magic.sandbox.rules.shelltext.cursor import DEEPEST, Cursor
from codex_magic.sandbox.rules.shelltext.values import Unreadable
from codex_magic.sandbox.rules.shelltext.variables import steers

SIMPLE: Final = re.compile(r"\$(?:[A-Za-z_]\w*|[0-9@*#?$!-])", re.ASCII)
# Names are missing: a shell evaluates what is in them.
SUM: Final = re.compile(r"\$\(\([0-9\s+*/%<>=!&|^~?:,-]*\)\)", re.ASCII)
BRACED: Final = re.compile(
    r"\$\{#?([A-Za-z_]\w*|[0-9]+|[@*#?$!-])(?:\[(?:[0-9]+|[@*])\])?", re.ASCII
)
OPERATION: Final = re.compile(
    r":(?:[0-9]+| -[0-9]+)(?::-?[0-9]+)?(?=\})|:?[-+?=]|##?|%%?|//?|\^\^?|,,?", re.ASCII
)
BACKQUOTED: Final = re.compile(r"`([^`\\]*)`")
DECODED: Final = re.compile(r"\$'((?:[^'\\]|\\[^'])*)'")
BEFORE_EXPANSION: Final = re.compile(r"[\w@*#?$!({+^=~\[-]", re.ASCII)


class Expansions(Cursor, ABC):
    """Reads expansions; each method says the text as written and whether it will change."""

    __slots__ = ()

    @abstractmethod
    def commands(self, closer: str = "") -> None:
        """Read commands up to `closer`, or to the end of the text without one."""

    def _dollar(self, *, quoted: bool) -> tuple[str, bool]:
        """Read what begins with a dollar sign."""
        start = self._at
        following = self._text[start + 1 : start + 2]
        if found := SUM.match(self._text, start) or SIMPLE.match(self._text, start):
            self._at = found.end()
        elif following == "[" or self._text.startswith("$((", start):
            raise Unreadable("arithmetic with names is not followed")
        elif following == "(":
            self._nested()
        elif following == "{":
            self._parameter()
        elif following == "'" and not quoted:
            if not (found := DECODED.match(self._text, start)):
                raise Unreadable("shells disagree on this quote")
            self._at = found.end()
            return (found[0] if "\\" in found[1] else found[1]), True
        elif following == '"' and not quoted:
            raise Unreadable("shells disagree on this quote")
        else:
            self._at += 1
            return "$", bool(BEFORE_EXPANSION.match(following))
        return self._text[start : self._at], True

    def _parameter(self) -> None:
        """Read ``${NAME}``, ``${NAME:-word}`` and their like."""
        found = BRACED.match(self._text, self._at)
        if not found or self._depth >= DEEPEST:
            raise Unreadable("this kind of ${ } is not followed")
        self._at = found.end()
        if self._peek() == "}":
            self._at += 1
            return
        operation = OPERATION.match(self._text, self._at)
        if not operation or (operation[0].endswith("=") and steers(found[1])):
            raise Unreadable("this kind of ${ } is not followed")
        self._at = operation.end()
        self._depth += 1
        while (char := self._peek()) != "}":
            if not char or char in "'\"\\{(<>":
                raise Unreadable("quotes and brackets within ${ } are not followed")
            if char in "$`":
                self._expansion()
            else:
                self._at += 1
        self._at += 1
        self._depth -= 1

    def _expansion(self) -> tuple[str, bool]:
        """Read what begins with a dollar sign or a backquote, within quotes."""
        return self._dollar(quoted=True) if self._peek() == "$" else self._backquoted(quoted=True)

    def _backquoted(self, *, quoted: bool) -> tuple[str, bool]:
        found = BACKQUOTED.match(self._text, self._at)
        if not found or (quoted and '"' in found[1]):
            raise Unreadable("quotes and backslashes within backquotes are not followed")
        self._at = found.end()
        type(self)(found[1], self._notes, self._depth + 1).commands()
        return found[0], True

    def _nested(self) -> None:
        """Read the commands in brackets that follow ``$(``, ``<(`` or ``>(``."""
        if self._depth >= DEEPEST:
            raise Unreadable("commands stand too deep within each other")
        pending, self._pending = self._pending, []
        self._depth += 1
        self._at += 2
        start = self._at
        self.commands(")")
        self._depth -= 1
        if pending and "\n" in self._text[start : self._at]:
            raise Unreadable("shells disagree on where this here-document begins")
        self._pending = pending
