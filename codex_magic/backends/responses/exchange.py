"""One request and its answer, with a credential to show.

It sends nothing twice, but for a credential that its host refuses: the source is asked once for
another one. What an answer means is not known here. Importing this module imports httpcore2.
"""

from __future__ import annotations

import re
import threading
from typing import TYPE_CHECKING, Final

import httpcore2

from codex_magic.backends.responses import coding, failures, outages, sockets
from codex_magic.backends.responses.failures import AbortedError, Failure
from codex_magic.backends.responses.said import LONGEST_BODY
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from codex_magic.auth.credentials import Credential, Source
    from codex_magic.backends.responses.address import Address, Request
    from codex_magic.backends.responses.line import Line
    from codex_magic.backends.responses.retry import Patience

SUCCESS: Final = range(200, 300)
UNAUTHORIZED: Final = 401

REFUSAL_S: Final = 10.0
"""Seconds to wait for the words of a refusal."""

_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(r"[\t\x20-\x7e\x80-\xff]*")


class Answer:
    """An answer of which status and headers are there; the body is still to come.

    Attributes
    ----------
    secrets
        What the host was shown, and may repeat.
    """

    def __init__(
        self, response: httpcore2.Response, line: Line, host: str, secrets: tuple[str, ...]
    ) -> None:
        self._response = response
        self._line = line
        self.secrets = secrets
        self.host = host
        self.status: int = response.status
        self.headers: dict[str, str] = {}
        for raw_name, raw_value in response.headers:
            name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
            self.headers[name] = f"{self.headers[name]}, {value}" if name in self.headers else value

    def pieces(self, silent_s: float) -> Iterator[bytes]:
        """Return the body in pieces, each as soon as it comes.

        Raises
        ------
        Failure, AbortedError
            It breaks off, or is not encoded as it says.
        """
        encoding = self.headers.get("content-encoding", "").strip().lower()
        with outages.failing(self._line, self.host, silent_s, is_begun=True):
            yield from coding.plain(sockets.body(self._response), encoding)

    def read(self, limit: int, silent_s: float) -> bytes:
        """Return the body, of which no more than a piece exceeds `limit`; likewise."""
        found: list[bytes] = []
        size = 0
        for piece in self.pieces(silent_s):
            found.append(piece)
            size += len(piece)
            if size > limit:
                break
        return b"".join(found)

    def failure(self, body: bytes, *, has_key: bool = True) -> Failure:
        """Return what an answer with this body means that is not the one asked for."""
        return failures.of_status(
            self.status, self.headers, body, secrets=self.secrets, has_key=has_key
        )

    def close(self) -> None:
        """Let the connection serve others, or end it where something is still to come."""
        self._line.let_go()
        self._response.close()


class Exchange:
    """Everything that requests share: connections, and who has a credential."""

    def __init__(
        self,
        source: Source | None,
        dress: Callable[[Credential | None], Mapping[str, str]],
        patience: Patience,
        environ: Mapping[str, str],
        accept: Callable[[Credential | None], bool],
    ) -> None:
        self._source = source
        self._accept = accept
        self._dress = dress
        self._patience = patience
        self._environ = environ
        self._pools: dict[tuple[str, str, int], httpcore2.ConnectionPool] = {}
        self._guard = threading.Lock()

    def ask(self, request: Request, line: Line, silent_s: float) -> Answer:
        """Send `request` and return the answer.

        Parameters
        ----------
        silent_s
            How long the host may take.

        Raises
        ------
        Failure
            It is refused, or does not arrive.
        AbortedError
            `line` was cut.
        SetupError, BackendError
            There is no credential to ask with.
        """
        credential = None if self._source is None else self._accepted(self._source.current())
        shown = () if credential is None else (credential.token,)
        answer = self._send(request, credential, line, silent_s, shown)
        if answer.status == UNAUTHORIZED and self._source is not None and credential is not None:
            refusal = self._refusal(answer, line)
            renewed = self._source.renewed(credential)
            if renewed.token == credential.token:
                raise refusal
            shown = (*shown, renewed.token)
            answer = self._send(request, self._accepted(renewed), line, silent_s, shown)
        if answer.status not in SUCCESS:
            raise self._refusal(answer, line, has_key=credential is not None)
        return answer

    def close(self) -> None:
        """End every connection."""
        with self._guard:
            pools = list(self._pools.values())
            self._pools.clear()
        for pool in pools:
            pool.close()

    def _accepted(self, credential: Credential | None) -> Credential | None:
        """Pass a credential that requests here may show: none that was signed in since."""
        if self._accept(credential):
            return credential
        raise Failure(
            "the sign-in has changed meanwhile, and nothing was asked with the new one",
            kind="signInChanged",
        )

    def _send(
        self,
        request: Request,
        credential: Credential | None,
        line: Line,
        silent_s: float,
        shown: tuple[str, ...],
    ) -> Answer:
        if line.is_cut:
            raise AbortedError
        line.allow(silent_s)
        where = request.address
        if credential is not None and not where.is_private:
            what = "key" if credential.kind == "apiKey" else "sign-in"
            raise SetupError(
                f"the {what} would go to {where.name} for everybody on the way to read",
                hint="Give its address with https://",
            )
        prepared = httpcore2.Request(
            request.method,
            f"{where.scheme}://{where.name}{where.target}",
            headers=_written(self._dressed(request, credential)),
            content=request.body,
            extensions={
                "timeout": {"connect": self._patience.connect_s, "write": self._patience.idle_s}
            },
        )
        with outages.failing(line, where.name, silent_s, is_begun=False), sockets.through(line):
            response = self._pool(where).handle_request(prepared)
        return Answer(response, line, where.name, shown)

    def _pool(self, where: Address) -> httpcore2.ConnectionPool:
        key = (where.scheme, where.host, where.port)
        with self._guard:
            if key not in self._pools:
                self._pools[key] = sockets.pool(*key, self._environ)
            return self._pools[key]

    def _dressed(self, request: Request, credential: Credential | None) -> dict[str, str]:
        headers = {"host": request.address.name, "accept": "application/json"}
        for more in (self._dress(credential), request.headers):
            headers |= {name.lower(): value.strip() for name, value in more.items()}
        if request.body:
            headers["content-type"] = "application/json"
        if request.body or request.method == "POST":
            headers["content-length"] = str(len(request.body))
        return headers

    def _refusal(self, answer: Answer, line: Line, *, has_key: bool = True) -> Failure:
        line.allow(REFUSAL_S)
        try:
            body = answer.read(LONGEST_BODY, REFUSAL_S)
        except Failure:
            body = b""  # the status says enough
        finally:
            answer.close()
        return answer.failure(body, has_key=has_key)


def _written(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return `headers` as they are sent.

    Raises
    ------
    SetupError
        One cannot be a header; what stands in it is not repeated.
    """
    for name, value in headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            raise SetupError(
                f"what was to be sent as {name!r} cannot be a header",
                hint="A key or token in the environment may hold a line break or a stray character",
            )
    return [(name.encode("ascii"), value.encode("latin-1")) for name, value in headers.items()]
