from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic import events as ev
from codex_magic import render
from codex_magic.items import AgentMessage, CommandExecution, Reasoning, Text
from codex_magic.page import NotebookPage, TerminalPage, grown
from codex_magic.render import plain
from codex_magic.turn import Turn, advance

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SAID = AgentMessage(id="m", phase="final_answer")


def turns(events: Iterable[ev.Event], turn: Turn | None = None) -> Iterator[Turn]:
    turn = turn or Turn()
    for event in events:
        turn = advance(turn, event)
        yield turn


def words(count: int) -> list[ev.Event]:
    return [ev.ItemDelta("m", "text", f"w{i} ") for i in range(count)]


class Notebook:
    """A page, the time it lives in, and what it published: when, what, and over what."""

    def __init__(self, **options: Any) -> None:
        self.now = 0.0
        self.drawing_s = 0.0
        self.sent: list[tuple[float, dict[str, Any], bool]] = []
        self.page = NotebookPage(self._publish, clock=lambda: self.now, **options)

    def _publish(self, bundle: dict[str, Any], replaces: bool) -> None:
        self.sent.append((self.now, bundle, replaces))
        self.now += self.drawing_s

    def play(self, events: Iterable[ev.Event], every_s: float) -> Turn:
        turn = Turn()
        for turn in turns(events):
            self.page.show(turn)
            self.now += every_s
        return turn

    @property
    def times(self) -> list[float]:
        return [round(when, 3) for when, _, _ in self.sent]


# --- in a notebook ---------------------------------------------------------------------------


def test_the_first_word_is_shown_at_once() -> None:
    notebook = Notebook()
    notebook.play([ev.TurnStarted("t"), ev.ItemStarted(SAID), *words(1)], every_s=0.001)
    assert notebook.times == [0.0, 0.001, 0.002]


@pytest.mark.parametrize(
    ("item", "channel"),
    [
        (Reasoning(id="m"), "summary"),
        (Reasoning(id="m"), "content"),
        (CommandExecution(id="m", command="ls"), "output"),
        (SAID, "text"),
        (SAID, "a channel of next year"),
    ],
)
def test_the_first_word_on_any_channel_is_shown_at_once(item: Any, channel: str) -> None:
    notebook = Notebook()
    deltas = [ev.ItemDelta("m", channel, word) for word in ("one ", "two ", "three ")]
    notebook.play([ev.ItemStarted(item), *deltas], every_s=0.001)
    assert notebook.times == [0.0, 0.001]


def test_then_at_most_ten_times_a_second() -> None:
    notebook = Notebook()
    notebook.play([ev.ItemStarted(SAID), *words(1000)], every_s=0.002)
    gaps = [b - a for a, b in zip(notebook.times[1:], notebook.times[2:], strict=False)]
    assert min(round(gap, 3) for gap in gaps) >= 0.1
    assert 19 <= len(notebook.sent) <= 22


def test_what_takes_long_to_draw_is_drawn_less_often() -> None:
    notebook = Notebook()
    notebook.drawing_s = 0.1
    notebook.play([ev.ItemStarted(SAID), *words(1000)], every_s=0.002)
    assert len(notebook.sent) <= 6


def test_a_question_to_the_person_is_shown_at_once() -> None:
    notebook = Notebook()
    notebook.play([ev.ItemStarted(SAID), *words(2), ev.ApprovalRequested("c")], every_s=0.001)
    assert notebook.times == [0.0, 0.001, 0.003]


def test_a_turn_that_stands_still_is_not_shown_again() -> None:
    notebook = Notebook()
    turn = notebook.play([ev.ItemStarted(SAID)], every_s=1.0)
    notebook.page.show(turn)
    assert notebook.times == [0.0]


def test_the_end_is_always_shown_in_the_form_that_is_kept() -> None:
    notebook = Notebook()
    turn = notebook.play([*words(3), ev.TurnCompleted("completed")], every_s=0.0)
    notebook.page.finish(turn)
    assert notebook.sent[-1] == (0.0, render.saved(turn), True)
    assert [replaces for _, _, replaces in notebook.sent] == [
        False,
        *[True] * (len(notebook.sent) - 1),
    ]


def test_a_turn_that_was_never_shown_is_shown_once() -> None:
    notebook = Notebook(quiet=True)
    turn = advance(Turn(), ev.TurnCompleted("interrupted"))
    notebook.page.finish(turn)
    assert notebook.sent == [(0.0, render.saved(turn, quiet=True), False)]


def test_a_secret_is_not_even_shown_while_the_turn_runs() -> None:
    notebook = Notebook(secrets=frozenset({"hidden-treasure"}))
    notebook.play([ev.ItemDelta("m", "text", "it is hidden-treasure")], every_s=0.0)
    assert "treasure" not in str(notebook.sent)


