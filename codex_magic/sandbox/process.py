"""Running one command to its end: read what it writes, watch the clock, leave nobody alive.

The loop `supervise` knows neither policies nor launchers; a `Tree` is told how to find and kill
what the command started.

The kernel ties a sandbox to the OS thread that started it and kills it when that thread ends. So
everything here blocks the calling OS thread until the command is over.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

from codex_magic.interrupts import interrupts_held
from codex_magic.sandbox import cgroup
from codex_magic.sandbox.output import Capture
from codex_magic.sandbox.refused import Refused
from codex_magic.sandbox.spawn import CHUNK_BYTES
from codex_magic.sandbox.tree import GRACE_S
from codex_magic.sandbox.usage import Usage, set_limits, size

if TYPE_CHECKING:
    import threading

    from codex_magic.items import Outcome
    from codex_magic.policy import Limits
    from codex_magic.sandbox.tree import Tree

Stream = Literal["stdout", "stderr"]
STREAMS: Final[tuple[Stream, ...]] = get_args(Stream)
OnOutput = Callable[[Stream, str], None]

TICK_S: Final = 0.03
FIRST_LOOK_S: Final = 0.01
"""Seconds a command has before anybody looks at what it uses: most are over by then."""

NOT_FOUND: Final = 127
NOT_RUNNABLE: Final = 126


def _nothing() -> None:
    """Do nothing meanwhile."""


class NotStartedError(Exception):
    """The system did not start a process."""

    def __init__(self, error: OSError) -> None:
        named = error.filename if isinstance(error, FileNotFoundError) else None
        super().__init__(f"could not start {named or 'the command'}: {error.strerror}")
        self.exit_code = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_RUNNABLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a process tree ended.

    Without an `exit_code` the launcher ended before it could tell one.
    """

    outcome: Outcome
    message: str
    exit_code: int | None
    started: bool
    stdout: Capture
    stderr: Capture
    duration_s: float
    cpu_s: float
    peak_memory_bytes: int
    network_refused: int


def supervise(  # noqa: PLR0913, PLR0917 - begin, watch, tell: each its own
    begin: Callable[[], Tree],
    limits: Limits,
    on_output: OnOutput | None = None,
    stop: threading.Event | None = None,
    disk: str = "/",
    meanwhile: Callable[[], None] = _nothing,
) -> Ended:
    """Begin a tree, run it to its end or kill it, and return how it ended.

    Whatever is raised meanwhile, an interrupt or an error of `on_output`, passes on when all of
    the tree is dead.

    Parameters
    ----------
    disk
        A folder on the disk that the command fills.
    meanwhile
        Called once while a sandbox is set up and its command has not begun.
    """
    with contextlib.ExitStack() as stack:
        with interrupts_held():
            try:
                tree = begin()
            except OSError as error:
                raise NotStartedError(error) from error
            stack.callback(_undisturbed, tree.close)
        watch = _Watch(tree, limits, on_output, stop, disk)
        stack.callback(_undisturbed, watch.close)
        if not tree.own_namespace:
            set_limits(tree.process.pid, limits, own_namespace=False)
        with interrupts_held():
            meanwhile()
        return watch.run()


