from __future__ import annotations

import re
import unicodedata
from collections import deque
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.approval import (
    Answer,
    ApprovalRequest,
    NobodyApprover,
    QuestionRequest,
    StdinApprover,
    card,
    describe,
    verdict,
    visible,
)
from codex_magic.policy import (
    ALLOWED_KINDS,
    APPROVAL_POLICIES,
    Allowance,
    ApprovalPolicy,
    Decision,
    Excess,
)

VERDICTS = {
    # policy, exceeds, harmless
    ("on-request", False, False): "run",
    ("on-request", False, True): "run",
    ("on-request", True, False): "ask",
    ("on-request", True, True): "ask",
    ("untrusted", False, False): "ask",
    ("untrusted", False, True): "run",
    ("untrusted", True, False): "ask",
    ("untrusted", True, True): "ask",
    ("never", False, False): "run",
    ("never", False, True): "run",
    ("never", True, False): "decline",
    ("never", True, True): "decline",
}


@pytest.mark.parametrize(
    ("options", "typed", "answer"),
    [
        (("a", "b"), "2", "b"),
        (("a", "b"), "3", "3"),
        (("2", "1"), "1", "1"),
        ((), "1", "1"),
        (("a",), "\ud83d", "\ufffd"),
    ],
)
def test_a_question_takes_an_option_by_its_number_or_any_words(
    options: tuple[str, ...], typed: str, answer: str
) -> None:
    asked = StdinApprover(lambda _question: typed).ask(QuestionRequest("Which?", options))
    assert asked == Answer(Decision.ACCEPT, "person", answer)


def test_the_table_of_verdicts() -> None:
    asked = [(p, e, h) for p in APPROVAL_POLICIES for e in (False, True) for h in (False, True)]
    found = {(p, e, h): verdict(p, exceeds=e, harmless=h) for p, e, h in asked}
    assert found == VERDICTS


@pytest.mark.parametrize("policy", APPROVAL_POLICIES)
@pytest.mark.parametrize("harmless", [False, True])
def test_what_exceeds_the_policy_never_just_runs(policy: ApprovalPolicy, harmless: bool) -> None:
    assert verdict(policy, exceeds=True, harmless=harmless) != "run"


# --- what a person reads ---------------------------------------------------------------------

HIDING = [
    *("\x00", "\x07", "\x1b", "\r", "\n", "\t", "\x7f", "\x85", "\xa0", "\xad"),
    *("\u034f", "\u061c", "\u115f", "\u180e", "\u2000", "\u200b", "\u200d", "\u200e", "\u2028"),
    *("\u2029", "\u202e", "\u2060", "\u2066", "\u2800", "\u3000", "\u3164", "\ue000", "\ufe0f"),
    *("\ufeff", "\uffa0", "\ud800", "\U000e0041", "\U000e0100"),
]


@pytest.mark.parametrize("char", HIDING, ids=ascii)
def test_a_character_that_hides_or_moves_others_is_shown_as_what_it_is(char: str) -> None:
    shown = visible(f"rm{char}x")
    assert shown == f"rm{char.encode('unicode_escape').decode()}x"
    assert shown.isascii()


