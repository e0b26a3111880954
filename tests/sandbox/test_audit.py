"""The log of what ran: its lines, its chain, and what becomes of both when something goes wrong."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.errors import SandboxError
from codex_magic.mask import MASK
from codex_magic.policy import SandboxPolicy
from codex_magic.sandbox.audit import (
    Finished,
    Log,
    Record,
    Start,
    Started,
    Stream,
    Verdict,
    close_unfinished,
    files,
    kernels,
    policy_fields,
    policy_hash,
    read,
    reading,
    unfinished,
    verify,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLICY = SandboxPolicy(workspace=Path("/notebooks"), writable=(Path("/data"),))


def started(command: str | tuple[str, ...] = ("true",)) -> Started:
    return Started(
        call_id="call-1",
        tool="shell",
        command=command,
        cwd="/notebooks",
        env_names=("HOME", "PATH"),
        policy=policy_fields(POLICY),
        level="full",
        mechanism="bwrap",
        decision="accept",
        decided_by="person",
    )


ENDED = Finished(
    outcome="exit",
    exit_code=3,
    message="",
    duration_s=0.25,
    cpu_s=0.125,
    peak_memory_bytes=4096,
    stdout=Stream(bytes=6, sha256="ab" * 32, excerpt="hello\n"),
    findings=(".git/config",),
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "codex_magic" / "audit.jsonl"


def commands(path: Path, count: int) -> None:
    log = Log(path)
    for number in range(count):
        log.end(log.start(started(("echo", str(number)))), ENDED)


def numbers(records: list[Record]) -> list[str]:
    return [record.start.command[-1] if record.start else "-" for record in records]


# --- what is written -------------------------------------------------------------------------


def test_a_command_is_a_line_before_and_a_line_after(path: Path) -> None:
    log = Log(path)
    name = log.start(started(("echo", "é", "\x1b[1m")))
    before = path.read_bytes()
    log.end(name, ENDED)
    assert path.read_bytes().startswith(before)
    assert path.read_bytes().isascii()
    first, second = map(json.loads, path.read_text().splitlines())
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first.pop("at"))
    assert first.pop("sum") != second.pop("sum")
    assert first.pop("born").isdigit()
    assert first.pop("boot") == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert first == {
        "kind": "start",
        "id": name,
        "previous": "0" * 64,
        "pid": os.getpid(),
        "call_id": "call-1",
        "tool": "shell",
        "command": ["echo", "é", "\x1b[1m"],
        "cwd": "/notebooks",
        "env_names": ["HOME", "PATH"],
        "policy": policy_fields(POLICY),
        "policy_hash": policy_hash(POLICY),
        "level": "full",
        "mechanism": "bwrap",
        "decision": "accept",
        "decided_by": "person",
    }
    assert second.pop("at") >= "2025"
    assert second == {
        "kind": "end",
        "id": name,
        "previous": verify_hash(before),
        "outcome": "exit",
        "exit_code": 3,
        "duration_s": 0.25,
        "cpu_s": 0.125,
        "peak_memory_bytes": 4096,
        "stdout": {"bytes": 6, "sha256": "ab" * 32, "excerpt": "hello\n"},
        "findings": [".git/config"],
    }


def verify_hash(whole_line: bytes) -> str:
    from hashlib import sha256

    return sha256(whole_line.removesuffix(b"\n")).hexdigest()


def test_what_was_written_is_read_back_the_same(path: Path) -> None:
    log = Log(path)
    name = log.start(started())
    log.end(name, ENDED)
    [record] = read(path)
    assert record.start is not None
    assert record.end is not None
    assert {f: getattr(record.start, f) for f in Started.__struct_fields__} == {
        f: getattr(started(), f) for f in Started.__struct_fields__
    }
    assert {f: getattr(record.end, f) for f in Finished.__struct_fields__} == {
        f: getattr(ENDED, f) for f in Finished.__struct_fields__
    }
    assert record.start.id == record.end.id == name


def test_a_new_log_is_its_owners_alone_and_so_becomes_an_old_one(path: Path) -> None:
    Log(path).start(started())
    modes = [path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777]
    path.chmod(0o644)
    Log(path).start(started())
    assert [*modes, path.stat().st_mode & 0o777] == [0o700, 0o600, 0o600]


def test_each_line_is_on_the_disk_before_the_call_returns(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(files, "SYNC", lambda fd: synced.append(os.fstat(fd).st_size))
    log = Log(path)
    log.end(log.start(started()), ENDED)
    lines = path.read_bytes().splitlines(keepends=True)
    assert synced == [len(lines[0]), len(lines[0] + lines[1])]


COMMANDS: list[str | tuple[str, ...]] = [
    "printf '\\377'",
    ("cat", os.fsdecode(b"caf\xe9")),
    ("echo", "\ud83d", "\udce9 half"),
    "two\nlines\r\x00\u202e",
    ("",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=ascii)
def test_any_text_is_kept_exactly(path: Path, command: str | tuple[str, ...]) -> None:
    Log(path).start(started(command))
    [record] = read(path)
    assert record.start is not None
    assert record.start.command == command
    assert verify(path).ok


@given(st.lists(st.text(st.characters(), max_size=30) | st.binary(max_size=9).map(os.fsdecode)))
def test_any_words_leave_the_chain_whole(words: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audit.jsonl")
        commands(path, 1)
        Log(path).start(started(("echo", *words)))
        commands(path, 1)
        assert verify(path).ok
        assert numbers(read(path))[::2] == ["0", "0"]


@pytest.mark.parametrize(
    "command", ["x" * 1_000_000, ("echo", *["x" * 99] * 10_000), ("x",) * 500_000]
)
def test_a_very_long_command_is_bounded_and_says_so(
    path: Path, command: str | tuple[str, ...]
) -> None:
    Log(path).start(started(command))
    [record] = read(path)
    assert record.start is not None
    assert isinstance(record.start.command, str)
    assert re.search(r"\n\[\d[\d,]+ characters left out\]\n", record.start.command)
    assert len(record.start.command) < 16_100
    assert path.stat().st_size < 20_000


def test_a_long_output_keeps_its_head_and_its_tail(path: Path) -> None:
    log = Log(path)
    text = "a" * 600 + "b" * 400_000 + "c" * 600
    log.end(log.start(started()), Finished(outcome="exit", stdout=Stream(excerpt=text)))
    [record] = read(path)
    assert record.end is not None
    mark = "\n[400,200 characters left out]\n"
    assert record.end.stdout.excerpt == "a" * 500 + mark + "c" * 500


SECRET = "open sesame 1234"


@pytest.mark.parametrize(
    "command", [f"login {SECRET}", ("login", f"--password={SECRET}"), "x" * 500_000 + SECRET]
)
@pytest.mark.parametrize("own", [True, False])
def test_a_secret_is_masked_in_both_lines(
    path: Path, monkeypatch: pytest.MonkeyPatch, command: str | tuple[str, ...], own: bool
) -> None:
    if own:
        monkeypatch.setenv("SHOP_PASSWORD", SECRET)
    log = Log(path)
    name = log.start(started(command), secrets=() if own else (SECRET,))
    said = Stream(excerpt="x" * 490 + SECRET + "y" * 9000)
    log.end(name, Finished(outcome="killed", message=f"not {SECRET}", stdout=said))
    text = path.read_text()
    assert [word for word in SECRET.split() if word in text] == []
    assert text.count(MASK) == 2
    assert f"{'x' * 490}{MASK[:10]}" in text


OUTCOMES = {"finished": "exit", "refused": "refused", "left open": None}


@given(st.lists(st.sampled_from(sorted(OUTCOMES)), max_size=8))
def test_whatever_becomes_of_commands_each_has_its_record_in_one_chain(fates: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        log = Log(Path(folder, "audit.jsonl"))
        for number, fate in enumerate(fates):
            entry = started(("echo", str(number)))
            if fate == "refused":
                log.refused(entry, "a rule says no")
            elif (name := log.start(entry)) and fate == "finished":
                log.end(name, ENDED)
        records = read(log.path)
        assert verify(log.path).ok
        assert numbers(records) == [str(number) for number in range(len(fates))]
        outcomes = [record.end.outcome if record.end else None for record in records]
        assert outcomes == [OUTCOMES[fate] for fate in fates]


def test_a_refused_command_is_two_lines_that_reach_the_disk_together(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands(path, 1)
    before = path.read_bytes()
    synced: list[int] = []
    locked: list[int] = []
    lock = files.lock
    monkeypatch.setattr(files, "SYNC", lambda fd: synced.append(os.fstat(fd).st_size))
    monkeypatch.setattr(files, "lock", lambda fd, kind: (locked.append(kind), lock(fd, kind)))
    Log(path).refused(started(), f"{SECRET} is not for you", secrets=(SECRET,))
    assert (synced, len(locked)) == ([path.stat().st_size], 1)
    first, second = map(json.loads, path.read_bytes().removeprefix(before).splitlines())
    assert (first["kind"], second["kind"]) == ("start", "end")
    assert first["id"] == second["id"]
    assert first["previous"] == verify_hash(before.splitlines()[-1])
    assert (second["outcome"], second["message"]) == ("refused", f"{MASK} is not for you")
    [*_, record] = read(path)
    assert record.start is not None
    assert {f: getattr(record.start, f) for f in Started.__struct_fields__} == {
        f: getattr(started(), f) for f in Started.__struct_fields__
    }
    assert verify(path).ok


@pytest.mark.parametrize("kept", [100, 900])
def test_of_a_refusal_that_does_not_fit_on_the_disk_nothing_stays(
    path: Path, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    commands(path, 1)
    before = path.read_bytes()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:kept]))
    with pytest.raises(SandboxError, match="No space left on device"):
        Log(path).refused(started(), "a rule says no")
    assert path.read_bytes() == before


def test_a_line_that_could_not_be_read_back_is_not_written(path: Path) -> None:
    commands(path, 1)
    before = path.read_bytes()
    policy = {str(number): "x" * 1000 for number in range(5000)}
    with pytest.raises(SandboxError, match="a line would be too long"):
        Log(path).start(Started(command="a", cwd="/", policy=policy))
    assert path.read_bytes() == before


def test_two_lines_cost_little(path: Path) -> None:
    """Only the processor's time is judged: what the disk takes is the disk's business."""
    log, cpu_s, wall_s = Log(path), [], []
    for _ in range(50):
        cpu, wall = time.thread_time(), time.perf_counter()
        log.end(log.start(started()), ENDED)
        cpu_s.append(time.thread_time() - cpu)
        wall_s.append(time.perf_counter() - wall)
    print(
        f"start and end in the log: {statistics.median(wall_s) * 1e3:.2f} ms,"
        f" of them {statistics.median(cpu_s) * 1e3:.2f} ms of the processor"
    )
    assert statistics.median(cpu_s) < 0.005


def test_equal_policies_have_equal_hashes_and_others_another() -> None:
    same = SandboxPolicy(writable=(Path("/data"),), workspace=Path("/notebooks"))
    others = [
        SandboxPolicy(workspace=Path("/notebooks")),
        SandboxPolicy(workspace=Path("/notebooks"), writable=(Path("/data"),), network=True),
        SandboxPolicy(workspace=Path("/data"), writable=(Path("/notebooks"),)),
    ]
    assert policy_hash(same) == policy_hash(POLICY)
    assert len({policy_hash(policy) for policy in (POLICY, *others)}) == 4
    assert re.fullmatch("[0-9a-f]{16}", policy_hash(POLICY))
    assert (
        policy_fields(POLICY).items() >= {"workspace": "/notebooks", "writable": ["/data"]}.items()
    )


# --- what the system refuses -----------------------------------------------------------------


def test_a_full_disk_is_said_and_breaks_no_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands(path, 1)
    before = path.read_bytes()
    write = os.write
    with monkeypatch.context() as patch, Path("/dev/full").open("wb", buffering=0) as full:
        patch.setattr(os, "write", lambda _fd, data: write(full.fileno(), data))
        with pytest.raises(SandboxError, match=r"No space left on device.*Make room"):
            Log(path).start(started())
    assert path.read_bytes() == before
    commands(path, 1)
    assert (verify(path).ok, verify(path).torn, len(read(path))) == (True, 0, 2)


@pytest.mark.parametrize("repairable", [True, False])
def test_a_line_that_a_full_disk_cut_short_is_taken_back_or_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch, repairable: bool
) -> None:
    commands(path, 1)
    write = os.write

    def refuse(_fd: int, _size: int) -> None:
        raise OSError(errno.EIO, "no")

    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda fd, data: write(fd, data[:100]))
        if not repairable:
            patch.setattr(os, "ftruncate", refuse)
        with pytest.raises(SandboxError, match="No space left on device"):
            Log(path).start(started())
    commands(path, 1)
    verdict = verify(path)
    assert (verdict.ok, verdict.torn) == (True, 0 if repairable else 1)
    assert numbers(read(path)) == (["0", "0"] if repairable else ["0", "-", "0"])


def test_a_file_that_may_not_grow_is_said(path: Path) -> None:
    code = (
        "import resource; from pathlib import Path\n"
        "from codex_magic.errors import SandboxError; from codex_magic.sandbox import audit\n"
        f"log = audit.Log(Path({str(path)!r}))\n"
        "log.start(audit.Started(command='a', cwd='/'))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (log.path.stat().st_size + 50,) * 2)\n"
        "try: log.start(audit.Started(command='b', cwd='/'))\n"
        "except SandboxError as error: print(error.hint)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=30
    )
    assert ran.stdout == "Make room on that disk, and run the cell again\n"
    assert (verify(path).ok, verify(path).lines, verify(path).torn) == (True, 1, 0)


@contextlib.contextmanager
def unprivileged() -> Iterator[None]:
    """This OS thread without its capabilities, so that a folder's mode binds root as well."""
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(0x20080522)  # version 3 of the call, this OS thread
    held = (ctypes.c_uint32 * 6)()  # twice: effective, permitted, inheritable
    assert libc.capget(header, held) == 0
    assert libc.capset(header, (ctypes.c_uint32 * 6)(0, *held[1:3], 0, *held[4:])) == 0
    try:
        yield
    finally:
        assert libc.capset(header, held) == 0


