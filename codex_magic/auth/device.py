"""Signing in with a code that is typed in anywhere: on a telephone, on another machine.

An OS thread asks the issuer now and then whether the person has done it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from codex_magic.auth import claims, document, exchange, hosts, web
from codex_magic.auth.waiting import Outcome, given_up
from codex_magic.errors import BackendError, CodexMagicError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_S: Final = 15 * 60.0
INTERVAL_S: Final = 5.0
SLOWER_S: Final = 5.0
"""What is added to the interval where the issuer says that it is asked too often."""

LEFT_S: Final = 2.0
"""Seconds that giving up waits for what it has cut."""

_OK: Final = 200
_MISSING: Final = 404
_PENDING: Final = (403, 404)
_TOO_OFTEN: Final = 429
_REFUSALS: Final = ("access_denied", "authorization_declined", exchange.NOT_ALLOWED)
_PATH: Final = "/api/accounts/deviceauth"


@dataclass(frozen=True, slots=True)
class Device:
    """What the issuer calls this sign-in, and how often it may be asked about it."""

    id: str = field(repr=False)
    code: str
    interval_s: float
    lifetime_s: float


def begin(environ: Mapping[str, str]) -> Device:
    """Ask for a code.

    Raises
    ------
    SetupError
        There is none for this client.
    BackendError
        The issuer cannot be asked, or is not understood.
    """
    where = hosts.hosts(environ)
    url = f"{where.issuer}{_PATH}/usercode"
    reply = web.ask(web.Ask("POST", url, json={"client_id": where.client_id}), environ)
    if reply.status == _MISSING:
        raise SetupError(
            f"{hosts.shown(url)} lets nobody sign in with a code",
            hint="Allow it in ChatGPT's security settings, or type %codex login --browser",
        )
    said = reply.json() or {}
    match said:
        case {"device_auth_id": str(name), "user_code": str(code)} if reply.status == _OK:
            return Device(name, _printable(code), _interval(said), _lifetime(said))
    raise BackendError(
        f"{hosts.shown(url)} gives no code to sign in with (HTTP {reply.status})",
        hint="Try again in a while",
    )


class DeviceSignIn:
    """A sign-in by code that waits for a person."""

    def __init__(self, device: Device, environ: Mapping[str, str], account: str | None) -> None:
        self._where = hosts.hosts(environ)
        self.url = f"{self._where.issuer}/codex/device"
        self.code = device.code
        self.who = ""
        self._device = device
        self._environ = environ
        self._account = account
        self._outcome = Outcome()
        self._given_up = threading.Event()
        self._line = web.Line()
        self._thread = threading.Thread(target=self._run, name="codex sign-in", daemon=True)
        self._thread.start()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the person and return whether they have signed in by now."""
        return self._outcome.wait(timeout_s)

    def cancel(self) -> None:
        """Give it up; where the person has just signed in, that stands."""
        self._outcome.set(given_up())
        self._given_up.set()
        self._line.cut()
        # Where even a connection does not come about, nothing can be cut; it comes to nothing.
        self._thread.join(LEFT_S)

    def _run(self) -> None:
        try:
            form = self._approved()
            if form is None:
                self._outcome.set(given_up())
                return
            found = exchange.exchange(form, self._environ, self._line)
            if not self._outcome.settle(lambda: self._keep(found)):
                exchange.revoke(found, self._environ, exchange.UNWANTED_S)
        except CodexMagicError as error:
            self._outcome.set(error)
        except Exception as error:  # noqa: BLE001 - whoever waits must not wait for ever
            self._outcome.set(BackendError(f"the sign-in failed: {type(error).__name__}"))

    def _keep(self, found: document.Json) -> None:
        exchange.keep(found, self._environ, self._account)
        self.who = exchange.whose(found)

    def _approved(self) -> dict[str, str] | None:
        """Return what is exchanged for tokens; None where nobody wants it any more."""
        deadline = time.monotonic() + self._device.lifetime_s
        interval_s = self._device.interval_s
        while not self._given_up.wait(interval_s):
            if time.monotonic() > deadline:
                raise SetupError("the code is too old by now", hint="Type %codex login for another")
            # A machine that slept, or lost its network for a moment, asks again.
            with contextlib.suppress(web.UnreachableError):
                reply = self._asked()
                if reply.status == _OK:
                    return self._form(reply.json() or {})
                interval_s += SLOWER_S if reply.status == _TOO_OFTEN else 0
        return None

    def _asked(self) -> web.Reply:
        body = {"device_auth_id": self._device.id, "user_code": self._device.code}
        url = f"{self._where.issuer}{_PATH}/token"
        reply = web.ask(web.Ask("POST", url, json=body), self._environ, self._line)
        is_waiting = reply.status in _PENDING and reply.code() not in _REFUSALS
        is_trouble = reply.status == _TOO_OFTEN or reply.status >= _SERVERS
        if reply.status != _OK and not is_waiting and not is_trouble:
            said = (reply.json() or {}).get("error_description")
            raise exchange.refusal(
                reply.code() or f"HTTP {reply.status}",
                reply.masked(said) if isinstance(said, str) else "",
            )
        return reply

    def _form(self, said: Mapping[str, Any]) -> dict[str, str]:
        match said:
            case {"authorization_code": str(code), "code_verifier": str(verifier)}:
                return {
                    "code": code,
                    "code_verifier": verifier,
                    "redirect_uri": f"{self._where.issuer}/deviceauth/callback",
                }
        raise BackendError(
            f"{hosts.shown(self.url)} does not say how to complete the sign-in",
            hint="Type %codex login once more",
        )


_SERVERS: Final = 500


def _printable(code: str) -> str:
    return "".join(char for char in code if char.isprintable())[:40]


def _interval(said: Mapping[str, Any]) -> float:
    value = said.get("interval")
    with contextlib.suppress(ValueError):
        value = float(value) if isinstance(value, str) else value
    found = claims.number(value) or 0.0
    return min(found, LONGEST_S) if found > 0 else INTERVAL_S


def _lifetime(said: Mapping[str, Any]) -> float:
    end = document.moment(said.get("expires_at"))
    # By its clock the issuer may be ahead of us; a code that is dead on arrival is not meant.
    left = LONGEST_S if end is None else end - time.time()
    return min(left, LONGEST_S) if left > 0 else LONGEST_S
