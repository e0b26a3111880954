"""The index: several kernels, full disks, other people's bytes."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from codex_magic.notebook.index import IDS, NOTEBOOKS, Entry, Index, Standing

A, B = Path("/home/ada/a.ipynb"), Path("/home/ada/b.ipynb")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"JUPYTER_DATA_DIR": str(tmp_path / "data")}


def file(environ: dict[str, str]) -> Path:
    return Path(environ["JUPYTER_DATA_DIR"], "codex_magic", "index.json")


def entry(thread_id: str = "id", at: float = 1.0) -> Entry:
    standing = Standing(thread_id=thread_id, backend="app-server", turn_id="t", at=at)
    return Entry(threads={"main": standing}, current="main", ids=(thread_id,), at=at)


def put(index: Index, path: Path, entry: Entry) -> Entry | None:
    return index.write(path, lambda _known: entry)


def test_what_is_written_is_read(environ: dict[str, str]) -> None:
    index = Index(environ)
    assert index.read(A) == Entry()
    assert not file(environ).parent.exists(), "reading makes nothing"
    put(index, A, entry("a"))
    put(index, B, entry("b"))
    again = Index(environ)
    assert (again.read(A), again.read(B)) == (entry("a"), entry("b"))
    assert again.homes("a", "t") == [A]
    assert file(environ).stat().st_mode & 0o777 == 0o600
    assert file(environ).parent.stat().st_mode & 0o777 == 0o700


def test_a_notebook_moves(environ: dict[str, str]) -> None:
    index = Index(environ)
    put(index, A, entry())
    index.move(A, B)
    assert (index.read(A), index.read(B)) == (Entry(), entry())


def test_it_is_bounded(environ: dict[str, str]) -> None:
    index = Index(environ)
    many = tuple(map(str, range(IDS + 50)))
    put(index, A, Entry(ids=many, at=9e9))
    assert index.read(A).ids == many[50:]
    notebooks = ",".join(f'"/{n}":{{"at":{n}}}' for n in range(NOTEBOOKS + 5))
    file(environ).write_text(f'{{"version":1,"notebooks":{{{notebooks}}}}}')
    put(index, A, entry(at=9e9))
    kept = file(environ).read_text().count('"at"') - 1
    assert (kept, index.read(A), index.read(Path("/0"))) == (NOTEBOOKS, entry(at=9e9), Entry())


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"notebooks": 7}', '{"notebooks": {"a": []}}', "\xff"]
)
def test_one_that_cannot_be_read_is_begun_anew(environ: dict[str, str], text: str) -> None:
    file(environ).parent.mkdir(parents=True)
    file(environ).write_bytes(text.encode("latin-1"))
    index = Index(environ)
    assert index.read(A) == Entry()
    put(index, A, entry())
    assert index.read(A) == entry()


def test_where_it_cannot_be_written_nothing_is_lost(environ: dict[str, str]) -> None:
    index = Index(environ)
    put(index, A, entry("before"))
    file(environ).with_name("index.json.lock").unlink()
    file(environ).with_name("index.json.lock").mkdir()
    put(index, A, entry("after"))
    assert index.read(A) == entry("before")
    assert [path.name for path in file(environ).parent.iterdir() if "-" in path.name] == []


def test_a_kernel_that_holds_the_lock_is_not_waited_for_for_ever(environ: dict[str, str]) -> None:
    index = Index(environ)
    put(index, A, entry("before"))
    handle = os.open(file(environ).with_name("index.json.lock"), os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        put(index, A, entry("after"))
        assert index.read(A) == entry("before")
    finally:
        os.close(handle)
    put(index, A, entry("after"))
    assert index.read(A) == entry("after")


MANY = """
import sys
from pathlib import Path
from codex_magic.notebook.index import Entry, Index
index = Index(lock_s=30)
for n in range(25):
    entry = Entry(ids=(str(n),), at=1.0)
    index.write(Path(f"/{sys.argv[1]}-{n}"), lambda _known, entry=entry: entry)
"""


def test_kernels_that_write_at_once_lose_nothing(environ: dict[str, str]) -> None:
    words = [sys.executable, "-c", MANY]
    running = [subprocess.Popen([*words, name], env=os.environ | environ) for name in "abcd"]
    assert [each.wait(60) for each in running] == [0] * 4
    index = Index(environ)
    assert all(
        index.read(Path(f"/{name}-{n}")).ids == (str(n),) for name in "abcd" for n in range(25)
    )


def test_a_newer_version_is_left_as_it_is(environ: dict[str, str]) -> None:
    file(environ).parent.mkdir(parents=True)
    newer = '{"version": 9, "notebooks": {}, "more": 1}'
    file(environ).write_text(newer)
    index = Index(environ)
    assert put(index, A, entry()) is None
    assert file(environ).read_text() == newer
    assert "another version" in index.trouble()
    assert index.trouble() == "", "it is said once"


def test_what_is_broken_is_put_aside(environ: dict[str, str]) -> None:
    file(environ).parent.mkdir(parents=True)
    file(environ).write_text("{")
    index = Index(environ)
    assert put(index, A, entry()) == entry()
    assert file(environ).with_name("index.json.bad").read_text() == "{"
    assert "cannot be read" in index.trouble()
