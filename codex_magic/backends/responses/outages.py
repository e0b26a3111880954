"""What an error of the network means for a request: whose fault, and whether to try again.

What such an error says of itself is not passed on: it may repeat a header, and it is in the words of
whoever wrote the library.
"""

from __future__ import annotations

import socket
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import httpcore2

from codex_magic.backends.responses import said
from codex_magic.backends.responses.failures import AbortedError, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codex_magic.backends.responses.line import Line

_ERRORS: Final = (
    httpcore2.TimeoutException,
    httpcore2.NetworkError,
    httpcore2.ProtocolError,
    httpcore2.ProxyError,
    OSError,
    UnicodeError,  # a name that can be none
)


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
            f"the proxy did not let the request through to {host}: {said.clean(str(error))}",
            kind="proxy",
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
