"""Judgements: which parts a rule is about, and which rule wins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codex_magic.sandbox.rules import DEFAULTS, Judgement, Rule, judge, parse, programs, wraps

if TYPE_CHECKING:
    from collections.abc import Sequence

DENIED = Rule((("evil",), ("now",)), "deny", "never")
ASKED = Rule((("evil",),), "ask", "perhaps")
ALLOWED = parse(
    {"pattern": pattern, "decision": "allow"}
    for pattern in (["ls"], ["echo"], ["git", ["log", "status"]], ["true"], ["cat"])
)


def verdict(command: Sequence[str] | str, rules: Sequence[Rule] = DEFAULTS) -> str | None:
    return judge(command, rules).verdict


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["rm", "-r", "x"], "ask"),
        (["echo", "$(rm -r x)"], None),
        (["bash", "-lc", "rm -rf /"], "deny"),
        (["env", "-u", "rm", "ls"], None),
        (["sudo", "-u", "root", "env", "X=1", "rm", "-rf", "/"], "deny"),
        (["xargs", "-I", "{}", "sh", "-c", "ls {}"], "ask"),
        (["", "x"], None),
        ([], None),
    ],
)
def test_the_words_of_a_program_are_not_a_shell_text(argv: list[str], expected: str | None) -> None:
    assert verdict(argv) == expected


def test_a_judgement_names_the_command_and_the_reason() -> None:
    assert judge("ls; sudo -n evil now", [DENIED]) == Judgement("deny", "never", ("evil", "now"))
    assert judge("ls; evil later", [Rule((("evil",),), "ask")]) == Judgement(
        "ask", "a rule says ask: evil", ("evil", "later")
    )
    assert judge("ls; eval x", []) == Judgement("ask", "eval can do more than its words show")
    assert judge("ls", [DENIED]) == Judgement(None, "")


# --- allow -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ls", "allow"),
        ("ls -la x && git log -3", "allow"),
        ("/usr/bin/ls", "allow"),
        ("bash -lc 'ls | cat'", "allow"),
        ("timeout 5 ls", "allow"),
        ("echo $(ls)", "allow"),
        ("ls *.py 2>/dev/null 2>&1", "allow"),
        ("./ls", None),
        ("bin/ls", None),
        ("/opt/ls", None),
        ("/usr/bin/../../tmp/ls", None),
        ("LS", None),
        ("git -C x log", None),
        ("git push", None),
        ("ls && make", None),
        ("echo x > f", None),
        ("bash -c 'echo x >> f'", None),
        ("python -m ls", None),
        ("find . -exec ls \\;", None),
        ("X=ls; $X", "ask"),
        ("git $X", None),
        ("ls & eval x", "ask"),
        ("", None),
        ("env", None),
    ],
)
def test_an_allow_is_literal_and_must_hold_for_every_part(
    command: str, expected: str | None
) -> None:
    assert verdict(command, ALLOWED) == expected


def test_the_strictest_rule_wins_in_any_order() -> None:
    rules = [Rule((("evil",),), "allow"), ASKED, DENIED]
    for order in (rules, rules[::-1]):
        said = [verdict(c, order) for c in ("evil now", "evil", "ls; evil", "ls")]
        assert said == ["deny", "ask", "ask", None]


# --- programs --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("ls", [["ls"]]),
        (["bash", "-lc", "a && b"], [["bash", "-lc", "a && b"], ["a"], ["b"]]),
        ("env A=1 nice x", [["env", "A=1", "nice", "x"], ["nice", "x"], ["x"]]),
        ("sudo x", [["sudo", "x"], ["x"]]),
        ("echo x | xargs -n1 rm", [["echo", "x"], ["xargs", "-n1", "rm"], ["rm", "{}"]]),
        ("xargs", [["xargs"]]),
        (
            "find . -exec a {} \\; -ok b \\;",
            [
                ["find", ".", "-exec", "a", "{}", ";", "-ok", "b", ";"],
                ["a", "{}"],
                ["b"],
            ],
        ),
    ],
)
def test_programs_are_the_wrappers_and_what_they_start(
    command: Sequence[str] | str, expected: list[list[str]]
) -> None:
    assert programs(command) == expected


def test_only_what_does_nothing_but_start_another_wraps() -> None:
    words = ("env A=1 ls", "bash -c ls", "timeout 5 ls", "sudo ls", "env", "find -exec ls", "ls")
    assert [wraps(text.split()) for text in words] == [True] * 3 + [False] * 4
