"""What a command may not leave behind: files that programs outside the sandbox would obey.

Before a command, `remember` notes what stands where such names count: at the top of the writable
folders, and in those below that the kernel imports from. After it, when all of it is dead, `settle` puts
aside what is new there, puts symbolic links back, and names protected files that are not as they
were.

Putting aside is renaming: into a new folder beside it, so that nothing is lost and a person can
put it back. Nothing is judged by its content.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.machinery
import os
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.bwrap import within, within_any
from codex_magic.sandbox.machine import steering_places

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

QUARANTINE: Final = ".codex-quarantine-"
SUFFIXES: Final = tuple(importlib.machinery.all_suffixes())
ALWAYS: Final = frozenset({"sitecustomize", "usercustomize"})
UNIMPORTED: Final = frozenset({"test"})
"""A module of Python that nobody imports, whose name people give to files of their own."""

LARGEST_HASHED: Final = 16 * 1024 * 1024

Stamp = tuple[int, int, int, str]
"""Of one entry: its number, size, time of change, and where it leads if it is a link."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What stood where names count, before a command.

    Parameters
    ----------
    steering
        Entries that other programs obey.
    modules
        Entries of the kernel's import folders that could be imported.
    protected
        Digests of protected files.
    """

    folders: tuple[str, ...]
    imports: tuple[str, ...]
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
        steering=dict(_stamped(steering_places(folders))),
        modules=dict(_stamped(_modules(imports))),
        protected={path: _digest(path) for path in protected if os.path.isfile(path)},
    )


def settle(before: Memory, allowed: Iterable[str] = ()) -> Findings:
    """Put aside and put back what must not stay, but for what is `allowed` to."""
    settled = _Settled()
    may_stay = set(allowed)
    for path, stamp in before.steering.items():
        if stamp[3] and path not in may_stay and _stamp(path) != stamp:
            settled.put_back(path, stamp[3])
    for path, _ in list(_stamped(steering_places(before.folders))):
        if path not in before.steering and path not in may_stay:
            settled.put_aside(path)
    for path, stamp in list(_stamped(_modules(before.imports))):
        if before.modules.get(path) != stamp and _shadows(path):
            settled.put_aside(path)
    settled.protected.extend(p for p, digest in before.protected.items() if _digest(p) != digest)
    return settled.findings()


def imported(paths: Sequence[str]) -> tuple[str, ...]:
    """Return which of `paths` the kernel has imported: it still runs what they said before."""
    names = {os.path.basename(path) for path in paths}
    if not names:
        return ()
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    # Links are followed only where a name fits: of all modules it would take longer than a command.
    likely = (f for f in files if isinstance(f, str) and os.path.basename(f) in names)
    known = {os.path.realpath(file) for file in likely}
    return tuple(path for path in paths if path in known)


@dataclass(slots=True)
class _Settled:
    quarantined: list[str] = field(default_factory=list)
    restored: list[str] = field(default_factory=list)
    protected: list[str] = field(default_factory=list)
    _aside: dict[str, str] = field(default_factory=dict)

    def put_aside(self, path: str) -> None:
        folder, name = os.path.split(path)
        try:
            if folder not in self._aside:
                self._aside[folder] = tempfile.mkdtemp(prefix=QUARANTINE, dir=folder)
            place = os.path.join(self._aside[folder], name)
            os.rename(path, place)
        except OSError as error:  # the disk is full, the folder was made read-only
            self.protected.append(f"{path} ({error.strerror}: it is still there)")
        else:
            self.quarantined.append(f"{path} -> {place}")

    def put_back(self, path: str, target: str) -> None:
        if os.path.lexists(path):
            self.put_aside(path)
        try:
            os.symlink(target, path)
        except OSError as error:
            self.protected.append(f"{path} ({error.strerror}: it is not what it was)")
        else:
            self.restored.append(path)

    def findings(self) -> Findings:
        kinds = (self.quarantined, self.restored, self.protected)
        return Findings(*(tuple(sorted(kind)) for kind in kinds))


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
    """Return what tells whether a file is still the same; its size only, where it is huge."""
    try:
        with Path(path).open("rb") as file:
            if (size := os.fstat(file.fileno()).st_size) > LARGEST_HASHED:
                return str(size)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return error.strerror or "unreadable"


def _modules(imports: Sequence[str]) -> Iterator[str]:
    """Yield what could be imported by name from the folders `imports`."""
    for place in imports:
        with contextlib.suppress(OSError), os.scandir(place) as entries:
            for entry in entries:
                if entry.name.endswith(SUFFIXES):
                    yield entry.path
                elif entry.name.isidentifier() and entry.is_dir():
                    # A folder is a module of its own only by this file; its time of change tells.
                    starts = (f"{entry.path}/__init__{suffix}" for suffix in SUFFIXES)
                    yield from (start for start in starts if os.path.lexists(start))


def _shadows(path: str) -> bool:
    """Return whether importing something else would now find `path`."""
    place, file = os.path.split(path)
    if file.startswith("__init__."):
        place, file = os.path.split(place)
    name = file.partition(".")[0]
    if name in UNIMPORTED:
        return False
    if name in ALWAYS or name in sys.stdlib_module_names:
        return True
    known = getattr(sys.modules.get(name), "__file__", None)
    if known:
        return not within(os.path.realpath(known), place)
    others = [e for e in sys.path if e and not within(os.path.realpath(e), os.path.realpath(place))]
    spec = importlib.machinery.PathFinder.find_spec(name, others)
    return spec is not None and spec.loader is not None
