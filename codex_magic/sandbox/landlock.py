"""From a policy to a plan for Landlock, where no namespaces can be had.

Landlock only ever permits: a folder with all that is in it, or a file. So what must stay out is
left out: where something hidden or protected lies inside a folder, the folder's other entries are
permitted one by one. `helper` carries a plan out, `helped` starts that program; here folders are
listed and nothing is changed.

All of ``/proc`` can be read, as no entry of it could be permitted before it exists: names, command
lines and states of other processes stay visible. Their memory, environments, open files and
folders do not, because a confined process may not trace any other.
"""

from __future__ import annotations

import dataclasses
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Final

from codex_magic.sandbox.bwrap import outermost, roots, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from codex_magic.policy import Limits, SandboxPolicy
    from codex_magic.sandbox.bwrap import Machine

# landlock(7): the rights over files that may be given, and how many there are since which version.
EXECUTE, WRITE_FILE, READ_FILE, READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_DIR, REMOVE_FILE, MAKE_DIR, MAKE_REG = 1 << 4, 1 << 5, 1 << 7, 1 << 8
MAKE_SOCK, MAKE_FIFO, MAKE_SYM, REFER, TRUNCATE = 1 << 9, 1 << 10, 1 << 12, 1 << 13, 1 << 14
_RIGHTS_SINCE: Final = ((5, 16), (3, 15), (2, 14), (1, 13))
BIND_AND_CONNECT_TCP: Final = 0b11
NETWORK_SINCE: Final = 4
ABSTRACT_SOCKETS_AND_SIGNALS: Final = 0b11
SCOPES_SINCE: Final = 6
TRUNCATE_SINCE: Final = 3

READ: Final = EXECUTE | READ_FILE | READ_DIR
CHANGE: Final = (WRITE_FILE | TRUNCATE | REFER | REMOVE_DIR | REMOVE_FILE) | (
    MAKE_DIR | MAKE_REG | MAKE_SOCK | MAKE_FIFO | MAKE_SYM
)