# --- on a terminal ---------------------------------------------------------------------------


def printed(events: Iterable[ev.Event], **options: Any) -> tuple[str, Turn]:
    out = io.StringIO()
    page = TerminalPage(out, **options)
    turn = Turn()
    for event in events:
        turn = advance(turn, event)
        # The item of a call of ours follows its request at once, before anything is shown.
        if not isinstance(event, ev.ToolCallRequested):
            page.show(turn)
    page.finish(turn)
    return out.getvalue(), turn


def test_each_piece_of_a_turn_is_printed_once(typical: list[ev.Event]) -> None:
    text, turn = printed(typical)
    assert text == f"{plain.body(turn, live=True)}\n\n{plain.closing(turn)}\n"


def test_quiet_prints_the_answer_when_it_is_there(typical: list[ev.Event]) -> None:
    assert printed(typical, quiet=True)[0] == "There are **344** penguins.\n"


def test_a_terminal_is_written_to_at_most_ten_times_a_second() -> None:
    now, written = 0.0, []

    class Out(io.StringIO):
        def write(self, text: str) -> int:
            written.append((now, text))
            return len(text)

    page, turn = TerminalPage(Out(), clock=lambda: now), Turn()
    for turn in turns([ev.ItemStarted(SAID), *words(1000)]):
        page.show(turn)
        now += 0.002
    assert written[0] == (0.002, "w0 ")
    assert 19 <= len(written) <= 22
    turn = advance(turn, ev.TurnCompleted("completed"))
    page.finish(turn)
    text = "".join(text for _, text in written)
    assert text == f"{plain.body(turn, live=True)}\n\n{plain.closing(turn)}\n"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "a ? ? b"), ("latin-1", "a \xe9 ? b"), ("utf-8", "a \xe9 ✓ b")],
)
def test_what_a_terminal_cannot_show_is_replaced(encoding: str, shown: str) -> None:
    raw = io.BytesIO()
    page = TerminalPage(io.TextIOWrapper(raw, encoding=encoding))
    page.show(advance(Turn(), ev.ItemCompleted(AgentMessage(id="m", text=Text("a é ✓ b")))))
    assert raw.getvalue().decode(encoding) == shown


@given(st.lists(st.text(max_size=5), max_size=10), st.lists(st.booleans(), max_size=10))
def test_however_a_text_arrives_it_is_printed_once(pieces: list[str], shown: list[bool]) -> None:
    out = io.StringIO()
    page = TerminalPage(out)
    turn = advance(Turn(), ev.ItemStarted(SAID))
    looks = iter([*shown, *[True] * 10])
    for piece in pieces:
        turn = advance(turn, ev.ItemDelta("m", "text", piece))
        if next(looks):
            page.show(turn)
    turn = advance(turn, ev.ItemCompleted(AgentMessage(id="m", text=Text("".join(pieces)))))
    page.show(turn)
    turn = advance(turn, ev.TurnCompleted("completed"))
    page.finish(turn)
    assert out.getvalue() == f"{plain.body(turn, live=True)}\n\n{plain.closing(turn)}\n"


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("", "a", "a"),
        ("a\nb", "a\nbc", "c"),
        ("a", "a", ""),
        ("a\n10 %", "a\n20 %", "\n20 %"),
        ("a\nb\nc", "a\nB\nc", "\nB\nc"),
        ("a\nb", "a\n", ""),
    ],
)
def test_what_did_not_only_grow_is_printed_from_the_line_that_changed(
    old: str, new: str, expected: str
) -> None:
    assert grown(old, new) == expected


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


THOUGHT = [ev.ItemStarted(Reasoning(id="r")), ev.ItemDelta("r", "summary", "Hm")]
ANSWER = [ev.ItemStarted(SAID), ev.ItemDelta("m", "text", "Yes.")]


@pytest.mark.parametrize(
    ("out", "events", "begun"),
    [
        (Tty, [*THOUGHT, *ANSWER], "\x1b[2m(thinking) Hm\x1b[22m\n\nYes.\n\n"),
        (Tty, [*ANSWER, *THOUGHT], "Yes.\n\n\x1b[2m(thinking) Hm\x1b[22m\n\n"),
        (io.StringIO, [*THOUGHT, *ANSWER], "(thinking) Hm\n\nYes.\n\n"),
    ],
)
@pytest.mark.parametrize("every", [True, False])
def test_in_a_terminal_thoughts_are_dim(
    out: type[io.StringIO], events: list[ev.Event], begun: str, every: bool
) -> None:
    terminal = out()
    page = TerminalPage(terminal)
    *shown, last = turns([*events, ev.TurnCompleted("completed")])
    for turn in shown if every else ():
        page.show(turn)
    page.finish(last)
    assert terminal.getvalue().startswith(begun)
