"""What the tests of the stored threads share: a data folder, and another process at its files."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.backends.responses.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Json = dict[str, Any]

OTHER = """
import sys
from codex_magic.backends.responses.store import Store
log = Store({"JUPYTER_DATA_DIR": sys.argv[1]}).open(sys.argv[2])
print(len(log.items), flush=True)
for line in sys.stdin:
    log.begin_turn(line.strip(), model="m", account="a", prompt=line.strip())
    log.add([{"type": "message", "role": "user", "content": line.strip()}])
    print("said", flush=True)
"""


class Elsewhere:
    """A thread that another process has open."""

    def __init__(self, environ: dict[str, str], thread_id: str) -> None:
        words = [sys.executable, "-c", OTHER, environ["JUPYTER_DATA_DIR"], thread_id]
        self.process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.items = int(self.process.stdout.readline())

    def begin(self, turn_id: str) -> None:
        """Begin a turn there, and leave it open."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{turn_id}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "said\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"JUPYTER_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def store(environ: dict[str, str]) -> Iterator[Store]:
    made = Store(environ)
    yield made
    made.close()


@pytest.fixture
def elsewhere(environ: dict[str, str]) -> Iterator[Any]:
    """Open a thread in another process."""
    opened: list[Elsewhere] = []

    def open_there(thread_id: str) -> Elsewhere:
        opened.append(Elsewhere(environ, thread_id))
        return opened[-1]

    yield open_there
    for each in opened:
        each.kill()