@given(st.text(st.characters(exclude_categories=())))
def test_whatever_comes_is_one_line_without_anything_invisible(text: str) -> None:
    shown = visible(text)
    assert shown.splitlines() in ([], [shown])
    assert {unicodedata.category(char) for char in shown}.isdisjoint(
        {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    )
    assert visible(shown) == shown


@pytest.mark.parametrize(
    "text", ["ls -la | wc", "größe 日本語 Ελλάδα", "a\\nb", "€ … “x” ½", "🐧", "e\u0301"]
)
def test_ordinary_text_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text


REQUEST = ApprovalRequest(
    command="curl \u202ehttp://x\n[y]es",
    cwd="/w\n",
    reason="to look\x1b[2J",
    asks=("use the network", "write in /x\n"),
    sandbox="workspace-write",
)
QUESTION = """\
Codex wants to run:
    curl \\u202ehttp://x\\n[y]es
in /w\\n, sandbox workspace-write, no network
It asks to use the network.
It asks to write in /x\\n.
Its reason: to look\\x1b[2J"""


def test_every_line_of_the_question_is_ours() -> None:
    assert describe(REQUEST) == QUESTION


def asked(**known: str) -> list[str]:
    return describe(replace(REQUEST, **{"command": "ls", "reason": "", **known})).split("\n")


def test_spaces_push_nothing_out_of_sight() -> None:
    lines = asked(command="ls" + " " * 5000 + "; rm -rf .   x", reason="a    b", cwd="/w     /x")
    assert lines[0] == "Codex wants to run (a long command: 5,016 characters):"
    assert lines[1] == "    ls␠\u00d75000; rm -rf .   x"
    assert lines[2] == "in /w␠\u00d75/x, sandbox workspace-write, no network"
    assert lines[-1] == "Its reason: a␠\u00d74b"


def test_a_long_reason_is_cut_and_says_so() -> None:
    assert asked(reason="x" * 500)[-1] == "Its reason: " + "x" * 500
    assert asked(reason="x" * 1600)[-1] == (
        "Its reason: " + "x" * 500 + " [1,100 characters left out]"
    )


@given(st.text(min_size=1, max_size=500), st.integers(1, 30))
def test_a_command_is_shown_to_its_end_and_looks_like_none_of_our_lines(
    text: str, times: int
) -> None:
    first, *lines = asked(command=text * times)
    end = next(i for i, line in enumerate(lines) if not line.startswith("    "))
    shown = "".join(line[4:] for line in lines[:end])
    assert lines[end] == "in /w\\n, sandbox workspace-write, no network"
    assert re.sub(r"␠\u00d7(\d+)", lambda found: " " * int(found[1]), shown) == visible(
        text * times
    )
    assert ("characters)" in first) == (len(text * times) > 2000)


# --- the dialogue ----------------------------------------------------------------------------

YES = Answer(Decision.ACCEPT, "person")
NO = Answer(Decision.DECLINE, "person", "the person said no")
STOP = Answer(Decision.CANCEL, "person", "the person stopped the turn")
DIALOGUES: list[tuple[list[str], Answer]] = [
    (["y"], YES),
    (["yes"], YES),
    (["  Y "], YES),
    (["n"], NO),
    (["No"], NO),
    (["n use the copy in data/ "], Answer(Decision.DECLINE, "person", "use the copy in data/")),
    (["s"], STOP),
    (["stop"], STOP),
    (["", "y"], YES),
    (["", "  ", "maybe", "yeah", "yy", "n"], NO),
    (["no, yes", "n"], NO),
]


@pytest.mark.parametrize(("typed", "answer"), DIALOGUES)
def test_a_dialogue_ends_with_one_of_three_answers(typed: list[str], answer: Answer) -> None:
    left, asked = deque(typed), []

    def read(question: str) -> str:
        asked.append(question)
        return left.popleft()

    assert StdinApprover(read).ask(REQUEST) == answer
    assert not left
    first = f"{QUESTION}\n[y]es, once / [n]o, and why / [s]top the turn: "
    assert asked == [first, *["y, n or s: "] * (len(typed) - 1)]


@given(st.text().filter(lambda text: text.split()[:1] not in (["y"], ["yes"])))
def test_only_yes_allows(typed: str) -> None:
    answers = deque([typed, "n"])
    decision = StdinApprover(lambda _question: answers.popleft()).ask(REQUEST).decision
    assert decision is not Decision.ACCEPT or typed.strip().lower().split()[0] in ("y", "yes")


@pytest.mark.parametrize("end", [EOFError, KeyboardInterrupt])
def test_an_end_of_input_is_no_answer(end: type[BaseException]) -> None:
    def read(_question: str) -> str:
        raise end

    with pytest.raises(end):
        StdinApprover(read).ask(REQUEST)


def test_where_nobody_is_the_answer_is_no() -> None:
    said = (
        "nobody can be asked here: run the notebook with a person at it, allow more with -s or -a "
        "in the cell's first line, or start it with codex-magic run --allow"
    )
    assert NobodyApprover().ask(REQUEST) == Answer(Decision.DECLINE, "nobody", said)


W, D = Path("/w"), Path("/data")
EVERYTHING = Allowance(kinds=frozenset(ALLOWED_KINDS), folders=(W, D))
NETWORK, RULES = (Allowance(kinds=frozenset({kind})) for kind in ("network", "rules"))
BOTH = Allowance(kinds=frozenset({"network", "rules"}))
FOLDER = Allowance(folders=(D,))

BEFOREHAND = [
    (NETWORK, Excess(network=True), True),
    (NETWORK, Excess(network=True, rule=True), False),
    (BOTH, Excess(network=True, rule=True), True),
    (RULES, Excess(rule=True), True),
    (RULES, Excess(unsandboxed=True), False),
    (EVERYTHING, Excess(unsandboxed=True), True),
    (FOLDER, Excess(folders=(D / "in" / "it",)), True),
    (FOLDER, Excess(folders=(D, W)), False),
    (FOLDER, Excess(folders=(Path("/database"),)), False),
    (FOLDER, Excess(folders=(D,), network=True), False),
    # A folder is no word on what other programs obey in it; that has to be named itself.
    (EVERYTHING, Excess(protected=(W / ".git",)), False),
    (EVERYTHING, Excess(folders=(D / "sub" / ".git",)), False),
    (Allowance(folders=(W / ".git",)), Excess(protected=(W / ".git",)), True),
    # Asked by `-a untrusted` although nothing exceeds; and what only a person can judge.
    (EVERYTHING, Excess(), False),
    (EVERYTHING, None, False),
    (Allowance(), Excess(network=True), False),
]


@pytest.mark.parametrize(("allowed", "excess", "runs"), BEFOREHAND)
def test_where_nobody_is_what_was_allowed_beforehand_runs(
    allowed: Allowance, excess: Excess | None, runs: bool
) -> None:
    answer = NobodyApprover(allowed).ask(replace(REQUEST, excess=excess))
    expected = (Decision.ACCEPT, "allowance") if runs else (Decision.DECLINE, "nobody")
    assert (answer.decision, answer.by) == expected


def test_no_question_is_answered_beforehand() -> None:
    asked = NobodyApprover(EVERYTHING).ask(QuestionRequest("Which?"))
    assert (asked.decision, asked.by) == (Decision.DECLINE, "nobody")


TIMES = "\u00d7"
CODE = "@@ -1 +1 @@\n def f():\n+    with open(path):\n+\treturn  None\n-        x = 1      # gap\n"


def test_code_in_a_diff_keeps_its_indentation_and_hides_nothing() -> None:
    shown = card(
        ApprovalRequest(
            command=CODE + "+" + " " * 200 + "far\u202e",
            cwd="/w",
            reason="",
            asks=(),
            sandbox="s",
            patch=True,
        )
    )
    assert shown["command"].split("\n") == [
        "@@ -1 +1 @@",
        " def f():",
        "+    with open(path):",
        "+→   return  None",
        f"-        x = 1␠{TIMES}6# gap",
        f"+␠{TIMES}200far\\u202e",
    ]
