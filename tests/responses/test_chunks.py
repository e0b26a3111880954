"""Chunks are taken apart as another reader of HTTP takes them apart, however they are cut."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.backends.responses.chunks import LONGEST_LINE, Dechunker

BAD = "no chunks"
HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"

Outcome = tuple[bytes, bool | str, bytes]


def read(*parts: bytes) -> Outcome:
    """Return the body, whether it is over, and what came behind."""
    dechunker, body, behind = Dechunker(), b"", b""
    try:
        for part in parts:
            if dechunker.is_over:
                behind += part
            else:
                body += dechunker.feed(part)
    except ValueError:
        return body, BAD, b""
    return body, dechunker.is_over, dechunker.rest + behind


def oracle(raw: bytes) -> Outcome:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(HEAD + raw)
    body = b""
    try:
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return body, False, b""
            if isinstance(event, h11.Data):
                body += bytes(event.data)
    except h11.RemoteProtocolError:
        return body, BAD, b""
    return body, True, connection.trailing_data[0]


CASES: dict[str, tuple[bytes, Outcome]] = {
    "one": (b"3\r\nabc\r\n0\r\n\r\n", (b"abc", True, b"")),
    "two": (b"1\r\na\r\n000A\r\n0123456789\r\n0\r\n\r\n", (b"a0123456789", True, b"")),
    "none": (b"0\r\n\r\n", (b"", True, b"")),
    "with line ends in it": (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", (b"\r\n\r\n", True, b"")),
    "extensions": (b"1;a=b\r\na\r\n0;c\r\n\r\n", (b"a", True, b"")),
    "trailers": (b"1\r\na\r\n0\r\nx: y\r\nz: 1\r\n\r\n", (b"a", True, b"")),
    "something behind": (b"1\r\na\r\n0\r\n\r\nHTTP", (b"a", True, b"HTTP")),
    "cut": (b"5\r\nab", (b"ab", False, b"")),
    "cut behind data": (b"2\r\nab\r", (b"ab", False, b"")),
    "no size": (b"x\r\na\r\n", (b"", BAD, b"")),
    "a size with a sign": (b"+1\r\na\r\n", (b"", BAD, b"")),
    "a size as Python writes it": (b"1_0\r\na\r\n", (b"", BAD, b"")),
    "more data than said": (b"1\r\nab\r\n0\r\n\r\n", (b"a", BAD, b"")),
}


@pytest.mark.parametrize("case", CASES)
def test_chunks(case: str) -> None:
    raw, expected = CASES[case]
    assert read(raw)[1:] == expected[1:]
    assert read(*(raw[at : at + 1] for at in range(len(raw)))) == expected


bodies = st.lists(st.binary(min_size=1, max_size=9), max_size=5)


@given(bodies, st.binary(max_size=6), st.integers(0, 60), st.integers(1, 9))
def test_as_another_reader(parts: list[bytes], behind: bytes, cut: int, step: int) -> None:
    whole = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    raw = (whole + behind)[: max(cut, 1)]
    assert read(*(raw[at : at + step] for at in range(0, len(raw), step))) == oracle(raw)


def test_a_line_without_end_is_refused() -> None:
    assert read(b"1" * LONGEST_LINE, b"11") == (b"", BAD, b"")
