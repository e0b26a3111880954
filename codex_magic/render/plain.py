"""A turn as plain text: for terminals, and for whatever cannot show Markdown.

While a turn runs its text only grows at the end, so that whoever prints it can print what is new.
Notices have no place among the items; they stand below a finished turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codex_magic.items import (
    CELL_ADDED,
    AgentMessage,
    CommandExecution,
    Compaction,
    FileChange,
    Item,
    Plan,
    Question,
    Reasoning,
    ToolCall,
    UnknownItem,
    UserMessage,
    WebSearch,
)
from codex_magic.render import words
from codex_magic.turn import PROMPT_ID

if TYPE_CHECKING:
    from codex_magic.items import Receipt
    from codex_magic.turn import Turn

_MARKS = {"completed": "x", "in_progress": ">", "pending": " "}


def text(turn: Turn, *, live: bool = False, quiet: bool = False) -> str:
    """Return the turn's answer and a line for each command.

    Parameters
    ----------
    live
        Also reasoning and the commands' output, for somebody who watches.
    quiet
        The answer only, and what nobody may overlook: how it ended, that it was a tape.
    """
    said = words.prose(turn.final_response) if quiet else body(turn, live=live)
    # Not in the body, which only grows: when there is an answer, this is gone.
    waiting = f"({words.WAITING})" if live and turn.waiting_for else ""
    return "\n\n".join(block for block in (said, waiting, closing(turn, quiet=quiet)) if block)


DIM: Final = "\x1b[2m"
BRIGHT: Final = "\x1b[22m"


def body(turn: Turn, *, live: bool = False, dimmed: bool = False) -> str:
    """Return the turn's items; of a running turn this only grows.

    Where reasoning is `dimmed`, what stands behind it begins with what ends that.
    """
    grown, dim = "", False
    for item in turn.items:
        block = _block(item, live=live, asked=turn.waiting_for == item.id)
        if not block:
            continue
        before, dim = dim, dimmed and isinstance(item, Reasoning)
        grown += BRIGHT * (before and not dim) + "\n\n" * bool(grown) + DIM * (dim and not before)
        grown += block
    return grown


def closing(turn: Turn, *, quiet: bool = False) -> str:
    """Return what stands below a finished turn: notices, how it ended, what it cost."""
    if not turn.is_over:
        return ""
    blocks = [] if quiet else [f"note: {words.prose(notice.text)}" for notice in turn.notices]
    if ended := words.outcome(turn):
        blocks.append(f"The turn {_was(turn)}{words.prose(ended)}")
    facts = words.taped(turn) if quiet else words.footer(turn)
    if facts:
        blocks.append(f"[{' · '.join(words.clean(fact) for fact in facts)}]")
    return "\n".join(blocks)


def _was(turn: Turn) -> str:
    return "" if turn.status == "failed" else "was "


def _block(item: Item, *, live: bool, asked: bool) -> str:  # noqa: C901, PLR0912 - one flat table
    match item:
        case AgentMessage():
            return words.prose(str(item.text) or str(item.draft))
        case CommandExecution():
            return _command(item, live=live, asked=asked)
        case Reasoning() if live:
            thought = words.prose(str(item.summary) or str(item.content) or str(item.draft))
            return f"(thinking) {thought}" if thought else ""
        case Plan():
            # Ticks change; what is watched only grows.
            marks = [("-" if live else f"[{_MARKS[step.status]}]") for step in item.steps]
            steps = [f"{m} {words.clean(s.text)}" for m, s in zip(marks, item.steps, strict=True)]
            return "\n".join([*steps, words.prose(str(item.text))]).strip()
        case FileChange():
            return _edit(item, live=live, asked=asked)
        case ToolCall():
            ended = "" if live and item.status == "in_progress" else f": {item.status}"
            return f"tool {words.clean(item.tool)}{ended}"
        case Compaction() if live:
            ended = "" if item.status == "in_progress" else f" -> {item.status}"
            return f"({words.SUMMARISING.lower()}){ended}"
        case Compaction():
            return f"({words.compacted(item).lower()})"
        case WebSearch():
            return f"web search: {words.clean(item.query)}"
        case UnknownItem():
            return f"{words.clean(item.kind) or 'unknown item'}: {words.clean(str(item.text))}"
        case Question() if live and item.status == "in_progress":
            return ""  # whoever is asked sees it there
        case Question():
            return _question(item)
        case UserMessage() if item.id != PROMPT_ID:
            return f"(added while it ran) {words.prose(str(item.text))}"
        case UserMessage() if item.images:
            return f"({words.images(item)})"
        case UserMessage() | Reasoning():
            return ""


def _command(item: CommandExecution, *, live: bool, asked: bool) -> str:
    command = words.command(item)
    if not live:
        ended = f"$ {words.one_line(command)}  -> {words.ending(item, asked=asked)}"
        return "\n".join([ended, *_told(item.receipt)])
    lines = ["$ " + command.replace("\n", "\n  ")]
    if item.output:
        lines.append(words.clean(str(item.output)).rstrip("\n"))
    if item.status != "in_progress":
        lines.append(f"-> {words.ending(item)}")
        if item.receipt and (files := words.files(item.receipt, item.cwd)):
            lines.append(f"   {files}")
        lines.extend(_told(item.receipt))
    return "\n".join(lines)


def _told(receipt: Receipt | None) -> list[str]:
    return [f"   {found}" for found in words.findings(receipt)] if receipt else []


def _question(item: Question) -> str:
    lines = [f"Codex asked: {words.prose(item.question)}"]
    lines += ["  - " + words.prose(option).replace("\n", "\n    ") for option in item.options]
    if item.answer:
        lines.append(f"{words.answered(item)}: {words.prose(item.answer)}")
    return "\n".join(lines)


def _edit(item: FileChange, *, live: bool, asked: bool) -> str:
    if live and item.status == "in_progress":
        return ""  # so far it is a proposal, which would have to be taken back
    lines = []
    for change in item.changes:
        lines.append(f"{change.kind} {words.clean(change.path)}")
        if item.status == "failed" and change.kind == CELL_ADDED:
            # It stands nowhere else: there was no page to put it into.
            rows = words.literal(change.diff).split("\n")
            lines += (row[1:] for row in rows if row.startswith("+"))
    if ended := words.settled(item, asked=asked):
        lines.append(f"-> {ended}" if lines else f"edit  -> {ended}")
    lines += _told(item.receipt)
    return "\n".join(lines)
