"""What is kept of a stream."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from codex_magic.sandbox.output import Capture

chunks = st.lists(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), max_size=20)
omitted = re.compile(r"\n\.\.\. (\d+) bytes omitted \.\.\.\n")


def fed(pieces: list[bytes], limit: int) -> tuple[Capture, str]:
    capture = Capture(limit)
    shown = "".join([capture.feed(piece) for piece in pieces])
    return capture, shown + capture.finish()


@given(chunks, st.integers(0, 100))
def test_chunking_changes_neither_the_text_nor_what_is_shown(
    pieces: list[bytes], limit: int
) -> None:
    capture, shown = fed(pieces, limit)
    whole, shown_at_once = fed([b"".join(pieces)], limit)
    assert (capture.text(), shown) == (whole.text(), shown_at_once)


@given(chunks, st.integers(0, 100))
def test_what_fits_is_kept_whole(pieces: list[bytes], limit: int) -> None:
    data = b"".join(pieces)
    capture, shown = fed(pieces, max(limit, len(data)))
    assert capture.text() == data.decode("utf-8", "replace")
    assert not capture.truncated
    assert capture.text().startswith(shown.rstrip("\ufffd"))


@given(st.text(alphabet="aé€𝄞\n"), st.integers(0, 40))
def test_what_does_not_fit_keeps_its_beginning_and_its_end(text: str, limit: int) -> None:
    data = text.encode()
    capture, shown = fed([data], limit)
    if not capture.truncated:
        return
    head, count, tail = omitted.split(capture.text(), maxsplit=1)
    assert text.startswith(head)
    assert text.endswith(tail)
    assert head.startswith(shown)
    assert len(head.encode()) + len(tail.encode()) <= limit
    assert int(count) == len(data) - len(head.encode()) - len(tail.encode())


def test_memory_stays_near_the_limit_however_much_comes() -> None:
    capture = Capture(1000)
    for _ in range(1000):
        capture.feed(b"x" * 997)
    assert capture.received == 997_000
    assert len(capture._tail) <= 3 * 1000


def test_a_character_cut_between_two_chunks_is_shown_once_and_whole() -> None:
    capture = Capture(100)
    assert [
        capture.feed(b"\xe2"),
        capture.feed(b"\x82\xac ok \xff"),
        capture.feed(b"\xf0\x9f"),
    ] == [
        "",
        "€ ok \ufffd",
        "",
    ]
    assert capture.finish() == "\ufffd"
    assert capture.text() == "€ ok \ufffd\ufffd"
