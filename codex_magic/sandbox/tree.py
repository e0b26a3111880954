"""All that one command started, and how to kill it to the last process.

A plain `Tree` has to look for its members. A `Reported` one has a launcher that keeps them together:
`namespaced` and `helped` know two kinds. Who watches and when to kill is decided in `process`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.spawn import kin, named, popen

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping, Sequence

GRACE_S: Final = 1.0
MARK: Final = "CODEX_MAGIC_COMMAND"


@dataclass(slots=True)
class Tree:
    """A command in a session of its own, found again by kinship, session and a variable.

    A process that left all three behind (its parent dead, its session new, its environment
    cleared) is not found. Only a process-id namespace finds every one.
    """

    process: subprocess.Popen[bytes]
    mark: str = ""
    own_namespace: bool = False
    cpu_s: float = 0.0

    def sources(self) -> dict[int, str]:
        """Return what can be read from, each with its name."""
        out, err = self.process.stdout, self.process.stderr
        return {file.fileno(): name for file, name in ((out, "stdout"), (err, "stderr")) if file}

    def note(self, data: bytes) -> None:
        """Take in what the launcher reports beside the streams."""

    def written(self, data: bytes) -> bytes:
        """Return what of `data` on standard output is the command's own."""
        return data

    def erred(self, data: bytes) -> bytes:
        """Return what of `data` on standard error is the command's own."""
        return data

    def started(self) -> bool:
        """Return whether there was a command, once all has ended."""
        return True

    def first(self) -> int:
        """Return the process from which all others come; -1 while it is not known."""
        return self.process.pid

    def waiting(self) -> int | None:
        """Return the process that waits to become the command; None where nothing waits."""
        return None

    def let_in(self) -> None:
        """Let the command begin."""

    def gone(self) -> bool:
        """Return whether the first process has ended; it is left for `close` to reap.

        Until then its number belongs to nobody else, and its group can be killed safely.
        """
        if self.process.returncode is not None:
            return True
        try:
            look = os.WEXITED | os.WNOHANG | os.WNOWAIT
            return os.waitid(os.P_PID, self.process.pid, look) is not None
        except ChildProcessError:  # somebody else in this program reaped it
            return True

    def reap(self) -> None:
        """Wait for the first process, and take in the time that it and its own have used.

        Of memory the system tells too much: a process begins with the size of the one it came from.
        """
        if self.process.returncode is None:
            try:
                _, status, used = os.wait4(self.process.pid, 0)
            except ChildProcessError:  # somebody else in this program reaped it
                self.process.wait()
                return
            self.process.returncode = os.waitstatus_to_exitcode(status)
            self.cpu_s = used.ru_utime + used.ru_stime

    def exit_code(self) -> int | None:
        """Return what the command returned, in a shell's way of counting signals."""
        code = self.process.returncode
        return 128 - code if code is not None and code < 0 else code

    def kill(self) -> None:
        """Kill everything; what starts meanwhile is found in the next round."""
        deadline = time.monotonic() + GRACE_S
        while True:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
            found = list(kin(self.process.pid, self.mark.encode()))
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)
            if not found or time.monotonic() > deadline:
                return

    def close(self) -> None:
        """Leave nothing behind, whatever happened before."""
        if self.process.returncode is None:
            self.kill()
            self.reap()
        for file in (self.process.stdin, self.process.stdout, self.process.stderr):
            if file:
                file.close()


@dataclass(slots=True)
class Reported(Tree):
    """A tree whose launcher reports on a pipe of its own, in lines of JSON.

    The command waits behind a gate inside the launcher, whose one word on standard output says that
    it is there.
    """

    status: int = -1
    unread: bytes = b""
    reached: bool = False
    report: dict[str, int] = field(default_factory=dict)

    def sources(self) -> dict[int, str]:
        """Return what can be read from, each with its name."""
        return {**Tree.sources(self), self.status: "status"}

    def note(self, data: bytes) -> None:
        """Take in the lines that the launcher writes about itself."""
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in filter(None, lines):
            self.report |= json.loads(line)

    def written(self, data: bytes) -> bytes:
        """Return `data` less the gate's one word."""
        if self.reached:
            return data
        self.reached = True
        return data[1:]

    def started(self) -> bool:
        """Return whether the launcher has not said that there was no command."""
        return "not-started" not in self.report

    def exit_code(self) -> int | None:
        """Return what the launcher reports; its own return code could also be its own failure."""
        return self.report.get("exit-code")

    def close(self) -> None:
        """Leave nothing behind, whatever happened before."""
        Tree.close(self)
        if self.status >= 0:
            os.close(self.status)
            self.status = -1


def start(command: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Tree:
    """Start `command` as it is, in a session of its own."""
    named(command)
    value = f"{os.getpid()}-{time.monotonic_ns()}"
    return Tree(popen(command, cwd=cwd, env={**env, MARK: value}), f"{MARK}={value}")
