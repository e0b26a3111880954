"""How commands end, and what is told about it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox import CommandResult, namespaced, probe, run, usage
from codex_magic.sandbox.asked import Asked
from codex_magic.sandbox.probe import examine
from codex_magic.sandbox.runner import execute

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.policy import SandboxMode

pytestmark = pytest.mark.usefixtures("sandboxed")
every_mode = pytest.mark.parametrize(
    "mode", ["read-only", "workspace-write", "full-access", "external"]
)
CHILD = """
import sys
from pathlib import Path
from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox import run
"""


def living(mark: str) -> list[int]:
    """Return the processes whose command line holds `mark`."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(") ")[2][0]
            if mark.encode() in (folder / "cmdline").read_bytes() and state not in "ZX":
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def eventually(condition: Callable[[], bool], within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def open_files() -> set[str]:
    # The folder being read is open itself while it is read, under the lowest free number.
    return {file.name for file in Path("/proc/self/fd").iterdir()}


def in_mode(mode: SandboxMode, workspace: Path) -> SandboxPolicy:
    return SandboxPolicy(mode=mode, workspace=workspace)


def unique() -> str:
    """An argument of `sleep` that nobody else uses."""
    return f"31.{time.monotonic_ns()}"


@every_mode
def test_exit_code_streams_and_receipt(mode: SandboxMode, workspace: Path) -> None:
    result = run("echo out; echo err >&2; exit 3", policy=in_mode(mode, workspace))
    assert (result.outcome, result.exit_code, result.message) == ("exit", 3, "")
    assert (result.stdout, result.stderr) == ("out\n", "err\n")
    assert result.receipt.mode == mode
    level = {"full-access": "none", "external": "external"}.get(mode, "full")
    assert result.receipt.level == level
    assert (result.receipt.stdout_bytes, result.receipt.stderr_bytes) == (4, 4)
    assert 0 < result.receipt.duration_s < 5
    assert not result.receipt.truncated


@every_mode
def test_a_signal_counts_as_in_a_shell(mode: SandboxMode, workspace: Path) -> None:
    assert run("kill -KILL $$", policy=in_mode(mode, workspace)).exit_code == 137


@every_mode
def test_timeout_leaves_no_survivor(mode: SandboxMode, workspace: Path) -> None:
    mark = unique()
    command = f"trap '' TERM HUP INT; setsid sleep {mark} & (setsid sleep {mark} >/dev/null 2>&1 &); echo $$; sleep {mark}"
    began = time.monotonic()
    result = run(command, policy=in_mode(mode, workspace), limits=Limits(wall_s=0.4))
    assert (result.outcome, result.exit_code) == ("timeout", None)
    assert "0.4 s" in result.message
    assert result.stdout
    assert time.monotonic() - began < 1.5
    assert eventually(lambda: not living(mark), 1)


@every_mode
def test_children_in_the_background_hold_nothing_up(mode: SandboxMode, workspace: Path) -> None:
    mark = unique()
    began = time.monotonic()
    result = run(f"(setsid sleep {mark} &) ; echo done", policy=in_mode(mode, workspace))
    assert (result.exit_code, result.stdout) == (0, "done\n")
    assert time.monotonic() - began < 2
    assert not living(mark)


@every_mode
def test_a_command_that_closes_its_streams_is_waited_for(
    mode: SandboxMode, workspace: Path
) -> None:
    result = run("exec >&- 2>&-; sleep 0.3; exit 4", policy=in_mode(mode, workspace))
    assert result.exit_code == 4
    assert result.receipt.duration_s >= 0.3


@every_mode
def test_stop_kills_within_60_ms(mode: SandboxMode, workspace: Path) -> None:
    stop, mark, stopped_at = threading.Event(), unique(), []

    def on_output(_stream: str, _text: str) -> None:
        stopped_at.append(time.monotonic())
        stop.set()

    command = f"echo ready; exec sleep {mark}"
    result = run(command, policy=in_mode(mode, workspace), on_output=on_output, stop=stop)
    assert time.monotonic() - stopped_at[0] < 0.25  # 60 ms, and room for a busy machine
    assert result.outcome == "killed"
    assert not living(mark)


def test_stop_works_from_another_thread_and_before_the_start(policy: SandboxPolicy) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    result = run(["sleep", "30"], policy=policy, stop=stop)
    assert result.outcome == "killed"
    assert result.receipt.duration_s < 1
    assert run(["touch", "ran"], policy=policy, stop=stop).outcome == "killed"
    assert not (policy.workspace / "ran").exists()


@every_mode
@pytest.mark.parametrize(
    ("command", "code"),
    [(["no-such-program"], 127), ([""], 127), (["/etc/passwd"], 126), (["/"], 126)],
)
def test_what_cannot_be_run_is_told(
    mode: SandboxMode, workspace: Path, command: list[str], code: int
) -> None:
    result = run(command, policy=in_mode(mode, workspace))
    assert (result.outcome, result.exit_code) == ("error", code)
    assert result.message.startswith("could not start")


@every_mode
@pytest.mark.parametrize("command", [["true", "x" * 200_000], ["true", *["x" * 1000] * 3000]])
def test_a_command_that_is_too_long_is_told(
    mode: SandboxMode, workspace: Path, command: list[str]
) -> None:
    result = run(command, policy=in_mode(mode, workspace))
    assert (result.outcome, result.exit_code) == ("error", 126)
    assert "Argument list too long" in result.message


def test_odd_bytes_are_replaced_and_good_ones_kept(policy: SandboxPolicy) -> None:
    shown: list[str] = []
    result = run(
        r"printf '\342\202'; sleep 0.1; printf '\254 ok \377'",
        policy=policy,
        on_output=lambda _stream, text: shown.append(text),
    )
    assert result.stdout == "€ ok \ufffd" == "".join(shown)


def test_output_arrives_while_the_command_runs(policy: SandboxPolicy) -> None:
    seen: list[tuple[str, str, float]] = []
    began = time.monotonic()
    run(
        "echo first; sleep 0.5; echo second >&2",
        policy=policy,
        on_output=lambda stream, text: seen.append((stream, text, time.monotonic() - began)),
    )
    assert [entry[:2] for entry in seen] == [("stdout", "first\n"), ("stderr", "second\n")]
    assert seen[0][2] < 0.4


def test_long_output_keeps_both_ends_and_shows_the_first(policy: SandboxPolicy) -> None:
    shown: list[str] = []
    result = run(
        "echo first; seq 100000; echo last",
        policy=policy,
        limits=Limits(output_bytes=2000),
        on_output=lambda _stream, text: shown.append(text),
    )
    assert result.stdout.startswith("first\n1\n2\n")
    assert result.stdout.endswith("100000\nlast\n")
    assert "bytes omitted" in result.stdout
    assert len("".join(shown)) == 1000
    assert result.receipt.truncated
    assert result.receipt.stdout_bytes > 500_000
    assert result.exit_code == 0


def test_a_flood_is_ended_and_takes_no_memory(workspace: Path) -> None:
    code = f"""{CHILD}
def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
policy = SandboxPolicy(workspace=Path(sys.argv[1]))
run(["true"], policy=policy)
before = peak()
result = run(["yes"], policy=policy, limits=Limits(flood_bytes=1 << 30))
print(result.outcome, result.receipt.stdout_bytes >> 30, peak() - before, peak(), result.message)
"""
    outcome, size, grown, peak, *message = child(code, workspace).split()
    assert (outcome, size) == ("killed", "1")
    assert "writing" in message
    assert int(grown) < 8 * 1024
    assert int(peak) < 32 * 1024 or int(grown) < 4 * 1024


def child(code: str, *arguments: object) -> str:
    words = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(words, check=True, capture_output=True, text=True, env=child_env()).stdout


def child_env() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}


