"""One command through the whole stack: from the model's words to what the model reads of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from codex_magic.approval import Answer, NobodyApprover, StdinApprover
from codex_magic.policy import Allowance, Decision
from codex_magic.sandbox import probe
from codex_magic.testing import call, js, pause_at, say, tool_outputs
from codex_magic.tools.shell import OUTPUT_TOKENS

YES = Answer(Decision.ACCEPT, "person")
NETWORK = "use the network, this machine's own services included"


@pytest.fixture(autouse=True)
def sandboxed() -> None:
    if probe().level == "none":
        pytest.skip(probe().reason)


def shell(stage: Any, shape: str, person: Any = None, /, **arguments: Any) -> Any:
    """Run one call; return the item and what the model was told."""
    options = {
        name: arguments.pop(name) for name in ("mode", "approval", "timeout_s") if name in arguments
    }
    model = stage.model(call("shell", **arguments), say("done"))
    kernel = stage.kernel(model, shape)
    turn = kernel.ask(person=person, **options)
    assert (turn.status, turn.final_response) == ("completed", "done")
    (told,) = tool_outputs(model.requests[-1])
    return turn.items[1], re.sub(r"duration: [\d.]+ s", "duration: T", told)


@pytest.mark.parametrize(
    ("arguments", "output", "told"),
    [
        (
            {"command": ["printf", "%s|", "a b", "$HOME"]},
            "a b|$HOME|",
            "outcome: exit 0\nduration: T\noutput:\na b|$HOME|",
        ),
        (
            {"command": "echo one | tr a-z A-Z; exit 3"},
            "ONE\n",
            "outcome: exit 3\nduration: T\noutput:\nONE\n",
        ),
        (
            {"command": "cat inner.txt", "workdir": "inner"},
            "inside",
            "outcome: exit 0\nduration: T\noutput:\ninside",
        ),
        ({"command": ["true"]}, "", "outcome: exit 0\nduration: T\noutput: none"),
        (
            {"command": "echo so far; sleep 600", "timeout_ms": 300},
            "so far\n",
            "outcome: timeout - killed after 0.3 s, the time it was given\nduration: T\noutput:\nso far\n",
        ),
        (
            {"command": "echo so far; sleep 600", "timeout_s": 0.4, "timeout_ms": 99_000},
            "so far\n",
            "outcome: timeout - killed after 0.4 s, the time it was given\nduration: T\noutput:\nso far\n",
        ),
    ],
)  # fmt: skip
def test_a_command_and_what_the_model_reads(
    stage: Any, shape: str, arguments: Any, output: str, told: str
) -> None:
    stage.file("workspace/inner/inner.txt", "inside")
    item, text = shell(stage, shape, **arguments)
    assert (str(item.output), text) == (output, told)


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "missing required field `command`"),
    ({"command": 7}, "got `int` - at `$.command`"),
    ({"command": ["ls", 7]}, "got `int`"),
    ({"command": "ls", "timeout_ms": 0}, "`$.timeout_ms`"),
    ({"command": "ls", "sudo": True}, "unknown field `sudo`"),
    ({"command": "ls", "workdir": "~nobody-of-this-name/x"}, "home directory"),
    ({"command": "ls", "workdir": "a\0b"}, "null"),
    ({"command": "ls", "workdir": "not/there"}, "not/there"),
    ({"command": "ls", "paths": ["a\0b"]}, "null"),
    ({"command": "ls", "paths": ["~nobody-of-this-name/x"]}, "home directory"),
    ({"command": []}, "empty"),
    ({"command": ["a\0b"]}, "NUL"),
]


def test_wrong_arguments_are_answered(stage: Any, shape: str) -> None:
    model = stage.model(*(call("shell", **words) for words, _ in WRONG), say("done"))
    turn = stage.kernel(model, shape).ask()
    assert turn.final_response == "done"
    assert [item.status for item in turn.items[1:-1]] == ["failed"] * len(WRONG)
    told = tool_outputs(model.requests[-1])
    assert [
        (text.startswith("outcome: refused - "), why.lower() in text.lower())
        for text, (_, why) in zip(told, WRONG, strict=True)
    ] == [(True, True)] * len(WRONG), told


def test_arguments_that_are_no_object_are_answered(stage: Any) -> None:
    model = stage.model(js("text(await tools.shell('ls'))"), say("done"))
    turn = stage.kernel(model, "gpt-6.1-sol").ask()
    assert (turn.final_response, turn.notices) == ("done", ())


@pytest.mark.parametrize(
    ("more", "asks"),
    [
        ({"network": True}, (NETWORK,)),
        ({"paths": ["../outside"]}, ("write in {room}/outside",)),
        ({"paths": ["../outside", "inner"], "network": True}, (NETWORK, "write in {room}/outside")),
        ({"unsandboxed": True}, ("run without any sandbox",)),
    ],
)
def test_what_exceeds_the_sandbox_asks_and_then_has_it(
    stage: Any, shape: str, people: Any, more: Any, asks: Any
) -> None:
    stage.place("outside")
    outside = f"{stage.room}/outside"
    asks = tuple(ask.format(room=stage.room) for ask in asks)
    probing = f"touch {outside}/made 2>/dev/null && echo wrote; wc -l < /proc/net/dev"
    person = people(YES)
    words = {"command": probing, "justification": "to see"}
    item, text = shell(stage, shape, person, **words, **more)
    (asked,) = person.asked
    assert (asked.command, asked.cwd, asked.reason, asked.asks, asked.sandbox) == (
        probing,
        str(stage.folder),
        "to see",
        asks,
        "workspace-write",
    )
    assert (item.asked, item.decision, item.status) == (asks, "accept by person", "completed")
    wrote = "wrote" in str(item.output)
    assert wrote == ("paths" in more or "unsandboxed" in more)
    assert item.receipt.network == ("network" in more or "unsandboxed" in more)
    assert text.startswith("outcome: exit 0")


def test_a_read_only_turn_may_be_allowed_to_write(stage: Any, shape: str, people: Any) -> None:
    person = people(YES)
    outside = stage.place("outside")
    words = {"command": ["touch", f"{outside}/made"], "paths": [str(outside)]}
    item, _ = shell(stage, shape, person, mode="read-only", **words)
    assert (item.exit_code, (outside / "made").exists()) == (0, True)
    assert person.asked[0].asks == (f"write in {stage.folder}", f"write in {outside}")


@pytest.mark.parametrize("more", [{"network": True}, {"paths": [""]}, {"unsandboxed": True}])
def test_a_no_with_its_reason_reaches_the_model(
    stage: Any, shape: str, people: Any, more: Any
) -> None:
    person = people(Answer(Decision.DECLINE, "person", "use the cached copy"))
    if "paths" in more:
        more = {"paths": [str(stage.place("outside"))]}
    item, text = shell(stage, shape, person, command=["touch", "ran"], **more)
    assert text == "outcome: declined - use the cached copy"
    assert (item.status, item.decision, item.message) == (
        "declined",
        "decline by person",
        "use the cached copy",
    )
    assert not (stage.folder / "ran").exists()


def test_a_typed_answer_is_asked_for_until_it_is_one(stage: Any, shape: str) -> None:
    typed = iter(["", "maybe", "n use the cached copy"])
    questions: list[str] = []

    def read(question: str) -> str:
        questions.append(question)
        return next(typed)

    _, text = shell(stage, shape, StdinApprover(read), command=["curl", "x"], network=True)
    assert text == "outcome: declined - use the cached copy"
    assert len(questions) == 3
    assert "curl x" in questions[0]


def test_a_person_may_stop_the_turn_when_asked(stage: Any, shape: str, people: Any) -> None:
    model = stage.model(call("shell", command=["touch", "ran"], network=True), say("next"))
    kernel = stage.kernel(model, shape)
    stop = Answer(Decision.CANCEL, "person", "the person stopped the turn")
    turn = kernel.ask(person=people(stop))
    assert kernel.page.kept == kernel.session.last == turn
    assert (turn.status, turn.items[1].status) == ("interrupted", "declined")
    assert not (stage.folder / "ran").exists()
    assert kernel.ask().final_response == "next"


def test_nobody_declines_and_says_so(stage: Any, shape: str) -> None:
    item, text = shell(stage, shape, NobodyApprover(), command=["curl", "x"], network=True)
    assert text.startswith("outcome: declined - nobody can be asked here")
    assert item.decision == "decline by nobody"


def test_nobody_runs_what_was_allowed_beforehand(stage: Any, shape: str) -> None:
    nobody = NobodyApprover(Allowance(kinds=frozenset({"network"})))
    item, _ = shell(stage, shape, nobody, command=["true"], network=True)
    assert (item.exit_code, item.decision) == (0, "accept by allowance")
    assert item.receipt.decided_by == "allowance"
    item, _ = shell(stage, shape, nobody, command=["true"], unsandboxed=True)
    assert item.decision == "decline by nobody"


def test_never_declines_what_exceeds_and_runs_the_rest(stage: Any, shape: str) -> None:
    item, text = shell(stage, shape, command=["curl", "x"], network=True, approval="never")
    assert text == f"outcome: declined - nobody is asked (-a never), so it may not {NETWORK}"
    assert (item.status, item.decision) == ("declined", "decline by policy")
    item, _ = shell(stage, shape, command=["touch", "ran"], approval="never")
    assert (item.exit_code, (stage.folder / "ran").exists()) == (0, True)


@pytest.mark.parametrize(
    ("command", "asks"),
    [
        (["ls", "-la"], False),
        ("cat a.txt | wc -l", False),
        (["python", "-c", "print(1)"], True),
        ("ls > list", True),
        ("ls; rm a", True),
        ("cat $(touch ran)", True),
        (["./ls"], True),
        (["find", ".", "-delete"], True),
    ],
)
def test_untrusted_asks_for_all_but_what_only_looks(
    stage: Any, people: Any, command: Any, asks: bool
) -> None:
    person = people(Answer(Decision.DECLINE, "person", "no"))
    item, _ = shell(stage, "gpt-5.5", person, command=command, approval="untrusted")
    assert (len(person.asked), item.status == "declined") == (asks, asks)
    if asks:
        assert person.asked[0].asks == ()


@pytest.mark.parametrize("mode", ["full-access", "external"])
def test_a_persons_own_word_asks_for_nothing(stage: Any, shape: str, mode: str) -> None:
    more = {"network": True, "unsandboxed": True, "paths": ["/opt"]}
    outside = stage.place("outside")
    item, _ = shell(stage, shape, command=["touch", f"{outside}/made"], mode=mode, **more)
    assert (item.exit_code, item.asked, (outside / "made").exists()) == (0, (), True)


def test_output_streams_before_the_command_ends(stage: Any, shape: str) -> None:
    go = stage.folder / "go"
    waits = "echo first; while [ ! -e go ]; do sleep 0.01; done; echo second"
    model = stage.model(call("shell", command=waits), say("done"))
    kernel = stage.kernel(model, shape)
    seen: list[Any] = []

    def first(turn: Any) -> bool:
        return str(getattr(turn.items[-1], "output", "")) == "first\n"

    def act() -> None:
        seen.append(kernel.page.shown.items[-1].status)
        go.touch()

    kernel.page.once(first, act)
    turn = kernel.ask()
    assert seen == ["in_progress"]
    assert str(turn.items[1].output) == "first\nsecond\n"


@pytest.mark.parametrize("unit", ["0123456789abcde\n", "é😀漢字 \n", "\u200b\n", "}\\\"'\t<x>\n"])
def test_a_long_output_is_marked_where_it_is_cut_and_arrives_whole(
    stage: Any, shape: str, unit: str
) -> None:
    (stage.folder / "long").write_text("BEGIN" + unit * (200_000 // len(unit.encode())) + "END")
    item, text = shell(stage, shape, command=["cat", "long"])
    assert len(str(item.output).encode()) > 190_000
    body = text.partition("output:\n")[2]
    assert (body[:5], body[-3:]) == ("BEGIN", "END")
    ((mark, left_out),) = re.findall(
        r"\n(\[… about ([\d,]+) tokens of [\d,]+ lines are left out here …\])\n", body
    )
    limit_bytes = 4 * OUTPUT_TOKENS
    assert limit_bytes - 10 < len(body.replace(f"\n{mark}\n", "").encode()) <= limit_bytes
    kept = len(str(item.output).encode()) - 4 * int(left_out.replace(",", ""))
    assert abs(kept - limit_bytes) < 10
    # Neither the server nor code mode cut it once more: only our own mark is there.
    assert re.findall(r"truncat|omitted", text) == []
    assert set(body.replace(mark, "")[5:-3]) <= {*unit, "\n"}


def test_a_flood_streams_its_head_and_keeps_its_tail(stage: Any, shape: str) -> None:
    command = "head -c 3000000 /dev/zero | tr '\\0' x; echo END"
    item, text = shell(stage, shape, command=command)
    assert (item.receipt.truncated, item.receipt.stdout_bytes) == (True, 3_000_004)
    assert len(str(item.output)) < 1_100_000
    assert str(item.output).endswith("xEND\n")
    assert text.endswith("xEND\n")


def test_commands_of_one_answer_run_one_after_another(stage: Any, shape: str) -> None:
    words = [json.dumps({"command": f"echo {n} >> log; cat log"}) for n in (1, 2)]
    calls = [call("shell", **json.loads(word)) for word in words]
    model = stage.model([*calls, pause_at("never-waited")], say("done"))
    model.gate("never-waited").set()
    turn = stage.kernel(model, shape).ask()
    assert [str(item.output) for item in turn.items if hasattr(item, "output")] == ["1\n", "1\n2\n"]
