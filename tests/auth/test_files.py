"""The files of sign-ins: who may read them, what is wrong with them, what happens on bad disks."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.auth import document, keyring, memory, places
from codex_magic.auth.notices import Notices
from codex_magic.errors import BackendError, SetupError
from codex_magic.issuer import TOKEN

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Room

STORED = {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-stored"}


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o666])
def test_a_file_that_others_could_read_is_closed_with_a_word(
    room: Room, mode: int, caplog: pytest.LogCaptureFixture
) -> None:
    path = room.keep(STORED)
    path.chmod(mode)
    source = room.find()
    with caplog.at_level(logging.WARNING, "codex_magic.auth"):
        assert [source.current().token for _ in range(3)] == ["sk-stored"] * 3
    said = f"other people of this machine could read {path}; it is yours alone now"
    assert (path.stat().st_mode & 0o777, source.notices) == (0o600, (said,))
    assert [record.getMessage() for record in caplog.records] == [said]


@pytest.mark.parametrize("raw", ["", "{", '{"auth_mode": "chat', "null", "\xff\xfe", "<html>"])
def test_a_file_that_is_not_whole_is_named(room: Room, raw: str) -> None:
    path = room.keep(raw.encode("latin-1"))
    with pytest.raises(SetupError) as caught:
        room.find().current()
    assert str(caught.value) == (
        f"the sign-in in {path} cannot be read: it is cut off, or not JSON."
        " Sign in again: type %codex login"
    )


def test_a_file_that_is_being_written_is_read_again(room: Room) -> None:
    """Codex cuts its file before it writes it; whoever reads in between waits a moment."""
    path = room.keep("", room.codexs)
    found: list[str] = []
    asking = threading.Thread(target=lambda: found.append(room.find().current().token))
    asking.start()
    path.write_text(json.dumps(STORED))
    asking.join()
    assert found == ["sk-stored"]


def test_what_is_no_file_is_named(room: Room) -> None:
    room.ours.mkdir(parents=True)
    with pytest.raises(SetupError, match="It is not a file"):
        room.find().current()
    room.ours.rmdir()
    os.mkfifo(room.ours)
    with pytest.raises(SetupError, match="It is not a file"):
        room.find().current()


def test_a_file_that_is_far_too_long(room: Room) -> None:
    room.keep(" " * (places.LONGEST + 1))
    with pytest.raises(SetupError, match="It is longer than 1024 KB"):
        room.find().current()


ALONE = """
import json, sys
from codex_magic.auth import sources
from codex_magic.errors import CodexMagicError
from codex_magic.settings import Settings

environ = json.loads(sys.stdin.read())
source = sources.find(Settings(), environ)
try:
    tokens = [source.current().token for _ in range(3)]
except CodexMagicError as error:
    tokens = str(error)
