"""A command below `helper`, which keeps all that it starts together.

A `Helped` shows the face of a `Tree`: the same loop watches it. It knows how to kill everything
also where the helper does not do so. What a plan permits is decided in `landlock`.
"""

from __future__ import annotations

import contextlib
import functools
import marshal
import os
import signal
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox import helper
from codex_magic.sandbox.spawn import (
    CHUNK_BYTES,
    LAUNCHER_ENV,
    in_memory,
    kin,
    named,
    popen,
    readable,
    stat,
)
from codex_magic.sandbox.tree import GRACE_S, MARK, Reported

if TYPE_CHECKING:
    from types import CodeType

    from codex_magic.sandbox.landlock import Plan

HELPER: Final = Path(helper.__file__)
PREFIX: Final = "codex-magic-"
BEGIN: Final = (
    "import marshal, sys; program, plan = marshal.load(open(int(sys.argv[1]), 'rb'));"
    "exec(program, names := {'__name__': 'helper'}); names['main'](plan)"
)
"""Runs the helper from the file that holds the plan: to compile it anew took half of its time."""


@dataclass(slots=True)
class Helped(Reported):
    """A helper, and the command below it.

    All processes of the command stay below the helper: the system gives it those whose parents
    ended. The OS thread that started it must live as long: when that ends, the helper kills all.
    """

    scratch: str = ""
    begun: bool = False

    def waiting(self) -> int | None:
        """Return the process that waits to become the command; None where nothing waits."""
        if self.begun or not self.reached:
            return None
        self._hear(0)
        return self.report.get("child-pid")

    def let_in(self) -> None:
        """Let the command begin; the gate stays open, its closing would be the end."""
        self.begun = True
        if gate := self.process.stdin:
            with contextlib.suppress(BrokenPipeError):
                gate.write(b"\n")

    def kill(self) -> None:
        """Kill everything and wait until it is gone."""
        if gate := self.process.stdin:
            gate.close()
        if not self.gone():  # not yet reaped either, so the number is still its own
            os.kill(self.process.pid, signal.SIGTERM)
            os.kill(self.process.pid, signal.SIGCONT)  # should somebody have stopped it
        deadline = time.monotonic() + GRACE_S
        while self._hear(deadline - time.monotonic()):
            pass
        if "survivors" not in self.report:
            self._hunt()
        if not self.gone():
            os.kill(self.process.pid, signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing behind, whatever happened before."""
        Reported.close(self)
        if self.scratch and os.path.lexists(self.scratch):  # the helper did not come to it
            with contextlib.suppress(OSError):
                helper.discard(os.fsencode(self.scratch))

    def _hear(self, timeout_s: float) -> bool:
        """Take in what is reported by then; return whether more may come."""
        if not readable(self.status, timeout_s):
            return False
        data = os.read(self.status, CHUNK_BYTES)
        self.note(data)
        return bool(data)

    def _hunt(self) -> None:
        """Kill what can be found, because the helper is stuck or was itself killed."""
        deadline = time.monotonic() + GRACE_S
        while time.monotonic() < deadline:
            # The helper goes last: while it is there, whoever loses its parent comes to it.
            below = {pid for pid in helper.descendants(self.process.pid) if _lives(pid)}
            helper.send(below, signal.SIGKILL)
            strays = set(kin(self.report.get("child-pid", self.process.pid), self.mark.encode()))
            helper.send(strays - {self.process.pid}, signal.SIGKILL)
            if not below and not strays:
                return


def _lives(pid: int) -> bool:
    try:
        return stat(pid)[0] not in "ZX"
    except OSError:  # it is gone
        return False


@functools.cache
def _compiled() -> CodeType:
    return compile(_source(), str(HELPER), "exec", optimize=2, dont_inherit=True)


def _source() -> str:
    return HELPER.read_text(encoding="utf-8")


def start(plan: Plan, python: str = sys.executable) -> Helped:
    """Start the command of `plan` below a helper, which `python` runs.

    It waits until it is let in. The plan goes through a file in memory, so that no list of
    processes shows it.
    """
    named(plan.command)
    value = f"{os.getpid()}-{time.monotonic_ns()}"
    scratch = os.path.realpath(tempfile.mkdtemp(prefix=PREFIX))
    with contextlib.ExitStack() as undo:
        undo.callback(helper.discard, os.fsencode(scratch))
        for name in ("home", "tmp"):
            Path(scratch, name).mkdir(0o700)
        status, reported = os.pipe()
        undo.callback(os.close, status)
        whole = plan.within(scratch, {MARK: value})
        try:
            # Another Python may not understand what this one compiles.
            program = _compiled() if python == sys.executable else _source()
            words = whole.words(parent=os.getpid(), status=reported)
            with in_memory("plan", marshal.dumps((program, words))) as fd:
                command = [python, "-I", "-S", "-c", BEGIN, str(fd)]
                fds = (fd, reported)
                process = popen(command, cwd="/", env=LAUNCHER_ENV, fds=fds, gated=True)
        finally:
            os.close(reported)
        undo.pop_all()
    return Helped(process, mark=f"{MARK}={value}", status=status, scratch=scratch)
