"""A program that filters the system calls of a command.

Pure: `program` returns the bytes of a classic BPF program, as ``bwrap --seccomp`` and
``prctl(PR_SET_SECCOMP)`` take them; nothing here installs it. Only the x86_64 program has been
run; the one for aarch64 is built by the same code from another table and not yet run there.

The rules name calls and say what becomes of them; a call that no rule names is allowed. They are
a second wall: what a mount or a namespace keeps away is not repeated here, but for what would
make new ones. Numbers, not pointers, can be looked at, so calls that carry what matters behind a
pointer are said not to exist (``clone3``, ``openat2``), and libraries take the older ones.

The compiled program searches for a call's number in halves. A call comes to its verdict in about
eleven steps, and one that is always allowed in none on Linux 5.11 and later, which remembers it.
"""

from __future__ import annotations

import functools
import platform
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

from codex_magic.errors import SandboxError
from codex_magic.sandbox import syscalls

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

# Numbers of Linux, the same on both architectures, also where this is built on another system.
ALLOW: Final = 0x7FFF0000
KILL_PROCESS: Final = 0x80000000
_ERRNO: Final = 0x00050000
EPERM: Final = _ERRNO | 1
ENOSYS: Final = _ERRNO | 38
EOPNOTSUPP: Final = _ERRNO | 95
EAFNOSUPPORT: Final = _ERRNO | 97
AUDIT_ARCH: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32: Final = 0x40000000
_X32_ONLY: Final = range(512, 548)  # in old kernels also reached without the bit

_AF_UNIX, _AF_INET, _AF_INET6, _AF_NETLINK = 1, 2, 10, 16
_SOCK_TYPE, _SOCK_STREAM, _SOCK_SEQPACKET = 0xF, 1, 5
_MAKES_FILE: Final = 0o100 | 0o20000000  # O_CREAT, __O_TMPFILE
_SET_ID: Final = 0o6000
_FILE_TYPE, _CHARACTERS, _BLOCKS = 0o170000, 0o020000, 0o060000
_NEW_NAMESPACES: Final = 0x7E020000  # every CLONE_NEW* that clone itself understands
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_SET_ATTRIBUTES: Final = (0x40086602, 0x40046602, 0x401C5820)  # FS_IOC_*SETFLAGS, FSSETXATTR
_SETLEASE, _NOTIFY = 1024, 1026
_SET_OWNER: Final = (8, 15)  # F_SETOWN, F_SETOWN_EX
_SET_OWNER_IOCTL: Final = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP
_WORD: Final = 0xFFFFFFFF


class Condition(NamedTuple):
    """A question about one half of an argument, the low one unless `high`.

    Without a `value` it asks whether any bit of `mask` is set, else whether those bits are `value`.
    """

    argument: int
    value: int | None = None
    mask: int = _WORD
    high: bool = False


class Clause(NamedTuple):
    """What becomes of a call if all `conditions` hold; without any, always."""

    verdict: int
    conditions: tuple[Condition, ...] = ()


Rules = dict[str, tuple[Clause, ...]]
"""Clauses by the name of a call. The first that holds decides; if none does, it is allowed."""

