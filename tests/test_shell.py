"""What the shell tool makes of a model's arguments, and what it keeps of a command's output."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.policy import SandboxPolicy
from codex_magic.render import words
from codex_magic.tools.base import ArgumentsError
from codex_magic.tools.shell import ShellTool
from codex_magic.turn import TurnRequest

if TYPE_CHECKING:
    from pathlib import Path


def prepared(folder: Path, **arguments: Any) -> Any:
    policy = SandboxPolicy(mode=arguments.pop("mode", "workspace-write"), workspace=folder)
    request = TurnRequest(prompt="p", policy=policy, timeout_s=arguments.pop("allowed_s", 120.0))
    return ShellTool().prepare("c", arguments, request)


@pytest.mark.parametrize(
    "command",
    [
        ["ls", "-l"],
        ["cat", "a b"],
        "ls -l",
        "cat a.csv | head -3 | wc -l",
    ],
)
def test_what_only_looks_is_harmless(tmp_path: Path, command: Any) -> None:
    assert prepared(tmp_path, command=command).harmless


@pytest.mark.parametrize(
    "command",
    [
        ["uniq", "a", "b"],
        ["file", "-C", "-m", "magic"],
        ["find", ".", "-delete"],
        ["python", "-c", "1"],
        ["./ls"],
        "cat\x0b/evil",
        "cat\xa0x",
        "ls > x",
        "ls; rm x",
        "ls & rm x",
        "ls $(rm x)",
        "ls | tee x",
        "ls\nrm x",
        "",
        "|",
    ],
)
def test_what_can_do_more_is_not(tmp_path: Path, command: Any) -> None:
    assert not prepared(tmp_path, command=command).harmless


def test_a_model_lowers_a_persons_time_and_never_raises_it(tmp_path: Path) -> None:
    def wall_s(**arguments: Any) -> float:
        return float(prepared(tmp_path, command=["ls"], **arguments)._limits.wall_s)

    assert wall_s(timeout_ms=500) == 0.5
    assert wall_s(timeout_ms=10**9) == 120
    assert wall_s(allowed_s=900.0) == 900
    assert wall_s(allowed_s=2.0, timeout_ms=5000) == 2


@pytest.mark.parametrize("path", ["/", "~", "/etc", "/nowhere/at/all"])
def test_nobody_is_asked_for_what_would_be_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ArgumentsError):
        prepared(tmp_path, command=["ls"], paths=[path])


def test_the_end_of_a_long_output_is_kept(tmp_path: Path) -> None:
    """Only the head streams; what is kept has the tail, also where nothing was left out."""
    call = prepared(tmp_path, command="head -c 700000 /dev/zero | tr '\\0' x; echo END")
    outcome = call.run(lambda _event: None, threading.Event())
    assert str(outcome.item.output) == "x" * 700_000 + "END\n"
    assert outcome.text.endswith("xEND\n") or outcome.text.endswith("xEND")


def test_a_killed_flood_does_not_read_as_a_persons_interrupt(tmp_path: Path) -> None:
    outcome = prepared(tmp_path, command=["yes"]).run(lambda _event: None, threading.Event())
    assert (outcome.item.outcome, outcome.item.status) == ("killed", "failed")
    assert "writing more than" in words.ending(outcome.item)


def test_one_long_line_is_cleaned_in_a_time_that_grows_with_it() -> None:
    """Each a hundred times what took seconds when every character was a place to begin."""
    begin = time.process_time()
    text = words.clean("x" * 5_000_000)
    assert len(text) == 5_000_000
    assert words.clean("old\rnew\nkept\r\n") == "new\nkept\n"
    assert time.process_time() - begin < 20  # it was hours
