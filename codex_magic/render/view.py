"""A turn as what a widget shows of it, and what to send when it has changed.

A view is JSON: the turn's own fields, and for each item the facts that are laid out as they are
plus one text that grows. `whole` returns all of it, `update` what is new since an older turn, as
operations:

====================================================  =========================================
``["turn", {…}]``                                     the turn's own fields
``["item", {"id": …, "kind": …, …}]``                 an item that is new, or its facts anew
``["text", id, offset, end, text, gap]``              text for an item, from `offset` to `end`
``["html", id, html]``                                a finished text, drawn from its Markdown
====================================================  =========================================

Offsets count characters of the item's text. Where `gap` is true the text does not go on from what
was sent before: what was shown is replaced. Output of commands is sent as a window on its end: what
a flood leaves behind within one interval is not sent at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codex_magic.items import (
    EMPTY,
    AgentMessage,
    CommandExecution,
    Compaction,
    FileChange,
    Item,
    Plan,
    Question,
    Reasoning,
    Text,
    ToolCall,
    UnknownItem,
    UserMessage,
    WebSearch,
)
from codex_magic.render import html, words
from codex_magic.turn import PROMPT_ID

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codex_magic.turn import Turn

Json = dict[str, Any]
Operation = list[Any]

WINDOW: Final = 64 * 1024
"""Characters of a command's output that a page is given at once, from its end."""

FLOOD: Final = 16 * 1024
"""Characters of one command's output that are sent within one interval."""

FINISHED: Final = 8 * 1024
"""The same of a command that has ended: a turn may have hundreds."""

DIFF: Final = 128 * 1024
ARGUMENTS: Final = 8 * 1024


def whole(turn: Turn) -> list[Operation]:
    """Return the operations that show `turn` to a page that knows nothing of it."""
    operations: list[Operation] = [["turn", _turn(turn)]]
    for item in _shown(turn):
        operations.append(["item", _item(item, asked=turn.waiting_for == item.id)])
        shown = WINDOW if item.status == "in_progress" else FINISHED
        operations.extend(_grown(item.id, EMPTY, _text(item), window=_window(item, shown)))
    return operations


def update(old: Turn, new: Turn) -> list[Operation]:
    """Return the operations that make `new` of `old`; an item of `old` is never taken away."""
    operations: list[Operation] = []
    if (fields := _turn(new)) != _turn(old):
        operations.append(["turn", fields])
    before = {item.id: item for item in old.items}
    for item in _shown(new):
        was = before.get(item.id)
        asked, asked_before = new.waiting_for == item.id, old.waiting_for == item.id
        if was is item and asked == asked_before:
            continue
        facts = _item(item, asked=asked)
        if was is None or facts != _item(was, asked=asked_before):
            operations.append(["item", facts])
        # Of another kind it is laid out anew.
        text = _text(was) if was is not None and type(was) is type(item) else EMPTY
        operations.extend(_grown(item.id, text, _text(item), window=_window(item, FLOOD)))
    return operations


def drawn(old: Turn | None, new: Turn) -> list[Operation]:
    """Return the operations that draw the Markdown of what was finished since `old`.

    For pages whose host does not do that itself.
    """
    before = {} if old is None else {item.id: item for item in old.items}
    return [
        ["html", item.id, html.html(str(_text(item)))]
        for item in _shown(new)
        if isinstance(item, AgentMessage | Compaction | Reasoning | Plan)
        and item.status != "in_progress"
        and before.get(item.id) is not item
    ]


def _shown(turn: Turn) -> Iterator[Item]:
    return (item for item in turn.items if item.id != PROMPT_ID)


def _turn(turn: Turn) -> Json:
    fields: Json = {
        "status": turn.status,
        "ended": words.outcome(turn),
        "notices": [[notice.level, words.prose(notice.text)] for notice in turn.notices],
        "facts": [words.clean(fact) for fact in words.footer(turn)],
        "waiting": bool(turn.waiting_for),
    }
    return fields


