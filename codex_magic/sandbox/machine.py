"""The facts about this machine that a confinement depends on.

It looks at folders, links and the environment, and changes nothing. What the facts mean for a
command is decided in `bwrap` and `admission`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import pwd
import sys
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox import plainfile
from codex_magic.sandbox.bwrap import Machine, outermost, roots, within, within_any
from codex_magic.sandbox.steering import steers

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
SECRET_FILE_BY_NAME: Final = (
    *("CODEX_MAGIC_TOKEN_FILE", "CODEX_MAGIC_ENV_FILE", "CODEX_CREDENTIALS_FILE"),
)
"""Single files, wherever they are, the workspace included."""
SECRET_IN_HOME: Final = (
    *(".codex", ".claude", ".ssh", ".gnupg", ".aws", ".azure", ".kube", ".docker", ".mozilla"),
    *(".password-store", ".config/gcloud", ".config/gh", ".local/share/keyrings"),
    *(".ipython", ".jupyter", ".config/jupyter", ".local/share/jupyter"),
)
SECRET_OF_ROOT: Final = (
    *("/etc/ssl/private", "/etc/sudoers.d", "/etc/security", "/etc/wireguard"),
    *("/etc/NetworkManager/system-connections", "/var/backups", "/var/cache/debconf"),
    *("/var/spool/cron", "/var/lib/sss"),
)
SECRET_FILES: Final = (
    *("/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers"),
    *(f"/etc/ssh/ssh_host_{kind}_key" for kind in ("dsa", "ecdsa", "ed25519", "rsa")),
)
PROC_READONLY: Final = ("/proc/sys", "/proc/acpi", "/proc/scsi")
PROC_MASKED: Final = tuple(
    f"/proc/{name}" for name in ("kcore", "keys", "latency_stats", "sysrq-trigger", "timer_list")
)
ENVIRONMENTS: Final = ("VIRTUAL_ENV", "CONDA_PREFIX")
NOTEBOOK: Final = "JPY_SESSION_NAME"
CHECKPOINTS: Final = ".ipynb_checkpoints"  # Jupyter makes it at any time: a new one is its own


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
    names = ("HOME", *COVERED_BY_NAME, *SECRET_BY_NAME, *ENVIRONMENTS)
    named = tuple((name, environ[name]) for name in names if environ.get(name))
    there = tuple(os.path.isdir(value) for _, value in named)
    imported = tuple(sys.path if path is None else path)
    facts = _person(named, imported, (there, *_changed(environ)))
    hidden = [os.path.realpath(path) for path in policy.hidden if os.path.lexists(path)]
    hidden += _named_files(environ)
    return dataclasses.replace(
        facts,
        hidden=tuple(outermost(filter(os.path.isdir, hidden))),
        hidden_files=tuple(dict.fromkeys(path for path in hidden if not os.path.isdir(path))),
        protected=tuple(outermost(_protected(policy, environ))),
        checked=tuple(map(os.path.realpath, _open_now(policy, environ))),
    )


def _named_files(environ: Mapping[str, str]) -> Iterator[str]:
    for name in SECRET_FILE_BY_NAME:
        path = os.path.expanduser(environ.get(name, ""))
        if os.path.isfile(path):
            yield os.path.realpath(path)


def _changed(environ: Mapping[str, str]) -> Iterator[int]:
    """Yield which folders these are, and when those in which something may have appeared changed."""
    for folder in (".", environ.get("HOME", ""), "/", "/etc", "/home"):
        with contextlib.suppress(OSError):
            facts = os.stat(folder)
            yield from (facts.st_dev, facts.st_ino)
            if folder != ".":  # where the kernel is matters, what it does there does not
                yield facts.st_mtime_ns


@functools.lru_cache(maxsize=8)
def _person(
    named: tuple[tuple[str, str], ...], path: tuple[str, ...], _seen: tuple[object, ...]
) -> Machine:
    """Return the facts that do not depend on a policy.

    Remembered, because to find them out takes a tenth of the time of a command. `_seen` is what
    they were like: another value makes for another look.
    """
    environ = dict(named)
    homes = _homes(environ)
    scratch = set(_folders(SCRATCH))
    covering = (environ.get(name, "") for name in COVERED_BY_NAME)
    untouchable = {"/", *_system(), *scratch}
    covered = {*homes, *_folders((*COVERED, *covering))} - untouchable
    secret = {
        folder
        for folder in _folders(_secrets(homes, environ))
        # A home that is also named as, say, a runtime folder still is a home.
        if not any(within(other, folder) for other in covered | untouchable)
    }
    files = {os.path.realpath(f) for f in (*SECRET_FILES, *_connection_files()) if _open(f)}
    resolver = os.path.realpath("/etc/resolv.conf")
    hidden_resolver = within_any(resolver, covered) and os.path.isfile(resolver)
    return Machine(
        home=next((h for h in homes if within_any(h, covered | scratch)), SCRATCH[0]),
        covered=tuple(sorted(covered)),
        secret=tuple(sorted(secret)),
        secret_files=tuple(sorted(files)),
        python=_shown(
            tuple(_imports((*path, *(environ[name] for name in ENVIRONMENTS if name in environ)))),
            frozenset(covered | scratch | files),
            frozenset(secret),
        ),
        system=tuple(f for f in PROGRAMS if os.path.isdir(f)),
        scratch=tuple(sorted(scratch)),
        proc_readonly=tuple(p for p in PROC_READONLY if os.path.isdir(p) and os.listdir(p)),
        proc_masked=tuple(filter(_open, PROC_MASKED)),
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
    if os.geteuid() == 0:  # to others they are closed anyway
        yield from SECRET_OF_ROOT
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


def _shown(
    imports: tuple[str, ...], hides: frozenset[str], secret: frozenset[str]
) -> tuple[tuple[str, str], ...]:
    """Return `imports`, less what is, holds or lies in something hidden, with the real places."""
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


def _protected(policy: SandboxPolicy, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield what exists in writable folders and steers programs that run outside the sandbox."""
    folders = roots(policy)
    found = [sys.prefix, sys.base_prefix, sys.exec_prefix, *_open_now(policy, environ)]
    found += [environ.get(name, "") for name in ENVIRONMENTS]
    for place in steering_places(folders):
        found.append(place)
        if place.endswith("/.git") and os.path.isfile(place):
            found += _git_folders(place)
    found += [str(path) for path in policy.protected]
    open_to_all = set(map(str, policy.unprotected))
    for real in map(os.path.realpath, filter(os.path.exists, found)):
        if within_any(real, folders) and not within_any(real, open_to_all):
            yield real


