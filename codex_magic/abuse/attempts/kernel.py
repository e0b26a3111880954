"""Attempts on the system's kernel: its devices and settings, its mounts, its rarer calls.

What would change the machine is opened and closed again, or done in a mount namespace that ends
with the attempt.
"""

# The plain ways of os say which system call is attempted, and pathlib takes long to import.
# ruff: noqa: PTH102, PTH106, PTH112, PTH208

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import signal
import struct
import termios

from codex_magic.abuse.inside import Place, asked, called

CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000
MS_RDONLY, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
LOG_READ_ALL = 3
PROCESS_KEYRING = -2
KEYCTL_GET_KEYRING_ID = 0
BPF_MAP_CREATE = 0
USER_MODE_ONLY = 1
ADJUST_TICK = 0x4000
X32 = 0x40000000
X86_GETPID = 39


def _opened(paths: list[str], flags: int) -> str:
    """Open the first of `paths` that can be, and close it again."""
    reasons = [f"{path}: there is none" for path in paths if not os.path.lexists(path)]
    for path in filter(os.path.lexists, paths):
        try:
            os.close(os.open(path, flags | os.O_NONBLOCK))
        except OSError as error:
            reasons.append(f"{path}: {error.strerror}")
        else:
            return f"opened {path}"
    raise PermissionError(0, "; ".join(reasons[:3]) or "there is none")


def open_disk(_: Place) -> str:
    """Open a raw disk."""
    folder = "/sys/class/block"
    names = sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    return _opened([f"/dev/{name}" for name in names], os.O_RDONLY)


def open_memory(_: Place) -> str:
    """Open the machine's memory."""
    return _opened(["/dev/mem", "/dev/kmem", "/proc/kcore"], os.O_RDONLY)


def read_log(_: Place) -> str:
    """Read what the system's kernel logs."""
    buffer = ctypes.create_string_buffer(4096)
    if not called("klogctl", LOG_READ_ALL, buffer, len(buffer)):
        raise PermissionError(0, "it is empty")
    return "read the log"


def open_setting(_: Place, *paths: str) -> str:
    """Open a setting of the machine for writing."""
    return _opened(list(paths), os.O_WRONLY)


def make_control_group(place: Place) -> str:
    """Make a control group; one can name a program that then runs outside."""
    top = "/sys/fs/cgroup"
    reasons = ["there are none"]
    for folder in [top, *(entry.path for entry in os.scandir(top) if entry.is_dir())]:
        path = f"{folder}/{place.stamp}"
        try:
            os.mkdir(path)
        except OSError as error:
            reasons.append(f"{folder}: {error.strerror}")
        else:
            os.rmdir(path)
            return f"made one in {folder}"
    raise PermissionError(0, reasons[-1])


def _away() -> None:
    """Leave the machine's mounts alone; where that is not allowed, mounting is not either."""
    try:
        called("unshare", CLONE_NEWNS)
        called("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    except OSError:
        return


def mount(place: Place) -> str:
    """Mount a file system of its own."""
    _away()
    folder = f"{place.workspace}/mount"
    os.mkdir(folder)
    called("mount", b"none", folder.encode(), b"tmpfs", 0, None)
    return "mounted one"


def remount(place: Place) -> str:
    """Make writable what is mounted read-only; bare, that is a folder of its own."""
    target = b"/"
    if place.bare:
        _away()
        target = place.outside.encode()
        called("mount", target, target, None, MS_BIND, None)
        called("mount", None, target, None, MS_BIND | MS_REMOUNT | MS_RDONLY, None)
    called("mount", None, target, None, MS_BIND | MS_REMOUNT, None)
    return "remounted it"


def new_user_namespace(_: Place) -> str:
    """Become root of a user namespace, which opens much of the kernel to attacks."""
    called("unshare", CLONE_NEWUSER)
    return "made a user namespace"


def clone_user_namespace(_: Place) -> str:
    """Do the same by a call whose arguments a filter cannot read."""
    flags_to_exit_signal = struct.pack("5Q", CLONE_NEWUSER, 0, 0, 0, signal.SIGCHLD)
    words = ctypes.create_string_buffer(flags_to_exit_signal.ljust(64, b"\0"), 64)
    if (child := asked("clone3", words, 64)) == 0:
        os._exit(0)
    os.waitpid(child, 0)
    return "made a user namespace"


def use_io_uring(_: Place) -> str:
    """Set up a queue through which calls pass no filter."""
    os.close(asked("io_uring_setup", 4, ctypes.create_string_buffer(120)))
    return "made a queue"


def use_keys(_: Place) -> str:
    """Put a key where the system keeps keys, here only for this process."""
    ring = asked("keyctl", KEYCTL_GET_KEYRING_ID, PROCESS_KEYRING, 1)
    asked("add_key", b"user", b"abuse", b"x", 1, ring)
    return "kept a key"


def use_bpf(_: Place) -> str:
    """Load something into the system's kernel; here an empty table."""
    array, key_bytes, value_bytes, entries = 2, 4, 4, 1
    words = struct.pack("4I", array, key_bytes, value_bytes, entries).ljust(128, b"\0")
    os.close(asked("bpf", BPF_MAP_CREATE, ctypes.create_string_buffer(words, 128), 128))
    return "made a table"


def use_perf(_: Place) -> str:
    """Measure by the system's counters, which show what others do."""
    software, size_bytes, task_clock, user_only = 1, 112, 1, 0x60
    words = struct.pack("IIQQQQQ", software, size_bytes, task_clock, 0, 0, 0, user_only)
    buffer = ctypes.create_string_buffer(words.ljust(size_bytes, b"\0"), size_bytes)
    os.close(asked("perf_event_open", buffer, 0, -1, -1, 0))
    return "opened a counter"


def use_userfaultfd(_: Place) -> str:
    """Take over the handling of page faults, which attacks on the kernel need."""
    os.close(asked("userfaultfd", os.O_CLOEXEC | USER_MODE_ONLY))
    return "took it over"


def change_root(place: Place) -> str:
    """Make a folder the root of all paths."""
    os.chroot(place.workspace)
    return "changed the root"


def set_clock(_: Place) -> str:
    """Set the machine's clock, here to tick as it already does."""
    clock = ctypes.create_string_buffer(256)
    called("adjtimex", clock)
    struct.pack_into("I", clock, 0, ADJUST_TICK)
    called("adjtimex", clock)
    return "set it"


def type_into_terminal(_: Place) -> str:
    """Put a key press into a terminal, as if the person had typed it."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # which comes when the terminal goes
    ours, theirs = os.openpty()
    with contextlib.suppress(PermissionError):  # it leads a session already
        os.setsid()
    fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)
    fcntl.ioctl(theirs, termios.TIOCSTI, b"x")
    os.close(ours)
    os.close(theirs)
    return "typed a key"


def call_by_other_numbers(_: Place) -> str:
    """Call by the numbers of x86's third kind, which a filter may have forgotten."""
    if platform.machine() != "x86_64":
        raise OSError(0, "there are none on this processor")
    called("syscall", X32 | X86_GETPID)
    return "called"
