"""The patch format as far as it is read, what a patch asks for, and what is shown of it."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic import items as it
from codex_magic.errors import SetupError
from codex_magic.policy import Decision, Permission, SandboxPolicy
from codex_magic.render import markdown, plain
from codex_magic.sandbox import probe
from codex_magic.sandbox.audit import Log
from codex_magic.sandbox.audit import read as logged
from codex_magic.tools import differences
from codex_magic.tools.base import ArgumentsError
from codex_magic.tools.differences import File, Seen
from codex_magic.tools.patch import PatchTool
from codex_magic.tools.patchtext import Section, read
from codex_magic.turn import Turn, TurnRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def patch(*lines: str) -> str:
    return "\n".join(("*** Begin Patch", *lines, "*** End Patch"))


ADD = ("*** Add File: a b/é.txt", "+one", "+*** End Patch", "+")
UPDATE = ("*** Update File: u.py", "@@ def f", " x", "-y", "+z", "", " *** Add File: no", "*** End of File")  # fmt: skip
MOVE = ("*** Update File: old", "*** Move to: new", "@@", "-a", "+b")
DELETE = ("*** Delete File: /etc/x",)


# --- the format ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "sections"),
    [
        (patch(*ADD), (Section("add", "a b/é.txt", "\n".join(ADD)),)),
        (patch("*** Add File: empty"), (Section("add", "empty", "*** Add File: empty"),)),
        (patch(*UPDATE), (Section("update", "u.py", "\n".join(UPDATE)),)),
        (patch(*MOVE), (Section("update", "old", "\n".join(MOVE), "new"),)),
        (
            patch(*DELETE, *ADD, "  *** Delete File: b  "),
            (
                Section("delete", "/etc/x", DELETE[0]),
                Section("add", "a b/é.txt", "\n".join(ADD)),
                Section("delete", "b", "  *** Delete File: b  "),
            ),
        ),
        (f"\n  {patch(*DELETE)}  \n\n", (Section("delete", "/etc/x", DELETE[0]),)),
        (f"<<'EOF'\n{patch(*DELETE)}\nEOF\n", (Section("delete", "/etc/x", DELETE[0]),)),
        (patch(*MOVE).replace("\n", "\r\n"), (Section("update", "old", "\r\n".join(MOVE) + "\r", "new"),)),
    ],
)  # fmt: skip
def test_the_files_of_a_patch_are_read(text: str, sections: Any) -> None:
    assert read(text) == sections


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first line of a patch must be '*** Begin Patch'"),
        ("diff --git a/x b/x", "the first line of a patch must be '*** Begin Patch'"),
        ("*** Begin Patch", "the last line of a patch must be '*** End Patch'"),
        ("*** Begin Patch\n*** Delete File: a", "the last line of a patch must be"),
        (patch(*DELETE) + "\ntrailing", "the last line of a patch must be"),
        (patch(), "the patch names no file"),
        (patch("*** Add File:"), "line 2 of the patch is '*** Add File:', where a header belongs"),
        (patch("*** Add File: a", "b"), "line 3 of the patch is 'b'"),
        (patch("*** Add File: a", "+b", "", "*** Delete File: c"), "line 4 of the patch is ''"),
        (patch(*DELETE, "-x"), "line 3 of the patch is '-x'"),
        (patch("*** Update File: a", "@@", "x"), "line 4 of the patch is 'x'"),
        (patch("*** Update File: a", "@@", "*** Move to: b"), "line 4 of the patch is"),
        (patch("*** Environment ID: x", *DELETE), "line 2 of the patch is"),
        (patch(patch(*DELETE)), "line 2 of the patch is '*** Begin Patch'"),
    ],
)
def test_what_is_no_patch_is_refused_with_what_to_write(text: str, said: str) -> None:
    with pytest.raises(ArgumentsError) as caught:
        read(text)
    assert said in str(caught.value)


pieces = st.sampled_from(
    ["*** Begin Patch", "*** End Patch", *ADD, *UPDATE, *MOVE, *DELETE, "<<EOF", "EOF", "\r", "***"]
)


@given(st.lists(pieces | st.text(max_size=8), max_size=12).map("\n".join))
def test_any_text_is_a_patch_or_an_error_for_the_model(text: str) -> None:
    with contextlib.suppress(ArgumentsError):
        sections = read(text)
        assert all(section.path for section in sections)
        # Nothing between the first line and the last is lost: what is shown is what is applied.
        assert "\n".join(section.text for section in sections) in text


lines = st.text(st.characters(exclude_characters="\n\r", exclude_categories=("Cs",)), max_size=9)


@given(st.dictionaries(lines.map(str.strip).filter(bool), st.lists(lines), min_size=1))
def test_every_file_that_is_added_is_read_whatever_its_lines_say(files: Any) -> None:
    written = [[f"*** Add File: {name}", *(f"+{x}" for x in body)] for name, body in files.items()]
    assert read(patch(*(line for section in written for line in section))) == tuple(
        Section("add", name, "\n".join(section))
        for name, section in zip(files, written, strict=True)
    )


# --- what a call asks for --------------------------------------------------------------------


def quiet(_patch: str, _policy: SandboxPolicy) -> list[str]:
    return ["true"]


def prepared(folder: Path, text: str, *, program: Any = quiet, **options: Any) -> Any:
    mode = options.pop("mode", "workspace-write")
    request = TurnRequest(prompt="p", policy=SandboxPolicy(mode=mode, workspace=folder))
    return PatchTool(program=program).prepare("c", {"input": text, **options}, request)


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    (tmp_path / "beside").mkdir()
    (tmp_path / "beside" / "there").touch()
    folder = tmp_path / "ws"
    (folder / "sub").mkdir(parents=True)
    (folder / ".git").mkdir()
    (folder / ".git" / "config").touch()
    (folder / "out").symlink_to(tmp_path / "beside")
    (folder / "file-out").symlink_to(tmp_path / "beside" / "there")
    (folder / "file-git").symlink_to(folder / ".git" / "config")
    return folder


ASKED = {
    "Add File: a": (),
    "Add File: new/b/c": (),
    "Update File: sub/../x": (),
    "Add File: {ws}/a": (),
    "Update File: .git/config": ("write in {ws}/.git",),
    "Update File: file-git": ("write in {ws}/.git",),
    "Add File: .vscode/tasks.json": ("write in {ws}/.vscode",),
    "Add File: ../beside/new/deep": ("write in {ws.parent}/beside",),
    "Delete File: ../beside/there": ("write in {ws.parent}/beside",),
    "Update File: out/there": ("write in {ws.parent}/beside",),
    "Update File: file-out": ("write in {ws.parent}/beside",),
    "Delete File: file-out": (),
    "Update File: a\n*** Move to: .git/hooks/pre-commit": ("write in {ws}/.git",),
    "Update File: a\n*** Move to: ../beside/b": ("write in {ws.parent}/beside",),
    "Delete File: .git/config\n*** Delete File: .git/HEAD": ("write in {ws}/.git",),
}


@pytest.mark.parametrize("header", ASKED)
def test_exactly_what_a_patch_may_not_write_is_asked_for(workspace: Path, header: str) -> None:
    asked = tuple(said.format(ws=workspace) for said in ASKED[header])
    call = prepared(workspace, patch(f"*** {header.format(ws=workspace)}"))
    assert (call.asks, call.item.asked) == (asked, asked)
    assert (call.harmless, call.forbidden) == (False, "")


@pytest.mark.parametrize("mode", ["full-access", "external"])
def test_a_persons_own_word_asks_for_nothing(workspace: Path, mode: str) -> None:
    assert prepared(workspace, patch("*** Add File: ../beside/x"), mode=mode).asks == ()


def test_paths_count_from_the_working_folder(workspace: Path) -> None:
    call = prepared(workspace, patch("*** Add File: ../x"), workdir="sub", justification="why")
    assert call.asks == ()
    assert (call.item.cwd, call.item.reason) == (f"{workspace}/sub", "why")
    assert call.item.changes == (it.Change(path="x", kind="add", diff="*** Add File: ../x"),)


def test_in_read_only_the_workspace_is_asked_for(workspace: Path) -> None:
    text = patch("*** Add File: .git/x", "*** Add File: y")
    asks = prepared(workspace, text, mode="read-only").asks
    assert asks == (f"write in {workspace}", f"write in {workspace}/.git")


def test_doing_without_a_sandbox_can_be_asked_for(workspace: Path) -> None:
    call = prepared(workspace, patch("*** Add File: /x"), unsandboxed=True)
    assert call.asks == ("run without any sandbox",)


def no_program(_patch: str, _policy: SandboxPolicy) -> list[str]:
    raise SetupError("no program")


WRONG: list[tuple[dict[str, Any], str]] = [
    ({}, "missing required field `input`"),
    ({"input": 7}, "got `int`"),
    ({"input": patch(*DELETE), "network": True}, "unknown field `network`"),
    ({"input": "x"}, "first line"),
    ({"input": patch("*** Add File: a\0b")}, "NUL"),
    ({"input": patch("*** Add File: a\ud800")}, "half a character"),
    ({"input": patch("*** Add File: a", "+" + "x" * 1_000_000)}, "several"),
    ({"input": patch(*(f"*** Delete File: {n}" for n in range(501)))}, "several"),
    ({"input": patch("*** Add File: a"), "workdir": "~nobody-of-this-name"}, "home directory"),
    ({"input": patch("*** Add File: a"), "workdir": "a\0b"}, "null"),
    ({"input": patch("*** Add File: /x")}, "/"),
    ({"input": patch("*** Add File: /etc/x")}, "system"),
    ({"input": patch("*** Update File: a", "*** Move to: sub/../a", "@@", "+x")}, "to itself"),
    ({"input": patch("*** Update File: to-a", "*** Move to: a", "@@", "+x")}, "to itself"),
    ({"input": patch("*** Add File: ring/x")}, "ring"),
]


@pytest.mark.parametrize(("arguments", "said"), WRONG, ids=range(len(WRONG)))
def test_wrong_arguments_are_told(workspace: Path, arguments: Any, said: str) -> None:
    (workspace / "to-a").symlink_to("a")
    (workspace / "ring").symlink_to("ring")
    request = TurnRequest(prompt="p", policy=SandboxPolicy(workspace=workspace))
    with pytest.raises(ArgumentsError) as caught:
        PatchTool(program=quiet).prepare("c", arguments, request)
    assert said.lower() in str(caught.value).lower()


def test_nobody_is_asked_where_there_is_no_program(workspace: Path) -> None:
    with pytest.raises(ArgumentsError, match="no program"):
        prepared(workspace, patch("*** Add File: .git/x"), program=no_program)


@pytest.mark.parametrize("where", ["hidden", "script"])
def test_a_codex_that_commands_cannot_use_is_told(
    workspace: Path, monkeypatch: Any, where: str
) -> None:
    home = workspace.parent / "home"
    home.mkdir()
    program = (home if where == "hidden" else workspace) / "codex"
    program.write_bytes(b"\x7fELF" if where == "hidden" else b"#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("CODEX_MAGIC_CODEX", str(program))
    monkeypatch.setenv("HOME", str(home))
    with pytest.raises(ArgumentsError, match=r"codex is not it or is hidden from commands"):
        PatchTool().prepare(
            "c",
            {"input": patch("*** Add File: a")},
            TurnRequest(prompt="p", policy=SandboxPolicy(workspace=workspace)),
        )


# --- what happened ---------------------------------------------------------------------------


def shell(script: str) -> Callable[[str, SandboxPolicy], Sequence[str]]:
    """Another implementation: it does what a test says."""
    return lambda text, _policy: ["/bin/sh", "-c", script, text]


def ran(workspace: Path, script: str, text: str, **options: Any) -> Any:
    if probe().level == "none":
        pytest.skip(probe().reason)
    call = prepared(workspace, text, program=shell(script), **options)
    return call.run(lambda _event: None, threading.Event(), Permission())


def test_what_stands_on_disk_is_shown_whatever_the_program_says(workspace: Path) -> None:
    """Half of it done, one of the files gone instead of changed, and an exit of 1."""
    (workspace / "a").write_text("1\n2\n3\n")
    (workspace / "b").write_text("b")
    text = patch("*** Update File: a", "@@", "-1", "+x", "*** Update File: b", "@@", "-b", "+c")
    outcome = ran(workspace, "sed -i s/2/two/ a; rm b; echo no luck >&2; exit 1", text)
    assert outcome.item.changes == (
        it.Change(path="a", kind="update", diff="--- a\n+++ a\n@@ -1,3 +1,3 @@\n 1\n-2\n+two\n 3"),
        it.Change(
            path="b",
            kind="delete",
            diff="--- b\n+++ /dev/null\n@@ -1 +0,0 @@\n-b\n\\ No newline at end of file",
        ),
    )
    assert (outcome.success, outcome.item.status, outcome.item.message) == (
        False, "failed", "no luck",
    )  # fmt: skip
    assert outcome.text.splitlines() == [
        "outcome: failed, applied in part - no luck",
        "changed: update a, delete b",
        "output:",
        "no luck",
    ]


def test_a_patch_that_does_nothing_says_so(workspace: Path) -> None:
    outcome = ran(workspace, "exit 3", patch("*** Add File: a"))
    assert (outcome.item.changes, outcome.item.message) == ((), "exit 3")
    assert outcome.text == "outcome: failed, nothing was changed - exit 3"


def test_what_was_put_aside_is_told_to_model_and_person(workspace: Path) -> None:
    outcome = ran(workspace, "mkdir .vscode; echo hi > a", patch("*** Add File: a"))
    assert outcome.text.startswith("outcome: applied\nnote: put aside, because other programs")
    turn = Turn(status="completed", items=(outcome.item,))
    for shown in (markdown.text(turn), plain.text(turn)):
        assert "put aside, because other programs would obey it" in shown


def test_a_link_made_after_the_question_leads_nowhere(workspace: Path) -> None:
    """Neither does the program write through it, nor is what it leads to shown."""
    if probe().level != "full":
        pytest.skip(probe().reason)
    outside = workspace.parent / "beside" / "there"
    outside.write_text("secret\n")
    call = prepared(workspace, patch("*** Update File: sub/there"), program=shell("echo x > sub/there"))  # fmt: skip
    assert call.asks == ()
    (workspace / "sub").rmdir()
    (workspace / "sub").symlink_to(outside.parent)
    outcome = call.run(lambda _event: None, threading.Event(), Permission())
    assert (outcome.item.status, outcome.item.changes) == ("failed", ())
    assert outside.read_text() == "secret\n"


def test_a_stopped_patch_is_interrupted(workspace: Path) -> None:
    stop = threading.Event()
    stop.set()
    call = prepared(workspace, patch("*** Add File: a"))
    outcome = call.run(lambda _event: None, stop, Permission())
    assert (outcome.item.status, outcome.item.changes) == ("interrupted", ())


def test_a_declined_patch_shows_what_was_proposed(workspace: Path) -> None:
    call = prepared(workspace, patch("*** Add File: .git/x", "+" + "y" * 50_000))
    outcome = call.decline("not there", Permission(Decision.DECLINE, "person"))
    assert outcome.text == "outcome: declined - not there"
    assert (outcome.item.status, outcome.item.message) == ("declined", "not there")
    (change,) = outcome.item.changes
    assert (change.path, change.kind) == (".git/x", "add")
    assert change.diff.startswith("*** Add File: .git/x\n+yyy")
    assert len(change.diff) < differences.DIFF_BYTES + 100
    assert "bytes left out" in change.diff


def test_each_patch_is_logged_with_who_allowed_it(workspace: Path, tmp_path: Path) -> None:
    log = Log(tmp_path / "audit.jsonl")
    request = TurnRequest(prompt="p", policy=SandboxPolicy(workspace=workspace))
    tool = PatchTool(program=quiet, log=lambda: log)
    call = tool.prepare("call-1", {"input": patch("*** Add File: a")}, request)
    outcome = call.run(lambda _event: None, threading.Event(), Permission(Decision.ACCEPT, "me"))
    [record] = logged(log.path)
    assert record.start is not None
    assert (record.start.call_id, record.start.tool, record.start.decided_by) == (
        "call-1", "apply_patch", "me",
    )  # fmt: skip
    assert outcome.item.receipt.decided_by == "me"


def changed(old: bytes | None, new: bytes | None) -> str:
    path = Path("/ws/f")
    sides = [None if x is None else Seen((len(x), i), x) for i, x in enumerate((old, new))]
    found = differences.changes({path: sides[0]}, {path: sides[1]}, [File(path)], Path("/ws"))
    return "\n".join(f"{change.kind} {change.path}\n{change.diff}" for change in found)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (None, b"a\n", "add f\n--- /dev/null\n+++ f\n@@ -0,0 +1 @@\n+a"),
        (None, b"", "add f\n"),
        (b"a", b"a\n", "update f\n--- f\n+++ f\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+a"),
        (b"a\r\nb\r\n", b"a\r\nc\r\n", "update f\n--- f\n+++ f\n@@ -1,2 +1,2 @@\n a\r\n-b\r\n+c\r"),
        (b"a\x0cb\xe2\x80\xa8", b"a\x0cb", "update f\n--- f\n+++ f\n@@ -1 +1 @@\n-a\x0cb\u2028\n\\ No newline at end of file\n+a\x0cb\n\\ No newline at end of file"),
        (b"\xff", b"a", "update f\n(no diff: not text)"),
        (b"a", b"a\0", "update f\n(no diff: not text)"),
        (b"a", b"a", ""),
        (None, None, ""),
    ],
)  # fmt: skip
def test_what_became_of_a_file(old: bytes | None, new: bytes | None, said: str) -> None:
    assert changed(old, new) == said


texts = st.lists(st.sampled_from(["a\n", "b\n", "\n", "c"]), max_size=9).map("".join)


@given(texts, texts, st.booleans())
def test_a_diff_says_how_the_new_text_comes_of_the_old(old: str, new: str, simple: bool) -> None:
    """Also in its simple form: a reader of diffs that knows no other arrives at the new text."""
    before, after = (text.splitlines(keepends=True) for text in (old, new))
    steps = differences.DIFF_STEPS
    differences.DIFF_STEPS = 0 if simple else steps  # type: ignore[misc] - as for large texts
    try:
        diff = differences.unified(before, after, "x", "y")
    finally:
        differences.DIFF_STEPS = steps  # type: ignore[misc] - as it was
    assert applied(before, "".join(diff).split("\n")) == after


def applied(old: list[str], diff: list[str]) -> list[str]:
    new, at = [], 0
    for line, following in zip(diff[2:], [*diff[3:], ""], strict=False):
        text = line[1:] + ("" if following.startswith("\\") else "\n")
        if line.startswith("@@"):
            start, _, count = line.split()[1][1:].partition(",")
            begin = int(start) - (count != "0")
            new += old[at:begin]
            at = begin
        elif line.startswith((" ", "-")):
            assert text == old[at]
            at += 1
        if line.startswith((" ", "+")):
            new.append(text)
    return new + old[at:]


def test_a_diff_takes_no_time_to_speak_of() -> None:
    """Without a bound these two would take minutes."""
    old = [f"{n}\n" for n in range(20_000)]
    new = [line if n % 2 else f"new {line}" for n, line in enumerate(old)]
    begin = time.process_time()
    diff = differences.unified(old, new, "x", "y")
    assert len(diff) == 3 + 2 * 19_999
    assert time.process_time() - begin < 5


def test_a_long_diff_is_cut_and_of_too_many_there_are_none() -> None:
    paths = [Path(f"/ws/{n}") for n in range(20)]
    long = Seen((1,), b"".join(b"%d\n" % n for n in range(5_000)))
    found = differences.changes(
        dict.fromkeys(paths), dict.fromkeys(paths, long), list(map(File, paths)), Path("/ws")
    )
    diffs = [change.diff for change in found]
    cut = [diff for diff in diffs if "bytes left out]" in diff]
    assert len(cut) == 9
    assert all(len(diff) < differences.DIFF_BYTES + 100 for diff in cut)
    assert diffs[9:] == ["(no diff: there are too many)"] * 11


def test_only_files_that_a_command_may_see_are_looked_into(workspace: Path) -> None:
    (workspace / "large").write_bytes(b"x" * (differences.FILE_BYTES + 1))
    (workspace / "text").write_text("hi")
    (workspace / "to-text").symlink_to("text")
    names = ["text", "to-text", "file-out", "large", "sub", "none", "../beside/there"]
    files = [File(differences.place(workspace, name)) for name in names]
    view = differences.look(files, SandboxPolicy(workspace=workspace))
    seen = [view[file.path] for file in files]
    assert [(found.content, found.link, found.why) if found else None for found in seen] == [
        (b"hi", "", ""),
        (b"hi", "text", ""),
        (None, f"{workspace.parent}/beside/there", "not a file of the workspace"),
        (None, "", "1,048,577 bytes are too many"),
        (None, "", "not readable"),
        None,
        (None, "", "not a file of the workspace"),
    ]


def test_a_file_moved_onto_another_is_told_as_two_changes() -> None:
    old, new = Path("/ws/old"), Path("/ws/new")
    one, two = Seen((1,), b"1\n"), Seen((2,), b"2\n")
    moved = [File(old, new)]
    gone = differences.changes({old: one, new: None}, {old: None, new: two}, moved, Path("/ws"))
    assert [(change.kind, change.path) for change in gone] == [("move", "new")]
    assert gone[0].diff == "--- old\n+++ new\n@@ -1 +1 @@\n-1\n+2"
    over = differences.changes({old: one, new: two}, {old: None, new: one}, moved, Path("/ws"))
    assert [(c.kind, c.path) for c in over] == [("delete", "old"), ("update", "new")]


# --- how it looks ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"status": "completed"}, "update a.py"),
        (
            {"status": "failed", "message": "no\nluck"},
            "update a.py\n-> failed: no luck",
        ),
        ({"status": "failed", "changes": ()}, "edit  -> failed"),
        ({"status": "declined", "message": "no"}, "update a.py\n-> declined: no"),
        ({"status": "in_progress"}, "update a.py\n-> running"),
    ],
)
def test_an_edit_as_plain_text(fields: Any, said: str) -> None:
    edit = it.FileChange(**{"changes": (it.Change(path="a.py", kind="update"),), **fields}, id="f")
    assert plain.body(Turn(status="completed", items=(edit,))) == said


def test_an_edit_as_markdown_shows_what_it_asked_and_how_it_ended() -> None:
    edit = it.FileChange(
        id="f",
        status="declined",
        changes=(it.Change(path="a.py", kind="update", diff="@@\n-a\n+b"),),
        reason="to <fix> it",
        message="not now",
        asked=("write in x",),
        decision="decline by person",
    )
    shown = markdown.text(Turn(status="completed", items=(edit,)))
    assert "<code>update a.py</code> · declined: not now" in shown
    assert "<small>to &lt;fix&gt; it</small>" in shown
    assert "<small>asked to write in x: decline by person</small>" in shown
    assert "```diff\n@@\n-a\n+b\n```" in shown
