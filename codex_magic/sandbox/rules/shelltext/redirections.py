"""Where a command reads and writes: the files it opens, and the bodies of here-documents."""

from __future__ import annotations

import re
from typing import Final

from codex_magic.sandbox.rules.shelltext.cursor import Document
from codex_magic.sandbox.rules.shelltext.values import Unreadable
from codex_magic.sandbox.rules.shelltext.words import Word, Words

DIGITS: Final = frozenset("0123456789")
OPERATOR: Final = re.compile(r"<<<|<<-?|<>|<&|<|>>|>&|>\||>")
DELIMITER: Final = re.compile(
    r"[ \t]*(?:'([^'\n]+)'|\"([^\"\n$`\\]+)\"|(\\?)([\w.@%+,:-]+))(?=[\s;&|<>()]|\Z)", re.ASCII
)


class Redirections(Words):
    """Reads redirections."""

    __slots__ = ()

    def _redirected(self) -> bool:
        """Read a redirection; say whether it is a here-document or a here-string."""
        operator = OPERATOR.match(self._text, self._at)
        assert operator  # noqa: S101 - the caller has seen its first character
        self._at = operator.end()
        if operator[0] in {"<<", "<<-"}:
            self._document(indented=operator[0] == "<<-")
            return True
        target = self._target()
        duplicates = operator[0] == ">&" and re.fullmatch(r"\d*-?", target)
        if ">" in operator[0] and target != "/dev/null" and not duplicates:
            self._notes.writes.append(target)
        return operator[0] == "<<<"

    def _target(self) -> str:
        char = self._after_blanks()
        if self._substitutes():
            return self._process().text
        if not char or char in "\n;&|()<>!":
            raise Unreadable("a redirection leads nowhere")
        return self._word().text

    def _both_redirected(self) -> None:
        """Read ``&> FILE``, which bash redirects and a plain shell reads as ``& > FILE``."""
        self._at += 1
        self._redirected()
        if (char := self._after_blanks()) and char not in "\n;&|)":
            raise Unreadable("words after &> mean different things to different shells")

    def _descriptor(self, word: Word) -> bool:
        """Return whether `word` is the number before a redirection.

        Raises
        ------
        Unreadable
            It touches one and is read differently by shells.
        """
        if self._peek() not in tuple("<>"):
            return False
        if self._substitutes():
            raise Unreadable("words that touch a <( ) are not followed")
        if word.bare and re.fullmatch(r"\{\w+\}|\d\d+", word.text, re.ASCII):
            raise Unreadable("this kind of redirection is not followed")
        return word.bare and word.text in DIGITS

    def _document(self, *, indented: bool) -> None:
        """Note a here-document, whose body follows at the next newline."""
        found = DELIMITER.match(self._text, self._at)
        if not found:
            raise Unreadable("the end of a here-document cannot be told")
        self._at = found.end()
        delimiter = found[1] or found[2] or found[4]
        literal = found[4] is None or bool(found[3])
        self._pending.append(Document(delimiter, literal, indented))

    def _newline(self) -> None:
        """Go behind a newline, and behind the here-documents that it begins."""
        self._at += 1
        pending, self._pending = self._pending, []
        for document in pending:
            body = self._body(document)
            if not document.literal:
                type(self)(body, self._notes, self._depth + 1)._data("")  # noqa: SLF001 - its own

    def _body(self, document: Document) -> str:
        """Return the body of a here-document and go behind it."""
        start = self._at
        while self._at < len(self._text):
            begun = self._at
            end = self._text.find("\n", begun)
            line = self._text[begun:] if end < 0 else self._text[begun:end]
            self._at = len(self._text) if end < 0 else end + 1
            line = line.lstrip("\t") if document.indented else line
            if line == document.delimiter:
                return self._text[start:begun]
            continued = line.endswith("\\") and not document.literal
            if continued or line.startswith(document.delimiter):
                raise Unreadable("shells disagree on where this here-document ends")
        raise Unreadable("a here-document is not closed")
