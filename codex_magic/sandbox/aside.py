"""Putting aside what a command made, and putting back what it replaced.

Putting aside is renaming into a new folder beside it, so that nothing is lost and a person can put
it back. Folders are opened one within the other and no link is followed: what is renamed is what
stands there, and where it goes is ours.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

QUARANTINE: Final = ".codex-quarantine-"
OWNERS: Final = 0o700
_FOLDER: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Aside:
    """What was put aside and back after one command, in words; paths, in order."""

    quarantined: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    _made: dict[str, str] = field(default_factory=dict)

    def put(self, path: str, place: str) -> None:
        """Put `path` aside, into a folder at the top of `place`, in which it lies."""
        name = os.path.relpath(path, place).replace("/", ".")
        try:
            with _opened(place) as top, _opened(os.path.dirname(path)) as parent:
                if place not in self._made:
                    self._made[place] = _made(top)
                with _opened_in(top, self._made[place]) as room:
                    _moved(os.path.basename(path), parent, name, room)
        except OSError as error:  # the disk is full, somebody closed the folder
            self.failed.append(f"{path} ({error.strerror}: it is still there)")
        else:
            self.quarantined.append(f"{path} -> {place}/{self._made[place]}/{name}")

    def put_back(self, path: str, target: str, place: str) -> None:
        """Make `path` a link to `target` again; what has taken its place is put aside."""
        if os.path.lexists(path):
            self.put(path, place)
        try:
            with _opened(os.path.dirname(path)) as parent:
                os.symlink(target, os.path.basename(path), dir_fd=parent)
        except OSError as error:
            self.failed.append(f"{path} ({error.strerror}: it is not what it was)")
        else:
            self.restored.append(path)


def _made(top: int) -> str:
    name = QUARANTINE + secrets.token_hex(4)
    os.mkdir(name, OWNERS, dir_fd=top)
    return name


def _moved(name: str, parent: int, to: str, room: int) -> None:
    while True:
        try:
            os.lstat(to, dir_fd=room)
        except FileNotFoundError:
            break
        to += "_"
    os.rename(name, to, src_dir_fd=parent, dst_dir_fd=room)


@contextlib.contextmanager
def _opened(folder: str) -> Iterator[int]:
    """Open `folder` from the root down, through no link."""
    fd = os.open("/", _FOLDER)
    try:
        for name in filter(None, folder.split("/")):
            inner = os.open(name, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


@contextlib.contextmanager
def _opened_in(parent: int, name: str) -> Iterator[int]:
    fd = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield fd
    finally:
        os.close(fd)


def open_up(folder: str, mode: int = OWNERS) -> bool:
    """Give a folder back the bits of `mode` that its owner needs; return whether that was needed.

    A command can close a folder to everybody, and hide in it what it made.
    """
    try:
        facts = os.lstat(folder)
        if facts.st_mode & OWNERS == OWNERS or facts.st_uid != os.geteuid():
            return False
        with _opened(folder) as fd:
            os.chmod(f"/proc/self/fd/{fd}", facts.st_mode & 0o7777 | mode & OWNERS)
    except OSError:
        return False
    return True
