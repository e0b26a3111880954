"""What a command is kept from where only Landlock can be had, and that nothing of it survives."""

from __future__ import annotations

import contextlib
import os
import runpy
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
from hypothesis import strategies as st

from codex_magic import binary
from codex_magic.errors import SandboxError
from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox import (
    environment,
    helped,
    landlock,
    machine,
    namespaced,
    probe,
    process,
    seccomp,
    tree,
)
from codex_magic.sandbox.bwrap import Machine, arguments, within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codex_magic.sandbox.landlock import Plan
    from codex_magic.sandbox.process import Ended

SIMULATIONS = runpy.run_path(str(Path(__file__).with_name("simulations.py")))
NAMES, ORDINARY, prefix = (SIMULATIONS[name] for name in ("NAMES", "ORDINARY", "prefix"))
ABI = landlock.abi()
ROOT = os.geteuid() == 0
needs_landlock = pytest.mark.skipif(ABI == 0, reason="this kernel offers no Landlock")
root_only = pytest.mark.skipif(not ROOT, reason="nobody but root could do this anyway")


def planned(
    command: list[str] | str, policy: SandboxPolicy, limits: Limits = Limits(), **options: object
) -> Plan:
    facts = machine.gather(policy)
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else command
    env = environment.confined(facts.home, {})
    options = {"abi": ABI, **options}
    return landlock.plan(policy, facts, argv, policy.workspace, env, limits, **options)


def confined(command: list[str] | str, policy: SandboxPolicy, **options: object) -> Ended:
    plan = planned(command, policy, **options)
    return process.supervise(lambda: helped.start(plan), options.get("limits", Limits()))


def free(command: list[str] | str, policy: SandboxPolicy) -> Ended:
    """Run the same with nothing to confine it: the control."""
    argv = ["/bin/sh", "-c", command] if isinstance(command, str) else command
    env = environment.open_to_all({})
    return process.supervise(lambda: tree.start(argv, cwd=str(policy.workspace), env=env), Limits())


def filtered(**options: bool) -> bytes:
    """Return the filter that goes with Landlock; skips where none is known."""
    try:
        return seccomp.program(landlocked=True, root=ROOT, **options)
    except SandboxError as error:
        pytest.skip(str(error))


def python(code: str, *words: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code, *words]


