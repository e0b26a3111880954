"""What ``codex-magic purge`` removes: all that stands in our own data folder.

First `holdings` says what is there, then `remove` takes it away. Links are removed, never
followed. What we did not write, or what a notebook holds, is left alone; `LEFT_ALONE` says so.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic import folder as place
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

WHAT: Final = {
    Path(place.AUDIT).stem: "the log of the commands that Codex ran",
    Path(place.INDEX).stem: "which notebook has which thread",
    Path(place.THREADS).stem: "the threads of the responses backend",
    Path(place.SIGN_IN).stem: "your sign-in, which is forgotten and not revoked",
    Path(place.ACCOUNTS).stem: "your named sign-ins, likewise",
}
LOCK: Final = "a lock, which holds nothing"
OTHER: Final = "other data of codex-magic"
LEFT_ALONE: Final = (
    "the threads that Codex keeps itself, in $CODEX_HOME or ~/.codex, and its sign-in",
    "the turns that are saved in notebooks, in their outputs",
)


@dataclass(frozen=True, slots=True)
class Holding:
    """One thing in our data folder: how many files it is, and how many bytes they have."""

    path: Path
    what: str
    files: int
    bytes: int

    def __str__(self) -> str:
        files = f"{self.files:,} file{'' if self.files == 1 else 's'}"
        path = str(self.path)
        shown = path if path.isprintable() else ascii(path)
        return f"{shown}: {self.what}, {files}, {self.bytes:,} bytes"


def holdings(folder: Path | None = None) -> list[Holding]:
    """Return what is in our data folder, or in `folder`; nothing if there is none.

    Raises
    ------
    SetupError
        The folder is a link, or cannot be read.
    """
    folder = place.data() if folder is None else folder
    try:
        fd = _opened(folder)
    except FileNotFoundError:
        return []
    try:
        return [_holding(folder / name, name, fd) for name in _inside(fd)]
    except OSError as error:
        raise _trouble(folder, error, "read") from None
    finally:
        os.close(fd)


def remove(found: Sequence[Holding], folder: Path | None = None) -> None:
    """Remove what `holdings` found, and the folder itself once it is empty.

    Raises
    ------
    SetupError
        One of them does not stand directly in our data folder: then nothing is removed. Or the
        system refused: what was removed before stays removed.
    """
    folder = place.data() if folder is None else folder
    names = list(_names(found, folder))
    try:
        fd = _opened(folder)
    except FileNotFoundError:
        return
    try:
        for name in names:
            _remove(name, fd)
        if not _inside(fd):
            folder.rmdir()
    except OSError as error:
        raise _trouble(folder, error, "emptied") from None
    finally:
        os.close(fd)


def _names(found: Iterable[Holding], folder: Path) -> Iterator[str]:
    for holding in found:
        if holding.path.parent != folder or holding.path.name in ("", ".", ".."):
            raise SetupError(
                f"{holding.path} is not in the data folder {folder}; nothing was removed",
                hint="Type `codex-magic purge` again to see what is there",
            )
        yield holding.path.name


def _opened(folder: Path) -> int:
    try:
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        if folder.is_symlink():
            raise SetupError(
                f"the data folder {folder} is a symbolic link, which is not followed",
                hint=f"Remove the link: rm {shlex.quote(str(folder))}",
            ) from None
        raise _trouble(folder, error, "opened") from None


def _inside(fd: int) -> list[str]:
    with os.scandir(fd) as entries:
        return sorted(entry.name for entry in entries)


def _holding(path: Path, name: str, fd: int) -> Holding:
    sizes = list(_sizes(name, fd))
    what = LOCK if name.endswith(".lock") else WHAT.get(name.partition(".")[0], OTHER)
    return Holding(path, what, len(sizes), sum(sizes))


def _sizes(name: str, fd: int) -> Iterator[int]:
    """Yield the bytes of a file, or of every file below a folder; a link is a file of its own."""
    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    if not stat.S_ISDIR(found.st_mode):
        yield found.st_size
        return
    for _, folders, files, inner in os.fwalk(name, dir_fd=fd, onerror=_raise):
        for entry in (*folders, *files):
            found = os.stat(entry, dir_fd=inner, follow_symlinks=False)
            if not stat.S_ISDIR(found.st_mode):
                yield found.st_size


def _raise(error: OSError) -> None:
    raise error


def _remove(name: str, fd: int) -> None:
    try:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        if stat.S_ISDIR(found.st_mode):
            shutil.rmtree(name, dir_fd=fd)
        else:
            os.unlink(name, dir_fd=fd)
    except FileNotFoundError:
        return  # somebody else removed it meanwhile


def _trouble(folder: Path, error: OSError, done: str) -> SetupError:
    hint = f"Look at it: ls -la {shlex.quote(str(folder))}"
    return SetupError(f"the data folder {folder} cannot be {done}: {error.strerror}", hint=hint)
