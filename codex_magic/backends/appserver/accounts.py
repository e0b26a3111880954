"""Signing in and out at one app-server, and what it says of the account.

Codex does the signing in: it asks the issuer, waits for the person, and keeps what comes of it in
its own store. Here somebody waits for it.
"""

from __future__ import annotations

import contextlib
import subprocess
import threading
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic.backends.appserver import account_wire
from codex_magic.backends.appserver.connection import RefusedError
from codex_magic.backends.appserver.wire import sentence
from codex_magic.errors import BackendError, SetupError
from codex_magic.mask import mask

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from codex_magic.backends.appserver.account_wire import Begun, Json
    from codex_magic.backends.base import Model, Quota, SignInWay
    from codex_magic.binary import CodexBinary

CATALOGUE_S: Final = 5.0
"""Seconds that Codex may take to print the models it comes with."""

PAGES: Final = 50
"""More pages than any list of models has; a server that names a next one for ever is left there."""


class Outcome:
    """How a sign-in ended, as soon as it has; filled on the reader."""

    def __init__(self) -> None:
        self.failure = ""
        self._over = threading.Event()

    def end(self, failure: str = "") -> None:
        """Note how it ended; only the first time counts."""
        if not self._over.is_set():
            self.failure = failure
            self._over.set()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end, and return whether it has come."""
        return self._over.wait(timeout_s)


class AppServerSignIn:
    """A sign-in that Codex carries out; see `codex_magic.backends.base.SignIn`."""

    who = ""  # Codex has one sign-in, and says itself whose it is

    def __init__(
        self,
        begun: Begun,
        outcome: Outcome,
        call: Callable[[str, Mapping[str, Any]], Any],
        signed_in: Callable[[], None],
    ) -> None:
        self.url, self.code = begun.url, begun.code
        self._login_id = begun.login_id
        self._outcome = outcome
        self._call = call
        self._signed_in = signed_in

    def wait(self, timeout_s: float) -> bool:
        """Wait for the person and return whether they have signed in by now.

        Raises
        ------
        SetupError
            Nothing came of it.
        """
        if not self._outcome.wait(timeout_s):
            return False
        if self._outcome.failure:
            raise SetupError(self._outcome.failure)
        self._signed_in()
        return True

    def cancel(self) -> None:
        """Have Codex ask the issuer no more."""
        if not self._outcome.wait(0):
            with contextlib.suppress(BackendError):
                self._call("account/login/cancel", account_wire.login_cancel(self._login_id))
            self._outcome.end(account_wire.why_not(None))


class Accounts:
    """The account's side of one server.

    Parameters
    ----------
    call
        Calls the server.
    changed
        Called when somebody has been signed in or out, by whoever waited for it.
    """

    def __init__(
        self, call: Callable[[str, Mapping[str, Any]], Any], changed: Callable[[], None]
    ) -> None:
        self._call = call
        self._changed = changed
        self._lock = threading.Lock()
        self._outcomes: dict[str, Outcome] = {}

    def sign_in(self, way: SignInWay) -> AppServerSignIn:
        """Begin to sign a person in.

        Raises
        ------
        SetupError
            It cannot be done so.
        """
        try:
            answer = self._call("account/login/start", account_wire.login(way))
        except RefusedError as error:
            said = sentence(error.message).rstrip(".")
            raise SetupError(f"the sign-in cannot begin: {said}") from None
        try:
            begun = account_wire.begun(answer)
        except KeyError as error:
            raise BackendError(f"Codex began a sign-in without saying {error}") from None
        return AppServerSignIn(begun, self._outcome(begun.login_id), self._call, self._changed)

    def sign_in_with_key(self, key: str) -> None:
        """Have Codex keep an API key."""
        try:
            self._call("account/login/start", account_wire.login_with_key(key))
        except RefusedError as error:
            said = mask(sentence(error.message), [key]).rstrip(".")
            raise SetupError(f"the key was not taken: {said}") from None
        self._changed()

    def sign_out(self) -> None:
        """Revoke and forget what a sign-in brought."""
        self._call("account/logout", {})
        self._changed()

    def models(self, program: CodexBinary | None, environ: Mapping[str, str]) -> list[Model]:
        """Return the models of all pages, and how much each can read where `program` says so."""
        rows: list[Json] = []
        cursor = None
        for _ in range(PAGES):
            page = self._call("model/list", account_wire.model_list(cursor))
            rows += page.get("data") or ()
            cursor = page.get("nextCursor")
            if not cursor:
                break
        contexts = _contexts(program, environ)
        return [account_wire.model(row, contexts) for row in rows]

    def quota(self) -> Quota:
        """Return how much of the account's limits is used.

        Raises
        ------
        SetupError
            The account has none that could be told.
        BackendError
            They cannot be had just now.
        """
        try:
            answer = self._call("account/rateLimits/read", {})
        except RefusedError as error:
            if "authentication required" in error.message:
                raise SetupError("only a ChatGPT account has limits that Codex can tell") from None
            said = sentence(error.message.split("; content-type=")[0])
            raise BackendError(f"the limits cannot be read: {said}", hint=error.hint) from None
        return account_wire.quota(answer)

    # --- what the reader brings; nothing here waits -------------------------------------------

    def completed(self, params: Json) -> None:
        """Take the word of the server that a sign-in has ended."""
        login_id = params.get("loginId")
        if login_id is not None:  # a key has none
            error = "" if params.get("success") else account_wire.why_not(params.get("error"))
            self._outcome(login_id).end(error)

    def end(self, reason: str) -> None:
        """Note that the server is gone, and every sign-in with it."""
        with self._lock:
            outcomes = [*self._outcomes.values()]
            self._outcomes.clear()
        for outcome in outcomes:
            outcome.end(f"the sign-in came to nothing: {reason}")

    def _outcome(self, login_id: str) -> Outcome:
        # The server may say that it is over before its answer to the beginning was read.
        with self._lock:
            return self._outcomes.setdefault(login_id, Outcome())


def _contexts(program: CodexBinary | None, environ: Mapping[str, str]) -> dict[str, int]:
    """Return how much each model can read, which the server does not say; none where it fails."""
    if program is None:
        return {}
    words = [str(program.path), "debug", "models", "--bundled"]
    try:
        printed = subprocess.run(  # noqa: S603 - the program was found by `binary`
            words,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=True,
            timeout=CATALOGUE_S,
        ).stdout
        return account_wire.contexts(msgspec.json.decode(printed))
    except (
        OSError,
        ValueError,
        LookupError,
        TypeError,
        AttributeError,
        subprocess.SubprocessError,
    ):
        return {}
