"""What a command may not leave behind: files that programs outside the sandbox would obey.

Before a command, `remember` notes what stands where such names count: at the top of the writable
folders, and in those below that the kernel imports from. After it, when all of it is dead, `settle`
puts aside what is new there, puts symbolic links back, and names protected files that are not as
they were. Nothing is judged by its content.
"""

from __future__ import annotations

import hashlib
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox import aside, plainfile
from codex_magic.sandbox.bwrap import within, within_any
from codex_magic.sandbox.machine import steering_places
from codex_magic.sandbox.shadowing import Shadows, modules
from codex_magic.sandbox.steering import BARE, BARE_STEERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

LARGEST_HASHED: Final = 16 * 1024 * 1024

Stamp = tuple[int, int, int, str]
"""Of one entry: its number, size, time of change, and where it leads if it is a link."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What stood where names count, before a command.

    Parameters
    ----------
    modes
        The modes of the folders.
    bare
        Those that are repositories themselves.
    steering
        Entries that other programs obey.
    modules
        Entries of the import folders that could be imported.
    protected
        Digests of protected files, numbers of protected folders.
    """

    folders: tuple[str, ...]
    imports: tuple[str, ...]
    modes: dict[str, int]
    bare: frozenset[str]
    steering: dict[str, Stamp]
    modules: dict[str, Stamp]
    protected: dict[str, str]


@dataclass(frozen=True, slots=True)
class Findings:
    """What `settle` found and did; paths, in order."""

    quarantined: tuple[str, ...] = ()
    restored: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()


def remember(folders: Sequence[str], protected: Iterable[str]) -> Memory:
    """Note what stands at the top of the writable `folders`, and what `protected` files say."""
    # A kernel imports from the folder it is started in, and from what is on its path.
    on_path = (entry for entry in map(os.path.realpath, sys.path) if within_any(entry, folders))
    imports = tuple(dict.fromkeys((*folders, *on_path)))
    return Memory(
        folders=tuple(folders),
        imports=imports,
        modes={folder: os.stat(folder).st_mode for folder in imports if os.path.isdir(folder)},
        bare=frozenset(filter(_is_bare, folders)),
        steering=dict(_stamped(steering_places(folders))),
        modules=dict(_stamped(modules(imports))),
        protected={path: _digest(path) for path in protected},
    )


def settle(before: Memory, allowed: Iterable[str] = (), caches: Iterable[str] = ()) -> Findings:
    """Put aside and put back what must not stay, but for what is `allowed` to.

    Parameters
    ----------
    caches
        Compiled modules that are new or changed: whoever has one need not change its source.
    """
    done = aside.Aside()
    may_stay = set(allowed)
    for folder, mode in before.modes.items():
        if aside.open_up(folder, mode):
            done.restored.append(folder)
    for path, stamp in before.steering.items():
        if stamp[3] and path not in may_stay and _stamp(path) != stamp:
            done.put_back(path, stamp[3], os.path.dirname(path))
    for path in _new_steering(before):
        if path not in may_stay:
            done.put(path, os.path.dirname(path))
    for path in _shadowing(before):
        done.put(path, _place(path, before.imports))
    for path in caches:
        # Some went with a folder that was put aside; an environment that may stay keeps its own.
        if os.path.lexists(path) and not within_any(path, may_stay):
            done.put(path, _place(path, before.folders))
    changed = (path for path, digest in before.protected.items() if _digest(path) != digest)
    kinds = (done.quarantined, done.restored, [*done.failed, *changed])
    return Findings(*(tuple(sorted(kind)) for kind in kinds))


def _new_steering(before: Memory) -> list[str]:
    found = [path for path in steering_places(before.folders) if path not in before.steering]
    for folder in filter(_is_bare, before.folders):
        if folder not in before.bare:
            names = (f"{folder}/{name}" for name in BARE_STEERS)
            found += [path for path in names if os.path.lexists(path)]
    return found


def _shadowing(before: Memory) -> list[str]:
    """Return the modules that are new or changed and hide others; of nested ones the inner."""
    for path in modules(before.imports):
        if os.path.isdir(path) and not os.path.islink(path):
            aside.open_up(path)
    shadows = Shadows()
    return [
        path
        for path, stamp in list(_stamped(modules(before.imports)))
        if before.modules.get(path) != stamp and shadows(path)
    ]


def _is_bare(folder: str) -> bool:
    return all(os.path.lexists(f"{folder}/{name}") for name in BARE)


def _place(path: str, places: Sequence[str]) -> str:
    """Return the innermost of `places` that `path` lies in."""
    return max((place for place in places if within(path, place)), key=len)


def _stamped(paths: Iterable[str]) -> Iterator[tuple[str, Stamp]]:
    for path in paths:
        if (stamp := _stamp(path)) is not None:
            yield path, stamp


def _stamp(path: str) -> Stamp | None:
    try:
        facts = os.lstat(path)
        target = os.readlink(path) if os.path.islink(path) else ""
    except OSError:
        return None
    return facts.st_ino, facts.st_size, facts.st_ctime_ns, target


def _digest(path: str) -> str:
    """Return what tells whether a file is still the same, and a folder still the same one."""
    try:
        facts = os.lstat(path)
        if os.path.isdir(path):
            return str(facts.st_ino)
        if facts.st_size > LARGEST_HASHED:
            return f"{facts.st_ino} {facts.st_size} {facts.st_ctime_ns}"
        digest = hashlib.sha256()
        with plainfile.opened(path) as fd:
            while part := os.read(fd, 1 << 20):
                digest.update(part)
        return digest.hexdigest()
    except OSError as error:
        return error.strerror or "no plain file"
