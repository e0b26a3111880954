"""A turn as Markdown: what JupyterLab, nbconvert and GitHub show of a saved notebook.

Commands and reasoning stand in ``<details>``, the answer below them as it was written, but for
what `written` takes out of it. Whatever comes from a command is fenced or escaped: it is shown,
never rendered.
"""

from __future__ import annotations

import contextlib
import html
import json
import re
from typing import TYPE_CHECKING

from codex_magic.items import (
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
from codex_magic.render.written import harmless
from codex_magic.turn import PROMPT_ID

if TYPE_CHECKING:
    from codex_magic.items import Receipt
    from codex_magic.turn import Turn

_TICKS = {"completed": "x", "in_progress": " ", "pending": " "}
_PATHS = 200
_DIFF_BYTES = 128 * 1024


def text(turn: Turn, *, quiet: bool = False) -> str:
    """Return the turn as Markdown; `quiet` leaves the answer, how it ended, and its tape."""
    if quiet:
        blocks = [_said(turn.final_response, turn)]
    else:
        blocks = [_block(item, turn) for item in turn.items]
        blocks.extend(_note(notice.text) for notice in turn.notices)
    if not turn.is_over and not any(blocks):
        blocks.append(_note("thinking …"))
    if ended := words.outcome(turn):
        blocks.append(f"**The turn {'' if turn.status == 'failed' else 'was '}{_escaped(ended)}**")
    if turn.is_over and (facts := words.taped(turn) if quiet else words.footer(turn)):
        blocks.append(_note(" · ".join(facts)))
    return "\n\n".join(block for block in blocks if block)


def _block(item: Item, turn: Turn) -> str:  # noqa: C901 - one flat table
    live = not turn.is_over
    match item:
        case AgentMessage():
            return _said(str(item.text) or str(item.draft), turn)
        case Reasoning():
            thought = str(item.summary) or str(item.content) or str(item.draft)
            running = live and item.status == "in_progress"
            return _details("Thinking" if running else "Thought", harmless(thought), opened=running)
        case CommandExecution():
            return _command(item, live=live, asked=turn.waiting_for == item.id)
        case Plan():
            steps = [f"- [{_TICKS[step.status]}] {_escaped(step.text)}" for step in item.steps]
            return "\n".join([*steps, "", harmless(str(item.text))]).strip("\n")
        case FileChange():
            return _edit(item, asked=turn.waiting_for == item.id)
        case ToolCall():
            said = f"{_code(item.tool)} · {item.status.replace('_', ' ')}"
            inside = words.clean("\n".join(filter(None, (item.arguments, str(item.output)))))
            return _details(said, fenced(words.shortened(inside, words.SAVED_OUTPUT_BYTES)))
        case Compaction():
            return _details(words.compacted(item), harmless(str(item.text)))
        case WebSearch():
            return _note(f"searched the web for {item.query}")
        case UnknownItem():
            return _details(
                _escaped(item.kind or "something new"), fenced(words.clean(str(item.text)))
            )
        case Question():
            return _question(item, asked=turn.waiting_for == item.id)
        case UserMessage() if item.id == PROMPT_ID:
            return _note(words.images(item)) if item.images else ""
        case UserMessage():
            return f"**Added while it ran:** {_rows(str(item.text))}"


def _said(text: str, turn: Turn) -> str:
    """Return what the agent said; an answer by a schema is JSON and no Markdown."""
    if not turn.structured or text.lstrip()[:1] not in ("{", "["):
        return harmless(text)
    with contextlib.suppress(ValueError, RecursionError):  # it is still growing, or is none
        text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    return fenced(words.literal(text), "json")


def _command(item: CommandExecution, *, live: bool, asked: bool) -> str:
    running = live and item.status == "in_progress"
    good = item.outcome == "exit" and item.exit_code == 0
    mark = "▸" if running else "✓" if good else "✗"
    whole = words.command(item)
    head = words.one_line(whole)
    summary = f"{mark} {_code(head)} · {_escaped(words.ending(item, asked=asked))}"
    inside = []
    if head != whole:
        inside.append(fenced(whole, "sh"))
    if item.reason:
        inside.append(_note(item.reason))
    if item.asked:
        inside.append(_note(f"asked to {', '.join(item.asked)}: {item.decision or 'no answer'}"))
    if output := words.clean(str(item.output)).rstrip("\n"):
        inside.append(fenced(words.shortened(output, words.SAVED_OUTPUT_BYTES)))
    inside.extend(_told(item.receipt, item.cwd))
    return _details(summary, "\n\n".join(inside), opened=running)


def _told(receipt: Receipt | None, folder: str) -> list[str]:
    """Return what a receipt says that a person should see, a note each."""
    if receipt is None:
        return []
    return [
        _note(said) for said in (words.files(receipt, folder), *words.findings(receipt)) if said
    ]


def _edit(item: FileChange, *, asked: bool) -> str:
    head = words.one_line(words.changed(item), _PATHS) or "edit"
    summary = " · ".join(filter(None, (_code(head), _escaped(words.settled(item, asked=asked)))))
    inside = []
    if item.reason:
        inside.append(_note(item.reason))
    if item.asked:
        inside.append(_note(f"asked to {', '.join(item.asked)}: {item.decision or 'no answer'}"))
    diffs = words.literal("\n".join(change.diff for change in item.changes))
    inside.append(fenced(words.shortened(diffs, _DIFF_BYTES), "diff"))
    findings = words.findings(item.receipt) if item.receipt else []  # its files are its diff
    inside.extend(map(_note, findings))
    return _details(summary, "\n\n".join(filter(None, inside)))


def _question(item: Question, *, asked: bool) -> str:
    lines = [f"**Codex asked:** {_rows(item.question)}"]
    lines += [f"- <span>{_rows(option)}</span>" for option in item.options]
    if item.answer:
        lines += ["", f"**{words.answered(item)}:** {_rows(item.answer)}"]
    elif asked:
        lines += ["", _note(words.WAITING)]
    return "\n".join(lines)


def _rows(text: str) -> str:
    """Return what somebody wrote, with its lines and nothing else of Markdown."""
    return "<br>".join(map(_escaped, words.prose(text).split("\n")))


def _details(summary: str, inside: str, *, opened: bool = False) -> str:
    if not inside.strip():
        return f"<small>{summary}</small>"
    state = " open" if opened else ""
    # Set off from the answer in renderers that keep styles. Not as a quotation: front ends look for
    # mathematics before they look at Markdown, and spare only fences at the start of a line.
    return (
        f'<details{state} style="{_AIR}"><summary><small>{summary}</small></summary>\n\n'
        f'<div style="{_SET_OFF}">\n\n{inside}\n\n</div>\n\n</details>'
    )


_AIR = "margin: 0.4em 0 0.8em"
_SET_OFF = "margin: 0.3em 0 0 0.4em; padding-left: 1em; border-left: 3px solid #8885"


def _note(line: str) -> str:
    return f"<small>{_escaped(line)}</small>"


def _code(line: str) -> str:
    return f"<code>{_escaped(line)}</code>"


_MEANING = {
    # A Markdown renderer looks for these inside the HTML of one line, too.
    "$": "&#36;",
    "`": "&#96;",
    "*": "&#42;",
    "_": "&#95;",
    "[": "&#91;",
    "\\": "&#92;",
    "\n": " ",
    "|": "&#124;",
    "~": "&#126;",
}


def _escaped(line: str) -> str:
    return "".join(_MEANING.get(char, char) for char in html.escape(words.clean(line)))


def fenced(body: str, language: str = "text") -> str:
    """Return `body` in a fence that nothing inside can close."""
    if not body.strip():
        return ""
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{body}\n{fence}"