def living(mark: str) -> set[int]:
    """Return the processes whose command line holds `mark`."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state = (folder / "stat").read_text().rpartition(") ")[2][0]
            if mark.encode() in (folder / "cmdline").read_bytes() and state not in "ZX":
                found.add(int(folder.name))
    return found


def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


# --- the plan --------------------------------------------------------------------------------

FOLDERS = ["/a", "/a/b", "/a/c", "/a/b/d", "/a/b/e", "/a/b/d/f"]
FILES = ["/a/1", "/a/b/2", "/a/b/d/3", "/a/b/d/f/4", "/a/c/5"]


def look(folder: str) -> list[str]:
    return [path for path in FOLDERS + FILES if path.rpartition("/")[0] == folder]


@hypothesis.given(st.sets(st.sampled_from(FOLDERS + FILES)))
def test_what_is_carved_out_is_in_no_entry_and_everything_else_is(excluded: set[str]) -> None:
    entries = list(landlock.carved("/a", excluded, look))
    for file in FILES:
        out = any(within(file, path) for path in excluded)
        assert sum(within(file, entry) for entry in entries) == (0 if out else 1)
    assert not any(within(path, entry) for path in excluded for entry in entries)


def test_a_folder_is_taken_apart_only_where_it_must_be() -> None:
    assert list(landlock.carved("/a", [], look)) == ["/a"]
    entries = list(landlock.carved("/a", ["/a/b/d"], look))
    assert entries == ["/a/b/e", "/a/b/2", "/a/c", "/a/1"]
    assert list(landlock.carved("/a", ["/a"], look)) == []


@pytest.mark.parametrize(
    ("abi", "handled"),
    [
        (1, ((1 << 13) - 1, 0, 0)),
        (2, ((1 << 14) - 1, 0, 0)),
        (3, ((1 << 15) - 1, 0, 0)),
        (4, ((1 << 15) - 1, 3, 0)),
        (5, ((1 << 16) - 1, 3, 0)),
        (6, ((1 << 16) - 1, 3, 3)),
        (9, ((1 << 16) - 1, 3, 3)),
    ],
)
def test_every_version_withholds_what_it_knows_and_no_more(
    policy: SandboxPolicy, abi: int, handled: tuple[int, int, int]
) -> None:
    plan = landlock.plan(policy, Machine(), ["true"], "/", {}, Limits(), abi=abi)
    assert plan.handled == handled
    assert all(rights & ~handled[0] == 0 for rights in plan.grants.values())


def test_a_granted_network_is_not_withheld(workspace: Path) -> None:
    policy = SandboxPolicy(workspace=workspace, network=True)
    plan = landlock.plan(policy, Machine(), ["true"], "/", {}, Limits(), abi=7)
    assert plan.handled[1:] == (0, 3)


def test_a_link_is_never_granted_for_what_it_leads_to(policy: SandboxPolicy, room: Path) -> None:
    (policy.workspace / ".git").mkdir()
    (policy.workspace / "link").symlink_to(room)
    (policy.workspace / "folder").mkdir()
    facts = Machine(protected=(str(policy.workspace / ".git"),))
    plan = landlock.plan(policy, facts, ["true"], "/", {}, Limits(), abi=7)
    written = [path for path, rights in plan.grants.items() if rights & landlock.MAKE_REG]
    assert written == [str(policy.workspace / "folder")]
    assert [".git" in note and str(policy.workspace) in note for note in plan.notes] == [True]


def test_a_policy_that_only_reads_grants_no_write(workspace: Path) -> None:
    policy = SandboxPolicy(mode="read-only", workspace=workspace)
    grants = planned(["true"], policy).grants
    written = {path for path, rights in grants.items() if rights & landlock.CHANGE}
    assert written == {"/dev/null", "/dev/zero", "/dev/full"}


@pytest.mark.parametrize("has_filter", [False, True])
def test_a_newer_version_keeps_more_and_misses_less(has_filter: bool) -> None:
    versions = range(1, 8)
    kept = [len(landlock.enforced(abi, filtered=has_filter)) for abi in versions]
    missed = [len(landlock.missing(abi, filtered=has_filter)) for abi in versions]
    assert kept == sorted(kept)
    assert missed == sorted(missed, reverse=True)
    assert missed[0] > missed[-1]


# --- what a command is kept from -------------------------------------------------------------


@needs_landlock
@pytest.mark.parametrize("way", ["{outside}", "../outside", "link", "/proc/self/root{outside}"])
def test_nothing_is_written_outside(policy: SandboxPolicy, way: str) -> None:
    outside = policy.workspace.parent / "outside"
    outside.write_text("untouched")
    (policy.workspace / "link").symlink_to(outside)
    command = f"echo changed > {shlex.quote(way.format(outside=outside))}; echo new > inside"
    confined(command, policy)
    assert (outside.read_text(), (policy.workspace / "inside").read_text()) == (
        "untouched",
        "new\n",
    )
    free(command, policy)
    assert outside.read_text() == "changed\n"


@needs_landlock
@pytest.mark.parametrize("name", [".ssh/id_rsa", ".codex/auth.json", ".netrc", "kernel-1.json"])
def test_the_home_is_closed(policy: SandboxPolicy, home: Path, name: str) -> None:
    command = ["cat", str(home / name)]
    assert "treasure" in free(command, policy).stdout.text()
    ended = confined(command, policy)
    assert (ended.exit_code, ended.stdout.text()) == (1, "")


@needs_landlock
@root_only
@pytest.mark.parametrize("path", ["/etc/shadow", "/etc/gshadow"])
def test_password_files_are_closed_but_their_folder_is_not(
    policy: SandboxPolicy, path: str
) -> None:
    assert free(["cat", path], policy).stdout.text()
    ended = confined(f"cat {path}; cat /etc/passwd; ls /etc", policy)
    lines = ended.stdout.text().splitlines()
    assert any(line.startswith("root:x:0:0") for line in lines)
    assert "passwd" in lines
    assert not any(line.startswith(("root:*", "root:!")) for line in lines)
    assert f"{path}: Permission denied" in ended.stderr.text()


@needs_landlock
@pytest.mark.parametrize("name", ["environ", "mem", "maps", "fd/0", "cwd/", "root/"])
def test_what_the_kernel_holds_is_closed(policy: SandboxPolicy, name: str) -> None:
    path = f"/proc/{os.getpid()}/{name}"
    reads = "import os,sys; p = sys.argv[1]; os.stat(p) if p[-1] in '/0' else open(p,'rb')"
    assert free(python(reads, path), policy).exit_code == 0
    ended = confined(python(reads, path), policy)
    assert ended.exit_code == 1
    assert "Permission denied" in ended.stderr.text()


@needs_landlock
def test_no_capability_and_no_way_to_one_is_left(policy: SandboxPolicy) -> None:
    lines = confined(["cat", "/proc/self/status"], policy).stdout.text().splitlines()
    facts = dict(line.split(":\t") for line in lines if ":\t" in line)
    held = {name: int(facts[f"Cap{name}"], 16) for name in ("Inh", "Prm", "Eff", "Bnd", "Amb")}
    if not ROOT:  # who may not empty this set cannot use it either
        del held["Bnd"]
    assert set(held.values()) == {0}
    assert facts["NoNewPrivs"] == "1"


@needs_landlock
@pytest.mark.skipif(ABI < landlock.SCOPES_SINCE, reason="this version knows no signals")
def test_no_signal_leaves_but_its_own_processes_get_them(policy: SandboxPolicy) -> None:
    command = f"kill -0 {os.getpid()}; echo $?; kill -0 $PPID; echo $?; sleep 9 & kill $!; echo $?"
    assert free(command, policy).stdout.text() == "0\n0\n0\n"
    assert confined(command, policy).stdout.text() == "1\n1\n0\n"


SOCKETS = """
import socket, sys
for family, kind in ((2, 1), (2, 2), (10, 1), (1, 1), (16, 3), (17, 3)):
    try:
        socket.socket(family, kind).close()
        print(family, kind)
    except OSError:
        pass
