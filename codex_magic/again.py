"""A turn that the notebook keeps, shown again instead of asked again.

It counts as the same if the prompt, the options and all turns before it are the same. Then it costs
nothing, needs no network, and says what it said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from codex_magic import events as ev
from codex_magic.errors import RecordError
from codex_magic.notebook import history, records
from codex_magic.turn import REUSED, Turn, from_json

if TYPE_CHECKING:
    from codex_magic.notebook.attach import Attachment
    from codex_magic.page import Page
    from codex_magic.turn import TurnRequest


def inputs(notebook: Attachment, request: TurnRequest) -> str:
    """Return the hash of what the answer to `request` depends on."""
    if request.new or request.resume is not None:
        return history.inputs(request, "")
    turns = notebook.past(request.thread).turns
    return history.inputs(request, turns[-1].inputs if turns else "")


def find(notebook: Attachment, request: TurnRequest) -> Turn | None:
    """Return the kept turn that `request` asks for once more, or None.

    A kernel that has not used the thread yet may be running the notebook from its first cell, or go
    on where it ended: the first is looked for first.
    """
    if request.private or notebook.path is None:
        return None
    wanted = [request.inputs]
    if notebook.is_unused(request.thread):
        wanted.insert(0, history.inputs(request, ""))
    for each in wanted:
        kept = notebook.find(each)
        if kept is None:
            continue
        try:
            turn = from_json(records.whole(notebook.path, kept.id))
        except (RecordError, RecursionError):
            continue  # what was found at first has been changed since, or is no turn but for its head
        # Of two with one id in a file, the other may have been found.
        known = (turn.prompt, turn.inputs, turn.status, turn.private)
        if known == (request.prompt, each, "completed", False):
            return turn
    return None


def show(notebook: Attachment, request: TurnRequest, turn: Turn, page: Page) -> Turn:
    """Show a kept turn as it is kept, with a notice that says so, and return it."""
    if all(notice.text != REUSED for notice in turn.notices):
        turn = msgspec.structs.replace(turn, notices=(*turn.notices, ev.Notice(REUSED)))
    page.open(_nobody)
    page.finish(turn)
    notebook.shown(turn.id, request.thread)
    notebook.news.clear()  # what is kept has it already
    return turn


def _nobody(event: ev.Event) -> None:
    """Nothing can be done about a turn that is over."""
