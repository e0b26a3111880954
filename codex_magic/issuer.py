"""A fake of the host that signs people in, for tests: it issues tokens that nobody else would take.

The real Codex binary signs in here as well as this package does. It checks what an issuer checks
(codes, verifiers, which refresh token is the latest) and counts what it is asked; it signs nothing,
because no client looks at signatures. It listens on this machine only, until it is closed.
"""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qs, urlencode, urlsplit

TOKEN: Final = "/oauth/token"  # noqa: S105 - a path
REVOKE: Final = "/oauth/revoke"
AUTHORIZE: Final = "/oauth/authorize"
DEVICE_CODE: Final = "/api/accounts/deviceauth/usercode"
DEVICE_TOKEN: Final = "/api/accounts/deviceauth/token"  # noqa: S105 - likewise
WHOAMI: Final = "/api/accounts/v1/user-auth-credential/whoami"
ACCOUNTS: Final = "/backend-api/wham/accounts/check"

CLAIM: Final = "api.openai.com"
WORKSPACE: Final = "workspace.invalid"

_Route = Callable[["Asked"], "Given"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A request as it came; `body` is what its JSON or its form says."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Given:
    """An answer: a JSON object, or text of any other kind."""

    status: int
    body: Mapping[str, Any] | str = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Person:
    """Whose account it is; `claims` are further ones about it."""

    email: str = "ada@example.com"
    plan: str = "plus"
    account_id: str = "acc-1"
    claims: Mapping[str, Any] = field(default_factory=dict)

    @property
    def account(self) -> dict[str, Any]:
        """What a token says about it."""
        return {
            "chatgpt_account_id": self.account_id,
            "chatgpt_plan_type": self.plan,
            "chatgpt_user_id": "user-1",
            **self.claims,
        }


class Hold:
    """Requests that wait: `reached` is set when one does, and `release` lets all of them go on."""

    def __init__(self) -> None:
        self.reached = threading.Event()
        self._released = threading.Event()

    def release(self) -> None:
        """Let those that wait, and those to come, go on."""
        self._released.set()

    def _wait(self) -> None:
        self.reached.set()
        self._released.wait()


def refused(code: str, status: int = 401) -> Given:
    """Return the refusal of a token, such as ``refresh_token_expired``."""
    return Given(status, {"error": {"code": code, "message": code.replace("_", " ")}})


def jwt(claims: Mapping[str, Any]) -> str:
    """Return a token that says `claims`; its signature is nobody's."""
    parts = ({"alg": "none", "typ": "JWT"}, claims)
    coded = (base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts)
    return b".".join((*coded, b"c2ln")).decode()


class FakeIssuer:
    """An issuer with one account.

    Parameters
    ----------
    person
        Whose account it is; another one may take its place at any time.
    lifetime_s
        How long an access token is good for; below zero it is too old from the start.
    interval_s
        How long a device is told to wait between two questions; Codex takes whole seconds only.

    Attributes
    ----------
    ahead_s
        How far its clock is ahead of this machine's.
    issues_moments
        Whether its access tokens say when they were made.
    url
        The root of the issuer.
    requests
        Everything it was asked so far.
    issued, revoked
        The tokens that it gave, and those that were given back.
    denied
        ``error`` and ``error_description`` to send a browser back with; None lets it in.
    """

    def __init__(
        self, person: Person | None = None, *, lifetime_s: float = 3600, interval_s: float = 1
    ) -> None:
        self.person = person or Person()
        self.lifetime_s, self.interval_s = lifetime_s, interval_s
        self.ahead_s = 0.0
        self.issues_moments = True
        self.requests: list[Asked] = []
        self.issued: list[str] = []
        self.revoked: list[str] = []
        self.denied: tuple[str, str] | None = None
        self._guard = threading.Lock()
        self._scripted: defaultdict[str, deque[Given]] = defaultdict(deque)
        self._holds: dict[str, Hold] = {}
        self._fresh: set[str] = set()
        self._used: set[str] = set()
        self._personal: set[str] = set()
        self._codes: dict[str, str] = {}
        self._devices: dict[str, str] = {}
        self._approved = False
        self._routes: dict[tuple[str, str], _Route] = {
            ("POST", TOKEN): self._tokens,
            ("POST", REVOKE): self._revoke,
            ("GET", AUTHORIZE): self._authorize,
            ("POST", DEVICE_CODE): self._device_code,
            ("POST", DEVICE_TOKEN): self._device_token,
            ("GET", WHOAMI): self._whoami,
            ("GET", ACCOUNTS): self._accounts,
        }
        self._server = _Listener(("127.0.0.1", 0), _door(self._answer))
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.01,), name="fake issuer", daemon=True
        )
        self._thread.start()

    @property
    def environ(self) -> dict[str, str]:
        """The variables that lead Codex, and this package, here instead of to OpenAI."""
        return {
            "CODEX_APP_SERVER_LOGIN_ISSUER": self.url,
            "CODEX_REFRESH_TOKEN_URL_OVERRIDE": self.url + TOKEN,
            "CODEX_REVOKE_TOKEN_URL_OVERRIDE": self.url + REVOKE,
            "CODEX_AUTHAPI_BASE_URL": f"{self.url}/api/accounts",
        }

    @property
    def chatgpt_base_url(self) -> str:
        """What Codex's setting of this name must be, to ask here about the account."""
        return f"{self.url}/backend-api/"

    def approve(self) -> None:
        """Let every device in that waits or comes to wait, as a person does with the code."""
        with self._guard:
            self._approved = True

    def signed_in(self) -> dict[str, Any]:
        """Return a new sign-in in the form of Codex's ``auth.json``."""
        return {
            "auth_mode": "chatgpt",
            "OPENAI_API_KEY": None,
            "tokens": {**self._issue(), "account_id": self.person.account_id},
            "last_refresh": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }

    def personal_token(self) -> str:
        """Return a new personal access token."""
        token = f"at-{secrets.token_urlsafe(24)}"
        with self._guard:
            self._personal.add(token)
            self.issued.append(token)
        return token

    def script(self, path: str, *answers: Given) -> None:
        """Give these answers to the next requests for `path`, instead of its own."""
        with self._guard:
            self._scripted[path].extend(answers)

    def hold(self, path: str) -> Hold:
        """Make the requests for `path` wait before they are answered."""
        with self._guard:
            return self._holds.setdefault(path, Hold())

    def count(self, path: str) -> int:
        """Return how often `path` was asked for."""
        return sum(asked.path == path for asked in list(self.requests))

    def close(self) -> None:
        """Stop answering and listening."""
        for hold in self._holds.values():
            hold.release()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _answer(self, asked: Asked) -> Given:
        with self._guard:
            self.requests.append(asked)
            hold = self._holds.get(asked.path)
        if hold is not None:
            hold._wait()  # noqa: SLF001 - the other half of it
        with self._guard:
            if scripted := self._scripted[asked.path]:
                return scripted.popleft()
        answer = self._routes.get((asked.method, asked.path))
        return Given(404, {"detail": "Not Found"}) if answer is None else answer(asked)

    def _tokens(self, asked: Asked) -> Given:
        match asked.body.get("grant_type"):
            case "refresh_token":
                return self._refresh(str(asked.body.get("refresh_token")))
            case "authorization_code":
                return self._exchange(asked.body)
        return Given(400, {"error": "unsupported_grant_type"})

    def _refresh(self, token: str) -> Given:
        with self._guard:
            if token in self._used:
                return refused("refresh_token_reused")
            if token not in self._fresh:
                return refused("refresh_token_invalidated")
            self._fresh.remove(token)
            self._used.add(token)
        return Given(200, self._issue())

    def _exchange(self, form: Mapping[str, Any]) -> Given:
        verifier = str(form.get("code_verifier", ""))
        with self._guard:
            challenge = self._codes.pop(str(form.get("code")), None)
        if challenge is None or challenge != _challenge(verifier):
            return Given(400, {"error": "invalid_grant"})
        return Given(200, self._issue())

    def _issue(self) -> dict[str, str]:
        now = int(time.time() + self.ahead_s)
        known = {
            "email": self.person.email,
            f"https://{CLAIM}/auth": self.person.account,
            "jti": secrets.token_hex(8),
        }
        made = {"iat": now} if self.issues_moments else {}
        refresh = f"rt-{secrets.token_urlsafe(24)}"
        given = {
            "id_token": jwt(known | {"exp": now + 3600}),
            "access_token": jwt(known | made | {"exp": now + int(self.lifetime_s)}),
            "refresh_token": refresh,
        }
        with self._guard:
            self._fresh.add(refresh)
            self.issued.extend(given.values())
        return given

    def _revoke(self, asked: Asked) -> Given:
        token = str(asked.body.get("token"))
        with self._guard:
            self.revoked.append(token)
            self._fresh.discard(token)
        return Given(200)

    def _authorize(self, asked: Asked) -> Given:
        query = asked.query
        known = {"state": query.get("state", "")}
        if self.denied is not None:
            known |= {"error": self.denied[0], "error_description": self.denied[1]}
        else:
            known["code"] = self._code(query.get("code_challenge", ""))
        return Given(302, "", {"Location": f"{query.get('redirect_uri')}?{urlencode(known)}"})

    def _device_code(self, _asked: Asked) -> Given:
        device, code = secrets.token_hex(8), f"FAKE-{secrets.token_hex(3).upper()}"
        with self._guard:
            self._devices[device] = code
        return Given(
            200,
            {"device_auth_id": device, "user_code": code, "interval": str(self.interval_s)},
        )

    def _device_token(self, asked: Asked) -> Given:
        with self._guard:
            known = self._devices.get(str(asked.body.get("device_auth_id")))
            approved = self._approved
        if known is None or known != asked.body.get("user_code"):
            return Given(400, {"error": "invalid_request"})
        if not approved:
            return Given(403, {"error": "authorization_pending"})
        verifier = secrets.token_urlsafe(48)
        challenge = _challenge(verifier)
        return Given(
            200,
            {
                "authorization_code": self._code(challenge),
                "code_challenge": challenge,
                "code_verifier": verifier,
            },
        )

    def _code(self, challenge: str) -> str:
        code = secrets.token_urlsafe(16)
        with self._guard:
            self._codes[code] = challenge
        return code

    def _whoami(self, asked: Asked) -> Given:
        token = asked.headers.get("authorization", "").removeprefix("Bearer ")
        with self._guard:
            if token not in self._personal:
                return Given(401, {"detail": "Unauthorized"})
        return Given(
            200,
            {
                "email": self.person.email,
                "chatgpt_account_is_fedramp": False,
                **self.person.account,
            },
        )

    def _accounts(self, _asked: Asked) -> Given:
        account = {
            "id": self.person.account_id,
            "plan_type": self.person.plan,
            "structure": "personal",
            "workspace_backend_origin": f"https://{WORKSPACE}",
            "account_routing_override": "NO_CONSTRAINT",
        }
        return Given(
            200,
            {
                "accounts": [account],
                "account_ordering": [self.person.account_id],
                "default_account_id": self.person.account_id,
            },
        )


def _challenge(verifier: str) -> str:
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


class _Listener(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that hangs up is part of many tests."""


def _door(answer: Callable[[Asked], Given]) -> type[BaseHTTPRequestHandler]:
    """Return what `http.server` wants: a class with a method for each HTTP method."""

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._give()

        def do_POST(self) -> None:
            self._give()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        def _give(self) -> None:
            target = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            raw = self.rfile.read(int(headers.get("content-length", "0")))
            body = _body(headers.get("content-type", ""), raw)
            query = _single(target.query)
            given = answer(Asked(self.command, target.path, query, headers, body))
            is_text = isinstance(given.body, str)
            content = (given.body if is_text else json.dumps(given.body)).encode()  # type: ignore[union-attr]
            kind = "text/html" if is_text else "application/json"
            self.send_response(given.status)
            known = {"Content-Type": kind, "Content-Length": str(len(content))}
            for name, value in (known | dict(given.headers)).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

    return Door


def _body(kind: str, raw: bytes) -> Mapping[str, Any]:
    if kind.startswith("application/x-www-form-urlencoded"):
        return _single(raw.decode())
    try:
        found = json.loads(raw or b"{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _single(query: str) -> dict[str, str]:
    return {name: values[-1] for name, values in parse_qs(query).items()}
