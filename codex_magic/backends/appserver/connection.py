"""JSON-RPC over the standard streams of a child process.

One OS thread reads; it decodes lines, wakes waiting calls and hands everything else on, and never
waits for anybody: whoever answers a request of the server does so later, from any OS thread. Another
one writes whole lines, so that neither an interrupt nor a full pipe can leave half a message or hold
up the reader. It knows no method names. The process has its own session, so that the interrupt a person sends to
the kernel's process group does not reach it, and it ends when its standard input closes, so that
a killed kernel leaves nothing behind.
"""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import queue
import re
import subprocess
import threading
from typing import IO, TYPE_CHECKING, Any, Final

import msgspec

from codex_magic.backends.hints import AGAIN
from codex_magic.errors import BackendError
from codex_magic.mask import mask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

log = logging.getLogger("codex_magic")

LONGEST_LINE: Final = 32 * 1024 * 1024
"""Bytes of one message; the largest real ones are images of a few megabytes."""

LAST_BREATH_S: Final = 1.0
"""Seconds a process has to end after it has closed its output."""


Message = dict[str, Any]


class ConnectionLostError(BackendError):
    """The process is gone, or speaks something that is not JSON-RPC."""

    def __init__(self, message: str, *, hint: str = AGAIN) -> None:
        super().__init__(message, hint=hint)


class RefusedError(BackendError):
    """The server answered a request with an error."""

    def __init__(self, message: str, *, hint: str = AGAIN) -> None:
        super().__init__(message, hint=hint)


