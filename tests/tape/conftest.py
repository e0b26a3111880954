"""What the tests of the tape share: plain HTTP, and the real Codex binary."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import socket
import ssl
import subprocess
import threading
from base64 import urlsafe_b64encode
from collections import deque
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import pytest

from codex_magic import binary
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from codex_magic.testing import FakeModel

Json = dict[str, Any]
PATIENCE_S = 30

OFF = (
    "agents.enabled=false",
    "analytics.enabled=false",
    "features.apps=false",
    "features.goals=false",
    "features.multi_agent=false",
    "features.plugins=false",
    "features.shell_tool=false",
    "features.sleep_tool=false",
    "features.unified_exec=false",
    "include_apps_instructions=false",
    "include_environment_context=false",
    "include_permissions_instructions=false",
    "skills.include_instructions=false",
    'web_search="disabled"',
)
SHELL = {
    "type": "function",
    "name": "shell",
    "description": "Run a command.",
    "inputSchema": {
        "type": "object",
        "properties": {"command": {}, "justification": {"type": "string"}},
        "required": ["command"],
    },
}


class Client:
    """A client of the Responses API that sees what goes over the wire."""

    def __init__(self, base_url: str, opened: contextlib.ExitStack) -> None:
        self.at = urlsplit(base_url)
        self.opened = opened

    def send(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> HTTPResponse:
        """Return an answer of which only the head has been read."""
        assert self.at.hostname is not None
        connection = HTTPConnection(self.at.hostname, self.at.port, timeout=PATIENCE_S)
        self.opened.callback(connection.close)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, self.at.path + path, body, named)
        return self.opened.enter_context(connection.getresponse())

    def ask(self, *history: Json, **body: object) -> tuple[int, Any]:
        """Return the status, and the events or the error."""
        sent = json.dumps({"model": "m", "stream": True, "input": list(history), **body}).encode()
        response = self.send("POST", "/responses", sent)
        data = response.read()
        if response.headers["Content-Type"] != "text/event-stream":
            return response.status, json.loads(data)
        return response.status, events(data)


def events(stream: bytes) -> list[Json]:
    return [json.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: ")]


def provider(base_url: str, retries: int = 0) -> list[str]:
    """Return the settings of a provider that is not one of Codex's own."""
    told = {
        "name": "tape",
        "base_url": base_url,
        "wire_api": "responses",
        "request_max_retries": retries,
        "stream_max_retries": retries,
    }
    named = (f"model_providers.tape.{k}={json.dumps(v)}" for k, v in told.items())
    return ['model_provider="tape"', *named]


class Codex:
    """The real app-server, with a home of its own and our server as its model."""

    def __init__(self, home: Path, folder: Path, *told: str, **environ: str) -> None:
        settings = [*OFF, *told, f'projects={{"{folder}"={{trust_level="untrusted"}}}}']
        program = str(binary.candidates()[0].path.resolve())
        self.folder = folder
        self.process = subprocess.Popen(
            [program, "app-server", *(word for s in settings for word in ("-c", s))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "CODEX_HOME": str(home), **environ},
            cwd=folder,
            start_new_session=True,
        )
        self.messages: queue.SimpleQueue[Json] = queue.SimpleQueue()
        self.passed: deque[Json] = deque()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()
        self.sent = 0
        self.request("initialize", clientInfo={"name": "t", "version": "0"}, capabilities=NEW)
        self._send({"method": "initialized"})

    def start_thread(self, model: str) -> str:
        options: Json = {"sandbox": "read-only", "approvalPolicy": "never", "environments": []}
        options |= {"baseInstructions": "You live in a notebook.", "dynamicTools": [SHELL]}
        started = self.request("thread/start", model=model, cwd=str(self.folder), **options)
        return str(started["thread"]["id"])

    def until(self, method: str) -> Json:
        while (message := self._next()).get("method") != method:
            pass
        return message

    def turn(self, thread: str, prompt: str, shell: Callable[[Json], str]) -> list[Json]:
        """Return every message of a turn; `shell` answers the calls."""
        self.start_turn(thread, prompt)
        seen: list[Json] = []
        while not seen or seen[-1].get("method") != "turn/completed":
            seen.append(self._next())
            if seen[-1].get("method") == "item/tool/call":
                text = shell(seen[-1]["params"]["arguments"])
                result = {"success": True, "contentItems": [{"type": "inputText", "text": text}]}
                self._send({"id": seen[-1]["id"], "result": result})
        return seen

    def start_turn(self, thread: str, prompt: str) -> str:
        said = [{"type": "text", "text": prompt}]
        begun = self.request("turn/start", threadId=thread, input=said, environments=[])
        return str(begun["turn"]["id"])

    def request(self, method: str, /, **params: object) -> Json:
        self.sent += 1
        self._send({"id": self.sent, "method": method, "params": params})
        while True:
            message = self.messages.get(timeout=PATIENCE_S)
            if message.get("id") == self.sent and "method" not in message:
                assert "error" not in message, message
                return dict(message["result"])
            self.passed.append(message)

    def _next(self) -> Json:
        return self.passed.popleft() if self.passed else self.messages.get(timeout=PATIENCE_S)

    def close(self) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.close()
        self.process.wait(timeout=PATIENCE_S)
        self.reader.join()
        self.process.stdout.close()

    def _send(self, message: Json) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.messages.put(json.loads(line))


