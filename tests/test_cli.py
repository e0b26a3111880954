"""What ``codex-magic`` does with the log and with what is kept of it."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import binary, cli, folder
from codex_magic.errors import SetupError
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


def test_audit_verify_finds_a_cut_by_the_hash_that_it_said_to_keep(
    log: Log, capsys: Capture
) -> None:
    assert cli.main(["audit", "verify"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[1:-1] == ["Keep this hash to notice a later cut at the end. Then type:"]
    program, *words = shown[-1].split()
    assert (program, len(words)) == ("codex-magic", 3)
    assert cli.main(words) == 0
    lines = log.path.read_bytes().splitlines(keepends=True)
    log.path.write_bytes(b"".join(lines[:2]))
    assert cli.main(["audit", "verify"]) == 0
    capsys.readouterr()
    assert cli.main(words) == 1
    assert f"the line {words[-1]} is gone: the log was cut" in capsys.readouterr().out


def test_audit_verify_without_a_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    path = folder.data() / folder.AUDIT
    assert cli.main(["audit", "verify"]) == 0
    assert capsys.readouterr().out == f"there is no log at {path}\n"
    assert cli.main(["audit", "verify", "1" * 64]) == 1
    assert "is gone" in capsys.readouterr().out
    path.parent.mkdir(parents=True)
    path.touch()
    assert cli.main(["audit", "verify"]) == 0
    assert "Keep this hash" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["many"], "'many' is no number of commands"),
        (["0"], "'0' is no number of commands"),
        (["2", "3"], "'2 3' is no number of commands"),
        (["verify", "x"], "'x' is no hash of a line"),
        (["verify", "f" * 63], "is no hash of a line"),
    ],
)
def test_audit_takes_a_number_or_a_hash(
    log: Log, capsys: Capture, words: list[str], said: str
) -> None:
    assert cli.main(["audit", *words]) == 1
    assert said in capsys.readouterr().err


def test_a_demo_says_what_plays_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli._brain() == "the real Codex"

    def none(_environ: Any = None) -> Any:
        raise SetupError("no Codex")

    monkeypatch.setattr(binary, "candidates", none)
    assert cli._brain() == "this package's own backend without the Codex program"


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


def test_purge_removes_nothing_where_nobody_can_answer(
    log: Log, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert cli.main(["purge"]) == 1
    told = "Nobody is there to answer. To do it without being asked, add -y\nNothing was removed.\n"
    assert capsys.readouterr().out.endswith(told)
    assert log.path.exists()


def test_purge_with_nothing_to_remove_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    assert cli.main(["purge"]) == 0
    assert capsys.readouterr().out == "There is nothing to remove.\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("status", "KEY"), "codex-magic: there is a word too many"),
        (("logout", "KEY"), "codex-magic: there is a word too many"),
        (("login", "--with-api-key", "KEY"), "codex-magic: there is a word too many"),
        (
            ("login", "--backend", "KEY"),
            "codex-magic auth login: argument --backend: choose from 'auto', 'app-server',",
        ),
        (("KEY",), "codex-magic auth: argument WHAT: choose from 'login', 'logout',"),
    ],
)
def test_a_key_on_the_line_is_not_repeated(
    words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["auth", *(word.replace("KEY", "sk-not-to-be-seen") for word in words)])
    printed = capsys.readouterr().err
    assert (ended.value.code, "not-to-be-seen" in printed) == (cli.USAGE, False)
    assert printed.splitlines()[-1].startswith(said)
