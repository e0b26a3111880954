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
        ``all``: the system as it is, less what is always hidden. Otherwise the only paths that are
        shown beside the workspace and the system's own programs.
    """

    mode: SandboxMode = "workspace-write"
    workspace: Path
    network: bool = False
    writable: tuple[Path, ...] = ()
    readable: Literal["all"] | tuple[Path, ...] = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much one command may use; a model can lower these, never raise them.

    Parameters
    ----------
    wall_s
        Seconds until the command and everything it started is killed.
    output_bytes
        Bytes kept of each stream, half from its beginning and half from its end.
    flood_bytes
        Bytes read in all before a command that only floods is killed.
    tmp_bytes
        Size of each private temporary folder.
    """

    wall_s: float = 120.0
    output_bytes: int = MIB
    flood_bytes: int = 64 * MIB
    tmp_bytes: int = 256 * MIB


class Decision(enum.StrEnum):
    """The answer to an approval request."""

    ACCEPT = "accept"
    DECLINE = "decline"
    CANCEL = "cancel"
