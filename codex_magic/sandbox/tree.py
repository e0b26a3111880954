"""All that one command started, and how to kill it to the last process.

Two kinds: a `Sandbox`, whose process-id namespace leaves nobody out, and a plain `Tree`, which
has to look for its members. Both are started here; who watches and when to kill is decided in
`process`.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import select
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.usage import first_child

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

GRACE_S: Final = 1.0
START_S: Final = 0.2
CHUNK_BYTES: Final = 64 * 1024
LAUNCHER_ENV: Final = {"PATH": "/usr/bin:/bin"}
MARK: Final = "CODEX_MAGIC_COMMAND"
GATE_NAME: Final = "sandbox"
GATE: Final = ("/bin/sh", "-c", 'echo; read -r _ && exec "$@" </dev/null', GATE_NAME)
"""Stands before a command inside its sandbox: says that it is there, and waits to be let in.

bwrap ties the sandbox to our life only some milliseconds after its birth. Were we killed in
between, the command would run on with nobody to end it. Behind the gate it never begins: our end
of its input closes with us.
"""


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
            found = list(_kin(self.process.pid, self.mark.encode()))
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
class Sandbox(Tree):
    """A bwrap and the process-id namespace below it.

    Whoever kills the namespace's first process kills all. That one is known by a handle, not by
    a number, which could belong to somebody else by then.
    """

    status: int = -1
    init: int = -1
    unread: bytes = b""
    reached: bool = False
    report: dict[str, int] = field(default_factory=dict)

    def sources(self) -> dict[int, str]:
        """Return what can be read from, each with its name."""
        return {**Tree.sources(self), self.status: "status"}

    def note(self, data: bytes) -> None:
        """Take in the lines of JSON that bwrap writes about itself."""
        *lines, self.unread = (self.unread + data).split(b"\n")
        for line in filter(None, lines):
            self.report |= json.loads(line)
        if self.init < 0 and "child-pid" in self.report:
            self._hold(self.report["child-pid"])

    def written(self, data: bytes) -> bytes:
        """Return `data` less the gate's one word, with which it says that it is there."""
        if self.reached:
            return data
        self.reached = True
        return data[1:]

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
                gate.write(b"\n")
            gate.close()

    def exit_code(self) -> int | None:
        """Return what bwrap reports; its own return code could also be its own failure."""
        return self.report.get("exit-code")

    def kill(self) -> None:
        """Kill everything in the namespace and wait until it is gone."""
        # The first process is tied to bwrap soon after its birth, but not from the start.
        deadline = time.monotonic() + START_S
        while self.init < 0 and _readable(self.status, deadline - time.monotonic()):
            if not (data := os.read(self.status, CHUNK_BYTES)):
                break
            self.note(data)
        if not self.gone():  # not by `Popen`, which would reap it and forget what it used
            os.kill(self.process.pid, signal.SIGKILL)
        if self.init >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.init, signal.SIGKILL)
            _readable(self.init, GRACE_S)

    def close(self) -> None:
        """Leave nothing behind, whatever happened before."""
        Tree.close(self)
        for fd in (self.status, self.init):
            if fd >= 0:
                os.close(fd)
        self.status = self.init = -1

    def _hold(self, pid: int) -> None:
        # Where this fails (it is gone, the kernel has no such handles), bwrap's own tie must do.
        with contextlib.suppress(OSError):
            handle = os.pidfd_open(pid)
            try:
                known = _stat(pid)[1] == self.process.pid
            except OSError:
                known = False
            if known:
                self.init = handle
            else:
                os.close(handle)


def start(command: Sequence[str], *, cwd: str, env: Mapping[str, str]) -> Tree:
    """Start `command` as it is, in a session of its own."""
    _named(command)
    value = f"{os.getpid()}-{time.monotonic_ns()}"
    return Tree(_popen(command, cwd=cwd, env={**env, MARK: value}), f"{MARK}={value}")


def start_sandboxed(
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
    _named(command)
    options = arguments[: len(arguments) - len(command)]
    with contextlib.ExitStack() as stack:
        own: list[str] = []
        fds: list[int] = []
        words = b"".join(os.fsencode(word) + b"\0" for word in options[:-1])
        for option, content in (("--args", words), ("--seccomp", filtered)):
            if content:
                fds.append(stack.enter_context(_in_memory(option, content)))
                own += (option, str(fds[-1]))
        status, reported = os.pipe()
        stack.callback(os.close, reported)
        own += ("--json-status-fd", str(reported), "--")
        try:
            whole = [str(bwrap), *own, *GATE, *command]
            fds.append(reported)
            process = _popen(whole, cwd="/", env=LAUNCHER_ENV, fds=fds, gated=True)
        except BaseException:
            os.close(status)
            raise
    return Sandbox(process, own_namespace="--unshare-user" in options, status=status)


@contextlib.contextmanager
def _in_memory(name: str, content: bytes) -> Iterator[int]:
    """Give a file that holds `content` and is on no disk."""
    with os.fdopen(os.memfd_create(name), "w+b", 0) as file:
        file.write(content)
        file.seek(0)
        yield file.fileno()


def _named(command: Sequence[str]) -> None:
    if not command[0]:  # looked up, it would be each folder of PATH
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "''")


def _popen(
    command: Sequence[str],
    *,
    cwd: str,
    env: Mapping[str, str],
    fds: Sequence[int] = (),
    gated: bool = False,
) -> subprocess.Popen[bytes]:
    return subprocess.Popen(  # noqa: S603 - running what it is given is its purpose
        list(command),
        stdin=subprocess.PIPE if gated else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
        cwd=cwd,
        env=dict(env),
        pass_fds=fds,
        start_new_session=True,
    )


def _readable(fd: int, timeout_s: float) -> bool:
    """Wait until `fd` can be read; unlike `select` for any number of open files."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(timeout_s, 0) * 1000))


def _stat(pid: int) -> tuple[str, int, int]:
    """Return the state, the parent and the session of a process."""
    words = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b") ")[2].split()
    return words[0].decode(), int(words[1]), int(words[3])


def _kin(first: int, mark: bytes) -> Iterator[int]:
    """Yield the living processes that came from `first`, less itself."""
    folder = Path("/proc")
    family = {first}
    for pid in sorted(int(p.name) for p in folder.glob("[0-9]*")):
        with contextlib.suppress(OSError):
            state, parent, session = _stat(pid)
            related = parent in family or session == first
            if related or mark in (folder / str(pid) / "environ").read_bytes():
                family.add(pid)
                if pid != first and state not in "ZX":
                    yield pid
