"""Several processes with one sign-in: one renews it, and an interrupt loses nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from codex_magic.issuer import TOKEN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from conftest import Room

KERNEL = """
import json, os, sys
from codex_magic.auth import sources
from codex_magic.settings import Settings

source = sources.find(Settings(), json.loads(sys.argv[1]))
if "warm" in sys.argv:
    import httpx2
print("ready", flush=True)
sys.stdin.readline()
try:
    print(source.current().token, flush=True)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


class Kernel:
    """A process that asks for the credential when it is told to."""

    def __init__(self, room: Room) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", KERNEL, json.dumps(room.environ), "warm"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.stdin, self.stdout = self.process.stdin, self.process.stdout
        assert self.stdout.readline() == "ready\n"

    def ask(self) -> None:
        self.stdin.write("\n")
        self.stdin.flush()

    def said(self) -> str:
        return self.stdout.readline().strip()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.stdin.close()
        self.stdout.close()


@pytest.fixture
def kernels(room: Room) -> Iterator[list[Kernel]]:
    made = [Kernel(room) for _ in range(2)]
    yield made
    for kernel in made:
        kernel.close()


def waits_for_a_lock(kernel: Kernel, lock: Path) -> bool:
    """Return whether a process has the lock's file open, as one that wants it does."""
    folder = f"/proc/{kernel.process.pid}/fd"
    ran = subprocess.run(["ls", "-l", folder], capture_output=True, text=True, check=False)
    return str(lock) in ran.stdout


@pytest.mark.parametrize("place", ["ours", "codexs"])
def test_two_processes_renew_once(
    room: Room, kernels: list[Kernel], until: Callable[..., None], place: str
) -> None:
    path = room.keep(room.expired(), getattr(room, place))
    hold = room.issuer.hold(TOKEN)
    first, second = kernels
    first.ask()
    assert hold.reached.wait(20)
    second.ask()
    until(lambda: waits_for_a_lock(second, path.with_name("auth.json.lock")))
    hold.release()
    token = first.said()
    assert (second.said(), room.kept(path)["tokens"]["access_token"]) == (token, token)
    assert room.issuer.count(TOKEN) == 1


def test_an_interrupt_loses_no_renewal(room: Room, kernels: list[Kernel]) -> None:
    """The cell ends at once; the token that is on its way is written, then the process ends."""
    old = room.expired()
    room.keep(old)
    hold = room.issuer.hold(TOKEN)
    kernel, other = kernels
    kernel.ask()
    assert hold.reached.wait(20)
    kernel.process.send_signal(signal.SIGINT)
    assert kernel.said() == "interrupted"
    assert room.kept() == old
    hold.release()
    assert kernel.process.wait(20) == 0
    other.ask()
    assert other.said() == room.kept()["tokens"]["access_token"]
    assert room.kept() != old
    assert room.issuer.count(TOKEN) == 1
