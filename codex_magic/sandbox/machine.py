"""The facts about this machine that a confinement depends on.

It looks at folders, links and the environment, and changes nothing. What the facts mean for a
command is decided in `bwrap` and `admission`.
"""

# This runs before every command, and pathlib would take three times as long.
# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH114, PTH115, PTH118, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import sys
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.bwrap import Machine, outermost, roots, within, within_any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from codex_magic.policy import SandboxPolicy

SYSTEM: Final = (
    *("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/etc"),
    *("/opt", "/nix", "/gnu", "/boot", "/dev", "/proc", "/sys", "/var"),
)
PROGRAMS: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib64", "/etc", "/nix", "/gnu")
SCRATCH: Final = ("/tmp", "/var/tmp")  # noqa: S108 - to be replaced by private ones
COVERED: Final = ("/root", "/home", "/run", "/var/run")
COVERED_BY_NAME: Final = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME")
SECRET_BY_NAME: Final = (
    *("CODEX_HOME", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR"),
    *("IPYTHONDIR", "XDG_RUNTIME_DIR", "GNUPGHOME", "DOCKER_CONFIG"),
)
SECRET_IN_HOME: Final = (
    *(".codex", ".claude", ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".mozilla"),
    *(".password-store", ".config/gcloud", ".config/gh", ".local/share/keyrings"),
    *(".ipython", ".jupyter", ".config/jupyter", ".local/share/jupyter"),
)
SECRET_FILES: Final = (
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers"),
    *(f"/etc/ssh/ssh_host_{kind}_key" for kind in ("dsa", "ecdsa", "ed25519", "rsa")),
)
PROC_READONLY: Final = ("/proc/sys", "/proc/acpi", "/proc/scsi")
PROC_MASKED: Final = tuple(
    f"/proc/{name}"
    for name in ("kcore", "keys", "latency_stats", "mtrr", "sysrq-trigger", "timer_list")
)
PROTECTED: Final = (
    *(".git", ".codex", ".agents", ".claude", ".vscode", ".idea"),
    *(".jupyter", ".ipynb_checkpoints", ".venv", "venv"),
)


def gather(
    policy: SandboxPolicy,
    *,
    environ: Mapping[str, str] = os.environ,
    path: Sequence[str] | None = None,
) -> Machine:
    """Return the facts for `policy`, whose paths are resolved already.

    Parameters
    ----------
    environ
        The environment that says where homes and run-time folders are.
    path
        What the kernel imports from, `sys.path` unless given.
    """
    homes = _homes(environ)
    scratch = set(_folders(SCRATCH))
    named = (environ.get(name, "") for name in COVERED_BY_NAME)
    untouchable = {"/", *_system(), *scratch}
    covered = {*homes, *_folders((*COVERED, *named))} - untouchable
    secret = {
        folder
        for folder in _folders(_secrets(homes, environ))
        # A home that is also named as, say, a runtime folder still is a home.
        if not any(within(other, folder) for other in covered | untouchable)
    }
    files = {os.path.realpath(f) for f in (*SECRET_FILES, *_connection_files()) if _open(f)}
    resolver = os.path.realpath("/etc/resolv.conf")
    hidden_resolver = within_any(resolver, covered) and os.path.isfile(resolver)
    folders = roots(policy)
    return Machine(
        home=next((h for h in homes if within_any(h, covered | scratch)), SCRATCH[0]),
        covered=tuple(sorted(covered)),
        secret=tuple(sorted(secret)),
        secret_files=tuple(sorted(files)),
        python=_shown(
            tuple(_imports(sys.path if path is None else path)),
            frozenset(covered | scratch | files),
            frozenset(secret),
        ),
        system=tuple(f for f in PROGRAMS if os.path.isdir(f)),
        scratch=tuple(sorted(scratch)),
        proc_readonly=tuple(p for p in PROC_READONLY if os.path.isdir(p) and os.listdir(p)),
        proc_masked=tuple(filter(_open, PROC_MASKED)),
        protected=tuple(outermost(_protected(folders))),
        resolver=resolver if hidden_resolver else None,
    )


def _open(path: str) -> bool:
    """Return whether this user can do anything with the file at `path`."""
    return os.access(path, os.R_OK) or os.access(path, os.W_OK)


def _folders(paths: Iterable[str]) -> Iterator[str]:
    return (os.path.realpath(path) for path in paths if path and os.path.isdir(path))


@functools.cache
def _system() -> tuple[str, ...]:
    return tuple(_folders(SYSTEM))


def _homes(environ: Mapping[str, str]) -> list[str]:
    """Return the person's homes, the one the environment names first."""
    named = [environ.get("HOME", "")]
    with contextlib.suppress(KeyError):  # a container's user without a name
        named.append(pwd.getpwuid(os.getuid()).pw_dir)
    return list(_folders(home for home in named if home.startswith("/")))


def _secrets(homes: Iterable[str], environ: Mapping[str, str]) -> Iterator[str]:
    for home in homes:
        yield from (f"{home}/{name}" for name in SECRET_IN_HOME)
    yield from (environ.get(name, "") for name in SECRET_BY_NAME)
    for name in ("XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        if environ.get(name):
            yield f"{environ[name]}/jupyter"


def _connection_files() -> list[str]:
    """Return the file that holds the kernel's key, where the command line names it."""
    words = (word.rpartition("=")[2] for word in sys.orig_argv if word.endswith(".json"))
    return [word for word in words if os.path.basename(word).startswith("kernel")]


def _imports(path: Sequence[str]) -> Iterator[str]:
    """Yield what the kernel is made of and imports from, where it exists."""
    program = sys.executable or "/usr/bin/python3"
    folders = [*path, sys.prefix, sys.base_prefix, sys.exec_prefix, sys.base_exec_prefix]
    for folder in dict.fromkeys((*folders, os.path.dirname(program))):
        if os.path.exists(folder or "."):
            yield os.path.abspath(folder)
    yield from _links(os.path.abspath(program))


@functools.lru_cache(maxsize=8)
def _shown(
    imports: tuple[str, ...], hides: frozenset[str], secret: frozenset[str]
) -> tuple[tuple[str, str], ...]:
    """Return `imports`, less what is, holds or lies in something hidden, with the real places.

    Remembered, because links and nesting take longer to find out than all the rest.
    """
    real_program = os.path.dirname(os.path.realpath(sys.executable))
    reals = {place: os.path.realpath(place) for place in (*imports, real_program)}
    reals |= {real: real for real in reals.values()}

    def allowed(name: str) -> bool:
        holds = any(within(hidden, name) for hidden in hides | secret)
        return not holds and not within_any(name, secret)

    shown = outermost(place for place, real in reals.items() if allowed(place) and allowed(real))
    return tuple((reals[place], place) for place in shown)


def _links(program: str) -> Iterator[str]:
    """Yield each step from `program` to what it is a symbolic link to."""
    for _ in range(16):
        if not os.path.islink(program):
            return
        target = os.path.join(os.path.dirname(program), os.readlink(program))
        program = os.path.normpath(target)
        yield program


def _protected(folders: Sequence[str]) -> Iterator[str]:
    """Yield what exists in `folders` and steers programs that later run outside the sandbox."""
    found = [sys.prefix, sys.base_prefix, sys.exec_prefix]
    for place in (os.path.join(folder, name) for folder in folders for name in PROTECTED):
        if os.path.exists(place):
            found.append(place)
            if place.endswith("/.git") and os.path.isfile(place):
                found += _git_folders(place)
    return (real for real in map(os.path.realpath, found) if within_any(real, folders))


def _git_folders(pointer: str) -> Iterator[str]:
    """Yield the folders that a worktree's ``.git`` file leads to, if they are there."""
    if not (named := _text(pointer).partition("gitdir:")[2].strip()):
        return
    folder = os.path.realpath(os.path.join(os.path.dirname(pointer), named))
    common = _text(os.path.join(folder, "commondir")) or "."
    yield from _folders((folder, os.path.join(folder, common)))


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(4096).strip()
    except OSError:
        return ""
