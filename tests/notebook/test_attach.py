"""What two kernels of one notebook leave of each other's work in the index; without any backend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.notebook.attach import Attachment
from codex_magic.notebook.index import Index
from codex_magic.turn import Turn

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def kernel(tmp_path: Path) -> Callable[..., Attachment]:
    notebook = tmp_path / "n.ipynb"
    notebook.write_text("{}")

    def start(path: Path = notebook) -> Attachment:
        made = Attachment(Index({"JUPYTER_DATA_DIR": str(tmp_path / "data")}))
        made.at(path)
        return made

    return start


def run(notebook: Attachment, name: str, thread_id: str, turn_id: str, **fields: Any) -> None:
    """Have a kernel run one turn."""
    parent = notebook.past(name).turn_id
    notebook.seated(name, thread_id, backend="b", private=False)
    turn = Turn(
        id=turn_id,
        thread_id=thread_id,
        thread_name=name,
        parent=parent,
        backend="b",
        status="completed",
        started_at=1.0,
    )
    notebook.ended(turn)


def threads(notebook: Attachment) -> dict[str, str]:
    return dict(notebook.threads)


def test_what_one_kernel_begins_anew_the_other_leaves(kernel: Any) -> None:
    a = kernel()
    run(a, "main", "T1", "1")
    b = kernel()
    b.begin("main")
    run(b, "main", "T2", "2")
    run(a, "other", "T3", "3")
    assert threads(kernel()) == {"main": "T2", "other": "T3"}


def test_a_name_that_one_gave_up_the_other_may_take(kernel: Any) -> None:
    a = kernel()
    run(a, "main", "T1", "1")
    a.rename("main", "essay")
    b = kernel()
    run(b, "main", "T2", "2")
    run(a, "essay", "T1", "3")
    assert threads(kernel()) == {"main": "T2", "essay": "T1"}


def test_what_one_has_put_away_the_other_does_not_bring_back(kernel: Any) -> None:
    a = kernel()
    run(a, "main", "T1", "1")
    b = kernel()
    b.drop("main", ["T1"])
    run(a, "other", "T2", "2")
    assert threads(kernel()) == {"other": "T2"}


def test_what_one_has_taken_up_again_the_other_does_not_put_away(kernel: Any) -> None:
    a = kernel()
    run(a, "main", "T1", "1")
    a.drop("main", ["T1"])
    b = kernel()
    run(a, "main", "T1", "2")
    run(b, "other", "T2", "3")
    assert threads(kernel()) == {"main": "T1", "other": "T2"}


def test_going_back_takes_back_what_was_written(kernel: Any) -> None:
    a = kernel()
    run(a, "main", "T1", "1")
    mark = a.mark()
    a.stand("main-2", "1")
    a.seated("main-2", "T2", backend="b", private=False)
    a.begin("main")
    a.seated("main", "T3", backend="b", private=False)
    a.back(mark)
    assert threads(a) == threads(kernel()) == {"main": "T1"}
    assert a.past("main").turn_id == "1"


def test_a_name_can_be_used_again_once_it_is_put_away(kernel: Any) -> None:
    a = kernel()
    run(a, "main", "T1", "1")
    a.stand("main-2", "1")
    run(a, "main-2", "T2", "2")
    a.drop("main-2", ["T2"])
    a.stand("main-2", "1")
    assert (a.pending, a.free_name("main"), a.own("main-2")) == (["main-2"], "main-2", "")


def test_a_kernel_goes_to_another_notebook_and_back(kernel: Any, tmp_path: Path) -> None:
    a = kernel()
    here = a.path
    run(a, "main", "T1", "1")
    a.seated("scratch", "P1", backend="b", private=True)
    other = tmp_path / "other.ipynb"
    other.write_text("{}")
    a.at(other)
    assert threads(a) == {}
    run(a, "main", "T2", "2")
    a.at(here)
    assert threads(a) == {"main": "T1"}
    assert (a.past("main").thread_id, a.past("main").branch) == ("T1", "")


def test_a_turn_without_an_id_was_not_run(kernel: Any) -> None:
    a = kernel()
    a.ended(Turn(status="interrupted"))
    assert a.ran == set()
