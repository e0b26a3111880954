"""What a purge shows, removes, and leaves alone; and where our data live."""

from __future__ import annotations

import contextlib
import ctypes
from typing import TYPE_CHECKING

import pytest

from codex_magic import folder as place
from codex_magic.errors import SetupError
from codex_magic.purge import LEFT_ALONE, LOCK, WHAT, Holding, holdings, remove

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "jupyter"))
    return place.make()


def filled(folder: Path) -> Path:
    outside = folder.parent / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "deep" / "mine.txt").write_text("mine")
    (folder / "audit.jsonl").write_text("12345")
    (folder / "index.sqlite").write_text("123")
    (folder / "threads" / "a").mkdir(parents=True)
    (folder / "threads" / "one.json").write_text("1")
    (folder / "threads" / "a" / "two.json").write_text("22")
    (folder / "threads" / "link").symlink_to(outside)
    (folder / "escape").symlink_to(outside)
    return outside


# --- the folder ------------------------------------------------------------------------------


def test_the_folder_is_named_by_jupyter_and_asking_makes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place.data({"JUPYTER_DATA_DIR": "/data"}).as_posix() == "/data/codex_magic"
    monkeypatch.delenv("JUPYTER_DATA_DIR", raising=False)
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "0")
    from jupyter_core.paths import jupyter_data_dir

    assert place.data() == place.data({}) == tmp_path / jupyter_data_dir() / "codex_magic"
    assert list(tmp_path.iterdir()) == []


def test_the_folder_is_made_private_and_an_open_one_is_closed(folder: Path) -> None:
    made = folder.stat().st_mode & 0o777
    folder.chmod(0o755)
    assert place.make() == folder
    assert [made, folder.stat().st_mode & 0o777] == [0o700, 0o700]


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError, match=r"codex_magic cannot be used: Not a directory\. Make "):
        place.make({"JUPYTER_DATA_DIR": str(tmp_path / "file")})


# --- the purge -------------------------------------------------------------------------------


def test_what_is_there_is_shown_with_its_size_and_links_are_not_followed(folder: Path) -> None:
    outside = filled(folder)
    link_bytes = len(str(outside))
    assert holdings() == [
        Holding(folder / "audit.jsonl", "the log of the commands that Codex ran", 1, 5),
        Holding(folder / "escape", "other data of codex-magic", 1, link_bytes),
        Holding(folder / "index.sqlite", "which notebook has which thread", 1, 3),
        Holding(folder / "threads", "the threads of the responses backend", 3, 3 + link_bytes),
    ]
    line = f"{folder}/audit.jsonl: the log of the commands that Codex ran, 1 file, 5 bytes"
    assert str(holdings()[0]) == line


def test_all_of_it_is_removed_and_nothing_behind_a_link(folder: Path) -> None:
    outside = filled(folder)
    remove(holdings())
    assert not folder.exists()
    assert (outside / "deep" / "mine.txt").read_text() == "mine"
    assert holdings() == []


def test_only_what_was_shown_is_removed(folder: Path) -> None:
    filled(folder)
    found = holdings()
    (folder / "new.json").write_text("")
    remove(found)
    assert [path.name for path in folder.iterdir()] == ["new.json"]


def test_without_a_folder_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert holdings(tmp_path / "none") == []
    remove([], tmp_path / "none")


@pytest.mark.parametrize("name", ["../outside", "threads/one.json", "..", ".", "", "/etc"])
def test_what_is_not_in_the_folder_is_refused_and_nothing_removed(folder: Path, name: str) -> None:
    outside = filled(folder)
    asked = [*holdings(), Holding(folder / name, "", 1, 1)]
    with pytest.raises(SetupError, match="nothing was removed"):
        remove(asked)
    assert (len(holdings()), outside.is_dir()) == (4, True)


def test_a_folder_that_is_a_link_is_not_emptied(folder: Path) -> None:
    outside = filled(folder)
    remove(holdings())
    folder.symlink_to(outside)
    with pytest.raises(SetupError, match=r"is a symbolic link.*Remove the link: rm "):
        holdings()
    with pytest.raises(SetupError, match="is a symbolic link"):
        remove([Holding(folder / "deep", "", 1, 1)])
    assert (outside / "deep" / "mine.txt").is_file()


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """This OS thread without its capabilities, so that a folder's mode binds root as well."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522)  # version 3 of the call, this OS thread
    held = (ctypes.c_uint32 * 6)()  # twice: effective, permitted, inheritable
    assert libc.capget(header, held) == 0
    assert libc.capset(header, (ctypes.c_uint32 * 6)(0, *held[1:3], 0, *held[4:])) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0


@pytest.mark.parametrize(("mode", "done"), [(0o500, "emptied"), (0o300, "opened")])
def test_what_the_system_refuses_is_said(folder: Path, mode: int, done: str) -> None:
    filled(folder)
    found = holdings()
    folder.chmod(mode)
    said = rf"cannot be {done}: Permission denied\. Look at it: ls"
    with unprivileged(), pytest.raises(SetupError, match=said):
        remove(found)
    folder.chmod(0o700)
    assert holdings() == found


def test_a_name_that_would_move_the_cursor_is_shown_escaped(folder: Path) -> None:
    (folder / "a\x1b[2J\n").write_text("")
    assert str(holdings()[0]).isprintable()


def test_it_says_what_is_left_alone() -> None:
    assert [word for word in ("CODEX_HOME", "notebooks") if word not in " ".join(LEFT_ALONE)] == []


def test_every_file_of_ours_is_called_by_what_it_is() -> None:
    kept = {place.AUDIT, place.INDEX, place.THREADS, place.SIGN_IN, place.ACCOUNTS}
    assert {name.partition(".")[0] for name in kept} == set(WHAT)


def test_a_lock_is_called_nobodys_sign_in(folder: Path) -> None:
    for name in ("auth.json", "auth.json.lock"):
        (folder / name).write_text("")
    assert [holding.what for holding in holdings()] == [WHAT["auth"], LOCK]
