"""What a confined command tries and fails at; beside each, that it works when nothing confines."""

from __future__ import annotations

import os
import shlex
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from codex_magic import cell
from codex_magic.api import options
from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox import CommandResult, run
from codex_magic.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("sandboxed")

Bare = Callable[..., CommandResult]
# The second one is not in every kernel; where it is not, there is nothing to protect.
KERNEL_SETTINGS = [
    path
    for path in ("/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger")
    if os.access(path, os.F_OK)
]
root_only = pytest.mark.skipif(os.geteuid() != 0, reason="nobody but root could do this anyway")


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


@pytest.mark.parametrize("name", [".ssh/id_rsa", ".codex/auth.json", ".netrc", "kernel-1.json"])
def test_the_home_is_hidden(policy: SandboxPolicy, home: Path, bare: Bare, name: str) -> None:
    command = ["cat", str(home / name)]
    assert "treasure" in bare(command).stdout
    result = run(command, policy=policy)
    assert result.exit_code == 1
    assert "treasure" not in result.stdout


def test_the_kernels_runtime_folder_is_hidden_wherever_it_is(
    policy: SandboxPolicy, room: Path, bare: Bare, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder := room / "runtime").mkdir()
    (folder / "kernel-7.json").write_text("treasure")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(folder))
    command = ["cat", str(folder / "kernel-7.json")]
    assert "treasure" in bare(command).stdout
    assert run(command, policy=policy).exit_code == 1


@root_only
@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/gshadow"])
def test_password_files_are_hidden_from_root(policy: SandboxPolicy, bare: Bare, path: str) -> None:
    assert bare(["cat", path]).stdout
    assert not run(["cat", path], policy=policy).stdout


def test_no_environment_holds_the_kernels_secrets(
    policy: SandboxPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "treasure")
    monkeypatch.setenv("INNOCENT_NAME", "treasure")
    command = ["sh", "-c", "env; cat /proc/*/environ | tr '\\0' '\\n'"]
    full = SandboxPolicy(mode="full-access", workspace=policy.workspace)
    control = run(command, policy=full).stdout
    assert "INNOCENT_NAME=treasure" in control
    assert "OPENAI_API_KEY" not in control
    result = run(command, policy=policy)
    assert "PATH=" in result.stdout
    assert "treasure" not in result.stdout


def test_other_processes_are_not_there(policy: SandboxPolicy, bare: Bare) -> None:
    command = python("import glob; print(*(open(f).read() for f in glob.glob('/proc/*/cmdline')))")
    assert "pytest" in bare(command).stdout
    result = run(command, policy=policy)
    assert result.exit_code == 0
    assert "pytest" not in result.stdout


@pytest.mark.parametrize("way", ["{outside}", "../outside", "link"])
def test_nothing_is_written_outside(policy: SandboxPolicy, bare: Bare, way: str) -> None:
    outside = policy.workspace.parent / "outside"
    outside.write_text("untouched")
    (policy.workspace / "link").symlink_to(outside)
    command = f"echo changed > {shlex.quote(way.format(outside=outside))}"
    run(command, policy=policy)
    assert outside.read_text() == "untouched"
    bare(command)
    assert outside.read_text() == "changed\n"


@pytest.mark.parametrize("door", ["/proc/self/root", "/proc/1/root"])
def test_proc_is_no_way_out(policy: SandboxPolicy, home: Path, bare: Bare, door: str) -> None:
    if door == "/proc/self/root":
        assert "treasure" in bare(["cat", f"{door}{home}/.netrc"]).stdout
    assert not run(["cat", f"{door}{home}/.netrc"], policy=policy).stdout
    outside = policy.workspace.parent / "outside"
    run(f"echo changed > {door}{outside}", policy=policy)
    assert not outside.exists()


@pytest.mark.parametrize(
    "name", [".bashrc", ".local/lib/python3.11/site-packages/sitecustomize.py"]
)
def test_start_files_in_the_home_are_safe(
    policy: SandboxPolicy, home: Path, bare: Bare, name: str
) -> None:
    command = f'mkdir -p "$(dirname ~/{name})" && echo evil > ~/{name} && echo done'
    assert run(command, policy=policy).stdout == "done\n"
    assert not (home / name).exists() or "evil" not in (home / name).read_text()
    bare(command)
    assert "evil" in (home / name).read_text()


