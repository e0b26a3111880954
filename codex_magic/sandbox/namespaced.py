"""A command in namespaces of its own, made by bwrap.

What it may see and do there are `bwrap.arguments`; here bwrap is started, and its namespace killed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.spawn import (
    CHUNK_BYTES,
    LAUNCHER_ENV,
    in_memory,
    named,
    popen,
    readable,
    stat,
)
from codex_magic.sandbox.tree import GRACE_S, Reported
from codex_magic.sandbox.usage import first_child

if TYPE_CHECKING:
    from collections.abc import Sequence

START_S: Final = 0.2
GATE_NAME: Final = "sandbox"
GATE: Final = (
    *("/bin/sh", "-c"),
    'echo; read -r word || exit; trap \'echo "$word" >&2\' EXIT; exec "$@" </dev/null',
    GATE_NAME,
)
"""Stands before a command inside its sandbox: says that it is there, and waits to be let in.

bwrap ties the sandbox to our life only some milliseconds after its birth. Were we killed in
between, the command would run on with nobody to end it. Behind the gate it never begins: our end
of its input closes with us.

What lets it in is a word that nobody else knows. Should the command not start, the gate says it back:
so no command that did start can pretend that it has not.
"""


@dataclass(slots=True)
class Sandbox(Reported):
    """A bwrap and the process-id namespace below it.

    Whoever kills the namespace's first process kills all. That one is known by a handle, not by
    a number, which could belong to somebody else by then.
    """

    init: int = -1
    word: bytes = field(default_factory=lambda: secrets.token_hex(8).encode())

    def note(self, data: bytes) -> None:
        """Take in what bwrap says, and hold on to the first process once it is known."""
        Reported.note(self, data)
        if self.init < 0 and "child-pid" in self.report:
            self._hold(self.report["child-pid"])

    def first(self) -> int:
        """Return the first process of the namespace; -1 while it is not known."""
        return self.report.get("child-pid", -1)

    def waiting(self) -> int | None:
        """Return the gate, once it has been reached and before it has opened."""
        gate = self.process.stdin
        if not self.reached or gate is None or gate.closed or self.first() < 0:
            return None
        return first_child(self.first()) or self.first()

    def let_in(self) -> None:
        """Let the command begin, in the place of the gate."""
        if gate := self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                gate.write(self.word + b"\n")
            gate.close()

    def erred(self, data: bytes) -> bytes:
        """Return `data` less the gate's word, with which it says that no command has started."""
        if self.word not in data:
            return data
        self.report["not-started"] = 1
        return data.replace(self.word + b"\n", b"")

    def kill(self) -> None:
        """Kill everything in the namespace and wait until it is gone."""
        # The first process is tied to bwrap soon after its birth, but not from the start.
        deadline = time.monotonic() + START_S
        while self.init < 0 and readable(self.status, deadline - time.monotonic()):
            if not (data := os.read(self.status, CHUNK_BYTES)):
                break
            self.note(data)
        if not self.gone():  # not by `Popen`, which would reap it and forget what it used
            os.kill(self.process.pid, signal.SIGKILL)
        if self.init >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.init, signal.SIGKILL)
            readable(self.init, GRACE_S)

    def close(self) -> None:
        """Leave nothing behind, whatever happened before."""
        Reported.close(self)
        if self.init >= 0:
            os.close(self.init)
            self.init = -1

    def _hold(self, pid: int) -> None:
        # Where this fails (it is gone, the kernel has no such handles), bwrap's own tie must do.
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                known = stat(pid)[1] == self.process.pid
            except OSError:
                known = False
            if known:
                self.init = handle
            else:
                os.close(handle)


def start(
    bwrap: Path, arguments: Sequence[str], command: Sequence[str], *, filtered: bytes = b""
) -> Sandbox:
    """Start `bwrap` with `arguments`, which end with ``--`` and `command`.

    Its environment is fixed: what a caller wants for the command is among the arguments. They
    go through a file in memory, so that neither a list of processes nor the command sees them.

    Parameters
    ----------
    filtered
        A program that filters the command's system calls; empty for none.
    """
    named(command)
    options = arguments[: len(arguments) - len(command)]
    with contextlib.ExitStack() as stack:
        own: list[str] = []
        fds: list[int] = []
        words = b"".join(os.fsencode(word) + b"\0" for word in options[:-1])
        for option, content in (("--args", words), ("--seccomp", filtered)):
            if content:
                fds.append(stack.enter_context(in_memory(option, content)))
                own += (option, str(fds[-1]))
        status, reported = os.pipe()
        stack.callback(os.close, reported)
        own += ("--json-status-fd", str(reported), "--")
        try:
            whole = [str(bwrap), *own, *GATE, *command]
            fds.append(reported)
            process = popen(whole, cwd="/", env=LAUNCHER_ENV, fds=fds, gated=True)
        except BaseException:
            os.close(status)
            raise
    return Sandbox(process, own_namespace="--unshare-user" in options, status=status)


def sweep(bwrap: Path) -> list[int]:
    """End what kernels that were killed have stranded, and return which processes that were.

    A kernel that dies in the tenth of a millisecond in which `bwrap` makes its namespaces leaves a
    process there that waits for ever to be told to go on. It runs nothing, and nobody else ends it.
    """
    ended = []
    for pid in (int(name) for name in os.listdir("/proc") if name.isdecimal()):
        with contextlib.suppress(OSError):  # it ended by itself
            if _stranded(pid, bwrap):
                os.kill(pid, signal.SIGKILL)
                ended.append(pid)
    return ended


def _stranded(pid: int, bwrap: Path) -> bool:
    """Return whether `pid` is ours, in a namespace already, and has lost who began it."""
    if not _runs(pid, bwrap):
        return False
    if GATE[-2].encode() not in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
        return False
    if os.readlink(f"/proc/{pid}/ns/user") == os.readlink("/proc/self/ns/user"):
        return False
    # The parent of one that is not stranded is the bwrap that made the namespaces.
    return not _runs(stat(pid)[1], bwrap)


def _runs(pid: int, program: Path) -> bool:
    try:
        return os.path.samefile(f"/proc/{pid}/exe", program)
    except OSError:  # it is gone, or somebody else's
        return False
