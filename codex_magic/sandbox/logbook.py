"""What is written to the log of a command: before it starts, after it has ended, or instead.

A command whose beginning cannot be written does not run. What it has done cannot be taken back by
an error at its end.
"""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import msgspec

from codex_magic.errors import SandboxError
from codex_magic.mask import known_secrets
from codex_magic.policy import Decision
from codex_magic.sandbox import audit

if TYPE_CHECKING:
    from pathlib import Path

    from codex_magic.sandbox.asked import Asked
    from codex_magic.sandbox.launch import Launch
    from codex_magic.sandbox.runner import CommandResult

log = logging.getLogger("codex_magic")


def started(asked: Asked, folder: Path, launch: Launch) -> str:
    """Write the line before the command, and return what `ended` must name.

    Raises
    ------
    SandboxError
        It cannot be written.
    """
    if asked.occasion.log is None:
        return ""
    entry = msgspec.structs.replace(
        _entry(asked),
        cwd=str(folder),
        env_names=tuple(sorted(launch.env)),
        level=launch.level,
        mechanism=launch.mechanism,
    )
    return asked.occasion.log.start(entry, secrets=known_secrets(asked.env))


def refused(asked: Asked, reason: str) -> None:
    """Write that a command was not run; where that fails, nothing has happened."""
    if asked.occasion.log is not None:
        with contextlib.suppress(SandboxError, TypeError):  # the latter: no text was given
            entry = _entry(asked)
            if asked.occasion.permission.decision is Decision.ACCEPT:
                # Whoever allowed it, the policy or the machine did not.
                entry = msgspec.structs.replace(entry, decision="", decided_by="")
            asked.occasion.log.refused(entry, reason)


def _entry(asked: Asked) -> audit.Started:
    occasion, command = asked.occasion, asked.command
    return audit.Started(
        call_id=occasion.call_id,
        tool=occasion.tool,
        command=command if isinstance(command, str) else tuple(command),
        cwd=str(asked.cwd or asked.policy.workspace),
        policy=audit.policy_fields(asked.policy),
        decision=occasion.permission.decision.value,
        decided_by=occasion.permission.by,
    )


def ended(asked: Asked, entry: str, result: CommandResult | None) -> None:
    """Write the line after the command; without a `result` it was interrupted."""
    if asked.occasion.log is None:
        return
    line = audit.Finished(outcome="interrupted") if result is None else _finished(result)
    try:
        asked.occasion.log.end(entry, line)
    except SandboxError as error:
        log.warning("the end of a command is not in the log: %s", error)


def _finished(result: CommandResult) -> audit.Finished:
    receipt = result.receipt
    streams = (
        audit.Stream(bytes=count, sha256=digest, excerpt=text)
        for count, digest, text in (
            (receipt.stdout_bytes, receipt.stdout_sha256, result.stdout),
            (receipt.stderr_bytes, receipt.stderr_sha256, result.stderr),
        )
    )
    return audit.Finished(
        outcome=result.outcome,
        exit_code=result.exit_code,
        message=result.message,
        duration_s=receipt.duration_s,
        cpu_s=receipt.cpu_s,
        peak_memory_bytes=receipt.peak_memory_bytes,
        stdout=next(streams),
        stderr=next(streams),
        findings=(*receipt.quarantined, *receipt.restored, *receipt.protected),
    )
