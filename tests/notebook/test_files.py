"""A notebook's file: what is refused, what is kept, and what survives a disk that is full."""

from __future__ import annotations

import json
import resource
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from nbformat import v4

from codex_magic.errors import RecordError, SetupError
from codex_magic.notebook import files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CELL = {"cell_type": "code", "metadata": {}, "source": "1", "outputs": [], "execution_count": None}
GOOD: dict[str, Any] = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [CELL]}


def code(**changes: Any) -> dict[str, Any]:
    return GOOD | {"cells": [CELL | changes]}


BAD: dict[str, tuple[Any, str]] = {
    "empty": (b" \n", "is empty"),
    "no JSON": (b"{", "it is not JSON"),
    "no text": (b"\xff\xfe\x00", "it is not JSON"),
    "deep": (b"[" * 100_000, "it is not JSON"),
    "a list": ([], "no format number"),
    "no number": ({}, "no format number"),
    "no integer": ({"nbformat": True}, "no format number"),
    "old": (
        {"nbformat": 3, "worksheets": []},
        "of the old format 3. Upgrade it: jupyter nbconvert",
    ),
    "newer": ({"nbformat": 5}, "is of format 5, which is newer"),
    "no cells": (GOOD | {"cells": None}, "broken notebook"),
    "no metadata": (GOOD | {"metadata": []}, "broken notebook"),
    "a cell that is a word": (GOOD | {"cells": ["x"]}, "broken notebook"),
    "a number for a source": (code(source=1), "broken notebook"),
    "a source of numbers": (code(source=[1]), "broken notebook"),
    "tags that are none": (code(metadata={"tags": None}), "broken notebook"),
    "an output that is a word": (code(outputs=["x"]), "broken notebook"),
    "an output of no kind": (code(outputs=[{}]), "broken notebook"),
    "a bundle that is a word": (
        code(outputs=[{"output_type": "display_data", "data": "x"}]),
        "broken notebook",
    ),
    "attachments that are words": (code(attachments={"a": "x"}), "broken notebook"),
    "a stream of nothing": (code(outputs=[{"output_type": "stream"}]), "broken notebook"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_no_notebook_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    content, said = BAD[name]
    path = tmp_path / "a b.ipynb"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    with pytest.raises(RecordError) as error:
        files.read(path)
    assert said in str(error.value)
    assert "a b.ipynb'" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["missing.ipynb", "folder"])
def test_what_is_not_there_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(RecordError, match=f"{name} cannot be read: "):
        files.read(tmp_path / name)


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


def test_what_is_read_is_written_as_nbformat_writes_it(tmp_path: Path) -> None:
    path, again = tmp_path / "n.ipynb", tmp_path / "again.ipynb"
    cells = [v4.new_code_cell("é = 1\n2"), v4.new_markdown_cell("a\nb")]
    nbformat.write(v4.new_notebook(cells=cells, metadata={"widgets": {"theirs": 1}}), path)
    files.write(files.read(path), again)
    assert again.read_bytes() == path.read_bytes()


def test_half_characters_and_deep_data_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    data = {"application/x+json": deep(600), "text/plain": "\ud800 half"}
    output = {"output_type": "display_data", "data": data, "metadata": {}}
    path.write_text(json.dumps(code(outputs=[output])))
    files.write(files.read(path), path)
    [kept] = json.loads(path.read_bytes())["cells"][0]["outputs"]
    assert kept["data"] == data | {"text/plain": ["\ud800 half"]}


def test_a_link_is_followed_and_a_mode_kept(tmp_path: Path) -> None:
    real, link = tmp_path / "real.ipynb", tmp_path / "link.ipynb"
    real.write_text(json.dumps(GOOD))
    real.chmod(0o640)
    link.symlink_to(real)
    files.write(files.read(link), link)
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.ipynb", "real.ipynb"]


def test_a_new_file_has_the_mode_of_any_other(tmp_path: Path) -> None:
    files.write(v4.new_notebook(), tmp_path / "n.ipynb")
    (tmp_path / "other").touch()
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert len(modes) == 1


@contextmanager
def full_disk() -> Iterator[None]:
    """A disk that takes 100 bytes of each file; for a moment, as the test's own output is one."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_what_was_there_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "n.ipynb"
    path.write_text("what was there")
    with pytest.raises(SetupError, match=r"n\.ipynb cannot be written: "), full_disk():
        files.write(v4.new_notebook(cells=[v4.new_markdown_cell("x" * 500)]), path)
    assert path.read_text() == "what was there"
    assert [found.name for found in tmp_path.iterdir()] == ["n.ipynb"]


def test_what_could_not_be_written_is_known_before(tmp_path: Path) -> None:
    closed, ring = tmp_path / "closed.ipynb", tmp_path / "ring.ipynb"
    closed.touch(mode=0o444)
    ring.symlink_to(ring)
    said = {
        tmp_path: "is a folder",
        closed: "is read-only",
        ring: "leads nowhere",
        tmp_path / "missing" / "n.ipynb": "cannot be written: No such file or directory",
    }
    for path, why in said.items():
        with pytest.raises(SetupError) as error:
            files.try_to_write(path)
        assert str(error.value).endswith(why)
    files.try_to_write(tmp_path / "n.ipynb")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["closed.ipynb", "ring.ipynb"]
