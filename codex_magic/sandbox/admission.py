"""What may be asked of the sandbox at all.

`resolve` follows the links of a policy, `admit` says no to a policy that would open what must
stay hidden. A refusal is a `SandboxError` whose text a model and a person can read; the caller
turns it into a result.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic.errors import SandboxError
from codex_magic.policy import SANDBOX_MODES, SandboxPolicy
from codex_magic.sandbox.bwrap import Machine, outermost, roots, within, within_any
from codex_magic.sandbox.machine import SYSTEM

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_magic.policy import Limits

LARGEST: Final = 1 << 60
SHELL: Final = ("/bin/sh", "-c")
INSTALLED: Final = ("/opt", "/var")
CLOSED: Final = tuple(folder for folder in SYSTEM if folder not in INSTALLED)
OPEN: Final = ("/dev/shm", "/usr/src", "/usr/local/src")  # noqa: S108 - below it, not itself
SHARED: Final = ("/tmp", "/var/tmp", "/dev/shm")  # noqa: S108 - to be refused


def words(command: Sequence[str] | str, env: Mapping[str, str]) -> list[str]:
    """Return `command` as an argument list.

    Raises
    ------
    SandboxError
        The command or `env` cannot be handed to any program.
    """
    argv = [*SHELL, command] if isinstance(command, str) else list(command)
    if not argv:
        raise SandboxError("the command is empty")
    if not all(isinstance(word, str) for word in (*argv, *env, *env.values())):
        raise SandboxError("a command and its variables consist of texts only")
    try:
        encoded = [os.fsencode(word) for word in (*argv, *env, *env.values())]
    except UnicodeEncodeError:
        raise SandboxError("the command holds a character that no program can receive") from None
    if any(b"\0" in word for word in encoded):
        raise SandboxError("the command holds a NUL character, which no program can receive")
    if any(not name or "=" in name for name in env):
        raise SandboxError("a variable's name is empty or holds an equals sign")
    return argv


def resolve(policy: SandboxPolicy) -> SandboxPolicy:
    """Return `policy` with its paths absolute and free of symbolic links.

    Raises
    ------
    SandboxError
        A path of it is not there.
    """
    if policy.mode not in SANDBOX_MODES:
        raise SandboxError(f"there is no sandbox mode {policy.mode!r}")
    workspace = _folder(policy.workspace, "the workspace")
    writable = tuple(_folder(path, "the writable folder") for path in policy.writable)
    if isinstance(policy.readable, str) and policy.readable not in ("all", "minimal"):
        raise SandboxError(f"readable is {policy.readable!r}: it must be all, minimal or paths")
    shown = tuple(Path(os.path.realpath(path)) for path in policy.shown)
    if missing := [path for path in shown if not path.exists()]:
        raise SandboxError(f"the readable path {missing[0]} does not exist")
    readable = policy.readable if isinstance(policy.readable, str) else shown
    # The entry itself, also where it is a link.
    unprotected = tuple(
        Path(os.path.realpath(workspace / path.parent), path.name) for path in policy.unprotected
    )
    tops = (workspace, *writable)
    if odd := [path for path in unprotected if path.parent not in tops]:
        raise SandboxError(f"{odd[0]} does not stand at the top of a writable folder")
    return dataclasses.replace(
        policy,
        workspace=workspace,
        writable=writable,
        readable=readable,
        hidden=tuple(workspace / path for path in policy.hidden),
        protected=tuple(workspace / path for path in policy.protected),
        unprotected=unprotected,
    )


def bounded(limits: Limits) -> None:
    """Pass limits that the system can keep.

    Raises
    ------
    SandboxError
        One is below 0, no number, or too large.
    """
    for name, value in dataclasses.asdict(limits).items():
        if not 0 <= value < LARGEST:
            raise SandboxError(f"the limit {name} is {value}: it must be a number, and finite")


def working_folder(cwd: Path | str | None, workspace: Path) -> Path:
    """Return where to start a command; a relative `cwd` counts from the workspace.

    Raises
    ------
    SandboxError
        There is no such folder.
    """
    return _folder(workspace / (cwd or "."), "the working folder")


def admit(policy: SandboxPolicy, machine: Machine) -> None:
    """Pass a resolved `policy` that opens nothing hidden on `machine`.

    Raises
    ------
    SandboxError
        It would.
    """
    hidden = (*machine.covered, *machine.secret, *machine.secret_files)
    for folder in roots(policy):
        holds_system = any(within(system, folder) for system in CLOSED)
        if holds_system or (within_any(folder, CLOSED) and not within_any(folder, OPEN)):
            raise SandboxError(f"{folder} belongs to the system and cannot be a workspace")
        if folder in (*SHARED, *INSTALLED, *machine.scratch):
            raise SandboxError(f"{folder} is shared with other programs; use a folder inside it")
    for path in (*machine.hidden, *machine.hidden_files):
        if held := [folder for folder in (*CLOSED, *roots(policy)) if within(folder, path)]:
            raise SandboxError(f"{path} cannot be hidden: it holds {held[0]}")
    for path in (*roots(policy), *_newly_shown(policy, machine)):
        if inside := [secret for secret in machine.secret if within(path, secret)]:
            raise SandboxError(f"{path} lies in {inside[0]}, which stays hidden from commands")
        if held := [secret for secret in hidden if within(secret, path)]:
            what = "is" if held[0] == path else f"holds {outermost(held)[0]}, which is"
            raise SandboxError(f"{path} {what} hidden from commands; use a folder of its own")


def _newly_shown(policy: SandboxPolicy, machine: Machine) -> list[str]:
    """Return the readable paths that a mask would not cover again."""
    return [
        path
        for path in map(str, policy.shown)
        if within_any(path, (*machine.covered, *machine.secret, *machine.scratch))
    ]


def _folder(path: Path | str, what: str) -> Path:
    real = Path(os.path.realpath(path))
    if not real.is_dir():
        raise SandboxError(f"{what} {path} {'is not a folder' if real.exists() else 'is missing'}")
    return real
