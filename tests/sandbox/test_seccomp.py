"""The filter of system calls: its bytes, its verdicts, and what it does in a real kernel."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import platform
import re
import socket
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.binary import bundled_bwrap
from codex_magic.errors import SandboxError
from codex_magic.sandbox import seccomp, syscalls
from codex_magic.sandbox.seccomp import ALLOW, EAFNOSUPPORT, ENOSYS, EPERM, KILL_PROCESS, program

X86, ARM = syscalls.ARCHITECTURES
# Calls that no rule names, where they have a number.
PLAIN = {
    X86: {"read": 0, "write": 1, "mmap": 9, "execve": 59, "futex": 202, "connect": 42},
    ARM: {"read": 63, "write": 64, "mmap": 222, "execve": 221, "futex": 98, "connect": 203},
}
NUMBERS = {arch: syscalls.numbers(arch) | PLAIN[arch] for arch in (X86, ARM)}
LOCKED = {"landlocked": True, "root": True, "network": False, "signals": False}
OPTIONS: list[dict[str, bool]] = [{}, {"unix_sockets": True}, {"network": False}, LOCKED]

words = st.integers(0, 2**32 - 1)
longs = st.integers(0, 2**64 - 1)
arguments = st.lists(longs | st.integers(0, 64), min_size=6, max_size=6)
architectures = st.sampled_from([X86, ARM])
options = st.fixed_dictionaries(
    {},
    optional=dict.fromkeys(
        ("unix_sockets", "landlocked", "root", "network", "signals"), st.booleans()
    ),
)
common = st.sampled_from(sorted(NUMBERS[X86].keys() & NUMBERS[ARM].keys()))


@dataclasses.dataclass
class Run:
    verdict: int
    steps: int


def interpret(code: bytes, audit_arch: int, number: int, args: list[int]) -> Run:
    """Run a filter as the kernel would."""
    data = struct.pack("<IIQ6Q", number, audit_arch, 0, *args)
    instructions = list(struct.iter_unpack("<HBBI", code))
    at = a = steps = 0
    while True:
        op, then, otherwise, k = instructions[at]
        steps, at = steps + 1, at + 1
        match op:
            case 0x20:
                a = int.from_bytes(data[k : k + 4], "little")
            case 0x54:
                a &= k
            case 0x05:
                at += k
            case 0x15:
                at += then if a == k else otherwise
            case 0x35:
                at += then if a >= k else otherwise
            case 0x45:
                at += then if a & k else otherwise
            case 0x06:
                return Run(k, steps)
            case _:
                raise AssertionError(op)


def run(name: str | int, *args: int, arch: str = X86, **chosen: Any) -> Run:
    number = NUMBERS[arch][name] if isinstance(name, str) else name
    code = program(arch=arch, **chosen)
    padded = [*args, *[0] * (6 - len(args))]
    return interpret(code, seccomp.AUDIT_ARCH[arch], number, padded)


def verdict(name: str | int, *args: int, arch: str = X86, **chosen: Any) -> int:
    return run(name, *args, arch=arch, **chosen).verdict


def listing(code: bytes) -> list[str]:
    """Write a filter for people."""
    jumps = {0x15: "==", 0x35: ">=", 0x45: "&"}
    simple = {0x20: "load {:d}", 0x54: "and {:#x}", 0x05: "skip {:d}", 0x06: "return {:#x}"}
    return [
        simple[op].format(k) if op in simple else f"if {jumps[op]} {k:#x} skip {then} else {other}"
        for op, then, other, k in struct.iter_unpack("<HBBI", code)
    ]


# ------------------------------------------------------------------------------- bytes

GOLDEN = {
    (X86, "default"): "9087b8df61e885b5d6019d4184930e89385559c73fc597283c86330baff98f57",
    (X86, "unix sockets"): "e09ea87149dca3eb62cca9d30b2efd65e13ecf61f032d74a3c8651280e02b767",
    (X86, "landlocked"): "717c551ebcd4954aeaf953c58da2afaa8b5bce16b33b82a418a2e19bcf2d851c",
    (ARM, "default"): "0451b4d10e5ee59b58ed113ae8f3affee43f7dac800e53b2a21f55797407d33c",
    (ARM, "unix sockets"): "4608b8c4b60eb08d440c1e6b0ed09919ac13786978feec230e01a736b5106c62",
    (ARM, "landlocked"): "203929da7fb8f4759b40490f8549d4a709e318c561ce780aba5d6a60213f0d8b",
}
CHOSEN = {"default": {}, "unix sockets": {"unix_sockets": True}, "landlocked": LOCKED}


@pytest.mark.parametrize(("arch", "kind"), GOLDEN)
def test_the_bytes_are_the_ones_that_were_looked_at(arch: str, kind: str) -> None:
    code = program(arch=arch, **CHOSEN[kind])
    assert hashlib.sha256(code).hexdigest() == GOLDEN[arch, kind]


def test_a_small_filter_reads_like_its_rules() -> None:
    rules = {"socket": (seccomp.Clause(ALLOW, (seccomp.Condition(0, 2),)), seccomp.Clause(EPERM))}
    ranges = seccomp._ranges(rules, {"socket": 41}, x32=False)
    assert listing(seccomp.assemble(seccomp._search(ranges))) == [
        "if >= 0x2a skip 6 else 0",
        "if >= 0x29 skip 1 else 0",
        "return 0x7fff0000",
        "load 16",
        "if == 0x2 skip 0 else 1",
        "return 0x7fff0000",
        "return 0x50001",
        "if >= 0x40000000 skip 1 else 0",
        "return 0x7fff0000",
        "return 0x50026",
    ]


def test_every_filter_begins_by_asking_for_the_architecture() -> None:
    assert listing(program(arch=ARM))[:4] == [
        "load 4",
        "if == 0xc00000b7 skip 1 else 0",
        "return 0x80000000",
        "load 0",
    ]


@given(architectures, options)
def test_every_filter_is_one_the_kernel_takes(arch: str, chosen: dict[str, bool]) -> None:
    code = program(arch=arch, **chosen)
    lines = list(struct.iter_unpack("<HBBI", code))
    assert 0 < len(lines) <= 4096
    assert lines[-1][0] == 0x06
    for at, (op, then, other, k) in enumerate(lines):
        targets = {0x05: (k,), 0x15: (then, other), 0x35: (then, other), 0x45: (then, other)}
        assert all(at + 1 + target < len(lines) for target in targets.get(op, ()))
        if op == 0x20:
            assert k % 4 == 0
            assert k < 64


def test_a_jump_that_is_too_far_for_a_condition_is_made_in_two() -> None:
    long = tuple(seccomp.Clause(EPERM, (seccomp.Condition(0, n),)) for n in range(1, 200))
    ranges = [seccomp.Range(0, long), seccomp.Range(5, (seccomp.Clause(ENOSYS),))]
    code = seccomp.assemble(seccomp._search(ranges))
    assert listing(code)[:2] == ["if >= 0x5 skip 0 else 1", "skip 598"]
    with_number = seccomp.assemble((seccomp._do(0x20, 0),)) + code
    cases = {(4, 199): EPERM, (4, 200): ALLOW, (5, 199): ENOSYS}
    found = {c: interpret(with_number, 0, c[0], [c[1], *[0] * 5]).verdict for c in cases}
    assert found == cases


@pytest.mark.parametrize("arch", ["riscv64", "i686", "arm64", ""])
def test_an_unknown_machine_has_no_filter(arch: str) -> None:
    with pytest.raises(SandboxError, match="no filter of system calls"):
        program(arch=arch)


# ------------------------------------------------------------------------------- table

HEADERS = {
    X86: Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    ARM: Path("/usr/include/asm-generic/unistd.h"),
}


def test_the_table_is_about_what_the_rules_name_and_nothing_else() -> None:
    assert set(seccomp.rules(**LOCKED)) == set(syscalls.NUMBERS)
    for arch in syscalls.ARCHITECTURES:
        numbers = list(NUMBERS[arch].values())
        assert len(set(numbers)) == len(numbers)


def test_from_424_on_both_architectures_count_alike() -> None:
    for name, (one, other) in syscalls.NUMBERS.items():
        assert one == other or min(one or 0, other or 0) < 424, name
        assert one is not None, name


@pytest.mark.parametrize("arch", HEADERS)
def test_the_table_says_what_the_kernels_headers_say(arch: str) -> None:
    if not HEADERS[arch].is_file():
        pytest.skip(f"{HEADERS[arch]} is not installed")
    defined = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", HEADERS[arch].read_text())
    header = {name: int(number) for name, number in defined}
    newest = max(header.values())
    mine = {name: number for name, number in NUMBERS[arch].items() if number < newest}
    assert {name: header.get(name) for name in mine} == mine
    absent = syscalls.NUMBERS.keys() - NUMBERS[arch].keys()
    assert not absent & header.keys()


# ------------------------------------------------------------------------------- verdicts

TIOCSTI, TIOCLINUX, TCGETS, FIONREAD = 0x5412, 0x541C, 0x5401, 0x541B
CREATE, TMPFILE, HIGH = os.O_WRONLY | 0o100, 0o20200000, 1 << 32
SETUID, SETGID, STICKY = 0o4000, 0o2000, 0o1000
CHARACTERS, BLOCKS, FIFO, REGULAR = 0o020000, 0o060000, 0o010000, 0o100000
THREAD = 0x3D0F00  # what the C library passes to clone for a thread
FD, PATH = 3, 0x7F00_0000_1000

VERDICTS: list[tuple[tuple[str | int, ...], int]] = [
    *(((name,), ENOSYS) for name in ("clone3", "openat2", "memfd_secret")),
    *(
        ((name,), EPERM)
        for name in (
            "mount",
            "umount2",
            "pivot_root",
            "chroot",
            "setns",
            "unshare",
            "open_tree_attr",
            "fsopen",
            "ptrace",
            "process_vm_readv",
            "pidfd_getfd",
            "keyctl",
            "add_key",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "io_uring_setup",
            "io_uring_enter",
            "kexec_load",
            "init_module",
            "reboot",
            "settimeofday",
            "iopl",
            "syslog",
            "open_by_handle_at",
            "memfd_create",
            "shmget",
            "msgget",
            "swapon",
            "quotactl_fd",
        )
    ),
    (("clone", 17), ALLOW),
    (("clone", THREAD), ALLOW),
    *((("clone", 17 | 1 << bit), EPERM) for bit in (17, 25, 26, 27, 28, 29, 30)),
    (("chmod", PATH, 0o755), ALLOW),
    (("chmod", PATH, 0o755 | STICKY), ALLOW),
    *(((name, PATH, 0o755 | SETUID), EPERM) for name in ("chmod", "creat", "mkdir", "mknod")),
    *((("fchmod", FD, 0o755 | bit), EPERM) for bit in (SETUID, SETGID, SETUID | SETGID)),
    *(
        ((name, FD, PATH, SETGID), EPERM)
        for name in ("fchmodat", "fchmodat2", "mkdirat", "mknodat")
    ),
    (("fchmodat", FD, PATH, 0o644, SETUID), ALLOW),
    (("open", PATH, CREATE, 0o755), ALLOW),
    (("open", PATH, CREATE, 0o755 | SETUID), EPERM),
    (("open", PATH, os.O_RDONLY, 0o755 | SETUID), ALLOW),
    (("openat", FD, PATH, CREATE, SETGID), EPERM),
    (("openat", FD, PATH, TMPFILE, SETUID), EPERM),
    (("openat", FD, PATH, os.O_RDONLY, 0xFFFF_FFFF_FFFF), ALLOW),
    *((("mknod", PATH, kind | 0o600), EPERM) for kind in (CHARACTERS, BLOCKS)),
    *((("mknodat", FD, PATH, kind | 0o600), EPERM) for kind in (CHARACTERS, BLOCKS)),
    *((("mknod", PATH, kind | 0o600), ALLOW) for kind in (FIFO, REGULAR, 0)),
    (("mknod", PATH, REGULAR | SETUID), EPERM),
    *((("ioctl", FD, request), EPERM) for request in (TIOCSTI, TIOCLINUX)),
    *((("ioctl", FD, request), ALLOW) for request in (TCGETS, FIONREAD)),
    *((("socket", family, 1, 6), ALLOW) for family in (2, 10)),
    (("socket", 1, 1), EPERM),
    (("socket", HIGH | 1, 1), EPERM),
    (("socket", 16, 3, 0), ALLOW),
    *((("socket", 16, 3, protocol), EPERM) for protocol in (4, 9, 15)),
    *((("socket", family, 1), EAFNOSUPPORT) for family in (0, 3, 17, 30, 31, 38, 40, 44)),
    *((("socketpair", 1, kind), ALLOW) for kind in (1, 5, 1 | os.O_CLOEXEC | os.O_NONBLOCK)),
    *((("socketpair", 1, kind), EPERM) for kind in (2, 3, 2 | os.O_CLOEXEC)),
    (("socketpair", 30, 1), EPERM),
    *(((name, 1, 2, 3, 4, 5, 6), ALLOW) for name in PLAIN[X86]),
    (("kill", 1, 9), ALLOW),
    (("shmat", 0), ALLOW),
    (("utimensat", FD, PATH), ALLOW),
]


@pytest.mark.parametrize("arch", [X86, ARM])
@pytest.mark.parametrize(("call", "expected"), VERDICTS, ids=str)
def test_each_call_gets_its_verdict(call: tuple[Any, ...], expected: int, arch: str) -> None:
    if call[0] not in NUMBERS[arch]:
        assert arch == ARM
        return
    assert verdict(*call, arch=arch) == expected


OTHERWISE: list[tuple[dict[str, bool], tuple[str | int, ...], int]] = [
    ({"unix_sockets": True}, ("socket", 1, 2), ALLOW),
    ({"unix_sockets": True}, ("socketpair", 1, 2), ALLOW),
    ({"unix_sockets": True}, ("socketpair", 2, 1), EPERM),
    ({"unix_sockets": True}, ("socket", 40, 1), EAFNOSUPPORT),
    *(({"network": False}, ("socket", family, 2), EPERM) for family in (1, 2, 10, 16)),
    ({"network": False}, ("socket", 17, 2), EAFNOSUPPORT),
    *(
        ({"signals": False}, (name, 1, 9), EPERM)
        for name in ("kill", "tkill", "tgkill", "rt_sigqueueinfo", "pidfd_send_signal")
    ),
    *(({"signals": False}, ("fcntl", FD, setting), EPERM) for setting in (8, 15)),
    ({"signals": False}, ("fcntl", FD, 3), ALLOW),
    ({"signals": False}, ("ioctl", FD, 0x8901), EPERM),
    *(
        ({"landlocked": True}, (name, PATH, 0o644), EPERM)
        for name in (
            "chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utime", "utimes",
            "futimesat", "setxattr", "lsetxattr", "setxattrat", "removexattr", "removexattrat",
            "file_setattr", "shmget", "shmat", "semget", "msgsnd", "mq_open",
        )
    ),
    ({"landlocked": True}, ("utimensat", FD, 0), ALLOW),
    ({"landlocked": True}, ("utimensat", FD, 1), EPERM),
    ({"landlocked": True}, ("utimensat", FD, HIGH), EPERM),
    ({"landlocked": True}, ("fchmod", FD, 0o644), ALLOW),
    ({"landlocked": True}, ("fchmod", FD, SETUID), EPERM),
    ({"landlocked": True}, ("kill", 1, 9), ALLOW),
    ({"landlocked": True}, ("ioctl", FD, 0x40086602), EPERM),
    ({"landlocked": True}, ("prlimit64", 0, 7, PATH), ALLOW),
    ({"landlocked": True}, ("prlimit64", 4321, 7, 0, PATH), ALLOW),
    ({"landlocked": True}, ("prlimit64", 4321, 7, HIGH), EPERM),
    ({"landlocked": True}, ("setpriority", 0, 0, 5), ALLOW),
    ({"landlocked": True}, ("setpriority", 0, 4321, 5), EPERM),
    ({"landlocked": True}, ("setpriority", 2, 0, 5), EPERM),
    ({"landlocked": True}, ("ioprio_set", 3, 0), EPERM),
    ({"landlocked": True}, ("sched_setaffinity", 0, 8), ALLOW),
    ({"landlocked": True}, ("sched_setaffinity", 4321, 8), EPERM),
    *(
        ({"landlocked": True, "root": True}, (name, FD, 0o644), EPERM)
        for name in ("fchmod", "fchown", "fsetxattr", "fremovexattr")
    ),
    ({"root": True}, ("fchmod", FD, 0o644), ALLOW),
]  # fmt: skip


@pytest.mark.parametrize(("chosen", "call", "expected"), OTHERWISE, ids=str)
def test_options_change_the_verdict(
    chosen: dict[str, bool], call: tuple[Any, ...], expected: int
) -> None:
    assert verdict(*call, **chosen) == expected


@given(architectures, options, words, arguments)
def test_another_architectures_calls_kill(
    arch: str, chosen: dict[str, bool], number: int, args: list[int]
) -> None:
    code = program(arch=arch, **chosen)
    for other in {0x40000003, 0xC000003E, 0xC00000B7, 0} - {seccomp.AUDIT_ARCH[arch]}:
        assert interpret(code, other, number, args).verdict == KILL_PROCESS


@given(architectures, options, words, arguments)
def test_no_call_with_the_x32_bit_exists(
    arch: str, chosen: dict[str, bool], number: int, args: list[int]
) -> None:
    assert verdict(number | seccomp.X32, *args, arch=arch, **chosen) == ENOSYS


@given(options, st.integers(512, 547), arguments)
def test_no_call_that_only_x32_has_exists(
    chosen: dict[str, bool], number: int, args: list[int]
) -> None:
    assert verdict(number, *args, **chosen) == ENOSYS
    assert verdict(number, *args, arch=ARM, **chosen) == ALLOW


@given(architectures, options, longs, arguments)
def test_no_other_family_makes_a_socket_whatever_its_kind(
    arch: str, chosen: dict[str, bool], family: int, args: list[int]
) -> None:
    known = (family & 0xFFFFFFFF) in {1, 2, 10, 16}
    found = verdict("socket", family, *args[1:], arch=arch, **chosen)
    assert known or found == EAFNOSUPPORT


@given(architectures, options, arguments)
def test_a_unix_socket_is_made_only_where_it_is_granted(
    arch: str, chosen: dict[str, bool], args: list[int]
) -> None:
    granted = ALLOW if chosen.get("unix_sockets") else EPERM
    family = args[0] & ~0xFFFFFFFF | 1
    assert verdict("socket", family, *args[1:], arch=arch, **chosen) == granted
    assert verdict("socketpair", family, 2, *args[2:], arch=arch, **chosen) == granted


@given(
    st.sampled_from(["ioctl", "socket", "socketpair", "clone", "fchmod", "mknodat", "openat"]),
    options, arguments, st.lists(words, min_size=6, max_size=6),
)  # fmt: skip
def test_the_high_half_of_a_number_changes_nothing(
    name: str, chosen: dict[str, bool], args: list[int], high: list[int]
) -> None:
    other = [arg & 0xFFFFFFFF | upper << 32 for arg, upper in zip(args, high, strict=True)]
    assert verdict(name, *args, **chosen) == verdict(name, *other, **chosen)


@given(architectures, st.sampled_from(sorted(PLAIN[X86])), options, arguments)
def test_what_every_program_does_is_allowed(
    arch: str, name: str, chosen: dict[str, bool], args: list[int]
) -> None:
    assert verdict(name, *args, arch=arch, **chosen) == ALLOW


@given(common, options, arguments)
def test_both_architectures_agree_by_name(
    name: str, chosen: dict[str, bool], args: list[int]
) -> None:
    assert verdict(name, *args, **chosen) == verdict(name, *args, arch=ARM, **chosen)


@given(architectures, common, options, arguments)
def test_to_lack_a_namespace_allows_nothing_more(
    arch: str, name: str, chosen: dict[str, bool], args: list[int]
) -> None:
    if verdict(name, *args, arch=arch, **chosen) != ALLOW:
        for less in ({"landlocked": True}, {"network": False}, {"signals": False}):
            assert verdict(name, *args, arch=arch, **(chosen | less)) != ALLOW


@pytest.mark.parametrize("chosen", OPTIONS, ids=str)
@pytest.mark.parametrize("arch", [X86, ARM])
def test_a_plain_call_costs_few_steps(arch: str, chosen: dict[str, bool]) -> None:
    costs = {name: run(name, arch=arch, **chosen).steps for name in PLAIN[arch]}
    assert max(costs.values()) <= 13, costs


# ------------------------------------------------------------------------------- the kernel

TRIES = """
import ctypes, ctypes.util, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
N = json.loads(sys.argv[1])
def tried(name, *args):
    if not (pid := os.fork()):
        words = [a if isinstance(a, bytes) or a is None else ctypes.c_ulong(a) for a in args]
        words += [ctypes.c_ulong(0)] * (6 - len(words))
        failed = libc.syscall(ctypes.c_long(N[name]), *words) == -1
        os._exit(ctypes.get_errno() if failed else 0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
fd = os.open("file", os.O_RDWR | os.O_CREAT, 0o644)
calls = json.loads(sys.argv[2])
place = {"FD": fd, "HERE": 2**64 - 100, "FILE": b"file", "NONE": None, "NEW": b"new", "DOT": b"."}
print(json.dumps([tried(name, *(place.get(a, a) for a in args)) for name, *args in calls]))
"""
INSTALL = """
import ctypes, os, sys
code = open(sys.argv[1], "rb").read()
libc = ctypes.CDLL(None, use_errno=True)
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_char_p)]
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.byref(Program(len(code) // 8, code)), 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""
HERE = platform.machine()
on_linux = pytest.mark.skipif(
    sys.platform != "linux" or HERE not in NUMBERS, reason="there is no filter for this machine"
)
Call = list[str | int]


def filtered(code: bytes, command: list[str], folder: Path, **options: Any) -> str:
    """Run `command` under bwrap and the filter `code`, if it is not empty."""
    if (bwrap := bundled_bwrap()) is None:
        pytest.skip("there is no bundled bwrap")
    isolated = (
        *("--unshare-user", "--unshare-all", "--die-with-parent", "--cap-drop", "ALL"),
        *("--ro-bind", "/", "/", "--dev", "/dev", "--proc", "/proc"),
        *("--bind", str(folder), str(folder), "--chdir", str(folder)),
    )
    with tempfile.TemporaryFile() as file:
        file.write(code)
        file.seek(0)
        option = ("--seccomp", str(file.fileno())) if code else ()
        done = subprocess.run(
            [str(bwrap), *isolated, *option, "--", *command],
            pass_fds=[file.fileno()], capture_output=True, text=True, timeout=60, check=False,
            env={
                "PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder),
            },
        )  # fmt: skip
    if not code and done.returncode:
        pytest.skip(f"bwrap does not work here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    return done.stdout


def installed(code: bytes, command: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run `command` under nothing but the filter `code`, if it is not empty."""
    (folder / "filter").write_bytes(code)
    install = [sys.executable, "-c", INSTALL, str(folder / "filter")] if code else []
    return subprocess.run(
        [*install, *command], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


def trying(calls: list[Call]) -> list[str]:
    return [sys.executable, "-c", TRIES, json.dumps(NUMBERS[HERE]), json.dumps(calls)]


# As a C program would make them; without the filter each one fails otherwise, or works.
ATTEMPTS: list[tuple[Call, int]] = [
    (["clone3", 0, 0], 38),
    (["openat2", "HERE", "FILE", 0, 0], 38),
    (["unshare", 0], 1),
    (["unshare", 0x10000000], 1),
    (["clone", 0x10000000 | 17, 0], 1),
    (["setns", "FD", 0], 1),
    (["ptrace", 0, 0, 0, 0], 1),
    (["process_vm_readv", 1, 0, 0, 0, 0, 0], 1),
    (["socket", 1, 1, 0], 1),
    (["socket", 40, 1, 0], 97),
    (["socket", 38, 5, 0], 97),
    (["socket", 16, 3, 15], 1),
    (["socketpair", 1, 2, 0, 0], 1),
    (["semget", 0, 2**32 - 1, 0o600], 1),
    (["io_setup", 0, 0], 38),
    (["fallocate", "FD", 0, 0, 0], 95),
    (["fcntl", "FD", 1024, 7], 1),
    (["fcntl", "FD", 1026, 2**31], 1),
    (["keyctl", 0, 2**32 - 3, 0], 1),
    (["add_key", 0, 0, 0, 0, 0], 1),
    (["io_uring_setup", 0, 0], 1),
    (["io_uring_enter", 2**32 - 1, 0, 0, 0, 0], 1),
    (["userfaultfd", 1], 1),
    (["bpf", 2**31, 0, 0], 1),
    (["ioctl", "FD", TIOCSTI, 0], 1),
    (["ioctl", "FD", HIGH | TIOCSTI, 0], 1),
    (["ioctl", "FD", TIOCLINUX, 0], 1),
    (["fchmodat", "HERE", "FILE", 0o4755], 1),
    (["fchmodat", "HERE", "FILE", 0o2755], 1),
    (["fchmodat2", "HERE", "FILE", 0o4755, 0], 1),
    (["fchmod", "FD", 0o4755], 1),
    (["openat", "HERE", "NEW", CREATE, 0o4755], 1),
    (["openat", "HERE", "DOT", TMPFILE, 0o4755], 1),
    (["mknodat", "HERE", "NEW", REGULAR | 0o4755, 0], 1),
    (["mknodat", "HERE", "NEW", CHARACTERS | 0o600, 0x103], 1),
    (["memfd_create", "FILE", 0], 1),
    (["memfd_secret", 0], 38),
    (["shmget", 0x7A1B2C, 4096, 0], 1),
    (["msgget", 0x7A1B2C, 0], 1),
    (["open_tree", "HERE", "FILE", 0], 1),
    (["open_tree_attr", "HERE", "FILE", 0, 0, 0], 1),
    (["name_to_handle_at", "HERE", "FILE", 0, 0, 0], 1),
    (["quotactl_fd", 2**32 - 1, 0, 0, 0], 1),
    (["kcmp", 1, 1, 99, 0, 0], 1),
    (["adjtimex", 0], 1),
]
LANDLOCKED: list[tuple[Call, int]] = [
    (["fchmodat", "HERE", "FILE", 0o600], 1),
    (["fchmodat2", "HERE", "FILE", 0o600, 0], 1),
    (["fchownat", "HERE", "FILE", 2**32 - 1, 2**32 - 1, 0], 1),
    (["utimensat", "HERE", "FILE", 0, 0], 1),
    (["setxattr", "FILE", 0, 0, 0, 0], 1),
    (["removexattr", "FILE", 0], 1),
    (["setxattrat", "HERE", "FILE", 0, 0, 0, 0], 1),
    (["removexattrat", "HERE", "FILE", 0, 0], 1),
    (["file_setattr", "HERE", "FILE", 0, 0, 0], 1),
    (["fchmod", "FD", 0o600], 1),
    (["fsetxattr", "FD", 0, 0, 0, 0], 1),
    (["shmat", 2**31 - 1, 0, 0], 1),
    (["semctl", 2**31 - 1, 0, 0, 0], 1),
    (["mq_unlink", "NEW"], 1),
    (["kill", 0, 0], 1),
    (["fcntl", "FD", 8, 1], 1),
    (["prlimit64", 2**31 - 1, 7, 8, 0], 1),
    (["setpriority", 0, 2**31 - 1, 1], 1),
    (["sched_setaffinity", 2**31 - 1, 0, 0], 1),
    (["socket", 2, 1, 0], 1),
]


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[int, int]]:
    """Of each attempt the error without and with the filter."""
    found = {}
    for kind, table in (("default", ATTEMPTS), ("landlocked", LANDLOCKED)):
        command = trying([call for call, _ in table])
        folder = tmp_path_factory.mktemp("calls")
        control = json.loads(installed(b"", command, folder).stdout)
        confined = json.loads(installed(program(**CHOSEN[kind]), command, folder).stdout)
        for (call, _), bare, held in zip(table, control, confined, strict=True):
            found[str(call)] = (bare, held)
    return found


# Kernels without these, and users who may do none of it.
MAY_PROVE_NOTHING: list[Call] = [["socket", 38, 5, 0], ["kcmp", 1, 1, 99, 0, 0]]
if os.geteuid() != 0:
    MAY_PROVE_NOTHING += [call for call, _ in (*ATTEMPTS, *LANDLOCKED)]


@on_linux
@pytest.mark.parametrize(("call", "expected"), [*ATTEMPTS, *LANDLOCKED], ids=str)
def test_the_kernel_refuses_what_it_does_without_the_filter(
    call: Call, expected: int, outcomes: dict[str, tuple[int, int]]
) -> None:
    bare, held = outcomes[str(call)]
    assert held == expected
    # Where the control fails in the same way, the row proves nothing; few may.
    assert bare != expected or call in MAY_PROVE_NOTHING


@on_linux
def test_bwrap_takes_the_filter_and_a_command_lives_under_it(workspace: Path) -> None:
    command = trying([["socket", 1, 1, 0], ["chmod", "FILE", 0o4755], ["keyctl", 0, 2**32 - 3, 0]])
    if HERE == ARM:
        command = trying([["socket", 1, 1, 0], ["fchmod", "FD", 0o4755], ["keyctl", 0, 0, 0]])
    assert json.loads(filtered(b"", command, workspace)) == [0, 0, 0]
    assert json.loads(filtered(program(), command, workspace)) == [1, 1, 1]
    granted = filtered(program(unix_sockets=True), command, workspace)
    assert json.loads(granted) == [0, 1, 1]


@on_linux
@pytest.mark.skipif(HERE != X86, reason="the other way in is one of x86")
def test_a_call_by_the_older_way_kills() -> None:
    # mov eax, 20 (getpid); int 0x80; ret
    code = """
import ctypes, mmap
page = mmap.mmap(-1, 4096, prot=7)
page.write(bytes.fromhex("b814000000cd80c3"))
call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print(call() > 0)
"""
    with tempfile.TemporaryDirectory() as name:
        command = [sys.executable, "-c", code]
        if installed(b"", command, Path(name)).stdout != "True\n":
            pytest.skip("proves nothing: this kernel has no such calls")
        assert installed(program(), command, Path(name)).returncode == -31  # SIGSYS


PAIR = """
import os, socket, sys
one, other = socket.socketpair(socket.AF_UNIX, getattr(socket, sys.argv[1]))
try:
    one.sendto(b"out", sys.argv[2])
except OSError:
    one.connect(sys.argv[2])
    one.send(b"out")
"""


@on_linux
@pytest.mark.parametrize("kind", ["SOCK_DGRAM", "SOCK_RAW", "SOCK_STREAM", "SOCK_SEQPACKET"])
def test_half_a_pair_cannot_be_turned_towards_a_socket_in_a_folder(
    tmp_path: Path, kind: str
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server:
        server.bind(place := str(tmp_path / "s"))
        server.setblocking(False)
        command = [sys.executable, "-c", PAIR, kind, place]
        installed(b"", command, tmp_path)
        if kind in {"SOCK_DGRAM", "SOCK_RAW"}:  # the others are kept by the kernel itself
            assert server.recv(9) == b"out"
        installed(program(), command, tmp_path)
        with pytest.raises(BlockingIOError):
            server.recv(9)


STILL_WORKS = {
    "os threads": "import threading as t; x = t.Thread(target=print, args=['works']);"
    " x.start(); x.join()",
    "a subprocess": "import subprocess as s; s.run(['sh', '-c', 'echo w | cat; echo works'])",
    "a pool": "import multiprocessing as m; p = m.get_context('fork').Pool(2);"
    " print(p.map(abs, [-1]), 'works'); p.terminate()",
    "spawned processes": "import concurrent.futures as f, multiprocessing as m\n"
    "if __name__ == '__main__':\n"
    "    with f.ProcessPoolExecutor(1, m.get_context('spawn')) as p:\n"
    "        print(p.submit(abs, -1).result(), 'works')",
    "asyncio": "import asyncio as a\n"
    "async def main():\n"
    "    p = await a.create_subprocess_exec('true')\n"
    "    print(await p.wait(), await a.to_thread(abs, -1), 'works')\n"
    "a.run(main())",
    "shared memory": "from multiprocessing.shared_memory import SharedMemory as S;"
    " s = S(create=True, size=9); s.close(); s.unlink(); print('works')",
    "a server on the private loopback": "import socket as s; l = s.create_server(('127.0.0.1', 0));"
    " c = s.create_connection(l.getsockname()); print('works')",
    "names of network interfaces": "import socket; print(socket.if_nameindex(), 'works')",
    "copies with their modes": "import os, shutil; open('a', 'w').close(); os.chmod('a', 0o711);"
    " shutil.copy2('a', 'b'); os.mkfifo('p'); print(oct(os.stat('b').st_mode)[-3:], 'works')",
    "a file without a name": "import tempfile; tempfile.TemporaryFile(dir='.'); print('works')",
    "git": "import subprocess as s\n"
    "s.run(['git', 'init', '-q', 'repo'], check=True)\n"
    "s.run('cd repo && echo 1 > f && git add f && git -c user.name=a -c user.email=a@b'\n"
    "      ' commit -qm works && git log --format=%s', shell=True, check=True)",
    "node": "import shutil, subprocess as s\n"
    "code = \"require('child_process').exec('echo works', (e, o) => console.log(e || o))\"\n"
    "s.run([shutil.which('node'), '-e', code]) if shutil.which('node') else print('works')",
}


@on_linux
@pytest.mark.parametrize("what", STILL_WORKS)
def test_what_programs_need_still_works(workspace: Path, what: str) -> None:
    (workspace / "program.py").write_text(STILL_WORKS[what])
    command = [sys.executable, "program.py"]
    said = filtered(b"", command, workspace)
    for entry in workspace.iterdir():
        if entry.name != "program.py":
            subprocess.run(["rm", "-r", str(entry)], check=True)
    assert "works" in said
    assert "works" in filtered(program(), command, workspace)
