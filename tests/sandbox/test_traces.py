"""What a command leaves behind: named, put aside, put back."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.items import FILES_NAMED
from codex_magic.policy import SandboxPolicy
from codex_magic.sandbox import aside, footprint, run
from codex_magic.sandbox.aside import QUARANTINE
from codex_magic.sandbox.steering import steers

pytestmark = pytest.mark.usefixtures("sandboxed")

NAMES = st.sampled_from(["a", "b/c", "b/d", "e"])
FACTS = st.tuples(st.just(0), st.integers(1, 3), st.integers(0, 2), st.integers(0, 2))
LISTINGS = st.dictionaries(NAMES, FACTS).map(footprint.Listing)


def quarantine(folder: Path) -> list[str]:
    return sorted(
        str(path.relative_to(kept))
        for kept in folder.glob(f"{QUARANTINE}*")
        for path in kept.rglob("*")
    )


@given(LISTINGS, LISTINGS)
def test_every_path_is_told_once_and_turned_round_it_is_the_opposite(
    before: footprint.Listing, after: footprint.Listing
) -> None:
    there, back = footprint.compare(before, after), footprint.compare(after, before)
    told = [*there.created, *there.changed, *there.deleted]
    assert len(told) == len(set(told))
    assert set(told) == {
        path
        for path in {**before.files, **after.files}
        if before.files.get(path) != after.files.get(path)
    }
    assert (there.created, there.changed) == (back.deleted, back.changed)


def test_created_changed_and_deleted_files_are_named(policy: SandboxPolicy) -> None:
    ws = policy.workspace
    for name in ("kept", "changed", "deleted", "touched"):
        (ws / name).write_text(name)
    os.utime(ws / "changed", (1, 1))
    command = "mkdir new; echo x > new/file; echo longer > changed; touch -d @1 changed; rm deleted"
    receipt = run(command, policy=policy).receipt
    assert receipt.created == (f"{ws}/new", f"{ws}/new/file")
    assert receipt.changed == (f"{ws}/changed",)
    assert receipt.deleted == (f"{ws}/deleted",)
    assert receipt.files_more == 0


def test_many_files_are_counted_and_very_many_not_compared(
    policy: SandboxPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = "for i in $(seq 30); do echo > file$i; done"
    receipt = run(many, policy=policy).receipt
    assert (len(receipt.created), receipt.files_more) == (FILES_NAMED, 30 - FILES_NAMED)
    monkeypatch.setattr(footprint, "MOST_FILES", 10)
    receipt = run("echo > another", policy=policy).receipt
    assert (receipt.created, receipt.files_more) == ((), -1)


def test_looking_changes_nothing_and_read_only_is_not_looked_at(policy: SandboxPolicy) -> None:
    (policy.workspace / "file").write_text("x")
    receipt = run("cat file", policy=policy).receipt
    told = (receipt.created, receipt.changed, receipt.deleted, receipt.files_more)
    assert told == ((), (), (), 0)


@pytest.mark.parametrize(
    "name",
    [
        ".git/config", ".codex/config.toml", ".vscode/tasks.json", ".envrc", ".venv/pyvenv.cfg",
        "ipython_config.py", "jupyter_server_config.py", "jupyter_lab_config.json", ".mcp.json",
        ".pdbrc", "sitecustomize.py", "usercustomize.py", "random.py", "hypothesis.py",
        "json/__init__.py",
    ],
)  # fmt: skip
def test_what_others_would_obey_is_put_aside(policy: SandboxPolicy, name: str) -> None:
    path = policy.workspace / name
    command = f"mkdir -p {path.parent} && echo evil > {path} && echo fine > fine.py"
    result = run(command, policy=policy)
    assert result.exit_code == 0
    assert not path.exists()
    assert (policy.workspace / "fine.py").exists()
    [said] = result.receipt.quarantined
    before, _, now = said.partition(" -> ")
    assert str(path).startswith(before)
    kept = Path(now)
    assert "evil" in (kept if kept.is_file() else kept / path.name).read_text()


@pytest.mark.parametrize("name", ["analysis.py", "test.py", "data.json", "git", "notes/random.py"])
def test_what_nobody_obeys_stays(policy: SandboxPolicy, name: str) -> None:
    result = run(f"mkdir -p notes; echo > {name}", policy=policy)
    assert (policy.workspace / name).exists()
    assert result.receipt.quarantined == ()


def test_what_was_there_before_stays(policy: SandboxPolicy) -> None:
    (policy.workspace / "random.py").write_text("mine")
    (policy.workspace / ".envrc").write_text("mine")
    assert run("ls; echo > other.txt", policy=policy).receipt.quarantined == ()
    result = run("echo evil >> random.py; echo evil >> .envrc", policy=policy)
    assert [Path(said.partition(" ->")[0]).name for said in result.receipt.quarantined] == [
        "random.py"
    ]
    assert (policy.workspace / ".envrc").read_text() == "mine"


def test_a_link_that_was_replaced_is_put_back(policy: SandboxPolicy, room: Path) -> None:
    (room / "elsewhere").mkdir()
    link = policy.workspace / ".git"
    link.symlink_to(room / "elsewhere")
    result = run("rm .git; mkdir .git; echo evil > .git/config", policy=policy)
    assert link.readlink() == room / "elsewhere"
    assert result.receipt.restored == (str(link),)
    assert quarantine(policy.workspace) == [".git", ".git/config"]


def test_a_link_made_by_a_command_leads_nowhere(policy: SandboxPolicy, room: Path) -> None:
    (room / "outside").mkdir()
    run(f"ln -s {room}/outside .vscode", policy=policy)
    assert not (policy.workspace / ".vscode").is_symlink()
    assert (room / "outside").exists()


def test_what_somebody_asked_for_may_stay(policy: SandboxPolicy) -> None:
    allowed = SandboxPolicy(workspace=policy.workspace, unprotected=(policy.workspace / ".git",))
    command = "mkdir .git && echo good > .git/config; mkdir .codex"
    result = run(command, policy=allowed)
    assert (policy.workspace / ".git/config").read_text() == "good\n"
    assert not (policy.workspace / ".codex").exists()
    assert len(result.receipt.quarantined) == 1
    assert run("echo more >> .git/config", policy=allowed).exit_code == 0
    assert run("echo more >> .git/config", policy=policy).exit_code != 0


def test_changed_files_that_the_kernel_has_imported_are_named(
    policy: SandboxPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    (policy.workspace / "package").mkdir()
    for name in ("package/__init__.py", "package/inner.py", "package/other.py"):
        (policy.workspace / name).write_text("")
    monkeypatch.syspath_prepend(str(policy.workspace))
    import package.inner  # noqa: F401

    try:
        command = "echo 1 > package/inner.py; echo 1 > package/other.py; echo 1 > package/new.py"
        receipt = run(command, policy=policy).receipt
    finally:
        for name in ("package", "package.inner"):
            del sys.modules[name]
    assert receipt.imported == (f"{policy.workspace}/package/inner.py",)


def test_the_open_notebook_cannot_be_written_and_a_change_is_told(
    policy: SandboxPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = policy.workspace / "lesson.ipynb"
    notebook.write_text("{}")
    monkeypatch.setenv("JPY_SESSION_NAME", "somewhere/lesson.ipynb")
    assert run("echo evil > lesson.ipynb || mv lesson.ipynb x", policy=policy).exit_code != 0
    assert notebook.read_text() == "{}"

    def save(_stream: str, _text: str) -> None:
        (policy.workspace / "saved").write_text("{ }")
        (policy.workspace / "saved").rename(notebook)  # as Jupyter does

    command = "echo ready; until grep -q '{ }' lesson.ipynb; do :; done; echo evil > lesson.ipynb"
    result = run(command, policy=policy, on_output=save)
    assert result.receipt.protected == (str(notebook),)


def test_put_aside_where_that_cannot_be_done_is_told(
    policy: SandboxPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_arguments: object, **_options: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(aside, "_made", full)
    result = run("mkdir .vscode", policy=policy)
    assert result.receipt.protected == (
        f"{policy.workspace}/.vscode (No space left on device: it is still there)",
    )


def test_an_error_in_between_leaves_nothing_either(policy: SandboxPolicy) -> None:
    def fail(_stream: str, _text: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run("mkdir .vscode; echo x; sleep 20", policy=policy, on_output=fail)
    assert not (policy.workspace / ".vscode").exists()


def test_the_names_that_steer() -> None:
    assert all(map(steers, (".git", "jupyter_notebook_config.py", "ipython_kernel_config.json")))
    assert not any(map(steers, ("git", "config.py", "jupyter_config.txt", ".gitignore", "")))