print(json.dumps({"tokens": tokens, "notices": source.notices}))
"""
ORDINARY = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def with_ordinary_rights(room: Room) -> dict[str, Any]:
    """What a process makes of these files for which their modes mean something, even to root."""
    needed = ORDINARY if os.getuid() == 0 else []
    ran = subprocess.run(
        [*needed, sys.executable, "-c", ALONE],
        input=json.dumps(room.environ),
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(ran.stdout)
    assert isinstance(found, dict)
    return found


def test_a_file_that_cannot_be_read(room: Room) -> None:
    path = room.keep(STORED)
    path.chmod(0)
    assert with_ordinary_rights(room)["tokens"] == (
        f"the sign-in in {path} cannot be read: Permission denied."
        " Make it a file of yours, or sign in anew: type %codex login"
    )


def test_a_renewal_on_a_disk_that_takes_nothing_is_kept_in_memory(room: Room) -> None:
    """The file and its folder can be read and no more: as on a read-only disk."""
    path = room.keep(room.expired())
    path.chmod(0o400)
    path.parent.chmod(0o500)
    found = with_ordinary_rights(room)
    path.parent.chmod(0o700)
    assert (len({*found["tokens"]}), room.issuer.count(TOKEN)) == (1, 1)
    said = f"the renewed sign-in cannot be written to {path} (Permission denied);"
    assert found["notices"] == [f"{said} it is kept until this kernel ends"]
    assert room.kept()["tokens"]["access_token"] not in found["tokens"]


def test_a_file_whose_folder_takes_nothing_is_overwritten(room: Room) -> None:
    """So it is where a container is given the file alone."""
    path = room.keep(room.expired() | {"x": "y" * 5000})
    path.parent.chmod(0o500)
    found = with_ordinary_rights(room)
    path.parent.chmod(0o700)
    token = room.kept()["tokens"]["access_token"]
    assert found == {"tokens": [token] * 3, "notices": []}


class FullPlace(places.FilePlace):
    """A file on a disk that is full for a while."""

    is_full = True

    def write(self, content: bytes) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        super().write(content)


def test_a_renewal_is_written_as_soon_as_there_is_room(room: Room) -> None:
    room.keep(room.expired())
    source = room.find()
    (stored,) = source._sources
    place = FullPlace(room.ours, "your sign-in", "", stored._notices)
    stored._places = [place]
    token = source.current().token
    said = f"the renewed sign-in cannot be written to {room.ours} (No space left on device);"
    assert source.notices == (f"{said} it is kept until this kernel ends",)
    assert source.current().token == token != room.kept()["tokens"]["access_token"]
    place.is_full = False
    memory.of(place.key).again_at = 0.0
    assert source.current().token == token == room.kept()["tokens"]["access_token"]
    assert room.issuer.count(TOKEN) == 1


def test_an_unwritten_renewal_makes_room_for_a_new_sign_in(room: Room) -> None:
    room.keep(room.expired())
    source = room.find()
    (stored,) = source._sources
    stored._places = [FullPlace(room.ours, "your sign-in", "", stored._notices)]
    source.current()
    new = room.aged(3600)
    room.keep(new)
    known = memory.of(str(room.ours))
    known.again_at = 0.0
    assert source.current().token == new["tokens"]["access_token"]
    assert known.unsaved is None


def test_what_could_not_be_written_outlives_its_source_and_a_torn_file(room: Room) -> None:
    """Whoever looks anew in this process finds it, also where a failing disk has torn the file."""
    room.keep(room.expired())
    source = room.find()
    (stored,) = source._sources
    stored._places = [FullPlace(room.ours, "your sign-in", "", stored._notices)]
    token = source.current().token
    assert room.find().current().token == token
    torn = room.kept()
    room.keep(json.dumps(torn)[:100])
    assert room.find().current().token == token
    memory.of(str(room.ours)).again_at = 0.0
    assert room.find().current().token == token == room.kept()["tokens"]["access_token"]
    assert room.issuer.count(TOKEN) == 1


def test_a_disk_without_room_takes_nothing_from_a_file_that_is_written_over(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its folder takes nothing, as in a container; then the disk has no room for a longer one."""
    path = room.keep(STORED)
    before = path.read_bytes()
    limited = os.pwrite

    def full(handle: int, content: bytes, at: int) -> int:
        if at + len(content) > 2 * len(before):
            if at > 2 * len(before):
                raise OSError(errno.ENOSPC, "No space left on device")
            return limited(handle, content[: len(before)], at)
        return limited(handle, content, at)

    def refuse(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(places, "replace", refuse)
    monkeypatch.setattr(os, "pwrite", full)
    place = places.FilePlace(path, "w", "a", Notices())
    with pytest.raises(OSError, match="busy"):
        place.write(document.written(STORED | {"x": "y" * 5000}))
    assert path.read_bytes() == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_a_bad_disk_is_no_reason_to_write_over_a_file(
    room: Room, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = room.keep(STORED)

    def refuse(*_: object) -> None:
        raise OSError(code, "no")

    monkeypatch.setattr(places, "replace", refuse)
    with pytest.raises(OSError, match="no"):
        places.FilePlace(path, "w", "a", Notices()).write(b"{}")
    assert room.kept() == STORED


def test_a_write_that_fails_leaves_the_file(room: Room) -> None:
    path = room.keep(STORED)
    with pytest.raises(TypeError):
        places.replace(path, "no bytes")  # type: ignore[arg-type]
    assert (room.kept(), list(path.parent.iterdir())) == (STORED, [path])


def test_a_lock_that_is_never_given_up(tmp_path: Path) -> None:
    path = tmp_path / "auth.json.lock"
    with (
        places.locked(path),
        pytest.raises(BackendError, match="another process renews this sign-in"),
        places.locked(path, patience_s=0.0),
    ):
        raise AssertionError


def test_no_lock_is_better_than_no_sign_in(tmp_path: Path) -> None:
    with places.locked(tmp_path / "nowhere/auth.json.lock"):
        assert not (tmp_path / "nowhere").exists()


# --- the keyring ---------------------------------------------------------------------------------

RING = """
import json, pathlib
FILE = pathlib.Path(__file__).with_name("ring.json")

def get_password(service, entry):
    return json.loads(FILE.read_text()).get(f"{service}/{entry}")

def set_password(service, entry, value):
    FILE.write_text(json.dumps({f"{service}/{entry}": value}))
"""


@pytest.fixture
def ring(tmp_path: Path, room: Room, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A keyring that is a file."""
    folder = tmp_path / "installed"
    folder.mkdir()
    (folder / "keyring.py").write_text(RING)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "keyring", raising=False)
    room.codexs.parent.mkdir()
    return folder / "ring.json"


def test_what_the_keyring_calls_a_home(tmp_path: Path) -> None:
    entry = keyring.entry(tmp_path)
    (tmp_path / "link").symlink_to(tmp_path)
    assert (entry[:4], len(entry), keyring.entry(tmp_path / "link")) == ("cli|", 20, entry)


def test_codexs_sign_in_in_the_keyring(room: Room, ring: Path) -> None:
    name = f"Codex Auth/{keyring.entry(room.codexs.parent)}"
    ring.write_text(json.dumps({name: json.dumps(room.expired())}))
    found = room.find().current()
    assert found.source == "Codex's sign-in in the keyring"
    kept = json.loads(json.loads(ring.read_text())[name])
    assert kept["tokens"]["access_token"] == found.token
    assert not room.codexs.exists()


def test_the_keyring_comes_after_the_files(room: Room, ring: Path) -> None:
    ring.write_text("broken, but nobody asks")
    room.keep(STORED, room.codexs)
    assert room.find().current().source == "Codex's sign-in"
    room.codexs.unlink()
    assert room.find().current() is None
