"""The notebook's threads as a person handles them: by name, by id, by the number of a turn.

It looks names and numbers up and says what is wrong with them. What a thread is made of is the
backend's business, what the notebook remembers the attachment's.
"""

from __future__ import annotations

import contextlib
import re
import shlex
from typing import TYPE_CHECKING, Final

from codex_magic.backends.base import ThreadMissingError
from codex_magic.cell import PRIVATE
from codex_magic.errors import CellError, CodexMagicError
from codex_magic.notebook.records import Kept
from codex_magic.settings import thread_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.desk import Desk

SEE: Final = "Type %codex threads for those there are"
OTHER: Final = "Choose another name"
_ID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_SHORTEST: Final = 4


class Shelf:
    """The threads of one notebook.

    Parameters
    ----------
    desk
        The backend they run on, and what is known of them.
    """

    def __init__(self, desk: Desk) -> None:
        self._backend = desk.backend
        self._notebook = desk.attachment

    # --- finding ------------------------------------------------------------------------------

    def name(self, word: str) -> str:
        """Return the name of the notebook's own thread that `word` names, by its name or its id.

        Raises
        ------
        CellError
            There is none.
        """
        threads = self._notebook.threads
        word = word or self._notebook.current
        if word in threads:
            return word
        named = [name for name, thread_id in threads.items() if thread_id == word]
        if named:
            return named[0]
        raise CellError(f"this notebook has no thread {word!r}", hint=SEE)

    def turns(self, word: str) -> list[Kept]:
        """Return the turns of a thread, the oldest first; `word` is a name, an id, or empty.

        The backend's own where it stores them, else those that the notebook keeps.

        Raises
        ------
        CellError
            There is no such thread, or it is private.
        """
        threads = self._notebook.threads
        word = word or self._notebook.current
        if word not in threads and _ID.fullmatch(word) and word not in threads.values():
            return self._stored(word, word)
        name = self.name(word) if threads or word != self._notebook.current else word
        if name in self._notebook.private:
            raise CellError(f"thread {name!r} is private: its turns are kept nowhere")
        past = self._notebook.past(name, self._backend.name)
        kept = list(past.turns)
        if past.thread_id is None or past.branch:
            return kept
        try:
            stored = self._stored(past.thread_id, name)
        except CodexMagicError:
            return kept
        ids = {turn.id for turn in stored}
        first = next((i for i, turn in enumerate(kept) if turn.id in ids), len(kept))
        return [*kept[:first], *stored]

    def _stored(self, thread_id: str, name: str) -> list[Kept]:
        known = {turn.id: turn for turn in self._notebook.turns}
        found: list[Kept] = []
        for turn in self._backend.turns(thread_id):
            made = Kept(
                id=turn.turn_id,
                thread_id=turn.thread_id,
                thread_name=name,
                parent=found[-1].id if found else "",
                backend=self._backend.name,
                status="completed",
                prompt=next((text for who, text in turn.said if who == "user"), ""),
                said=turn.said,
            )
            found.append(known.get(turn.turn_id, made))
        return found

    def turn(self, turns: list[Kept], reference: str) -> tuple[int, Kept]:
        """Return one of `turns` and its number: by that, by its id, or the last.

        Raises
        ------
        CellError
            There is none.
        """
        if not turns:
            raise CellError("this thread has no turns yet", hint="Ask something first")
        if not reference:
            return len(turns), turns[-1]
        number = int(reference) if reference.isascii() and reference.isdecimal() else 0
        if 0 < number <= len(turns):
            return number, turns[number - 1]
        begins = [pair for pair in enumerate(turns, 1) if pair[1].id.startswith(reference)]
        if len(reference) >= _SHORTEST and len(begins) == 1:
            return begins[0]
        raise CellError(
            f"this thread has no turn {reference!r}: it has {len(turns)}",
            hint="Type %codex show for its turns and their numbers",
        )

    # --- changing -----------------------------------------------------------------------------

    def switch(self, word: str) -> str:
        """Make a thread that of cells that name none, and return its name."""
        name = self.name(word)
        self._notebook.switch(name)
        return name

    def begin(self, name: str) -> str:
        """Have a thread of this name begin afresh with the next turn; the current one unless named."""
        name = _named(name or self._notebook.current)
        self._notebook.begin(name)
        self._notebook.switch(name)
        return name

    def fork(self, word: str, reference: str) -> tuple[str, int]:
        """Have a branch begin with the next turn; return its name, and the turn it goes on from.

        That by its number in the thread that is branched off.
        """
        source = word or self._notebook.current
        if source not in self._notebook.threads and _ID.fullmatch(source):
            raise CellError(
                f"{source} is not this notebook's thread",
                hint=f"Take it up first: %%codex --resume {source}",
            )
        turns = self.turns(word)
        number, turn = self.turn(turns, reference)
        self._notebook.learn(turns)
        name = self._notebook.free_name(source)
        self._notebook.stand(name, turn.id)
        self._notebook.switch(name)
        return name, number

    def rename(self, word: str, new: str) -> str:
        """Give a thread of the notebook another name, and return the old one."""
        old = self.name(word)
        _named(new)
        if new in self._notebook.threads:
            raise CellError(f"there is a thread {new!r} already", hint=OTHER)
        thread_id, path = self._notebook.own(old), self._notebook.path
        if thread_id and old not in self._notebook.private:
            self._backend.rename(thread_id, new if path is None else f"{path.stem} · {new}")
        self._notebook.rename(old, new)
        return old

    def archive(self, word: str) -> str:
        """Take a thread off the list, and return its id; empty where it was never begun."""
        return self._away(word, self._backend.archive)

    def delete(self, word: str) -> str:
        """Remove a thread for good, with what it goes on from; likewise.

        Raises
        ------
        CellError
            Another notebook or a branch goes on with it.
        """
        return self._away(word, self._backend.delete, for_good=True)

    def _away(self, word: str, put: Callable[[str], None], *, for_good: bool = False) -> str:
        if not word:
            raise CellError("which thread?", hint=SEE)
        threads = self._notebook.threads
        if _ID.fullmatch(word) and word not in threads and word not in threads.values():
            self._refuse_shared(word, for_good=for_good)
            put(word)
            self._notebook.drop("", [word])
            return word
        name = self.name(word)
        if name in self._notebook.private:
            raise CellError(
                f"thread {name!r} is private: it is stored nowhere",
                hint="It ends with the kernel",
            )
        if name in self._notebook.pending:
            self._notebook.drop(name, [])
            return ""
        *earlier, newest = self._notebook.chain(name) or [""]
        if not newest:
            raise CellError(
                f"thread {name!r} is not stored on this machine",
                hint="`codex-magic strip` takes stored turns out of a notebook",
            )
        self._refuse_shared(newest, for_good=for_good)
        with contextlib.suppress(ThreadMissingError):  # somebody else was faster
            put(newest)
        gone = [newest]
        for thread_id in earlier:
            # What a branch or another notebook goes on from stays.
            with contextlib.suppress(CodexMagicError):
                if not self._notebook.users(thread_id):
                    put(thread_id)
                    gone.append(thread_id)
        self._notebook.drop(name, gone)
        return newest

    def _refuse_shared(self, thread_id: str, *, for_good: bool) -> None:
        if waiting := self._notebook.waiting_on([thread_id]):
            raise CellError(
                f"the branch {waiting[0]} has still to begin behind it",
                hint=f"Run a cell of it, or type: %codex delete {quoted(waiting[0])} --yes",
            )
        if for_good and (users := self._notebook.users(thread_id)):
            raise CellError(
                f"{users[0].name} goes on with this thread", hint="Archive it: %codex archive"
            )


def quoted(name: str) -> str:
    """Return a thread's name as one types it on a line."""
    return shlex.quote(name)


def _named(name: str) -> str:
    if name == PRIVATE:
        raise CellError(f"{name!r} is for threads that are stored nowhere", hint=OTHER)
    try:
        return thread_name(name)
    except ValueError as error:
        raise CellError(f"{name!r} cannot be used: {error}") from None
