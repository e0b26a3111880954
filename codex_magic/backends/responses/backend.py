"""Turns over the Responses API: a host of models asked directly, with a credential of the person's.

It holds what turns share: the credential, the host, the threads. How a turn runs is `turns`'. Nothing
is read, asked or written before the first turn, or the first question about the account.
"""

from __future__ import annotations

import hashlib
import os
import queue
from dataclasses import replace
from importlib.metadata import version as installed_version
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from codex_magic import events as ev
from codex_magic.auth import hosts, login, sources
from codex_magic.backends import shortening
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
from codex_magic.backends.hints import sign_in
from codex_magic.backends.models import check_effort, check_images
from codex_magic.backends.responses import calls, catalogue, wire
from codex_magic.backends.responses.compaction import Weight
from codex_magic.backends.responses.host import Host
from codex_magic.backends.responses.retry import Patience
from codex_magic.backends.responses.threads import Threads
from codex_magic.backends.responses.turns import Given, RunningTurn, Shortening
from codex_magic.errors import BackendError, CellError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_magic.auth.credentials import Credential, Kind
    from codex_magic.backends.responses.log import ThreadLog
    from codex_magic.settings import Settings
    from codex_magic.turn import TurnRequest

CHATGPT_URL: Final = "CODEX_MAGIC_CHATGPT_URL"
"""Names another host in the place of ChatGPT's own, for a gateway that stands before it."""

CHATGPTS: Final[frozenset[Kind]] = frozenset(("chatgpt", "accessToken"))

UNOFFICIAL: Final = "a ChatGPT sign-in on the responses backend is unofficial: OpenAI documents it for its own programs"
OFFICIAL: Final[frozenset[Kind]] = frozenset(("apiKey",))
"""What OpenAI documents for anybody's program."""
UNUSED: Final = "a ChatGPT sign-in is there and not used, because that is unofficial here"
OPT_IN: Final = (
    "To use it all the same: %config CodexMagics.chatgpt = True, or CODEX_MAGIC_CHATGPT=1; "
    "or use an API key: type %codex login --api-key; or, where Codex is installed, --backend app-server"
)


