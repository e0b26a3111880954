"""The commands of a shell text: what stands between its operators and reserved words."""

from __future__ import annotations

import posixpath
import re
from itertools import takewhile
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.rules.shelltext.builtins import NAME, PASSED_OVER, RESERVED, objection
from codex_magic.sandbox.rules.shelltext.cursor import Notes
from codex_magic.sandbox.rules.shelltext.redirections import Redirections
from codex_magic.sandbox.rules.shelltext.values import SHELLS, Reading, Unreadable
from codex_magic.sandbox.rules.shelltext.variables import evaluated, steers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_magic.sandbox.rules.shelltext.words import Word

ASSIGNED: Final = re.compile(r"([A-Za-z_]\w*)=", re.ASCII)
ODDLY_ASSIGNED: Final = re.compile(r"[A-Za-z_]\w*(?:\+=|\[)", re.ASCII)


def survey(text: str) -> Reading:
    """Return all that can be read of `text`, whether or not it is everything."""
    notes = Notes()
    try:
        Commands(text, notes, 0).commands()
    except Unreadable as error:
        notes.unclear.append(error.reason)
    return Reading(tuple(notes.commands), tuple(notes.writes), next(iter(notes.unclear), ""))


class Commands(Redirections):
    """Reads commands."""

    __slots__ = ()

    def commands(self, closer: str = "") -> None:
        """Read commands up to `closer`, or to the end of the text without one."""
        open_groups = 0
        while True:
            char = self._after_blanks()
            if self._text.startswith("((", self._at):
                raise Unreadable("arithmetic is not followed")
            if char == ")" and not open_groups and closer:
                self._at += 1
                break
            if not char:
                break
            if char in "()":
                open_groups += 1 if char == "(" else -1
                self._at += 1
            elif char == "\n":
                self._newline()
            elif char in ";&|":
                self._at += 1
            else:
                self._simple()
            if open_groups < 0:
                raise Unreadable("a closing bracket has no opening one")
        if open_groups or (closer and not char) or self._pending:
            raise Unreadable("a bracket or a here-document is not closed")

    def _simple(self) -> None:
        """Read one simple command, or the reserved word in its place."""
        words: list[Word] = []
        begun = document = False
        while (char := self._after_blanks()) and char not in "\n;|)":
            if char == "&":
                if self._text.startswith("&>", self._at):
                    self._both_redirected()
                break
            if char == "(":
                raise Unreadable("a function, an array or a pattern in brackets is not followed")
            if char in "<>" and not self._substitutes():
                document |= self._redirected()
            else:
                word = self._process() if char in "<>" else self._word()
                if not begun and self._reserved(word):
                    return
                if not self._descriptor(word):
                    words.append(word)
            begun = True
        self._command(words, document=document)

    def _reserved(self, word: Word) -> bool:
        """Deal with a reserved word in the place of a program; say whether it was one."""
        if not word.bare:
            return False
        if word.text == "for":
            self._for()
            return True
        if word.text in RESERVED - PASSED_OVER:
            raise Unreadable(f"{word.text} is not followed")
        return word.text in PASSED_OVER

    def _command(self, words: Sequence[Word], *, document: bool) -> None:
        """Note the command that `words` make, and what is unclear about it."""
        assigned = list(takewhile(lambda word: ASSIGNED.match(word.plain), words))
        rest = words[len(assigned) :]
        command = tuple(word.value() for word in rest)
        self._assigned(assigned, reads=command[:1] == ("read",))
        if not command:
            return
        self._notes.commands.append(command)
        if ODDLY_ASSIGNED.match(rest[0].plain):
            self._unclear("an array or a += is not followed")
        if any(word.bare and word.text == "{" for word in rest):
            self._unclear("a { in this place is not followed")
        if document and any(posixpath.basename(word) in SHELLS for word in command):
            self._unclear("a here-document is handed to a shell")
        if reason := objection(command):
            self._unclear(reason)

    def _assigned(self, words: Sequence[Word], *, reads: bool) -> None:
        """Note what is unclear about assignments before a command, or without one."""
        for word in words:
            name, _, value = word.text.partition("=")
            # `IFS= read` sets it for that one builtin.
            if steers(name, None if word.expanded else value) and not (reads and name == "IFS"):
                self._unclear(f"{name} steers which programs run")
            if evaluated(value):
                self._unclear(f"{name} may be evaluated later")

    def _for(self) -> None:
        """Read ``for NAME in WORDS`` up to what ends the words."""
        self._blanks()
        if not (name := NAME.match(self._text, self._at)) or steers(name[0]):
            raise Unreadable("this kind of for is not followed")
        self._at = name.end()
        while self._after_blanks() == "\n":
            self._newline()
        if self._peek() == ";":
            return
        word = self._word()
        if word.bare and word.text == "do":
            return
        if not word.bare or word.text != "in":
            raise Unreadable("this kind of for is not followed")
        while (char := self._after_blanks()) and char not in "\n;":
            if char in "&|()<>":
                raise Unreadable("this kind of for is not followed")
            self._word()