@pytest.mark.parametrize("folder", ["/tmp", "/var/tmp", "/dev/shm"])
def test_temporary_files_are_private(policy: SandboxPolicy, bare: Bare, folder: str) -> None:
    path = Path(folder, f"left-by-{policy.workspace.parent.name}")
    command = f"echo here > {path} && cat {path}"
    try:
        assert run(command, policy=policy).stdout == "here\n"
        assert not path.exists()
        bare(command)
        assert path.exists()
    finally:
        path.unlink(missing_ok=True)


def test_temporary_files_have_a_size(policy: SandboxPolicy) -> None:
    fill = "for d in /tmp /dev/shm ~ /run /dev; do head -c 9M /dev/zero > $d/x && echo $d; done"
    assert run(fill, policy=policy, limits=Limits(tmp_bytes=2**20)).stdout == ""
    assert "/tmp" in run(fill, policy=policy, limits=Limits(tmp_bytes=2**25)).stdout


@pytest.mark.parametrize(
    ("name", "attempt"),
    [
        (".git/hooks/pre-commit", "echo evil > .git/hooks/pre-commit"),
        (".git/config", "echo evil >> .git/config"),
        (".git/config", "mv .git aside; mkdir .git; echo evil > .git/config"),
        (".codex/config.toml", "rm -rf .codex; mkdir .codex; echo evil > .codex/config.toml"),
        (".venv/lib/evil.pth", "echo evil > .venv/lib/evil.pth"),
    ],
)
@pytest.mark.parametrize("where", ["workspace", "writable"])
def test_what_steers_other_programs_is_read_only(  # noqa: PLR0913, PLR0917
    policy: SandboxPolicy, room: Path, bare: Bare, name: str, attempt: str, where: str
) -> None:
    folder = room / where
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("good\n")
    policy = SandboxPolicy(workspace=policy.workspace, writable=(folder,))
    result = run(attempt, policy=policy, cwd=folder)
    assert result.exit_code != 0
    assert (folder / name).read_text() == "good\n"
    bare(attempt, cwd=folder)
    assert "evil" in (folder / name).read_text()


def test_a_worktrees_pointer_and_what_it_points_to_are_read_only(room: Path, bare: Bare) -> None:
    main, tree = room / "main", room / "workspace"
    (main / ".git/worktrees/tree").mkdir(parents=True)
    (main / ".git/worktrees/tree/commondir").write_text("../..\n")
    (main / ".git/config").write_text("good\n")
    tree.mkdir(exist_ok=True)
    (tree / ".git").write_text(f"gitdir: {main}/.git/worktrees/tree\n")
    policy = SandboxPolicy(workspace=tree, writable=(main / ".git",))
    attempt = f"echo evil > {main}/.git/config; rm -f .git; echo evil > .git"
    run(attempt, policy=policy)
    assert (main / ".git/config").read_text() == "good\n"
    assert (tree / ".git").read_text().startswith("gitdir")
    bare(attempt)
    assert (main / ".git/config").read_text() == "evil\n"