class ResponsesBackend:
    """Turns over the Responses API.

    Parameters
    ----------
    tools
        What every turn is offered.
    threads
        Those of a backend that this one replaces; see `hand_over`.
    environ
        Where credentials, proxies and certificates are named; the process's own by default.
    """

    name = "responses"

    def __init__(
        self,
        settings: Settings,
        *,
        tools: Sequence[ToolSpec] = (),
        environ: Mapping[str, str] | None = None,
        patience: Patience | None = None,
        threads: Threads | None = None,
    ) -> None:
        self._settings = settings
        self._tools = tuple(tools)
        self._environ = dict(os.environ if environ is None else environ)
        self._patience = patience or Patience()
        self._threads = threads or Threads(self._environ)
        self._source: sources.Chosen | None = None
        self._host: Host | None = None
        self._turn: RunningTurn | None = None
        self._told: set[str] = set()
        self._weights: dict[str, Weight] = {}

    # --- threads ------------------------------------------------------------------------------

    def seat(self, request: TurnRequest, start: Start) -> Seat:
        """Return the thread for `request`; see `Backend.seat`.

        Raises
        ------
        SetupError
            There is no credential, or none that may be used.
        CellError
            There is no such thread; the model has no such effort.
        """
        host = self._ready()
        wire.check_images(request, host.takes)
        if request.model:
            model = catalogue.resolve(request.model, self._settings.aliases, ())
            request = replace(request, model=model)
        seat, _ = self._threads.seat(request, start, default_model=host.default_model)
        seat = self._with_a_model(host, request, seat)
        if request.effort is not None:
            check_effort(host.models(), seat.model, request.effort)
        if request.images:
            check_images(host.models(), seat.model)
        return replace(seat, notices=(*self._notices(), *seat.notices))

    def _with_a_model(self, host: Host, request: TurnRequest, seat: Seat) -> Seat:
        """Take another model where the thread's own is none of this host's."""
        if request.model is not None or not host.is_other:
            return seat
        names = [model.id for model in host.models()]
        if not names or seat.model in names:
            return seat
        model = host.default_model()
        told = ev.Notice(f"this host has no model {seat.model}; {model} is asked", "warning")
        return replace(seat, model=model, notices=(*seat.notices, told))

    def _notices(self) -> list[ev.Notice]:
        """Return what the credential's source has to say, once."""
        said = list(self._found_source().notices)
        if self._host is not None and not self._host.takes.official:
            said.insert(0, UNOFFICIAL)
        new = [text for text in said if text not in self._told]
        self._told.update(new)
        return [ev.Notice(text, "warning") for text in new]

    def threads(
        self, cwd: str | None, limit: int = 20, *, archived: bool = False
    ) -> list[StoredThread]:
        """Return the stored threads of a folder, or of all; see `Backend.threads`."""
        return self._threads.stored(cwd, limit, archived=archived)

    def turns(self, thread_id: str) -> list[StoredTurn]:
        """Return the turns of a stored thread; see `Backend.turns`."""
        return self._threads.turns(thread_id)

    def rename(self, thread_id: str, title: str) -> None:
        """Call a stored thread something else in the list."""
        self._threads.rename(thread_id, title)

    def archive(self, thread_id: str) -> None:
        """Take a thread off the list; see `Backend.archive`."""
        self._threads.archive(thread_id)

    def delete(self, thread_id: str) -> None:
        """Remove a stored thread for good."""
        self._threads.delete(thread_id)

    # --- turns --------------------------------------------------------------------------------

    def start_turn(self, seat: Seat, turn: TurnInput, mailbox: Mailbox) -> None:
        """Start a turn; its events arrive in `mailbox`, the last a `TurnCompleted`."""
        host, log = self._let_go(), self._threads.log(seat.thread_id)
        request, wanted = turn.request, self._settings.shell_tool
        if self._shell(host) != wanted:
            mailbox.put(ev.Notice(f"this host has no tool {wanted}; our own is offered", "warning"))
        asking = replace(
            self._asking(host, seat.model, log),
            effort=request.effort,
            summary=request.summary,
            schema=request.schema,
        )
        given = self._given(host, log, asking, request.prompt)
        self._turn = RunningTurn(given, wire.opening(turn, log.items), mailbox)
        self._turn.start()

    def _let_go(self) -> Host:
        """Return the host, once the turn before has let go of its thread."""
        if self._turn is not None and not self._turn.is_over(LAST_S):
            raise BackendError(
                "the turn before has not let go of its thread yet", hint="Run the cell again"
            )
        return self._ready()

    def _shell(self, host: Host) -> str:
        """Return the form of the shell that a host knows."""
        return self._settings.shell_tool if host.takes.hosted_shell else "function"

    def _asking(self, host: Host, model: str, log: ThreadLog) -> wire.Asking:
        settings = self._settings
        offered = calls.offered(
            self._tools,
            shell=self._shell(host),
            web_search=settings.web_search and settings.tools,
        )
        return wire.Asking(
            model=model, instructions=instructions(), tools=offered, thread_id=log.thread_id
        )

    def _given(self, host: Host, log: ThreadLog, asking: wire.Asking, prompt: str) -> Given:
        weight = self._weights.setdefault(log.thread_id, Weight())
        return Given(host, log, asking, self._account_mark(), prompt, weight, self._secrets())

    def compact(self, thread_id: str) -> None:
        """Replace a thread that is open here by a summary of it; see `Backend.compact`."""
        host, log = self._let_go(), self._threads.log(thread_id)
        told: Mailbox = queue.SimpleQueue()
        asking = self._asking(host, log.model or host.default_model(), log)
        self._turn = work = Shortening(self._given(host, log, asking, ""), told)
        work.start()
        shortening.wait(told, work.interrupt)

    def answer(self, request_id: Any, answer: ToolAnswer) -> None:
        """Answer a `ToolCallRequested`; too late is not an error."""
        if self._turn is not None:
            self._turn.answer(request_id, answer)

    def interrupt(self) -> None:
        """Ask the running turn to stop; it still completes, as interrupted."""
        if self._turn is not None:
            self._turn.interrupt()

    def steer(self, text: str) -> None:
        """Add `text` to the running turn.

        Raises
        ------
        CellError
            No turn is running.
        """
        if self._turn is None:
            raise CellError("no turn is running")
        self._turn.steer(text)

    # --- the account --------------------------------------------------------------------------

    def account(self) -> Account:
        """Return who is signed in."""
        credential = self._credential()
        if credential is None:
            is_there = self._found_source().passed_over() is not None
            return Account(needed=not self._is_keyless(), detail=UNUSED if is_there else "")
        return Account(
            kind=credential.kind,
            detail=credential.email,
            plan=credential.plan,
            source=credential.source,
            expires_at=credential.expires_at,
        )

    def sign_in(self, way: SignInWay) -> SignIn:
        """Begin to sign a person in; see `Backend.sign_in`."""
        self._require_opt_in()
        begin = login.device if way == "device" else login.browser
        self._forget()
        return begin(self._environ, account=self._settings.account)

    def sign_in_with_key(self, key: str) -> None:
        """Keep an API key for this and later kernels."""
        login.with_key(self._environ, key, account=self._settings.account)
        self._forget()

    def sign_out(self) -> bool:
        """Revoke and forget what a sign-in brought; return whether there was one."""
        try:
            return login.logout(self._environ, account=self._settings.account)
        finally:
            self._forget()

    def models(self) -> list[Model]:
        """Return the models that can be asked for."""
        try:
            return list(self._ready().models())
        except SetupError:
            if self._settings.base_url is not None:  # our list says nothing of somebody else's host
                raise
            return list(catalogue.bundled())  # what could be asked for once somebody is signed in

    def reach(self) -> str:
        """Ask the host, and return in words what it answers.

        Raises
        ------
        CodexMagicError
            It cannot be asked, or refuses.
        """
        host = self._ready()
        count = len(host.named())
        names = "no list of models" if not count else f"{count} model{'' if count == 1 else 's'}"
        return f"{host.client.base.name} answers, with {names}"

    @property
    def address(self) -> str:
        """Where turns go, as far as that is known before the first."""
        if self._host is not None:
            kind = "" if self._host.takes.official else ", unofficial"
            return _shown(self._host.base_url) + kind
        credential = self._credential()
        is_official = credential is None or wire.profile(credential).official
        url = self._settings.base_url
        known = (_shown(url) if url else "", "" if is_official else "unofficial")
        return ", ".join(filter(None, known))

    def quota(self) -> Quota:
        """Return how much of the account's limits is used; see `Host.quota`."""
        return self._ready().quota()

    def close(self) -> None:
        """End the running turn, and let go of the threads."""
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.interrupt()
            turn.is_over(LAST_S)
        self._threads.close()
        self._forget()

    def hand_over(self) -> Threads:
        """Close, but for the threads; return these for another backend to go on with."""
        threads, self._threads = self._threads, Threads(self._environ)
        self.close()
        return threads

    # --- the host -----------------------------------------------------------------------------

    def _ready(self) -> Host:
        """Return the host, with a credential that it takes.

        Raises
        ------
        SetupError
            There is none, or it is one of ChatGPT's and nobody has allowed that.
        """
        credential = self._credential()
        if credential is None and not self._is_keyless():
            if self._found_source().passed_over() is not None:
                self._require_opt_in()
            raise SetupError("nobody is signed in", hint=sign_in(chatgpt=self._settings.chatgpt))
        takes = wire.profile(credential)
        if self._host is None or not self._host.takes_credential(credential):
            if self._host is not None:
                self._host.close()
            self._host = self._made_host(takes)
        return self._host

    def _made_host(self, takes: wire.Profile) -> Host:
        url = self._settings.base_url
        if url is None and takes is wire.CHATGPT:
            url = self._environ.get(CHATGPT_URL)
        return Host(
            takes=takes,
            base_url=(url or takes.base_url).rstrip("/"),
            source=self._found_source(),
            version=installed_version("codex-magic"),
            patience=self._patience,
            environ=self._environ,
            is_other=self._settings.base_url is not None,
        )

    def _found_source(self) -> sources.Chosen:
        if self._source is None:
            kinds = sources.KINDS if self._settings.chatgpt else OFFICIAL
            named = self._settings.base_url
            if named is not None and hosts.is_openai(named):
                kinds &= CHATGPTS if wire.CHATGPT_HOST in named else OFFICIAL
            self._source = sources.find(self._settings, self._environ, kinds=kinds)
        return self._source

    def _credential(self) -> Credential | None:
        return self._found_source().current()

    def _is_keyless(self) -> bool:
        """Whether turns go to somebody else's host, which was given no key."""
        return not self._found_source().is_needed

    def _require_opt_in(self) -> None:
        if not self._settings.chatgpt:
            raise SetupError(UNOFFICIAL, hint=OPT_IN)

    def _account_mark(self) -> str:
        """Return what tells accounts apart in a thread's log, and tells nobody which they are."""
        credential = self._credential()
        if credential is None:
            whose = ""
        else:
            whose = f"{credential.kind} {credential.account_id or credential.token}"
        where = self._settings.base_url or ""
        return hashlib.sha256(f"{where} {whose}".encode()).hexdigest()[:16]

    def _secrets(self) -> tuple[str, ...]:
        """Return what a host may repeat and nobody else may read."""
        credential, settings = self._credential(), self._settings
        found = (
            credential.token if credential else None,
            settings.token_key,
            settings.token_password,
        )
        return tuple(secret for secret in found if secret)

    def _forget(self) -> None:
        """Look for the credential again at the next turn."""
        self._source = None
        host, self._host = self._host, None
        if host is not None:
            host.close()


LAST_S: Final = 2.0
"""Seconds that a turn has to end with the kernel."""


def _shown(url: str) -> str:
    """Return host and port of an address: the rest may be secret."""
    return urlsplit(url).netloc.rpartition("@")[2]
