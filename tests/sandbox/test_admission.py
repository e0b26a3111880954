"""What is refused, and that the answer says why."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from codex_magic.errors import SandboxError
from codex_magic.policy import SandboxPolicy
from codex_magic.sandbox import run
from codex_magic.sandbox.admission import admit
from codex_magic.sandbox.bwrap import Machine

MACHINE = Machine(
    covered=("/home", "/home/ada", "/root", "/run"),
    secret=("/home/ada/.ssh", "/home/ada/.codex", "/srv/keys/deep", "/run/user/1"),
    secret_files=("/etc/shadow", "/data/kernel-1.json"),
    scratch=("/tmp", "/var/tmp"),
)
REFUSED = {
    "/": "system",
    "/usr": "system",
    "/usr/bin": "system",
    "/etc": "system",
    "/etc/cron.d": "system",
    "/proc/1": "system",
    "/dev": "system",
    "/home": "hidden",
    "/home/ada": "hidden",
    "/root": "hidden",
    "/run": "hidden",
    "/home/ada/.ssh": "hidden",
    "/home/ada/.codex/skills": "hidden",
    "/srv": "holds /srv/keys/deep",
    "/srv/keys": "holds /srv/keys/deep",
    "/data": "holds /data/kernel-1.json",
    "/run/user/1/app": "hidden",
    "/tmp": "shared",
    "/var/tmp": "shared",
    "/dev/shm": "shared",
    "/opt": "shared",
    "/var": "shared",
}
ADMITTED = (
    "/home/ada/work", "/home/bob/x", "/root/p", "/tmp/w", "/dev/shm/w", "/srv/keysmith",
    "/usr/src/app", "/opt/work", "/var/www", "/run/media/disk",
)  # fmt: skip


@pytest.mark.parametrize("mode", ["workspace-write", "read-only"])
@pytest.mark.parametrize(("path", "why"), REFUSED.items())
def test_folders_that_would_open_too_much(path: str, why: str, mode: str) -> None:
    fine = SandboxPolicy(mode=mode, workspace=Path("/srv/fine"))  # type: ignore[arg-type]
    admit(fine, MACHINE)
    for bad in (
        dataclasses.replace(fine, workspace=Path(path)),
        dataclasses.replace(fine, writable=(Path(path),)),
    ):
        with pytest.raises(SandboxError, match=why):
            admit(bad, MACHINE)


@pytest.mark.parametrize("path", ADMITTED)
def test_folders_of_ones_own(path: str) -> None:
    admit(SandboxPolicy(workspace=Path(path)), MACHINE)


@pytest.mark.parametrize("path", ["/home/ada", "/home/ada/.ssh/id", "/run/user/1"])
def test_readable_paths_do_not_lift_a_mask(path: str) -> None:
    policy = SandboxPolicy(workspace=Path("/srv/fine"), readable=(Path(path),))
    with pytest.raises(SandboxError, match="hidden"):
        admit(policy, MACHINE)
    admit(dataclasses.replace(policy, readable=(Path("/home/ada/data"), Path("/srv"))), MACHINE)


@pytest.mark.parametrize(
    ("command", "options", "why"),
    [
        ([], {}, "empty"),
        (["echo", "a\0b"], {}, "NUL"),
        ("echo a\0b", {}, "NUL"),
        (["echo", "\ud800"], {}, "character"),
        (["echo", 1], {}, "texts"),
        (["true"], {"env": {"A=B": ""}}, "variable"),
        (["true"], {"env": {"": ""}}, "variable"),
        (["true"], {"env": {"A": "\0"}}, "NUL"),
        (["true"], {"cwd": "missing"}, "missing"),
        (["true"], {"cwd": "file"}, "not a folder"),
        (["true"], {"cwd": "a\0b"}, "not run"),
    ],
)
@pytest.mark.parametrize("mode", ["workspace-write", "full-access", "external"])
def test_what_cannot_be_asked(
    workspace: Path, mode: str, command: object, options: dict, why: str
) -> None:
    (workspace / "file").touch()
    policy = SandboxPolicy(mode=mode, workspace=workspace)  # type: ignore[arg-type]
    result = run(command, policy=policy, **options)  # type: ignore[arg-type]
    assert result.outcome == "refused"
    assert result.exit_code is None
    assert why in result.message


@pytest.mark.parametrize("change", ["missing", "file", "mode", "writable", "readable", "home"])
def test_what_a_policy_cannot_be(room: Path, home: Path, workspace: Path, change: str) -> None:
    (room / "file").touch()
    gone = room / "gone"
    policy = {
        "missing": SandboxPolicy(workspace=gone),
        "file": SandboxPolicy(workspace=room / "file"),
        "mode": SandboxPolicy(mode="yolo", workspace=workspace),  # type: ignore[arg-type]
        "writable": SandboxPolicy(workspace=workspace, writable=(gone,)),
        "readable": SandboxPolicy(workspace=workspace, readable=(gone,)),
        "home": SandboxPolicy(workspace=home),
    }[change]
    result = run(["true"], policy=policy)
    assert result.outcome == "refused"
    assert result.message.startswith("not run: ")


def test_a_link_to_something_hidden_is_seen_through(room: Path, home: Path) -> None:
    (room / "link").symlink_to(home)
    assert run(["true"], policy=SandboxPolicy(workspace=room / "link")).outcome == "refused"


def test_a_hidden_working_folder_is_refused(
    policy: SandboxPolicy, home: Path, tmp_path: Path
) -> None:
    for folder in (home / ".ssh", tmp_path):
        result = run(["true"], policy=policy, cwd=folder)
        assert result.outcome == "refused"
        assert "hidden" in result.message
