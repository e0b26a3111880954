"""`run`: one command, under one policy, to its end.

It refuses what the policy or the machine does not allow, picks the launcher for the mode, and
turns what happened into a `CommandResult`. How arguments are made, processes watched and output
kept is known elsewhere.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic.errors import SandboxError
from codex_magic.items import Outcome, Receipt
from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox import admission, audit, launch, logbook, machine, namespaced, process
from codex_magic.sandbox.asked import Asked, Occasion
from codex_magic.sandbox.probe import Probe, probe
from codex_magic.sandbox.process import NOT_RUNNABLE
from codex_magic.sandbox.traces import Traces

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from codex_magic.sandbox.launch import Launch

OUT_OF_TIME: Final = 128 + signal.SIGXCPU
LIMIT_SIGNALS: Final = {
    OUT_OF_TIME: "ended for using more processor time than it may",
    # Of this one there is no account to hold it against.
    128 + signal.SIGXFSZ: "perhaps ended for writing a larger file than it may",
}
LAUNCHERS: Final = ("bwrap: ", "landlock: ")
LAUNCHING: Final = re.compile(rf"{namespaced.GATE_NAME}: (?:line )?\d+: (?:exec: )?(.*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandResult:
    """What became of a command.

    Parameters
    ----------
    exit_code
        What the command returned; 127 for a program that is not there and 126 for one that
        cannot be run, both with the outcome ``error``; otherwise None.
    outcome
        ``exit``: it ended by itself. ``timeout`` and ``killed``: it was made to. ``refused``:
        it never started, because it may not. ``error``: it never started, because it cannot.
    stdout, stderr
        What it wrote, with the middle left out where that was more than the limit.
    message
        What happened, in one sentence, unless it just ended.
    receipt
        What the runner measured.
    """

    exit_code: int | None
    outcome: Outcome
    stdout: str = ""
    stderr: str = ""
    message: str = ""
    receipt: Receipt


def run(  # noqa: PLR0913 - the two that everyone gives, and six with defaults
    command: Sequence[str] | str,
    *,
    policy: SandboxPolicy,
    limits: Limits = Limits(),
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    on_output: process.OnOutput | None = None,
    stop: threading.Event | None = None,
    occasion: Occasion = Occasion(),
) -> CommandResult:
    """Run `command` under `policy` and return when it and all it started are dead.

    Nothing a command does or asks is raised; it stands in the result. The calling OS thread is
    blocked until the end. Where the machine cannot enforce `policy`, nothing is run.

    Parameters
    ----------
    command
        An argument list, or a text for ``/bin/sh -c``.
    cwd
        Where to start it, the workspace unless given. Relative to the workspace.
    env
        Variables for the command, beside the few it gets anyway.
    on_output
        Called with the name of a stream and text as it arrives, until half of
        ``limits.output_bytes`` of that stream were shown. The rest is still read and counted,
        and its end is in the result. It is called by this OS thread and should be quick: meanwhile
        nobody watches the clock. What it raises ends the command and passes on.
    stop
        Once set, from any OS thread, the command is killed.
    occasion
        Who allowed it, and the log that is kept of it.
    """
    asked = Asked(command, policy, limits, cwd, env or {}, occasion)
    return execute(asked, on_output=on_output, stop=stop, probed=probe)


def declined(
    command: Sequence[str] | str,
    *,
    policy: SandboxPolicy,
    cwd: Path | str | None = None,
    occasion: Occasion,
    reason: str,
) -> None:
    """Log that `command` was not run because somebody said no; where that fails, nothing happens."""
    asked = Asked(command, policy, cwd=cwd, occasion=occasion)
    logbook.refused(asked, reason)


def refusal(policy: SandboxPolicy) -> str:
    """Return why no command would be run under `policy` here; empty if one would."""
    if policy.mode in ("full-access", "external"):
        return ""
    try:
        resolved = admission.resolve(policy)
        admission.admit(resolved, machine.gather(resolved))
    except (SandboxError, OSError) as error:
        return str(error)
    return ""


def execute(
    asked: Asked,
    *,
    on_output: process.OnOutput | None,
    stop: threading.Event | None,
    probed: Callable[[], Probe],
) -> CommandResult:
    """Do what `run` does on a machine that `probed` tells about."""
    if stop is not None and stop.is_set():
        return _not_run("killed", "stopped before it started", asked)
    try:
        argv = admission.words(asked.command, asked.env)
        admission.bounded(asked.limits)
        asked = replace(asked, policy=admission.resolve(asked.policy))
        folder = admission.working_folder(asked.cwd, asked.policy.workspace)
        launched = launch.launch(argv, asked, folder, probed)
        entry = logbook.started(asked, folder, launched)
    except (SandboxError, OSError, ValueError) as error:
        logbook.refused(asked, str(error))
        return _not_run("refused", f"not run: {error}", asked)
    result = None
    try:
        result = _supervised(asked, launched, on_output, stop)
    finally:
        logbook.ended(asked, entry, result)
    return result


def _supervised(
    asked: Asked,
    launched: Launch,
    on_output: process.OnOutput | None,
    stop: threading.Event | None,
) -> CommandResult:
    traces = Traces(asked.policy, launched.protected, confined=launched.confined)
    disk = str(asked.policy.workspace)
    try:
        ended = process.supervise(
            launched.begin, asked.limits, on_output, stop, disk, meanwhile=traces.before
        )
        found = traces.after()
    except process.NotStartedError as error:
        return _not_run("error", str(error), asked, error.exit_code)
    except BaseException:
        traces.after()  # also where nobody reads of it, nothing may be left behind
        raise
    return _result(ended, asked, launched, found)


def _result(
    ended: process.Ended, asked: Asked, launched: Launch, traces: Mapping[str, Any]
) -> CommandResult:
    stdout, stderr = ended.stdout, ended.stderr
    receipt = msgspec.structs.replace(
        _receipt(asked, launched.level, launched.mechanism),
        duration_s=ended.duration_s,
        cpu_s=ended.cpu_s,
        peak_memory_bytes=ended.peak_memory_bytes,
        stdout_bytes=stdout.received,
        stderr_bytes=stderr.received,
        stdout_sha256=stdout.sha256,
        stderr_sha256=stderr.sha256,
        truncated=stdout.truncated or stderr.truncated,
        network_refused=ended.network_refused,
        notes=launched.notes,
        **traces,
    )
    outcome, exit_code, message = ended.outcome, ended.exit_code, ended.message
    if outcome != "exit":
        exit_code = None
    elif exit_code is None:
        outcome, exit_code, message = _failed_launch(stderr.text())
    elif not ended.started:
        said = LAUNCHING.match(stderr.text())
        outcome, message = "error", f"could not start {said[1] if said else 'the command'}"
    elif exit_code != OUT_OF_TIME or ended.cpu_s > asked.limits.cpu_s * 0.9:
        message = LIMIT_SIGNALS.get(exit_code, "")
    return CommandResult(
        exit_code=exit_code,
        outcome=outcome,
        stdout=stdout.text(),
        stderr=stderr.text(),
        message=message,
        receipt=receipt,
    )


def _failed_launch(said: str) -> tuple[Outcome, int | None, str]:
    """Return what it means that the launcher ended and named no exit code."""
    reason = said.strip()
    if reason.startswith(LAUNCHERS):
        _, _, reason = reason.partition(": ")
        return "error", NOT_RUNNABLE, f"the sandbox could not be set up: {reason}"
    return "killed", None, "something outside the sandbox killed it"


def _not_run(
    outcome: Outcome, message: str, asked: Asked, exit_code: int | None = None
) -> CommandResult:
    receipt = _receipt(asked, "none")
    return CommandResult(exit_code=exit_code, outcome=outcome, message=message, receipt=receipt)


def _receipt(asked: Asked, level: str, mechanism: str = "") -> Receipt:
    policy, permission = asked.policy, asked.occasion.permission
    return Receipt(
        level=level,
        mechanism=mechanism,
        mode=policy.mode,
        network=policy.network or policy.mode in ("full-access", "external"),
        policy_hash=audit.policy_hash(policy),
        decision=permission.decision.value,
        decided_by=permission.by,
    )
