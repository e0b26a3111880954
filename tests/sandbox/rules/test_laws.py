"""Laws of the rules: no wrapping, and no further rule, makes a verdict laxer."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.sandbox.rules import DEFAULTS, STRICTNESS, Rule, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

DENIED = Rule((("evil",), ("now",)), "deny", "never")
ASKED = Rule((("evil",),), "ask", "perhaps")


def verdict(command: Sequence[str] | str, rules: Sequence[Rule] = DEFAULTS) -> str | None:
    return judge(command, rules).verdict


WRAPPINGS: list[Callable[[str], str]] = [
    lambda text: f"bash -lc {shlex.quote(text)}",
    lambda text: f"sh -c {shlex.quote(text)} name",
    lambda text: f"/bin/bash -e -o pipefail -c {shlex.quote(text)}",
    lambda text: f"sudo -u bob sh -c {shlex.quote(text)}",
    lambda text: f"env -i A=1 -u B sh -c {shlex.quote(text)}",
    lambda text: f"timeout -s KILL 5 nice -n 3 bash -c {shlex.quote(text)}",
    lambda text: f"find . -name x -exec sh -c {shlex.quote(text)} \\;",
    lambda text: f"xargs -n 1 sh -c {shlex.quote(text)}",
    lambda text: f"busybox sh -c {shlex.quote(text)}",
    lambda text: f"ls && {text}",
    lambda text: f"{text}\nls",
    lambda text: f"ls | {text} | cat",
    lambda text: f"({text})",
    lambda text: f"{{ {text}\n}} > f 2>&1",
    lambda text: f"if true\nthen {text}\nfi",
    lambda text: f"for f in *\ndo {text}\ndone",
    lambda text: f"while ! {text}\ndo ls\ndone",
    lambda text: f"echo $({text}\n)",
    lambda text: f'echo "$({text}\n)"',
    lambda text: f"cat <<END\n$({text})\nEND\n",
    lambda text: f"cat <({text}\n)",
    lambda text: f"X=1 Y=$({text}\n) ls",
    lambda text: f"time -p {text}",
    lambda text: f"time A=1 {text}",
    lambda text: f"echo ${{x:-$({text}\n)}}",
]  # fmt: skip
EVIL = [
    "evil now",
    "./evil now",
    "/x/evil -v now",
    "sudo evil now",
    "'ev'il \"now\"",
    "A=1 evil now",
]
nests = st.tuples(st.sampled_from(EVIL), st.lists(st.sampled_from(WRAPPINGS), max_size=6))


def nested(nest: tuple[str, list[Callable[[str], str]]]) -> str:
    text, wrappings = nest
    for wrap in wrappings:
        text = wrap(text)
    return text


@given(nests)
def test_no_wrapping_makes_a_denied_or_asked_command_allowed(
    nest: tuple[str, list[Callable[[str], str]]],
) -> None:
    text = nested(nest)
    allowing = [Rule(((name,),), "allow") for name in ("evil", "bash", "sh", "ls", "cat", "echo")]
    for rule in (DENIED, ASKED):
        assert verdict(text, [*allowing, rule]) in {"ask", "deny"}
        assert verdict(shlex.split(f"bash -c {shlex.quote(text)}"), [rule]) in {"ask", "deny"}


@pytest.mark.parametrize("wrap", WRAPPINGS, ids=[wrap("X") for wrap in WRAPPINGS])
@pytest.mark.parametrize("text", EVIL)
def test_a_denied_command_stays_denied_behind_one_wrapping(
    text: str, wrap: Callable[[str], str]
) -> None:
    assert verdict(wrap(text), [DENIED]) == "deny"


words = st.sampled_from([
    "evil", "now", "ls", "-r", "-rf", "--", "env", "sudo", "sh", "-c", "A=1", "xargs", "-I",
    "{}", "find", "-exec", ";", "git", "push", "-C", "$X", "uv", "run", "python", "-m", "-S",
    "/", "rm", "timeout", "5", "+x", "-",
])  # fmt: skip
argvs = st.lists(words | st.text(max_size=4), max_size=8)
pieces = st.sampled_from(
    ["$(", "<<E\n", "\nE\n", "<(", "&>", "evil now", "sh -c ", "if ", "for x in ", " do ", "time "]
) | st.sampled_from(
    ["[[ ", "${x:-", "$((1", "exec ", "export ", "2>", *"'\"`$(){}<>|&;\n \\#~*?[]!="]
)
texts = st.lists(pieces | words | st.text(max_size=3), max_size=16).map("".join)
verdicts = st.sampled_from(["allow", "ask", "deny"])
elements = st.lists(words, min_size=1, max_size=2).map(tuple)
rules = st.builds(Rule, st.lists(elements, min_size=1, max_size=3).map(tuple), verdicts)


@given(argvs | texts, st.lists(rules, max_size=4), rules)
def test_a_further_rule_never_makes_a_verdict_laxer(
    command: list[str] | str, some: list[Rule], more: Rule
) -> None:
    before, after = verdict(command, some), verdict(command, [more, *some])
    assert STRICTNESS.index(after) >= STRICTNESS.index(before)


@given(argvs, st.sampled_from([["env"], ["nice", "-n", "3"], ["timeout", "5"], ["sudo", "-n"]]))
def test_a_wrapper_in_front_never_makes_a_verdict_laxer(
    argv: list[str], wrapper: list[str]
) -> None:
    bare = verdict(argv, [DENIED, ASKED, *DEFAULTS])
    if argv and bare is not None and not argv[0].startswith("-") and "=" not in argv[0]:
        assert verdict([*wrapper, *argv], [DENIED, ASKED, *DEFAULTS]) in {"ask", "deny"}


@pytest.mark.parametrize(
    "command",
    [
        "(" * 5000,
        "$(" * 5000,
        "`" * 5001,
        "a;" * 5000,
        "<<E\n" * 3000,
        "sudo " * 5000,
        "${x:-" * 5000,
    ],
)
def test_long_and_deep_texts_are_judged_too(command: str) -> None:
    assert verdict(command, [DENIED]) in {"ask", None}
    assert verdict(command.split(), [DENIED]) in {"ask", None}
