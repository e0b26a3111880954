"""Calls that become a command in the sandbox: their log, and how a declined one is noted there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codex_magic import sandbox
from codex_magic.sandbox import Occasion

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from codex_magic.policy import Permission, SandboxPolicy
    from codex_magic.sandbox.audit import Log

LogFinder = Callable[[], "Log | None"]


def no_log() -> Log | None:
    """Return that nothing is logged."""
    return None


@dataclass(frozen=True, slots=True)
class Logged:
    """One call of the tool `tool`, and the log it is written to, if there is one."""

    tool: str
    call_id: str
    log: Log | None

    def occasion(self, permission: Permission) -> Occasion:
        """Return why the command of this call runs: `permission` allowed it."""
        return Occasion(permission=permission, log=self.log, call_id=self.call_id, tool=self.tool)

    def declined(
        self,
        command: Sequence[str] | str,
        policy: SandboxPolicy,
        cwd: Path,
        permission: Permission,
        reason: str,
    ) -> None:
        """Note that the command of this call was not run."""
        occasion = self.occasion(permission)
        sandbox.declined(command, policy=policy, cwd=cwd, occasion=occasion, reason=reason)