class _Watch:
    """The loop around one tree."""

    def __init__(
        self,
        tree: Tree,
        limits: Limits,
        on_output: OnOutput | None,
        stop: threading.Event | None,
        disk: str,
    ) -> None:
        self._tree = tree
        self._limits = limits
        self._on_output = on_output
        self._stop = stop
        self._began = time.monotonic()
        self._streams = {name: Capture(limits.output_bytes) for name in STREAMS}
        self._usage = Usage(limits, disk)
        self._look_at = self._began + FIRST_LOOK_S
        self._refused: Refused | None = None
        self._group: cgroup.Group | None = None

    def close(self) -> None:
        """Let go of what was held to count by."""
        for held in (self._refused, self._group):
            if held is not None:
                held.close()

    def run(self) -> Ended:
        """Read until the process is gone and all it wrote is read."""
        outcome: Outcome = "exit"
        message = ""
        give_up: float | None = None
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            for fd, name in {**self._tree.sources(), **_end(self._tree, stack)}.items():
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_READ, name)
            while True:
                gone = self._tree.gone()
                if give_up is None and (gone or (reason := self._reason())):
                    if not gone and reason:
                        outcome, message = reason
                    # Also at a normal end: a child in the background may still be there.
                    _undisturbed(self._tree.kill)
                    give_up = time.monotonic() + GRACE_S
                late = give_up is not None and time.monotonic() > give_up
                if gone and (late or not selector.get_map()):
                    break
                self._read(selector)
        self._tree.reap()
        if outcome == "exit" and self._group is not None and self._group.ran_out():
            most = size(self._limits.memory_bytes)
            outcome, message = "killed", f"killed for using more than {most} of memory"
        for name, stream in self._streams.items():
            self._show(name, stream.finish())
        return Ended(
            outcome=outcome,
            message=message,
            exit_code=self._tree.exit_code(),
            started=self._tree.started(),
            stdout=self._streams["stdout"],
            stderr=self._streams["stderr"],
            duration_s=time.monotonic() - self._began,
            cpu_s=max(self._usage.cpu_s, self._tree.cpu_s),
            peak_memory_bytes=max(
                self._usage.peak_bytes, self._group.peak_bytes() if self._group else 0
            ),
            network_refused=self._refused.count() if self._refused else 0,
        )

    def _reason(self) -> tuple[Outcome, str] | None:
        """Return why the tree must die now, if it must."""
        if self._stop is not None and self._stop.is_set():
            return "killed", "stopped on request"
        written = sum(stream.received for stream in self._streams.values())
        if written > self._limits.flood_bytes:
            return (
                "killed",
                f"killed for writing more than {size(self._limits.flood_bytes)} of output",
            )
        if time.monotonic() - self._began > self._limits.wall_s:
            return "timeout", f"killed after {self._limits.wall_s:g} s, the time it was given"
        if time.monotonic() >= self._look_at and (first := self._tree.first()) > 0:
            with interrupts_held():  # it takes a millisecond, and has files open
                much, after_s = self._usage.look(first)
            self._look_at = time.monotonic() + after_s
            return ("killed", f"killed for {much}") if much else None
        return None

    def _read(self, selector: selectors.BaseSelector) -> None:
        now = time.monotonic()
        left = min(self._limits.wall_s - (now - self._began), self._look_at - now)
        for key, _ in selector.select(min(TICK_S, max(left, 0.001))):
            try:
                data = b"" if key.data == "end" else os.read(key.fd, CHUNK_BYTES)
            except BlockingIOError:  # the command reads its own output, and was quicker
                continue
            if not data:
                selector.unregister(key.fd)
            elif key.data == "status":
                with interrupts_held():
                    self._tree.note(data)
            else:
                stdout = key.data == "stdout"
                own = self._tree.written(data) if stdout else self._tree.erred(data)
                self._show(key.data, self._streams[key.data].feed(own))
        # Who it is and that it waits are told on two ways, in any order.
        with interrupts_held():
            if (command := self._tree.waiting()) is not None:
                self._enter(command)

    def _enter(self, command: int) -> None:
        """Set the limits on what waits to become the command, and let it in."""
        set_limits(command, self._limits, own_namespace=self._tree.own_namespace)
        self._refused = Refused(command)
        self._group = cgroup.make(self._limits, cgroup.delegated())
        if self._group is not None:
            self._group.add(command)
        self._look_at = time.monotonic() + FIRST_LOOK_S
        self._tree.let_in()

    def _show(self, name: Stream, text: str) -> None:
        if text and self._on_output is not None:
            self._on_output(name, text)


def _end(tree: Tree, stack: contextlib.ExitStack) -> dict[int, str]:
    """Return a handle that becomes readable when the process ends, where the kernel has such."""
    try:
        handle = os.pidfd_open(tree.process.pid)
    except (OSError, AttributeError):
        return {}
    stack.callback(os.close, handle)
    return {handle: "end"}


def _undisturbed(work: Callable[[], None]) -> None:
    with interrupts_held():
        work()
