"""What this machine can enforce, found out by doing it.

A candidate counts only if a command ran under the very arguments that `bwrap.arguments` makes and
then could not do what it must not: read a hidden file, write outside, see other processes, reach
a network, hold a capability.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
import shlex
import stat
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from codex_magic import binary
from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox import admission, environment, machine, process, tree
from codex_magic.sandbox.bwrap import arguments

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Level = Literal["full", "partial", "none"]

SYSTEM_BWRAP: Final = Path("/usr/bin/bwrap")
WRITABLE_BY_OTHERS: Final = stat.S_IWGRP | stat.S_IWOTH
FIRST_COMMAND: Final = "2"
_ONE_AT_A_TIME: Final = threading.Lock()
LIMITS: Final = Limits(wall_s=10, output_bytes=64 * 1024, tmp_bytes=1024 * 1024)
ENFORCED: Final = (
    "home, credentials, run-time folders and other programs' temporary files are hidden",
    "writes reach only the workspace, writable folders and private temporary folders",
    "configuration that steers other programs is read-only where it exists",
    "no network unless it is granted",
    "no capabilities, no new user namespaces",
    "its processes see only each other and all die at the end",
    "wall clock, output and temporary files have limits",
)
MISSING: Final = (
    "limits on memory, processor time, processes, file sizes and the size of the workspace",
    "a filter of system calls (Unix sockets in visible folders can be reached)",
    "protection of steering configuration that is new, a symbolic link, or deeper than the top",
)
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
        ``full``: everything in `enforced` was seen to hold. ``none``: nothing can be enforced,
        and confined commands are refused.
    mechanism
        What does it, in words.
    bwrap
        The program that does it.
    enforced, missing
        What is kept, and what is not, in words for a person.
    reason
        Why there is nothing, when `level` is ``none``.
    """

    level: Level
    mechanism: str = ""
    bwrap: Path | None = None
    enforced: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    reason: str = ""


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
    """Return what this machine can enforce; found out once, then remembered."""
    with _ONE_AT_A_TIME:
        return _probe()


@functools.cache
def _probe() -> Probe:
    return examine(candidates())


def examine(tried: Iterable[Candidate]) -> Probe:
    """Return what the first of the candidates that works can enforce."""
    reasons = []
    for candidate in tried:
        try:
            reason = shortfall(candidate.path)
        except Exception as error:  # noqa: BLE001 - whatever it is, this candidate does not work
            reason = str(error) or type(error).__name__
        if not reason:
            return Probe(
                level="full",
                mechanism=candidate.name,
                bwrap=candidate.path,
                enforced=ENFORCED,
                missing=MISSING,
            )
        reasons.append(f"{candidate.name}: {reason}")
    nothing = "there is no bwrap, neither with the Codex package nor as /usr/bin/bwrap"
    return Probe(level="none", missing=ENFORCED + MISSING, reason="; ".join(reasons) or nothing)


def shortfall(bwrap: Path) -> str:
    """Return what `bwrap` fails to keep a command from; empty if it keeps everything."""
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
        env = environment.confined(facts.home, {})
        words = arguments(policy, facts, command, workspace, env, LIMITS)
        ended = process.supervise(lambda: tree.start_sandboxed(bwrap, words, command), LIMITS)
        if ended.outcome != "exit" or ended.exit_code != 0:
            said = ended.stderr.text().strip().replace("\n", "; ")
            return said or ended.message or "it did not run a command"
        wrote = outside.read_text() != "untouched"
        return next(broken(ended.stdout.text(), wrote=wrote, works=inside.exists()), "")


def broken(report: str, *, wrote: bool, works: bool) -> Iterator[str]:
    """Yield what the script's `report` shows to be unprotected."""
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
    if facts.get("pid") != FIRST_COMMAND:
        yield "a command could see other processes"
    if devices - {"lo:"}:
        yield "a command could reach a network"
    if any(int(facts.get(name, "1"), 16) for name in ("CapEff:", "CapPrm:", "CapBnd:")):
        yield "a command had capabilities"
    if facts.get("NoNewPrivs:") != "1":
        yield "a command could gain privileges"
    if not proc or "ro" not in proc[-1].split(","):
        yield "a command could change the kernel's settings"
