"""A server on this machine that speaks the Responses API, in an OS thread of its own.

It knows how to answer, not what: that is decided by the `respond` it is given. Its event loop
is nobody else's, so it works inside a kernel that runs one already. tornado is imported when a
server starts and not before.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from codex_magic.errors import BackendError
from codex_magic.tape import request as asked
from codex_magic.tape.request import Request
from codex_magic.tape.steps import Reply, Setting, Stream

if TYPE_CHECKING:
    from codex_magic.tape.routes import Service

Respond = Callable[[Request], Reply | Stream]
LookUp = Callable[[Request], Reply | None]
Began = Callable[[Stream], object]


def setting(request: Request, model: str = "", words_per_s: float = float("inf")) -> Setting:
    """Return what a response to `request` takes from it; `model` is played if it names none."""
    body = request.body
    return Setting(
        shape=asked.shape(body),
        stem=secrets.token_hex(6),
        model=str(body.get("model", model)),
        words_per_s=words_per_s,
        input_words=asked.words(body),
        asked=body,
        chatgpt=request.for_chatgpt,
        created_at=int(time.time()),
    )


class Gate:
    """A place where a response waits; what it reaches and what opens it are events."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self.opened = _Opening()


class _Opening(threading.Event):
    """An event that also wakes an event loop, where waiting for an OS thread is not possible."""

    def __init__(self) -> None:
        super().__init__()
        self._wake: list[Callable[[], object]] = []
        self._guard = threading.Lock()

    def set(self) -> None:
        with self._guard:
            super().set()
            waiting, self._wake = self._wake, []
        for wake in waiting:
            wake()

    def on_set(self, wake: Callable[[], object]) -> None:
        """Call `wake` when this is set, at once if it is already."""
        with self._guard:
            if not self.is_set():
                self._wake.append(wake)
                return
        wake()


class Gates:
    """The gates of one server, made when first named."""

    def __init__(self) -> None:
        self._gates: dict[str, Gate] = {}
        self._guard = threading.Lock()

    def __getitem__(self, name: str) -> Gate:
        with self._guard:
            return self._gates.setdefault(name, Gate())


def _nothing(_: object) -> None:
    """Have no answer and no interest."""


class Server:
    """A running server; it listens from construction until `close`.

    Parameters
    ----------
    respond
        Answers each model request. Like the others it is called in the server's thread and must
        not wait.
    look_up
        Answers what is asked about the host itself; None for what there is not.
    began
        Gets each stream as its first delta leaves.

    Attributes
    ----------
    url
        Where it listens, without a path.
    gates
        Where responses wait, by name.
    """

    def __init__(
        self, respond: Respond, look_up: LookUp = _nothing, began: Began = _nothing
    ) -> None:
        self.gates = Gates()
        self._service: Service | None = None
        self._port = 0
        self._failure: Exception | None = None
        self._listening = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(respond, look_up, began), name="codex-magic tape", daemon=True
        )
        self._thread.start()
        self._listening.wait()
        if self._failure is not None:
            raise BackendError("the tape's server did not start") from self._failure
        self.url = f"http://127.0.0.1:{self._port}"

    def close(self) -> None:
        """End every response, stop listening, and wait for the thread; closing twice is fine."""
        if self._service is not None:
            self._service.stop()
        self._thread.join()

    def _run(self, respond: Respond, look_up: LookUp, began: Began) -> None:
        try:
            # The import costs more than all of the rest, and only a played tape needs it.
            from codex_magic.tape.routes import Service  # noqa: PLC0415

            service = Service(respond, look_up, began, self.gates)
            service.serve(self._started)
        except Exception as error:  # noqa: BLE001 - it is raised where the server was asked for
            self._failure = error
        finally:
            self._listening.set()

    def _started(self, service: Service, port: int) -> None:
        self._service, self._port = service, port
        self._listening.set()


class Served:
    """Somebody who answers through a server of their own, until they are closed."""

    _server: Server

    @property
    def base_url(self) -> str:
        """The root of the API, for the settings of a model provider; ends in ``/v1``."""
        return f"{self._server.url}/v1"

    @property
    def chatgpt_url(self) -> str:
        """The same as ChatGPT's host has it; what is asked below it is answered as there."""
        return f"{self._server.url}/backend-api/codex"

    def gate(self, name: str) -> threading.Event:
        """Return what opens a gate that a response waits at."""
        return self._server.gates[name].opened

    def reached(self, name: str) -> threading.Event:
        """Return what is set once a response waits at the gate."""
        return self._server.gates[name].reached

    def close(self) -> None:
        """Stop answering and listening."""
        self._server.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
