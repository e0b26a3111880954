"""Which notebook a kernel is in: a small server in the place of Jupyter's, and what it may get wrong."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.notebook.where import Hints, Place, find

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KERNEL = "0b0c3f54-1111-2222-3333-abcdefabcdef"
CONNECTION = f"/run/kernel-{KERNEL}.json"

Answer = tuple[int, bytes]


def session(path: str, kernel: str = KERNEL, kind: str = "notebook") -> dict[str, Any]:
    return {"path": path, "type": kind, "kernel": {"id": kernel}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[..., tuple[Hints, dict[str, str]]]]:
    """Start a server that gives one answer; return the hints and the environment of its kernel."""
    started: list[tuple[HTTPServer, threading.Thread]] = []

    def start(answer: Answer, cell: str = "", root: str = "/home/ada", **info: Any) -> Any:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                good = self.path == "/base/api/sessions"
                known = self.headers["Authorization"] == "token secret"
                status, body = answer if good and known else (403, b"")
                self.send_response(status)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: Any) -> None: ...

        made = HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        started.append((made, thread))
        url = f"http://127.0.0.1:{made.server_port}/base/"
        described = {"url": url, "token": "secret", "root_dir": root} | info
        (tmp_path / "jpserver-77.json").write_text(json.dumps(described))
        hints = Hints(cell=cell, connection_file=CONNECTION, runtime=tmp_path)
        return hints, {"JPY_PARENT_PID": "77"}

    yield start
    for made, thread in started:
        made.shutdown()
        thread.join()
        made.server_close()


def test_the_server_says_it_also_after_a_rename(server: Any) -> None:
    sessions = [session("other.ipynb", "another kernel"), session("work/renamed.ipynb")]
    hints, environ = server((200, json.dumps(sessions).encode()), cell="c1")
    stale = environ | {"JPY_SESSION_NAME": "/home/ada/work/before.ipynb"}
    assert find(hints, stale) == Place(Path("/home/ada/work/renamed.ipynb"), "c1")


@pytest.mark.parametrize(
    "answer",
    [
        (200, b"[]"),
        (200, json.dumps([session("a.ipynb", "another")]).encode()),
        (200, json.dumps([session("console-1", kind="console")]).encode()),
        (200, b"<html>"),
        (200, b'[{"kernel": 1}]'),
        (200, b'{"kernel": {}}'),
        (200, b"\xff\xfe"),
        (500, b"[]"),
    ],
)
def test_what_a_server_may_say_instead(server: Any, tmp_path: Path, answer: Answer) -> None:
    """Then an inherited name counts only where a front end has named a cell."""
    notebook = tmp_path / "mine.ipynb"
    notebook.touch()
    hints, environ = server(answer)
    environ["JPY_SESSION_NAME"] = str(notebook)
    assert find(hints, environ) == Place()
    named = Hints("c1", None, hints.connection_file, hints.runtime)
    assert find(named, environ) == Place(notebook, "c1")


@pytest.mark.parametrize(
    "info",
    [
        {"url": "http+unix://%2Ftmp%2Fs.sock/"},
        {"url": 7},
        {"token": "wrong"},
        {"url": "http://127.0.0.1:1/base/"},
    ],
)
def test_a_server_that_cannot_be_asked(server: Any, info: dict[str, Any]) -> None:
    hints, environ = server((200, json.dumps([session("a.ipynb")]).encode()), **info)
    assert find(hints, environ) == Place()


def test_no_word_of_a_server(tmp_path: Path) -> None:
    hints = Hints("c1", None, CONNECTION, tmp_path)
    for parent in ("", "77", "../x", "9" * 400):
        assert find(hints, {"JPY_PARENT_PID": parent, "JPY_SESSION_NAME": "gone.ipynb"}) == Place(
            None, "c1"
        )


@pytest.mark.parametrize(
    "said", ["relative.ipynb", "/no/such.ipynb", "/\0", "/" + "x" * 5000, 7, "", None]
)
def test_vs_code_may_say_nonsense(said: Any) -> None:
    assert find(Hints("file:cell", said, CONNECTION), {}).path is None


def test_vs_code_names_the_file_and_not_the_cell(tmp_path: Path) -> None:
    notebook = tmp_path / "a.ipynb"
    notebook.touch()
    hints = Hints("vscode-notebook-cell:/a.ipynb#X", str(notebook), CONNECTION)
    assert find(hints, {}) == Place(notebook, "")


def test_a_path_that_is_given_and_a_terminal(tmp_path: Path) -> None:
    given = {"CODEX_MAGIC_NOTEBOOK": str(tmp_path / "a.ipynb")}
    assert find(Hints("", None, CONNECTION), given) == Place(tmp_path / "a.ipynb")
    assert find(Hints(), {"JPY_SESSION_NAME": "/x"}) == Place()
