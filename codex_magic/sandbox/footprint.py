"""What a command left in the folders it may write: seen by comparing before and after.

Files are told apart by what the system notes of them, not by their content. Of a folder with very
many nothing is compared, and that is said. Nothing here changes a file.
"""

from __future__ import annotations

import itertools
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

MOST_FILES: Final = 5000
"""Files that are looked at, which takes about 15 ms; the first look is while a sandbox starts."""

Facts = tuple[int, int, int, int]
"""Of one file: its kind, number, size, and when it was changed, in nanoseconds.

The time is the one that a command cannot set.
"""


@dataclass(frozen=True, slots=True)
class Listing:
    """The files below some folders, by path; incomplete where there were too many."""

    files: dict[str, Facts]
    complete: bool = True


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs between two listings: paths, in order; incomplete where there was too much."""

    created: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    complete: bool = True


def listing(folders: Iterable[str], without: Sequence[str] = ()) -> Listing:
    """List the files below `folders`, less what lies in one of the paths `without`.

    Symbolic links are listed and not followed.
    """
    files: dict[str, Facts] = {}
    passed = frozenset(without)
    for path, facts in _below(list(folders), passed):
        if len(files) >= MOST_FILES:
            return Listing(files, complete=False)
        files[path] = facts
    return Listing(files)


def _below(folders: list[str], passed: frozenset[str]) -> Iterator[tuple[str, Facts]]:
    while folders:
        try:
            with os.scandir(folders.pop()) as found:
                entries = list(itertools.islice(found, MOST_FILES + 1))
        except OSError:  # it is gone, or not for us to see
            continue
        for entry in entries:
            if entry.path in passed:
                continue
            try:
                facts = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            kind = stat.S_IFMT(facts.st_mode)
            if kind == stat.S_IFDIR:
                # What happens in a folder is told by its files.
                yield entry.path, (kind, facts.st_ino, 0, 0)
                folders.append(entry.path)
            else:
                yield entry.path, (kind, facts.st_ino, facts.st_size, facts.st_ctime_ns)


def compare(before: Listing, after: Listing) -> Changes:
    """Return what differs."""
    if not (before.complete and after.complete):
        return Changes(complete=False)
    old, new = before.files, after.files
    return Changes(
        created=tuple(sorted(path for path in new if path not in old)),
        changed=tuple(sorted(path for path, facts in new.items() if old.get(path, facts) != facts)),
        deleted=tuple(sorted(path for path in old if path not in new)),
    )