def a_closed_folder(path: Path) -> Path:
    path.parent.mkdir(mode=0o500)
    return path


def a_closed_file(path: Path) -> Path:
    commands(path, 1)
    path.chmod(0o400)
    return path


def a_link(path: Path) -> Path:
    path.parent.mkdir()
    path.symlink_to(path.parent.parent / "elsewhere")
    return path


def a_pipe(path: Path) -> Path:
    path.parent.mkdir()
    os.mkfifo(path)
    return path


def a_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    return path


def below_a_file(path: Path) -> Path:
    path.parent.write_text("")
    return path


@pytest.mark.parametrize(
    ("place", "said", "hint"),
    [
        (a_closed_folder, "Permission denied", "Make its folder yours, or set JUPYTER_DATA_DIR"),
        (a_closed_file, "Permission denied", "Make its folder yours, or set JUPYTER_DATA_DIR"),
        (a_link, "it is a symbolic link", "Remove the link: rm "),
        (a_pipe, "it is not an ordinary file", "Look at it: ls -l "),
        (a_folder, "Is a directory", "Look at it: ls -l "),
        (below_a_file, "Not a directory", "Make its folder yours"),
    ],
)
def test_a_place_that_cannot_be_a_log_is_said_in_one_line(
    path: Path, place: Callable[[Path], Path], said: str, hint: str
) -> None:
    place(path)
    with unprivileged(), pytest.raises(SandboxError) as caught:
        Log(path).start(started())
    assert caught.value.message == f"the audit log {path} cannot be written: {said}"
    assert caught.value.hint.startswith(hint)
    assert unfinished(path) == close_unfinished(path) == []


