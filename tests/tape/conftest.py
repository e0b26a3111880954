"""What the tests of the tape share: plain HTTP, and the real Codex binary."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import threading
from collections import deque
from http.client import HTTPConnection, HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from codex_magic import binary
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

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


class Codex:
    """The real app-server, with a home of its own and our server as its model."""

    def __init__(self, base_url: str, home: Path, folder: Path, retries: int = 0) -> None:
        provider = {
            "name": "tape",
            "base_url": base_url,
            "wire_api": "responses",
            "request_max_retries": retries,
            "stream_max_retries": retries,
        }
        settings = [
            *OFF,
            'model_provider="tape"',
            *(f"model_providers.tape.{k}={json.dumps(v)}" for k, v in provider.items()),
            f'projects={{"{folder}"={{trust_level="untrusted"}}}}',
        ]
        program = str(binary.candidates()[0].path.resolve())
        self.folder = folder
        self.process = subprocess.Popen(
            [program, "app-server", *(word for s in settings for word in ("-c", s))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "CODEX_HOME": str(home)},
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
def codex(tmp_path: Path) -> Iterator[Callable[..., Codex]]:
    """A way to start Codex; it has ended when the test is over."""
    try:
        binary.candidates()
    except SetupError:
        pytest.skip("there is no Codex here")
    home, folder = tmp_path / "home", tmp_path / "folder"
    home.mkdir()
    folder.mkdir()
    with contextlib.ExitStack() as running:

        def start(base_url: str, **options: int) -> Codex:
            server = Codex(base_url, home, folder, **options)
            running.callback(server.close)
            return server

        yield start
