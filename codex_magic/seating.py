"""How a turn gets its thread: what the notebook knows of it becomes what a backend can go on from.

Between the two stands only this: an attachment knows turns and ids, a backend knows threads.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codex_magic import events as ev
from codex_magic.backends.base import Start
from codex_magic.notebook.attach import MAIN

if TYPE_CHECKING:
    from codex_magic.backends.base import Seat
    from codex_magic.desk import Desk
    from codex_magic.notebook.past import Past
    from codex_magic.notebook.records import Kept
    from codex_magic.turn import TurnRequest


@dataclass(frozen=True, slots=True)
class Seated:
    """A turn with its thread.

    Parameters
    ----------
    name
        What the thread is called; not always what was asked for.
    parent
        The id of the turn that it comes behind; empty for a first one.
    names
        What the person's variables were called at that turn.
    is_fresh
        Whether the kernel has run nothing of this thread so far, or for a new one, nothing at all.
    notices
        How the thread came to be.
    """

    seat: Seat
    name: str
    parent: str
    names: tuple[str, ...]
    is_fresh: bool
    notices: tuple[ev.Notice, ...]


def take(desk: Desk, request: TurnRequest) -> Seated:
    """Return the thread for `request`; see `Backend.seat` for what may be raised."""
    notebook, name = desk.attachment, request.thread
    past = notebook.past(name, desk.backend.name)
    begins = request.new or request.resume is not None
    title = "" if request.private else _title(desk, name)
    start = Start(past.thread_id, past.branch, past.turns, past.why, title)
    seat = desk.backend.seat(request, start)
    if not request.private:
        name = _named(desk, request, seat, past)
    parent = ""
    turns: tuple[Kept, ...] = ()
    if begins and name == request.thread:
        notebook.begin(name)
    else:
        # By another name if it turned out to be a thread that the notebook has already.
        past = past if name == request.thread or seat.forked else notebook.past(name)
        parent, turns = past.turn_id, past.turns
    notebook.seated(name, seat.thread_id, backend=desk.backend.name, private=request.private)
    is_known = any(turn.id in notebook.ran for turn in turns) or seat.thread_id in desk.used
    news = tuple(ev.Notice(text, "warning") for text in notebook.news)
    notebook.news.clear()
    return Seated(
        seat,
        name,
        parent,
        turns[-1].names if turns else (),
        is_fresh=not is_known if turns else not notebook.ran,
        notices=news + seat.notices,
    )


def own_model(desk: Desk, name: str) -> str:
    """Return the model that the thread `name` goes on with where a cell names none, if that is known.

    One that is open here keeps the model of its first turn in this kernel; one that is taken up has
    that of its last.
    """
    notebook = desk.attachment
    past = notebook.past(name, desk.backend.name)
    turns = [turn for turn in past.turns if turn.thread_id == past.thread_id and turn.model]
    ran = [turn for turn in turns if turn.id in notebook.ran and not past.branch]
    return (ran or turns[-1:])[0].model if turns else ""


def early(desk: Desk, request: TurnRequest, start: Start) -> str:
    """Seat the thread `request` names before its first turn, and return its id.

    How it came to be is told by that turn.
    """
    notebook, name = desk.attachment, request.thread
    seat = desk.backend.seat(request, start)
    notebook.begin(name)
    notebook.seated(name, seat.thread_id, backend=desk.backend.name, private=request.private)
    notebook.news += [notice.text for notice in seat.notices]
    return seat.thread_id


def _named(desk: Desk, request: TurnRequest, seat: Seat, past: Past) -> str:
    """Return what the thread is called from now on, and say so where that is something else."""
    notebook, name = desk.attachment, request.thread
    owner = notebook.owner(seat.thread_id)
    if owner and owner != name:
        notebook.news.append(f"this thread is called {owner} here")
        return owner
    if seat.forked and notebook.own(name) and request.resume is None:
        branch = notebook.free_name(name)
        notebook.stand(branch, past.turn_id)
        notebook.switch(branch)
        notebook.news.append(f"this is the branch {branch} of {name} now; {back_to(name)}")
        return branch
    return name


def back_to(name: str) -> str:
    """Return in words how to go back to a thread."""
    return f"to go back, type: %codex switch {shlex.quote(name)}"


def _title(desk: Desk, name: str) -> str:
    """Return what a new thread is called in a list: the notebook's name, and its own."""
    path = desk.attachment.path
    if path is None:
        return ""
    return path.stem if name == MAIN else f"{path.stem} · {name}"
