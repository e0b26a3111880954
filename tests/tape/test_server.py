from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from http.client import HTTPException, HTTPResponse
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

from codex_magic.errors import BackendError
from codex_magic.tape import coding
from codex_magic.tape.server import Server
from codex_magic.tape.steps import Reply
from codex_magic.testing import FakeModel, pause_at, say

if TYPE_CHECKING:
    from codex_magic.tape.request import Request

PATIENCE_S = 30
STREAM = b'{"stream":true}'
Connect = Callable[[str], Any]


@pytest.mark.parametrize(
    ("method", "path", "headers", "body", "status", "code"),
    [
        ("GET", "/responses", {"Upgrade": "websocket"}, None, 426, "upgrade_required"),
        ("GET", "/responses", {}, None, 404, "not_found"),
        ("GET", "/elsewhere", {}, None, 404, "not_found"),
        ("POST", "/elsewhere", {}, b"{}", 404, "not_found"),
        ("DELETE", "/responses", {}, None, 404, "not_found"),
        ("POST", "/responses", {}, b"{", 400, "invalid_json"),
        ("POST", "/responses", {}, b"[]", 400, "invalid_json"),
        ("POST", "/responses", {"Content_Encoding": "br"}, b"x", 415, "unsupported_encoding"),
        ("POST", "/responses", {"Content_Encoding": "gzip"}, b"x", 400, "invalid_json"),
        ("POST", "/responses", {"Content_Encoding": "zstd"}, b"x", 400, "invalid_json"),
    ],
)
def test_what_is_refused(  # noqa: PLR0913, PLR0917 - one column each
    client: Connect,
    method: str,
    path: str,
    headers: dict[str, str],
    body: bytes,
    status: int,
    code: str,
) -> None:
    with FakeModel() as model:
        response = client(model.base_url).send(method, path, body, **headers)
        assert response.status == status
        assert json.loads(response.read())["error"]["code"] == code
        assert model.requests == []


def test_there_are_no_models_of_its_own(client: Connect) -> None:
    with FakeModel() as model:
        response = client(model.base_url).send("GET", "/models?client_version=1")
        assert json.loads(response.read()) == {"models": []}


@pytest.mark.parametrize(("name", "pack"), [("gzip", gzip.compress), ("zstd", zstd.compress)])
def test_a_packed_request_is_read(
    client: Connect, name: str, pack: Callable[[bytes], bytes]
) -> None:
    with FakeModel(say("ok")) as model:
        send = client(model.base_url).send
        assert send("POST", "/responses", pack(b'{"a":1}'), Content_Encoding=name).status == 200
        assert model.requests == [{"a": 1}]


def test_what_nobody_here_unpacks_is_refused(
    client: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in coding.ZSTD:
        monkeypatch.setitem(sys.modules, name, None)
    with FakeModel() as model:
        packed = zstd.compress(b"{}")
        response = client(model.base_url).send(
            "POST", "/responses", packed, Content_Encoding="zstd"
        )
        assert (response.status, json.loads(response.read())["error"]["message"]) == (
            415,
            "this server does not read zstd",
        )


def test_a_large_request_is_read(client: Connect) -> None:
    with FakeModel(say("ok")) as model:
        status, _ = client(model.base_url).ask(padding="x" * 20_000_000)
        assert (status, len(model.requests[0]["padding"])) == (200, 20_000_000)


def test_events_leave_one_by_one(client: Connect) -> None:
    with FakeModel([say("before"), pause_at("g"), say("after")]) as model:
        response = client(model.base_url).send("POST", "/responses", STREAM)
        assert model.reached("g").wait(PATIENCE_S)
        seen = b""
        while b"output_item.done" not in seen:
            seen += response.readline()
        assert b"before" in seen
        model.gate("g").set()
        assert b"after" in response.read()


def test_a_gate_may_be_opened_before_it_is_reached(client: Connect) -> None:
    with FakeModel(pause_at("g")) as model:
        model.gate("g").set()
        assert client(model.base_url).ask()[1][-1]["type"] == "response.completed"


def test_the_next_client_is_served_after_one_has_left(client: Connect) -> None:
    with FakeModel(pause_at("never"), say("here")) as model:
        left = client(model.base_url).send("POST", "/responses", STREAM)
        assert model.reached("never").wait(PATIENCE_S)
        left.close()
        assert client(model.base_url).ask()[0] == 200


def test_closing_ends_everything(client: Connect, capfd: pytest.CaptureFixture[str]) -> None:
    model = FakeModel(pause_at("never"))
    waiting = client(model.base_url).send("POST", "/responses", STREAM)
    assert model.reached("never").wait(PATIENCE_S)
    model.close()
    model.close()
    assert b"response.completed" not in _rest(waiting)
    at = urlsplit(model.base_url)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((at.hostname, at.port), timeout=PATIENCE_S)
    assert not [t for t in threading.enumerate() if t.name == "codex-magic tape"]
    model.gate("never").set()
    assert capfd.readouterr() == ("", "")


def _rest(response: HTTPResponse) -> bytes:
    try:
        return response.read()
    except (OSError, HTTPException):
        return b""


def test_a_server_that_cannot_start_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tornado.web", None)
    monkeypatch.delitem(sys.modules, "codex_magic.tape.routes", raising=False)

    def respond(_: Request) -> Reply:
        return Reply(200, {})

    with pytest.raises(BackendError, match="did not start"):
        Server(respond)


def test_it_works_beside_a_running_loop() -> None:
    program = (
        "import asyncio\n"
        "from codex_magic.testing import FakeModel\n"
        "async def main():\n"
        "    with FakeModel() as model: print(model.base_url[:17])\n"
        "asyncio.run(main())\n"
    )
    assert _run(program) == "http://127.0.0.1:\n"


def test_loading_imports_no_tornado_and_no_asyncio() -> None:
    program = (
        "import sys, codex_magic.tape, codex_magic.testing\n"
        "print([m for m in ('tornado', 'asyncio') if m in sys.modules])\n"
    )
    assert _run(program) == "[]\n"


def _run(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout
