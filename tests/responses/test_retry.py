"""How long to wait before a request is sent again."""

from __future__ import annotations

import pytest

from codex_magic.backends.responses.failures import Failure
from codex_magic.backends.responses.retry import Patience

LOST = Failure("the connection broke", kind="connectionLost", retries=True)


def waits(failure: Failure, patience: Patience, jitter: float = 0.0) -> list[float]:
    """Return what is waited before one gives up."""
    found: list[float] = []
    while (wait := patience.wait_s(failure, len(found) + 1, jitter)) is not None:
        found.append(wait)
    return found


def asked(after_s: float | None, *, retries: bool = True) -> Failure:
    return Failure("slower", kind="rateLimitExceeded", retries=retries, after_s=after_s)


CASES = {
    "twice as long each time": (LOST, Patience(), 0.0, [0.2, 0.4, 0.8, 1.6, 3.2]),
    "a little longer": (LOST, Patience(), 1.0, [0.22, 0.44, 0.88, 1.76, 3.52]),
    "a little shorter": (LOST, Patience(), -1.0, [0.18, 0.36, 0.72, 1.44, 2.88]),
    "never very long": (
        LOST,
        Patience(retries=10),
        1.0,
        [0.22, 0.44, 0.88, 1.76, 3.52, 7.04, 14.08, 28.16, 30.0, 30.0],
    ),
    "as the host says": (asked(2.0), Patience(retries=3), 1.0, [2.0, 2.0, 2.0]),
    "as long as the host may say": (asked(120.0), Patience(retries=1), 0.0, [120.0]),
    "too long": (asked(120.5), Patience(), 0.0, []),
    "at once is not meant": (asked(0.0), Patience(retries=2), 0.0, [0.2, 0.4]),
    "in vain": (asked(2.0, retries=False), Patience(), 0.0, []),
    "no patience": (LOST, Patience(retries=0), 0.0, []),
}


@pytest.mark.parametrize("case", CASES)
def test_waits(case: str) -> None:
    failure, patience, jitter, expected = CASES[case]
    assert waits(failure, patience, jitter) == pytest.approx(expected)


def test_a_great_many_tries_are_no_error() -> None:
    assert Patience(retries=10**6).wait_s(LOST, 10**6) == 30.0
