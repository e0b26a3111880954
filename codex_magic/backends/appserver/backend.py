"""Turns on the real Codex binary, through its app-server.

One server for a kernel, started at first use and started again where it has died between turns.
What Codex may do by itself on this machine is nothing; `wire.OVERRIDES` and `wire.thread_params`
say how, and the tests on the real binary hold them to it.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import uuid
from dataclasses import dataclass, field, replace
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from codex_magic import binary
from codex_magic import events as ev
from codex_magic.backends import shortening
from codex_magic.backends.appserver import account_wire, wire
from codex_magic.backends.appserver.accounts import Accounts
from codex_magic.backends.appserver.connection import (
    Connection,
    ConnectionLostError,
    Message,
)
from codex_magic.backends.appserver.threads import Threads
from codex_magic.backends.base import (
    Account,
    Mailbox,
    Model,
    Quota,
    Seat,
    SignIn,
    SignInWay,
    Start,
    StoredThread,
    StoredTurn,
    ToolAnswer,
    ToolSpec,
    TurnInput,
    instructions,
)
from codex_magic.backends.hints import SIGN_IN
from codex_magic.backends.models import check_effort, check_images
from codex_magic.errors import BackendError, CellError, SetupError
from codex_magic.items import Text, UserMessage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_magic.turn import TurnRequest

STEER_S: Final = 2.0
"""Seconds that adding to a turn may hold up the turn."""


@dataclass(slots=True)
class _RunningTurn:
    thread_id: str
    mailbox: Mailbox
    turn_id: str | None = None
    known: threading.Event = field(default_factory=threading.Event)
    abandoned: bool = False

    def begin(self, turn_id: str) -> None:
        self.turn_id = turn_id
        self.known.set()


class AppServerBackend:
    """Turns on the Codex app-server.

    Parameters
    ----------
    tools
        What every thread is offered.
    environ
        The environment of the server: the kernel's own, so that proxies and certificates are the
        person's.
    overrides
        Further ``-c`` settings.
    api_key
        Used before any stored sign-in, and kept in memory only.
    ended
        What `hand_over` gave of a backend that this one replaces.
    """

    name = "app-server"

    def __init__(
        self,
        *,
        tools: Sequence[ToolSpec] = (),
        environ: Mapping[str, str] | None = None,
        overrides: Sequence[str] = (),
        api_key: str | None = None,
        ended: Mapping[str, str] | None = None,
    ) -> None:
        self._environ = dict(os.environ if environ is None else environ)
        self._overrides = tuple(overrides)
        self._api_key = api_key
        self._connection: Connection | None = None
        self._turn: _RunningTurn | None = None
        self._threads = Threads(self._ask, tools, instructions, ended or {})
        self._accounts = Accounts(self._ask, self._note)
        self._account: Account | None = None
        self._in_memory = False
        self.version: binary.Version | None = None
        self.program: binary.CodexBinary | None = None
        self._news: list[ev.Notice] = []

    # --- threads ------------------------------------------------------------------------------

    def seat(self, request: TurnRequest, start: Start) -> Seat:
        """Return the thread for `request`; see `Backend.seat`.

        Raises
        ------
        SetupError
            Codex is not installed, too old, or nobody is signed in.
        CellError
            There is no thread with the id that was asked for.
        BackendError
            The server cannot be reached.
        """
        died = self._connection is not None and self._connection.lost is not None
        if self._turn is not None:
            # It never said that it ended. A turn started now would only be added to it.
            self.close()
            died = True
        self._require_account(request.cwd)
        _check_addresses(request)
        if request.model:
            self._check(request, request.model)
        seat = self._threads.seat(request, start, quietly=died)
        if not request.model:
            self._check(request, seat.model)
        if died:
            goes_on = " and the thread goes on" if seat.thread_id == start.known else ""
            self._news.append(ev.Notice(f"Codex had stopped; it was started again{goes_on}"))
        news, self._news = tuple(self._news), []
        return replace(seat, notices=news + seat.notices)

    def _check(self, request: TurnRequest, model: str) -> None:
        """Refuse what a model cannot do; where no list is to be had, the host will."""
        if not (request.effort or request.images):
            return
        try:
            known = self.models()
        except BackendError:
            return
        if request.effort:
            check_effort(known, model, request.effort)
        if request.images:
            check_images(known, model)

    def threads(
        self, cwd: str | None, limit: int = 20, *, archived: bool = False
    ) -> list[StoredThread]:
        """Return the stored threads of a folder, or of all; see `Backend.threads`."""
        self._connected(_here())
        return self._threads.stored(cwd, limit, archived=archived)

    def turns(self, thread_id: str) -> list[StoredTurn]:
        """Return the turns of a stored thread; see `Backend.turns`."""
        self._connected(_here())
        return self._threads.turns(thread_id)

    def rename(self, thread_id: str, title: str) -> None:
        """Call a stored thread something else in the list."""
        self._connected(_here())
        self._threads.rename(thread_id, title)

    def archive(self, thread_id: str) -> None:
        """Take a thread off the list; see `Backend.archive`."""
        self._connected(_here())
        self._threads.remove(thread_id, "thread/archive")

    def delete(self, thread_id: str) -> None:
        """Remove a stored thread for good."""
        self._connected(_here())
        self._threads.remove(thread_id, "thread/delete")

    # --- turns --------------------------------------------------------------------------------

    def start_turn(self, seat: Seat, turn: TurnInput, mailbox: Mailbox) -> None:
        """Start a turn; its events arrive in `mailbox`, the last a `TurnCompleted`."""
        effort = self._effort(seat, turn.request)
        params = wire.turn_start(seat.thread_id, turn, model=seat.model, effort=effort)
        running = self._turn = _RunningTurn(seat.thread_id, mailbox)
        try:
            answer = self._call("turn/start", params)
        except ConnectionLostError:
            # It may have begun all the same; with the server it ends.
            self.close()
            raise
        except BackendError:
            self._turn = None
            raise
        running.begin(answer["turn"]["id"])

    def _effort(self, seat: Seat, request: TurnRequest) -> str | None:
        """Return the effort to name: a turn's own, or the model's once an earlier turn had one."""
        loaded = self._threads.loaded(seat)
        if request.effort is None and loaded.effort_named:
            return wire.default_effort(self._call("model/list", {}), seat.model)
        loaded.effort_named = request.effort is not None
        return request.effort

    def answer(self, request_id: Any, answer: ToolAnswer) -> None:
        """Answer a `ToolCallRequested`; too late is not an error."""
        if self._connection is not None:
            self._connection.respond(request_id, wire.tool_result(answer))

    def interrupt(self) -> None:
        """Ask the running turn to stop; it still completes, as interrupted."""
        turn = self._turn
        if turn is None:
            return
        # A person may interrupt between our request and the server's word that the turn began;
        # if that word comes later still, the reader interrupts the turn then.
        turn.abandoned = True
        with contextlib.suppress(BackendError):
            # Refused where the turn is over already.
            if turn.known.wait(0.1):
                self._call("turn/interrupt", _the_turn(turn), timeout_s=2.0)

    def steer(self, text: str) -> None:
        """Add `text` to the running turn.

        Raises
        ------
        CellError
            No turn is running.
        """
        turn = self._turn
        if turn is None or turn.turn_id is None:
            raise CellError("no turn is running")
        self._call(
            "turn/steer",
            {
                "threadId": turn.thread_id,
                "expectedTurnId": turn.turn_id,
                "input": [{"type": "text", "text": text}],
            },
            timeout_s=STEER_S,
        )
        said = UserMessage(id=f"steer {uuid.uuid4()}", status="completed", text=Text(text))
        turn.mailbox.put(ev.ItemCompleted(said))

    def compact(self, thread_id: str) -> None:
        """Have Codex summarise a thread that is open here; see `Backend.compact`."""
        if self._turn is not None:
            raise CellError("a turn is running", hint="Wait for its end")
        if not self._threads.is_open(thread_id):
            raise CellError(
                f"thread {thread_id} is not open in Codex any more", hint="Run a turn on it first"
            )
        told: Mailbox = queue.SimpleQueue()
        self._turn = _RunningTurn(thread_id, told)
        try:
            self._call("thread/compact/start", {"threadId": thread_id})
        except ConnectionLostError:
            self.close()
            raise
        except BackendError:
            self._turn = None
            raise
        shortening.wait(told, self.interrupt)

    # --- the server ---------------------------------------------------------------------------

    def account(self) -> Account:
        """Return who is signed in."""
        return self._signed_in(_here())

    def sign_in(self, way: SignInWay) -> SignIn:
        """Begin to sign a person in; see `Backend.sign_in`."""
        self._connected_for_good()
        try:
            return self._accounts.sign_in(way)
        except KeyboardInterrupt:
            self.close()  # what may have begun has no name yet by which it could be cancelled
            raise

    def sign_in_with_key(self, key: str) -> None:
        """Have Codex keep an API key, as ``codex login --with-api-key`` does."""
        self._connected_for_good()
        self._accounts.sign_in_with_key(key)

    def sign_out(self) -> bool:
        """Revoke and forget what a sign-in brought; return whether there was one."""
        self._connected_for_good()
        was = self._account
        self._accounts.sign_out()
        return was is not None and bool(was.kind)

    def models(self) -> list[Model]:
        """Return the models that can be asked for, those that nobody lists included."""
        self._connected(_here())
        return self._accounts.models(self.program, self._environ)

    def quota(self) -> Quota:
        """Return how much of the account's limits is used."""
        self._require_account(_here())
        return self._accounts.quota()

    def close(self) -> None:
        """End the server."""
        connection, self._connection = self._connection, None
        turn, self._turn = self._turn, None
        if connection is not None:
            connection.close()
        self._accounts.end("Codex was ended meanwhile")
        if turn is not None:
            # Whoever waits for it must not wait for ever.
            turn.mailbox.put(ev.TurnCompleted("interrupted"))
        self._threads.forget()

    def hand_over(self) -> Mapping[str, str]:
        """End the server for one with other settings; return the private threads that are over."""
        self._threads.forget("ended because a setting changed")
        self.close()
        return self._threads.ended

    def _call(self, method: str, params: Mapping[str, Any], *, timeout_s: float = 30.0) -> Any:
        if self._connection is None:
            raise ConnectionLostError("Codex is not running")
        return self._connection.call(method, params, timeout_s=timeout_s)

    def _ask(self, method: str, params: Mapping[str, Any]) -> Any:
        return self._call(method, params)

    def _connected(self, cwd: Path) -> None:
        """Start the server where it is not running, the preferred binary first."""
        if self._connection is not None and self._connection.lost is None:
            return
        self.close()
        found = binary.candidates(self._environ)
        for i, candidate in enumerate(found):
            try:
                self._launch(candidate, cwd, ephemeral=self._api_key is not None)
            except (SetupError, BackendError) as error:
                told = error.message
                if isinstance(error, BackendError):
                    name = str(candidate.path)
                    told = told if name in told else f"{name} does not start: {told}"
                    error = ConnectionLostError(told, hint=error.hint)
                if i + 1 == len(found):
                    raise error from None
                self._news.append(ev.Notice(f"{told}; the packaged one is used"))
            else:
                break
        try:
            self._sign_in(candidate, cwd)
        except BaseException:
            self.close()
            raise

    def _launch(self, program: binary.CodexBinary, cwd: Path, *, ephemeral: bool) -> None:
        cwd = cwd if cwd.is_dir() else Path("/")
        settings = [*wire.OVERRIDES, wire.untrusted(str(cwd)), *self._overrides]
        if ephemeral:
            settings.append('cli_auth_credentials_store="ephemeral"')
        flags = [word for setting in settings for word in ("-c", setting)]
        connection = Connection(
            [str(program.path), "app-server", *flags],
            env=self._environ,
            cwd=cwd,
            on_message=self._receive,
            on_lost=self._lose,
        )
        self._connection = connection
        self._in_memory = ephemeral
        self.program = program
        try:
            ours = installed_version("codex-magic")
            answer = connection.call("initialize", wire.initialize(ours), timeout_s=20.0)
            connection.notify("initialized")
            self._check_version(program, answer.get("userAgent", ""))
        except BaseException:
            self.close()
            raise

    def _check_version(self, program: binary.CodexBinary, user_agent: str) -> None:
        self.version = binary.parse_version(user_agent.removeprefix(wire.CLIENT))
        if self.version is None:
            return
        spoken = binary.spoken(self.version)
        if self.version < binary.MINIMUM:
            raise SetupError(
                f"{program.path} is Codex {spoken}, older than {binary.spoken(binary.MINIMUM)}",
                hint=f"Type: {binary.INSTALL}",
            )
        newer = ev.Notice(f"Codex {spoken} is newer than this package was tested with")
        if self.version > binary.NEWEST_TESTED and newer not in self._news:
            self._news.append(newer)

    def _sign_in(self, program: binary.CodexBinary, cwd: Path) -> None:
        """Use the explicit key, else the stored sign-in, else ``OPENAI_API_KEY``."""
        key = self._api_key
        if key is None:
            self._note()
            key = self._environ.get("OPENAI_API_KEY")
            account = self._account or Account()
            if account.kind or not account.needed or not key:
                return
            # The store is chosen when the server starts, and a key must never reach the disk.
            self.close()
            self._launch(program, cwd, ephemeral=True)
        origin = "given explicitly" if self._api_key else "OPENAI_API_KEY"
        self._call("account/login/start", account_wire.login_with_key(key))
        self._account = Account(kind="apiKey", source=f"{origin}, in memory only")

    def _note(self) -> None:
        """Ask the server who is signed in, and keep the answer."""
        found = account_wire.account(self._call("account/read", {}))
        if found.kind:
            token = self._environ.get("CODEX_ACCESS_TOKEN")
            source = "CODEX_ACCESS_TOKEN" if token else "Codex's own sign-in"
            found = replace(found, source=source)
        self._account = found

    def _connected_for_good(self) -> None:
        """Have a server that keeps what it is told about accounts.

        Raises
        ------
        SetupError
            An explicit key goes before whatever would be kept.
        CellError
            A turn is running, and would not survive it.
        """
        if self._turn is not None:
            raise CellError("a turn is running", hint="Wait for its end, or type: %codex stop")
        if self._api_key is not None:
            raise SetupError(
                "a key was given for these turns, and it goes before any sign-in",
                hint="Start without it: take CODEX_API_KEY and CODEX_MAGIC_API_KEY away",
            )
        self._connected(_here())
        if self._in_memory and self.program is not None:
            # The key of the environment; it comes again where nobody is signed in.
            self.close()
            self._launch(self.program, _here(), ephemeral=False)
            self._note()

    def _signed_in(self, cwd: Path) -> Account:
        """Return who is signed in, of a server that knows of it."""
        self._connected(cwd)
        account = self._account or Account()
        if account.needed and not account.kind:
            # The person may just have signed in, which a running server does not notice.
            self.close()
            self._connected(cwd)
        return self._account or Account()

    def _require_account(self, cwd: Path) -> None:
        account = self._signed_in(cwd)
        if account.needed and not account.kind:
            raise SetupError("nobody is signed in to Codex", hint=SIGN_IN)

    # --- what the reader brings; nothing here waits -------------------------------------------

    def _receive(self, message: Message) -> None:
        if "id" in message:
            self._serve(message)
            return
        if message["method"] == account_wire.COMPLETED:
            self._accounts.completed(message.get("params") or {})
            return
        turn, connection = self._turn, self._connection
        params = message.get("params") or {}
        if turn is None or not _belongs(params, turn, message["method"]):
            return
        for event in wire.translate(message):
            if isinstance(event, ev.TurnStarted):
                turn.begin(event.turn_id)
                if turn.abandoned and connection is not None:
                    connection.post("turn/interrupt", _the_turn(turn))
            turn.mailbox.put(event)
            if isinstance(event, ev.TurnCompleted):
                self._turn = None

    def _serve(self, message: Message) -> None:
        """Pass a tool call on to the turn; give everything else its refusing answer."""
        connection, turn = self._connection, self._turn
        if connection is None:
            return
        method, params = message["method"], message.get("params") or {}
        if method in wire.SERVED and turn is not None and _calls(params, turn):
            turn.mailbox.put(wire.tool_call(message))
        elif method in wire.SERVED:
            late = ToolAnswer("outcome: refused - the turn is over", success=False)
            connection.respond(message["id"], wire.tool_result(late))
        elif method in wire.REFUSALS:
            connection.respond(message["id"], wire.REFUSALS[method])
        else:
            connection.respond_error(message["id"], f"{wire.CLIENT} does not serve {method}")

    def _lose(self, reason: str) -> None:
        self._threads.forget()
        self._accounts.end(reason)
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.mailbox.put(ev.TurnCompleted("failed", _gone(reason)))


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:  # deleted under the kernel; what is asked here needs no folder
        return Path("/")


def _check_addresses(request: TurnRequest) -> None:
    away = [image.name for image in request.images if not image.url.startswith("data:")]
    if away:
        raise CellError(
            f"Codex fetches no image from the network: {away[0]}",
            hint="Download it, and name the file",
        )


def _gone(reason: str) -> ev.TurnError:
    return ev.TurnError(message=reason, kind="connectionLost")


def _the_turn(turn: _RunningTurn) -> dict[str, Any]:
    return {"threadId": turn.thread_id, "turnId": turn.turn_id}


def _calls(params: wire.Json, turn: _RunningTurn) -> bool:
    """Whether a call is the running turn's: another's would run under the wrong policy."""
    theirs = (params.get("threadId"), params.get("turnId"))
    return theirs == (turn.thread_id, turn.turn_id) and bool(params.get("callId"))


def _belongs(params: wire.Json, turn: _RunningTurn, method: str) -> bool:
    """Whether a notification is about the running turn, and not about one before it."""
    if params.get("threadId", turn.thread_id) != turn.thread_id:
        return False
    about = params.get("turnId") or (params.get("turn") or {}).get("id")
    if about is None:
        return True
    return about == turn.turn_id or (turn.turn_id is None and method == "turn/started")
