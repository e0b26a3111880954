"""The person's Codex rules, asked of the real Codex."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import binary
from codex_magic.errors import SetupError
from codex_magic.sandbox.rules import Judgement, programs
from codex_magic.sandbox.rules.codex import files, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

RULES = """
host_executable(name="git", paths=["/usr/bin/git"])
prefix_rule(pattern=["git", ["push", "fetch"]], decision="prompt", justification="network")
prefix_rule(pattern=["rm"], decision="forbidden")
prefix_rule(pattern=["ls"], decision="allow")
prefix_rule(pattern=["git", "log"], decision="allow")
"""
BROKEN = 'prefix_rule(pattern=["git", decision=\n'


@pytest.fixture(scope="module")
def codex() -> Path:
    try:
        return binary.candidates()[0].path
    except SetupError as error:
        pytest.skip(str(error))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "home" / "rules"
    folder.mkdir(parents=True)
    (folder / "default.rules").write_text(RULES)
    return folder.parent


class Counting:
    """Runs, and counts how often."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def __call__(
        self, words: list[str], *, check: bool, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        self.calls.append(words)
        return subprocess.run(words, check=check, **options)


def test_files_are_the_sorted_rules_of_the_home(home: Path) -> None:
    for name in ("a.rules", "b.txt", "z.rules"):
        (home / "rules" / name).touch()
    (home / "rules" / "d.rules").mkdir()
    assert [path.name for path in files(home)] == ["a.rules", "default.rules", "z.rules"]
    assert files(home / "nowhere") == []


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("git push x", Judgement("ask", "Codex's rules: network", ("git", "push", "x"))),
        ("rm x", Judgement("deny", "Codex's rules: a rule says forbidden: rm", ("rm", "x"))),
        ("ls -l", Judgement("allow", "Codex's rules: a rule says allow: ls", ("ls", "-l"))),
        ("cat x", Judgement(None, "", ("cat", "x"))),
        (
            "/bin/rm x",
            Judgement("deny", "Codex's rules: a rule says forbidden: rm", ("/bin/rm", "x")),
        ),
    ],
)
def test_a_command_gets_the_word_of_its_rule(
    command: str, expected: Judgement, codex: Path, home: Path
) -> None:
    assert judge([command.split()], files(home), program=codex) == expected


@pytest.mark.parametrize(
    ("command", "verdict"),
    [
        ("./rm x", "deny"),
        ("/opt/git push", "ask"),
        ("/usr/bin/git log", "allow"),
        ("/opt/git log", None),
        ("/opt/ls", None),
        ("./ls", None),
        ("ls; rm x", "deny"),
        ("ls && git push", "ask"),
        ("ls && cat x", None),
        ("bash -lc 'ls && git log'", "allow"),
        ("timeout 5 ls", "allow"),
        ("sudo ls", None),
        ("sudo env A=1 bash -c 'echo $(rm x)'", "deny"),
        ("xargs rm", "deny"),
        ("", None),
    ],
)
def test_what_is_unwrapped_is_judged_together(
    command: str, verdict: str | None, codex: Path, home: Path
) -> None:
    assert judge(programs(command), files(home), program=codex).verdict == verdict


def test_without_rules_nothing_runs() -> None:
    run = Counting()
    assert judge([["rm"]], [], program=Path("codex"), run=run) == Judgement(None, "")
    assert run.calls == []


def test_a_file_that_does_not_parse_asks_and_says_where(codex: Path, home: Path) -> None:
    broken = home / "rules" / "a.rules"
    broken.write_text(BROKEN)
    said = judge([["ls"]], files(home), program=codex)
    assert said.verdict == "ask"
    assert f"failed to parse policy at {broken}" in said.reason
    assert "a.rules:1:37" in said.reason


def test_an_answer_is_kept_until_a_file_changes(codex: Path, home: Path) -> None:
    run = Counting()
    rules = files(home)
    for _ in range(3):
        assert judge([["rm", "x"]], rules, program=codex, run=run).verdict == "deny"
    assert len(run.calls) == 1
    rules[0].write_text('prefix_rule(pattern=["rm"], decision="prompt")\n')
    os.utime(rules[0], ns=(1, 1))
    assert judge([["rm", "x"]], rules, program=codex, run=run).verdict == "ask"
    assert len(run.calls) == 2


def test_options_of_the_command_are_not_codex_options(codex: Path, home: Path) -> None:
    for argv in (["--help"], ["--rules", "x"], ["rm", "--rules", "--", "x"], ["", "x"]):
        expected = "deny" if argv[0] == "rm" else None
        assert judge([argv], files(home), program=codex).verdict == expected


def answering(code: int, stdout: str, stderr: str = "") -> Callable[..., Any]:
    return lambda words, **_: subprocess.CompletedProcess(words, code, stdout, stderr)


def failing(error: Exception) -> Callable[..., Any]:
    def run(words: Sequence[str], **options: Any) -> Any:
        raise error

    return run


@pytest.mark.parametrize("stdout", ["[]", '{"matchedRules":[1]}', '{"matchedRules":5}', "1"])
def test_an_answer_of_another_shape_is_none(stdout: str, home: Path) -> None:
    said = judge([["ls"]], files(home), program=Path("codex"), run=answering(0, stdout))
    expected = "Codex's rules gave no answer: its words were not understood"
    assert said == Judgement("ask", expected)


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        (answering(1, ""), "it failed without a word"),
        (answering(101, "", "Error: no\n\nmore"), "no"),
        (answering(0, "not JSON"), "its words were not understood"),
        (answering(0, '{"decision":"maybe"}'), "the decision 'maybe' is not known"),
        (failing(subprocess.TimeoutExpired("codex", 2)), "nothing within 2 s"),
        (failing(FileNotFoundError("no such program")), "no such program"),
        (failing(ValueError("embedded null byte")), "embedded null byte"),
    ],
)
def test_without_an_answer_it_asks(run: Callable[..., Any], reason: str, home: Path) -> None:
    expected = Judgement("ask", f"Codex's rules gave no answer: {reason}")
    assert judge([["ls"]], files(home), program=Path("codex"), run=run) == expected


def test_a_denial_stands_when_a_later_answer_fails(codex: Path, home: Path) -> None:
    run = Counting()

    def once(words: list[str], **options: Any) -> Any:
        if run.calls:
            raise OSError("gone")
        return run(words, **options)

    said = judge([["rm", "x"], ["ls"]], files(home), program=codex, run=once)
    assert said.verdict == "deny"


def test_a_rule_file_that_is_gone_asks(home: Path) -> None:
    gone = files(home)
    gone[0].unlink()
    assert judge([["ls"]], gone, program=Path("codex")).verdict == "ask"


def test_very_many_commands_are_asked_about_without_codex(home: Path) -> None:
    run = Counting()
    assert judge([["ls"]] * 1000, files(home), program=Path("codex"), run=run).verdict == "ask"
    assert run.calls == []


def test_codex_gets_no_variable_of_the_kernel(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-it")
    seen: dict[str, Any] = {}

    def run(words: list[str], **options: Any) -> Any:
        seen.update(options)
        return subprocess.CompletedProcess(words, 0, '{"matchedRules":[]}', "")

    assert judge([["ls"]], files(home), program=Path("codex"), run=run).verdict is None
    assert seen["env"] == {"PATH": "/usr/bin:/bin"}