def _window(item: Item, characters: int) -> int | None:
    return characters if isinstance(item, CommandExecution | ToolCall) else None


def _grown(item_id: str, old: Text, new: Text, *, window: int | None) -> Iterator[Operation]:
    grown = new.after(old)
    gap = grown is None
    text = str(new) if grown is None else grown
    if window is not None and len(text) > window:
        text, gap = text[-window:], True
    if text or gap:
        yield ["text", item_id, len(new) - len(text), len(new), text, gap]


def _text(item: Item) -> Text:
    """Return the text of an item that grows before a reader's eyes."""
    match item:
        case Reasoning():
            return item.summary or item.content or item.draft
        case AgentMessage() | Compaction() | Plan() | UnknownItem() | UserMessage():
            return item.text or item.draft
        case CommandExecution() | ToolCall():
            return item.output or item.draft
        case _:
            return EMPTY


def _item(item: Item, *, asked: bool) -> Json:
    return {"id": item.id, "kind": _KINDS[type(item)], "status": item.status} | _facts(item, asked)


_KINDS: Final[dict[type, str]] = {
    AgentMessage: "message",
    CommandExecution: "command",
    Compaction: "compaction",
    FileChange: "change",
    Plan: "plan",
    Question: "question",
    Reasoning: "reasoning",
    ToolCall: "tool",
    UnknownItem: "unknown",
    UserMessage: "user",
    WebSearch: "search",
}


def _facts(item: Item, asked: bool) -> Json:  # noqa: C901, FBT001 - one flat table, as `_item` has it
    match item:
        case AgentMessage():
            return {"phase": item.phase or ""}
        case CommandExecution():
            return _command(item, asked=asked)
        case FileChange():
            return _change(item, asked=asked)
        case Plan():
            return {"steps": [[words.clean(step.text), step.status] for step in item.steps]}
        case Question():
            answer = words.prose(item.answer)
            return {
                "question": words.prose(item.question),
                "asked": asked,
                "answer": f"{words.answered(item)}: {answer}" if answer else "",
            }
        case ToolCall():
            arguments = words.shortened(words.clean(item.arguments), ARGUMENTS)
            return {"head": words.clean(item.tool), "inside": arguments}
        case UnknownItem():
            return {"head": words.clean(item.kind) or "something new"}
        case WebSearch():
            return {"head": words.clean(item.query)}
        case Compaction():
            return {"head": words.compacted(item)}
        case Reasoning() | UserMessage():
            return {}


def _command(item: CommandExecution, *, asked: bool) -> Json:
    command = words.command(item)
    head = words.one_line(command)
    files = words.files(item.receipt, item.cwd) if item.receipt else ""
    findings = words.findings(item.receipt) if item.receipt else []
    return {
        "head": head,
        "inside": "" if head == command else command,
        "good": item.outcome == "exit" and item.exit_code == 0,
        "asked": asked,
        "ending": words.ending(item, asked=asked),
        "notes": _notes(item),
        "found": [found for found in (files, *findings) if found],
    }


def _change(item: FileChange, *, asked: bool) -> Json:
    diffs = words.literal("\n".join(change.diff for change in item.changes))
    return {
        "head": words.one_line(words.clean(words.changed(item)), 200) or "edit",
        "inside": words.shortened(diffs, DIFF),
        "good": item.status == "completed",
        "asked": asked,
        "ending": words.settled(item, asked=asked),
        "notes": _notes(item),
        "found": words.findings(item.receipt) if item.receipt else [],
    }


def _notes(item: CommandExecution | FileChange) -> list[str]:
    """Return what an agent said of a call, and what it asked for, on a line each."""
    notes = [words.clean(item.reason)] if item.reason else []
    if item.asked:
        wishes = words.clean(", ".join(item.asked))
        notes.append(f"asked to {wishes}: {item.decision or 'no answer yet'}")
    return notes
