"""What a command may use in all, and that the answer says what there was too much of."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path

import pytest

from codex_magic.policy import MIB, Limits, SandboxPolicy
from codex_magic.sandbox import run
from codex_magic.sandbox.usage import Usage

pytestmark = pytest.mark.usefixtures("sandboxed")

HOLD = """
import os, sys, time
count, size = int(sys.argv[1]), int(sys.argv[2]) << 20
for _ in range(count):
    if os.fork() == 0:
        held = bytearray(size)
        for at in range(0, size, 4096):
            held[at] = 1
        time.sleep(20)
        os._exit(0)
for _ in range(count):
    os.wait()
"""
SHARE = """
import os
held = bytearray(120 << 20)
for at in range(0, len(held), 4096):
    held[at] = 1
ready, tell = os.pipe()
go, start = os.pipe()
for _ in range(5):
    if os.fork() == 0:
        os.close(start)
        os.write(tell, b"x")
        os.read(go, 1)
        os._exit(0)
got = 0
while got < 5:
    got += len(os.read(ready, 5))
import time
time.sleep(0.3)
os.close(start)
print("shared")
"""
LIMIT = 256 * MIB


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code, *map(str, arguments)]


def test_one_process_cannot_even_ask_for_more(policy: SandboxPolicy) -> None:
    code = "held = bytearray(400 << 20); print(len(held))"
    assert run(python(code), policy=policy).stdout == f"{400 << 20}\n"
    result = run(python(code), policy=policy, limits=Limits(memory_bytes=LIMIT))
    assert (result.exit_code, result.stderr.strip()[-11:]) == (1, "MemoryError")


def test_many_processes_are_ended_soon_after_they_hold_too_much(policy: SandboxPolicy) -> None:
    result = run(python(HOLD, 6, 100), policy=policy, limits=Limits(memory_bytes=LIMIT))
    assert (result.outcome, result.exit_code) == ("killed", None)
    assert result.message == "killed for using more than 256 MiB of memory"
    # A sixth over it, as 600 of 512.
    assert LIMIT < result.receipt.peak_memory_bytes < LIMIT * 7 / 6


def test_memory_that_processes_share_counts_once(policy: SandboxPolicy) -> None:
    result = run(python(SHARE), policy=policy, limits=Limits(memory_bytes=LIMIT))
    assert result.stdout == "shared\n"
    assert result.receipt.peak_memory_bytes < LIMIT


def test_too_many_processes_are_not_started_or_ended(policy: SandboxPolicy) -> None:
    code = """
import os, time
for n in range(100):
    if os.fork() == 0:
        time.sleep(20)
        os._exit(0)
print("all")
time.sleep(20)
"""
    result = run(python(code), policy=policy, limits=Limits(processes=40, wall_s=10))
    assert "all" not in result.stdout
    if os.geteuid() == 0:  # the system does not count the processes of root
        assert result.message == "killed for having more than 40 processes"
    else:
        assert "BlockingIOError" in result.stderr


def test_a_fork_bomb_leaves_nobody(policy: SandboxPolicy) -> None:
    result = run("b() { b | b & }; b; sleep 20", policy=policy, limits=Limits(wall_s=10))
    assert result.receipt.duration_s < 20
    assert result.outcome in ("killed", "timeout", "exit")


@pytest.mark.parametrize(
    ("code", "limits", "exit_code", "message"),
    [
        ("while True: pass", Limits(cpu_s=1), 152, "more processor time"),
        ("open('big', 'wb').write(bytes(3 << 20))", Limits(file_bytes=MIB), 1, ""),
        ("open('/dev/shm/big', 'wb').write(bytes(3 << 20))", Limits(tmp_bytes=MIB), 1, ""),
        ("held = [open('/dev/null') for _ in range(60)]", Limits(open_files=40), 1, ""),
    ],
)
def test_what_each_process_may_use(
    policy: SandboxPolicy, code: str, limits: Limits, exit_code: int, message: str
) -> None:
    assert exit_code == 152 or run(python(code), policy=policy).exit_code == 0
    result = run(python(code), policy=policy, limits=limits)
    assert (result.outcome, result.exit_code) == ("exit", exit_code)
    assert message in result.message


def test_no_limit_can_be_raised_from_within(policy: SandboxPolicy) -> None:
    code = """
