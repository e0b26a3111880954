from __future__ import annotations

import pytest

from codex_magic import errors

KINDS = [
    errors.CellError,
    errors.SetupError,
    errors.BackendError,
    errors.SandboxError,
    errors.RecordError,
]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_is_one_line_that_says_what_happened_and_what_to_type(
    kind: type[errors.CodexMagicError],
) -> None:
    error = kind("it broke\nin two", hint="Type this")
    assert str(error) == "it broke\nin two. Type this"
    assert error._render_traceback_() == [f"{kind.__name__}: it broke in two. Type this"]
    assert isinstance(error, errors.CodexMagicError)
    assert isinstance(error, Exception)


def test_what_a_host_says_moves_no_cursor() -> None:
    error = errors.BackendError("a\x1b[2Jb\x9b1m\u202ec\r\nd\x00\ud800")
    [line] = error._render_traceback_()
    assert line == "BackendError: a\\x1b[2Jb\\x9b1m\\u202ec d\\x00\\ud800"


def test_without_a_hint_there_is_only_what_happened() -> None:
    error = errors.CellError("it broke")
    assert (str(error), error.message, error.hint) == ("it broke", "it broke", "")


def test_an_interrupt_stays_one() -> None:
    stopped = errors.TurnInterrupted("the turn was stopped")
    assert isinstance(stopped, KeyboardInterrupt)
    assert not isinstance(stopped, Exception)
    assert stopped._render_traceback_() == ["TurnInterrupted: the turn was stopped"]


def test_the_tree_is_drawn_as_it_stands() -> None:
    drawn = errors.__doc__ or ""
    defined = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, BaseException) and name != "OneLine"
    }
    assert {name for name in defined if name not in drawn} == set()
