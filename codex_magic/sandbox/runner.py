"""`run`: one command, under one policy, to its end.

It refuses what the policy or the machine does not allow, picks the launcher for the mode, and
turns what happened into a `CommandResult`. How arguments are made, processes watched and output
kept is known elsewhere.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codex_magic.errors import SandboxError
from codex_magic.items import Outcome, Receipt
from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox import admission, environment, machine, process, tree
from codex_magic.sandbox.bwrap import arguments, mounts, unconfined, visible
from codex_magic.sandbox.probe import Probe, probe
from codex_magic.sandbox.process import NOT_FOUND, NOT_RUNNABLE

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

NO_SANDBOX: Final = (
    "A person can install bubblewrap and allow user namespaces, or choose the mode external where"
    " the machine itself is thrown away afterwards"
)
LAUNCHER: Final = "bwrap: "
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


def run(  # noqa: PLR0913 - the two that everyone gives, and five with defaults
    command: Sequence[str] | str,
    *,
    policy: SandboxPolicy,
    limits: Limits = Limits(),  # noqa: B008 - frozen
    cwd: Path | str | None = None,
    env: Mapping[str, str] | None = None,
    on_output: process.OnOutput | None = None,
    stop: threading.Event | None = None,
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
    """
    return execute(
        command, policy, limits, cwd, env or {}, on_output=on_output, stop=stop, probed=probe
    )


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


def execute(  # noqa: PLR0913 - those of `run`
    command: Sequence[str] | str,
    policy: SandboxPolicy,
    limits: Limits,
    cwd: Path | str | None,
    env: Mapping[str, str],
    *,
    on_output: process.OnOutput | None,
    stop: threading.Event | None,
    probed: Callable[[], Probe],
) -> CommandResult:
    """Do what `run` does on a machine that `probed` tells about."""
    if stop is not None and stop.is_set():
        return _not_run("killed", "stopped before it started", policy)
    try:
        argv = admission.words(command, env)
        policy = admission.resolve(policy)
        folder = admission.working_folder(cwd, policy.workspace)
        level, begin = _launch(argv, policy, limits, folder, env, probed)
    except (SandboxError, OSError, ValueError) as error:
        return _not_run("refused", f"not run: {error}", policy)
    try:
        ended = process.supervise(begin, limits, on_output, stop)
    except process.NotStartedError as error:
        return _not_run("error", str(error), policy, error.exit_code)
    return _result(ended, policy, level)


def _launch(  # noqa: PLR0913, PLR0917 - those of `run`
    argv: Sequence[str],
    policy: SandboxPolicy,
    limits: Limits,
    folder: Path,
    env: Mapping[str, str],
    probed: Callable[[], Probe],
) -> tuple[str, Callable[[], tree.Tree]]:
    """Return the level of `policy` here, and what starts the command under it."""
    cwd = str(folder)
    own = environment.open_to_all(env)
    if policy.mode == "external":
        return "external", lambda: tree.start(argv, cwd=cwd, env=own)
    found = probed()
    bwrap = found.bwrap
    if policy.mode == "full-access":
        if bwrap is None:
            return "none", lambda: tree.start(argv, cwd=cwd, env=own)
        words = unconfined(argv, cwd, own)
        return "none", lambda: tree.start_sandboxed(bwrap, words, argv)
    if bwrap is None:
        raise SandboxError(f"no sandbox works on this machine ({found.reason})", hint=NO_SANDBOX)
    facts = machine.gather(policy)
    admission.admit(policy, facts)
    if not visible(cwd, mounts(policy, facts, limits)):
        raise SandboxError(f"the working folder {cwd} is hidden from commands")
    words = arguments(policy, facts, argv, cwd, environment.confined(facts.home, env), limits)
    return found.level, lambda: tree.start_sandboxed(bwrap, words, argv)


def _result(ended: process.Ended, policy: SandboxPolicy, level: str) -> CommandResult:
    stdout, stderr = ended.stdout, ended.stderr
    receipt = Receipt(
        level=level,
        mode=policy.mode,
        network=_networked(policy),
        duration_s=ended.duration_s,
        stdout_bytes=stdout.received,
        stderr_bytes=stderr.received,
        truncated=stdout.truncated or stderr.truncated,
    )
    outcome, exit_code, message = ended.outcome, ended.exit_code, ended.message
    if outcome != "exit":
        exit_code = None
    elif exit_code is None:
        outcome, exit_code, message = _failed_launch(stderr.text())
    elif exit_code in (NOT_FOUND, NOT_RUNNABLE) and (said := LAUNCHING.match(stderr.text())):
        outcome, message = "error", f"could not start {said[1].strip()}"
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
    if reason.startswith(LAUNCHER):
        reason = reason.removeprefix(LAUNCHER)
        return "error", NOT_RUNNABLE, f"the sandbox could not be set up: {reason}"
    return "killed", None, "something outside the sandbox killed it"


def _not_run(
    outcome: Outcome, message: str, policy: SandboxPolicy, exit_code: int | None = None
) -> CommandResult:
    receipt = Receipt(level="none", mode=policy.mode, network=_networked(policy))
    return CommandResult(exit_code=exit_code, outcome=outcome, message=message, receipt=receipt)


def _networked(policy: SandboxPolicy) -> bool:
    return policy.network or policy.mode in ("full-access", "external")
