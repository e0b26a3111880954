"""One HTTP request to a host that knows credentials: bounded in time and size, led nowhere else.

Not the model's client: nothing is streamed, nothing repeated, no redirect followed. httpx2 is
imported with the first request.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from codex_magic.auth import hosts, route
from codex_magic.errors import BackendError, SetupError
from codex_magic.mask import mask

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import httpx2

LIMIT: Final = 64 * 1024
TIMEOUT_S: Final = 10.0
AGENT: Final = "codex_magic"


class UnreachableError(BackendError):
    """A host gave no answer, or one that is too long."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A request; what is secret in it shows in no `repr`.

    Parameters
    ----------
    json, form
        The body, in either of the two ways.
    """

    method: str
    url: str = field(repr=False)
    json: Mapping[str, Any] | None = field(default=None, repr=False)
    form: Mapping[str, str] | None = field(default=None, repr=False)
    bearer: str = field(default="", repr=False)
    timeout_s: float = TIMEOUT_S

    @property
    def secrets(self) -> tuple[str, ...]:
        """What its host is shown, and may repeat."""
        body = {**(self.json or {}), **(self.form or {})}
        shown = (self.bearer, *(str(body.get(name, "")) for name in _SECRET))
        return tuple(secret for secret in shown if len(secret) >= _SHORTEST)


_SHORTEST: Final = 8  # shorter ones stand in ordinary words by chance
_SECRET: Final = ("token", "refresh_token", "code", "code_verifier", "device_auth_id")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer.

    Parameters
    ----------
    secrets
        What the host was shown, and may repeat.
    """

    status: int
    content: bytes = field(default=b"", repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    def json(self) -> dict[str, Any] | None:
        """Return the JSON object that it is, or None."""
        try:
            found = json.loads(self.content)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def code(self) -> str:
        """Return the word that an error is called by, wherever this host puts it, if it is one."""
        said = self.json() or {}
        error = said.get("error")
        found = error.get("code") if isinstance(error, dict) else error
        found = found or said.get("code")
        is_word = isinstance(found, str) and _WORD.fullmatch(found)
        return self.masked(str(found)) if is_word else ""

    def masked(self, words: str) -> str:
        """Return the host's words without what it was shown."""
        return mask(words, self.secrets)


_WORD: Final = re.compile(r"[a-z_]{1,60}")


class Line:
    """What requests hang on, one at a time: cut from another OS thread, they fail at once."""

    def __init__(self) -> None:
        self.is_cut = False
        self._is_late = False
        self._sockets: list[socket.socket] = []
        self._guard = threading.Lock()

    def cut(self) -> None:
        """End the request on it, and those to come."""
        with self._guard:
            self.is_cut = True
            self._shut()

    def _expire(self) -> None:
        with self._guard:
            self._is_late = True
            self._shut()

    def _shut(self) -> None:
        for held in self._sockets:
            with contextlib.suppress(OSError):
                held.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def _within(self, timeout_s: float) -> Iterator[None]:
        # A host that sends a byte now and then never meets a time limit for a single read.
        timer = threading.Timer(timeout_s, self._expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()
            with self._guard:
                for held in self._sockets:
                    held.close()
                self._sockets.clear()
                self._is_late = False

    def _trace(self, event: str, info: Mapping[str, Any]) -> None:
        if not event.endswith("connect_tcp.complete"):
            return
        # A duplicate: encryption takes the socket itself away.
        held: socket.socket = info["return_value"].get_extra_info("socket").dup()
        with self._guard:
            self._sockets.append(held)
            if self.is_cut or self._is_late:
                self._shut()


def ask(asked: Ask, environ: Mapping[str, str], line: Line | None = None) -> Reply:
    """Send a request and return its answer, whatever the status.

    Parameters
    ----------
    line
        Cut it to give the request up.

    Raises
    ------
    UnreachableError
        There is no answer, or it is longer than `LIMIT`.
    SetupError
        The request would send secrets unencrypted, or through a proxy that cannot be used.
    """
    import httpx2  # noqa: PLC0415 - 100 ms, at the first request

    if not hosts.is_safe(asked.url):
        raise SetupError(
            f"a credential must not be sent to {hosts.shown(asked.url)} unencrypted",
            hint="Give an address that begins with https://",
        )
    host, line, began = hosts.shown(asked.url), line or Line(), time.monotonic()
    try:
        # The client around a transport logs addresses whole, and what stands in one may be secret.
        with (
            line._within(asked.timeout_s),  # noqa: SLF001 - of this module
            _transport(asked, environ) as transport,
        ):
            return _sent(transport, asked, line)
    except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, OSError) as error:
        late = time.monotonic() - began >= asked.timeout_s
        why = f"it did not answer within {asked.timeout_s:g} s" if late else _why(error, asked)
    raise UnreachableError(
        f"{host} cannot be asked: {why}", hint="Check the network, then try again"
    )


def _transport(asked: Ask, environ: Mapping[str, str]) -> httpx2.HTTPTransport:
    import httpx2  # noqa: PLC0415 - see above

    trusted = route.trusted(asked.url, environ)
    try:
        return httpx2.HTTPTransport(
            verify=trusted, proxy=route.proxy(asked.url, environ), trust_env=False
        )
    except ImportError:
        raise SetupError(
            "the environment names a SOCKS proxy, for which a package is missing",
            hint="Type %pip install socksio, then restart the kernel",
        ) from None
    except (ValueError, httpx2.InvalidURL):  # what it is is not told: it may hold a password
        raise SetupError(
            "the proxy that the environment names cannot be used",
            hint="Correct or unset HTTPS_PROXY or ALL_PROXY",
        ) from None


def _sent(transport: httpx2.HTTPTransport, asked: Ask, line: Line) -> Reply:
    response = transport.handle_request(_request(asked, line))
    try:
        content = b""
        for piece in response.iter_bytes():
            content += piece
            if len(content) > LIMIT:
                raise UnreachableError(
                    f"the answer of {hosts.shown(asked.url)} is longer than {LIMIT // 1024} KB",
                    hint="Check the address",
                )
        return Reply(response.status_code, content, asked.secrets)
    finally:
        response.close()


def _request(asked: Ask, line: Line) -> httpx2.Request:
    from importlib.metadata import version  # noqa: PLC0415 - it reads the disk

    import httpx2  # noqa: PLC0415 - see above

    headers = {
        "User-Agent": f"{AGENT}/{version('codex-magic')}",
        "Accept": "application/json",
        "originator": AGENT,
    }
    if asked.bearer:
        headers["Authorization"] = f"Bearer {asked.bearer}"
    return httpx2.Request(
        asked.method,
        asked.url,
        headers=headers,
        json=asked.json,
        data=asked.form,
        extensions={
            "timeout": httpx2.Timeout(asked.timeout_s).as_dict(),
            "trace": line._trace,  # noqa: SLF001 - of this module
        },
    )


def _why(error: Exception, asked: Ask) -> str:
    # Some of these words are a host's, or repeat a header.
    words = " ".join(mask(str(error), asked.secrets).split())[:200]
    return words or type(error).__name__
