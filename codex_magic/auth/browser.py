"""Signing in with a browser on this machine, which brings its answer to a port of ours.

The ports are fixed: the issuer sends a browser back to no other place. Whoever asks for something
else there, or without our secret state, gets a page and changes nothing.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import secrets
import threading
import time
from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

from codex_magic.auth import document, exchange, hosts, web
from codex_magic.auth.callback import Callback, Page
from codex_magic.auth.waiting import Outcome, given_up
from codex_magic.errors import BackendError, CodexMagicError, SetupError
from codex_magic.mask import mask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

PORTS: Final = (1455, 1457)
SCOPE: Final = "openid profile email offline_access api.connectors.read api.connectors.invoke"
LONGEST_S: Final = 15 * 60.0
FREED_S: Final = 2.0
"""Seconds in which another sign-in that was asked to stop gives its port free."""

_DONE: Final = Page(200, "You are signed in", "This page can be closed; go on in the notebook.")
_STRAY: Final = Page(400, "Not this sign-in", "Begin anew in the notebook: %codex login --browser")
_NOTHING: Final = Page(404, "Nothing here", "")
_UNKEPT: Final = Page(400, "Not signed in", "The notebook says why.")
_GIVEN_UP: Final = Page(200, "Sign-in cancelled", "This page can be closed.")


class BrowserSignIn:
    """A sign-in by browser that waits for a person.

    Raises
    ------
    SetupError
        Every port is taken.
    """

    code = ""

    def __init__(
        self, environ: Mapping[str, str], account: str | None, ports: Sequence[int] = PORTS
    ) -> None:
        where = hosts.hosts(environ)
        self._environ = environ
        self._account = account
        self._state = secrets.token_urlsafe(32)
        self._verifier = secrets.token_urlsafe(64)
        self._outcome = Outcome()
        self._once = threading.Lock()
        self._line = web.Line()
        self.who = ""
        self._callback = _listening(ports, self._answer, environ)
        self._redirect = f"http://127.0.0.1:{self._callback.port}/auth/callback"
        self.url = f"{where.issuer}/oauth/authorize?" + urlencode(
            {
                "response_type": "code",
                "client_id": where.client_id,
                "redirect_uri": self._redirect,
                "scope": SCOPE,
                "code_challenge": _challenge(self._verifier),
                "code_challenge_method": "S256",
                "id_token_add_organizations": "true",
                "codex_cli_simplified_flow": "true",
                "state": self._state,
                "originator": web.AGENT,
            }
        )
        self._callback.start()
        self._keeper = threading.Thread(target=self._attend, name="codex sign-in", daemon=True)
        self._keeper.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the person and return whether they have signed in by now."""
        try:
            return self._outcome.wait(timeout_s)
        finally:
            if self._outcome.is_over:
                self._keeper.join()

    def cancel(self) -> None:
        """Give it up; nothing listens any more."""
        self._outcome.set(given_up())
        self._keeper.join()

    def _attend(self) -> None:
        """Stop listening as soon as it is over, whether or not anybody waits for that."""
        if not self._outcome.ends_within(LONGEST_S):
            self._outcome.set(
                SetupError(
                    "nobody signed in for 15 minutes", hint="Type %codex login to begin anew"
                )
            )
        self._line.cut()
        self._callback.close()

    def _answer(self, path: str, query: Mapping[str, str]) -> Page:
        match path:
            case "/auth/callback":
                return self._taken(query)
            case "/success" if self._outcome.is_good:
                return _DONE
            case "/cancel":
                self._outcome.set(given_up())
                return _GIVEN_UP
        return _NOTHING

    def _taken(self, query: Mapping[str, str]) -> Page:
        # Any page that this browser shows can send it here; only the issuer knows the state.
        if not hmac.compare_digest(query.get("state", "").encode(), self._state.encode()):
            return _STRAY
        with self._once:
            if self._outcome.is_over:
                return _STRAY
            try:
                found = self._exchanged(query)
            except CodexMagicError as error:
                self._outcome.set(error)
                return Page(400, "Not signed in", str(error))
            if not self._outcome.settle(lambda: self._keep(found)):
                exchange.revoke(found, self._environ, exchange.UNWANTED_S)
                return _GIVEN_UP
        return _DONE if self._outcome.is_good else _UNKEPT

    def _exchanged(self, query: Mapping[str, str]) -> document.Json:
        if error := query.get("error"):
            said = mask(query.get("error_description", ""), (self._state, self._verifier))
            raise exchange.refusal(mask(error, (self._state, self._verifier)), said)
        if not (code := query.get("code")):
            raise exchange.refusal("the issuer gave no code", "")
        form = {
            "code": code,
            "code_verifier": self._verifier,
            "redirect_uri": self._redirect,
        }
        return exchange.exchange(form, self._environ, self._line)

    def _keep(self, found: document.Json) -> None:
        exchange.keep(found, self._environ, self._account)
        self.who = exchange.whose(found)


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _listening(
    ports: Sequence[int], answer: Callback.Answer, environ: Mapping[str, str]
) -> Callback:
    """Return a listener on the first port that is free, or is given free when asked for."""
    for port in ports:
        with contextlib.suppress(OSError):
            return Callback(port, answer)
        # Most likely another sign-in that somebody has forgotten, Codex's or ours.
        with contextlib.suppress(BackendError):
            web.ask(web.Ask("GET", f"http://127.0.0.1:{port}/cancel", timeout_s=FREED_S), environ)
            deadline = time.monotonic() + FREED_S
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    return Callback(port, answer)
                time.sleep(_PAUSE_S)
    raise SetupError(
        f"the ports that a browser could answer to are taken: {', '.join(map(str, ports))}",
        hint="Sign in with a code: type %codex login",
    )


_PAUSE_S: Final = 0.05
