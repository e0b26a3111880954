"""Rules as they are written: what is read, and how a wrong one is named."""

from __future__ import annotations

from typing import Any

import pytest

from codex_magic.errors import SetupError
from codex_magic.sandbox.rules import Rule, load, parse


def test_rules_are_read_from_toml_in_codex_words_too() -> None:
    text = """
    [[rule]]
    pattern = ["git", ["push", "fetch"]]
    decision = "prompt"
    reason = "network"
    match = ["git -C x push", ["git", "fetch"], "bash -c 'git push'"]
    not_match = ["git log"]

    [[rule]]
    pattern = ["rm"]
    decision = "forbidden"
    """
    assert load(text) == (
        Rule(
            (("git",), ("push", "fetch")),
            "ask",
            "network",
            ("git -C x push", ("git", "fetch"), "bash -c 'git push'"),
            ("git log",),
        ),
        Rule((("rm",),), "deny"),
    )
    assert load("") == ()


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"decision": "ask"}, "Rule 1 has no pattern of words"),
        ({"pattern": [], "decision": "ask"}, "Rule 1 has no pattern of words"),
        ({"pattern": "ls", "decision": "ask"}, "Rule 1 has no pattern of words"),
        ({"pattern": ["ls", []], "decision": "ask"}, "Rule 1 has no pattern of words"),
        ({"pattern": ["ls", [1]], "decision": "ask"}, "Rule 1 has no pattern of words"),
        ({"pattern": ["ls"]}, "Rule 1 has no decision"),
        ({"pattern": ["ls"], "decision": "no"}, "Rule 1 decides 'no'"),
        ({"pattern": ["ls"], "decision": ["ask"]}, "Rule 1 decides ['ask']"),
        ({"pattern": ["ls"], "decision": "ask", "x": 1}, "Rule 1 has the unknown key 'x'"),
        ({"pattern": ["ls"], "decision": "ask", "reason": 1}, "Rule 1 has a reason that is not"),
        (
            {"pattern": ["ls"], "decision": "ask", "match": "ls"},
            "Rule 1 has an example under match",
        ),
        ({"pattern": ["ls"], "decision": "ask", "match": [[1]]}, "Rule 1 has an example under"),
        (
            {"pattern": ["ls"], "decision": "ask", "match": ["cat"]},
            "Rule 1 (a rule says ask: ls) does not hit its example 'cat'",
        ),
        (
            {"pattern": ["ls"], "decision": "deny", "not_match": [["sudo", "ls"]]},
            "Rule 1 (a rule says deny: ls) hits its example 'sudo ls'",
        ),
        (
            {"pattern": ["ls"], "decision": "allow", "match": ["./ls"]},
            "Rule 1 (a rule says allow: ls) does not hit its example './ls'",
        ),
    ],
)
def test_a_wrong_rule_is_named_with_what_to_change(entry: dict[str, Any], message: str) -> None:
    with pytest.raises(SetupError) as caught:
        parse([entry])
    assert str(caught.value).startswith(message)
    assert caught.value.hint


@pytest.mark.parametrize("text", ["rule = 1", "x", "[[rules]]\npattern=['ls']", "rule = [1]"])
def test_a_text_without_rules_is_named(text: str) -> None:
    with pytest.raises(SetupError):
        load(text)
