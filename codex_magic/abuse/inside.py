"""What an attempt has in its hands: the scene by name, and system calls Python has no name for.

This text and the one with the attempts are handed to a new interpreter as they are: inside a
sandbox the package may not be there to import. So both import the standard library alone, and of
that as little as they can. What an attempt's success means is judged outside.
"""

from __future__ import annotations

import os
import sys

# typing and ctypes would each take as long as most attempts.
TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BEGUN = "BEGUN"
READY = "READY"
THROUGH = "THROUGH "
OWN = "OWN "
FAILED = "FAILED "
MEETING = ".meeting"

NUMBERS = {
    # x86_64 and aarch64, as in the system's unistd.h.
    "add_key": (248, 217),
    "keyctl": (250, 219),
    "perf_event_open": (298, 241),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "clone3": (435, 435),
    "openat2": (437, 437),
    "pidfd_getfd": (438, 438),
    "fchmodat2": (452, 452),
}

LONG = {"syscall", "ptrace", "process_vm_readv"}
"""Functions that return a long; of the others' -1 only the lower half is meant."""


class Place:
    """The scene, as an attempt knows it.

    `bare` tells a control, in which nothing is confined, so that it can keep to the scene's own
    files. `token` is the secret, `kernel` the process that guards it, and `address` where it does
    so in memory.
    """

    bare: bool
    token: str
    stamp: str
    home: str
    runtime: str
    workspace: str
    outside: str
    kernel: int
    address: int
    tcp: int
    udp: int
    port: int
    abstract: str
    sockets: dict[str, str]
    interfaces: list[str]
    modules: list[str]

    def __init__(self, facts: dict[str, object]) -> None:
        self.__dict__.update(facts)

    def meet(self) -> None:
        """Wait while something is done outside."""
        # Open for both, it neither blocks here nor ends when the other side closes.
        door = os.open(f"{self.workspace}/{MEETING}", os.O_RDWR)
        say(READY)
        os.read(door, 1)
        os.close(door)


class Own(str):
    """What was reached, where it is only the process's own copy."""

    __slots__ = ()


def say(line: str) -> None:
    """Write a line now."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def perform(attempt: Callable[..., str], facts: dict[str, object], words: list[str]) -> None:
    """Make an attempt, and say what came of it."""
    place = Place(facts)
    say(BEGUN)
    try:
        reached = attempt(place, *words)
    except Exception as error:  # noqa: BLE001 - however it fails, it did not get through
        # An OSError that an attempt raises itself has a text and no number.
        reason = str(getattr(error, "strerror", None) or f"{type(error).__name__}: {error}")
        say(FAILED + reason.replace("\n", " "))
    else:
        say((OWN if isinstance(reached, Own) else THROUGH) + reached)


def called(name: str, *words: object) -> int:
    """Call a function of the C library.

    Raises
    ------
    OSError
        It returned -1.
    """
    import ctypes  # noqa: PLC0415 - most attempts need none

    function = ctypes.CDLL(None, use_errno=True)[name]
    function.restype = ctypes.c_long if name in LONG else ctypes.c_int
    ctypes.set_errno(0)
    returned = int(function(*(ctypes.c_long(w) if isinstance(w, int) else w for w in words)))
    if returned == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
    return returned


def asked(name: str, *words: object) -> int:
    """Make a system call that the C library may have no function for.

    Raises
    ------
    OSError
        The system refused it, or it is not known for this processor.
    """
    machine = os.uname().machine
    if machine not in {"x86_64", "aarch64"}:
        raise OSError(0, f"not tried on {machine}", name)
    return called("syscall", NUMBERS[name][machine == "aarch64"], *words)