"""


@needs_landlock
def test_with_the_filter_there_are_no_sockets(policy: SandboxPolicy) -> None:
    command = [sys.executable, "-I", "-c", SOCKETS]
    assert {"2 1", "2 2", "1 1"} <= set(free(command, policy).stdout.text().splitlines())
    ended = confined(command, policy, filtered=filtered(network=False))
    assert (ended.exit_code, ended.stdout.text(), ended.stderr.text()) == (0, "", "")


@needs_landlock
@pytest.mark.skipif(ABI < landlock.NETWORK_SINCE, reason="this version knows no TCP")
@pytest.mark.parametrize("network", [False, True])
def test_tcp_is_closed_also_without_the_filter(workspace: Path, network: bool) -> None:
    policy = SandboxPolicy(workspace=workspace, network=network)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        code = "import socket,sys; socket.create_connection(('127.0.0.1', int(sys.argv[1])))"
        command = [sys.executable, "-I", "-c", code, port]
        assert free(command, policy).exit_code == 0
        assert confined(command, policy).exit_code == (0 if network else 1)


@needs_landlock
def test_what_steers_other_programs_is_kept_and_the_rest_can_be_written(
    policy: SandboxPolicy,
) -> None:
    folder = policy.workspace
    for name in (".git/hooks/old", "src/file", "notes"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("good\n")
    attempts = (
        *("echo evil > .git/hooks/new", "echo evil > .git/hooks/old", "mv .git aside"),
        *("ln .git/hooks/old src/linked && echo evil > src/linked", "rm -rf .git"),
    )
    ended = confined(
        "; ".join([*attempts, "echo fine > src/new", "echo fine > notes", "cat .git/hooks/old"]),
        policy,
    )
    found = {
        path.relative_to(folder).as_posix(): path.read_text()
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert found == {
        ".git/hooks/old": "good\n",
        "src/file": "good\n",
        "src/new": "fine\n",
        "notes": "fine\n",
    }
    assert ended.stdout.text() == "good\n"
    free(attempts[0], policy)
    assert (folder / ".git/hooks/new").exists()


@needs_landlock
def test_home_and_temporary_files_are_private_and_gone_afterwards(policy: SandboxPolicy) -> None:
    deep = "for i in 1 2 3 4 5 6 7 8 9; do mkdir -p $(printf 'x%.0s' $(seq 200)); cd x*; done"
    command = (
        "echo a > ~/a && echo b > $TMPDIR/b && cat ~/a $TMPDIR/b; dirname $TMPDIR;"
        f" cd ~; {deep}; mkdir -p closed/in; chmod 0 closed"
    )
    lines = confined(command, policy).stdout.text().splitlines()
    assert lines[:2] == ["a", "b"]
    assert Path(lines[2]).name.startswith("codex-magic-")
    assert not Path(lines[2]).exists()


@needs_landlock
def test_nothing_is_inherited_but_three_streams(policy: SandboxPolicy) -> None:
    code = (
        "import os; print(sorted(os.listdir('/proc/self/fd'))[:-1], os.readlink('/proc/self/fd/0'))"
    )
    assert confined(python(code), policy).stdout.text() == "['0', '1', '2'] /dev/null\n"


@needs_landlock
def test_limits_hold_in_the_plan_alone(policy: SandboxPolicy) -> None:
    limits = Limits(cpu_s=7, open_files=99, file_bytes=4096, memory_bytes=2**29)
    plan = planned("ulimit -Ht; ulimit -n; ulimit -d; ulimit -c", policy, limits)
    ended = process.supervise(lambda: helped.start(plan), Limits())
    assert ended.stdout.text() == "8\n99\n524288\n0\n"


@needs_landlock
def test_what_is_counted_is_the_commands_own(policy: SandboxPolicy) -> None:
    ballast = bytearray(os.urandom(1)) * (200 << 20)
    busy = python("import time\nwhile time.process_time() < 0.3: pass")
    ended = confined(busy, policy)
    assert len(ballast) > ended.peak_memory_bytes > 0
    assert 0.3 <= ended.cpu_s < 1


# --- how commands end ------------------------------------------------------------------------


@needs_landlock
@pytest.mark.parametrize(
    ("command", "code", "said"),
    [
        (["true"], 0, ""),
        ("exit 9", 9, ""),
        ("kill -9 $$", 137, ""),
        ("kill -TERM $$", 143, ""),
        ("exec >&- 2>&-; exit 4", 4, ""),
        (["./script"], 3, ""),
        (["no-such-program"], 127, "sandbox: 1: exec: no-such-program: not found\n"),
        (["./missing"], 127, "sandbox: 1: exec: ./missing: not found\n"),
        (["/etc/passwd"], 126, "sandbox: 1: exec: /etc/passwd: Permission denied\n"),
    ],
)
def test_the_end_is_told_as_a_shell_does(
    policy: SandboxPolicy, command: list[str] | str, code: int, said: str
) -> None:
    (script := policy.workspace / "script").write_text("exit 3\n")  # no line says who runs it
    script.chmod(0o755)
    ended = confined(command, policy)
    assert (ended.outcome, ended.exit_code) == ("exit", code)
    assert (ended.stdout.text(), ended.stderr.text()) == ("", said)


@needs_landlock
def test_a_confinement_that_fails_begins_nothing(policy: SandboxPolicy) -> None:
    plan = planned("echo began", policy, filtered=b"nonsense")
    ended = process.supervise(lambda: helped.start(plan), Limits())
    assert (ended.exit_code, ended.stdout.text()) == (None, "")
    assert ended.stderr.text().startswith("landlock: prctl: ")


@needs_landlock
def test_a_program_of_another_python_does_the_same(policy: SandboxPolicy) -> None:
    plan = planned("echo hello", policy)
    other = os.path.realpath(sys.executable)
    if other == sys.executable:
        other = f"/proc/self/root{other}"
    ended = process.supervise(lambda: helped.start(plan, other), Limits())
    assert (ended.exit_code, ended.stdout.text()) == (0, "hello\n")


# --- that nothing survives -------------------------------------------------------------------

SHAPES = """
import os, signal, sys, time
shape, flag = sys.argv[1:3]
r, w = os.pipe()
def stay():
    os.write(w, b".")
    time.sleep(600)
