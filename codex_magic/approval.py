"""Who decides whether a command may run, and when anybody is asked.

`verdict` is the table of the approval policies; an `Approver` is who answers where it says "ask",
and who answers an agent's questions. Text from a model reaches a person here, so it is shown with
everything invisible made visible.
"""

from __future__ import annotations

import re
import shlex
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from codex_magic.items import well_formed
from codex_magic.policy import Allowance, ApprovalPolicy, Decision, Excess, Grant
from codex_magic.sandbox.steering import steers

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """What a person is asked: the exact command, where, why, and what it would exceed.

    Parameters
    ----------
    network
        Whether the turn's own policy has it.
    patch
        What stands for the command is a patch, to be read line by line.
    cells
        It is one of the notebook's cells, and not of files.
    item_id
        The item that waits for the answer.
    grant
        What may be allowed for as long as the kernel lives; None where it can be allowed once only.
    excess
        What `asks` says, for programs; None where only a person can judge it.
    """

    command: str
    cwd: str
    reason: str
    asks: tuple[str, ...]
    sandbox: str
    network: bool = False
    patch: bool = False
    cells: bool = False
    item_id: str = ""
    grant: Grant | None = None
    excess: Excess | None = None


@dataclass(frozen=True, slots=True)
class QuestionRequest:
    """What the agent asks a person; an answer need not be one of its `options`."""

    question: str
    options: tuple[str, ...] = ()
    item_id: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A decision, who made it, and the reason that the model is told.

    To a question the reason is the answer itself.
    """

    decision: Decision
    by: str
    reason: str = ""


class Approver(Protocol):
    """Who answers approval requests and questions."""

    def ask(self, request: ApprovalRequest | QuestionRequest) -> Answer | None:
        """Return the answer; may wait for a person, on the main thread.

        None says that the answer will be reported as an event.
        """
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

    def ask(self, request: ApprovalRequest | QuestionRequest) -> Answer:
        """Ask until there is an answer; an empty one asks again, and never allows."""
        if isinstance(request, QuestionRequest):
            return self._inquire(request)
        always = "" if request.grant is None else " / [a]lways in this notebook"
        choices = f"[y]es, once{always} / [n]o, and why / [s]top the turn: "
        promise = "" if request.grant is None else f"\nAlways means: {_promise(request.grant)}."
        question = f"{describe(request)}{promise}\n{choices}"
        while True:
            word, _, rest = self._read(question).strip().partition(" ")
            match word.lower():
                case "y" | "yes":
                    return Answer(Decision.ACCEPT, "person")
                case "a" | "always" if request.grant is not None:
                    return Answer(Decision.ACCEPT_FOR_SESSION, "person")
                case "n" | "no":
                    reason = rest.strip()
                    return Answer(Decision.DECLINE, "person", reason or SAID_NO)
                case "s" | "stop":
                    return Answer(Decision.CANCEL, "person", STOPPED)
            question = "y, n or s: " if request.grant is None else "y, a, n or s: "

    def _inquire(self, request: QuestionRequest) -> Answer:
        options = [f"  {i}  {_quoted(text)}" for i, text in enumerate(request.options, 1)]
        question = "\n".join(["Codex asks:", *_lines(request.question), *options, "Your answer: "])
        while not (said := self._read(question).strip()):
            question = "Your answer: "
        is_number = said not in request.options and said.isdecimal()
        if is_number and 0 < int(said) <= len(request.options):
            said = request.options[int(said) - 1]
        return Answer(Decision.ACCEPT, "person", well_formed(said))


SAID_NO: Final = "the person said no"
STOPPED: Final = "the person stopped the turn"
UNSAID: Final = {Decision.DECLINE: SAID_NO, Decision.CANCEL: STOPPED}
"""What the model is told where a person gave no reason."""


class NobodyApprover:
    """Answers where there is nobody to ask: a notebook that runs headless.

    Parameters
    ----------
    allowed
        What whoever started it has allowed beforehand.
    """

    def __init__(self, allowed: Allowance = Allowance()) -> None:
        self._allowed = allowed

    def ask(self, request: ApprovalRequest | QuestionRequest) -> Answer:
        """Allow what was allowed beforehand; decline the rest, and say how to allow it."""
        if isinstance(request, QuestionRequest):
            return Answer(Decision.DECLINE, "nobody", DECIDE_YOURSELF)
        if request.excess is not None and covers(self._allowed, request.excess):
            return Answer(Decision.ACCEPT, "allowance")
        return Answer(
            Decision.DECLINE,
            "nobody",
            "nobody can be asked here: run the notebook with a person at it, allow more with -s "
            "or -a in the cell's first line, or start it with codex-magic run --allow",
        )


def covers(allowed: Allowance, excess: Excess) -> bool:
    """Return whether all of `excess` has been allowed beforehand.

    Where nothing exceeds the policy somebody asked to be asked about everything, and that is
    allowed by nothing.
    """
    if excess == Excess():
        return False
    wanted = {"network": excess.network, "rules": excess.rule, "unsandboxed": excess.unsandboxed}
    return (
        all(kind in allowed.kinds for kind, is_wanted in wanted.items() if is_wanted)
        and all(_within(path, allowed.folders) for path in excess.folders)
        # Each by its own name: to allow a folder is no word on its `.git`.
        and all(path in allowed.folders for path in excess.protected)
    )


def _within(path: Path, folders: tuple[Path, ...]) -> bool:
    return any(
        path.is_relative_to(folder) and not any(map(steers, path.relative_to(folder).parts))
        for folder in folders
    )


DECIDE_YOURSELF: Final = "nobody can be asked here: decide yourself, and say what you assumed"

_REASON_LENGTH: Final = 500
_LONG: Final = 2000
_WIDTH: Final = 96
_GAP: Final = re.compile(" {4,}")


def describe(request: ApprovalRequest) -> str:
    """Return the question as text: every line of it comes from us, every word of theirs quoted.

    A command is shown to its end, however long; lines that go on are indented further than ours.
    """
    rows = (
        _lines(request.command, _diff_line) if request.patch else _wrapped(_quoted(request.command))
    )
    return "\n".join([f"{_wish(request)}:", *rows, *_facts(request)])


def _wish(request: ApprovalRequest) -> str:
    length = len(request.command)
    what = "patch" if request.patch else "command"
    said = f" (a long {what}: {length:,} characters)" if length > _LONG else ""
    aim = "change cells of the notebook" if request.cells else "change files"
    return f"Codex wants to {aim if request.patch else 'run'}{said}"


def _facts(request: ApprovalRequest) -> list[str]:
    network = "network on" if request.network else "no network"
    where = f"in {_quoted(request.cwd)}, sandbox {request.sandbox}, {network}"
    facts = ["Nothing is run by that."] if request.cells else [where]
    facts.extend(f"It asks to {_quoted(ask)}." for ask in request.asks)
    if request.reason:
        facts.append(f"Its reason: {_quoted(_cut(request.reason))}")
    return facts


def granted(grant: Grant) -> str:
    """Return in words what a grant allows, all of it."""
    command = grant.command if isinstance(grant.command, str) else shlex.join(grant.command)
    return f"exactly {_quoted(command)}, {_where(grant)}"


def _promise(grant: Grant) -> str:
    """Return the same below the command itself."""
    return f"exactly this command, {_where(grant)}"


def _where(grant: Grant) -> str:
    policy = grant.policy
    network = "with network" if policy.network else "without network"
    folders = ", ".join(_quoted(str(path)) for path in (*policy.writable, *policy.unprotected))
    also = f", writing also in {folders}" if folders else ""
    return (
        f"in {_quoted(str(grant.cwd))}, sandbox {policy.mode}, "
        f"{network}{also}, whatever the files it names say by then, until this kernel ends"
    )


def card(request: ApprovalRequest | QuestionRequest) -> dict[str, Any]:
    """Return the question as what a page shows of it: every text of theirs made visible."""
    if isinstance(request, QuestionRequest):
        options = [_quoted(option) for option in request.options]
        return {
            "kind": "question",
            "title": "Codex asks",
            "question": "\n".join(map(_quoted, request.question.split("\n"))),
            "options": options,
        }
    parts = request.command.split("\n") if request.patch else [request.command]
    return {
        "kind": "approval",
        "title": _wish(request),
        "command": "\n".join(map(_diff_line if request.patch else _quoted, parts)),
        "facts": _facts(request),
        "grant": "" if request.grant is None else _promise(request.grant),
    }


def _lines(text: str, shown: Callable[[str], str] | None = None) -> list[str]:
    show = shown or _quoted
    return [row for part in text.split("\n") for row in _wrapped(show(part))]


_INDENTED: Final = re.compile(r"(?P<sign>[+ -])(?P<indent>[ \t]{0,60})(?=[^ \t]|\Z)")


def _diff_line(line: str) -> str:
    """Return a line of a diff visible, with the space that code begins with as it is."""
    found = _INDENTED.match(line)
    if found is None:
        return _quoted(line)
    return found["sign"] + found["indent"].replace("\t", "→   ") + _quoted(line[found.end() :])


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
