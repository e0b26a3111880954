"""What lives on a machine beside a command: a process with a secret, and listening sockets.

They are made for one run of the list and end with it. They do no harm and hold nothing real.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

GREETING: Final = b"hello"
VICTIM: Final = """
import ctypes, signal, sys
secret = ctypes.create_string_buffer(sys.argv[1].encode())
arrived = []
signal.signal(signal.SIGUSR1, lambda *_: arrived.append(1))
try:
    ctypes.CDLL(None).prctl(0x59616d61, ctypes.c_long(-1))  # may be read by any of this user's
except OSError:
    pass
print(ctypes.addressof(secret), flush=True)
for line in sys.stdin:
    print(len(arrived), flush=True)
    arrived.clear()
"""


@dataclass(slots=True)
class Victim:
    """A process like a kernel's: the token in its variables, its command and its memory."""

    process: subprocess.Popen[str]
    address: int

    @property
    def pid(self) -> int:
        """Its number on this machine."""
        return self.process.pid

    def signals(self) -> int:
        """Return how many signals have arrived since this was asked last."""
        if self.process.stdin is None or self.process.stdout is None:
            return 0
        self.process.stdin.write("?\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@contextlib.contextmanager
def victim(token: str) -> Iterator[Victim]:
    """Start one, and end it."""
    process = subprocess.Popen(  # noqa: S603 - the command is ours
        [sys.executable, "-I", "-S", "-c", VICTIM, token],
        env={"LAB_LOGIN": token},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            yield Victim(process, int(line))
        finally:
            process.send_signal(signal.SIGKILL)


@dataclass(slots=True)
class Listeners:
    """Sockets that greet whoever comes: a port, an abstract name, and files by where they are."""

    tcp: int
    abstract: str
    files: dict[str, Path]
    datagrams: socket.socket

    def received(self, data: bytes) -> bool:
        """Return whether `data` has arrived as a datagram, and forget what has."""
        found = False
        with contextlib.suppress(BlockingIOError):
            while arrived := self.datagrams.recv(4096):
                found = found or arrived == data
        return found


@contextlib.contextmanager
def listeners(stamp: str, folders: dict[str, Path]) -> Iterator[Listeners]:
    """Listen, in `folders` and in those that all programs share, and stop.

    Parameters
    ----------
    stamp
        A name that nothing else on this machine has.
    """
    with contextlib.ExitStack() as stack:
        places = {**folders, **_shared(stamp, stack)}
        files = {name: folder / "s" for name, folder in places.items()}
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        servers = [tcp, _listening(f"\0{stamp}", stack)]
        for path in files.values():
            folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
            # An address is at most 107 bytes long, a path may be longer.
            servers.append(_listening(f"/proc/self/fd/{folder}/{path.name}", stack))
            os.close(folder)
        datagrams = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        datagrams.bind(("127.0.0.1", 0))
        datagrams.setblocking(False)  # noqa: FBT003 - it has no name
        stack.enter_context(_greeting(servers))
        yield Listeners(tcp.getsockname()[1], stamp, files, datagrams)


def _shared(stamp: str, stack: contextlib.ExitStack) -> dict[str, Path]:
    """Return new folders where this user can make them among those of all programs."""
    shared = {
        "tmp": Path("/tmp"),  # noqa: S108 - what is there is what is tried
        "run": next((p for p in _run_folders() if os.access(p, os.W_OK)), None),
    }
    made = {}
    for name, parent in shared.items():
        if parent is not None and os.access(parent, os.W_OK):
            made[name] = Path(tempfile.mkdtemp(prefix=f"{stamp}-", dir=parent))
            stack.callback(shutil.rmtree, made[name], ignore_errors=True)
    return made


def _run_folders() -> Iterator[Path]:
    yield from (Path("/run"), Path("/run/user", str(os.getuid())))


def _listening(address: str, stack: contextlib.ExitStack) -> socket.socket:
    server = stack.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(address)
    server.listen()
    return server


@contextlib.contextmanager
def _greeting(servers: list[socket.socket]) -> Iterator[None]:
    """Greet whoever connects, by an OS thread that ends when this does."""
    ours, theirs = socket.socketpair()
    with ours, theirs, selectors.DefaultSelector() as selector:
        for server in (*servers, theirs):
            selector.register(server, selectors.EVENT_READ)

        def greet() -> None:
            while True:
                for key, _ in selector.select():
                    if key.fileobj is theirs:
                        return
                    with contextlib.suppress(OSError):  # who came may have left
                        peer = servers[_index(servers, key.fd)].accept()[0]
                        with peer:
                            peer.sendall(GREETING)

        thread = threading.Thread(target=greet, name="codex-magic-abuse", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ours.send(b"x")
            thread.join()


def _index(servers: list[socket.socket], fd: int) -> int:
    return [server.fileno() for server in servers].index(fd)
