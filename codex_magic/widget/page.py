"""A turn in a notebook's output, live as a widget, and what a person does on it.

Nothing is sent before the page has said hello: what comes earlier would be lost. From then on it
gets numbered updates and asks for everything anew where a number is missing. A front end that never
says hello has no widgets; then the turn is shown by replacing its output, and questions are
asked by `input`. At the end the widget is replaced by the form that the notebook keeps.
"""

from __future__ import annotations

import logging
import secrets as random
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Final

from codex_magic import events as ev
from codex_magic import render
from codex_magic.approval import Answer, ApprovalRequest, QuestionRequest, card
from codex_magic.interrupts import interrupts_held
from codex_magic.items import well_formed
from codex_magic.page import Bundle, NotebookPage, Pace
from codex_magic.policy import Decision
from codex_magic.render import view
from codex_magic.widget.cells import LiveCells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codex_magic.approval import Approver
    from codex_magic.turn import Turn
    from codex_magic.widget.model import TurnWidget
    from codex_magic.widget.routing import Door

log = logging.getLogger("codex_magic")

Json = dict[str, Any]

INTERVAL_S: Final = 1 / 30
SUSTAINED_S: Final = 1 / 20
HELLO_S: Final = 3.0
"""Seconds a front end has to say hello; one that has widgets takes a tenth of a second."""

WIDGET: Final = "application/vnd.jupyter.widget-view+json"
LONGEST: Final = 20_000
"""Characters that a person may type on a page at once."""


