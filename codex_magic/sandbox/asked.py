"""What `run` is asked to do, and on what occasion: values, nothing more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codex_magic.policy import Limits, Permission, SandboxPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from codex_magic.sandbox.audit import Log


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """Why a command runs, for its receipt and for the log.

    Parameters
    ----------
    permission
        Who allowed it.
    log
        Where a line is written before it starts and one after it has ended.
    call_id, tool
        The call of an agent that it belongs to.
    """

    permission: Permission = Permission()
    log: Log | None = None
    call_id: str = ""
    tool: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What `run` was given that does not change while it runs."""

    command: Sequence[str] | str
    policy: SandboxPolicy
    limits: Limits = Limits()
    cwd: Path | str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    occasion: Occasion = Occasion()
