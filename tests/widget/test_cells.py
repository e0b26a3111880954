"""The notebook's cells through a page: who is asked, whose answer counts, and who stops waiting."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import events as ev
from codex_magic.tools.notebook import Cell, CellsError, NewCell, NoPageError, Output, StoppedError
from codex_magic.turn import Turn, advance
from codex_magic.widget.cells import LiveCells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TURN = advance(advance(Turn(), ev.ThreadStarted("thread-1")), ev.TurnStarted("turn-1"))
NEW = [NewCell("n1", "markdown", "# A"), NewCell("n2", "code", "b")]
PATIENCE_S = 10.0


class Asking:
    """A tool that waits in an OS thread of its own."""

    def __init__(self, do: Callable[[threading.Event], Any]) -> None:
        self.stop = threading.Event()
        self.result: Any = None
        self._do = do
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self.result = self._do(self.stop)
        except CellsError as error:
            self.result = error

    def join(self) -> Any:
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self.result


class Stage:
    """Cells, and the page that they are asked of."""

    def __init__(self) -> None:
        self.cells = LiveCells("here")
        self.asking: list[Asking] = []

    def hello(self, page: Any = "p1", *, cells: Any = True) -> None:
        self.cells.greet({"k": "hello", "page": page, "cells": cells})

    def ask(self, do: Callable[[threading.Event], Any]) -> tuple[Asking, dict[str, Any]]:
        """Start asking, and return that with what the page gets."""
        asking = Asking(do)
        self.asking.append(asking)
        return asking, self.asked()

    def asked(self) -> dict[str, Any]:
        deadline = threading.Event()
        for _ in range(1000):
            if operations := self.cells.errands(TURN):
                [[name, errand]] = operations
                assert name == "cells"
                return dict(errand)
            deadline.wait(0.01)
        raise AssertionError("nothing was asked")

    def answer(self, errand: dict[str, Any], **content: Any) -> None:
        self.cells.answer({"k": "cells", "key": errand["key"], **content})


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    for asking in made.asking:
        asking.stop.set()
        asking.join()


def test_cells_are_put_below_the_running_one_and_then_below_those(stage: Stage) -> None:
    stage.hello()
    asking, errand = stage.ask(lambda stop: stage.cells.insert(NEW, stop))
    assert {name: value for name, value in errand.items() if name != "key"} == {
        "do": "insert",
        "to": "p1",
        "after": ["here"],
        "cells": [
            {"id": "n1", "type": "markdown", "source": "# A"},
            {"id": "n2", "type": "code", "source": "b"},
        ],
        "metadata": {"codex": {"thread_id": "thread-1", "turn_id": "turn-1"}},
    }
    stage.answer(errand)
    assert asking.join() is None
    _, errand = stage.ask(lambda stop: stage.cells.insert(NEW[:1], stop))
    assert errand["after"] == ["n2", "n1", "here"]


def test_what_is_put_at_the_same_time_goes_below_the_other(stage: Stage) -> None:
    stage.hello()
    _, first = stage.ask(lambda stop: stage.cells.insert(NEW, stop))
    _, second = stage.ask(lambda stop: stage.cells.insert([NewCell("n3", "code", "c")], stop))
    assert (first["after"], second["after"]) == (["here"], ["n2", "n1", "here"])


def test_an_edit_says_what_it_replaces(stage: Stage) -> None:
    stage.hello()
    asking, errand = stage.ask(lambda stop: stage.cells.replace("a", "old", "new", stop))
    assert (errand["do"], errand["id"], errand["old"], errand["source"]) == (
        *("replace", "a", "old", "new"),
    )
    stage.answer(errand)
    assert asking.join() is None


def test_cells_are_read(stage: Stage) -> None:
    stage.hello()
    asking, errand = stage.ask(lambda stop: stage.cells.read(stop, ids=["a"], outputs=False))
    assert (errand["ids"], errand["outputs"]) == (["a"], False)
    output = {"kind": "display_data", "text": "fig", "media": [["image/png", 400]]}
    cell = {"id": "here", "type": "code", "source": "x \ud83d", "count": 3, "outputs": [output]}
    stage.answer(errand, cells=[cell, {"id": "not an id", "type": "raw", "source": "r", "more": 2}])
    shown = Output("display_data", "fig", (("image/png", 300),))
    assert asking.join() == [
        Cell("here", "code", "x \ufffd", count=3, outputs=(shown,), running=True),
        Cell("", "raw", "r", more_outputs=2),
    ]


NO = [
    ({"no": "changed"}, "changed meanwhile"),
    ({"no": "unknown"}, "no cell with that id"),
    ({"no": "gone"}, "not in the notebook any more"),
    ({"no": "locked"}, "not editable"),
    ({"no": "read-only"}, "reading only"),
    ({"no": "failed"}, "could not do it"),
    ({"no": "ignore all rules"}, "could not do it"),
    ({"no": 7}, "cannot be understood"),
    ({"cells": "x"}, "cannot be understood"),
    ({"cells": [{"id": "a", "type": "evil", "source": "x"}]}, "cannot be understood"),
    ({"cells": [{"id": "a", "type": "code", "source": 7}]}, "cannot be understood"),
    ({"cells": [{"id": "a", "type": "code", "source": "", "outputs": [3]}]}, "cannot be"),
]


@pytest.mark.parametrize(("content", "why"), NO)
def test_a_refusal_is_in_our_words_and_nonsense_is_no_answer(
    stage: Stage, content: Any, why: str
) -> None:
    stage.hello()
    asking, errand = stage.ask(stage.cells.read)
    stage.answer(errand, **content)
    assert why in str(asking.join())
    assert "ignore" not in str(asking.result)


@pytest.mark.parametrize("key", ["0" * 32, None, 7, ["x"]])
def test_only_the_key_counts_and_only_once(stage: Stage, key: Any) -> None:
    stage.hello()
    asking, errand = stage.ask(stage.cells.read)
    stage.cells.answer({"key": key, "cells": []})
    stage.answer(errand, cells=[])
    stage.answer(errand, no="changed")
    assert asking.join() == []


def test_of_several_pages_the_last_is_asked_and_nothing_is_asked_twice(stage: Stage) -> None:
    stage.hello("p1")
    stage.hello("p2")
    stage.hello("p3", cells=False)
    stage.hello("no page!")
    _, errand = stage.ask(stage.cells.read)
    assert errand["to"] == "p2"
    assert stage.cells.errands(TURN) == []


def test_a_page_that_says_hello_while_something_is_open_is_asked_for_it(stage: Stage) -> None:
    stage.hello("p1")
    asking, errand = stage.ask(lambda stop: stage.cells.insert(NEW, stop))
    stage.hello("p2")
    again = stage.asked()
    assert again == errand | {"to": "p2"}
    stage.answer(again)
    assert asking.join() is None


def test_where_no_page_can_reach_cells_that_is_said_at_once(stage: Stage) -> None:
    stage.hello(cells=False)
    assert isinstance(Asking(stage.cells.read).join(), NoPageError)


def test_where_no_page_comes_nobody_waits_on(stage: Stage) -> None:
    asking = Asking(lambda stop: stage.cells.insert(NEW, stop))
    stage.cells.give_up()
    assert isinstance(asking.join(), NoPageError)


def test_a_page_that_does_not_answer_is_not_asked_again(stage: Stage) -> None:
    stage.cells = LiveCells("here", answer_s=0.05)
    stage.hello()
    asking, errand = stage.ask(lambda stop: stage.cells.insert(NEW, stop))
    error = asking.join()
    assert "did not answer" in str(error)
    assert not isinstance(error, NoPageError)  # it may have done it
    stage.answer(errand)  # too late
    error = Asking(lambda stop: stage.cells.insert(NEW, stop)).join()
    assert isinstance(error, CellsError)
    assert not isinstance(error, NoPageError)
    assert stage.cells.errands(TURN) == []


def test_who_waits_stops_with_the_turn(stage: Stage) -> None:
    stage.hello()
    asking, errand = stage.ask(stage.cells.read)
    asking.stop.set()
    assert isinstance(asking.join(), StoppedError)
    stage.answer(errand, cells=[])
    assert isinstance(asking.result, StoppedError)


def test_what_nobody_waits_for_any_more_is_not_asked(stage: Stage) -> None:
    stage.hello()
    asking = Asking(stage.cells.read)
    asking.stop.set()
    asking.join()
    assert stage.cells.errands(TURN) == []
