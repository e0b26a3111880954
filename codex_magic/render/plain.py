"""A turn as plain text: for terminals, and for whatever cannot show Markdown.

While a turn runs its text only grows at the end, so that whoever prints it can print what is new.
Notices have no place among the items; they stand below a finished turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_magic.items import (
    AgentMessage,
    CommandExecution,
    FileChange,
    Item,
    Plan,
    Reasoning,
    ToolCall,
    UnknownItem,
    UserMessage,
    WebSearch,
)
from codex_magic.render import words

if TYPE_CHECKING:
    from codex_magic.turn import Turn

_MARKS = {"completed": "x", "in_progress": ">", "pending": " "}


def text(turn: Turn, *, live: bool = False, quiet: bool = False) -> str:
    """Return the turn's answer and a line for each command.

    Parameters
    ----------
    live
        Also reasoning and the commands' output, for somebody who watches.
    quiet
        The answer only.
    """
    said = turn.final_response if quiet else body(turn, live=live)
    return "\n\n".join(block for block in (said, closing(turn, quiet=quiet)) if block)


def body(turn: Turn, *, live: bool = False) -> str:
    """Return the turn's items; of a running turn this only grows."""
    blocks = [_block(item, live=live) for item in turn.items]
    return "\n\n".join(block for block in blocks if block)


def closing(turn: Turn, *, quiet: bool = False) -> str:
    """Return what stands below a finished turn: notices, how it ended, what it cost."""
    if not turn.is_over:
        return ""
    blocks = [] if quiet else [f"note: {notice.text}" for notice in turn.notices]
    if ended := words.outcome(turn):
        blocks.append(f"The turn {_was(turn)}{ended}")
    if not quiet:
        blocks.append(f"[{' · '.join(words.footer(turn))}]")
    return "\n".join(blocks)


def _was(turn: Turn) -> str:
    return "" if turn.status == "failed" else "was "


def _block(item: Item, *, live: bool) -> str:
    match item:
        case AgentMessage():
            return str(item.text) or str(item.draft)
        case CommandExecution():
            return _command(item, live=live)
        case Reasoning() if live:
            thought = str(item.summary) or str(item.content)
            return f"(thinking) {thought}" if thought else ""
        case Plan():
            steps = [f"[{_MARKS[step.status]}] {step.text}" for step in item.steps]
            return "\n".join([*steps, str(item.text)]).strip()
        case FileChange():
            return "\n".join(f"{change.kind} {change.path}" for change in item.changes)
        case ToolCall():
            return f"tool {item.tool}: {item.status}"
        case WebSearch():
            return f"web search: {item.query}"
        case UnknownItem():
            return f"{item.kind or 'unknown item'}: {item.text}"
        case UserMessage() | Reasoning():
            return ""


def _command(item: CommandExecution, *, live: bool) -> str:
    command = words.command(item)
    if not live:
        return f"$ {words.one_line(command)}  -> {words.ending(item)}"
    lines = ["$ " + command.replace("\n", "\n  ")]
    if item.output:
        lines.append(words.clean(str(item.output)).rstrip("\n"))
    if item.status != "in_progress":
        lines.append(f"-> {words.ending(item)}")
    return "\n".join(lines)
