"""What a notebook's file keeps, whatever somebody has made of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic import render
from codex_magic.items import AgentMessage, CommandExecution, Text, UserMessage
from codex_magic.notebook import records
from codex_magic.turn import MIME, Turn, to_json

if TYPE_CHECKING:
    from pathlib import Path


def turn(number: int = 1, **fields: Any) -> Turn:
    said = (
        UserMessage(id="prompt", status="completed", text=Text(f"prompt {number}")),
        CommandExecution(id="c", status="completed", command="ls", output=Text("listing")),
        AgentMessage(id="m", status="completed", text=Text(f"answer {number}")),
    )
    known = {
        "prompt": f"prompt {number}",
        "id": f"t{number}",
        "thread_id": "thread",
        "status": "completed",
        "started_at": float(number),
        "items": said,
    }
    return Turn(**(known | fields))


def cell(*turns: Any) -> Any:
    shown = [
        {
            "output_type": "display_data",
            "metadata": {},
            "data": data if isinstance(data, dict) else render.saved(data),
        }
        for data in turns
    ]
    printed = {"output_type": "stream", "name": "stdout", "text": "x"}
    return {
        "cell_type": "code",
        "metadata": {},
        "source": "",
        "outputs": [printed, *shown],
        "execution_count": 1,
    }


def notebook(*cells: Any) -> dict[str, Any]:
    text = {"cell_type": "markdown", "metadata": {}, "source": "# T"}
    return {"cells": [text, *cells], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}


def written(path: Path, document: Any) -> Path:
    file = path / "n.ipynb"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    return file


def ids(found: records.Records) -> list[str]:
    return [turn.id for turn in found.turns]


def test_a_turn_is_read_as_it_was_written(tmp_path: Path) -> None:
    one = turn(names=("df",), parent="t0", inputs="abc", backend="app-server", model="m")
    found = records.read(written(tmp_path, notebook(cell(one))))
    assert found == records.Records(turns=(records.kept(one),))
    assert found.turns[0] == records.Kept(
        id="t1",
        thread_id="thread",
        parent="t0",
        inputs="abc",
        names=("df",),
        backend="app-server",
        model="m",
        status="completed",
        prompt="prompt 1",
        began=1.0,
        said=(("user", "prompt 1"), ("agent", "answer 1")),
    )
    assert found.turns[0].answer == "answer 1"
    assert records.whole(tmp_path / "n.ipynb", "t1") == to_json(one)
    assert records.whole(tmp_path / "n.ipynb", "t2") is None


def test_turns_come_in_the_order_in_which_they_began(tmp_path: Path) -> None:
    cells = [cell(turn(3)), cell(turn(1)), cell(turn(2)), cell(turn(1))]
    assert ids(records.read(written(tmp_path, notebook(*cells)))) == ["t1", "t2", "t3"]


def test_a_private_turn_is_not_kept(tmp_path: Path) -> None:
    assert records.read(written(tmp_path, notebook(cell(turn(private=True))))) == records.Records()


BROKEN: dict[str, Any] = {
    "": "it is not a notebook that can be read",
    "<<<<<<< HEAD": "it is not a notebook that can be read",
    "[" * 100_000: "it is not a notebook that can be read",
    '{"cells": [': "it is not a notebook that can be read",
    "[]": "",
    "7": "",
    '{"cells": 7}': "",
    '{"cells": [7, null, {"outputs": {}}, {"outputs": [null, {"data": []}]}]}': "",
    '{"worksheets": [{"cells": []}], "nbformat": 3}': "",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_file_that_is_no_notebook(tmp_path: Path, text: str) -> None:
    assert records.read(written(tmp_path, text)) == records.Records(trouble=BROKEN[text])


def test_a_file_that_is_not_there_or_a_folder(tmp_path: Path) -> None:
    assert records.read(tmp_path / "none.ipynb") == records.Records()
    assert records.read(tmp_path).trouble == "it cannot be read: Is a directory"


def test_an_older_format_keeps_none(tmp_path: Path) -> None:
    file = tmp_path / "n.ipynb"
    nbformat.write(nbformat.from_dict(notebook(cell(turn()))), file, version=nbformat.NO_CONVERT)
    assert ids(records.read(file)) == ["t1"]
    old = nbformat.convert(nbformat.read(file, as_version=4), 3)
    file.write_text(json.dumps(old))
    assert records.read(file).trouble == ""


@pytest.mark.parametrize("beside", [None, 7, [], {"outputs": 1}, {"outputs": [{"data": "x"}]}])
def test_what_stands_beside_a_turn_does_not_matter(tmp_path: Path, beside: Any) -> None:
    file = written(tmp_path, notebook(beside, cell(turn())))
    assert ids(records.read(file)) == ["t1"]


HOSTILE: list[Any] = [
    7,
    [],
    {},
    {"version": "1"},
    {"version": 1, "id": 7},
    {"version": 1, "id": "x", "names": "df"},
    {"version": 1, "id": "x", "items": {}},
    {"version": 1, "id": "x", "started_at": "now"},
]


def test_a_stored_turn_that_does_not_fit_spoils_no_other(tmp_path: Path) -> None:
    cells = [cell({MIME: each}) for each in HOSTILE]
    found = records.read(written(tmp_path, notebook(*cells, cell(turn()))))
    assert (ids(found), found.unreadable) == (["t1"], len(HOSTILE))


def test_times_that_are_none(tmp_path: Path) -> None:
    text = json.dumps(notebook(cell(turn(1)), cell(turn(2))))
    file = written(tmp_path, text.replace('"started_at": 1.0', '"started_at": 1e999'))
    assert [turn.began for turn in records.read(file).turns] in ([0.0, 2.0], [2.0])


def test_names_are_bounded(tmp_path: Path) -> None:
    many = tuple(f"n{i}" for i in range(5000))
    file = written(tmp_path, notebook(cell(turn(names=many))))
    assert len(records.read(file).turns[0].names) == records.NAMES


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["cells", "outputs", "data", MIME, "id", "version", "items"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_json_is_more_than_data(tmp_path_factory: pytest.TempPathFactory, document: Any) -> None:
    file = written(tmp_path_factory.mktemp("n"), json.dumps(document))
    found = records.read(file)
    assert all(turn.id for turn in found.turns)


def test_five_megabytes_are_read_while_nobody_waits(tmp_path: Path) -> None:
    """The benchmark has the figure; this one would notice another order of magnitude."""
    long = "word " * 4800
    cells = [
        cell(turn(n, items=(AgentMessage(id="m", status="completed", text=Text(long)),)))
        for n in range(1, 61)
    ]
    file = written(tmp_path, notebook(*cells))
    began = time.monotonic()
    assert len(records.read(file).turns) == 60
    assert time.monotonic() - began < 5
