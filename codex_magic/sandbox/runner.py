"""`run`: one command, under one policy, to its end.

It refuses what the policy or the machine does not allow, picks the launcher for the mode, and
turns what happened into a `CommandResult`. How arguments are made, processes watched and output
kept is known elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import re
import signal
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic.errors import SandboxError
from codex_magic.items import Outcome, Receipt
from codex_magic.mask import known_secrets
from codex_magic.policy import Limits, Permission, SandboxPolicy
from codex_magic.sandbox import (
    admission,
    audit,
    environment,
    helped,
    landlock,
    machine,
    process,
    tree,
)
from codex_magic.sandbox.bwrap import arguments, mounts, roots, unconfined, visible, within_any
from codex_magic.sandbox.probe import Probe, probe
from codex_magic.sandbox.process import NOT_FOUND, NOT_RUNNABLE
from codex_magic.sandbox.traces import Traces

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from codex_magic.sandbox.bwrap import Machine

log = logging.getLogger("codex_magic")

NO_SANDBOX: Final = (
    "A person can install bubblewrap and allow user namespaces, or choose the mode external where"
    " the machine itself is thrown away afterwards"
)
LIMIT_SIGNALS: Final = {
    128 + signal.SIGXCPU: "ended for using more processor time than it may",
    128 + signal.SIGXFSZ: "ended for writing a larger file than it may",
}
LAUNCHERS: Final = ("bwrap: ", "landlock: ")
LAUNCHING: Final = re.compile(rf"{tree.GATE_NAME}: (?:line )?\d+: (?:exec: )?(.*)", re.DOTALL)


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
    log: audit.Log | None = None
    call_id: str = ""
    tool: str = ""


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
    _note_refused(asked, reason)


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


@dataclass(frozen=True, slots=True)
class Asked:
    """What `run` was given that does not change while it runs."""

    command: Sequence[str] | str
    policy: SandboxPolicy
    limits: Limits = Limits()
    cwd: Path | str | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    occasion: Occasion = Occasion()


@dataclass(frozen=True, slots=True)
class _Launch:
    """How a command will be started, and what can be vouched for."""

    level: str
    mechanism: str
    begin: Callable[[], tree.Tree]
    env: Mapping[str, str]
    protected: tuple[str, ...] = ()
    confined: bool = False
    notes: tuple[str, ...] = ()


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
        asked = replace(asked, policy=admission.resolve(asked.policy))
        folder = admission.working_folder(asked.cwd, asked.policy.workspace)
        launch = _launch(argv, asked, folder, probed)
        entry = _noted(asked, folder, launch)
    except (SandboxError, OSError, ValueError) as error:
        _note_refused(asked, str(error))
        return _not_run("refused", f"not run: {error}", asked)
    result = None
    try:
        result = _supervised(asked, launch, on_output, stop)
    finally:
        _note_end(asked, entry, result)
    return result


def _supervised(
    asked: Asked,
    launch: _Launch,
    on_output: process.OnOutput | None,
    stop: threading.Event | None,
) -> CommandResult:
    traces = Traces(asked.policy, launch.protected, confined=launch.confined)
    disk = str(asked.policy.workspace)
    try:
        ended = process.supervise(
            launch.begin, asked.limits, on_output, stop, disk, meanwhile=traces.before
        )
    except process.NotStartedError as error:
        return _not_run("error", str(error), asked, error.exit_code)
    except BaseException:
        traces.after()  # also where nobody reads of it, nothing may be left behind
        raise
    return _result(ended, asked, launch, traces.after())


def _launch(
    argv: Sequence[str], asked: Asked, folder: Path, probed: Callable[[], Probe]
) -> _Launch:
    """Return how the command is started under its policy here."""
    policy, cwd = asked.policy, str(folder)
    if policy.mode in ("external", "full-access"):
        return _open_to_all(argv, asked, cwd, probed)
    found = probed()
    bwrap = found.bwrap
    if found.level == "none":
        raise SandboxError(f"no sandbox works on this machine ({found.reason})", hint=NO_SANDBOX)
    facts = machine.gather(policy)
    admission.admit(policy, facts)
    env = environment.confined(facts.home, asked.env, allowed=policy.env_allow)
    if bwrap is None:
        return _by_landlock(argv, asked, cwd, env, facts, found)
    if not (within_any(cwd, roots(policy)) or visible(cwd, mounts(policy, facts, asked.limits))):
        raise SandboxError(f"the working folder {cwd} is hidden from commands")
    words = arguments(policy, facts, argv, cwd, env, asked.limits)
    filtered = found.filtered(unix_sockets=policy.unix_sockets)
    return _Launch(
        found.level,
        found.mechanism,
        lambda: tree.start_sandboxed(bwrap, words, argv, filtered=filtered),
        env,
        protected=facts.protected,
        confined=True,
    )


def _by_landlock(  # noqa: PLR0913, PLR0917 - all that a plan is made of
    argv: Sequence[str],
    asked: Asked,
    cwd: str,
    env: Mapping[str, str],
    facts: Machine,
    found: Probe,
) -> _Launch:
    """Return how the command is started where no namespaces can be made."""
    policy = asked.policy
    if policy.unix_sockets:
        raise SandboxError("Unix sockets cannot be confined on this machine")
    filtered = found.filtered(network=policy.network)
    plan = landlock.plan(
        *(policy, facts, argv, cwd, env, asked.limits), abi=found.landlock, filtered=filtered
    )
    if not plan.sees(cwd):
        raise SandboxError(f"the working folder {cwd} is hidden from commands")
    return _Launch(
        found.level,
        found.mechanism,
        lambda: helped.start(plan),
        env,
        protected=facts.protected,
        confined=True,
        notes=plan.notes,
    )


def _open_to_all(
    argv: Sequence[str], asked: Asked, cwd: str, probed: Callable[[], Probe]
) -> _Launch:
    """Return how the command is started that a person has opened everything to."""
    own = environment.open_to_all(asked.env)
    if asked.policy.mode == "external":
        return _Launch("external", "", lambda: tree.start(argv, cwd=cwd, env=own), own)
    if (bwrap := probed().bwrap) is None:
        return _Launch("none", "", lambda: tree.start(argv, cwd=cwd, env=own), own)
    words = unconfined(argv, cwd, own)
    return _Launch("none", "", lambda: tree.start_sandboxed(bwrap, words, argv), own)


def _noted(asked: Asked, folder: Path, launch: _Launch) -> str:
    """Write the log's line before the command; it does not run where that cannot be written."""
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


