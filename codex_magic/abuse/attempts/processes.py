"""Attempts on other processes: the kernel's memory, its namespaces, and life after the end."""

# The plain ways of os say which system call is attempted, and pathlib takes long to import.
# ruff: noqa: PTH123, PTH208

from __future__ import annotations

import os
import signal
import sys

from codex_magic.abuse.inside import Place, asked, called

PTRACE_SEIZE = 0x4206
CLONE_NEWNS = 0x00020000
SURVIVOR = """
import fcntl, os, signal, sys
for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
os.write(int(sys.argv[2]), b"x")
os.closerange(0, 3)
os.close(int(sys.argv[2]))
signal.alarm(10)
signal.pause()
"""


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _found(place: Place, paths: list[str]) -> str:
    for path in paths:
        try:
            with open(path, "rb") as file:
                text = file.read()
        except OSError:
            continue
        if place.token.encode() in text:
            return f"read it in {path}"
    raise PermissionError(0, "it is in none that can be read")


def own_variables(place: Place) -> str:
    """Look for the secret among its own variables."""
    for name, value in os.environ.items():
        if place.token in value:
            return f"{name} holds it"
    raise PermissionError(0, "no variable holds it")


def all_variables(place: Place) -> str:
    """Look for the secret in the variables of every process, launchers included."""
    return _found(place, [f"/proc/{pid}/environ" for pid in _pids()])


def variables_of_kernel(place: Place) -> str:
    """Read the variables that the kernel was started with."""
    return _found(place, [f"/proc/{place.kernel}/environ"])


def command_of_kernel(place: Place) -> str:
    """Find the kernel in the list of processes."""
    return _found(place, [f"/proc/{pid}/cmdline" for pid in _pids()])


def memory_of_kernel(place: Place) -> str:
    """Read the kernel's memory through its file."""
    with open(f"/proc/{place.kernel}/mem", "rb", buffering=0) as file:
        file.seek(place.address)
        if file.read(len(place.token)) != place.token.encode():
            raise PermissionError(0, "that is another process")
    return "read it in the kernel's memory"


def copy_memory_of_kernel(place: Place) -> str:
    """Read the kernel's memory by the system call for that."""
    import ctypes  # noqa: PLC0415 - the other attempts need none

    size = len(place.token)
    buffer = ctypes.create_string_buffer(size)
    ours = (ctypes.c_size_t * 2)(ctypes.addressof(buffer), size)
    theirs = (ctypes.c_size_t * 2)(place.address, size)
    called("process_vm_readv", place.kernel, ours, 1, theirs, 1, 0)
    if buffer.raw != place.token.encode():
        raise PermissionError(0, "that is another process")
    return "read it in the kernel's memory"


def trace_kernel(place: Place) -> str:
    """Become the kernel's debugger, until this process ends."""
    called("ptrace", PTRACE_SEIZE, place.kernel, 0, 0)
    return "became its debugger"


def signal_kernel(place: Place) -> str:
    """Send the kernel a signal."""
    os.kill(place.kernel, signal.SIGUSR1)
    return "sent one"


def enter_kernels_mounts(place: Place) -> str:
    """See the files as the kernel sees them."""
    with open(f"/proc/{place.kernel}/ns/mnt", "rb") as file:
        called("setns", file.fileno(), CLONE_NEWNS)
    return "entered its mounts"


def take_kernels_file(place: Place) -> str:
    """Take an open file out of the kernel."""
    handle = os.pidfd_open(place.kernel)
    os.close(asked("pidfd_getfd", handle, 1, 0))
    return "took its standard output"


def overwrite_launcher(_: Place) -> str:
    """Open the program of the first process for writing, which would be run again outside."""
    os.close(os.open("/proc/1/exe", os.O_WRONLY))
    return "opened it"


def outlive(place: Place) -> str:
    """Leave a process behind: other session, other parent, no variables, deaf to signals."""
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)  # noqa: FBT003 - it has no name
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            path = f"{place.workspace}/alive"
            words = [sys.executable, "-I", "-S", "-c", SURVIVOR, path, str(writer)]
            os.execve(sys.executable, words, {})  # noqa: S606 - no shell is wanted
        os._exit(0)
    os.close(writer)
    if os.read(reader, 1) != b"x":
        raise ChildProcessError(0, "it did not start")
    return "started one"
