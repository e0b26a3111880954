"""The log of what ran, as a table."""

from __future__ import annotations

import re
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import ledger
from codex_magic.ledger import COLUMNS, Table, rows, table
from codex_magic.sandbox.audit import End, Record, Start

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def start(command: str | tuple[str, ...] = ("ls", "a b"), **said: Any) -> Start:
    plain: dict[str, Any] = {
        "id": "1",
        "at": "2025-11-21T09:30:00.123Z",
        "pid": 1,
        "cwd": "/notebooks",
        "policy": {"mode": "workspace-write", "network": False},
        "level": "full",
        "decision": "accept",
        "decided_by": "person",
    }
    return Start(command=command, **(plain | said))


END = End(id="1", at="2025-11-21T09:30:01.000Z", outcome="exit", exit_code=0, duration_s=0.25)


def test_a_record_is_a_row_with_the_same_names_whatever_is_known() -> None:
    known = {
        "time": "2025-11-21 09:30:00",
        "command": "ls 'a b'",
        "folder": "/notebooks",
        "outcome": "exit",
        "exit": 0,
        "duration_s": 0.25,
        "level": "full",
        "decision": "accept by person",
        "network": "off",
        "why": "",
    }
    nothing = dict.fromkeys(COLUMNS)
    open_end = {"outcome": "no end yet", "exit": None, "duration_s": None, "why": None}
    only_end = {"time": "2025-11-21 09:30:01", "outcome": "exit", "exit": 0, "duration_s": 0.25}
    only_end["why"] = ""
    records = [Record(start(), END), Record(start()), Record(end=END), Record(unreadable=2)]
    assert rows(records) == [
        known,
        known | open_end,
        nothing | only_end,
        nothing | {"outcome": "unreadable", "why": "2 lines of the log cannot be read"},
    ]


@pytest.mark.parametrize(
    ("policy", "network"),
    [
        ({"mode": "read-only"}, "off"),
        ({"mode": "read-only", "network": True}, "on"),
        ({"mode": "full-access", "network": False}, "on"),
        ({"mode": "external"}, "on"),
        ({}, "off"),
    ],
)
def test_the_network_is_on_where_the_policy_lets_it_be(
    policy: dict[str, Any], network: str
) -> None:
    assert rows([Record(start(policy=policy))])[0]["network"] == network


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("rm -rf data\rls", r"rm -rf data\rls"),
        ("ls\n  \x1b[2K\u202e", r"ls\n \x1b[2K\u202e"),
        ("ls" + " " * 300 + "; rm x", "ls ; rm x"),
        (("cat", "caf\udce9"), r"cat 'caf\udce9'"),
        ("x" * 500, "x" * 198 + " …"),
    ],
)
def test_a_command_stands_on_one_line_and_hides_nothing(command: Any, shown: str) -> None:
    assert rows([Record(start(command))])[0]["command"] == shown


def test_a_table_is_aligned_text() -> None:
    short = Record(start("ls"), END)
    failed = End(id="2", at="", outcome="timeout", duration_s=120.0, message="too long")
    assert repr(Table(tuple(rows([short, Record(start("sleep 999"), failed)])))) == (
        "time            command    folder      outcome  exit  duration_s  level  decision"
        "          network  why\n"
        "11-21 09:30:00  ls         /notebooks  exit     0     0.250       full   accept by person"
        "  off\n"
        "11-21 09:30:00  sleep 999  /notebooks  timeout        120.000     full   accept by person"
        "  off      too long"
    )