@pytest.fixture
def listening(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A server of the machine that says hello."""
    kind = request.param
    family = socket.AF_INET if kind == "tcp" else socket.AF_UNIX
    address = {"tcp": ("127.0.0.1", 0), "abstract": f"\0{tmp_path}", "path": f"{tmp_path}/s"}[kind]
    with (
        socket.create_server(("127.0.0.1", 0)) if kind == "tcp" else socket.socket(family) as server
    ):
        if kind != "tcp":
            server.bind(address)
            server.listen()

        def greet() -> None:
            try:
                while True:
                    with server.accept()[0] as peer:
                        peer.sendall(b"hello")
            except OSError:
                return

        thread = threading.Thread(target=greet)
        thread.start()
        yield f"({int(family)}, {server.getsockname()!r})"
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("listening", ["tcp", "abstract", "path"], indirect=True)
def test_no_socket_of_the_machine_is_reached(
    policy: SandboxPolicy, bare: Bare, listening: str
) -> None:
    code = f"""
import socket
family, address = {listening}
peer = socket.socket(family)
peer.connect(address)
print(peer.recv(9))
"""
    assert "hello" in bare(python(code)).stdout
    result = run(python(code), policy=policy)
    assert result.exit_code == 1
    assert "Error: [Errno" in result.stderr


@pytest.mark.parametrize("listening", ["tcp"], indirect=True)
def test_a_granted_network_is_there_and_the_home_still_hidden(
    policy: SandboxPolicy, home: Path, listening: str
) -> None:
    code = f"""
import pathlib, socket
family, address = {listening}
peer = socket.socket(family)
peer.connect(address)
print(peer.recv(9), pathlib.Path({str(home / ".netrc")!r}).exists())
"""
    granted = SandboxPolicy(workspace=policy.workspace, network=True)
    result = run(python(code), policy=granted)
    assert result.stdout == "b'hello' False\n"
    assert result.receipt.network


@root_only
def test_root_has_no_capabilities_and_mounts_nothing(policy: SandboxPolicy, bare: Bare) -> None:
    code = """
import ctypes, re
c = ctypes.CDLL(None, use_errno=True)
print(re.findall("Cap(?:Eff|Prm|Bnd):.*?([0-9a-f]+)", open("/proc/self/status").read()))
unshared = c.unshare(0x10000000)
print("mounted", c.mount(b"none", b"/mnt", b"tmpfs", 0, None), "user namespace", unshared)
c.umount(b"/mnt")
"""
    outside = bare(python(code)).stdout
    assert "'0000000000000000'" not in outside
    assert "user namespace 0" in outside
    inside = run(python(code), policy=policy).stdout
    assert inside.count("'0000000000000000'") == 3
    assert "mounted -1 user namespace -1" in inside


@root_only
@pytest.mark.parametrize("path", KERNEL_SETTINGS)
def test_the_kernels_settings_cannot_be_opened_for_writing(
    policy: SandboxPolicy, bare: Bare, path: str
) -> None:
    code = f"import os; os.close(os.open({path!r}, os.O_WRONLY)); print('opened')"
    assert bare(python(code)).stdout == "opened\n"
    assert run(python(code), policy=policy).stdout == ""


@root_only
def test_no_control_group_can_be_made(policy: SandboxPolicy) -> None:
    folders = [f for f in Path("/sys/fs/cgroup").glob("*") if os.access(f, os.W_OK) and f.is_dir()]
    if not folders:
        pytest.skip("there are no control groups to write to")
    trial = folders[0] / "codex-magic-test"
    trial.mkdir()
    trial.rmdir()
    assert run(["mkdir", str(trial)], policy=policy).exit_code == 1
    assert not trial.exists()


@pytest.mark.parametrize("way", ["env", "full-access"])
def test_a_library_to_preload_loads_in_the_sandbox_only(
    policy: SandboxPolicy, way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A preload that is not there is complained about by every dynamic program that starts with it.
    if way == "full-access":
        policy = SandboxPolicy(mode="full-access", workspace=policy.workspace)
    monkeypatch.setenv("LD_PRELOAD", "")
    result = run(
        ["sh", "-c", "tr '\\0' '\\n' < /proc/1/environ; echo $LD_PRELOAD"],
        policy=policy,
        env={"LD_PRELOAD": "/nowhere/evil.so"},
    )
    assert result.stdout == "PATH=/usr/bin:/bin\n/nowhere/evil.so\n"


def test_programs_in_the_workspace_are_not_taken_for_the_systems(policy: SandboxPolicy) -> None:
    for name in ("ls", "bwrap", "sh"):
        path = policy.workspace / name
        path.write_text("#!/bin/sh\necho hijacked\n")
        path.chmod(0o755)
    result = run("ls", policy=policy)
    assert "hijacked" not in result.stdout
    assert "bwrap" in result.stdout
    assert run("./ls", policy=policy).stdout == "hijacked\n"


def test_the_kernels_python_imports_inside(policy: SandboxPolicy, home: Path) -> None:
    code = "import sys, json, hypothesis, ssl; print(sys.prefix, hypothesis.__file__)"
    expected = f"{sys.prefix} {hypothesis.__file__}\n"
    for readable in ("all", ()):
        minimal = SandboxPolicy(workspace=policy.workspace, readable=readable)
        result = run(["python", "-c", code], policy=minimal)
        assert result.stdout == expected, result.stderr


def test_only_readable_paths_are_shown(
    policy: SandboxPolicy, room: Path, bare: Bare, monkeypatch: pytest.MonkeyPatch
) -> None:
    imports = [entry for entry in sys.path if not room.is_relative_to(Path(entry).resolve())]
    monkeypatch.setattr(sys, "path", imports)
    for name in ("shown", "other"):
        (room / name).mkdir()
        (room / name / "file").write_text(name)
    minimal = SandboxPolicy(workspace=policy.workspace, readable=(room / "shown",))
    command = f"cat {room}/shown/file; cat {room}/other/file"
    assert bare(command).stdout == "shownother"
    assert run(command, policy=minimal).stdout == "shown"
    assert run(f"echo x > {room}/shown/file; echo x > /x", policy=minimal).exit_code != 0
    assert (room / "shown/file").read_text() == "shown"


def test_read_only_reads_but_does_not_write(policy: SandboxPolicy, bare: Bare) -> None:
    (policy.workspace / "data").write_text("kept")
    looking = SandboxPolicy(mode="read-only", workspace=policy.workspace)
    command = "cat data && echo gone > data"
    result = run(command, policy=looking)
    assert result.stdout == "kept"
    assert (policy.workspace / "data").read_text() == "kept"
    assert bare(command).exit_code == 0
    assert (policy.workspace / "data").read_text() == "gone\n"


def test_nothing_is_left_in_the_workspace(policy: SandboxPolicy, home: Path) -> None:
    before = sorted(policy.workspace.parent.rglob("*"))
    assert run(["true"], policy=policy).exit_code == 0
    assert sorted(policy.workspace.parent.rglob("*")) == before


def test_the_search_tool_that_models_are_used_to_is_there(policy: SandboxPolicy) -> None:
    (Path(policy.workspace) / "a.txt").write_text("needle\n")
    assert run(["rg", "--no-filename", "needle"], policy=policy).stdout == "needle\n"


@pytest.mark.parametrize("mode", ["read-only", "workspace-write"])
def test_what_somebody_wants_hidden_is_hidden_also_in_the_workspace(
    policy: SandboxPolicy, bare: Bare, mode: str
) -> None:
    for name in (".env", "keys/one", "data/shown"):
        (policy.workspace / name).parent.mkdir(exist_ok=True)
        (policy.workspace / name).write_text("treasure\n")
    hidden = tuple(policy.workspace / name for name in (".env", "keys", "missing"))
    hiding = SandboxPolicy(mode=mode, workspace=policy.workspace, hidden=hidden)  # type: ignore[arg-type]
    command = "cat .env keys/one data/shown; rm -rf .env keys; mv keys other"
    assert run(command, policy=hiding).stdout == "treasure\n"
    assert bare("cat .env keys/one data/shown").stdout == "treasure\n" * 3


@pytest.mark.parametrize(
    "name", ["CODEX_MAGIC_TOKEN_FILE", "CODEX_MAGIC_ENV_FILE", "CODEX_CREDENTIALS_FILE"]
)
@pytest.mark.parametrize("place", ["room/tokens/auth.json", "workspace/auth.json", "home/a.json"])
def test_a_file_of_credentials_is_hidden_wherever_it_is(  # noqa: PLR0913, PLR0917 - fixtures, two cases
    policy: SandboxPolicy,
    home: Path,
    room: Path,
    bare: Bare,
    name: str,
    place: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    first, _, rest = place.partition("/")
    path = Path({"room": room, "workspace": policy.workspace, "home": home}[first], rest)
    path.parent.mkdir(exist_ok=True)
    path.write_text("treasure")
    (link := policy.workspace / "link").symlink_to(path)
    monkeypatch.setenv(name, f"~/{rest}" if first == "home" else str(path))
    command = f"cat {path} {link}; mv {path} {path}.moved; cat {path}.moved; true"
    assert "treasure" in bare(["cat", str(path)]).stdout
    for mode in ("read-only", "workspace-write"):
        hiding = SandboxPolicy(mode=mode, workspace=policy.workspace)  # type: ignore[arg-type]
        assert run(command, policy=hiding).stdout == ""
    assert path.read_text() == "treasure"


def test_a_file_of_credentials_that_a_notebook_names_is_hidden(
    policy: SandboxPolicy, bare: Bare
) -> None:
    path = policy.workspace / "auth.json"
    path.write_text("treasure")
    named = Settings(token_file=str(path))
    asked = [
        cell.parse("", "x", settings=named, cwd=policy.workspace).policy,
        options.request("x", {}, settings=named, cwd=policy.workspace, thread="main").policy,
    ]
    assert bare(["cat", str(path)]).stdout == "treasure"
    assert [run(["cat", str(path)], policy=one).stdout for one in asked] == ["", ""]


def test_what_somebody_wants_protected_is_read_only(policy: SandboxPolicy) -> None:
    (policy.workspace / "kept").write_text("good")
    kept = SandboxPolicy(workspace=policy.workspace, protected=(policy.workspace / "kept",))
    assert run("echo evil > kept || mv kept other", policy=kept).exit_code != 0
    assert (policy.workspace / "kept").read_text() == "good"


def test_more_variables_are_passed_only_by_name(
    policy: SandboxPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE", "one")
    monkeypatch.setenv("OTHER", "two")
    passing = SandboxPolicy(workspace=policy.workspace, env_allow=("DATABASE", "MISSING"))
    assert run("echo $DATABASE$OTHER", policy=passing).stdout == "one\n"
    assert run("echo $DATABASE$OTHER", policy=policy).stdout == "\n"