import resource
for kind in (resource.RLIMIT_CPU, resource.RLIMIT_DATA, resource.RLIMIT_FSIZE,
             resource.RLIMIT_NOFILE, resource.RLIMIT_NPROC, resource.RLIMIT_CORE):
    soft, hard = resource.getrlimit(kind)
    try:
        resource.setrlimit(kind, (hard + 1, hard + 1))
        print("raised", kind)
    except (ValueError, PermissionError):
        print(hard, end=" ")
"""
    limits = Limits(cpu_s=9, file_bytes=2 * MIB, open_files=99, processes=98, memory_bytes=LIMIT)
    result = run(python(code), policy=policy, limits=limits)
    assert result.stdout == f"10 {LIMIT} {2 * MIB} 99 98 0 "


FILLS = {
    "files": "for i in range(6): open(f'file{i}', 'wb').write(bytes(3 << 20))",
    "reserved": """
for i in range(6):
    os.posix_fallocate(os.open(f'file{i}', os.O_RDWR | os.O_CREAT), 0, 3 << 20)
""",
    "unlinked, by children nobody waits for": """
import signal
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
fd = os.open('file', os.O_RDWR | os.O_CREAT)
os.unlink('file')
for i in range(6):
    if os.fork() == 0:
        os.pwrite(fd, bytes(3 << 20), i * (3 << 20))
        os.fsync(fd)
        os._exit(0)
""",
}


@pytest.mark.parametrize("way", FILLS)
def test_disks_are_not_filled(policy: SandboxPolicy, way: str) -> None:
    code = f"import os, time\n{FILLS[way]}\nos.sync()\ntime.sleep(20)"
    limits = Limits(disk_bytes=10 * MIB, wall_s=15)
    result = run(python(code), policy=policy, limits=limits)
    assert result.message == "killed for writing more than 10 MiB to disks"


def test_the_tables_of_what_is_only_mapped_count(policy: SandboxPolicy) -> None:
    code = """
import mmap, time
held = mmap.mmap(-1, 40 << 30, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, prot=1)
held.madvise(15)
for at in range(0, len(held), 2 << 20):
    held[at]
time.sleep(20)
"""
    limits = Limits(memory_bytes=32 * MIB, wall_s=15)
    result = run(python(code), policy=policy, limits=limits)
    assert result.message == "killed for using more than 32 MiB of memory"


def test_what_it_used_is_in_the_receipt(policy: SandboxPolicy) -> None:
    code = "held = bytearray(64 << 20)\nfor at in range(0, len(held), 4096): held[at] = 1\nsum(range(3000000))"
    receipt = run(python(code), policy=policy).receipt
    assert 64 * MIB < receipt.peak_memory_bytes < 128 * MIB
    assert 0.01 < receipt.cpu_s < 5


def test_looking_at_oneself_agrees_with_the_system() -> None:
    usage = Usage(Limits(memory_bytes=1 << 40, processes=10_000), "/")
    much, after_s = usage.look(os.getpid())
    assert much == ""
    assert 0 < after_s <= 0.05
    # Children that live, a browser of other tests perhaps, come on top.
    used = resource.getrusage(resource.RUSAGE_SELF)
    assert usage.cpu_s > used.ru_utime + used.ru_stime - 1
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert usage.peak_bytes > pages * os.sysconf("SC_PAGE_SIZE") * 0.8


def test_a_process_that_is_gone_uses_nothing() -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    usage = Usage(Limits(), "/")
    assert usage.look(pid)[0] == ""
    assert usage.peak_bytes == 0
