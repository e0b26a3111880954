"""Laws about the profile for macOS, read by an interpreter of the few forms it uses."""

from __future__ import annotations

import dataclasses
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.policy import SandboxPolicy
from codex_magic.sandbox.bwrap import Machine, within, within_any
from codex_magic.sandbox.seatbelt import SANDBOX_EXEC, START, Profile, arguments, profile

MACHINE = Machine(
    home="/Users/ada",
    covered=("/Users/ada", "/private/var/run"),
    secret=("/Users/ada/.ssh", "/opt/keys"),
    secret_files=("/private/etc/sudoers", "/Users/ada/kernel-1.json"),
    python=(("/usr/local/py", "/usr/local/py"), ("/data/venv", "/Users/ada/venv")),
    scratch=("/private/tmp",),
    protected=("/Users/ada/work/sub/.git", "/srv/shared/.codex", "/Users/ada/work/a.ipynb"),
)
SCRATCH = "/private/tmp/own"
STEERING = (".git", ".codex", ".bashrc", "jupyter*_config.py")
FOLDERS = (
    "/Users/ada/work", "/Users/ada/work/sub/deep", "/private/tmp/w", "/srv/shared",
    '/srv/") (allow default) ("', "/srv/é x\n(allow default)", "/srv/a.b+c[d]|e\\f",
)  # fmt: skip
folders = st.sampled_from(FOLDERS).map(Path)
policies = st.builds(
    SandboxPolicy,
    mode=st.sampled_from(["read-only", "workspace-write"]),
    workspace=folders,
    network=st.booleans(),
    unix_sockets=st.booleans(),
    writable=st.lists(folders, max_size=3).map(tuple),
    readable=st.sampled_from(["all", "minimal"]) | st.lists(folders, max_size=2).map(tuple),
)
writing = policies.filter(lambda policy: policy.mode == "workspace-write")
paths = st.lists(
    st.sampled_from(["Users", "ada", "work", "sub", "srv", "etc", "opt", ".git", "x"]), min_size=1
).map(lambda parts: "/" + "/".join(parts))


def made(policy: SandboxPolicy, machine: Machine = MACHINE) -> Profile:
    return profile(policy, machine, scratch=SCRATCH, steering=STEERING)


def own(policy: SandboxPolicy) -> list[str]:
    return [str(policy.workspace), *map(str, policy.writable)]


def read(text: str) -> list[Any]:
    """Read the forms of a profile; a text that is not one raises."""
    stack: list[list[Any]] = [[]]
    for token in re.findall(r'"(?:[^"\\]|\\.)*"|[()]|[^\s()"]+', text):
        if token == "(":
            stack.append([])
        elif token == ")":
            form = stack.pop()
            stack[-1].append(form)
        else:
            stack[-1].append(token)
    (forms,) = stack
    return forms


def rules(found: Profile) -> list[tuple[str, list[str], list[tuple[str, str]]]]:
    """Return verdict, operations and filters of each rule, parameters filled in."""
    values = dict(found.parameters)
    result = []
    for verdict, *rest in read(found.text)[1:]:
        operations = [word for word in rest if isinstance(word, str)]
        filters = []
        for kind, value in (form for form in rest if not isinstance(form, str)):
            filled = values[value[1].strip('"')] if isinstance(value, list) else value.strip('"')
            filters.append((kind, filled))
        result.append((verdict, operations, filters))
    return result


def allowed(found: Profile, operation: str, path: str) -> bool:
    """Return what the profile says about `path`: the last rule that matches holds."""
    matches = {
        "literal": lambda value: value == path,
        "subpath": lambda value: within(path, value),
        "regex": lambda value: re.search(value, path) is not None,
    }
    verdict = ""
    for said, operations, filters in rules(found):
        named = any(
            operation.startswith(name[:-1])
            if name.endswith("*")
            else name in {operation, "default"}
            for name in operations
        )
        fits = not filters or any(
            matches[kind](value) for kind, value in filters if kind in matches
        )
        if named and fits:
            verdict = said
    return verdict == "allow"


