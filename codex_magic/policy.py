"""What a command may touch, how much it may use, and when to ask first.

Values only: nothing here looks at the machine. The words are those of Codex
(``read-only``, ``workspace-write``, ``on-request``); ``danger-full-access`` is understood as
``full-access``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    from pathlib import Path

SandboxMode = Literal["read-only", "workspace-write", "full-access", "external"]
SANDBOX_MODES: Final[tuple[SandboxMode, ...]] = get_args(SandboxMode)
SANDBOX_ALIASES: Final = {"danger-full-access": "full-access"}

ApprovalPolicy = Literal["untrusted", "on-request", "never"]
APPROVAL_POLICIES: Final[tuple[ApprovalPolicy, ...]] = get_args(ApprovalPolicy)

MIB: Final = 1024 * 1024
GIB: Final = 1024 * MIB


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxPolicy:
    """What a command may touch.

    Parameters
    ----------
    mode
        ``read-only``: look at the system and the workspace. ``workspace-write``: also write in the
        workspace. ``full-access``: no confinement, a word that only a person types. ``external``:
        the machine itself is the sandbox (a throw-away container), also a person's word.
    workspace
        The folder that belongs to the turn, usually the notebook's.
    network
        Whether the command shares the machine's network.
    writable
        Further folders that may be written.
    readable
        ``all``: the system as it is, less what is always hidden. ``minimal``: the workspace, the
        system's own programs, and what the kernel's Python imports. Paths: these beside it.
    hidden
        Further files and folders that are not there for a command.
    protected
        Further files and folders that stay read-only, also inside writable ones.
    unprotected
        What may be written all the same, such as the ``.git`` of the workspace: whole entries at
        the top of a writable folder, there or not yet.
    env_allow
        Names of the kernel's variables that a command gets beside the few harmless ones.
    unix_sockets
        Whether a command may make Unix sockets of its own; with them it also reaches those that
        others have left in folders it can see.
    """

    mode: SandboxMode = "workspace-write"
    workspace: Path
    network: bool = False
    writable: tuple[Path, ...] = ()
    readable: Literal["all", "minimal"] | tuple[Path, ...] = "all"
    hidden: tuple[Path, ...] = ()
    protected: tuple[Path, ...] = ()
    unprotected: tuple[Path, ...] = ()
    env_allow: tuple[str, ...] = ()
    unix_sockets: bool = False

    @property
    def shown(self) -> tuple[Path, ...]:
        """The paths that are readable beside the usual ones."""
        return self.readable if isinstance(self.readable, tuple) else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one command may use; a model can lower these, never raise them.

    Parameters
    ----------
    wall_s
        Seconds until the command and everything it started is killed.
    cpu_s
        Seconds of processor time that each process of it gets.
    memory_bytes
        What all its processes hold together, shared pages counted once; one process cannot even
        ask for more.
    processes
        How many processes and OS threads there may be at once.
    open_files
        How many files each process may have open.
    file_bytes
        The size of each file it writes.
    disk_bytes
        What it may write to disks in all.
    output_bytes
        Bytes kept of each stream, half from its beginning and half from its end.
    flood_bytes
        Bytes read in all before a command that only floods is killed.
    tmp_bytes
        Size of each private temporary folder.
    """

    wall_s: float = 120.0
    cpu_s: int = 120
    memory_bytes: int = 2 * GIB
    processes: int = 256
    open_files: int = 1024
    file_bytes: int = GIB
    disk_bytes: int = 4 * GIB
    output_bytes: int = MIB
    flood_bytes: int = 64 * MIB
    tmp_bytes: int = 256 * MIB


class Decision(enum.StrEnum):
    """The answer to an approval request; for the session: a `Grant` until the kernel ends."""

    ACCEPT = "accept"
    ACCEPT_FOR_SESSION = "accept_for_session"
    DECLINE = "decline"
    CANCEL = "cancel"


@dataclass(frozen=True, slots=True)
class Permission:
    """That a command may run, and who said so: ``policy`` where nobody had to be asked."""

    decision: Decision = Decision.ACCEPT
    by: str = "policy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Excess:
    """How far a call goes beyond the policy of its turn.

    Parameters
    ----------
    network, unsandboxed
        Whether it wants the machine's network; to do without any sandbox.
    folders
        What else it wants to write in.
    protected
        Protected entries, such as ``.git``, that it wants to write in.
    rule
        Whether a rule asks about it.
    """

    network: bool = False
    unsandboxed: bool = False
    folders: tuple[Path, ...] = ()
    protected: tuple[Path, ...] = ()
    rule: bool = False


ALLOWED_KINDS: Final = ("network", "rules", "unsandboxed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What somebody has allowed beforehand, where nobody can be asked.

    Parameters
    ----------
    kinds
        Some of `ALLOWED_KINDS`.
    folders
        Where may be written, all below it included.
    """

    kinds: frozenset[str] = frozenset()
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Grant:
    """What a person has allowed for as long as the kernel lives: one command, word for word.

    The same words elsewhere, or under a policy that allows more or less, are another command.

    Parameters
    ----------
    command
        The argument list, or one string for ``/bin/sh -c``.
    policy
        What it may touch, with all that was asked for.
    """

    command: tuple[str, ...] | str
    cwd: Path
    policy: SandboxPolicy
