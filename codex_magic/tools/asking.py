"""What a call may ask for beyond the policy of its turn, and the words a person reads of it.

Pure but for looking at paths. It grants nothing: the policy it returns counts only once somebody
has allowed it.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from codex_magic.policy import Excess
from codex_magic.sandbox.steering import steers

if TYPE_CHECKING:
    from codex_magic.policy import SandboxPolicy


class Wishes(msgspec.Struct, kw_only=True):
    """The arguments with which a call asks for more; every tool that runs commands has them."""

    justification: str | None = None
    network: bool | None = None
    paths: list[str] | None = None
    unsandboxed: bool | None = None


PARAMETERS = {
    "justification": {"type": "string", "description": "Why, in words a person can judge."},
    "network": {"type": "boolean", "description": "Ask for network access."},
    "paths": {
        "type": "array",
        "items": {"type": "string"},
        "description": "Ask to write in these further folders, or in protected ones such as .git.",
    },
    "unsandboxed": {"type": "boolean", "description": "Ask to run without any sandbox."},
}
"""The same as a JSON Schema's properties."""


def widened(wishes: Wishes, policy: SandboxPolicy) -> tuple[SandboxPolicy, tuple[str, ...]]:
    """Return the policy that a call would run under, and in words what it has beyond the turn's.

    Raises
    ------
    ValueError, RuntimeError, OSError
        A path holds a NUL, names an unknown person, or is a ring of links.
    """
    if policy.mode in ("full-access", "external"):
        return policy, ()
    if wishes.unsandboxed:
        return replace(policy, mode="full-access"), ("run without any sandbox",)
    asks = []
    if wishes.network and not policy.network:
        policy = replace(policy, network=True)
        asks.append("use the network, this machine's own services included")
    paths = [policy.workspace / Path(path).expanduser() for path in wishes.paths or ()]
    if policy.mode == "read-only" and any(not _may_write(policy, path) for path in paths):
        # Where a sandbox writes at all it writes in the workspace, so that is asked for as well.
        policy = replace(policy, mode="workspace-write")
        asks.append(f"write in {policy.workspace}")
    for path in paths:
        if not _may_write(policy, path):
            policy, asked = _writable(policy, path)
            asks.append(f"write in {asked}")
    return policy, tuple(asks)


def exceeded(policy: SandboxPolicy, wider: SandboxPolicy, *, rule: bool = False) -> Excess:
    """Return what `wider`, made of `policy` by `widened`, has beyond it; `rule`: a rule asks too."""
    starts_to_write = policy.mode == "read-only" and wider.mode == "workspace-write"
    return Excess(
        network=wider.network and not policy.network,
        unsandboxed=wider.mode == "full-access" != policy.mode,
        folders=(
            *((policy.workspace.resolve(),) if starts_to_write else ()),
            *(path for path in wider.writable if path not in policy.writable),
        ),
        protected=tuple(path for path in wider.unprotected if path not in policy.unprotected),
        rule=rule,
    )


def _may_write(policy: SandboxPolicy, path: Path) -> bool:
    if policy.mode != "workspace-write":
        return False
    top = _steering(policy, path)
    return _root(policy, path.resolve()) is not None and (top is None or top in policy.unprotected)


def _writable(policy: SandboxPolicy, path: Path) -> tuple[SandboxPolicy, Path]:
    """Return `policy` with `path` to write in, and what that is in all."""
    if (top := _steering(policy, path)) is not None:
        return replace(policy, unprotected=(*policy.unprotected, top)), top
    path = path.resolve()
    return replace(policy, writable=(*policy.writable, path)), path


def _root(policy: SandboxPolicy, path: Path) -> Path | None:
    roots = (policy.workspace, *policy.writable)
    return next((root for root in roots if path.is_relative_to(root)), None)


def _steering(policy: SandboxPolicy, path: Path) -> Path | None:
    """Return the protected entry at the top of a writable folder that `path` is or lies in."""
    path = path.parent.resolve() / path.name  # the entry itself, also where it is a link
    root = _root(policy, path)
    if root is None or path == root:
        return None
    top = root / path.relative_to(root).parts[0]
    return top if steers(top.name) else None