@every_mode
def test_an_error_in_on_output_passes_on_when_all_is_dead(
    mode: SandboxMode, workspace: Path
) -> None:
    mark = unique()

    def on_output(_stream: str, _text: str) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(f"echo x; sleep {mark}", policy=in_mode(mode, workspace), on_output=on_output)
    assert not living(mark)


def test_an_interrupt_passes_on_when_all_is_dead(policy: SandboxPolicy) -> None:
    mark = unique()
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        run(f"setsid sleep {mark} & sleep {mark}", policy=policy)
    assert not living(mark)


@pytest.mark.parametrize("delay_ms", range(0, 12, 2))
def test_an_interrupt_at_the_start_leaves_nobody(policy: SandboxPolicy, delay_ms: int) -> None:
    mark = unique()
    timer = threading.Timer(delay_ms / 1000, os.kill, (os.getpid(), signal.SIGINT))
    try:
        timer.start()
        run(["sleep", mark], policy=policy, limits=Limits(wall_s=3))
    except KeyboardInterrupt:
        pass
    timer.join()
    assert not living(mark)


@pytest.mark.parametrize("mode", ["workspace-write", "full-access"])
def test_nobody_survives_a_killed_caller(mode: SandboxMode, workspace: Path) -> None:
    mark = unique()
    code = f"""{CHILD}
policy = SandboxPolicy(mode=sys.argv[1], workspace=Path(sys.argv[2]))
run("setsid sleep {mark} & setsid sleep {mark} >/dev/null 2>&1 & sleep {mark}", policy=policy)
"""
    words = [sys.executable, "-c", code, mode, str(workspace)]
    with subprocess.Popen(words, env=child_env()) as process:
        assert eventually(lambda: len(living(f"sleep\0{mark}")) == 3)
        process.kill()
    assert eventually(lambda: not living(mark), 2)


