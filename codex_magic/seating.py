"""How a turn gets its thread: what the notebook knows of it becomes what a backend can go on from.

Between the two stands only this: an attachment knows turns and ids, a backend knows threads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from codex_magic import events as ev
from codex_magic.backends.base import Start
from codex_magic.notebook.attach import MAIN

if TYPE_CHECKING:
    from codex_magic.backends.base import Seat
    from codex_magic.desk import Desk
    from codex_magic.turn import TurnRequest


@dataclass(frozen=True, slots=True)
class Seated:
    """A turn with its thread.

    Parameters
    ----------
    parent
        The id of the turn that it comes behind; empty for a first one.
    names
        What the person's variables were called at that turn.
    notices
        How the thread came to be.
    """

    seat: Seat
    parent: str
    names: tuple[str, ...]
    notices: tuple[ev.Notice, ...]


def take(desk: Desk, request: TurnRequest) -> Seated:
    """Return the thread for `request`; see `Backend.seat` for what may be raised."""
    notebook, name = desk.attachment, request.thread
    past = notebook.past(name, desk.backend.name)
    fresh = request.new or request.resume is not None
    title = "" if request.private else _title(desk, name)
    start = Start(past.thread_id, past.branch, past.turns, past.why, title)
    seat = desk.backend.seat(request, start)
    if fresh:
        notebook.begin(name)
    notebook.seated(name, seat.thread_id, backend=desk.backend.name, private=request.private)
    news = tuple(ev.Notice(text, "warning") for text in notebook.news)
    notebook.news.clear()
    if fresh or past.turn_id == "":
        return Seated(seat, "", (), news + seat.notices)
    names = past.turns[-1].names if past.turns else ()
    return Seated(seat, past.turn_id, names, news + seat.notices)


def _title(desk: Desk, name: str) -> str:
    """Return what a new thread is called in a list: the notebook's name, and its own."""
    path = desk.attachment.path
    if path is None:
        return ""
    return path.stem if name == MAIN else f"{path.stem} · {name}"