SYSTEM: Final = (
    *("/lib32", "/libx32", "/opt", "/proc"),
    # How many processors there are and how much memory one may use; many runtimes ask at start.
    *("/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup"),
)
DEVICES: Final = {
    **dict.fromkeys(("/dev/null", "/dev/zero", "/dev/full"), READ_FILE | WRITE_FILE),
    **dict.fromkeys(("/dev/random", "/dev/urandom"), READ_FILE),
}
ENFORCED: Final = (
    "only the system's programs, Python, the workspace and folders named in the policy are read",
    "writes reach only the workspace, writable folders and a private temporary folder",
    "configuration that steers other programs is read-only, and put aside where it is new",
    "no capabilities, no way to gain privileges",
    "memory, environments and open files of other processes are closed",
    "its processes all die at the end",
)
MISSING: Final = (
    "other processes' names and command lines can be seen",
    "which files exist anywhere can be found out",
    "the private temporary folder has no size of its own, and there is no shared memory",
    (
        "new files beside a protected one: in a folder with a .git, only its other folders can"
        " be written"
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `helper` does for one command.

    Parameters
    ----------
    env
        All its variables.
    home
        The home that `within` replaces.
    grants
        What may be done with each file or folder and all below it, as bits of landlock(7).
    handled
        The rights that are withheld where no grant gives them: over files, over TCP, over what is
        outside.
    filtered
        A program that filters system calls; empty for none.
    rlimits
        Limits of each process, by the names of getrlimit(2) without their prefix.
    scratch
        The private temporary folder; empty before `within`.
    notes
        What this policy permits that cannot be permitted here, in words for a person.
    """

    command: tuple[str, ...]
    cwd: str
    env: Mapping[str, str]
    home: str
    grants: Mapping[str, int]
    handled: tuple[int, int, int]
    filtered: bytes = b""
    rlimits: Mapping[str, int] = dataclasses.field(default_factory=dict)
    scratch: str = ""
    notes: tuple[str, ...] = ()

    def within(self, scratch: str, extra: Mapping[str, str]) -> Plan:
        """Return this plan with a private folder for home and temporary files, and `extra` env."""
        home, temporary = f"{scratch}/home", f"{scratch}/tmp"  # noqa: S108 - in a private one
        own = {"HOME": home} if self.env.get("HOME") == self.home else {}
        rights = (READ | CHANGE) & self.handled[0]
        return dataclasses.replace(
            self,
            env={"TMPDIR": temporary, **self.env, **own, **extra},
            grants={**self.grants, scratch: READ, home: rights, temporary: rights},
            scratch=scratch,
        )

    def sees(self, path: str) -> bool:
        """Return whether the command may read `path`."""
        return any(r & READ_FILE and within(path, place) for place, r in self.grants.items())

    def words(self, *, parent: int, status: int) -> dict[str, Any]:
        """Return this plan as `helper` takes it: all texts are bytes, all limits numbers.

        Parameters
        ----------
        parent
            The process without which it ends.
        status
            The descriptor that it reports on.
        """
        return {
            "command": [os.fsencode(word) for word in self.command],
            "cwd": os.fsencode(self.cwd),
            "env": {os.fsencode(name): os.fsencode(value) for name, value in self.env.items()},
            "grants": [(os.fsencode(path), rights) for path, rights in self.grants.items()],
            "handled": self.handled,
            "filtered": self.filtered,
            "rlimits": [
                (getattr(resource, f"RLIMIT_{name}"), most) for name, most in self.rlimits.items()
            ],
            "scratch": os.fsencode(self.scratch),
            "parent": parent,
            "status": status,
        }


def abi() -> int:
    """Return the version of Landlock that this kernel offers to us; 0 for none."""
    if sys.platform != "linux":
        return 0
    import ctypes  # noqa: PLC0415 - only a machine without namespaces needs it

    create_ruleset, version = 444, 1  # landlock_create_ruleset(2)
    found: int = ctypes.CDLL(None).syscall(create_ruleset, None, 0, version)
    return max(found, 0)


def enforced(abi: int, *, filtered: bool) -> tuple[str, ...]:
    """Return what version `abi` keeps a command from, with or without a filter of system calls."""
    network = "no network unless it is granted" if filtered else "no TCP unless it is granted"
    return (
        *ENFORCED,
        *((network,) if filtered or abi >= NETWORK_SINCE else ()),
        *(("no abstract sockets of others",) if filtered or abi >= SCOPES_SINCE else ()),
        *(("no signals to other processes",) if filtered or abi >= SCOPES_SINCE else ()),
    )


def missing(abi: int, *, filtered: bool) -> tuple[str, ...]:
    """Return what version `abi` does not keep a command from, in words."""
    cut = "a person's files can be cut short, also those that may only be read"
    known = "modes, owners, times and attributes of a person's files can be changed anywhere"
    signals = "other processes of the same person, its own keeper too, can get signals from it"
    network = "other networks than TCP, and Unix sockets, can be reached"
    return (
        *MISSING,
        *((cut,) if abi < TRUNCATE_SINCE else ()),
        *((signals,) if abi < SCOPES_SINCE and not filtered else ()),
        *(() if filtered else (known, network)),
    )


def children(folder: str) -> list[str]:
    """Return what stands in `folder`, less symbolic links: where they lead is judged there."""
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if not entry.is_symlink())
    except OSError:  # gone, or closed to us and so to a command
        return []


def carved(
    folder: str, excluded: Iterable[str], look: Callable[[str], Sequence[str]] = children
) -> Iterator[str]:
    """Yield the fewest entries that are `folder` without what is `excluded` from it.

    An entry that is made later beside an excluded one is not among them.
    """
    inside = [path for path in excluded if within(path, folder)]
    if not inside:
        yield folder
    elif folder not in inside:
        for child in look(folder):
            yield from carved(child, inside, look)


def plan(  # noqa: PLR0913, PLR0917 - these are what a confined command is made of
    policy: SandboxPolicy,
    machine: Machine,
    command: Sequence[str],
    cwd: PurePath | str,
    env: Mapping[str, str],
    limits: Limits,
    *,
    abi: int,
    filtered: bytes = b"",
) -> Plan:
    """Return how `command` is confined to `policy` by version `abi` of Landlock.

    Parameters
    ----------
    filtered
        A program that filters system calls. Of networks Landlock knows only TCP, so without one a
        policy without network is not kept.
    """
    rights = next((1 << count) - 1 for since, count in _RIGHTS_SINCE if abi >= since)
    grants: dict[str, int] = {}
    for path, given in (*DEVICES.items(), *_readable(policy, machine), *_writable(policy, machine)):
        grants[path] = grants.get(path, 0) | given & rights
    return Plan(
        command=tuple(command),
        cwd=str(cwd),
        env=dict(env),
        home=machine.home,
        grants=grants,
        handled=(
            rights,
            BIND_AND_CONNECT_TCP if abi >= NETWORK_SINCE and not policy.network else 0,
            ABSTRACT_SOCKETS_AND_SIGNALS if abi >= SCOPES_SINCE else 0,
        ),
        filtered=filtered,
        rlimits=_rlimits(limits),
        notes=tuple(_notes(policy, machine)),
    )


def _readable(policy: SandboxPolicy, machine: Machine) -> Iterator[tuple[str, int]]:
    """Yield what may be read: each place less what is hidden strictly below it."""
    folders = (*machine.covered, *machine.secret, *machine.scratch, *machine.hidden)
    resolver = (machine.resolver,) if policy.network and machine.resolver else ()
    system = filter(os.path.exists, (*machine.system, *SYSTEM))
    shown = (*(source for source, _ in machine.python), *map(str, policy.shown), *roots(policy))
    for place in (*outermost(map(os.path.realpath, system)), *shown, *resolver):
        hidden = _below(place, folders)
        files = _below(place, (*machine.secret_files, *machine.hidden_files))
        for entry in carved(place, (*hidden, *files)):
            yield entry, READ
        # Whose homes and temporary files there are is not told; other names are.
        if not _below(place, (*machine.covered, *machine.scratch, *machine.hidden)):
            yield place, READ_DIR


def _writable(policy: SandboxPolicy, machine: Machine) -> Iterator[tuple[str, int]]:
    if policy.mode == "workspace-write":
        for root in roots(policy):
            for entry in carved(root, _below(root, _kept(machine))):
                yield entry, READ | CHANGE


def _notes(policy: SandboxPolicy, machine: Machine) -> Iterator[str]:
    if policy.mode != "workspace-write":
        return
    for root in roots(policy):
        kept = [os.path.relpath(path, root) for path in _below(root, _kept(machine))]
        if kept:
            where = sorted({str(folder) for name in kept for folder in PurePath(name).parents})
            yield (
                f"in {root} nothing can be made, renamed or removed directly in"
                f" {', '.join(where)}, because {', '.join(sorted(kept))} must stay as it is;"
                " what is in other folders of it can be changed"
            )


def _kept(machine: Machine) -> list[str]:
    """Return what is kept from being written, whatever that costs: nothing new stands beside it.

    The open notebook is not: every notebook's folder would be closed. A check afterwards must do.
    """
    kept = [path for path in machine.protected if path not in machine.checked]
    return [*kept, *machine.hidden, *machine.hidden_files]


def _below(folder: str, paths: Iterable[str]) -> list[str]:
    return [path for path in paths if path != folder and within(path, folder)]


def _rlimits(limits: Limits) -> dict[str, int]:
    return {
        "CPU": limits.cpu_s,
        "DATA": limits.memory_bytes,
        "FSIZE": limits.file_bytes,
        "NOFILE": limits.open_files,
        "CORE": 0,
    }