def test_no_file_descriptor_of_the_kernel_reaches_the_command(policy: SandboxPolicy) -> None:
    with Path(__file__).open() as file:
        os.set_inheritable(file.fileno(), True)
        assert run("ls /proc/self/fd", policy=policy).stdout.split() == ["0", "1", "2", "3"]


def test_none_are_left_open_here(policy: SandboxPolicy) -> None:
    run(["true"], policy=policy)
    before = open_files()
    for command in (["true"], ["no-such-program"], ["true", "x" * 200_000]):
        run(command, policy=policy)
    assert open_files() == before


def test_it_runs_beside_itself_in_many_threads(policy: SandboxPolicy) -> None:
    results: list[CommandResult] = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(run(["echo", str(n)], policy=policy)))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(result.stdout for result in results) == [f"{n}\n" for n in range(8)]


def test_input_is_empty_and_there_is_no_terminal(policy: SandboxPolicy) -> None:
    assert run("cat; tty; echo $TERM", policy=policy).stdout == "not a tty\ndumb\n"


@every_mode
def test_variables_reach_the_command(mode: SandboxMode, workspace: Path) -> None:
    result = run("echo $GREETING", policy=in_mode(mode, workspace), env={"GREETING": "a b\n*"})
    assert result.exit_code == 0
    assert result.stdout.startswith("a b")


@pytest.mark.parametrize("name", ["with space", "new\nline", "é", "-dash", "a'b"])
def test_any_name_of_a_folder_works(room: Path, name: str) -> None:
    (folder := room / name).mkdir()
    policy = SandboxPolicy(workspace=folder)
    assert run("pwd; touch here", policy=policy).stdout == f"{folder}\n"
    assert (folder / "here").exists()


def test_a_workspace_in_a_temporary_folder_or_behind_a_link_works(tmp_path: Path) -> None:
    (real := tmp_path / "real").mkdir()
    (link := tmp_path / "link").symlink_to(real)
    (tmp_path / "beside").write_text("hidden")
    result = run(f"touch here; cat {tmp_path}/beside", policy=SandboxPolicy(workspace=link))
    assert result.exit_code == 1
    assert (real / "here").exists()


def test_a_workspace_in_the_home_works(home: Path) -> None:
    (folder := home / "project").mkdir()
    result = run("touch here; ls ~", policy=SandboxPolicy(workspace=folder))
    assert result.stdout == "project\n"
    assert (folder / "here").exists()


def test_a_folder_outside_can_be_looked_at_from_within(policy: SandboxPolicy) -> None:
    result = run("pwd; touch here", policy=policy, cwd="/usr")
    assert result.stdout == "/usr\n"
    assert result.exit_code != 0


