"""Bytes cut anywhere become the same events, or the same failure."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.backends.responses import sse
from codex_magic.backends.responses.failures import Failure
from codex_magic.backends.responses.sse import Decoder

BROKEN = "the model's answer broke off in the middle of an event"
NOT_JSON = "the model's host sent an event that is not JSON"
NOT_OURS = "the model's host does not stream the events of the Responses API"
TOO_LARGE = "the model's host sent an event of more than 16 MiB"

Outcome = tuple[list[Any], str]


def read(*chunks: bytes) -> Outcome:
    """Return the events of a stream and how it failed, empty where it did not."""
    decoder, events = Decoder(), []
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
        decoder.close()
    except Failure as failure:
        return events, failure.message
    return events, ""


ONE: dict[str, Any] = {"type": "response.output_text.delta", "delta": "grün 🐧"}
TWO: dict[str, Any] = {"type": "response.completed", "response": {"output": []}}
RAW = [json.dumps(event, ensure_ascii=False).encode() for event in (ONE, TWO)]

STREAMS: dict[str, tuple[bytes, Outcome]] = {
    "as OpenAI writes it": (
        b"event: response.output_text.delta\ndata: %b\n\nevent: response.completed\ndata: %b\n\n"
        % (RAW[0], RAW[1]),
        ([ONE, TWO], ""),
    ),
    "without names and spaces": (b"data:%b\n\ndata:%b\n\n" % (RAW[0], RAW[1]), ([ONE, TWO], "")),
    "with a name that lies": (b"event: error\ndata: %b\n\n" % RAW[1], ([TWO], "")),
    "CRLF": (b"event: x\r\ndata: %b\r\n\r\ndata: %b\r\n\r\n" % (RAW[0], RAW[1]), ([ONE, TWO], "")),
    "CR": (b"data: %b\r\rdata: %b\r\r" % (RAW[0], RAW[1]), ([ONE, TWO], "")),
    "a byte order mark": (b"\xef\xbb\xbfdata: %b\n\n" % RAW[0], ([ONE], "")),
    "comments": (b": keepalive\n\n:\ndata: %b\n: more\n\n: last" % RAW[0], ([ONE], "")),
    "ids and waits": (b"id: 7\nretry: 10\ndata: %b\nunknown\n\n" % RAW[0], ([ONE], "")),
    "data in lines": (
        b'data: {"type":\ndata: "a",\ndata:"b": 1}\n\n',
        ([{"type": "a", "b": 1}], ""),
    ),
    "the end of another API": (b"data: %b\n\ndata: [DONE]\n\n" % RAW[0], ([ONE], "")),
    "no data": (b"event: ping\n\n\n\n", ([], "")),
    "nothing": (b"", ([], "")),
    "half a character": (
        b'data: {"type":"d","delta":"\\ud83d and \\ud83d\\udc27 \\\\ud83d"}\n\n',
        ([{"type": "d", "delta": "\ufffd and 🐧 \\ud83d"}], ""),
    ),
    "an error of a proxy": (
        b'data: {"error":{"message":"boo"}}\n\n',
        ([{"type": "error", "error": {"message": "boo"}}], ""),
    ),
    "cut in an event": (b"data: %b\n\ndata: %b" % (RAW[0], RAW[1]), ([ONE], BROKEN)),
    "cut after its name": (b"data: %b\n\nevent: x\n" % RAW[0], ([ONE], BROKEN)),
    "cut before the empty line": (b"data: %b\n\ndata: %b\n" % (RAW[0], RAW[1]), ([ONE], BROKEN)),
    "no JSON": (b"data: %b\n\ndata: {'a'}\n\ndata: %b\n\n" % (RAW[0], RAW[1]), ([ONE], NOT_JSON)),
    "no UTF-8": (b'data: %b\n\ndata: {"type":"\xff"}\n\n' % RAW[0], ([ONE], NOT_JSON)),
    "much too deep": (b"data: " + b"[" * 100_000 + b"\n\n", ([], NOT_JSON)),
    "a list": (b"data: [1]\n\n", ([], NOT_OURS)),
    "another API": (b'data: {"object":"chat.completion.chunk"}\n\n', ([], NOT_OURS)),
}


@pytest.mark.parametrize("case", STREAMS)
def test_a_stream_is_its_events(case: str) -> None:
    raw, outcome = STREAMS[case]
    assert read(raw) == outcome


@pytest.mark.parametrize("case", STREAMS)
def test_cut_in_two_anywhere_it_is_the_same(case: str) -> None:
    raw, outcome = STREAMS[case]
    cuts = range(0, len(raw), max(1, len(raw) // 500))
    assert [cut for cut in cuts if read(raw[:cut], raw[cut:]) != outcome] == []


@given(st.sampled_from(sorted(STREAMS)), st.data())
def test_however_it_is_cut_it_is_the_same(case: str, data: st.DataObject) -> None:
    raw, outcome = STREAMS[case]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=20)))
    ends = [0, *cuts, len(raw)]
    assert read(*(raw[a:b] for a, b in itertools.pairwise(ends))) == outcome


# Any JSON, in any of the forms that the format allows.
jsons = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
events = st.dictionaries(st.text(), jsons, max_size=3).map(lambda found: {**found, "type": "t"})
ends = st.sampled_from([b"\n", b"\r", b"\r\n"])
noise = st.sampled_from([b"", b": keepalive", b"event: x", b"id: 1", b"nothing"])


@given(st.lists(st.tuples(events, ends, noise, st.booleans())), st.integers(1, 7))
def test_whatever_is_written_is_read(
    written: list[tuple[dict[str, Any], bytes, bytes, bool]], step: int
) -> None:
    raw = b""
    for event, end, line, pretty in written:
        text = json.dumps(event, ensure_ascii=False, indent=1 if pretty else None).encode()
        fields = [line, *(b"data: " + part for part in text.split(b"\n"))]
        # An empty line of noise would end nothing: no data stand before it.
        raw += b"".join(field + end for field in fields) + end
    chunks = (raw[at : at + step] for at in range(0, len(raw), step))
    assert read(*chunks) == ([event for event, *_ in written], "")


@pytest.mark.parametrize("step", [1 << 16, 1 << 30], ids=["in chunks", "at once"])
@pytest.mark.parametrize("end", [b"\n\n", b""], ids=["that ends", "that does not end"])
def test_a_larger_event_than_any_is_refused(step: int, end: bytes) -> None:
    raw = b'data: {"type":"x","a":"' + b"x" * sse.LARGEST_EVENT + b'"}' + end
    chunks = (raw[at : at + step] for at in range(0, len(raw), step))
    assert read(b"data: %b\n\n" % RAW[0], *chunks) == ([ONE], TOO_LARGE)


def test_a_large_event_is_read() -> None:
    event = {"type": "x", "a": "x" * 1_000_000}
    raw = b"data: %b\n\n" % json.dumps(event).encode()
    chunks = (raw[at : at + 4096] for at in range(0, len(raw), 4096))
    assert read(*chunks) == ([event], "")


def test_what_was_whole_comes_before_the_failure() -> None:
    decoder = Decoder()
    assert decoder.feed(b"data: %b\n\ndata: nonsense\n\ndata: %b\n\n" % (RAW[0], RAW[1])) == [ONE]
    assert decoder.failure is not None
    with pytest.raises(Failure, match="not JSON"):
        decoder.feed(b"data: %b\n\n" % RAW[1])


def test_it_knows_whether_something_has_begun() -> None:
    decoder = Decoder()
    within = []
    for chunk in (b"data: ", RAW[0], b"\n", b"\n", b": a comment\n"):
        decoder.feed(chunk)
        within.append(decoder.is_within)
    assert within == [True, True, True, False, False]
