"""Requests to a model's host, each sent once.

What is asked, and what an answer means, is the caller's. Whoever waits for an answer can be woken
from any OS thread. Nothing here is logged: bodies are what people say, and headers hold their tokens.
The connections, and the import they need, come with the first request.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from codex_magic.backends.responses import address, coding
from codex_magic.backends.responses.address import Request
from codex_magic.backends.responses.failures import AbortedError, Failure
from codex_magic.backends.responses.line import Line
from codex_magic.backends.responses.retry import Patience
from codex_magic.backends.responses.said import LONGEST_BODY
from codex_magic.backends.responses.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from codex_magic.auth.credentials import Credential, Source
    from codex_magic.backends.responses.address import Address
    from codex_magic.backends.responses.exchange import Answer, Exchange

__all__ = ["AbortedError", "Client", "Stream"]

Json = dict[str, Any]

LONGEST_ANSWER: Final = 8 * 1024 * 1024
"""Bytes of an answer that is no stream; a list of models, with what is said of each, has 400,000."""
ANSWER_S: Final = 20.0
"""Seconds within which such an answer must be there."""


class Client:
    """The way to one host.

    It may be used from any number of OS threads at once, and keeps connections for later requests.

    Parameters
    ----------
    base_url
        What the paths of requests are below.
    source
        Who has a credential; None for a host that wants none.
    dress
        Makes the headers that show a credential, and whatever else each request shall have.
    environ
        Where proxies and certificates are named.
    accept
        Asked for every credential, and for there being none, before anything is sent with it:
        whether it is one that requests here may show.

    Raises
    ------
    SetupError
        `base_url` is no address.
    """

    def __init__(  # noqa: PLR0913 - all but three by their names
        self,
        base_url: str,
        source: Source | None,
        dress: Callable[[Credential | None], Mapping[str, str]],
        *,
        patience: Patience | None = None,
        environ: Mapping[str, str] | None = None,
        accept: Callable[[Credential | None], bool] = lambda _: True,
    ) -> None:
        self.base = address.parse(base_url)
        self.patience = patience or Patience()
        self._source = source
        self._dress = dress
        self._environ = os.environ if environ is None else environ
        self._accept = accept
        self._exchange: Exchange | None = None
        self._lines: set[Line] = set()
        self._guard = threading.Lock()
        self._is_closed = False

    def stream(self, body: Json, *, headers: Mapping[str, str] | None = None) -> Stream:
        """Return the answer to `body`; it is asked for when the stream is entered."""
        line = Line()
        return Stream(line, self._streamed(line, _json(body), headers or {}), self.patience.idle_s)

    def get(
        self, path: str, params: Mapping[str, str] | None = None, *, within_s: float | None = None
    ) -> Json:
        """Return what stands at `path` below the base, if it is there within the time.

        Raises
        ------
        Failure
            It is not there, or not JSON.
        AbortedError
            The client was closed.
        SetupError, BackendError
            There is no credential to ask with, or no way there.
        """
        return self._whole("GET", self.base.below(path, params), within_s=within_s)

    def get_url(self, url: str) -> Json:
        """Return what stands at an address that may see the same credential; likewise."""
        return self._whole("GET", address.parse(url))

    def post(self, path: str, body: Json) -> Json:
        """Return the whole answer to `body`; likewise."""
        return self._whole("POST", self.base.below(path), _json(body))

    def close(self) -> None:
        """End every request and connection; what is asked later is given up."""
        with self._guard:
            self._is_closed = True
            lines = list(self._lines)
        for line in lines:
            line.cut()
        if self._exchange is not None:
            self._exchange.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _whole(
        self, method: str, where: Address, body: bytes = b"", *, within_s: float | None = None
    ) -> Json:
        headers = {"accept": "application/json", "accept-encoding": coding.ACCEPTED}
        within_s = ANSWER_S if within_s is None else within_s
        with self._asked(Line(), Request(method, where, headers, body), within_s) as answer:
            whole = answer.read(LONGEST_ANSWER, within_s)
        if len(whole) > LONGEST_ANSWER:
            raise Failure(f"{where.name} sent more than 8 MiB", kind="badStream")
        try:
            found = msgspec.json.decode(whole)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            found = None
        if isinstance(found, dict):
            return found
        raise answer.failure(whole)

    @contextmanager
    def _streamed(self, line: Line, body: bytes, headers: Mapping[str, str]) -> Iterator[Answer]:
        # A stream is not asked for in gzip: whatever compresses it may also hold it back.
        own = {"accept": "text/event-stream", "accept-encoding": "identity"}
        request = Request("POST", self.base.below("responses"), {**own, **headers}, body)
        idle_s = self.patience.idle_s
        with self._asked(line, request, idle_s) as answer:
            kind = answer.headers.get("content-type", "text/event-stream")
            if kind.partition(";")[0].strip().lower() != "text/event-stream":
                whole = answer.read(LONGEST_BODY, idle_s)
                raise answer.failure(whole)
            yield answer

    @contextmanager
    def _asked(self, line: Line, request: Request, silent_s: float) -> Iterator[Answer]:
        """Send a request; it ends with the context, or when the client is closed."""
        with self._guard:
            if self._is_closed:
                raise AbortedError
            self._lines.add(line)
        try:
            answer = self._connected().ask(request, line, silent_s)
            try:
                yield answer
            finally:
                answer.close()
        finally:
            with self._guard:
                self._lines.discard(line)

    def _connected(self) -> Exchange:
        # It imports httpcore2, which nobody waits for before there is something to ask.
        from codex_magic.backends.responses.exchange import Exchange  # noqa: PLC0415

        with self._guard:
            if self._exchange is None:
                self._exchange = Exchange(
                    self._source, self._dress, self.patience, self._environ, self._accept
                )
            return self._exchange


def _json(body: Json) -> bytes:
    try:
        return msgspec.json.encode(body)
    except UnicodeEncodeError:  # half a character, of a notebook that was cut somewhere
        return json.dumps(body, ensure_ascii=False).encode("utf-8", "replace")