@pytest.mark.parametrize("mode", ["read-only", "workspace-write"])
def test_without_a_sandbox_nothing_runs(mode: SandboxMode, workspace: Path) -> None:
    nothing = examine([], abi=lambda: 0)
    asked = Asked(["touch", "ran"], in_mode(mode, workspace))
    result = execute(asked, on_output=None, stop=None, probed=lambda: nothing)
    assert (result.outcome, result.exit_code) == ("refused", None)
    assert "no sandbox works on this machine (there is no bwrap" in result.message
    assert "install bubblewrap" in result.message
    assert not (workspace / "ran").exists()


@pytest.mark.parametrize("mode", ["full-access", "external"])
def test_what_a_person_opened_runs_without_a_sandbox(mode: SandboxMode, workspace: Path) -> None:
    nothing = examine([], abi=lambda: 0)
    asked = Asked(["touch", "ran"], in_mode(mode, workspace))
    result = execute(asked, on_output=None, stop=None, probed=lambda: nothing)
    assert result.exit_code == 0
    assert (workspace / "ran").exists()


def test_full_access_is_in_its_own_process_namespace(workspace: Path, room: Path) -> None:
    policy = in_mode("full-access", workspace)
    result = run(f"echo $$; echo x > {room}/outside", policy=policy)
    assert result.stdout == "2\n"
    assert (room / "outside").read_text() == "x\n"


@pytest.mark.parametrize("delay_ms", [0, 1, 2, 3, 4, 5, 6, 8, 10, 12])
def test_a_runner_killed_while_its_sandbox_starts_runs_nothing(
    workspace: Path, delay_ms: int
) -> None:
    code = f"""{CHILD}
policy = SandboxPolicy(workspace=Path(sys.argv[1]))
run(["true"], policy=policy)
print("next", flush=True)
run(["sh", "-c", "echo x > ran; exec sleep {60 + delay_ms / 100}"], policy=policy)
"""
    command = [sys.executable, "-c", code, str(workspace)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        time.sleep(delay_ms / 1000)  # where in the start the kill falls is what is varied
        child.kill()
    mark = f"sleep\0{60 + delay_ms / 100}"
    assert eventually(lambda: not living(mark))
    if not (workspace / "ran").exists():
        assert not eventually((workspace / "ran").exists, within_s=0.2)


def test_a_sandbox_killed_from_outside_is_told(policy: SandboxPolicy) -> None:
    bwrap = str(probe().bwrap)
    mark = unique()

    def on_output(_stream: str, _text: str) -> None:
        for pid in living(mark):
            with contextlib.suppress(OSError):  # the first kill takes the others with it
                if bwrap.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                    os.kill(pid, signal.SIGKILL)

    result = run(["sh", "-c", f"echo x; sleep {mark}"], policy=policy, on_output=on_output)
    assert (result.outcome, result.exit_code) == ("killed", None)
    assert "outside" in result.message
    assert not living(mark)


def test_what_a_killed_kernel_stranded_is_ended_by_the_next(policy: SandboxPolicy) -> None:
    bwrap = probe().bwrap
    assert bwrap is not None
    blocked, hold = os.pipe()
    # As bwrap is when its own end falls between making the namespaces and going on.
    words = ["--unshare-user", "--unshare-pid", "--ro-bind", "/", "/", "--block-fd", str(blocked)]
    command = [str(bwrap), *words, "--", *namespaced.GATE, "true"]
    with subprocess.Popen(command, pass_fds=(blocked,), stdin=subprocess.DEVNULL) as outer:
        assert eventually(lambda: usage.first_child(outer.pid) is not None)
        inner = usage.first_child(outer.pid)
        assert eventually(lambda: namespaced.stat(inner)[0] == "S")
        assert inner not in namespaced.sweep(bwrap)  # it has not lost anybody yet
        outer.kill()
    assert inner in namespaced.sweep(bwrap)
    assert eventually(lambda: not Path(f"/proc/{inner}").exists())
    os.close(blocked)
    os.close(hold)


def test_a_sandbox_that_runs_is_not_ended_as_stranded(policy: SandboxPolicy) -> None:
    bwrap = probe().bwrap
    assert bwrap is not None
    result = run(
        "echo ready; sleep 0.05; echo done",
        policy=policy,
        on_output=lambda _stream, _text: namespaced.sweep(bwrap),
    )
    assert (result.stdout, result.exit_code) == ("ready\ndone\n", 0)