if os.fork() == 0:
    if shape in ("session", "daemon", "apart", "forking"):
        os.setsid()
    if shape == "daemon":
        if os.fork():
            os._exit(0)
        for fd in (0, 1, 2):
            os.close(fd)
    if shape == "deaf":
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
    if shape == "apart":
        os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    if shape == "stopped":
        os.write(w, b".")
        os.kill(os.getpid(), signal.SIGSTOP)
    if shape == "forking":
        os.write(w, b".")
        while os.path.exists(flag):
            with open(flag, "ab") as file:
                file.write(b".")
            if os.fork():
                os._exit(0)
            os.setsid()
            time.sleep(0.002)
        os._exit(0)
    stay()
for _ in range(int(shape) - 1 if shape.isdigit() else 0):
    if os.fork() == 0:
        os.setsid()
        stay()
for _ in range(int(shape) if shape.isdigit() else 1):
    os.read(r, 1)
print("ready", flush=True)
time.sleep(600)
"""
KINDS = ("plain", "session", "daemon", "deaf", "apart", "stopped", "forking")


@pytest.fixture
def flag(policy: SandboxPolicy) -> Iterator[Path]:
    """A file whose name marks processes, and without which those that fork for ever stop."""
    path = policy.workspace / f"mark-{time.monotonic_ns()}"
    path.touch()
    yield path
    path.unlink()
    for pid in living(path.name):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert eventually(lambda: not living(path.name))


def survivors(flag: Path, shape: str) -> int:
    """Return how many processes that `flag` marks are left."""
    if shape == "forking":  # none lives long enough to be looked at, but all write
        written = flag.stat().st_size
        time.sleep(0.05)
        return flag.stat().st_size - written
    return len(living(flag.name))


def stopped_when_ready(begin: Callable[[], tree.Tree]) -> Ended:
    stop = threading.Event()

    def see(_stream: str, text: str) -> None:
        if "ready" in text:
            stop.set()

    return process.supervise(begin, Limits(), see, stop)


def by_landlock(argv: list[str], policy: SandboxPolicy) -> Callable[[], tree.Tree]:
    if ABI == 0:
        pytest.skip("this kernel offers no Landlock")
    plan = planned(argv, policy)
    return lambda: helped.start(plan)


def by_bwrap(argv: list[str], policy: SandboxPolicy) -> Callable[[], tree.Tree]:
    found = probe()
    bwrap = found.bwrap
    if bwrap is None:
        pytest.skip("no bwrap works here")
    facts = machine.gather(policy)
    env = environment.confined(facts.home, {})
    words = arguments(policy, facts, argv, str(policy.workspace), env, Limits())
    filtered = found.filtered(unix_sockets=False)
    return lambda: namespaced.start(bwrap, words, argv, filtered=filtered)


@pytest.mark.parametrize("shape", KINDS)
@pytest.mark.parametrize("way", [by_landlock, by_bwrap])
def test_nothing_of_any_shape_survives(
    way: Callable[[list[str], SandboxPolicy], Callable[[], tree.Tree]],
    policy: SandboxPolicy,
    flag: Path,
    shape: str,
) -> None:
    ended = stopped_when_ready(way(python(SHAPES, shape, str(flag)), policy))
    assert (ended.outcome, ended.exit_code) == ("killed", None)
    assert survivors(flag, shape) == 0


@pytest.mark.parametrize("shape", KINDS)
def test_all_shapes_survive_the_death_of_their_parent(flag: Path, shape: str) -> None:
    with subprocess.Popen(python(SHAPES, shape, str(flag)), stdout=subprocess.PIPE) as bare:
        assert bare.stdout
        assert bare.stdout.readline() == b"ready\n"
        bare.kill()
        bare.wait()
    assert survivors(flag, shape) > 0


@contextlib.contextmanager
def begun(plan: Plan) -> Iterator[helped.Helped]:
    """Give a command that has said that it is ready, and that nobody watches."""
    held = helped.start(plan)
    try:
        assert held.process.stdout
        assert held.written(held.process.stdout.read(1)) == b""
        assert held.waiting() is not None
        held.let_in()
        assert held.process.stdout.read(6) == b"ready\n"
        yield held
    finally:
        held.close()
    assert not Path(held.scratch).exists()


@needs_landlock
@pytest.mark.parametrize(
    ("shape", "number", "alone"),
    [
        ("daemon", signal.SIGKILL, True),
        ("daemon", signal.SIGSTOP, False),
        ("forking", signal.SIGSTOP, True),
        ("forking", signal.SIGSTOP, False),
    ],
)
def test_nothing_survives_a_helper_that_was_killed_or_stopped(
    policy: SandboxPolicy, flag: Path, shape: str, number: int, alone: bool
) -> None:
    with begun(planned(python(SHAPES, shape, str(flag)), policy)) as held:
        os.kill(held.process.pid, number)
        if alone:  # it gets no chance to do its work
            held._hunt()
        else:
            held.kill()
        assert survivors(flag, shape) == 0


@needs_landlock
def test_what_runs_on_in_the_background_ends_with_the_command(
    policy: SandboxPolicy, flag: Path
) -> None:
    words = shlex.join(python(SHAPES, "session", str(flag)))
    ended = confined(f"{words} > ready & until [ -s ready ]; do :; done; exit 5", policy)
    assert (ended.outcome, ended.exit_code) == ("exit", 5)
    assert living(flag.name) == set()


RUNNER = """
import sys
from pathlib import Path
from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox import environment, helped, landlock, machine, process
folder, *command = sys.argv[1:]
policy = SandboxPolicy(workspace=Path(folder))
facts = machine.gather(policy)
env = environment.confined(facts.home, {})
plan = landlock.plan(policy, facts, command, folder, env, Limits(), abi=landlock.abi())
def begin():
    held = helped.start(plan)
    print(held.scratch, flush=True)
    return held
