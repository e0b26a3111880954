"""Runs in the kernels that `stream.py` measures: scripted turns, and what to compare them with.

A prompt says in a few words what its turn does, see `Source`. Times are on the clock of the wall,
which the page has too.
"""

from __future__ import annotations

import itertools
import json
import queue
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from IPython.core.getipython import get_ipython
from IPython.display import HTML, Markdown, display

from codex_magic import events as ev
from codex_magic.backends.base import (
    Account,
    Mailbox,
    Seat,
    Start,
    StoredThread,
    ToolAnswer,
    TurnInput,
)
from codex_magic.items import AgentMessage, Text
from codex_magic.running import Running
from codex_magic.session import Session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from codex_magic.turn import TurnRequest

WORDS = ("the ", "old ", "map ", "has ", "two ", "red ", "and ", "one ", "big ", "dot ")
PARAGRAPH = 100
NAP_S = 0.001
PAUSE_S = 0.4
"""Seconds between two first tokens; a page is quiet by then."""

_marks = itertools.count()
_notes = Path()


def use(notes: str) -> None:
    """Load the extension with scripted turns, and note here what the kernel knows of them."""
    global _notes  # noqa: PLW0603 - one kernel, one file
    _notes = Path(notes)
    shell: Any = get_ipython()
    shell.run_line_magic("load_ext", "codex_magic")
    source = Source()
    magics = shell.magics_manager.registry["CodexMagics"]
    magics._session = Session(connect=lambda: source)
    clock = _CellClock()
    shell.events.register("pre_run_cell", clock.begin)
    shell.events.register("post_run_cell", clock.end)
    _note_decisions()


def note(what: str, **values: Any) -> None:
    line = json.dumps({"what": what, "at": time.time(), "cpu": time.process_time(), **values})
    with _notes.open("a") as notes:
        notes.write(line + "\n")


def mark() -> str:
    """Return a word that was never shown before; the page notes when it sees it."""
    return f"mark-{next(_marks)}."


