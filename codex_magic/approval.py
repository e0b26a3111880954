"""Who decides whether a command may run, and when anybody is asked.

`verdict` is the table of the approval policies; an `Approver` is who answers where it says "ask".
Text from a model reaches a person here, so it is shown with everything invisible made visible.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

from codex_magic.policy import ApprovalPolicy, Decision

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What a person is asked: the exact command, where, why, and what it would exceed.

    `patch` says that what stands for the command is a patch, to be read line by line.
    """

    command: str
    cwd: str
    reason: str
    asks: tuple[str, ...]
    sandbox: str
    network: bool = False
    patch: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision, who made it, and the reason that the model is told."""

    decision: Decision
    by: str
    reason: str = ""


class Approver(Protocol):
    """Who answers approval requests."""

    def ask(self, request: ApprovalRequest) -> Answer:
        """Return the answer; may wait for a person, on the main thread."""
        ...


def verdict(
    policy: ApprovalPolicy, *, exceeds: bool, harmless: bool
) -> Literal["run", "ask", "decline"]:
    """Return what `policy` says of a call.

    ``on-request`` runs what the sandbox contains and asks about the rest; ``untrusted`` asks
    about everything that does more than look; ``never`` asks nobody and declines the rest.
    """
    if policy == "never":
        return "decline" if exceeds else "run"
    if policy == "untrusted":
        return "run" if harmless and not exceeds else "ask"
    return "ask" if exceeds else "run"


class StdinApprover:
    """Asks by `input`: in a terminal, and in front ends that answer a kernel's input requests."""

    def __init__(self, read: Callable[[str], str] = input) -> None:
        self._read = read

    def ask(self, request: ApprovalRequest) -> Answer:
        """Ask until the answer is one of the three; an empty one asks again, and never allows."""
        question = f"{describe(request)}\n[y]es, once / [n]o, and why / [s]top the turn: "
        while True:
            word, _, rest = self._read(question).strip().partition(" ")
            match word.lower():
                case "y" | "yes":
                    return Answer(Decision.ACCEPT, "person")
                case "n" | "no":
                    reason = rest.strip()
                    return Answer(Decision.DECLINE, "person", reason or "the person said no")
                case "s" | "stop":
                    return Answer(Decision.CANCEL, "person", "the person stopped the turn")
            question = "y, n or s: "


class NobodyApprover:
    """Answers where there is nobody to ask: a notebook that runs headless."""

    def ask(self, _request: ApprovalRequest) -> Answer:
        """Decline, and say how to allow it."""
        return Answer(
            Decision.DECLINE,
            "nobody",
            "nobody can be asked here: run the notebook with a person at it, "
            "or allow more with -s or -a in the cell's first line",
        )


_REASON_LENGTH: Final = 500
_LONG: Final = 2000
_WIDTH: Final = 96
_GAP: Final = re.compile(" {4,}")


def describe(request: ApprovalRequest) -> str:
    """Return the question as text: every line of it comes from us, every word of theirs quoted.

    A command is shown to its end, however long; lines that go on are indented further than ours.
    """
    length = len(request.command)
    network = "network on" if request.network else "no network"
    what = "patch" if request.patch else "command"
    said = f" (a long {what}: {length:,} characters)" if length > _LONG else ""
    parts = request.command.split("\n") if request.patch else [request.command]
    lines = [
        f"Codex wants to {'change files' if request.patch else 'run'}{said}:",
        *(row for part in parts for row in _wrapped(_quoted(part))),
        f"in {_quoted(request.cwd)}, sandbox {request.sandbox}, {network}",
    ]
    lines.extend(f"It asks to {_quoted(ask)}." for ask in request.asks)
    if request.reason:
        lines.append(f"Its reason: {_quoted(_cut(request.reason))}")
    return "\n".join(lines)


def _quoted(text: str) -> str:
    """Return `text` visible, also where spaces would push the rest of it out of sight."""
    return _GAP.sub(lambda found: f"␠\u00d7{len(found[0])}", visible(text))


def _wrapped(text: str) -> list[str]:
    return [f"    {text[i : i + _WIDTH]}" for i in range(0, max(1, len(text)), _WIDTH)]


def _cut(reason: str) -> str:
    left = len(reason) - _REASON_LENGTH
    return f"{reason[:_REASON_LENGTH]} [{left:,} characters left out]" if left > 0 else reason


_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
# Letters, marks and symbols that are drawn as nothing: fillers and variation selectors.
_BLANK: Final = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0"
    "\U000e0100-\U000e01ef]"
)


def visible(text: str) -> str:
    """Return `text` with control, bidirectional and zero-width characters as escapes."""
    return "".join(
        char.encode("unicode_escape").decode() if _hides(char) else char for char in text
    )


def _hides(char: str) -> bool:
    if unicodedata.category(char) in _INVISIBLE or _BLANK.match(char):
        return True
    return char.isspace() and char != " "