ended = process.supervise(begin, Limits(), lambda _, text: print(text, end="", flush=True))
print(ended.outcome, ended.exit_code, ended.stderr.text())
"""


@needs_landlock
@pytest.mark.parametrize("shape", ["daemon", "forking"])
def test_nothing_survives_a_runner_that_was_killed(
    policy: SandboxPolicy, flag: Path, shape: str
) -> None:
    command = python(SHAPES, shape, str(flag))
    words = [sys.executable, "-c", RUNNER, str(policy.workspace), *command]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as runner:
        assert runner.stdout
        scratch = Path(runner.stdout.readline().strip())
        assert scratch.is_dir()
        assert runner.stdout.readline() == "ready\n"
        runner.kill()
        runner.wait()
    assert eventually(lambda: not survivors(flag, shape), within_s=2)
    assert eventually(lambda: not scratch.exists(), within_s=2)


@needs_landlock
def test_a_hundred_processes_die_at_once(policy: SandboxPolicy, flag: Path) -> None:
    took = []
    for _ in range(3):
        with begun(planned(python(SHAPES, "100", str(flag)), policy)) as held:
            assert len(living(flag.name)) == 101
            began = time.perf_counter()
            held.kill()
            took.append(time.perf_counter() - began)
            assert living(flag.name) == set()
    print(f"101 processes dead after {min(took) * 1000:.0f} ms")
    assert min(took) < 0.1


@needs_landlock
def test_it_starts_quickly(policy: SandboxPolicy) -> None:
    ways: dict[str, Callable[[], object]] = {
        "bare": lambda: subprocess.run(["/usr/bin/true"], check=True),
        "an empty Python": lambda: subprocess.run(python("pass"), check=True, env={}),
        "Landlock": lambda: confined(["/usr/bin/true"], policy),
    }
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(15):
        for name, way in ways.items():
            began = time.perf_counter()
            way()
            took[name].append((time.perf_counter() - began) * 1000)
    for name, times in took.items():
        print(f"{name}: {statistics.median(times):.1f} ms, at best {min(times):.1f} ms")
    assert min(took["Landlock"]) < 4 * min(took["an empty Python"])


# --- machines without namespaces -------------------------------------------------------------


def reachable_python() -> str:
    """Return a Python of this version that an ordinary user can start; skips without."""
    name = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    for path in (sys.executable, f"/usr/bin/{name}", f"/usr/local/bin/{name}"):
        with contextlib.suppress(OSError):
            words = [*prefix("container"), path, "-c", "import codex_magic.sandbox"]
            tried = subprocess.run(words, env=import_env(), capture_output=True, check=False)
            if tried.returncode == 0:
                return path
    pytest.skip("an ordinary user cannot reach any Python here")


def import_env() -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


@pytest.mark.skipif(sys.platform != "linux", reason="about Linux")
@pytest.mark.parametrize("name", NAMES)
def test_bwrap_fails_where_containers_run(name: str) -> None:
    bwrap = binary.bundled_bwrap()
    if bwrap is None:
        pytest.skip("there is no bwrap")
    words = [str(bwrap), "--unshare-user", "--ro-bind", "/", "/", "true"]
    if subprocess.run(words, capture_output=True, check=False).returncode != 0:
        pytest.skip("bwrap fails here anyway")
    confined_words = [*prefix(name), "env", *words]
    ended = subprocess.run(confined_words, capture_output=True, text=True, cwd="/", check=False)
    assert ended.returncode != 0
    assert "namespace" in ended.stderr


@needs_landlock
@pytest.mark.parametrize("name", NAMES)
def test_landlock_works_where_containers_run(name: str, workspace: Path) -> None:
    if name == "container-root" and not ROOT:
        pytest.skip("only root can become such a root")
    if name == "container" and ROOT:
        os.chown(workspace, ORDINARY, ORDINARY)
        workspace.parent.chmod(0o755)
    program = reachable_python() if name == "container" else sys.executable
    outside = workspace.parent / "outside"
    outside.write_text("untouched")
    outside.chmod(0o666)
    script = f"echo in > inside; echo changed > {outside}; grep Cap /proc/self/status"
    words = [*prefix(name), program, "-c", RUNNER, str(workspace), "/bin/sh", "-c", script]
    ran = subprocess.run(
        words, capture_output=True, text=True, cwd="/", env=import_env(), check=False
    )
    lines = ran.stdout.splitlines()
    assert any(line.startswith("exit 0 ") for line in lines), (ran.stdout, ran.stderr)
    assert "CapEff:\t0000000000000000" in lines
    assert ((workspace / "inside").read_text(), outside.read_text()) == ("in\n", "untouched")
    assert not Path(lines[0]).exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_simulation_leaves_the_machine_as_it_is(name: str) -> None:
    limit = Path("/proc/sys/user/max_user_namespaces")
    before = limit.read_text()
    subprocess.run([*prefix(name), "true"], capture_output=True, check=False)
    assert limit.read_text() == before