def test_a_link_in_the_logs_place_is_not_written_through(path: Path) -> None:
    target = path.parent.parent / "elsewhere"
    target.write_text("mine\n")
    a_link(path)
    with pytest.raises(SandboxError):
        Log(path).start(started())
    assert target.read_text() == "mine\n"


def test_a_log_that_somebody_keeps_locked_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fcntl

    commands(path, 1)
    monkeypatch.setattr(files, "LOCK_S", 0.01)
    with path.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(SandboxError, match="another process keeps it locked"):
            Log(path).start(started())
    commands(path, 1)


# --- several processes, and dead ones --------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from codex_magic.sandbox.audit import Finished, Log, Started
log = Log(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    name = log.start(Started(command=("echo", str(number)), cwd="/"))
    log.end(name, Finished(outcome="exit", exit_code=0))
"""

VICTIM = """
import sys
from pathlib import Path
from codex_magic.sandbox.audit import Log, Started
print(Log(Path(sys.argv[1])).start(Started(command=("sleep", "9"), cwd="/")), flush=True)
sys.stdin.readline()
"""


def process(code: str, *words: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, words)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_that_write_at_once_make_one_chain(path: Path) -> None:
    writers = [process(WRITER, path, 100) for _ in range(2)]
    assert [writer.stdout.readline() for writer in writers if writer.stdout] == ["ready\n"] * 2
    for writer in writers:
        assert writer.stdin
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        writer.communicate(timeout=60)
    assert [writer.returncode for writer in writers] == [0, 0]
    verdict = verify(path)
    assert (verdict.ok, verdict.lines, verdict.torn) == (True, 400, 0)
    assert all(record.end for record in read(path, 400))
    pids = [record.start.pid for record in read(path, 400) if record.start]
    assert {pid: pids.count(pid) for pid in set(pids)} == {w.pid: 100 for w in writers}


@pytest.fixture
def victim(path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    child = process(VICTIM, path)
    assert child.stdout
    yield child, child.stdout.readline().strip()
    child.kill()
    child.communicate()


def test_a_command_of_a_killed_kernel_is_told_once(
    path: Path, victim: tuple[subprocess.Popen[str], str]
) -> None:
    child, name = victim
    Log(path).start(started())  # of this process, which lives
    assert unfinished(path) == close_unfinished(path) == []
    child.kill()
    child.wait()
    assert [start.id for start in unfinished(path)] == [name]
    assert [start.id for start in close_unfinished(path)] == [name]
    assert unfinished(path) == close_unfinished(path) == []
    assert verify(path).ok
    outcomes = [record.end.outcome if record.end else None for record in read(path)]
    assert outcomes == ["unknown", None]


def test_a_killed_process_that_nobody_has_reaped_is_dead(
    path: Path, victim: tuple[subprocess.Popen[str], str]
) -> None:
    child, name = victim
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert [start.id for start in unfinished(path)] == [name]


@pytest.mark.parametrize(
    "said",
    [
        {"born": "1"},
        {"boot": "another"},
        {"pid": 2**22 + 1},
        {"pid": 10**30},
        {"pid": 10**30, "born": ""},
        {"pid": 0, "born": ""},
        {"pid": -1, "born": ""},
    ],
    ids=str,
)
def test_another_process_with_the_same_number_is_not_taken_for_the_dead_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, said: dict[str, object]
) -> None:
    whoami = kernels.whoami()
    monkeypatch.setattr(kernels, "whoami", lambda: whoami | said)
    name = Log(path).start(started())
    assert [start.id for start in unfinished(path)] == [name]


@pytest.mark.parametrize(
    ("answer", "lives"),
    [(None, True), (PermissionError(), True), (ProcessLookupError(), False)],
    ids=repr,
)
def test_where_the_system_does_not_tell_when_a_process_began_its_number_must_do(
    monkeypatch: pytest.MonkeyPatch, answer: OSError | None, lives: bool
) -> None:
    asked: list[tuple[int, int]] = []

    def kill(pid: int, number: int) -> None:
        asked.append((pid, number))
        if answer:
            raise answer

    monkeypatch.setattr(os, "kill", kill)
    monkeypatch.setattr(kernels, "_boot", lambda: "")
    start = Start(command="a", cwd="/", id="1", at="", pid=77)
    assert (kernels.alive(start), asked) == (lives, [(77, 0)])


def test_what_was_held_for_lost_and_ended_all_the_same_has_its_own_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = Log(path)
    name = log.start(started())
    with monkeypatch.context() as patch:
        patch.setattr(kernels, "alive", lambda start: False)
        assert [start.id for start in close_unfinished(path)] == [name]
    log.end(name, ENDED)
    assert [record.end.outcome for record in read(path) if record.end] == ["exit"]


def test_what_cannot_be_closed_is_told_all_the_same(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = Log(path).start(started())
    monkeypatch.setattr(kernels, "alive", lambda start: False)

    def refuse(_fd: int, _data: bytes) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(os, "write", refuse)
    assert [start.id for start in close_unfinished(path)] == [name]


def test_looking_for_the_unfinished_makes_nothing_and_reads_only_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert unfinished(path) == close_unfinished(path) == []
    assert not path.parent.exists()
    monkeypatch.setattr(kernels, "alive", lambda start: False)
    log = Log(path)
    log.start(started(("old",)))
    log.start(started("x" * 15_000))
    for _ in range(20):
        log.end(log.start(started("x" * 15_000)), ENDED)
    log.start(started(("new",)))
    assert path.stat().st_size > reading.RECENT_BYTES
    assert [start.command for start in unfinished(path)] == [("new",)]


BROKEN = [
    b"",
    b"\n\n",
    b"{}\n",
    b"[" * 100_000 + b"\n",
    b"\xff\xfe\x00\n",
    b'{"kind":"start"}\n',
    b'{"kind":"start","id":"a","at":"","pid":"1","command":"a","cwd":""}\n',
    b'{"kind":"end","id":[],"at":"","outcome":"exit"}\n',
    b'{"kind":"else","id":"a"}\n',
    b"null",
]


@pytest.mark.parametrize("data", BROKEN, ids=range(len(BROKEN)))
def test_broken_lines_stop_neither_reading_nor_writing(path: Path, data: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(data)
    assert unfinished(path) == close_unfinished(path) == []
    assert sum(record.unreadable for record in read(path)) == (1 if data.strip() else 0)
    commands(path, 2)
    assert numbers(read(path))[-2:] == ["0", "1"]
    assert verify(path).ok == (not data)


# --- reading ---------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [0, 1, 3, 300])
def test_the_last_commands_are_read_the_newest_at_the_end(path: Path, last: int) -> None:
    commands(path, 100)
    assert numbers(read(path, last)) == [str(number) for number in range(max(0, 100 - last), 100)]


def test_commands_that_overlap_are_paired_by_their_ids(path: Path) -> None:
    log = Log(path)
    first, second = log.start(started(("a", "1"))), log.start(started(("a", "2")))
    log.end(first, Finished(outcome="exit", exit_code=1))
    log.end(second, Finished(outcome="exit", exit_code=2))
    third = log.start(started(("a", "3")))
    assert [(r.start and r.start.id, r.end and r.end.exit_code) for r in read(path)] == [
        (first, 1),
        (second, 2),
        (third, None),
    ]


def test_lines_that_cannot_be_read_are_counted_together(path: Path) -> None:
    commands(path, 1)
    whole = path.read_bytes()
    end = whole.splitlines(keepends=True)[-1]
    path.write_bytes(b"?\n\n?\n" + whole + b"?\n")
    paired = read(path)[1]
    assert paired.start is not None
    assert paired.end is not None
    assert read(path) == [Record(unreadable=2), paired, Record(unreadable=1)]
    path.write_bytes(end)
    assert read(path) == [Record(end=paired.end)]


def test_without_a_log_nothing_ran(path: Path) -> None:
    assert read(path) == []
    assert verify(path) == Verdict(ok=True, lines=0)


def test_reading_a_large_log_takes_little_memory(path: Path) -> None:
    import tracemalloc

    commands(path, 1)
    with path.open("r+b") as file:
        file.seek(64 * 1024 * 1024)
        file.write(b"\n")
    commands(path, 1)
    tracemalloc.start()
    try:
        assert [record.unreadable for record in read(path)] == [0, 1, 0]
        verify(path)
        assert tracemalloc.get_traced_memory()[1] < 24 * 1024 * 1024
    finally:
        tracemalloc.stop()


# --- the chain -------------------------------------------------------------------------------


def test_an_untouched_log_is_whole_and_names_its_last_line(path: Path) -> None:
    commands(path, 3)
    lines = path.read_bytes().splitlines()
    assert verify(path) == Verdict(ok=True, lines=6, last=verify_hash(lines[-1]))
    assert str(verify(path)).startswith("the audit log is whole: 6 lines; the last is ")


def without(lines: list[bytes], number: int) -> list[bytes]:
    return lines[: number - 1] + lines[number:]


def edited(lines: list[bytes], number: int) -> list[bytes]:
    old = lines[number - 1]
    new = old.replace(b'"exit"', b'"kill"').replace(b'"echo"', b'"ohce"')
    assert new != old
    return [*lines[: number - 1], new, *lines[number:]]


def swapped(lines: list[bytes], number: int) -> list[bytes]:
    return [*lines[: number - 1], lines[number], lines[number - 1], *lines[number + 1 :]]


def doubled(lines: list[bytes], number: int) -> list[bytes]:
    return [*lines[:number], lines[number - 1], *lines[number:]]


def blanked(lines: list[bytes], number: int) -> list[bytes]:
    return [*lines[: number - 1], b"# nothing to see\n", *lines[number:]]


CHANGED = "it is not as it was written"
MOVED = "the line before, or its place, is not what it was when this line was written"
TAMPERED = [
    (without, 1, 1, "the log's beginning is not what it was when this line was written"),
    (without, 2, 2, MOVED),
    (without, 5, 5, MOVED),
    *((edited, number, number, CHANGED) for number in range(1, 7)),
    (swapped, 1, 1, "the log's beginning is not what it was when this line was written"),
    (swapped, 3, 3, MOVED),
    (swapped, 5, 5, MOVED),
    (doubled, 2, 3, MOVED),
    (doubled, 6, 7, MOVED),
    (blanked, 2, 2, "it is no line of this log"),
    (blanked, 6, 6, "it is no line of this log"),
]


@pytest.mark.parametrize(("change", "number", "bad", "why"), TAMPERED)
def test_a_changed_log_is_found_at_its_first_bad_line(
    path: Path,
    change: Callable[[list[bytes], int], list[bytes]],
    number: int,
    bad: int,
    why: str,
) -> None:
    commands(path, 3)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(change(lines, number)))
    verdict = verify(path)
    assert verdict == Verdict(ok=False, lines=bad, bad_line=bad, why=why)
    assert str(verdict) == f"the audit log was changed: at line {bad}, {why}"


def test_a_cut_at_the_end_is_found_by_who_noted_the_last_line(path: Path) -> None:
    commands(path, 3)
    noted = verify(path).last
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]))
    assert verify(path).ok
    cut = verify(path, noted)
    assert (cut.ok, cut.bad_line) == (False, 0)
    assert cut.why == f"the line {noted} is gone: the log was cut or begun anew"
    path.write_bytes(b"".join(lines))
    commands(path, 1)
    assert verify(path, noted).ok


def test_a_command_that_takes_its_own_start_out_is_found(path: Path) -> None:
    commands(path, 1)
    before = path.read_bytes()
    log = Log(path)
    name = log.start(started())
    path.write_bytes(before)
    log.end(name, ENDED)
    why = "its start was taken out while it ran"
    assert verify(path) == Verdict(ok=False, lines=3, bad_line=3, why=why)


@pytest.mark.parametrize("kept", [1, 5, 40, 90, 300])
@pytest.mark.parametrize("goes_on", [True, False])
def test_a_line_cut_short_by_a_crash_is_told_and_not_held_for_tampering(
    path: Path, kept: int, goes_on: bool
) -> None:
    commands(path, 2)
    whole = path.read_bytes()
    Log(path).start(started())
    path.write_bytes(path.read_bytes()[: len(whole) + kept])
    if goes_on:
        commands(path, 1)
    verdict = verify(path)
    assert (verdict.ok, verdict.torn, verdict.lines) == (True, 1, 7 if goes_on else 5)
    assert "1 of them cut short" in str(verdict)


def test_what_only_looks_cut_short_is_found(path: Path) -> None:
    commands(path, 2)
    lines = path.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1][:90] + b"\n"
    path.write_bytes(b"".join(lines))
    assert verify(path) == Verdict(ok=False, lines=3, bad_line=3, why=MOVED, torn=1)


@given(st.data())
def test_no_changed_byte_escapes(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audit.jsonl")
        commands(path, 2)
        whole = bytearray(path.read_bytes())
        # The very last newline apart: without it the log is what a crash may leave.
        place = data.draw(st.integers(0, len(whole) - 2))
        new = data.draw(st.integers(0, 255).filter(lambda byte: byte != whole[place]))
        whole[place] = new
        path.write_bytes(whole)
        verdict = verify(path)
        assert not verdict.ok or verdict.torn == 1


def test_a_hint_can_be_typed_whatever_the_path_is_called(tmp_path: Path) -> None:
    path = tmp_path / "a b'c" / "audit.jsonl"
    a_link(path)
    with pytest.raises(SandboxError) as caught:
        Log(path).start(started())
    assert shlex.split(caught.value.hint)[-2:] == ["rm", str(path)]