def prose(count: int, end: str) -> Iterator[str]:
    """Yield pieces of four characters, a paragraph now and then, and last `end`."""
    for i in range(1, count):
        yield WORDS[i * 7 // 3 % len(WORDS)] if i % PARAGRAPH else "d.\n\n"
    yield end


def paced(count: int, rate: float, put: Callable[[str], object]) -> None:
    """Put pieces of text at a rate; note when the first and the last was put."""
    end = mark()
    note("first")
    begin = time.perf_counter()
    for i, piece in enumerate(prose(count, end)):
        while (ahead := begin + i / rate - time.perf_counter()) > 0:
            time.sleep(max(NAP_S, ahead))
        if piece == end:
            note("last", mark=end)
        put(piece)


class Source:
    """A backend whose turns do what their prompts say.

    ``stream COUNT RATE [REST]``
        So many pieces of text, so many a second; so many seconds after its last the turn ends.
    ``firsts COUNT``
        So many messages of one word, with a pause before each.
    ``ask COUNT``
        So many commands that need a person's leave.
    """

    name = "scripted"
    version = (0, 163, 0)

    def __init__(self) -> None:
        self._mailbox: Mailbox = queue.SimpleQueue()
        self._stop = threading.Event()
        self._answered = threading.Event()

    def seat(self, request: TurnRequest, start: Start) -> Seat:
        return Seat(start.known or f"id-of-{request.thread}", "a-model")

    def start_turn(self, seat: Seat, turn: TurnInput, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._stop = threading.Event()
        work, *numbers = turn.request.prompt.split()
        works: dict[str, Callable[..., None]] = {
            "stream": self._stream,
            "firsts": self._firsts,
            "ask": self._ask,
        }
        arguments = (self._stop, *map(float, numbers))
        threading.Thread(target=works[work], args=arguments, daemon=True).start()

    def answer(self, request_id: Any, answer: ToolAnswer) -> None:
        self._answered.set()

    def interrupt(self) -> None:
        self._stop.set()
        self._mailbox.put(ev.TurnCompleted("interrupted", at=time.time()))

    def steer(self, text: str) -> None: ...

    def threads(self, cwd: str | None, limit: int = 20) -> Sequence[StoredThread]:
        return ()

    def account(self) -> Account:
        return Account("chatgpt", "ada@example.org")

    def close(self) -> None:
        self._stop.set()

    # --- what a turn can do -------------------------------------------------------------------

    def _stream(self, stop: threading.Event, count: float, rate: float, rest: float = 0.0) -> None:
        put = self._mailbox.put
        put(ev.TurnStarted("t", time.time()))
        # A model takes a moment, in which the page loads its script.
        stop.wait(PAUSE_S)
        put(ev.ItemStarted(AgentMessage(id="m", phase="final_answer")))
        said: list[str] = []

        def say(piece: str) -> None:
            if stop.is_set():
                raise SystemExit
            said.append(piece)
            put(ev.ItemDelta("m", "text", piece))

        paced(int(count), rate, say)
        text = Text("".join(said))
        whole = AgentMessage(id="m", status="completed", text=text, phase="final_answer")
        put(ev.ItemCompleted(whole))
        stop.wait(rest)
        note("over")
        put(ev.TurnCompleted("completed", at=time.time()))

    def _firsts(self, stop: threading.Event, count: float) -> None:
        put = self._mailbox.put
        put(ev.TurnStarted("t", time.time()))
        for i in range(int(count)):
            put(ev.ItemStarted(AgentMessage(id=f"m{i}")))
            stop.wait(PAUSE_S)
            word = mark()
            note("word", mark=word)
            put(ev.ItemDelta(f"m{i}", "text", word))
            put(ev.ItemDelta(f"m{i}", "text", " and so on"))
        stop.wait(PAUSE_S)
        put(ev.TurnCompleted("completed", at=time.time()))

    def _ask(self, stop: threading.Event, count: float) -> None:
        put = self._mailbox.put
        put(ev.TurnStarted("t", time.time()))
        arguments = {"command": ["true"], "network": True, "justification": "To see how long."}
        for i in range(int(count)):
            self._answered.clear()
            put(ev.ToolCallRequested(i, f"c{i}", "shell", arguments))
            self._answered.wait()
        put(ev.TurnCompleted("completed", at=time.time()))


# --- the controls, each in a cell of its own ------------------------------------------------------


def drained(count: int, rate: float) -> None:
    """Pace, put and take events as a turn does, and nothing else."""
    mailbox: Mailbox = queue.SimpleQueue()

    def work() -> None:
        paced(count, rate, lambda piece: mailbox.put(ev.ItemDelta("m", "text", piece)))
        mailbox.put(ev.TurnCompleted("completed"))

    threading.Thread(target=work, daemon=True).start()
    while not isinstance(mailbox.get(), ev.TurnCompleted):
        pass


def html(count: int, rate: float) -> None:
    """Set a widget's value to all so far, for each piece."""
    import ipywidgets

    widget = ipywidgets.HTML()
    display(widget)
    time.sleep(PAUSE_S)

    def put(piece: str) -> None:
        widget.value += piece

    paced(count, rate, put)


def markdown(count: int, rate: float) -> None:
    """Replace an output by all so far, for each piece."""
    text = ""
    handle = display(Markdown(text), display_id=True)

    def put(piece: str) -> None:
        nonlocal text
        text += piece
        handle.update(Markdown(text))

    paced(count, rate, put)


def words(count: int) -> None:
    """Display words one by one, with a pause before each."""
    for _ in range(count):
        time.sleep(PAUSE_S)
        word = mark()
        note("word", mark=word)
        display(HTML(word))


def wait() -> None:
    """Do nothing until the kernel is interrupted."""
    note("waiting")
    while True:
        time.sleep(NAP_S)


class _CellClock:
    """Notes when a cell has ended, and what it has cost."""

    def __init__(self) -> None:
        self._begun = 0.0

    def begin(self, _info: Any) -> None:
        self._begun = time.process_time()
        note("begin")

    def end(self, _result: Any) -> None:
        note("end", cost=time.process_time() - self._begun)


def _note_decisions() -> None:
    answered = Running._answered

    def noted(self: Running, item_id: str, answer: Any) -> None:
        note("decided")
        answered(self, item_id, answer)

    Running._answered = noted  # type: ignore[method-assign]  # the one place where it arrives
