"""Machines without user namespaces, as `python simulations.py NAME -- argv…`.

Each makes of this process what a container makes of it, and becomes the command. Nothing of the
machine is changed: a limit that is set is that of a user namespace made for it, and everything
else belongs to the process alone. `prefix` gives the words to put before a command.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from pathlib import Path

NAMES = ("no-namespaces", "container", "container-root")
ORDINARY = 65534
NEW_USER = 0x10000000
NEW_ANY = 0x7E020000
# capability(7): what Docker leaves to root, from CHOWN to SETFCAP.
DOCKER = sum(1 << number for number in (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))
# clone, unshare, setns, mount, umount2, pivot_root, add_key, request_key, keyctl; clone3.
CALLS = {
    "x86_64": (0xC000003E, 56, (272, 308, 165, 166, 155, 248, 249, 250), 435),
    "aarch64": (0xC00000B7, 220, (97, 268, 40, 39, 41, 217, 218, 219), 435),
}
ALLOW, KILL, EPERM, ENOSYS = 0x7FFF0000, 0x80000000, 0x50001, 0x50026

libc = ctypes.CDLL(None, use_errno=True)


def prefix(name: str) -> list[str]:
    """Return the words that make `name` of the machine for the command after them."""
    return [sys.executable, __file__, name, "--"]


def check(result: int) -> None:
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def no_namespaces() -> None:
    user, group = os.getuid(), os.getgid()
    check(libc.unshare(NEW_USER))
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    hold(0)
    check(libc.prctl(38, 1, 0, 0, 0))  # NO_NEW_PRIVS


def container() -> None:
    if os.getuid() == 0:
        os.setgroups([])
        os.setresgid(ORDINARY, ORDINARY, ORDINARY)
        os.setresuid(ORDINARY, ORDINARY, ORDINARY)
    check(libc.prctl(38, 1, 0, 0, 0))
    refuse()


def container_root() -> None:
    refuse()
    hold(DOCKER)


def hold(capabilities: int) -> None:
    """Keep these capabilities, and be able to get no other."""
    for number in range(64):
        if not capabilities >> number & 1 and libc.prctl(24, number, 0, 0, 0) < 0:  # CAPBSET_DROP
            break
    low, high = capabilities & 0xFFFFFFFF, capabilities >> 32
    sets = struct.pack("=6I", low, low, 0, high, high, 0)
    check(libc.capset(struct.pack("=Ii", 0x20080522, 0), sets))


def refuse() -> None:
    """Refuse what containers refuse; needs NO_NEW_PRIVS or to be root."""
    arch, clone, refused, clone3 = CALLS[platform.machine()]
    load, equal, any_bit, answer = 0x20, 0x15, 0x45, 0x06
    calls = [
        (load, 0, 0, 4),
        (equal, 1, 0, arch),
        (answer, 0, 0, KILL),
        (load, 0, 0, 0),
        *(step for n in refused for step in ((equal, 0, 1, n), (answer, 0, 0, EPERM))),
        *((equal, 0, 1, clone3), (answer, 0, 0, ENOSYS)),
        *((equal, 0, 3, clone), (load, 0, 0, 16), (any_bit, 0, 1, NEW_ANY), (answer, 0, 0, EPERM)),
        (answer, 0, 0, ALLOW),
    ]
    program = b"".join(struct.pack("=HBBI", *step) for step in calls)
    held = ctypes.create_string_buffer(program, len(program))
    check(libc.prctl(22, 2, struct.pack("@HP", len(calls), ctypes.addressof(held)), 0, 0))


def main() -> None:
    name, _, *command = sys.argv[1:]
    {"no-namespaces": no_namespaces, "container": container, "container-root": container_root}[
        name
    ]()
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