def _note_refused(asked: Asked, reason: str) -> None:
    if asked.occasion.log is not None:
        with contextlib.suppress(SandboxError, TypeError):  # nothing has run, or no text was given
            asked.occasion.log.refused(_entry(asked), reason)


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


def _note_end(asked: Asked, entry: str, result: CommandResult | None) -> None:
    """Write the log's line after the command; what it did cannot be taken back by an error."""
    if asked.occasion.log is None:
        return
    ended = audit.Finished(outcome="interrupted") if result is None else _finished(result)
    try:
        asked.occasion.log.end(entry, ended)
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


def _result(
    ended: process.Ended, asked: Asked, launch: _Launch, traces: Mapping[str, Any]
) -> CommandResult:
    stdout, stderr = ended.stdout, ended.stderr
    receipt = msgspec.structs.replace(
        _receipt(asked, launch.level, launch.mechanism),
        duration_s=ended.duration_s,
        cpu_s=ended.cpu_s,
        peak_memory_bytes=ended.peak_memory_bytes,
        stdout_bytes=stdout.received,
        stderr_bytes=stderr.received,
        stdout_sha256=stdout.sha256,
        stderr_sha256=stderr.sha256,
        truncated=stdout.truncated or stderr.truncated,
        network_refused=ended.network_refused,
        notes=launch.notes,
        **traces,
    )
    outcome, exit_code, message = ended.outcome, ended.exit_code, ended.message
    if outcome != "exit":
        exit_code = None
    elif exit_code is None:
        outcome, exit_code, message = _failed_launch(stderr.text())
    elif exit_code in (NOT_FOUND, NOT_RUNNABLE) and (said := LAUNCHING.match(stderr.text())):
        outcome, message = "error", f"could not start {said[1].strip()}"
    else:
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
