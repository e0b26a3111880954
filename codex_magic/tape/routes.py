"""The HTTP side of the tape's server: tornado, one door for every request, one loop.

Imported by `server` in the thread that runs it. What the answers say is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from typing import TYPE_CHECKING, Any, Final

from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from codex_magic.tape.coding import CodingError, decoded
from codex_magic.tape.request import Request
from codex_magic.tape.steps import Cut, Gate, Reply, Step, Stream
from codex_magic.tape.wire import error

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.tape.server import Began, Gates, LookUp, Respond

BODY_LIMIT: Final = 64 * 1024 * 1024


class Service:
    """One server's loop: made, run and ended in the thread that calls `serve`."""

    def __init__(self, respond: Respond, look_up: LookUp, began: Began, gates: Gates) -> None:
        self.respond = respond
        self.look_up = look_up
        self.began = began
        self.gates = gates
        self._loop = asyncio.new_event_loop()
        self._stopped = asyncio.Event()

    def serve(self, started: Callable[[Service, int], None]) -> None:
        """Listen until `stop`; `started` gets this service and its port."""
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve(started))

    def stop(self) -> None:
        """Ask the loop to end, from any thread."""
        # The loop is closed when it has ended by itself or by an earlier call.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stopped.set)

    async def _serve(self, started: Callable[[Service, int], None]) -> None:
        application = Application([("/.*", Door, {"service": self})], log_function=_unlogged)
        server = HTTPServer(application, max_buffer_size=BODY_LIMIT, max_body_size=BODY_LIMIT)
        (socket,) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([socket])
        started(self, socket.getsockname()[1])
        await self._stopped.wait()
        server.stop()
        await server.close_all_connections()


def _unlogged(_handler: RequestHandler) -> None:
    """Keep refused requests out of the notebook: the client reports them better."""


class Door(RequestHandler):
    """Every request to the server: the methods are tornado's, one for each HTTP method."""

    service: Service
    playing: asyncio.Task[None] | None = None

    def initialize(self, service: Service) -> None:
        """Take what the application hands to each request."""
        self.service = service

    def set_default_headers(self) -> None:
        """Give each answer a name of its own, as hosts do."""
        self.set_header("X-Request-Id", f"req_{secrets.token_hex(8)}")

    def get(self) -> None:
        """Offer no WebSocket; answer what the host knows."""
        if self.request.path.endswith("/responses") and "Upgrade" in self.request.headers:
            # Codex tries a WebSocket first and takes this as: speak HTTP.
            self._reply(error(426, "upgrade_required", "this server has no WebSocket"))
        else:
            self._reply(self.service.look_up(self._asked({})) or self._nothing_here())

    async def post(self) -> None:
        """Answer a model request."""
        if not self.request.path.endswith("/responses"):
            self._reply(self._nothing_here())
            return
        body = self._body()
        if isinstance(body, Reply):
            self._reply(body)
            return
        answer = self.service.respond(self._asked(body))
        if isinstance(answer, Reply):
            self._reply(answer)
            return
        play = self._play if body.get("stream") else self._play_whole
        self.playing = asyncio.ensure_future(play(answer))
        # The client has left; nobody is there to be told.
        with contextlib.suppress(asyncio.CancelledError, StreamClosedError):
            await self.playing

    def put(self) -> None:
        """Refuse."""
        self._reply(self._nothing_here())

    head = delete = patch = options = put

    def on_connection_close(self) -> None:
        """Stop playing: the client has left."""
        if self.playing is not None:
            self.playing.cancel()

    def _asked(self, body: dict[str, Any]) -> Request:
        asked, headers = self.request, dict(self.request.headers.get_all())
        return Request(asked.method or "", asked.path, headers, body, asked.query)

    def _body(self) -> dict[str, Any] | Reply:
        coding = self.request.headers.get("Content-Encoding", "identity")
        try:
            body: Any = json.loads(decoded(self.request.body, coding))
        except CodingError as fault:
            return error(415, "unsupported_encoding", str(fault))
        except ValueError as fault:
            return error(400, "invalid_json", f"the body is not JSON: {fault}")
        if not isinstance(body, dict):
            return error(400, "invalid_json", "the body is not a JSON object")
        return body

    def _reply(self, reply: Reply) -> None:
        self.set_status(reply.status)
        for name, value in reply.headers:
            self.set_header(name, value)
        self.set_header("Content-Type", "application/json")
        # Codex shows the body of a refusal to the person as it came: keep it readable.
        self.finish(json.dumps(reply.body, ensure_ascii=False))

    def _nothing_here(self) -> Reply:
        return error(404, "not_found", f"nothing at {self.request.path}")

    async def _play(self, stream: Stream) -> None:
        self.set_header("Content-Type", "text/event-stream")
        self.set_header("Cache-Control", "no-cache")
        for name, value in stream.headers:
            self.set_header(name, value)
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            # Otherwise an event waits until the client has confirmed the one before.
            connection.stream.set_nodelay(True)
        began = False
        for step in stream.steps:
            await self._wait(step)
            if isinstance(step.act, Cut):
                self.detach().close()
                return
            if isinstance(step.act, Gate):
                continue
            if not began and step.act["type"].endswith(".delta"):
                began = True
                self.service.began(stream)
            self.write(f"event: {step.act['type']}\ndata: {json.dumps(step.act)}\n\n")
            await self.flush()
        await self.finish()

    async def _play_whole(self, stream: Stream) -> None:
        """Answer with the response as it ends, to a client that asked for no stream."""
        last: dict[str, Any] = {}
        for step in stream.steps:
            await self._wait(step)
            if isinstance(step.act, Cut):
                self.detach().close()
                return
            if isinstance(step.act, dict):
                last = step.act
        if "response" not in last:
            said = str(last.get("message", "there is no response"))
            self._reply(error(500, last.get("code"), said))
            return
        self._reply(Reply(200, last["response"], stream.headers))

    async def _wait(self, step: Step) -> None:
        if step.delay_s:
            await asyncio.sleep(step.delay_s)
        if isinstance(step.act, Gate):
            await self._wait_at(step.act.name)

    async def _wait_at(self, name: str) -> None:
        gate = self.service.gates[name]
        loop, opened = asyncio.get_running_loop(), asyncio.Event()

        def wake() -> None:
            # The loop may be closed by the time somebody opens the gate.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(opened.set)

        gate.opened.on_set(wake)
        gate.reached.set()
        await opened.wait()
