"""What this machine can enforce, found out by doing it.

A candidate counts only if a command ran under the very arguments that `bwrap.arguments` makes and
then could not do what it must not: read a hidden file, write outside, see other processes, reach
a network, hold a capability.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import platform
import shlex
import stat
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from codex_magic import binary
from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox import (
    admission,
    environment,
    helped,
    landlock,
    machine,
    namespaced,
    process,
    seccomp,
    tree,
)
from codex_magic.sandbox.bwrap import arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from codex_magic.sandbox.bwrap import Machine

Level = Literal["full", "partial", "none"]

SYSTEM_BWRAP: Final = Path("/usr/bin/bwrap")
NO_BWRAP: Final = "there is no bwrap, neither with the Codex package nor as /usr/bin/bwrap"
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
FIRST_COMMAND: Final = "2"
FILTERING: Final = "2"  # proc_pid_status(5)
_ONE_AT_A_TIME: Final = threading.Lock()
_FOUND: Final[list[Probe]] = []
LIMITS: Final = Limits(wall_s=10, output_bytes=64 * 1024, tmp_bytes=1024 * 1024)
LIMITED: Final = "time, processor time, memory, processes, files, disks and output have limits"
ENFORCED: Final = (
    "home, credentials, run-time folders and other programs' temporary files are hidden",
    "writes reach only the workspace, writable folders and private temporary folders",
    "configuration that steers other programs is read-only, and put aside where it is new",
    "no network unless it is granted",
    "no capabilities, no new namespaces",
    "its processes see only each other and all die at the end",
    LIMITED,
)
FILTERED: Final = "a filter of system calls: no Unix sockets, kernel keys, tracing, set-id files"
MISSING: Final = (
    "protection of steering configuration that is deeper than the top of a writable folder",
    "memory and disks are looked at every few milliseconds, not at every instant",
    "what waits in sockets, and files and watches that the whole machine shares, is not counted",
)
ELSEWHERE: Final = {
    "darwin": "its profile for macOS has not been run yet",
    "win32": "there is none for Windows; use WSL2",
}
# Only what a shell does by itself, so that any system can run it.
SCRIPT: Final = """
echo "pid $$"
read -r line 2>/dev/null < {secret} && echo "secret $line"
echo changed 2>/dev/null > {outside}
echo written > {inside}
while read -r line; do echo "$line"; done < /proc/self/status
while read -r line; do echo "net $line"; done < /proc/net/dev
while read -r line; do echo "mount $line"; done < /proc/self/mountinfo
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What a command can be kept from on this machine.

    Parameters
    ----------
    level
        ``full``: everything in `enforced` was seen to hold. ``partial``: a part of a full sandbox
        holds. ``none``: nothing can be enforced, and confined commands are refused.
    mechanism
        What does it, in words.
    bwrap
        The program that does it, where namespaces can be made.
    landlock
        The version of Landlock that does it, where they cannot.
    filters
        Whether system calls are filtered.
    enforced, missing
        What is kept, and what is not, in words for a person.
    reason
        Why there is nothing, or nothing better.
    """

    level: Level
    mechanism: str = ""
    bwrap: Path | None = None
    landlock: int = 0
    filters: bool = False
    enforced: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    reason: str = ""

    def filtered(self, *, unix_sockets: bool = False, network: bool = True) -> bytes:
        """Return the program that filters a command's system calls; empty where none does.

        Parameters
        ----------
        network
            Whether it may make sockets at all, where no namespace keeps it from the network.
        """
        if not self.filters:
            return b""
        if not self.landlock:
            return seccomp.program(unix_sockets=unix_sockets)
        return seccomp.program(
            landlocked=True,
            root=os.geteuid() == 0,
            network=network,
            signals=self.landlock >= landlock.SCOPES_SINCE,
        )


@dataclass(frozen=True, slots=True)
class Candidate:
    """A bwrap that might do."""

    name: str
    path: Path


def candidates() -> list[Candidate]:
    """Return the programs to try, in order."""
    found = []
    with contextlib.suppress(OSError, ValueError):  # a Codex package that is broken
        if path := binary.bundled_bwrap():
            found.append(Candidate("bundled bwrap", path))
    if trusted(SYSTEM_BWRAP):
        found.append(Candidate("system bwrap", SYSTEM_BWRAP))
    return found


def trusted(path: Path) -> bool:
    """Return whether only root can change the program at `path`."""
    try:
        facts = path.stat()
    except OSError:
        return False
    return path.is_absolute() and facts.st_uid == 0 and not facts.st_mode & WRITABLE_BY_OTHERS


def probe() -> Probe:
    """Return what this machine can enforce; found out once, then remembered.

    That nothing works is not remembered: a machine may have been too busy to tell.
    """
    with _ONE_AT_A_TIME:
        if not _FOUND:
            found = examine(candidates())
            if found.level == "none":
                return found
            if found.bwrap is not None:
                namespaced.sweep(found.bwrap)
            _FOUND.append(found)
        return _FOUND[0]


def examine(
    tried: Iterable[Candidate],
    *,
    abi: Callable[[], int] = landlock.abi,
    system: str = sys.platform,
) -> Probe:
    """Return what the first of the candidates that works can enforce, else what Landlock can."""
    if system != "linux":
        why = ELSEWHERE.get(system, "there is none for this system")
        return Probe(level="none", missing=ENFORCED + MISSING, reason=why)
    reasons = []
    filters = seccomp.AUDIT_ARCH.get(platform.machine()) is not None
    for candidate in tried:
        found = Probe(
            level="full" if filters else "partial",
            mechanism=candidate.name,
            bwrap=candidate.path,
            filters=filters,
            enforced=(*ENFORCED, *((FILTERED,) if filters else ())),
            missing=(*MISSING, *(() if filters else (FILTERED,))),
        )
        if not (reason := shortfall(found)):
            return found
        reasons.append(f"{candidate.name}: {reason}")
    reasons = reasons or [NO_BWRAP]
    version = abi() if filters else 0
    if version:
        found = Probe(
            level="partial",
            mechanism=f"Landlock, version {version}",
            landlock=version,
            filters=filters,
            enforced=(*landlock.enforced(version, filtered=filters), LIMITED),
            missing=(*landlock.missing(version, filtered=filters), *MISSING),
            reason="; ".join(reasons),
        )
        if not (reason := shortfall(found)):
            return found
        reasons.append(f"Landlock: {reason}")
    return Probe(level="none", missing=ENFORCED + MISSING, reason="; ".join(reasons))


def shortfall(found: Probe) -> str:
    """Return what the mechanism of `found` fails to keep a command from; empty if nothing."""
    try:
        return _tried(found)
    except Exception as error:  # noqa: BLE001 - whatever it is, this mechanism does not work
        return str(error) or type(error).__name__


def _tried(found: Probe) -> str:
    with tempfile.TemporaryDirectory(prefix="codex-magic-probe-") as name:
        folder = Path(os.path.realpath(name))
        (hidden := folder / "hidden").mkdir()
        (workspace := folder / "workspace").mkdir()
        (secret := hidden / "secret").write_text("readable")
        (outside := folder / "outside").write_text("untouched")
        inside = workspace / "inside"
        places = {"secret": secret, "outside": outside, "inside": inside}
        command = [
            *admission.SHELL,
            SCRIPT.format_map({name: shlex.quote(str(path)) for name, path in places.items()}),
        ]
        policy = SandboxPolicy(workspace=workspace)
        facts = machine.gather(policy)
        facts = dataclasses.replace(facts, secret=(*facts.secret, str(hidden)))
        ended = process.supervise(_start(found, policy, facts, command), LIMITS)
        if ended.outcome != "exit" or ended.exit_code != 0:
            said = ended.stderr.text().strip().replace("\n", "; ")
            return said or ended.message or "it did not run a command"
        wrote = outside.read_text() != "untouched"
        report, works = ended.stdout.text(), inside.exists()
        alone, filters = found.bwrap is not None, found.filters
        return next(broken(report, wrote=wrote, works=works, alone=alone, filters=filters), "")


def _start(
    found: Probe, policy: SandboxPolicy, facts: Machine, command: list[str]
) -> Callable[[], tree.Tree]:
    env = environment.confined(facts.home, {})
    if (bwrap := found.bwrap) is not None:
        words = arguments(policy, facts, command, policy.workspace, env, LIMITS)
        return lambda: namespaced.start(bwrap, words, command, filtered=found.filtered())
    plan = landlock.plan(
        *(policy, facts, command, policy.workspace, env, LIMITS),
        abi=found.landlock,
        filtered=found.filtered(network=False),
    )
    return lambda: helped.start(plan)


def broken(
    report: str, *, wrote: bool, works: bool, alone: bool = True, filters: bool = False
) -> Iterator[str]:
    """Yield what the script's `report` shows to be unprotected.

    Parameters
    ----------
    alone
        Whether it should have been in namespaces of its own.
    filters
        Whether its system calls should have been filtered.
    """
    lines = [line.split() for line in report.splitlines()]
    facts = {words[0]: words[1] for words in lines if len(words) > 1}
    devices = {words[1] for words in lines if words[:1] == ["net"] and words[1].endswith(":")}
    proc = [words[6] for words in lines if words[:1] == ["mount"] and words[5] == "/proc/sys"]
    if not works:
        yield "a command could not write in the workspace"
    if wrote:
        yield "a command could write outside the workspace"
    if "secret" in facts:
        yield "a command could read a hidden file"
    if alone and facts.get("pid") != FIRST_COMMAND:
        yield "a command could see other processes"
    if alone and devices - {"lo:"}:
        yield "a command could reach a network"
    # Only who has capabilities can empty the set of those that might be had.
    sets = ("CapEff:", "CapPrm:", *(("CapBnd:",) if alone or os.geteuid() == 0 else ()))
    if any(int(facts.get(name, "1"), 16) for name in sets):
        yield "a command had capabilities"
    if facts.get("NoNewPrivs:") != "1":
        yield "a command could gain privileges"
    if alone and (not proc or "ro" not in proc[-1].split(",")):
        yield "a command could change the kernel's settings"
    if filters and facts.get("Seccomp:") != FILTERING:
        yield "a command's system calls were not filtered"
