"""Patches through the whole stack: Codex's own program in the sandbox, and what is seen of it."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.approval import Answer
from codex_magic.items import Change, FileChange
from codex_magic.policy import Decision, Permission, SandboxPolicy
from codex_magic.sandbox import probe
from codex_magic.testing import call, js, say, tool_outputs
from codex_magic.tools.patch import PatchTool
from codex_magic.tools.shell import ShellTool
from codex_magic.turn import TurnRequest, from_json, to_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

YES = Answer(Decision.ACCEPT, "person")
NO = Answer(Decision.DECLINE, "person", "leave it")


@pytest.fixture(autouse=True)
def sandboxed() -> None:
    if probe().level == "none":
        pytest.skip(probe().reason)


def patch(*lines: str) -> str:
    return "\n".join(("*** Begin Patch", *lines, "*** End Patch"))


def apply(folder: Path, *lines: str, mode: Any = "workspace-write") -> Any:
    """Apply one patch without a turn around it; return the outcome."""
    request = TurnRequest(prompt="p", policy=SandboxPolicy(mode=mode, workspace=folder))
    prepared = PatchTool().prepare("c", {"input": patch(*lines)}, request)
    assert prepared.asks == ()
    return prepared.run(lambda _event: None, threading.Event(), Permission())


def files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


def write(folder: Path, contents: Mapping[str, bytes]) -> None:
    for name, content in contents.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


BEFORE = {"u.py": b"a\nb\nc\n", "gone": b"x\n", "old é": b"m\n", "dos": b"a\r\nb\r\n", "open": b"a"}
CASES: dict[str, tuple[tuple[str, ...], dict[str, bytes | None], list[str]]] = {
    "add": (("*** Add File: new/ü b.txt", "+é"), {"new/ü b.txt": "é\n".encode()}, ["add new/ü b.txt"]),
    "add over": (("*** Add File: gone", "+y"), {"gone": b"y\n"}, ["update gone"]),
    "update": (("*** Update File: u.py", "@@", " a", "-b", "+B"), {"u.py": b"a\nB\nc\n"}, ["update u.py"]),
    "delete": (("*** Delete File: gone",), {"gone": None}, ["delete gone"]),
    "move": (
        ("*** Update File: old é", "*** Move to: sub/n", "@@", "-m", "+n"),
        {"old é": None, "sub/n": b"n\n"},
        ["move sub/n"],
    ),
    "lines that end as in DOS": (("*** Update File: dos", "@@", "-b", "+c"), {"dos": b"a\r\nc\r\n"}, ["update dos"]),
    "no end of the last line": (("*** Update File: open", "@@", "-a", "+b"), {"open": b"b\n"}, ["update open"]),
    "several": (
        ("*** Delete File: gone", "*** Update File: u.py", "@@", "-a", "*** Add File: z", "+%s\\n$HOME`'"),
        {"gone": None, "u.py": b"b\nc\n", "z": b"%s\\n$HOME`'\n"},
        ["delete gone", "update u.py", "add z"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("mode", ["workspace-write", "full-access", "external"])
def test_a_patch_changes_what_it_says(stage: Any, case: str, mode: str) -> None:
    lines, after, told = CASES[case]
    folder = stage.place("a folder é\n")
    write(folder, BEFORE)
    outcome = apply(folder, *lines, mode=mode)
    expected = {name: content for name, content in (BEFORE | after).items() if content is not None}
    assert files(folder) == expected
    assert (outcome.success, outcome.item.status, outcome.item.message) == (True, "completed", "")
    assert [f"{change.kind} {change.path}" for change in outcome.item.changes] == told
    assert outcome.text.startswith("outcome: applied\noutput:\nSuccess.")


@pytest.mark.parametrize(
    ("lines", "said", "kept"),
    [
        (("*** Update File: u.py", "@@", "-nowhere", "+y"), "Failed to find expected lines", ()),
        (("*** Delete File: none",), "Failed to delete file", ()),
        (("*** Update File: none", "@@", "-a"), "Failed to read file to update", ()),
        (("*** Update File: u.py",), "is empty", ()),
        (
            ("*** Add File: first", "+1", "*** Update File: u.py", "@@", "-nowhere", "+y"),
            "Failed to find expected lines",
            (Change(path="first", kind="add", diff="--- /dev/null\n+++ first\n@@ -0,0 +1 @@\n+1"),),
        ),
    ],
    ids=range(5),
)
def test_what_does_not_fit_is_told_with_what_was_done_before_it(
    stage: Any, lines: tuple[str, ...], said: str, kept: tuple[Change, ...]
) -> None:
    write(stage.folder, BEFORE)
    outcome = apply(stage.folder, *lines)
    assert (outcome.success, outcome.item.status, outcome.item.changes) == (False, "failed", kept)
    assert said in outcome.item.message
    done = "applied in part" if kept else "nothing was changed"
    assert outcome.text.startswith(f"outcome: failed, {done} - ")
    assert said in outcome.text.partition("output:")[2]
    assert {name: files(stage.folder)[name] for name in BEFORE} == BEFORE


def test_a_large_patch_arrives_whole(stage: Any) -> None:
    body = [f"{n} é😀 %s \\ '" for n in range(17_000)]
    outcome = apply(stage.folder, "*** Add File: large", *(f"+{line}" for line in body))
    assert outcome.success
    text = (stage.folder / "large").read_text()
    assert len(text.encode()) > 300_000
    assert text.splitlines() == body
    assert "bytes left out]" in outcome.item.changes[0].diff


def test_a_sandbox_keeps_what_nobody_knew_to_ask_for(stage: Any) -> None:
    if probe().level != "full":
        pytest.skip(probe().reason)
    write(stage.folder, {"mine/x": b"a\n"})
    policy = SandboxPolicy(workspace=stage.folder, protected=(stage.folder / "mine",))
    words = {"input": patch("*** Update File: mine/x", "@@", "-a", "+b")}
    prepared = PatchTool().prepare("c", words, TurnRequest(prompt="p", policy=policy))
    outcome = prepared.run(lambda _event: None, threading.Event(), Permission())
    assert (outcome.item.status, outcome.item.changes) == ("failed", ())
    assert files(stage.folder) == {"mine/x": b"a\n"}


# --- a whole turn ----------------------------------------------------------------------------


def turned(stage: Any, shape: str, person: Any = None, /, *lines: str, **options: Any) -> Any:
    """Apply one patch in a turn; return its item, what the model was told, and the turn."""
    model = stage.model(call("apply_patch", input=patch(*lines)), say("done"))
    kernel = stage.kernel(model, shape, tools=(ShellTool(), PatchTool()))
    turn = kernel.ask(person=person, **options)
    assert (turn.status, turn.final_response) == ("completed", "done")
    (told,) = tool_outputs(model.requests[-1])
    assert from_json(to_json(turn)) == turn
    return turn.items[1], told


def test_a_model_of_either_kind_edits_a_file(stage: Any, shape: str) -> None:
    write(stage.folder, BEFORE)
    item, told = turned(stage, shape, None, "*** Update File: u.py", "@@", " a", "-b", "+B")
    assert isinstance(item, FileChange)
    assert item.changes == (
        Change(path="u.py", kind="update", diff="--- u.py\n+++ u.py\n@@ -1,3 +1,3 @@\n a\n-b\n+B\n c"),
    )  # fmt: skip
    assert (item.status, item.asked, item.decision) == ("completed", (), None)
    assert item.receipt is not None
    assert item.receipt.level == probe().level
    assert told.startswith("outcome: applied")
    assert files(stage.folder)["u.py"] == b"a\nB\nc\n"


def test_a_script_of_a_model_gets_what_was_wrong(stage: Any) -> None:
    source = 'text(await tools.apply_patch({input: "*** Begin Patch"}))'
    model = stage.model(js(source), say("done"))
    kernel = stage.kernel(model, "gpt-6.1-sol", tools=(ShellTool(), PatchTool()))
    assert kernel.ask().final_response == "done"
    (told,) = tool_outputs(model.requests[-1])
    assert "the last line of a patch must be '*** End Patch'" in told


@pytest.mark.parametrize("answer", [YES, NO], ids=["yes", "no"])
@pytest.mark.parametrize("where", [".git/config", "../outside/x"])
def test_a_place_that_is_protected_or_outside_is_asked_for(
    stage: Any, shape: str, people: Any, where: str, answer: Answer
) -> None:
    write(stage.folder, {".git/config": b"a\n"})
    write(stage.place("outside"), {"x": b"a\n"})
    person = people(answer)
    lines = (f"*** Update File: {where}", "@@", "-a", "+b")
    item, told = turned(stage, shape, person, *lines)
    (asked,) = person.asked
    place = stage.folder / ".git" if ".git" in where else stage.room / "outside"
    assert (asked.command, asked.cwd, asked.asks) == (
        "\n".join(lines),
        str(stage.folder),
        (f"write in {place}",),
    )
    said = (stage.folder / where).resolve().read_bytes()
    if answer is YES:
        assert (item.status, item.decision, said) == ("completed", "accept by person", b"b\n")
    else:
        assert (item.status, item.decision, said) == ("declined", "decline by person", b"a\n")
        assert told == "outcome: declined - leave it"


def test_never_declines_by_itself(stage: Any, shape: str) -> None:
    item, told = turned(
        stage, shape, None, "*** Add File: x", "+x", mode="read-only", approval="never"
    )
    assert (item.status, files(stage.folder)) == ("declined", {})
    assert told.startswith("outcome: declined - nobody is asked (-a never), so it may not write in")


def test_read_only_may_be_allowed_to_write(stage: Any, people: Any) -> None:
    person = people(YES)
    item, _ = turned(stage, "gpt-5.5", person, "*** Add File: x", "+x", mode="read-only")
    assert (item.status, files(stage.folder)) == ("completed", {"x": b"x\n"})
    assert person.asked[0].asks == (f"write in {stage.folder}",)


def test_untrusted_asks_about_every_patch(stage: Any, people: Any) -> None:
    person = people(NO)
    item, _ = turned(stage, "gpt-5.5", person, "*** Add File: x", "+x", approval="untrusted")
    assert (item.status, len(person.asked), person.asked[0].asks) == ("declined", 1, ())