_REFUSED: Final = (
    # New places for files, or other ones: a mount, a root, a namespace.
    *("mount", "umount2", "pivot_root", "chroot", "move_mount", "open_tree", "open_tree_attr"),
    *("fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "setns", "unshare"),
    # Files by number instead of by path, and what belongs to whole file systems.
    *("name_to_handle_at", "open_by_handle_at", "fanotify_init", "quotactl", "quotactl_fd"),
    *("acct", "swapon", "swapoff", "nfsservctl", "lookup_dcookie"),
    # Into other processes.
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd"),
    # Large parts of the kernel that a command of an agent does not need.
    *("add_key", "request_key", "keyctl", "bpf", "perf_event_open", "userfaultfd"),
    *("io_uring_setup", "io_uring_enter", "io_uring_register"),
    # The machine as a whole.
    *("kexec_load", "kexec_file_load", "create_module", "init_module", "finit_module"),
    *("delete_module", "query_module", "get_kernel_syms", "reboot", "settimeofday"),
    *("clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname"),
    *("iopl", "ioperm", "syslog", "_sysctl", "vhangup"),
    # Memory that belongs to no process's resident size: a limit on the tree would not see it.
    *("memfd_create", "shmget", "semget", "msgget"),
)
_UNKNOWN: Final = ("clone3", "openat2", "memfd_secret", "io_setup")
# What Landlock does not cover: to change what is known about a file, by its path or, for root, who
# need not own it, by a descriptor; and the queues and memory that all of a user's programs share.
_BY_PATH: Final = (
    *("chmod", "fchmodat", "fchmodat2", "chown", "lchown", "fchownat", "utime", "utimes"),
    *("futimesat", "setxattr", "lsetxattr", "setxattrat", "removexattr", "lremovexattr"),
    *("removexattrat", "file_setattr"),
)
_BY_DESCRIPTOR: Final = ("fchmod", "fchown", "fsetxattr", "fremovexattr")
_SHARED: Final = (
    *("shmget", "shmat", "shmctl", "semget", "semop", "semtimedop", "semctl"),
    *("msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink"),
)
_SCHEDULING: Final = (
    *("sched_setparam", "sched_setscheduler", "sched_setaffinity", "sched_setattr"),
)
_SIGNALS: Final = (
    *("kill", "tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_send_signal"),
)
# Where the mode of a file stands among the arguments.
_MODES: Final = {
    "chmod": 1, "fchmod": 1, "fchmodat": 2, "fchmodat2": 2,
    "creat": 1, "mkdir": 1, "mkdirat": 2, "mknod": 1, "mknodat": 2,
}  # fmt: skip


def rules(
    *,
    unix_sockets: bool = False,
    landlocked: bool = False,
    root: bool = False,
    network: bool = True,
    signals: bool = True,
) -> Rules:
    """Return what becomes of which calls; `program` explains the parameters."""
    made: Rules = dict.fromkeys(_REFUSED, (Clause(EPERM),))
    made |= dict.fromkeys(_UNKNOWN, (Clause(ENOSYS),))
    made |= _files()
    made |= {
        "clone": (Clause(EPERM, (Condition(0, mask=_NEW_NAMESPACES),)),),
        # The kernel looks at the low half of a request only, and so does a condition.
        "ioctl": _refused(1, (_TIOCSTI, _TIOCLINUX)),
        # Whoever holds a lease makes all others wait who open the file, the kernel too.
        "fcntl": _refused(1, (_SETLEASE, _NOTIFY)),
        # Room that is reserved and not written is in no account; libraries write instead.
        "fallocate": (Clause(EOPNOTSUPP),),
        "socket": tuple(_sockets(unix_sockets=unix_sockets, network=network)),
        "socketpair": tuple(_pairs(unix_sockets=unix_sockets)),
    }
    if not signals:
        made |= dict.fromkeys(_SIGNALS, (Clause(EPERM),))
        # Whoever owns a descriptor gets a signal from it, of any number.
        made["fcntl"] += _refused(1, _SET_OWNER)
        made["ioctl"] += _refused(1, _SET_OWNER_IOCTL)
    if landlocked:
        made |= dict.fromkeys((*_BY_PATH, *_SHARED), (Clause(EPERM),))
        made |= _times() | _others()
        made["ioctl"] += _refused(1, _SET_ATTRIBUTES)
        if root:
            made |= dict.fromkeys(_BY_DESCRIPTOR, (Clause(EPERM),))
    return made


def _files() -> Rules:
    """Return what keeps files from being made that run as their owner, or are devices."""
    made: Rules = {
        name: (Clause(EPERM, (Condition(at, mask=_SET_ID),)),) for name, at in _MODES.items()
    }
    for name, at in (("mknod", 1), ("mknodat", 2)):
        for kind in (_CHARACTERS, _BLOCKS):
            made[name] += (Clause(EPERM, (Condition(at, kind, _FILE_TYPE),)),)
    # Without one of these flags the kernel ignores the mode, and the caller may leave it unset.
    for name, at in (("open", 1), ("openat", 2)):
        makes = (Condition(at, mask=_MAKES_FILE), Condition(at + 1, mask=_SET_ID))
        made[name] = (Clause(EPERM, makes),)
    return made


def _sockets(*, unix_sockets: bool, network: bool) -> Iterator[Clause]:
    """Yield the families there are; a filter in a container or a library has the others missing."""
    local, internet = Condition(0, _AF_UNIX), (Condition(0, _AF_INET), Condition(0, _AF_INET6))
    yield Clause(ALLOW if unix_sockets else EPERM, (local,))
    for family in internet:
        yield Clause(ALLOW if network else EPERM, (family,))
    if network:
        yield Clause(ALLOW, (Condition(0, _AF_NETLINK), Condition(2, 0)))
    yield Clause(EPERM, (Condition(0, _AF_NETLINK),))
    yield Clause(EAFNOSUPPORT)


def _pairs(*, unix_sockets: bool) -> Iterator[Clause]:
    if unix_sockets:
        yield Clause(ALLOW, (Condition(0, _AF_UNIX),))
    else:
        # One half of a pair of datagram sockets can be sent to, or connected to, any path.
        for kind in (_SOCK_STREAM, _SOCK_SEQPACKET):
            yield Clause(ALLOW, (Condition(0, _AF_UNIX), Condition(1, kind, _SOCK_TYPE)))
    yield Clause(EPERM)


def _times() -> Rules:
    """Return what leaves the times of files alone, but for those of an open descriptor."""
    halves = (Condition(1), Condition(1, high=True))
    return {"utimensat": tuple(Clause(EPERM, (half,)) for half in halves)}


def _others() -> Rules:
    """Return what leaves the priorities and limits of other processes alone."""
    # Zero stands for the caller itself.
    made: Rules = dict.fromkeys(_SCHEDULING, (Clause(EPERM, (Condition(0),)),))
    for name, user in (("setpriority", 2), ("ioprio_set", 3)):
        all_of_a_user = Clause(EPERM, (Condition(0, user),))
        made[name] = (Clause(EPERM, (Condition(1),)), all_of_a_user)
    new_limit = (Condition(2), Condition(2, high=True))
    made["prlimit64"] = tuple(Clause(EPERM, (Condition(0), half)) for half in new_limit)
    return made


def _refused(argument: int, values: Iterable[int]) -> tuple[Clause, ...]:
    return tuple(Clause(EPERM, (Condition(argument, value),)) for value in values)


@functools.cache
def program(  # noqa: PLR0913 - as for `rules`
    *,
    arch: str = platform.machine(),
    unix_sockets: bool = False,
    landlocked: bool = False,
    root: bool = False,
    network: bool = True,
    signals: bool = True,
) -> bytes:
    """Return the filter for a machine of the kind `arch`, instructions of 8 bytes each.

    Parameters
    ----------
    arch
        ``x86_64`` or ``aarch64``.
    unix_sockets
        Whether Unix sockets may be made. Without them pairs of streams still may be.
    landlocked
        Whether Landlock stands for namespaces of its own: what it does not cover is refused then,
        modes, owners and times of files by path, and all that a user's programs share.
    root
        With `landlocked`: whether the command runs as root, who may change what others own.
    network
        Whether the internet's sockets may be made; where a network namespace is empty, they may.
    signals
        Whether signals may be sent; where others' processes can be named, they may not.

    Raises
    ------
    SandboxError
        No program is known for `arch`.
    """
    if arch not in syscalls.ARCHITECTURES:
        raise SandboxError(
            f"there is no filter of system calls for {arch}",
            hint=f"Use a machine of the kind {' or '.join(syscalls.ARCHITECTURES)}",
        )
    made = rules(
        unix_sockets=unix_sockets,
        landlocked=landlocked,
        root=root,
        network=network,
        signals=signals,
    )
    ranges = _ranges(made, syscalls.numbers(arch), x32=arch == "x86_64")
    return assemble((*_prologue(AUDIT_ARCH[arch]), *_search(ranges)))


# The compiler. Code is a sequence of instructions that jump forward only, by how many they leave
# out, and end in a verdict: so pieces can be put behind each other as they are.

_LOAD, _AND, _RETURN = 0x20, 0x54, 0x06
_JUMP, _IF_EQUAL, _IF_AT_LEAST, _IF_ANY = 0x05, 0x15, 0x35, 0x45
_CALL, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in bytes into struct seccomp_data
_FARTHEST: Final = 255


class Instruction(NamedTuple):
    """A ``struct sock_filter``."""

    code: int
    then: int
    otherwise: int
    operand: int


Code = tuple[Instruction, ...]


class Range(NamedTuple):
    """Calls from the number `start` on, up to the next range."""

    start: int
    clauses: tuple[Clause, ...]


def assemble(code: Code) -> bytes:
    """Return `code` as the kernel reads it; both architectures are little-endian."""
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _prologue(audit_arch: int) -> Code:
    return (
        _do(_LOAD, _ARCHITECTURE),
        Instruction(_IF_EQUAL, 1, 0, audit_arch),
        _do(_RETURN, KILL_PROCESS),
        _do(_LOAD, _CALL),
    )


def _ranges(made: Rules, numbers: Mapping[str, int], *, x32: bool) -> list[Range]:
    """Return where, from zero on, other clauses begin to hold."""
    named = {numbers[name]: clauses for name, clauses in made.items() if name in numbers}
    nowhere = (Clause(ENOSYS),)
    steps: dict[int, tuple[Clause, ...]] = {0: (), X32: nowhere}
    if x32:
        steps |= {_X32_ONLY.start: nowhere, _X32_ONLY.stop: ()}
    steps |= {number + 1: () for number in named} | named
    ranges: list[Range] = []
    for start in sorted(steps):
        if not ranges or steps[start] != ranges[-1].clauses:
            ranges.append(Range(start, steps[start]))
    return ranges


def _search(ranges: Sequence[Range]) -> Code:
    if len(ranges) == 1:
        return _body(ranges[0].clauses)
    middle = len(ranges) // 2
    lower, upper = _search(ranges[:middle]), _search(ranges[middle:])
    start = ranges[middle].start
    if len(lower) <= _FARTHEST:
        return (Instruction(_IF_AT_LEAST, len(lower), 0, start), *lower, *upper)
    far = (Instruction(_IF_AT_LEAST, 0, 1, start), _do(_JUMP, len(lower)))
    return (*far, *lower, *upper)


def _body(clauses: tuple[Clause, ...]) -> Code:
    """Return what decides by `clauses`."""
    code: list[Instruction] = []
    for clause in clauses:
        code += _clause(clause)
        if not clause.conditions:
            return tuple(code)
    return (*code, _do(_RETURN, ALLOW))


def _clause(clause: Clause) -> Code:
    """Return what gives the verdict of `clause`, or goes on behind its end."""
    code: Code = (_do(_RETURN, clause.verdict),)
    for condition in reversed(clause.conditions):
        code = (*_asked(condition, len(code)), *code)
    return code


def _asked(condition: Condition, skipped: int) -> Iterator[Instruction]:
    """Yield what leaves out as many instructions as `skipped` unless `condition` holds."""
    yield _do(_LOAD, _ARGUMENTS + 8 * condition.argument + 4 * condition.high)
    if condition.value is None:
        yield Instruction(_IF_ANY, 0, skipped, condition.mask)
        return
    if condition.mask != _WORD:
        yield _do(_AND, condition.mask)
    yield Instruction(_IF_EQUAL, 0, skipped, condition.value)


def _do(code: int, operand: int) -> Instruction:
    return Instruction(code, 0, 0, operand)
