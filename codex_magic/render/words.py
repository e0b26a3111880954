"""The words that both forms of a turn share: how a command ended, what a turn has cost."""

from __future__ import annotations

import re
import shlex
import unicodedata
from typing import TYPE_CHECKING, Final

from codex_magic.items import CELL_ADDED

if TYPE_CHECKING:
    from codex_magic.events import Usage
    from codex_magic.items import (
        CommandExecution,
        Compaction,
        FileChange,
        Question,
        Receipt,
        UserMessage,
    )
    from codex_magic.turn import Turn

SAVED_OUTPUT_BYTES: Final = 8 * 1024

_ESCAPES: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-_])")
_OVERWRITTEN: Final = re.compile(r"^[^\n]*\r(?=[^\r\n])", re.MULTILINE)
_RETURNS: Final = re.compile(r"\r+(?=\n|\Z)")
_UNUSUAL: Final = re.compile(r"[^\n\t -~]")
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def command(item: CommandExecution) -> str:
    """Return a command as one would type it."""
    words = (item.command,) if isinstance(item.command, str) else map(_quoted, item.command)
    return clean(" ".join(words))


def _quoted(word: str) -> str:
    """Return `word` quoted for a shell, in the form that is easier on the eye."""
    if "'" in word and not set(word) & set('"$`\\!'):
        return f'"{word}"'
    return shlex.quote(word)


def one_line(text: str, longest: int = 90) -> str:
    """Return `text` on one line of at most `longest` characters."""
    line = " ".join(text.split())
    return line if len(line) <= longest else line[: longest - 2] + " …"


WAITING: Final = "waiting for your answer"


def ending(item: CommandExecution, *, asked: bool = False) -> str:
    """Return how a command ended, in a few words; `asked` is whether a person is asked of it."""
    took = f" · {duration(item.receipt.duration_s)}" if item.receipt else ""
    match item.outcome:
        case None if item.status == "declined":
            return f"declined: {_flat(item.message)}"
        case None if item.status == "in_progress":
            return WAITING if asked else "running"
        case None:
            return item.status
        case "exit":
            why = f" · {_flat(item.message)}" if item.message else ""
            return f"exit {item.exit_code}{why}{took}{level(item.receipt)}"
        case "killed" if item.status == "interrupted":
            return f"interrupted{took}{level(item.receipt)}"
        case "killed" | "timeout":
            return f"{_flat(item.message)}{took}{level(item.receipt)}"
        case _:
            return f"{item.outcome}: {_flat(item.message)}{took}"


def settled(item: FileChange, *, asked: bool = False) -> str:
    """Return how an edit ended and what confined it, in a few words."""
    match item.status:
        case "completed":
            ended = "applied" if item.receipt else _flat(item.message)
        case "in_progress":
            ended = WAITING if asked else "running"
        case _:
            ended = f"{item.status}: {_flat(item.message)}" if item.message else item.status
    return ended + level(item.receipt)


def changed(item: FileChange) -> str:
    """Return what an edit is about: files by their paths, new cells by their number and kind."""
    kinds = {change.kind for change in item.changes}
    if kinds != {CELL_ADDED}:
        return ", ".join(f"{change.kind} {change.path}" for change in item.changes)
    code = sum(change.path.endswith("(code)") for change in item.changes)
    counts = {"code": code, "Markdown": len(item.changes) - code}
    said = " and ".join(f"{count} {kind}" for kind, count in counts.items() if count)
    return f"add {said} cell{'' if len(item.changes) == 1 else 's'}"


def answered(item: Question) -> str:
    """Return what stands before the answer to a question."""
    return "Answer" if item.status == "completed" else "No answer"


SUMMARISING: Final = "Summarising the beginning of the thread, which has become too long"


def compacted(item: Compaction) -> str:
    """Return what has become of a thread that was too long."""
    ends: dict[str, str] = {
        "in_progress": SUMMARISING,
        "completed": "The thread was long; its beginning was summarised",
        "interrupted": "The summary was given up",
    }
    return ends.get(item.status, "The summary failed")


def _flat(message: str) -> str:
    return " ".join(clean(message).split())


def level(receipt: Receipt | None) -> str:
    """Return what confined a command, and whether it had the network; to stand behind the rest."""
    if receipt is None:
        return ""
    if receipt.level == "none":
        return " · no sandbox"
    network = ", network" if receipt.network else ""
    return f" · sandbox {receipt.level}{network}"


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if round(seconds * 1000) < 1000:  # noqa: PLR2004 - as shown
        return f"{seconds * 1000:.0f} ms"
    if round(seconds, 1) < 60:  # noqa: PLR2004
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def footer(turn: Turn) -> list[str]:
    """Return the facts below a turn: model, tokens, time, thread."""
    facts = [turn.model or turn.backend]
    if turn.usage is not None:
        facts.append(_tokens(turn.usage))
    if turn.started_at is not None and turn.completed_at is not None:
        facts.append(duration(max(0.0, turn.completed_at - turn.started_at)))
    facts.append(f"thread {turn.thread_name}")
    facts.extend(taped(turn))
    return [fact for fact in facts if fact]


