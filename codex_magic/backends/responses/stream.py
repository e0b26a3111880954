"""The answer to one request, event by event.

It belongs to one OS thread, which enters and iterates it; any other may abort it. Whether the answer
came to its end is told by its events, and judged by whoever reads them.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Final, Self

import msgspec

from codex_magic.backends.responses.failures import AbortedError, Failure
from codex_magic.backends.responses.sse import Decoder
from codex_magic.mask import MASK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from codex_magic.backends.responses.exchange import Answer
    from codex_magic.backends.responses.line import Line

Json = dict[str, Any]

LAST_BYTES_S: Final = 0.05
"""Seconds to wait for the end of a stream that has said all, so that its connection can be kept."""

OVER: Final = frozenset({"response.completed", "response.failed", "response.incomplete"})
"""The last event of an answer."""

COMPLAINTS: Final = frozenset({"response.failed", "error"})
"""Events in words of the host, which may repeat what it was shown."""


class Stream:
    """An answer that is asked for when it is entered, and over when it is left.

    Parameters
    ----------
    idle_s
        How long no event may come.

    Attributes
    ----------
    headers
        Those of the answer, by their names in lower case.
    """

    def __init__(self, line: Line, asked: AbstractContextManager[Answer], idle_s: float) -> None:
        self.headers: Mapping[str, str] = {}
        self._line = line
        self._asked = asked
        self._idle_s = idle_s
        self._secrets: tuple[str, ...] = ()
        self._pieces: Iterator[bytes] = iter(())
        self._is_over = False

    def __enter__(self) -> Self:
        """Ask.

        Raises
        ------
        Failure
            The host refuses, or does not answer.
        AbortedError
            Somebody has given the request up.
        SetupError, BackendError
            There is no credential to ask with, or no way there.
        """
        answer = self._asked.__enter__()
        self.headers, self._secrets = answer.headers, answer.secrets
        self._pieces = answer.pieces(self._idle_s)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_over and not self._line.is_cut:
            self._line.allow(LAST_BYTES_S)
            with contextlib.suppress(Failure, AbortedError):
                for _piece in self._pieces:
                    pass
        self._asked.__exit__(None, None, None)

    def __iter__(self) -> Iterator[Json]:
        """Return the events as they come, until the last of an answer or the end of the stream.

        Raises
        ------
        Failure
            The stream breaks, is silent for too long, or is none.
        AbortedError
            Somebody has given the request up.
        """
        self._still_wanted()
        if self._is_over:
            return
        decoder = Decoder()
        self._line.allow(self._idle_s)
        for piece in self._pieces:
            events = decoder.feed(piece)
            if events or decoder.is_within:  # a comment only says that the connection lives
                self._line.allow(self._idle_s)
            for event in events:
                self._still_wanted()
                self._is_over = event["type"] in OVER
                yield _masked(event, self._secrets) if event["type"] in COMPLAINTS else event
                if self._is_over:
                    return
            if decoder.failure is not None:
                raise decoder.failure
        self._still_wanted()
        decoder.close()

    def abort(self) -> None:
        """Give the request up, from any OS thread and at any time; whoever waits is woken."""
        self._line.cut()

    def _still_wanted(self) -> None:
        if self._line.is_cut:
            raise AbortedError


def _masked(event: Json, secrets: Sequence[str]) -> Json:
    text = msgspec.json.encode(event)
    for secret in secrets:
        text = text.replace(msgspec.json.encode(secret)[1:-1], MASK.encode())
    found: Json = msgspec.json.decode(text)
    return found