class WidgetPage:
    """One output of a cell: a widget while the turn runs, a bundle of media types afterwards.

    It is also who is asked: the question becomes a card on it. `cells` are those of the notebook
    around it.

    Parameters
    ----------
    publish
        Displays a bundle of media types; the second argument says whether it replaces the first.
    door
        How messages get in and out while the cell runs.
    otherwise
        Who is asked where the front end has no widgets.
    cell
        The id of the cell that runs; empty where the front end does not say it.
    drop
        Takes the ids of waiting cells that are not to run, and when that was said.
    quiet, secrets, clock
        As `NotebookPage` has them.
    """

    def __init__(  # noqa: PLR0913 - all but two by their names
        self,
        publish: Callable[[Bundle, bool], None],
        door: Door,
        *,
        otherwise: Approver,
        cell: str = "",
        drop: Callable[[Sequence[str], Any], None] = lambda _cells, _sent: None,
        quiet: bool = False,
        secrets: frozenset[str] = frozenset(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._publish = publish
        self._door = door
        self._otherwise = otherwise
        self._cell = cell
        self._drop = drop
        self._quiet = quiet
        self._secrets = secrets
        self._clock = clock
        self._pace = Pace(clock, INTERVAL_S, SUSTAINED_S)
        self._plain: NotebookPage | None = None
        self._report: Callable[[ev.Event], None] = lambda _event: None
        self._hellos: deque[Json] = deque()
        self._arrived = threading.Event()
        self._displayed_at: float | None = None
        self._turn: Turn | None = None
        self._sent: Turn | None = None
        self._draws = False  # a page has said that its host draws no Markdown
        self._number = 0
        self._asked: ApprovalRequest | QuestionRequest | None = None
        self._card: Json | None = None
        self._kept: Bundle | None = None
        self.widget: TurnWidget | None = None
        self.cells = LiveCells(cell)

    @property
    def greeted(self) -> bool:
        """Whether the front end has widgets: it has said hello."""
        return self._sent is not None

    @property
    def gave_up(self) -> bool:
        """Whether it has waited for that in vain."""
        return self._plain is not None

    def leave(self) -> None:
        """Take no more messages while a cell runs; the turn is over, however it ended."""
        self._door.close()

    def close(self) -> None:
        """Let the widget go; a page that still shows it gets no more answers."""
        if self.widget is not None:
            self.widget.close()
            self.widget = None

    # --- Page ---------------------------------------------------------------------------------

    def open(self, report: Callable[[ev.Event], None]) -> None:
        """Begin; what a person does on the page is reported."""
        self._report = report
        # While the backend starts, which is somebody else's work.
        threading.Thread(target=_warm, name="codex widget", daemon=True).start()

    def show(self, turn: Turn) -> None:
        """Show the turn as it stands; see `Page.show`."""
        if self._plain is not None:
            self._plain.show(turn)
            return
        self._turn = turn
        if self.widget is None:
            self._display()
        self._door.pump()
        if self._hellos:
            self._greet()
        elif self._sent is None:
            self._give_up_waiting()
        elif turn is not self._sent:
            self._update(turn)
        if self._sent is not None:
            self._post(self.cells.errands(turn))

    def finish(self, turn: Turn) -> None:
        """Replace the widget by the form that the notebook keeps; see `Page.finish`."""
        try:
            self._last_words(turn)
            self._turn, self._card, self._asked = turn, None, None
            bundle = render.saved(turn, quiet=self._quiet, secrets=self._secrets)
            self._kept = bundle
            self._publish(bundle, self._displayed_at is not None)
            self._displayed_at = self._displayed_at or self._clock()
        finally:
            self._door.close()

    def _last_words(self, turn: Turn) -> None:
        """Send what has not been shown yet: a host takes its time to draw what is kept."""
        if self._sent is None or self._plain is not None:
            return
        try:
            self._bring_up(turn, self._sent)
        except Exception:  # what is kept says the same
            log.exception("the last words of a turn could not be sent")

    def _display(self) -> None:
        from codex_magic.widget.model import TurnWidget  # noqa: PLC0415 - at the first turn

        self.widget = TurnWidget(self._state)
        self.widget.on_msg(lambda _widget, content, _buffers: self._late(content))
        model_id = self.widget.model_id
        self._door.open(model_id, self._receive)
        shown = {"model_id": model_id, "version_major": 2, "version_minor": 0}
        with interrupts_held():  # else it would be displayed twice
            self._publish({WIDGET: shown, "text/plain": "Codex is at work …"}, False)  # noqa: FBT003 - the first
            self._displayed_at = self._clock()

    def _give_up_waiting(self) -> None:
        """Go on without a widget where nobody says hello."""
        if self._waited_s() < HELLO_S or self._turn is None:
            return
        self._door.close()
        self.cells.give_up()
        self._plain = NotebookPage(
            lambda bundle, _replaces: self._publish(bundle, True),  # noqa: FBT003 - the widget
            quiet=self._quiet,
            secrets=self._secrets,
        )
        self._plain.show(self._turn)

    def _waited_s(self) -> float:
        return 0.0 if self._displayed_at is None else self._clock() - self._displayed_at

    # --- sending ------------------------------------------------------------------------------

    def _greet(self) -> None:
        """Answer whoever said hello with all there is; other views of the same turn know it."""
        if self._turn is None or self.widget is None:
            return
        while self._hellos:
            hello = self._hellos.popleft()
            self._draws = self._draws or hello.get("markdown") is False
            self.cells.greet(hello)
        if self._sent is not None:
            # Under a number of its own: views that have all before it will not look at the rest.
            self._bring_up(self._turn, self._sent)
        self._sent = self._turn
        self._door.send(self.widget.model_id, self._everything(self._turn, self._card))
        self._pace.drawn(self._pace.now())

    def _everything(self, turn: Turn, shown: Json | None) -> Json:
        operations = [["page", self._own(shown)], *view.whole(turn)]
        operations += view.drawn(None, turn) if self._draws else []
        return {"n": self._number, "all": operations}

    def _own(self, shown: Json | None) -> Json:
        widget = "" if self.widget is None else self.widget.model_id
        return {"quiet": self._quiet, "cell": self._cell, "widget": widget, "card": shown}

    def _update(self, turn: Turn) -> None:
        if not self._pace.due(turn) or self._sent is None:
            return
        started = self._pace.now()
        self._bring_up(turn, self._sent)
        self._pace.drawn(started)

    def _bring_up(self, turn: Turn, sent: Turn) -> None:
        """Send what `turn` has beyond what was sent."""
        operations = view.update(sent, turn)
        operations += view.drawn(sent, turn) if self._draws else []
        if self._card is not None and not turn.waiting_for:
            self._card = self._asked = None
            operations.append(["page", self._own(self._card)])
        self._sent = turn
        self._post(operations)

    def _post(self, operations: list[view.Operation]) -> None:
        if operations and self.widget is not None:
            self._number += 1
            self._door.send(self.widget.model_id, {"n": self._number, "ops": operations})

    def _state(self) -> Json:
        """Return what a reloaded page is told; a front end might save it, so it is masked."""
        if self._turn is None:
            return {}
        turn = render.masked(self._turn, self._secrets)
        shown: Json | None = render.masked(self._card, self._secrets)
        return self._everything(turn, shown) | {"kept": self._kept}

    def _late(self, content: Any) -> None:
        """Answer a page that says hello when the turn is over: it was reloaded meanwhile."""
        if isinstance(content, dict) and content.get("k") == "hello" and self.widget is not None:
            self.widget.send(self._state())

    # --- receiving: on whatever OS thread reads the kernel's messages --------------------------

    def _receive(self, content: Any, sent: Any) -> None:
        if not isinstance(content, dict):
            return
        match content.get("k"):
            case "hello":
                self._hellos.append(content)
                self._arrived.set()
            case "decide":
                self._decide(content)
            case "answer":
                self._answer(content)
            case "cells":
                self.cells.answer(content)
            case "stop":
                cells = content.get("drop")
                if isinstance(cells, list):
                    self._drop([cell for cell in cells if isinstance(cell, str)], sent)
                self._report(ev.StopRequested())
            case "steer":
                if text := _text(content.get("text")):
                    self._report(ev.SteerRequested(text))

    def _claim(self, content: Json) -> ApprovalRequest | QuestionRequest | None:
        """Return what `content` answers, once; None for an answer to anything else."""
        asked, shown = self._asked, self._card
        if asked is None or shown is None or content.get("key") != shown["key"]:
            return None
        self._asked = None
        return asked

    def _decide(self, content: Json) -> None:
        words = [decision.value for decision in Decision]
        decision = content.get("decision")
        if decision not in words:
            return
        asked = self._claim(content)
        if isinstance(asked, QuestionRequest) and decision != Decision.CANCEL:
            self._asked = asked  # a question is not decided, it is answered
        elif asked is not None:
            reason = _text(content.get("reason"))
            self._report(ev.ApprovalDecided(asked.item_id, decision, "person", reason))

    def _answer(self, content: Json) -> None:
        text = _text(content.get("text"))
        option = content.get("option")
        asked = self._asked
        if not isinstance(asked, QuestionRequest):
            return
        if type(option) is int and 0 <= option < len(asked.options):
            text = asked.options[option]
        if text and self._claim(content) is not None:
            self._report(ev.QuestionAnswered(asked.item_id, text, "person"))

    # --- Approver -----------------------------------------------------------------------------

    def ask(self, request: ApprovalRequest | QuestionRequest) -> Answer | None:
        """Show a card; its answer is reported. Without widgets the person is asked otherwise."""
        if not self._is_greeted():
            return self._otherwise.ask(request)
        # A key that nobody can know who has not seen the card.
        self._card = card(request) | {"key": random.token_hex(16)}
        self._asked = request
        self._post([["page", self._own(self._card)]])
        return None

    def _is_greeted(self) -> bool:
        while self._plain is None and self._sent is None and self._turn is not None:
            self._arrived.wait(INTERVAL_S)
            self.show(self._turn)
        return self._plain is None


def _warm() -> None:
    """Import what a widget needs; it takes a tenth of a second, once."""
    from codex_magic.widget import model  # noqa: PLC0415

    model.script()


def _text(value: Any) -> str:
    return well_formed(value).strip()[:LONGEST] if isinstance(value, str) else ""
