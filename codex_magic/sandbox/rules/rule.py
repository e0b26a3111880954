"""A rule, and a judgement: values that others read, match and give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Verdict = Literal["allow", "ask", "deny"]
STRICTNESS: Final[tuple[Verdict | None, ...]] = (None, "allow", "ask", "deny")
# Codex writes some of them differently in its own rules.
WORDS: Final[dict[str, Verdict]] = {
    "allow": "allow",
    "ask": "ask",
    "prompt": "ask",
    "deny": "deny",
    "forbidden": "deny",
}

# A shell text, or the words of a command.
Example = str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """What to do about the commands that begin like `pattern`.

    The first element names the program, by its name without a folder. Of the others, one that
    begins with ``-`` is an option and may stand anywhere before ``--``; one that begins with
    ``/``, ``~`` or ``$`` is a path and may be any operand (``/dev/`` also stands for what is below
    it); the rest are the first words, in order. An ``allow`` is read literally instead: its words
    come first and in this order, and the program is one of the system's.

    Parameters
    ----------
    pattern
        One tuple of alternatives for each position.
    match, not_match
        Commands, or shell texts, that the rule must and must not hit; checked when it is read.
    """

    pattern: tuple[tuple[str, ...], ...]
    verdict: Verdict
    reason: str = ""
    match: tuple[Example, ...] = ()
    not_match: tuple[Example, ...] = ()

    def told(self) -> str:
        """Return the rule's reason, or the rule itself where it has none."""
        return self.reason or f"a rule says {self.verdict}: {self.shown()}"

    def shown(self) -> str:
        """Return the pattern on one line."""
        return " ".join("|".join(element) for element in self.pattern)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the rules say: no verdict where none applies, and the command it was about."""

    verdict: Verdict | None
    reason: str
    command: tuple[str, ...] = ()