NEW = {"experimentalApi": True}


@pytest.fixture
def client() -> Iterator[Callable[[str], Client]]:
    """A way to talk to a server; its connections are closed when the test is over."""
    with contextlib.ExitStack() as opened:
        yield lambda base_url: Client(base_url, opened)


@pytest.fixture
def codex(places: tuple[Path, Path]) -> Iterator[Callable[..., Codex]]:
    """A way to start Codex; it has ended when the test is over."""
    with contextlib.ExitStack() as running:

        def start(base_url: str, **options: int) -> Codex:
            server = Codex(*places, *provider(base_url, **options))
            running.callback(server.close)
            return server

        yield start


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Codex's home and the folder it works in."""
    try:
        binary.candidates()
    except SetupError:
        pytest.skip("there is no Codex here")
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir()
    folder.mkdir()
    return home, folder


@pytest.fixture
def signed_in(places: tuple[Path, Path], tmp_path: Path) -> Iterator[Callable[[FakeModel], Codex]]:
    """A way to start a Codex that is signed in with ChatGPT, whose host it reaches by TLS alone."""
    with contextlib.ExitStack() as running:

        def start(model: FakeModel) -> Codex:
            door = running.enter_context(Tls(tmp_path, urlsplit(model.base_url).port))
            (places[0] / "auth.json").write_text(json.dumps(SIGNED_IN))
            told = {"chatgpt_base_url": door.url, "openai_base_url": f"{door.url}/codex"}
            settings = (f"{name}={json.dumps(url)}" for name, url in told.items())
            server = Codex(*places, *settings, CODEX_CA_CERTIFICATE=str(door.authority))
            running.callback(server.close)
            return server

        yield start


def token(**claims: object) -> str:
    """Return a token that nobody has signed."""
    account = {"chatgpt_account_id": ACCOUNT, "chatgpt_plan_type": "plus", "chatgpt_user_id": "u"}
    told = {"exp": 4_000_000_000, "https://api.openai.com/auth": account, **claims}
    parts = (json.dumps(part).encode() for part in ({"alg": "none"}, told))
    return ".".join([*(urlsafe_b64encode(p).rstrip(b"=").decode() for p in parts), "eA"])


ACCOUNT = "account-1"
SIGNED_IN = {
    "auth_mode": "chatgpt",
    "OPENAI_API_KEY": None,
    "tokens": {
        "id_token": token(email="a@example.org"),
        "access_token": token(),
        "refresh_token": "r",
        "account_id": ACCOUNT,
    },
    "last_refresh": "2026-01-01T00:00:00Z",
}


class Tls:
    """A door with a certificate of its own authority, in front of a server that has none."""

    def __init__(self, folder: Path, port: int | None) -> None:
        if shutil.which("openssl") is None:
            pytest.skip("there is no openssl here")
        self.authority = folder / "ca.pem"
        self._behind = ("127.0.0.1", port)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(*_certificate(folder))
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://127.0.0.1:{self._listening.getsockname()[1]}/backend-api"
        self._threads = [threading.Thread(target=self._accept)]
        self._open = contextlib.ExitStack()

    def __enter__(self) -> Self:
        self._threads[0].start()
        return self

    def __exit__(self, *_: object) -> None:
        # A listening socket wakes who waits at it when it is shut down, not when it is closed.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        self._open.close()
        for thread in self._threads:
            thread.join()
        self._listening.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                asking, _ = self._listening.accept()
                self._start(self._pass_on, asking)

    def _start(self, work: Callable[..., None], *given: object) -> None:
        self._threads.append(threading.Thread(target=work, args=given))
        self._threads[-1].start()

    def _pass_on(self, asking: socket.socket) -> None:
        with contextlib.suppress(OSError):
            inside = self._context.wrap_socket(asking, server_side=True)
            behind = socket.create_connection(self._behind)
            for end in (inside, behind):
                self._open.callback(_shut, end)
            self._start(_pump, behind, inside)
            _pump(inside, behind)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _shut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
    end.close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    """Return a certificate for this machine and its key; `ca.pem` beside it vouches for it."""
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout"]
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for line in (
        ["req", "-x509", *key, "ca.key", "-out", "ca.pem", "-subj", "/CN=authority"],
        ["req", *key, "host.key", "-out", "host.csr", "-subj", "/CN=host"],
        [
            "x509",
            "-req",
            "-in",
            "host.csr",
            "-CA",
            "ca.pem",
            "-CAkey",
            "ca.key",
            "-CAcreateserial",
            "-extfile",
            "names",
            "-out",
            "host.pem",
        ],
    ):
        subprocess.run(["openssl", *line], cwd=folder, capture_output=True, check=True)
    return folder / "host.pem", folder / "host.key"
