"""Connections that are kept for the next request and can be broken from outside.

HTTP itself is httpcore2's, the part of httpx2 that speaks it. What is added here lies below it: how
a connection comes about, and that it belongs to a `Line` while a request uses it. Importing this
module imports httpcore2, which takes a while.
"""

from __future__ import annotations

import os
import queue
import socket
import ssl
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import unquote, urlsplit

import httpcore2

from codex_magic.backends.responses import surroundings
from codex_magic.backends.responses.failures import AbortedError, Failure
from codex_magic.errors import SetupError

if TYPE_CHECKING:
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

_ERRORS: Final = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    OSError,
    UnicodeError,  # a name that can be none
)

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


def _close_all(found: queue.SimpleQueue[Any]) -> None:
    while True:
        try:
            late = found.get_nowait()
        except queue.Empty:
            return
        if isinstance(late, httpcore2.NetworkStream):
            late.close()


class _Stream(httpcore2.NetworkStream):
    """A connection that knows whose it is."""

    def __init__(self, plain: httpcore2.NetworkStream) -> None:
        self._plain = plain
        self._socket: socket.socket = plain.get_extra_info("socket")
        self._line: Line | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
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


@contextmanager
def failing(line: Line, host: str, silent_s: float, *, is_begun: bool) -> Iterator[None]:
    """Turn what the network raises into a `Failure`, or an `AbortedError` where `line` was cut.

    Parameters
    ----------
    is_begun
        Whether the answer has begun.
    """
    try:
        yield
    except _ERRORS as error:
        line.let_go()
        if line.is_cut:
            raise AbortedError from None
        # What it says of itself may repeat a header.
        raise _failure(error, host, silent_s, is_begun=is_begun) from None


def _failure(error: Exception, host: str, silent_s: float, *, is_begun: bool) -> Failure:
    cause = error.args[0] if error.args and isinstance(error.args[0], Exception) else error
    if isinstance(cause, ssl.SSLCertVerificationError):
        why = cause.verify_message or "it cannot be verified"
        return Failure(f"the certificate of {host} is not trusted: {why}", kind="certificate")
    if isinstance(error, httpcore2.ProxyError):
        return Failure(
            f"the proxy did not let the request through to {host}: {error}", kind="proxy"
        )
    if isinstance(error, httpcore2.ConnectTimeout):
        return _lost(f"{host} did not take the connection in time", "unreachable")
    if isinstance(error, httpcore2.TimeoutException):
        return _lost(f"{host} has been silent for {silent_s:g} s")
    if isinstance(error, httpcore2.LocalProtocolError):
        # Its words repeat the header.
        return Failure(f"the request to {host} cannot be written as HTTP", kind="badRequest")
    if isinstance(error, (httpcore2.ConnectError, UnicodeError)):
        return _unreachable(cause, host)
    if is_begun:
        return _lost(f"the connection to {host} broke in the middle of the answer")
    return _lost(f"the connection to {host} broke before it answered")


def _unreachable(cause: Exception, host: str) -> Failure:
    if isinstance(cause, (socket.gaierror, UnicodeError)):
        return _lost(f"the name of {host} cannot be found", "unreachable")
    if isinstance(cause, ssl.SSLEOFError):
        return _lost(f"{host} broke off the handshake", "unreachable")
    if isinstance(cause, ssl.SSLError):
        return Failure(f"{host} does not speak TLS as it should", kind="unreachable")
    why = getattr(cause, "strerror", None) or "no connection"
    return _lost(f"{host} cannot be reached: {why}", "unreachable")


def _lost(message: str, kind: str = "connectionLost") -> Failure:
    return Failure(message, kind=kind, retries=True)