class Connection:
    """A running server.

    Parameters
    ----------
    argv, env, cwd
        The process to start.
    on_message
        Called on the reader with every notification and request of the server; must not block.
    on_lost
        Called once, on the reader, with the reason why the connection ended.

    Raises
    ------
    ConnectionLostError
        The process could not be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path,
        on_message: Callable[[Message], None],
        on_lost: Callable[[str], None],
    ) -> None:
        self._on_message = on_message
        self._on_lost = on_lost
        self._ids = itertools.count(1)
        self._waiting: dict[int, queue.SimpleQueue[Message | None]] = {}
        self._lock = threading.Lock()
        self._outbox: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._complaints: collections.deque[str] = collections.deque(maxlen=20)
        self.lost: str | None = None
        self._closing = False
        try:
            self._process = subprocess.Popen(  # noqa: S603 - the program was found by `binary`
                list(argv),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
        except OSError as error:
            raise ConnectionLostError(f"{argv[0]} cannot be started: {error.strerror}") from None
        self.pid = self._process.pid
        # The pump first: a process that dies at once has then said why before it is missed.
        self._pump = self._spawn(self._drain_complaints, "complaints")
        self._reader = self._spawn(self._read, "reader")
        self._writer = self._spawn(self._write, "writer")

    def call(self, method: str, params: Mapping[str, Any], *, timeout_s: float = 30.0) -> Any:
        """Send a request and return its result.

        Raises
        ------
        RefusedError
            The server answered with an error.
        ConnectionLostError
            The process ended before it answered, or did not answer in time.
        """
        reply: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        number = next(self._ids)
        with self._lock:
            self._waiting[number] = reply
        try:
            self._send({"id": number, "method": method, "params": params})
            message = reply.get(timeout=timeout_s)
        except queue.Empty:
            raise ConnectionLostError(
                f"Codex did not answer {method} within {timeout_s:g} s"
            ) from None
        finally:
            with self._lock:
                self._waiting.pop(number, None)
        if message is None:
            raise ConnectionLostError(self.lost or self._epitaph())
        if (error := message.get("error")) is not None:
            raise RefusedError(str(error.get("message", error)))
        return message.get("result")

    def _still_there(self) -> None:
        # The reader may have ended before it could see a call that has just been registered.
        if self.lost is not None:
            raise ConnectionLostError(self.lost)

    def post(self, method: str, params: Mapping[str, Any]) -> None:
        """Send a request whose result nobody reads; safe on the reader."""
        with contextlib.suppress(ConnectionLostError):
            self._send({"id": next(self._ids), "method": method, "params": params})

    def notify(self, method: str) -> None:
        """Send a notification without parameters."""
        self._send({"method": method})

    def respond(self, request_id: Any, result: Mapping[str, Any]) -> None:
        """Answer a request of the server; an answer nobody waits for any more is no error."""
        with contextlib.suppress(ConnectionLostError):
            self._send({"id": request_id, "result": result})

    def respond_error(self, request_id: Any, message: str) -> None:
        """Answer a request of the server with an error (-32601, the JSON-RPC "method not found")."""
        with contextlib.suppress(ConnectionLostError):
            self._send({"id": request_id, "error": {"code": -32601, "message": message}})

    def close(self, *, grace_s: float = 2.0) -> None:
        """End the process: by closing its input, and by force where that is not enough."""
        self._closing = True
        self._outbox.put(None)
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for worker in (self._reader, self._pump, self._writer):
            if worker is not threading.current_thread():
                worker.join(grace_s)

    @property
    def _stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for as a pipe
        return self._process.stdin

    def _spawn(self, work: Callable[[], None], name: str) -> threading.Thread:
        thread = threading.Thread(target=work, name=f"codex {name}", daemon=True)
        thread.start()
        return thread

    def _send(self, message: Mapping[str, Any]) -> None:
        try:
            line = msgspec.json.encode(message) + b"\n"
        except UnicodeEncodeError:
            hint = "Give the folder another name"
            raise RefusedError("Codex takes names in UTF-8 only", hint=hint) from None
        self._still_there()
        self._outbox.put(line)

    def _write(self) -> None:
        with contextlib.suppress(OSError):  # the reader notices that it is gone, and says so
            while (line := self._outbox.get()) is not None:
                self._stdin.write(line)
                self._stdin.flush()
        with contextlib.suppress(OSError):
            self._stdin.close()

    def _read(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None  # noqa: S101 - it was asked for as a pipe
        reason = None
        while reason is None and (line := stdout.readline(LONGEST_LINE)):
            try:
                reason = self._take(line)
            except Exception:  # whatever a message does to us, a turn must not wait for ever
                log.exception("a message of the server cannot be read")
                reason = f"Codex sent a message that cannot be read: {_shown(line)}"
        if reason is not None:
            self._process.kill()
        self._end(reason)
        stdout.close()

    def _take(self, line: bytes) -> str | None:
        """Deal with one line; return why the connection must end, if it must."""
        if len(line) >= LONGEST_LINE:
            size = LONGEST_LINE // (1024 * 1024)
            return f"Codex sent a message of more than {size} MB"
        if not line.strip():
            return None
        try:
            message = msgspec.json.decode(line)
        except msgspec.DecodeError:
            message = None
        if not isinstance(message, dict):
            return f"Codex sent something that is not a message: {_shown(line)}"
        if "method" in message:
            self._on_message(message)
            return None
        with self._lock:
            reply = self._waiting.get(message.get("id", -1))
        if reply is not None:
            reply.put(message)
        return None

    def _end(self, reason: str | None) -> None:
        try:
            self._process.wait(LAST_BREATH_S)
        except subprocess.TimeoutExpired:
            # It has closed its output and lives on: nothing will ever come from it.
            self._process.kill()
            self._process.wait()
        self._pump.join(1.0)
        self.lost = reason or self._epitaph()
        with self._lock:
            waiting = list(self._waiting.values())
        for reply in waiting:
            reply.put(None)
        if not self._closing:
            self._on_lost(self.lost)

    def _epitaph(self) -> str:
        """Return how the process ended, with the last thing it complained of."""
        code = self._process.poll()
        how = "Codex has stopped" if code is None else f"Codex has stopped (exit {code})"
        last = telling(self._complaints)
        return f"{how}: {mask(last)[:300]}" if last else how

    def _drain_complaints(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None  # noqa: S101 - it was asked for as a pipe
        while line := stderr.readline(64 * 1024):
            self._complaints.append(line.decode(errors="replace").strip())
        stderr.close()


_COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
_OWN_SANDBOX: Final = "could not find bubblewrap on PATH"
_FRAME: Final = re.compile(
    r"\s*(\d+: |at /|stack backtrace|note: run with|warning: proceeding)", re.IGNORECASE
)


def telling(complaints: Iterable[str]) -> str:
    """Return the line of a process's last words that says most: an error, else the last one.

    The frames of a backtrace say nothing to a person. Nor do warnings with which Codex goes on, nor
    that it misses a sandbox on PATH, which it says at each start: it runs nothing itself.
    """
    said = [_COLOURS.sub("", line).strip() for line in complaints]
    said = [line for line in said if line and not _FRAME.match(line) and _OWN_SANDBOX not in line]
    errors = [line for line in said if line.startswith("Error")]
    return (errors or said or [""])[-1]


def _shown(line: bytes) -> str:
    return repr(line[:60].decode(errors="replace").strip())
