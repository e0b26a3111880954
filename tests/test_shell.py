"""What the shell tool makes of a model's arguments, and what it keeps of a command's output."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.policy import Decision, Excess, Permission, SandboxPolicy
from codex_magic.render import words
from codex_magic.sandbox.audit import Log, read
from codex_magic.sandbox.rules import Judgement
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


def judged(tmp_path: Path, verdict: Any, **arguments: Any) -> Any:
    tool = ShellTool(judge=lambda _command: Judgement(verdict, "a reason"))
    request = TurnRequest(prompt="p", policy=SandboxPolicy(workspace=tmp_path))
    return tool.prepare("c", arguments, request)


@pytest.mark.parametrize(
    ("verdict", "asks", "forbidden", "harmless"),
    [
        (None, (), "", False),
        ("allow", (), "", True),
        ("ask", ("run what a rule asks about: a reason",), "", False),
        ("deny", (), "a rule forbids it: a reason", False),
    ],
)
def test_what_the_rules_say_counts(
    tmp_path: Path, verdict: Any, asks: tuple[str, ...], forbidden: str, harmless: bool
) -> None:
    call = judged(tmp_path, verdict, command=["make"])
    assert (call.asks, call.forbidden, call.harmless) == (asks, forbidden, harmless)


def test_what_a_call_exceeds_is_said_to_programs_too(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "other").mkdir()
    wanted = ["../other", ".git", "inside"]
    call = judged(work, "ask", command=["make"], network=True, paths=wanted)
    assert call.excess == Excess(
        network=True, folders=(tmp_path / "other",), protected=(work / ".git",), rule=True
    )
    assert judged(work, None, command=["make"], unsandboxed=True).excess == Excess(unsandboxed=True)
    assert judged(work, None, command=["make"]).excess == Excess()
    reader = prepared(work, command=["make"], mode="read-only", paths=["inside"])
    assert reader.excess == Excess(folders=(work,))


def test_a_rule_that_allows_grants_nothing_beyond_the_policy(tmp_path: Path) -> None:
    call = judged(tmp_path, "allow", command=["make"], network=True)
    assert call.asks == ("use the network, this machine's own services included",)
    assert not call.harmless


ASKED = {
    (".git",): ("write in {ws}/.git",),
    (".git/hooks/pre-commit",): ("write in {ws}/.git",),
    ("sub/dir",): (),
    (".",): (),
    ("jupyter_server_config.py", ".git"): (
        "write in {ws}/jupyter_server_config.py",
        "write in {ws}/.git",
    ),
    (".git", ".git/config"): ("write in {ws}/.git",),
    ("../beside",): ("write in {ws.parent}/beside",),
    ("link",): ("write in {ws.parent}/beside",),
    (".codex",): ("write in {ws}/.codex",),
}


@pytest.mark.parametrize("paths", ASKED)
def test_more_to_write_is_asked_for_by_name(tmp_path: Path, paths: tuple[str, ...]) -> None:
    workspace = tmp_path / "ws"
    (tmp_path / "beside").mkdir()
    workspace.mkdir()
    (workspace / "link").symlink_to(tmp_path / "beside")
    (workspace / ".codex").symlink_to(tmp_path / "beside")
    call = judged(workspace, None, command=["true"], paths=list(paths))
    assert call.asks == tuple(said.format(ws=workspace) for said in ASKED[paths])


def test_in_read_only_the_workspace_is_asked_for_as_well(tmp_path: Path) -> None:
    asks = prepared(tmp_path, command=["true"], paths=["x"], mode="read-only").asks
    assert asks == (f"write in {tmp_path}",)
    asks = prepared(tmp_path, command=["true"], paths=[".git"], mode="read-only").asks
    assert asks == (f"write in {tmp_path}", f"write in {tmp_path}/.git")


def test_each_command_is_logged_with_who_allowed_it(tmp_path: Path) -> None:
    log = Log(tmp_path / "audit.jsonl")
    (workspace := tmp_path / "ws").mkdir()
    request = TurnRequest(prompt="p", policy=SandboxPolicy(workspace=workspace))
    call = ShellTool(log=lambda: log).prepare("call-1", {"command": "echo hi"}, request)
    permission = Permission(Decision.ACCEPT, "person")
    outcome = call.run(lambda _event: None, threading.Event(), permission)
    [record] = read(log.path)
    assert record.start is not None
    assert record.end is not None
    assert (record.start.call_id, record.start.tool, record.start.command) == (
        "call-1", "shell", "echo hi",
    )  # fmt: skip
    assert (record.start.decision, record.start.decided_by) == ("accept", "person")
    assert (record.end.outcome, record.end.exit_code) == ("exit", 0)
    receipt = outcome.item.receipt
    assert (receipt.decision, receipt.decided_by) == ("accept", "person")
    assert record.start.policy_hash == receipt.policy_hash != ""
    assert record.end.stdout.sha256 == receipt.stdout_sha256


def test_what_cannot_be_logged_does_not_run(tmp_path: Path) -> None:
    (workspace := tmp_path / "ws").mkdir()
    (tmp_path / "audit.jsonl").symlink_to("/dev/null")
    log = Log(tmp_path / "audit.jsonl")
    request = TurnRequest(prompt="p", policy=SandboxPolicy(workspace=workspace))
    call = ShellTool(log=lambda: log).prepare("c", {"command": "touch ran"}, request)
    outcome = call.run(lambda _event: None, threading.Event(), Permission())
    assert outcome.item.outcome == "refused"
    assert "audit.jsonl" in outcome.text
    assert not (workspace / "ran").exists()


def test_the_model_is_told_what_was_put_aside(tmp_path: Path) -> None:
    call = prepared(tmp_path, command="mkdir .vscode; printf '\\033[31mred\\033[0m\\n'")
    outcome = call.run(lambda _event: None, threading.Event(), Permission())
    assert "note: put aside, because other programs would obey it" in outcome.text
    assert outcome.text.endswith("output:\nred\n")
    assert "\x1b[31m" in str(outcome.item.output)


@pytest.mark.parametrize("path", ["/", "~", "/etc", "/nowhere/at/all"])
def test_nobody_is_asked_for_what_would_be_refused(tmp_path: Path, path: str) -> None:
    with pytest.raises(ArgumentsError):
        prepared(tmp_path, command=["ls"], paths=[path])


def test_the_end_of_a_long_output_is_kept(tmp_path: Path) -> None:
    """Only the head streams; what is kept has the tail, also where nothing was left out."""
    call = prepared(tmp_path, command="head -c 700000 /dev/zero | tr '\\0' x; echo END")
    outcome = call.run(lambda _event: None, threading.Event(), Permission())
    assert str(outcome.item.output) == "x" * 700_000 + "END\n"
    assert outcome.text.endswith("xEND\n")
    assert len(outcome.text) < 8_000 * 4 + 200
    assert "tokens of 1 lines are left out here" in outcome.text


def test_a_killed_flood_does_not_read_as_a_persons_interrupt(tmp_path: Path) -> None:
    call = prepared(tmp_path, command=["yes"])
    outcome = call.run(lambda _event: None, threading.Event(), Permission())
    assert (outcome.item.outcome, outcome.item.status) == ("killed", "failed")
    assert "writing more than" in words.ending(outcome.item)


def test_one_long_line_is_cleaned_in_a_time_that_grows_with_it() -> None:
    """Each a hundred times what took seconds when every character was a place to begin."""
    begin = time.process_time()
    text = words.clean("x" * 5_000_000)
    assert len(text) == 5_000_000
    assert words.clean("old\rnew\nkept\r\n") == "new\nkept\n"
    assert time.process_time() - begin < 20  # it was hours
