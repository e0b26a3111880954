"""Connections that are kept for the next request and can be broken from outside.

HTTP itself is httpcore2's, the part of httpx2 that speaks it. What is added here lies below it: how
a connection comes about, and that it belongs to a `Line` while a request uses it. Importing this
module imports httpcore2, which takes a while.
"""

from __future__ import annotations

import os
import queue
import socket
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, urlsplit

import httpcore2

from codex_magic.backends.responses import chunks, surroundings
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Iterator, Mapping

    from codex_magic.backends.responses.line import Line

IDLE: Final = 20
"""Connections kept for later."""
KEPT_S: Final = 30.0
"""Seconds they are kept; what lies between us and a host forgets silent ones not long after."""

_KEEPALIVE: Final = tuple(
    (level, getattr(socket, name), value)
    for level, name, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 30),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 15),
    )
    if hasattr(socket, name)
)
"""A model may think for minutes, and routers forget who was silent that long."""

READ_BYTES: Final = 64 * 1024
_HEAD_END: Final = b"\r\n\r\n"

_here = threading.local()


@contextmanager
def through(line: Line) -> Iterator[None]:
    """Let connections that this OS thread writes to belong to `line`."""
    _here.line = line
    try:
        yield
    finally:
        _here.line = None


def pool(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> httpcore2.ConnectionPool:
    """Return connections to one host.

    Raises
    ------
    SetupError
        The environment names a proxy or certificates that cannot be used.
    """
    address = surroundings.proxy(scheme, host, port, environ)
    trust = None
    if scheme == "https" or (address is not None and address.startswith("https:")):
        trust = surroundings.trust(environ) or httpcore2.default_ssl_context()
    return httpcore2.ConnectionPool(
        ssl_context=trust,
        proxy=None if address is None else _proxy(address, trust),
        # A request that waited for another's end could wait for a whole turn.
        max_connections=None,
        max_keepalive_connections=IDLE,
        keepalive_expiry=KEPT_S,
        network_backend=_Network(),
    )


def _proxy(address: str, trust: ssl.SSLContext | None) -> httpcore2.Proxy:
    parts = urlsplit(address)
    if parts.scheme.startswith("socks"):
        try:
            import socksio  # type: ignore[import-not-found] # noqa: F401, PLC0415 - seldom there
        except ImportError:
            raise SetupError(
                "the environment names a SOCKS proxy, for which a package is missing",
                hint="Type %pip install socksio, then restart the kernel",
            ) from None
    default = {"http": 80, "https": 443}.get(parts.scheme, 1080)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    auth = None
    if parts.username is not None:
        auth = unquote(parts.username), unquote(parts.password or "")
    return httpcore2.Proxy(
        f"{parts.scheme}://{host}:{parts.port or default}/",
        auth=auth,
        ssl_context=trust if parts.scheme == "https" else None,
    )


class _Network(httpcore2.NetworkBackend):
    """Makes connections."""

    def __init__(self) -> None:
        self._plain = httpcore2.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect in an OS thread of its own: nothing else can be waited for and left alone."""
        line = cast("Line", _here.line)
        found: queue.SimpleQueue[httpcore2.NetworkStream | Exception | None] = queue.SimpleQueue()
        is_left = threading.Event()

        def connect() -> None:
            try:
                found.put(
                    self._plain.connect_tcp(
                        host, port, timeout, local_address, [*(socket_options or ()), *_KEEPALIVE]
                    )
                )
            except Exception as error:  # noqa: BLE001 - it is raised where one waits
                found.put(error)
            if is_left.is_set():
                _close_all(found)

        threading.Thread(target=connect, name="codex-magic connect", daemon=True).start()
        with line.waking(lambda: found.put(None)):
            try:
                got = found.get(timeout=timeout)
            except queue.Empty:
                got = httpcore2.ConnectTimeout()
        if isinstance(got, httpcore2.NetworkStream):
            return _Stream(got)
        is_left.set()
        _close_all(found)
        raise got or httpcore2.ConnectError()


def body(response: httpcore2.Response) -> Iterator[bytes]:
    """Return the bytes of a body as they come: past HTTP, where it is in chunks as they usually are."""
    stream = response.extensions.get("network_stream")
    framing = [
        (name.lower(), value.lower())
        for name, value in response.headers
        if name.lower() in (b"transfer-encoding", b"content-length")
    ]
    if (
        isinstance(stream, _Stream)
        and stream.is_at_body
        and framing == [(b"transfer-encoding", b"chunked")]
    ):
        yield from stream.chunks()
    yield from response.iter_stream()


def _close_all(found: queue.SimpleQueue[Any]) -> None:
    while True:
        try:
            late = found.get_nowait()
        except queue.Empty:
            return
        if isinstance(late, httpcore2.NetworkStream):
            late.close()


class _Stream(httpcore2.NetworkStream):
    """A connection that knows whose it is.

    Attributes
    ----------
    is_at_body
        Whether all that was given out so far is the head of an answer.
    """

    def __init__(self, plain: httpcore2.NetworkStream) -> None:
        self._plain = plain
        self._socket: socket.socket = plain.get_extra_info("socket")
        self._line: Line | None = None
        self._ahead = b""
        self._tail = b""
        self._is_in_head = False
        self.is_at_body = False

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._ahead:
            found, self._ahead = self._ahead[:max_bytes], self._ahead[max_bytes:]
            self.is_at_body = False
            return found
        found = self._receive(max_bytes, timeout)
        self.is_at_body = False
        if not self._is_in_head:
            return found
        # A head is given out without what came with it, so that its body can be read past HTTP.
        before = len(self._tail)
        end = (self._tail + found).find(_HEAD_END)
        if end < 0:
            self._tail = (self._tail + found)[1 - len(_HEAD_END) :]
            return found
        self._is_in_head, self.is_at_body = False, True
        end += len(_HEAD_END) - before
        self._ahead = found[end:]
        return found[:end]

    def chunks(self) -> Iterator[bytes]:
        """Return a body in chunks, read from where its head ended.

        The last thing it does is to leave behind an empty body, for HTTP to see its end.
        """
        dechunker = chunks.Dechunker()
        data, self._ahead = self._ahead, b""
        while True:
            try:
                piece = dechunker.feed(data)
            except ValueError:
                raise httpcore2.RemoteProtocolError from None
            if piece:
                yield piece
            if dechunker.is_over:
                self._ahead = b"0\r\n\r\n"
                if dechunker.rest:
                    # Nobody has asked for it; it must not answer the next request.
                    self.close()
                return
            data = self._receive(READ_BYTES, None)
            if not data:
                raise httpcore2.RemoteProtocolError

    def _receive(self, max_bytes: int, timeout: float | None) -> bytes:
        left = None if self._line is None else self._line.seconds_left()
        if left is not None:
            if left <= 0:
                raise httpcore2.ReadTimeout
            timeout = left if timeout is None else min(timeout, left)
        return self._plain.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        # Each request begins by writing, also on a connection that another one has used.
        self._line = cast("Line", _here.line)
        self._line.hold(self._socket)
        self._is_in_head, self._tail = True, b""
        self._plain.write(buffer, timeout)

    def close(self) -> None:
        # Its number may be another's as soon as it is closed.
        if self._line is not None:
            self._line.let_go(self._socket)
        self._plain.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        line = cast("Line", _here.line)
        # A handshake takes the socket away, and gives back another one when it is done.
        spare = socket.socket(fileno=os.dup(self._socket.fileno()))
        line.hold(spare)
        try:
            return _Stream(self._plain.start_tls(ssl_context, server_hostname, timeout))
        finally:
            line.let_go(spare)
            spare.close()

    def get_extra_info(self, info: str) -> Any:
        return self._plain.get_extra_info(info)
