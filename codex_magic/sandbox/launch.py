"""Which mechanism starts a command: the one that this machine has for its policy.

Nothing is started here; a `Launch` says how it will be.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codex_magic.errors import SandboxError
from codex_magic.sandbox import (
    admission,
    environment,
    helped,
    landlock,
    machine,
    namespaced,
    tree,
)
from codex_magic.sandbox.bwrap import arguments, mounts, roots, unconfined, visible, within_any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from codex_magic.sandbox.asked import Asked
    from codex_magic.sandbox.bwrap import Machine
    from codex_magic.sandbox.probe import Probe

NO_SANDBOX: Final = (
    "A person can install bubblewrap and allow user namespaces, or choose the mode external where"
    " the machine itself is thrown away afterwards"
)


@dataclass(frozen=True, slots=True)
class Launch:
    """How a command will be started, and what can be vouched for.

    Parameters
    ----------
    begin
        Starts it.
    env
        All its variables.
    protected
        What of the writable folders it cannot write.
    confined
        Whether what it leaves behind is settled afterwards.
    notes
        What of the policy this machine cannot do, in words.
    """

    level: str
    mechanism: str
    begin: Callable[[], tree.Tree]
    env: Mapping[str, str]
    protected: tuple[str, ...] = ()
    confined: bool = False
    notes: tuple[str, ...] = ()


def launch(argv: Sequence[str], asked: Asked, folder: Path, probed: Callable[[], Probe]) -> Launch:
    """Return how a command is started under its policy here.

    Raises
    ------
    SandboxError
        The policy may not be used, or this machine cannot enforce it.
    """
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
    words, argv = _with_env(argv, asked, facts, cwd, env)
    filtered = found.filtered(unix_sockets=policy.unix_sockets)
    return Launch(
        found.level,
        found.mechanism,
        lambda: namespaced.start(bwrap, words, argv, filtered=filtered),
        env,
        protected=facts.protected,
        confined=True,
    )


def _with_env(
    argv: Sequence[str], asked: Asked, facts: Machine, cwd: str, env: Mapping[str, str]
) -> tuple[list[str], Sequence[str]]:
    """Return the launcher's words, and the command as it stands at their end.

    A caller's variables reach the command and nothing before it: a library to preload would run in
    the gate, before there are limits. `env` sets them, whatever their names.
    """
    if asked.env and "=" not in argv[0]:
        argv = ["/usr/bin/env", "-i", *(f"{name}={value}" for name, value in env.items()), *argv]
        env = {"PATH": env["PATH"]}
    return arguments(asked.policy, facts, argv, cwd, env, asked.limits), argv


def _by_landlock(  # noqa: PLR0913, PLR0917 - all that a plan is made of
    argv: Sequence[str],
    asked: Asked,
    cwd: str,
    env: Mapping[str, str],
    facts: Machine,
    found: Probe,
) -> Launch:
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
    return Launch(
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
) -> Launch:
    """Return how the command is started that a person has opened everything to."""
    own = environment.open_to_all(asked.env)
    if asked.policy.mode == "external":
        return Launch("external", "", lambda: tree.start(argv, cwd=cwd, env=own), own)
    if (bwrap := probed().bwrap) is None:
        return Launch("none", "", lambda: tree.start(argv, cwd=cwd, env=own), own)
    words = unconfined(argv, cwd, own)
    return Launch("none", "", lambda: namespaced.start(bwrap, words, argv), own)
