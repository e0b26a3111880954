"""A port of this machine to which a browser brings an answer, and the page it gets for it."""

from __future__ import annotations

import contextlib
import html
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

IDLE_S: Final = 10.0
_LOOK: Final = "font: 16px sans-serif; margin: 4em auto; max-width: 34em; color-scheme: light dark"


@dataclass(frozen=True, slots=True)
class Page:
    """What a browser shows."""

    status: int
    title: str
    text: str

    def html(self) -> bytes:
        """Return the page; it loads nothing and runs nothing."""
        title, text = html.escape(self.title), html.escape(self.text)
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
            f'<body style="{_LOOK}"><h1>{title}</h1><p>{text}</p></body></html>'
        ).encode()


class Callback:
    """A listener on 127.0.0.1, until it is closed; an `OSError` where the port is taken."""

    Answer = Callable[[str, Mapping[str, str]], Page]

    def __init__(self, port: int, answer: Answer) -> None:
        self._server = _Server(("127.0.0.1", port), _door(answer))
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="codex sign-in", daemon=True
        )
        self._guard = threading.Lock()
        self._is_closed = False

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop; closing twice is fine."""
        with self._guard:
            if self._is_closed:
                return
            self._is_closed = True
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server.hang_up()


class _Server(ThreadingHTTPServer):
    # A browser opens connections that it may never use: each has a thread, so none is in the way.
    daemon_threads = True
    allow_reuse_port = False

    def __init__(self, *words: Any) -> None:
        self._open: set[Any] = set()
        self._busy: list[threading.Thread] = []
        super().__init__(*words)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self._open.add(request)
        self._busy.append(threading.current_thread())
        super().process_request_thread(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a browser that hangs up is no news."""

    def hang_up(self) -> None:
        """End the connections that nobody uses; what is being answered comes to its end."""
        for request in tuple(self._open):
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RD)
        for thread in self._busy:
            if thread is not threading.current_thread():
                thread.join(IDLE_S)


def _door(answer: Callback.Answer) -> type[BaseHTTPRequestHandler]:
    """Return what `http.server` wants: a class with a method for each HTTP method."""

    class Door(BaseHTTPRequestHandler):
        timeout = IDLE_S

        def do_GET(self) -> None:
            target = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(target.query).items()}
            page = answer(target.path, query)
            content = page.html()
            self.send_response(page.status)
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def version_string(self) -> str:
            return "codex_magic"

        def log_message(self, *_: object) -> None:
            """Log nothing: the address has the code in it."""

    return Door


_HEADERS: Final = {
    "Content-Type": "text/html; charset=utf-8",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Connection": "close",
}
