"""From a policy to the arguments of bwrap.

Pure: what the machine looks like comes in as a `Machine`, a list of words goes out. Nothing here
opens a file or starts a process. All paths are absolute and free of symbolic links.

The order of the mounts is the policy. Later ones cover earlier ones: first what may be seen, then
the masks, then the few folders under a mask that must be seen all the same, then the workspace
and the writable roots, and at last what stays read-only inside those.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import PurePath

    from codex_magic.policy import Limits, SandboxPolicy

NAMESPACES: Final = (
    *("--unshare-user", "--unshare-all", "--die-with-parent", "--new-session"),
    *("--cap-drop", "ALL", "--disable-userns"),
)
SMALL_BYTES: Final = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The facts about a machine that the arguments depend on; every path exists.

    Parameters
    ----------
    home
        The command's home: empty, its own, and gone afterwards.
    covered
        Folders that look empty: homes, run-time state. Single folders below them can be shown.
    secret
        Folders below which nothing is ever shown.
    secret_files
        The same for single files.
    python
        What the kernel imports from: where it really is, and the path to show it at.
    system
        Folders of the system's own programs.
    scratch
        Temporary folders, replaced by private ones.
    proc_readonly, proc_masked
        Parts of ``/proc`` that a root user could write to or learn too much from.
    protected
        What stays read-only inside the writable roots.
    checked
        Of these, what somebody else replaces while it is open: whoever can protect only at a price
        may leave them to a check afterwards.
    hidden, hidden_files
        Folders and files that somebody wants hidden, also inside the workspace.
    resolver
        The file that names the DNS servers, where a mask would hide it.
    """

    home: str = "/tmp"  # noqa: S108 - a private one
    covered: tuple[str, ...] = ()
    secret: tuple[str, ...] = ()
    secret_files: tuple[str, ...] = ()
    python: tuple[tuple[str, str], ...] = ()
    system: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    proc_readonly: tuple[str, ...] = ()
    proc_masked: tuple[str, ...] = ()
    protected: tuple[str, ...] = ()
    checked: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    hidden_files: tuple[str, ...] = ()
    resolver: str | None = None


class Mount(NamedTuple):
    """One mount: where it stands, the words that make it, whether it shows the machine's files."""

    place: str
    words: tuple[str, ...]
    shows: bool = True


def within(path: str, folder: str) -> bool:
    """Return whether `path` is `folder` or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def within_any(path: str, folders: Iterable[str]) -> bool:
    """Return whether `path` is one of `folders` or lies below one."""
    return any(within(path, folder) for folder in folders)


def outermost(paths: Iterable[str]) -> list[str]:
    """Return `paths`, parents first, less those that lie below another one."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: (path.count("/"), path)):
        if not within_any(path, kept):
            kept.append(path)
    return kept


def roots(policy: SandboxPolicy) -> list[str]:
    """Return the workspace and the writable folders, parents first."""
    folders = {str(policy.workspace), *map(str, policy.writable)}
    return sorted(folders, key=lambda path: (path.count("/"), path))


def arguments(  # noqa: PLR0913, PLR0917 - these are what a confined command is made of
    policy: SandboxPolicy,
    machine: Machine,
    command: Sequence[str],
    cwd: PurePath | str,
    env: Mapping[str, str],
    limits: Limits,
) -> list[str]:
    """Return everything after the word ``bwrap`` that runs `command` confined to `policy`."""
    return [
        *NAMESPACES,
        *(["--share-net"] if policy.network else []),
        *(word for mount in mounts(policy, machine, limits) for word in mount.words),
        *(["--remount-ro", "/"] if policy.readable != "all" else []),
        *_start(command, cwd, env),
    ]


def unconfined(command: Sequence[str], cwd: PurePath | str, env: Mapping[str, str]) -> list[str]:
    """Return the arguments that confine nothing, but tie all processes of `command` together."""
    whole = ("--dev-bind", "/", "/", "--proc", "/proc")
    tied = ("--unshare-pid", "--die-with-parent", "--new-session")
    return [*whole, *tied, *_start(command, cwd, env)]