def can_write(found: Profile, path: str) -> bool:
    return allowed(found, "file-write-data", path)


def can_read(found: Profile, path: str) -> bool:
    return allowed(found, "file-read-data", path)


@given(policies)
def test_every_profile_begins_by_denying_everything(policy: SandboxPolicy) -> None:
    found = made(policy)
    assert read(found.text)[:2] == [["version", "1"], ["deny", "default"]]
    assert not any("default" in operations for _, operations, _ in rules(found)[1:])
    for operation in (
        "mach-register",
        "system-privilege",
        "iokit-open",
        "process-info-dirtycontrol",
    ):
        verdicts = [said for said, names, _ in rules(found) if operation in names]
        assert verdicts == []


@given(policies)
def test_names_of_files_are_never_part_of_the_text(policy: SandboxPolicy) -> None:
    found = made(policy)
    plain = made(SandboxPolicy(workspace=Path("/w")))
    shape = [form[0] for form in read(found.text)]
    assert set(shape) <= {"version", "allow", "deny"}
    for folder in (*own(policy), *MACHINE.covered, *MACHINE.secret, SCRATCH):
        if folder != "/private/var/run":  # the system's resolver has its socket there
            assert folder not in found.text
    assert "allow default" not in found.text
    assert set(re.findall(r'\(param "(\w+)"\)', found.text)) == {n for n, _ in found.parameters}
    assert plain.text.startswith(found.text.partition("(allow file-read*")[0])


@given(policies, paths)
def test_only_own_folders_are_written(policy: SandboxPolicy, path: str) -> None:
    mine = [SCRATCH, *(own(policy) if policy.mode == "workspace-write" else [])]
    if can_write(made(policy), path):
        assert within_any(path, mine)
    assert can_write(made(policy), f"{SCRATCH}/x")
    for folder in own(policy):
        assert can_write(made(policy), f"{folder}/x.py") == within_any(folder, mine)


@given(policies)
def test_what_is_hidden_cannot_be_read_and_what_is_shown_can(policy: SandboxPolicy) -> None:
    found = made(policy)
    for path in ("/Users/ada/.ssh/id", "/Users/ada/.netrc", "/opt/keys", "/private/tmp/x",
                 "/private/etc/sudoers", "/private/var/run/docker.sock"):  # fmt: skip
        assert not can_read(found, path)
        assert not allowed(found, "file-read-metadata", path)
    for path in (*own(policy), "/Users/ada/venv/bin", "/data/venv", "/usr/bin/true", SCRATCH):
        assert can_read(found, path)
    assert allowed(found, "file-read-metadata", "/Users/ada")
    assert not can_read(found, "/Users/ada")
    assert can_read(found, "/srv/other/x") == (policy.readable == "all")


@given(writing, st.sampled_from([".git", ".GIT", ".Git/hooks/x", ".bashrc", "jupyter_X_Config.py"]))
def test_what_steers_other_programs_cannot_be_made_in_letters_of_any_case(
    policy: SandboxPolicy, name: str
) -> None:
    for folder in own(policy):
        assert not can_write(made(policy), f"{folder}/{name}")
        assert can_write(made(policy), f"{folder}/x{name}")
        assert can_write(made(policy), f"{folder}/x/{name}") or within_any(
            f"{folder}/x/{name}", [f"{other}/{name}" for other in own(policy)]
        )


@given(writing)
def test_what_is_protected_stays_and_so_do_the_folders_above_it(policy: SandboxPolicy) -> None:
    found = made(policy)
    for path in MACHINE.protected:
        assert not can_write(found, path)
        assert not can_write(found, f"{path}/x")
        for above in (path, *map(str, Path(path).parents)):
            assert not allowed(found, "file-write-unlink", above)
    for folder in own(policy):
        assert not allowed(found, "file-write-unlink", folder)
        assert allowed(found, "file-write-unlink", f"{folder}/x")


