"""A program that is run for what it prints: without a shell, with an end, in bounds.

Nothing secret stands among its words, where every process of the machine can read it.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from codex_magic.errors import BackendError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LIMIT: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Ran:
    """How a program ended, what it printed, and what it complained of."""

    code: int
    printed: bytes = field(repr=False)
    complaint: str = field(repr=False)


def run(argv: Sequence[str], environ: Mapping[str, str], timeout_s: float) -> Ran:
    """Run a program and return what it printed; one that does not end is ended, with its group.

    Raises
    ------
    SetupError
        It cannot be started, or prints without end.
    BackendError
        It takes too long.
    """
    try:
        process = subprocess.Popen(  # noqa: S603 - a person named it
            list(argv),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environ),
            start_new_session=True,  # no terminal to ask at, and one group to end
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its words are not valid"
        raise SetupError(
            f"{argv[0]} cannot be started: {why}", hint="Install it, or correct the setting"
        ) from None
    try:
        reading = _Reading(process, argv[0], time.monotonic() + timeout_s)
        reading.until_the_end()
    except TimeoutError:
        raise BackendError(
            f"{argv[0]} did not end within {timeout_s:g} s", hint="Try it in a terminal"
        ) from None
    finally:
        _end(process)
    return Ran(process.returncode, reading.printed, reading.complaint.decode(errors="replace"))


class _Reading:
    """What a process prints until it ends, however long others hold its pipes after that.

    Others do: an ssh that shares its connection leaves a process behind that keeps the second one.
    """

    def __init__(self, process: subprocess.Popen[bytes], name: str, deadline: float) -> None:
        self.printed = b""
        self.complaint = b""
        self._process = process
        self._name = name
        self._deadline = deadline

    def until_the_end(self) -> None:
        """Read; a `TimeoutError` where that takes too long."""
        assert self._process.stdout is not None  # noqa: S101 - asked for as pipes
        assert self._process.stderr is not None  # noqa: S101 - likewise
        with selectors.DefaultSelector() as waiting:
            waiting.register(self._process.stdout, selectors.EVENT_READ, self._take)
            waiting.register(self._process.stderr, selectors.EVENT_READ, self._complain)
            is_over = False
            while not is_over:
                is_over = self._process.poll() is not None  # what is in the pipes then is all
                while waiting.get_map() and self._piece(waiting, 0.0 if is_over else _TICK_S):
                    pass
                if not is_over and time.monotonic() > self._deadline:
                    raise TimeoutError

    def _piece(self, waiting: selectors.BaseSelector, timeout_s: float) -> bool:
        ready = waiting.select(timeout_s)
        for key, _ in ready:
            piece = os.read(key.fd, LIMIT)
            if not piece:
                waiting.unregister(key.fileobj)
            key.data(piece)
        return bool(ready) and time.monotonic() < self._deadline

    def _take(self, piece: bytes) -> None:
        self.printed += piece
        if len(self.printed) > LIMIT:
            raise SetupError(
                f"{self._name} prints more than {LIMIT // 1024} KB",
                hint="Let it print the JSON and nothing else",
            )

    def _complain(self, piece: bytes) -> None:
        self.complaint = (self.complaint + piece)[-LIMIT:]


_TICK_S: Final = 0.02


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdout, process.stderr):
        if pipe is not None:
            pipe.close()
