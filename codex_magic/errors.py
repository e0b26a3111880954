"""What can go wrong, by whose move it is.

::

    CodexMagicError
    ├── CellError        the cell must change: an unknown option, an empty prompt
    ├── SetupError       something must be installed or signed in to
    ├── BackendError     the other side failed: the Codex process, the model's server
    ├── SandboxError     a policy that may not be used, a machine that cannot enforce it
    └── RecordError      a stored turn, lesson or notebook that cannot be read

    TurnInterrupted      a ``KeyboardInterrupt`` that knows how much was kept

Every message says what happened; every `hint` says what to type next. In a notebook an error is
one line: IPython asks an exception for its own rendering before it draws a traceback.
"""

from __future__ import annotations


class OneLine(BaseException):
    """An exception that a notebook shows as one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        line = " ".join(f"{type(self).__name__}: {self}".split())
        # Hosts and files choose some of these words; a terminal would obey their escapes.
        return ["".join(char if char.isprintable() else _escape(char) for char in line)]


def with_article(word: str) -> str:
    """Return a word, such as a type's name, as one says it of a thing."""
    return f"{'an' if word[:1].lower() in tuple('aeiou') else 'a'} {word}"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode()


class CodexMagicError(OneLine, Exception):
    """The root of this package's errors.

    Parameters
    ----------
    message
        What happened, in one sentence without a closing stop.
    hint
        What to do next, usually something to type.
    """

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}. {self.hint}" if self.hint else self.message


class CellError(CodexMagicError):
    """The cell asks for something that cannot be done as it is written."""


class SetupError(CodexMagicError):
    """Something is missing on this machine: a program, a sign-in, a newer version."""


class BackendError(CodexMagicError):
    """The other side failed: the Codex process, the model's server, the connection to either."""


class SandboxError(CodexMagicError):
    """A sandbox policy that may not be used here."""


class RecordError(CodexMagicError):
    """A stored turn, lesson or notebook that cannot be read."""


class TurnInterrupted(OneLine, KeyboardInterrupt):
    """The person stopped the turn; what had arrived until then is kept.

    It stays a ``KeyboardInterrupt``, so that a front end also drops the cells queued behind.
    """
