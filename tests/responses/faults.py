"""A server on this machine that answers as it is told, byte by byte, and badly where it is told so.

An answer is a script: bytes to send, and what else can happen to a connection. Nothing is taken care
of, so that everything can be got wrong.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import select
import socket
import struct
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator

    Script = Iterable["bytes | Gate | Act"]


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True, eq=False)
class Gate:
    """Where an answer waits until a test opens it."""

    reached: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    opened: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Act:
    name: str


CUT: Final = Act("close the connection")
RESET: Final = Act("reset the connection")
SILENCE: Final = Act("say nothing more until the other side has gone")
COMMENTS: Final = Act("say nothing but comments for long, or until the other side has gone")
BEAT_S: Final = 0.01
BEATS: Final = 1000

EVENT_STREAM: Final = "text/event-stream; charset=utf-8"


def sse(*events: dict[str, Any]) -> bytes:
    """Return `events` as a host writes them."""
    return b"".join(
        f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in events
    )


def head(status: int = 200, **headers: str) -> bytes:
    """Return the beginning of an answer; underscores in names are hyphens."""
    lines = [f"HTTP/1.1 {status} Whatever"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def streaming(**headers: str) -> bytes:
    return head(content_type=EVENT_STREAM, transfer_encoding="chunked", **headers)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"


def streamed(*events: dict[str, Any], **headers: str) -> list[bytes]:
    """Return a whole stream, one chunk for each event."""
    return [streaming(**headers), *(chunk(sse(event)) for event in events), LAST_CHUNK]


def sized(body: bytes, status: int = 200, **headers: str) -> list[bytes]:
    """Return an answer whose length is told."""
    return [head(status, content_length=str(len(body)), **headers) + body]


def answer(found: Any, status: int = 200, **headers: str) -> list[bytes]:
    """Return an answer in JSON."""
    return sized(json.dumps(found).encode(), status, content_type="application/json", **headers)


def zipped(found: Any) -> list[bytes]:
    body = gzip.compress(json.dumps(found).encode())
    return sized(body, content_type="application/json", content_encoding="gzip")


class FaultServer:
    """A listening server; it ends with its context, whatever its connections do.

    Parameters
    ----------
    scripts
        The answers, one for each request in their order; or what makes one of a request.
    tls
        What it speaks TLS with; None for plain HTTP.

    Attributes
    ----------
    asked
        The requests so far.
    silent, gone
        Set once an answer has come to its silence, and once the other side has left it.
    connections
        How many there have been.
    """

    def __init__(
        self,
        *scripts: Script,
        respond: Callable[[Asked], Script] | None = None,
        tls: ssl.SSLContext | None = None,
        speaks: bool = True,
    ) -> None:
        self.asked: list[Asked] = []
        self.silent = threading.Event()
        self.gone = threading.Event()
        self.connections = 0
        self._scripts = list(scripts)
        self._respond = respond or (lambda _: self._scripts.pop(0))
        self._tls = tls
        self._speaks = speaks
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._gates = [act for script in scripts for act in script if isinstance(act, Gate)]
        self._is_closing = False
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        scheme = "http" if tls is None and speaks else "https"
        self.base_url = f"{scheme}://127.0.0.1:{self.port}/v1"
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass
        with self._guard:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)
        for gate in self._gates:
            gate.opened.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _start(self, work: Callable[..., None], *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            if self._is_closing:
                connection.close()
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections += 1
            with self._guard:
                self._open.add(connection)
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        plain = connection
        try:
            if not self._speaks:
                connection.recv(1)
                self._be_silent(connection)
                return
            if self._tls is not None:
                connection = self._tls.wrap_socket(connection, server_side=True)
                with self._guard:
                    self._open.add(connection)
            while (asked := _read(connection)) is not None:
                with self._guard:
                    self.asked.append(asked)
                    script = self._respond(asked)
                if not self._play(connection, script):
                    return
        except OSError:
            pass  # the other side has gone
        finally:
            with self._guard:
                self._open -= {plain, connection}
            connection.close()

    def _play(self, connection: socket.socket, script: Script) -> bool:
        """Return whether the connection is still good after `script`."""
        for act in script:
            if isinstance(act, bytes):
                connection.sendall(act)
            elif isinstance(act, Gate):
                act.reached.release()
                act.opened.wait()
            elif act is CUT:
                return False
            elif act is RESET:
                linger = struct.pack("ii", 1, 0)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
                return False
            else:
                self._be_silent(connection, says_nothing=act is SILENCE)
                return False
        return True

    def _be_silent(self, connection: socket.socket, *, says_nothing: bool = True) -> None:
        self.silent.set()
        try:
            for _ in range(0 if says_nothing else BEATS):
                if select.select([connection], [], [], BEAT_S)[0]:
                    break
                connection.sendall(chunk(b": keepalive\n\n"))
            if not says_nothing:
                return
            while connection.recv(1024):
                pass
        except OSError:
            pass
        finally:
            self.gone.set()


@contextmanager
def nobody_accepts() -> Iterator[int]:
    """Give a port where a connection neither comes about nor is refused."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        # The system takes a few by itself, and lets the others wait for somebody to accept them.
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


def _read(connection: socket.socket) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return None
        data += more
        if data.startswith(b"\x16"):  # TLS, to a server that speaks none
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            return None
    top, _, body = data.partition(b"\r\n\r\n")
    first, *lines = top.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
    }
    while len(body) < int(headers.get("content-length", "0")):
        body += connection.recv(65536)
    return Asked(method, target, headers, body)