def visible(path: str, shown: Sequence[Mount]) -> bool:
    """Return whether `path` can be seen through the mounts `shown`."""
    covers = [mount for mount in shown if within(path, mount.place)]
    return bool(covers) and (covers[-1].shows or covers[-1].place == path)


def mounts(policy: SandboxPolicy, machine: Machine, limits: Limits) -> list[Mount]:
    """Return the mounts of `policy`, in order."""
    masks = outermost((*machine.scratch, *machine.covered, *machine.secret))
    sizes = dict.fromkeys(machine.scratch, limits.tmp_bytes)
    hidden = [file for file in machine.secret_files if not within_any(file, masks)]
    sources = {place: source for source, place in machine.python}
    sources |= {path: path for path in map(str, policy.shown)}
    behind = [place for place in outermost(sources) if within_any(place, masks)]
    return [
        *_base(policy, machine, sources.keys() - set(behind), sources),
        *_kernel_files(machine, limits),
        *(_empty(mask, sizes.get(mask, SMALL_BYTES)) for mask in masks),
        Mount(machine.home, ("--dir", machine.home), shows=False),
        *(_nothing(file) for file in hidden),
        *(_read_only(place, sources[place]) for place in behind),
        *(_read_only(path) for path in (machine.resolver,) if policy.network and path),
        *_roots(policy, machine),
        *(_empty(folder, SMALL_BYTES) for folder in machine.hidden),
        *(_nothing(file) for file in machine.hidden_files),
    ]


def _roots(policy: SandboxPolicy, machine: Machine) -> list[Mount]:
    """Return the workspace and the writable folders, and over them what is protected there."""
    folders = roots(policy)
    if policy.mode != "workspace-write":
        return [_read_only(folder) for folder in folders]
    kept = (*machine.protected, *machine.hidden, *machine.hidden_files)
    return [
        *(Mount(folder, ("--bind", folder, folder)) for folder in folders),
        *(Mount(path, ("--bind", path, path)) for path in _between(kept, folders)),
        *(_read_only(path) for path in machine.protected if within_any(path, folders)),
    ]


def _between(kept: Iterable[str], folders: Sequence[str]) -> list[str]:
    """Return the folders between `folders` and what is kept in them, parents first.

    What is mounted cannot be renamed, but the folder that it lies in could be; one that is mounted
    itself cannot.
    """
    found = set()
    for path in (path for path in kept if within_any(path, folders)):
        parent = path.rpartition("/")[0]
        while parent not in folders and within_any(parent, folders):
            found.add(parent)
            parent = parent.rpartition("/")[0]
    return sorted(found, key=lambda place: (place.count("/"), place))


def _base(
    policy: SandboxPolicy, machine: Machine, places: Iterable[str], sources: Mapping[str, str]
) -> list[Mount]:
    if policy.readable == "all":
        return [_read_only("/")]
    shown = outermost((*machine.system, *places))
    return [_empty("/", SMALL_BYTES), *(_read_only(place, sources.get(place)) for place in shown)]


def _kernel_files(machine: Machine, limits: Limits) -> list[Mount]:
    # A device folder is a file system of half the machine's memory, open to any file: what may
    # be written there is /dev/shm alone, and that has a size.
    sized = _empty("/dev/shm", limits.tmp_bytes)  # noqa: S108 - a private one
    return [
        Mount("/dev", ("--dev", "/dev")),
        sized._replace(words=(*sized.words, "--remount-ro", "/dev")),
        Mount("/proc", ("--proc", "/proc")),
        *(_read_only(path) for path in machine.proc_readonly),
        *(_nothing(path) for path in machine.proc_masked),
    ]


def _read_only(place: str, source: str | None = None) -> Mount:
    return Mount(place, ("--ro-bind", source or place, place))


def _nothing(file: str) -> Mount:
    return Mount(file, ("--ro-bind", "/dev/null", file))


def _empty(place: str, size: int) -> Mount:
    return Mount(place, ("--size", str(max(size, 1)), "--tmpfs", place), shows=False)


def _start(command: Sequence[str], cwd: PurePath | str, env: Mapping[str, str]) -> list[str]:
    variables = [word for name, value in env.items() for word in ("--setenv", name, value)]
    return ["--chdir", str(cwd), "--clearenv", *variables, "--", *command]
