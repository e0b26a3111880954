"""What these tests share: a data folder, another process at its files, a certificate."""

from __future__ import annotations

import shutil
import ssl
import subprocess
import sys
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Certificate:
    path: Path
    server: ssl.SSLContext


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Whom a server of this machine is; nobody trusts it who was not told to."""
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("there is no openssl here to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    key, path = folder / "key.pem", folder / "certificate.pem"
    command = f"""
        {program} req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2
        -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1
    """
    files = ["-keyout", str(key), "-out", str(path)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path, key)
    return Certificate(path, server)