def test_a_table_fits_on_120_columns_and_cuts_what_is_long() -> None:
    long = {"command": "python " + "x" * 80, "cwd": "/a/long/way/to/the/last-folder"}
    killed = End(id="1", at="", outcome="killed", duration_s=1e5, message="killed " + "y" * 80)
    shown = repr(Table(tuple(rows([Record(start(**long), killed), Record(start("ls"), END)]))))
    header, first, second = shown.split("\n")
    assert max(map(len, (header, first, second))) <= ledger.LINE_CHARS
    assert header.split() == list(COLUMNS)
    cut = dict(zip(COLUMNS, re.split(" {2,}", first), strict=False))
    assert cut["command"].startswith("python xxx")
    assert cut["folder"].startswith("…")
    assert long["cwd"].endswith(cut["folder"][1:])
    assert "killed y" in first
    assert first.endswith("…")
    assert second.split()[2] == "ls"
    odd = repr(Table(tuple(rows([Record(start(level="z" * 90, **long), killed)])))).split("\n")
    assert max(map(len, odd)) <= ledger.LINE_CHARS


def test_a_table_on_which_everything_is_short_is_not_cut() -> None:
    short = start("ls", cwd="/a", decision="rule", decided_by="")
    assert "…" not in repr(Table(tuple(rows([Record(short, END)]))))


def test_a_patch_is_called_by_its_name() -> None:
    script = ("/bin/sh", "-c", "folder=$(mktemp -d)", "codex")
    assert [
        row["command"]
        for row in rows([Record(start(script, tool=t)) for t in ("apply_patch", "shell")])
    ] == ["apply_patch", "/bin/sh -c 'folder=$(mktemp -d)' codex"]


@pytest.mark.parametrize(
    ("message", "shown"),
    [("", ""), ("killed for  using\x1b[2K more", r"killed for using\x1b[2K more")],
)
def test_why_a_command_ended_stands_on_one_line(message: str, shown: str) -> None:
    ended = End(id="1", at="", outcome="killed", message=message)
    assert rows([Record(start(), ended)])[0]["why"] == shown


def test_a_table_is_markdown_in_which_nothing_is_rendered() -> None:
    evil = "a | <img src=x> `b` *c* _d_ [e](f) http://g \\"
    header, line, row = Table(tuple(rows([Record(start(evil), END)])))._repr_markdown_().split("\n")
    assert header == f"| {' | '.join(COLUMNS)} |"
    assert line == "|" + " --- |" * len(COLUMNS)
    import html

    assert html.unescape(row) == (
        f"| 2025-11-21 09:30:00 | {evil} | /notebooks | exit | 0 | 0.250 | full | accept by person"
        " | off |  |"
    )
    cells = row[2:-2].split(" | ")
    assert len(cells) == len(COLUMNS)
    assert [char for char in "|<>`*_[]():/\\" if char in "".join(cells)] == []


def test_an_empty_table_says_so() -> None:
    empty = Table(())
    assert (repr(empty), empty._repr_markdown_()) == ("no command has run yet",) * 2


# --- with pandas and without -----------------------------------------------------------------

PANDAS = """
class DataFrame:
    def __init__(self, rows, columns):
        self.said = rows, columns
    def astype(self, kinds):
        self.kinds = kinds
        return self
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder to import from; the interpreter's own pandas, if any, is out of sight."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "pandas"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    sys.modules.pop("pandas", None)


def test_without_pandas_it_is_a_table_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pandas", raising=False)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert table([Record(start(), END)]) == Table(tuple(rows([Record(start(), END)])))


def test_with_pandas_it_is_a_frame_of_the_same_rows(folder: Path) -> None:
    (folder / "pandas.py").write_text(PANDAS)
    frame = table([Record(start(), END)])
    assert type(frame).__name__ == "DataFrame"
    assert frame.said == (rows([Record(start(), END)]), list(COLUMNS))
    assert frame.kinds == {"exit": "Int64", "duration_s": "float64"}


def test_a_pandas_planted_in_the_working_folder_is_not_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "pandas.py").write_text("raise SystemExit('planted')")
    monkeypatch.chdir(folder)
    assert type(table([])) is Table
    assert "pandas" not in sys.modules


def test_looking_at_the_log_imports_pandas_only_then() -> None:
    assert "pandas" not in vars(ledger)