def images(item: UserMessage) -> str:
    """Return in words which images went with what a person said."""
    named = ", ".join(clean(one_line(name)) for name in item.images)
    return f"with image: {named}" if len(item.images) == 1 else f"with images: {named}"


def taped(turn: Turn) -> list[str]:
    """Return that no model was called, where a tape was played."""
    return [f"played from tape {turn.tape}: no model was called"] if turn.tape else []


def _tokens(usage: Usage) -> str:
    return f"{usage.input_tokens:,} tokens in, {usage.output_tokens:,} out"


def outcome(turn: Turn) -> str:
    """Return how a turn ended, where that needs saying."""
    if turn.status == "failed":
        return f"failed: {turn.error.message if turn.error else 'for an unknown reason'}"
    return "" if turn.status in ("completed", "in_progress") else turn.status


def shortened(text: str, limit_bytes: int) -> str:
    """Return at most `limit_bytes` of `text`: its head and its tail, and a line between them."""
    raw = text.encode(errors="replace")
    if len(raw) <= limit_bytes:
        return text
    half = limit_bytes // 2 - 32
    head, tail = raw[:half].decode(errors="ignore"), raw[-half:].decode(errors="ignore")
    return f"{head}\n[{len(raw) - 2 * half:,} bytes left out]\n{tail}"


TOKEN_BYTES: Final = 4  # what Codex itself reckons with


def for_model(text: str, limit_tokens: int) -> str:
    """Return terminal output for a model: without escapes, and of a long one both ends.

    The line between the ends tells how much is not there, so that nobody takes it for all.
    """
    text = _obeyed(text)
    raw = text.encode(errors="replace")
    if len(raw) <= limit_tokens * TOKEN_BYTES:
        return text
    half = limit_tokens * TOKEN_BYTES // 2
    head, tail = raw[:half].decode(errors="ignore"), raw[-half:].decode(errors="ignore")
    left = (len(raw) - 2 * half) // TOKEN_BYTES
    lines = len(text.splitlines())
    return f"{head}\n[… about {left:,} tokens of {lines:,} lines are left out here …]\n{tail}"


NAMED: Final = 6


def files(receipt: Receipt, folder: str) -> str:
    """Return on one line which files a command made, changed and deleted; empty for none.

    Paths count from `folder`.
    """
    kinds = (("made", receipt.created), ("changed", receipt.changed), ("deleted", receipt.deleted))
    parts = []
    for what, paths in kinds:
        names = [_flat(path.removeprefix(f"{folder}/")) for path in paths]
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        if names:
            parts.append(f"{what} {', '.join(names[:NAMED])}{more}")
    if receipt.files_more > 0:
        parts.append(f"{receipt.files_more:,} files more")
    if receipt.files_more < 0:
        parts.append("there are too many files to tell which ones it changed")
    return "; ".join(parts)


def findings(receipt: Receipt) -> list[str]:
    """Return what a command did that somebody should know, a sentence for each kind."""
    said = [
        f"put aside, because other programs would obey it: {said}" for said in receipt.quarantined
    ]
    said += [f"put back as it was: {path}" for path in receipt.restored]
    said += [f"protected, and yet not as it was before: {path}" for path in receipt.protected]
    if receipt.imported:
        names = ", ".join(receipt.imported)
        said.append(f"the kernel has imported {names} and still runs what that said before")
    if receipt.network_refused:
        said.append(
            f"attempts to reach a network, which it did not have: {receipt.network_refused}"
        )
    return [_flat(line) for line in (*said, *receipt.notes)]


def clean(text: str) -> str:
    """Return terminal output as text: what escapes and carriage returns would leave to be seen.

    Control, bidirectional and zero-width characters become visible, so that nothing that is shown
    can pretend to be something else.
    """
    return _UNUSUAL.sub(_made_visible, _obeyed(text))


def literal(text: str) -> str:
    """Return the text of a file or a cell with all that is in it: escapes are shown, not obeyed."""
    return _UNUSUAL.sub(_made_visible, _RETURNS.sub("", text))


def _obeyed(text: str) -> str:
    """Return what is left of terminal output once its escapes and carriage returns are obeyed."""
    return _OVERWRITTEN.sub("", _RETURNS.sub("", _ESCAPES.sub("", text)))


def _made_visible(found: re.Match[str]) -> str:
    char = found[0]
    hidden = unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    return char.encode("unicode_escape").decode() if hidden else char


def prose(text: str) -> str:
    """Return what somebody wrote as text for a terminal, which obeys control characters.

    Joiners and direction marks stay: there are languages that are written with them.
    """
    text = _RETURNS.sub("", text)
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