def test_what_a_person_opened_can_be_written_but_nothing_protected_in_it() -> None:
    work = Path("/Users/ada/work")
    policy = SandboxPolicy(
        workspace=work, unprotected=(work / ".git",), protected=(work / ".git/hooks",)
    )
    found = made(policy)
    assert can_write(found, "/Users/ada/work/.git/index")
    assert not can_write(found, "/Users/ada/work/.git/hooks/x")
    assert not can_write(found, "/Users/ada/work/.codex/x")
    assert not can_write(made(dataclasses.replace(policy, mode="read-only")), str(work / ".git/x"))


@given(policies, folders)
def test_to_grant_more_takes_no_mask_away(policy: SandboxPolicy, more: Path) -> None:
    wider = dataclasses.replace(
        policy, network=True, unix_sockets=True, writable=(*policy.writable, more)
    )

    def denied(of: SandboxPolicy) -> set[tuple[str, str, str]]:
        return {
            (operation, kind, value)
            for said, operations, filters in rules(made(of))
            if said == "deny"
            for operation in operations
            for kind, value in filters or [("", "")]
        }

    assert denied(policy) <= denied(wider)


@given(policies)
def test_the_network_is_there_only_where_it_is_granted(policy: SandboxPolicy) -> None:
    talk = [
        (operations, filters)
        for said, operations, filters in rules(made(policy))
        if said == "allow" and any(name.startswith("network") for name in operations)
    ]
    internet = [filters for _, filters in talk if ("remote", "ip") in filters]
    assert bool(internet) == policy.network
    assert bool(talk) == (policy.network or policy.unix_sockets)
    assert all(filters for _, filters in talk)
    found = made(dataclasses.replace(policy, network=False))
    reach = allowed(found, "network-outbound", f"{SCRATCH}/socket")
    assert reach == policy.unix_sockets
    assert not allowed(found, "network-outbound", "/private/var/run/docker.sock")


@given(policies)
def test_no_file_gets_a_setuid_bit(policy: SandboxPolicy) -> None:
    for folder in (*own(policy), SCRATCH):
        assert not allowed(made(policy), "file-write-setugid", f"{folder}/x")


def test_a_list_without_entries_makes_no_rule() -> None:
    empty = profile(SandboxPolicy(workspace=Path("/w")), Machine(), scratch=SCRATCH, steering=())
    everywhere = [(said, names) for said, names, filters in rules(empty) if not filters]
    assert everywhere == [
        ("deny", ["default"]),
        ("allow", ["process-exec"]),
        ("allow", ["process-fork"]),
        ("allow", ["sysctl-read"]),
        ("allow", ["ipc-posix-sem"]),
        ("allow", ["file-read*"]),
        ("deny", ["file-write-setugid"]),
    ]


@given(policies, st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_the_line_names_the_program_the_profile_the_values_and_the_command(
    policy: SandboxPolicy, command: list[str]
) -> None:
    cwd = str(policy.workspace)
    line = arguments(policy, MACHINE, command, cwd, scratch=SCRATCH, steering=STEERING)
    found = made(policy)
    assert line[:3] == [SANDBOX_EXEC, "-p", found.text]
    end = 3 + 2 * len(found.parameters)
    assert line[3:end:2] == ["-D"] * len(found.parameters)
    assert line[4:end:2] == [f"{name}={value}" for name, value in found.parameters]
    assert line[end:] == ["--", *START, cwd, *command]


@pytest.mark.parametrize("name", ["plain", "with space", "-n", "a'b\"c$(d)\n"])
def test_the_first_shell_hands_the_command_on_as_it_is(tmp_path: Path, name: str) -> None:
    (folder := tmp_path / name).mkdir()
    command = ["/bin/sh", "-c", 'pwd; printf "%s\\n" "$@"', "-", "a b", "", "$x", "-e"]
    done = subprocess.run(
        [*START, str(folder), *command], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{folder}\na b\n\n$x\n-e\n"
    gone = subprocess.run([*START, str(folder / "gone"), "echo"], capture_output=True, check=False)
    assert (gone.stdout, gone.returncode != 0) == (b"", True)
