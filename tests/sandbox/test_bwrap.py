"""Laws about the arguments: whatever the policy, they confine."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox.bwrap import (
    Machine,
    Mount,
    arguments,
    mounts,
    outermost,
    unconfined,
    visible,
    within_any,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MACHINE = Machine(
    home="/home/ada",
    covered=("/home", "/home/ada", "/root", "/run"),
    secret=("/home/ada/.ssh", "/opt/keys", "/run/user/1"),
    secret_files=("/etc/shadow", "/home/ada/kernel-1.json"),
    python=(
        ("/usr/lib/python3", "/usr/lib/python3"),
        ("/root/py/3.11", "/root/py/3.11"),
        ("/data/venv", "/home/ada/venv"),
    ),
    system=("/usr", "/etc"),
    scratch=("/tmp", "/var/tmp"),
    proc_readonly=("/proc/sys",),
    proc_masked=("/proc/keys",),
    protected=("/home/ada/work/.git", "/tmp/w/.venv", "/srv/shared/.codex"),
    resolver="/run/resolv.conf",
)
FOLDERS = ("/home/ada/work", "/home/ada/work/sub", "/tmp/w", "/srv/shared", "/srv/shared/é x\n")
folders = st.sampled_from(FOLDERS).map(Path)
policies = st.builds(
    SandboxPolicy,
    mode=st.sampled_from(["read-only", "workspace-write"]),
    workspace=folders,
    network=st.booleans(),
    writable=st.lists(folders, max_size=3).map(tuple),
    readable=st.just("all") | st.lists(folders, max_size=2).map(tuple),
)
commands = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0")), min_size=1)
variables = st.dictionaries(st.sampled_from(["LD_PRELOAD", "PATH", "X"]), st.text(max_size=5))


def words(
    policy: SandboxPolicy, command: Sequence[str] = ("true",), env: Mapping[str, str] | None = None
) -> list[str]:
    return arguments(policy, MACHINE, command, str(policy.workspace), env or {}, Limits())


def laid(policy: SandboxPolicy) -> list[Mount]:
    return mounts(policy, MACHINE, Limits())


def places(policy: SandboxPolicy, option: str) -> set[str]:
    return {mount.place for mount in laid(policy) if option in mount.words}


@given(policies, commands, variables)
def test_every_command_is_confined_and_stands_last(
    policy: SandboxPolicy, command: list[str], env: dict[str, str]
) -> None:
    line = words(policy, command, env)
    options = line[: len(line) - len(command)]
    assert line[len(options) :] == command
    assert options[-1] == "--"
    for flag in (
        "--unshare-user", "--unshare-all", "--die-with-parent", "--new-session",
        "--disable-userns", "--clearenv",
    ):  # fmt: skip
        assert flag in options
    assert options[options.index("--cap-drop") + 1] == "ALL"
    assert ("--share-net" in options) == policy.network
    assert options.index("--clearenv") < min(
        (i for i, word in enumerate(options) if word == "--setenv"), default=len(options)
    )


@given(policies)
def test_only_the_workspace_and_writable_folders_are_bound_for_writing(
    policy: SandboxPolicy,
) -> None:
    allowed = {str(policy.workspace), *map(str, policy.writable)}
    bound = places(policy, "--bind")
    assert bound == (allowed if policy.mode == "workspace-write" else set())
    assert not {"--dev-bind", "--bind-try", "--dev-bind-try"} & set(words(policy))


@given(policies, folders)
def test_network_and_writable_folders_take_no_mask_away(policy: SandboxPolicy, more: Path) -> None:
    wider = dataclasses.replace(policy, network=True, writable=(*policy.writable, more))
    masks = [m for m in laid(policy) if not m.shows or "/dev/null" in m.words]
    assert [m for m in laid(wider) if not m.shows or "/dev/null" in m.words] == masks


@given(policies)
def test_the_order_is_base_masks_roots_protection(policy: SandboxPolicy) -> None:
    order = [mount.place for mount in laid(policy)]
    masks = [order.index(m) for m in ("/home", "/root", "/run", "/tmp", "/var/tmp")]
    last_at = {place: at for at, place in enumerate(order)}
    roots = [last_at[str(folder)] for folder in (policy.workspace, *policy.writable)]
    assert 0 < min(masks) <= max(masks) < min(roots)
    writes = policy.mode == "workspace-write"
    for name in MACHINE.protected:
        last = [m for m in laid(policy) if m.place == name][-1:]
        inside = within_any(name, map(str, (policy.workspace, *policy.writable)))
        assert bool(last) == (inside and writes)
        assert all(m.words == ("--ro-bind", name, name) for m in last)
        assert all(order.index(name) > root for root in roots if last)


@given(policies)
def test_every_private_folder_has_a_size(policy: SandboxPolicy) -> None:
    line = words(policy)
    for at, word in enumerate(line):
        if word == "--tmpfs":
            assert line[at - 2] == "--size"
            assert 0 < int(line[at - 1]) <= Limits().tmp_bytes


@given(policies)
def test_nothing_hidden_is_visible_and_the_workspace_is(policy: SandboxPolicy) -> None:
    shown = laid(policy)
    for hidden in ("/home/bob", "/home/ada/.ssh/id", "/opt/keys/k", "/run/docker.sock", "/tmp/x"):
        assert not visible(hidden, shown)
    assert visible(str(policy.workspace), shown)
    assert visible("/usr/bin", shown)
    assert visible("/root/py/3.11/lib", shown)
    assert visible("/home/ada/venv/bin", shown)
    assert visible("/srv/other", shown) == (policy.readable == "all")


def test_a_venv_behind_a_link_is_shown_where_the_kernel_knows_it() -> None:
    assert Mount("/home/ada/venv", ("--ro-bind", "/data/venv", "/home/ada/venv")) in laid(
        SandboxPolicy(workspace=Path("/srv/shared"))
    )


def test_the_resolver_is_shown_with_the_network_only() -> None:
    policy = SandboxPolicy(workspace=Path("/srv/shared"))
    assert "/run/resolv.conf" not in places(policy, "--ro-bind")
    assert "/run/resolv.conf" in places(dataclasses.replace(policy, network=True), "--ro-bind")


def test_a_minimal_root_cannot_be_written() -> None:
    line = words(SandboxPolicy(workspace=Path("/srv/shared"), readable=()))
    assert line[line.index("--remount-ro", line.index("/srv/shared")) + 1] == "/"


def test_variables_go_by_setenv_also_without_confinement() -> None:
    line = unconfined(["true"], "/", {"LD_PRELOAD": "x.so"})
    assert line[line.index("--clearenv") + 1 :] == ["--setenv", "LD_PRELOAD", "x.so", "--", "true"]


@given(st.lists(st.sampled_from(["/", "/a", "/a/b", "/ab", "/b/c/d", "/b/c"])))
def test_outermost_covers_all_and_nothing_twice(paths: list[str]) -> None:
    kept = outermost(paths)
    assert all(within_any(path, kept) for path in paths)
    assert not any(within_any(path, set(kept) - {path}) for path in kept)
