"""The facts about a machine, from folders made for it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from codex_magic import binary
from codex_magic.sandbox import environment
from codex_magic.sandbox.machine import gather

if TYPE_CHECKING:
    from codex_magic.policy import SandboxPolicy
    from codex_magic.sandbox.bwrap import Machine


def facts(policy: SandboxPolicy, path: list[Path], **environ: object) -> Machine:
    named = {name: str(value) for name, value in environ.items()}
    return gather(policy, environ=named, path=[str(entry) for entry in path])


def test_the_named_home_is_covered_and_the_commands_own(policy: SandboxPolicy, home: Path) -> None:
    found = facts(policy, [], HOME=home)
    assert str(home) in found.covered
    assert found.home == str(home)
    assert {str(home / ".ssh"), str(home / ".codex")} <= set(found.secret)


def test_what_python_imports_is_shown_unless_it_shows_more(
    policy: SandboxPolicy, home: Path
) -> None:
    site, skill, inner = home / "lib/site", home / ".codex/skills", home / "work"
    for folder in (site, skill, inner / ".keys"):
        folder.mkdir(parents=True)
    (home / "link").symlink_to(home)
    (home / "venv").symlink_to(site)
    path = [site, skill, inner, home, home.parent, home / "link", home / "venv", home / "gone"]
    found = facts(policy, [*path, Path("/"), Path("/tmp")], HOME=home, GNUPGHOME=inner / ".keys")
    places = {place: real for real, place in found.python}
    assert places[str(site)] == str(site)
    assert places[str(home / "venv")] == str(site)
    refused = {skill, inner, home, home.parent, home / "link", home / "gone", "/", "/tmp"}
    assert not set(map(str, refused)) & set(places)


def test_a_home_named_as_a_runtime_folder_stays_a_home(policy: SandboxPolicy, home: Path) -> None:
    found = facts(policy, [], HOME=home, XDG_RUNTIME_DIR=home, JUPYTER_DATA_DIR="/tmp")
    assert str(home) in found.covered
    assert not {str(home), "/tmp"} & set(found.secret)


def test_a_home_that_is_the_system_covers_nothing_of_it(policy: SandboxPolicy) -> None:
    for home in ("/", "/usr", "/nonexistent"):
        found = facts(policy, [], HOME=home)
        assert home not in found.covered


@pytest.mark.parametrize("name", [".git", ".codex", ".venv", ".vscode"])
def test_only_what_exists_is_protected(policy: SandboxPolicy, name: str) -> None:
    assert facts(policy, []).protected == ()
    (policy.workspace / name).mkdir()
    assert facts(policy, []).protected == (str(policy.workspace / name),)


def test_a_protected_link_protects_what_it_leads_to(policy: SandboxPolicy) -> None:
    (policy.workspace / "real").mkdir()
    (policy.workspace / ".claude").symlink_to("real")
    assert facts(policy, []).protected == (str(policy.workspace / "real"),)


def test_the_confined_environment_is_a_short_list() -> None:
    given = {
        "LANG": "C", "LC_ALL": "C", "TZ": "UTC", "OPENAI_API_KEY": "s", "PYTHONPATH": "x",
        "LD_PRELOAD": "x", "PATH": "/evil", "SSH_AUTH_SOCK": "x", "VIRTUAL_ENV": "/v",
    }  # fmt: skip
    made = environment.confined("/h", {"EXTRA": "1"}, given)
    assert set(made) == {
        "LANG", "LC_ALL", "TZ", "VIRTUAL_ENV", "HOME", "USER", "PATH", "TERM", "EXTRA",
            "PYTHONDONTWRITEBYTECODE",
    }  # fmt: skip
    own, _, tools = made["PATH"].partition(":/usr/local/bin:/usr/bin:/bin")
    assert "/evil" not in made["PATH"]
    assert Path(sys.executable).parent == Path(own.split(":")[0])
    # What came with Codex, such as `rg`, stands behind the system's own.
    assert tools.removeprefix(":") == str(binary.bundled_tools() or "")
    assert all(Path(folder).is_absolute() for folder in made["PATH"].split(":"))


def test_the_open_environment_leaves_secrets_out() -> None:
    secrets = ("OPENAI_API_KEY", "gh_token", "MY_SECRET", "DbPassword", "AWS_CREDENTIALS", "PASSWD")
    made = environment.open_to_all({}, dict.fromkeys((*secrets, "EDITOR"), "x"))
    assert set(made) == {"EDITOR", "TERM"}
