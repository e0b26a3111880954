"""Threads and their turns, in lines for a person: what ``%codex threads`` and ``%codex show`` print.

What others wrote is shown on a line of its own and moves no cursor; only ``--md`` passes a thread on
as the Markdown it is, but for what `render` takes out of every answer.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from codex_magic.render import words
from codex_magic.render.written import harmless

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from codex_magic.notebook.attach import Attachment
    from codex_magic.notebook.records import Kept
    from codex_magic.session import Session

WIDTH: Final = 60


def threads(session: Session, cwd: str) -> Iterator[str]:
    """Yield the notebook's threads as a tree, then those stored for a folder, the latest used first."""
    notebook = session.attachment
    mine = notebook.threads
    yield from _tree(notebook, mine)
    hidden = {*mine.values(), *(known for name in mine for known in notebook.chain(name))}
    others = [row for row in session.backend.threads(cwd) if row.thread_id not in hidden]
    if others:
        yield "Also stored for this folder; to take one up, type: %%codex --resume ID"
    for row in others:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(row.updated_at))
        made = "" if row.ours else f" ({flat(row.origin)})"
        yield f"  {when} {flat(row.thread_id)} {_short(row.preview)}{made}"
    if not mine and not others:
        yield "No thread has begun yet."


def _tree(notebook: Attachment, mine: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each thread, a branch below what it branches off."""
    found = {name: notebook.past(name).turns for name in mine}
    below: dict[str, list[str]] = {}
    for name, turns in found.items():
        origin = _origin(name, turns)
        above = origin.thread_name if origin and origin.thread_name in found else ""
        below.setdefault(above, []).append(name)
    # Threads of a file that somebody edited may branch off each other; they stand at the end.
    stack = [(0, name) for name in (*reversed([*mine]), *reversed(below.get("", [])))]
    seen: set[str] = set()
    while stack:
        depth, name = stack.pop()
        if name not in seen:
            seen.add(name)
            yield _row(notebook, name, mine[name], found[name], depth)
            stack.extend((depth + 1, branch) for branch in reversed(below.get(name, [])))


def _origin(name: str, turns: Sequence[Kept]) -> Kept | None:
    """Return the turn that the thread `name` branched off, if it is a branch."""
    others = [turn for turn in turns if turn.thread_name != name]
    return others[-1] if others else None


def _row(notebook: Attachment, name: str, thread_id: str, turns: Sequence[Kept], depth: int) -> str:
    mark = "*" if name == notebook.current else " "
    label = f"{'   ' * (depth - 1)}└─ {flat(name)}" if depth else flat(name)
    where = thread_id or ("not begun" if name in notebook.pending else "kept here only")
    if name in notebook.private:
        where = "stored nowhere"
    facts = []
    if (origin := _origin(name, turns)) is not None:
        number = next(n for n, turn in enumerate(turns, 1) if turn is origin)
        facts.append(f"from turn {number} of {flat(origin.thread_name)}")
    if turns:
        facts.append(f"{len(turns)} turn{'' if len(turns) == 1 else 's'}")
        facts.append(f"last: {_short(turns[-1].prompt)}")
    return f"{mark} {label:<12} {flat(where)}  {', '.join(facts)}".rstrip()


def turns(found: Sequence[Kept]) -> Iterator[str]:
    """Yield two lines for each turn: its number and prompt, and how its answer begins."""
    if not found:
        yield "This thread has no turns yet."
    for number, turn in enumerate(found, 1):
        ended = "" if turn.status in ("completed", "") else f" ({flat(turn.status)})"
        yield f"{number:>3}  {_short(turn.prompt)}{ended}"
        if turn.answer:
            yield f"     {_short(turn.answer)}"


def markdown(found: Sequence[Kept]) -> Iterator[str]:
    """Yield a thread as Markdown: each prompt as a quotation, each message of the agent below it."""
    for number, turn in enumerate(found, 1):
        yield f"## {number}\n"
        said = turn.said or (("user", turn.prompt),)
        for who, text in said:
            written = harmless(words.clean(text)).strip()
            quoted = "\n".join(f"> {line}".rstrip() for line in written.split("\n"))
            yield f"{quoted if who == 'user' else written}\n"


def flat(text: str) -> str:
    """Return somebody else's words on one line that moves no cursor."""
    return " ".join(words.clean(text).split())


def _short(text: str) -> str:
    return words.one_line(words.clean(text), WIDTH)
