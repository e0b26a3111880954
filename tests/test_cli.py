"""What ``codex-magic`` does with the log and with what is kept of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codex_magic import cli, folder
from codex_magic.sandbox.audit import Finished, Log, Started

if TYPE_CHECKING:
    from pathlib import Path

    Capture = pytest.CaptureFixture[str]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Log:
    """A log with two commands in it."""
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    log = Log(folder.data() / folder.AUDIT)
    for word in ("first", "second"):
        log.end(log.start(Started(command=("echo", word), cwd="/")), Finished(outcome="exit"))
    return log


def test_audit_prints_the_last_commands(log: Log, capsys: Capture) -> None:
    assert cli.main(["audit", "1"]) == 0
    shown = capsys.readouterr().out
    assert ("echo second" in shown, "echo first" in shown) == (True, False)


def test_audit_verify_finds_a_line_that_was_changed(log: Log, capsys: Capture) -> None:
    assert cli.main(["audit", "verify"]) == 0
    assert "is whole: 4 lines" in capsys.readouterr().out
    log.path.write_bytes(log.path.read_bytes().replace(b"first", b"other"))
    assert cli.main(["audit", "verify"]) == 1
    assert "was changed: at line 1" in capsys.readouterr().out


def test_audit_takes_a_number(log: Log, capsys: Capture) -> None:
    assert cli.main(["audit", "many"]) == 1
    assert "'many' is no number of commands" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("answer", "code", "left"), [("y", 0, False), ("", 1, True), ("n", 1, True), ("-y", 0, False)]
)
def test_purge_shows_what_it_removes_and_asks(  # noqa: PLR0913, PLR0917 - four are cases
    log: Log,
    capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
    answer: str,
    code: int,
    left: bool,
) -> None:
    monkeypatch.setattr("builtins.input", lambda _question: answer)
    words = ["purge", "--yes"] if answer == "-y" else ["purge"]
    assert cli.main(words) == code
    shown = capsys.readouterr().out
    assert str(log.path) in shown
    assert "the log of the commands" in shown
    assert "Left alone:" in shown
    assert log.path.exists() == left


def test_purge_with_nothing_to_remove_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    assert cli.main(["purge"]) == 0
    assert capsys.readouterr().out == "There is nothing to remove.\n"