def steering_places(folders: Sequence[str]) -> Iterator[str]:
    """Yield what stands at the top of `folders` and steers other programs."""
    for folder in folders:
        try:
            with os.scandir(folder) as entries:
                yield from sorted([entry.path for entry in entries if steers(entry.name)])
        except OSError:  # a folder that nobody may list has nothing for other programs either
            continue


def _open_now(policy: SandboxPolicy, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the notebook that Jupyter says is open, and the checkpoints of all.

    To protect a wrong one does no harm.
    """
    yield from (os.path.join(folder, CHECKPOINTS) for folder in roots(policy))
    if name := environ.get(NOTEBOOK, ""):
        yield os.path.join(str(policy.workspace), name)
        yield os.path.join(str(policy.workspace), os.path.basename(name))


def _git_folders(pointer: str) -> Iterator[str]:
    """Yield the folders that a worktree's ``.git`` file leads to, if they are there."""
    if not (named := _text(pointer).partition("gitdir:")[2].strip()):
        return
    folder = os.path.realpath(os.path.join(os.path.dirname(pointer), named))
    common = _text(os.path.join(folder, "commondir")) or "."
    yield from _folders((folder, os.path.join(folder, common)))


def _text(path: str) -> str:
    return plainfile.head(path, 4096).decode("utf-8", "surrogateescape").strip()
