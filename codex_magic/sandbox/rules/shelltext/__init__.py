"""The commands that a shell text could start, read without running anything.

It fails closed. Every program that a POSIX shell or bash starts for a text is in the list, or the
text is unclear: what the two shells read differently, what only a running shell knows, and what
is not understood here is all unclear. It is no shell: nothing is expanded, and which branch of an
``if`` is taken does not matter. What a started program starts in its turn is not looked at, nor
is the script that ``source`` reads.
"""

from __future__ import annotations

from codex_magic.sandbox.rules.shelltext.builtins import objection
from codex_magic.sandbox.rules.shelltext.commands import survey
from codex_magic.sandbox.rules.shelltext.values import Expanded, Reading, Unreadable
from codex_magic.sandbox.rules.shelltext.variables import steers

__all__ = ["Expanded", "Reading", "Unreadable", "objection", "steers", "survey"]
