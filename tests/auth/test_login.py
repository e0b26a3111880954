"""Signing in by code, by browser and by key; signing out."""

from __future__ import annotations

import contextlib
import signal
import socket
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from codex_magic.auth import browser, device, hosts, login, places
from codex_magic.errors import BackendError, CellError, CodexMagicError, SetupError
from codex_magic.issuer import (
    DEVICE_CODE,
    DEVICE_TOKEN,
    REVOKE,
    TOKEN,
    WHOAMI,
    FakeIssuer,
    Given,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Room

    from codex_magic.backends.base import SignIn

PATIENCE_S = 20.0


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """Whatever happened, nobody waits for a person any more."""
    yield
    assert [t.name for t in threading.enumerate() if t.name == "codex sign-in"] == []


@dataclass
class Begun:
    """What a test began, ended with it."""

    room: Room
    all: list[SignIn] = field(default_factory=list)

    def device(self, **options: Any) -> SignIn:
        self.all.append(login.device(self.room.environ, **options))
        return self.all[-1]

    def browser(self, *ports: int) -> browser.BrowserSignIn:
        made = browser.BrowserSignIn(self.room.environ, None, ports or (0,))
        self.all.append(made)
        return made


@pytest.fixture
def begun(room: Room) -> Iterator[Begun]:
    made = Begun(room)
    yield made
    for sign_in in made.all:
        sign_in.cancel()


# --- by code -------------------------------------------------------------------------------------


def test_a_person_types_the_code_in(room: Room, begun: Begun) -> None:
    sign_in = begun.device()
    assert sign_in.url == f"{room.issuer.url}/codex/device"
    assert sign_in.code.startswith("FAKE-")
    assert sign_in.wait(0.0) is False
    room.issuer.approve()
    assert sign_in.wait(PATIENCE_S) is True
    kept = room.kept()
    assert (kept["auth_mode"], kept["OPENAI_API_KEY"]) == ("chatgpt", None)
    assert kept["tokens"]["account_id"] == "acc-1"
    assert room.ours.stat().st_mode & 0o777 == 0o600
    assert room.ours.parent.stat().st_mode & 0o777 == 0o700
    assert not room.codexs.exists()
    found = room.find().current()
    assert (found.token, found.source) == (kept["tokens"]["access_token"], "your sign-in")
    exchanged = next(asked.body for asked in room.issuer.requests if asked.path == TOKEN)
    assert set(exchanged) == {"grant_type", "client_id", "code", "code_verifier", "redirect_uri"}
    assert exchanged["redirect_uri"] == f"{room.issuer.url}/deviceauth/callback"


def test_a_named_account_has_a_file_of_its_own(room: Room, begun: Begun) -> None:
    room.issuer.approve()
    assert begun.device(account="work").wait(PATIENCE_S) is True
    assert not room.ours.exists()
    assert room.find(account="work").current().source == "your sign-in work"


def test_a_wrong_name_shows_before_a_person_has_signed_in(room: Room) -> None:
    for begin in (login.device, login.browser):
        with pytest.raises(SetupError, match="the name of an account"):
            begin(room.environ, account="../codex")
    assert room.issuer.requests == []


def test_it_can_be_given_up(room: Room, begun: Begun) -> None:
    sign_in = begun.device()
    sign_in.cancel()
    sign_in.cancel()
    with pytest.raises(SetupError, match="the sign-in was cancelled"):
        sign_in.wait(0.0)
    room.issuer.approve()
    assert not room.ours.exists()


def test_it_can_be_given_up_while_the_issuer_is_slow(room: Room, begun: Begun) -> None:
    hold = room.issuer.hold(DEVICE_TOKEN)
    sign_in = begun.device()
    assert hold.reached.wait(PATIENCE_S)
    sign_in.cancel()
    with pytest.raises(SetupError, match="the sign-in was cancelled"):
        sign_in.wait(0.0)
    hold.release()


@pytest.mark.parametrize(
    "answer",
    [
        Given(403),
        Given(404),
        Given(429),
        Given(500),
        Given(502, "<html>"),
        Given(200, "x" * 70_000),
    ],
)
def test_what_does_not_end_the_waiting(
    room: Room, begun: Begun, answer: Given, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "SLOWER_S", 0.01)
    room.issuer.script(DEVICE_TOKEN, answer, answer)
    room.issuer.approve()
    assert begun.device().wait(PATIENCE_S) is True
    assert room.issuer.count(DEVICE_TOKEN) == 3


NOT_ALLOWED = "this ChatGPT workspace has not switched Codex on"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Given(403, {"error": "access_denied"}), "the sign-in was declined"),
        (Given(403, {"error": {"code": "missing_codex_entitlement"}}), NOT_ALLOWED),
        (Given(400, {"error": "expired_token"}), "the sign-in failed: expired_token"),
        (
            Given(400, {"error": "x", "error_description": "y\x1b[2Jz \u202e"}),
            r"the sign-in failed: x y\[2Jz \.",
        ),
        (Given(200, {}), "does not say how to complete the sign-in"),
    ],
)
def test_what_ends_it(room: Room, begun: Begun, answer: Given, said: str) -> None:
    room.issuer.script(DEVICE_TOKEN, answer)
    with pytest.raises(CodexMagicError, match=said):
        begun.device().wait(PATIENCE_S)
    assert not room.ours.exists()


def test_what_an_issuer_repeats_of_a_sign_in_is_not_told(room: Room, begun: Begun) -> None:
    told = {"error": "no", "error_description": "what is opaque-device-id?"}
    room.issuer.script(DEVICE_TOKEN, Given(400, told))
    known = device.Device("opaque-device-id", "CODE", 0.01, PATIENCE_S)
    sign_in = device.DeviceSignIn(known, room.environ, None)
    begun.all.append(sign_in)
    with pytest.raises(SetupError, match=r"failed: no what is \*\*\*masked\*\*\*\?\."):
        sign_in.wait(PATIENCE_S)
    by_browser = begun.browser()
    room.issuer.denied = ("no", f"what is {asked_for(by_browser)['state']}?")
    get(by_browser.url)
    with pytest.raises(SetupError, match=r"failed: no what is \*\*\*masked\*\*\*\?\."):
        by_browser.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Given(404), "lets nobody sign in with a code"),
        (Given(500), r"gives no code to sign in with \(HTTP 500\)"),
        (Given(200, {"user_code": "x"}), "gives no code to sign in with"),
        (Given(200, "<html>"), "gives no code to sign in with"),
    ],
)
def test_there_is_no_code(room: Room, answer: Given, said: str) -> None:
    room.issuer.script(DEVICE_CODE, answer)
    with pytest.raises(CodexMagicError, match=said):
        login.device(room.environ)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Given(400, {"error": "invalid_grant"}), r"\(HTTP 400 invalid_grant\)"),
        (Given(500), r"\(HTTP 500\)"),
        (Given(200, {"id_token": "x"}), "gave no token"),
    ],
)
def test_the_code_is_not_exchanged(room: Room, begun: Begun, answer: Given, said: str) -> None:
    room.issuer.approve()
    room.issuer.script(TOKEN, answer)
    with pytest.raises(SetupError, match=said):
        begun.device().wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("said", "interval_s", "lifetime_s"),
    [
        ({"interval": 3}, 3.0, 900.0),
        ({"interval": "7"}, 7.0, 900.0),
        ({"interval": "0.5"}, 0.5, 900.0),
        ({}, 5.0, 900.0),
        ({"interval": 0}, 5.0, 900.0),
        ({"interval": -1}, 5.0, 900.0),
        ({"interval": "soon"}, 5.0, 900.0),
        ({"interval": None}, 5.0, 900.0),
        ({"interval": "nan"}, 5.0, 900.0),
        ({"interval": 10**9, "expires_at": "2000-01-01T00:00:00Z"}, 900.0, 900.0),
        ({"interval": 1, "expires_at": 1e300}, 1.0, 900.0),
    ],
)
def test_how_often_and_how_long(
    room: Room, said: dict[str, Any], interval_s: float, lifetime_s: float
) -> None:
    known = {"device_auth_id": "d", "user_code": "A-B\n"}
    room.issuer.script(DEVICE_CODE, Given(200, known | said))
    assert device.begin(room.environ) == device.Device("d", "A-B", interval_s, lifetime_s)


def test_a_code_lives_no_longer_than_it_says(room: Room) -> None:
    known = {"device_auth_id": "d", "user_code": "A-B", "expires_at": time.time() + 60}
    room.issuer.script(DEVICE_CODE, Given(200, known))
    assert 50 < device.begin(room.environ).lifetime_s <= 60


def test_a_code_that_is_too_old(room: Room) -> None:
    made = device.Device("d", "A-B", interval_s=0.01, lifetime_s=0.0)
    sign_in = device.DeviceSignIn(made, room.environ, None)
    with pytest.raises(SetupError, match="the code is too old by now"):
        sign_in.wait(PATIENCE_S)
    sign_in.cancel()
    assert room.issuer.count(DEVICE_TOKEN) == 0


def test_a_file_that_cannot_be_written_is_told(room: Room, begun: Begun) -> None:
    (room.ours / "in the way").mkdir(parents=True)
    room.issuer.approve()
    with pytest.raises(SetupError, match="the sign-in cannot be written to"):
        begun.device().wait(PATIENCE_S)


# --- by browser ----------------------------------------------------------------------------------


def get(url: str, **query: str) -> httpx2.Response:
    with httpx2.Client(trust_env=False) as client:
        return client.get(url, params=query or None, follow_redirects=True)


def asked_for(sign_in: SignIn) -> dict[str, str]:
    query = parse_qs(urlsplit(sign_in.url).query)
    return {name: value for name, (value,) in query.items()}


def test_a_browser_brings_the_answer(room: Room, begun: Begun) -> None:
    sign_in = begun.browser()
    asked = asked_for(sign_in)
    assert urlsplit(sign_in.url)._replace(query="").geturl() == f"{room.issuer.url}/oauth/authorize"
    assert {**asked, "state": "", "code_challenge": "", "redirect_uri": ""} == {
        "response_type": "code",
        "client_id": hosts.CLIENT_ID,
        "redirect_uri": "",
        "scope": "openid profile email offline_access api.connectors.read api.connectors.invoke",
        "code_challenge": "",
        "code_challenge_method": "S256",
        "id_token_add_organizations": "true",
        "codex_cli_simplified_flow": "true",
        "state": "",
        "originator": "codex_magic",
    }
    page = get(sign_in.url)
    assert (page.status_code, "You are signed in" in page.text) == (200, True)
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    assert sign_in.wait(PATIENCE_S) is True
    assert room.find().current().token == room.kept()["tokens"]["access_token"]
    assert sign_in.code == ""
    with pytest.raises(httpx2.ConnectError):
        get(asked["redirect_uri"])


def test_only_the_issuer_knows_the_state(room: Room, begun: Begun) -> None:
    sign_in = begun.browser()
    redirect = asked_for(sign_in)["redirect_uri"]
    for query in ({"code": "x"}, {"code": "x", "state": "guessed"}, {"error": "access_denied"}):
        assert get(redirect, **query).status_code == 400
    assert get(redirect.replace("/auth/callback", "/"), code="x").status_code == 404
    assert (sign_in.wait(0.0), room.issuer.count(TOKEN)) == (False, 0)
    get(sign_in.url)
    assert sign_in.wait(PATIENCE_S) is True


@pytest.mark.parametrize(
    ("denied", "said"),
    [
        (("access_denied", "missing_codex_entitlement"), NOT_ALLOWED),
        (("access_denied", "no"), "the sign-in was declined"),
        (("server_error", "<b>try later</b>"), "the sign-in failed: server_error <b>try later</b>"),
    ],
)
def test_the_issuer_lets_nobody_in(
    room: Room, begun: Begun, denied: tuple[str, str], said: str
) -> None:
    room.issuer.denied = denied
    sign_in = begun.browser()
    page = get(sign_in.url)
    assert (page.status_code, "<b>" in page.text) == (400, False)
    with pytest.raises(SetupError, match=said):
        sign_in.wait(PATIENCE_S)


def test_the_exchange_fails(room: Room, begun: Begun) -> None:
    room.issuer.script(TOKEN, Given(400, {"error": "invalid_grant"}))
    sign_in = begun.browser()
    assert get(sign_in.url).status_code == 400
    with pytest.raises(SetupError, match="invalid_grant"):
        sign_in.wait(PATIENCE_S)


def test_another_sign_in_takes_the_port(room: Room, begun: Begun) -> None:
    first = begun.browser()
    port = urlsplit(asked_for(first)["redirect_uri"]).port
    second = begun.browser(port)
    assert asked_for(second)["redirect_uri"] == asked_for(first)["redirect_uri"]
    with pytest.raises(SetupError, match="the sign-in was cancelled"):
        first.wait(PATIENCE_S)
    get(second.url)
    assert second.wait(PATIENCE_S) is True


@pytest.fixture
def stubborn() -> Iterator[Callable[[], int]]:
    """Return a port of somebody who does not answer, and stays."""
    taken: list[socket.socket] = []

    def take() -> int:
        taken.append(socket.create_server(("127.0.0.1", 0)))
        return int(taken[-1].getsockname()[1])

    yield take
    for one in taken:
        one.close()


def test_the_second_port(
    begun: Begun, stubborn: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "FREED_S", 0.05)
    sign_in = begun.browser(stubborn(), 0)
    get(sign_in.url)
    assert sign_in.wait(PATIENCE_S) is True


def test_every_port_is_taken(
    begun: Begun, stubborn: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browser, "FREED_S", 0.05)
    first, second = stubborn(), stubborn()
    with pytest.raises(SetupError, match=f"could answer to are taken: {first}, {second}"):
        begun.browser(first, second)


def test_a_browser_that_connects_and_says_nothing_is_in_nobodys_way(begun: Begun) -> None:
    sign_in = begun.browser()
    port = urlsplit(asked_for(sign_in)["redirect_uri"]).port
    with socket.create_connection(("127.0.0.1", port)):
        get(sign_in.url)
        assert sign_in.wait(PATIENCE_S) is True


def test_nobody_comes(begun: Begun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "LONGEST_S", 0.01)
    sign_in = begun.browser()
    with pytest.raises(SetupError, match="nobody signed in for 15 minutes"):
        sign_in.wait(PATIENCE_S)


# --- by key, and out again -----------------------------------------------------------------------


def test_a_key_is_kept(room: Room) -> None:
    login.with_key(room.environ, " sk-mine\n")
    assert room.kept() == {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-mine"}
    assert room.ours.stat().st_mode & 0o777 == 0o600
    assert room.find().current().token == "sk-mine"
    assert room.issuer.requests == []


def test_a_personal_token_is_kept_if_it_is_one(room: Room) -> None:
    token = room.issuer.personal_token()
    login.with_key(room.environ, token, account="work")
    assert room.find(account="work").current().token == token
    with pytest.raises(SetupError, match="the access token is refused"):
        login.with_key(room.environ, "at-somebodys", account="home")
    assert room.find(account="home").current() is None
    assert room.issuer.count(WHOAMI) == 3


@pytest.mark.parametrize("key", ["", "  ", "sk a", "sk-\x00", "sk-ä", "a\nb"])
def test_what_is_no_key(room: Room, key: str) -> None:
    with pytest.raises(CellError, match="this is no API key"):
        login.with_key(room.environ, key)
    assert not room.ours.exists()


def test_signing_out_takes_the_sign_in_back(room: Room) -> None:
    kept = room.aged(3600)
    room.keep(kept)
    theirs = room.keep(room.aged(3600), room.codexs)
    assert login.logout(room.environ) is True
    assert (room.ours.exists(), theirs.exists()) == (False, True)
    (asked,) = room.issuer.requests
    assert (asked.path, asked.body) == (
        REVOKE,
        {
            "token": kept["tokens"]["refresh_token"],
            "token_type_hint": "refresh_token",
            "client_id": hosts.CLIENT_ID,
        },
    )
    assert login.logout(room.environ) is False


def test_without_a_refresh_token_the_other_one_is_taken_back(room: Room) -> None:
    kept = room.aged(3600) | {"auth_mode": "chatgptAuthTokens"}
    room.keep(kept)
    login.logout(room.environ)
    (asked,) = room.issuer.requests
    assert asked.body == {
        "token": kept["tokens"]["access_token"],
        "token_type_hint": "access_token",
    }


def down(issuer: FakeIssuer) -> None:
    issuer.close()


def refusing(issuer: FakeIssuer) -> None:
    issuer.script(REVOKE, Given(500))


@pytest.mark.parametrize("trouble", [down, refusing])
def test_signing_out_forgets_whatever_the_answer(
    room: Room, trouble: Callable[[FakeIssuer], None]
) -> None:
    room.keep(room.aged(3600))
    trouble(room.issuer)
    assert login.logout(room.environ) is True
    assert not room.ours.exists()


def test_signing_out_forgets_although_the_address_is_none(room: Room) -> None:
    room.keep(room.aged(3600))
    room.environ["CODEX_REVOKE_TOKEN_URL_OVERRIDE"] = "http://issuer.test"
    assert login.logout(room.environ) is True
    assert not room.ours.exists()


@pytest.mark.parametrize("raw", ["", "{", '{"OPENAI_API_KEY": "sk-x"}', "[]"])
def test_signing_out_of_what_cannot_be_taken_back(room: Room, raw: str) -> None:
    room.keep(raw)
    assert login.logout(room.environ) is True
    assert (room.ours.exists(), room.issuer.requests) == (False, [])


SURROUNDINGS = [
    {"SSL_CERT_FILE": "/nowhere.pem"},
    {"ALL_PROXY": "socks5://127.0.0.1:9"},
    {"HTTPS_PROXY": "carrier://127.0.0.1:9"},
    {"HTTPS_PROXY": "127.0.0.1:port"},
]


@pytest.mark.parametrize("trouble", SURROUNDINGS)
def test_signing_out_forgets_whatever_the_surroundings(room: Room, trouble: dict[str, str]) -> None:
    room.keep(room.aged(3600))
    room.environ |= {"CODEX_REVOKE_TOKEN_URL_OVERRIDE": "https://issuer.invalid/"} | trouble
    assert login.logout(room.environ) is True
    assert not room.ours.exists()


def test_who_does_not_wait_for_the_answer_is_signed_out_all_the_same(room: Room) -> None:
    room.keep(room.aged(3600))
    hold = room.issuer.hold(REVOKE)
    main = threading.main_thread().ident
    assert main is not None
    seen: list[bool] = []

    def interrupt() -> None:
        hold.reached.wait()
        seen.append(room.ours.exists())
        signal.pthread_kill(main, signal.SIGINT)

    interrupting = threading.Thread(target=interrupt)
    interrupting.start()
    with pytest.raises(KeyboardInterrupt):
        login.logout(room.environ)
    interrupting.join()
    hold.release()
    assert (seen, room.ours.exists()) == ([False], False)


def test_signing_out_waits_not_for_ever_for_who_holds_the_file(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "PATIENCE_S", 0.0)
    kept = room.aged(3600)
    path = room.keep(kept)
    with places.locked(places.lock(path)):
        assert login.logout(room.environ) is True
    assert (path.exists(), room.issuer.revoked) == (False, [kept["tokens"]["refresh_token"]])


def test_signing_out_of_a_link_leaves_what_it_leads_to(room: Room) -> None:
    real = room.keep(room.aged(3600), room.codexs)
    room.ours.parent.mkdir(parents=True)
    room.ours.symlink_to(real)
    assert login.logout(room.environ) is True
    assert (room.ours.is_symlink(), real.exists(), room.issuer.revoked) == (False, True, [])


def test_signing_out_takes_back_what_could_not_be_written(room: Room) -> None:
    room.keep(room.expired())
    source = room.find()

    class Full(places.FilePlace):
        def write(self, content: bytes) -> None:
            raise OSError(28, "No space left on device")

    (stored,) = source._sources
    stored._places = [Full(room.ours, "your sign-in", "", stored._notices)]
    source.current()
    login.logout(room.environ)
    renewed = [token for token in room.issuer.issued if token.startswith("rt-")][-1]
    assert (room.issuer.revoked, room.find().current()) == ([renewed], None)


# --- giving up while the code is exchanged --------------------------------------------------------


@pytest.mark.parametrize("way", ["device", "browser"])
def test_what_is_given_up_while_it_is_exchanged_is_not_kept(
    room: Room, begun: Begun, way: str, until: Callable[..., None]
) -> None:
    hold = room.issuer.hold(TOKEN)
    room.issuer.approve()
    sign_in = begun.device() if way == "device" else begun.browser()
    browsing = threading.Thread(target=lambda: sign_in.code or open_there(sign_in.url))
    browsing.start()
    assert hold.reached.wait(PATIENCE_S)
    sign_in.cancel()  # the issuer does not answer before this has returned
    with pytest.raises(SetupError, match="the sign-in was cancelled"):
        sign_in.wait(0.0)
    hold.release()
    browsing.join()
    assert not room.ours.exists()


def open_there(url: str) -> None:
    with contextlib.suppress(httpx2.HTTPError):
        get(url)


@pytest.mark.parametrize("way", ["device", "browser"])
def test_what_is_kept_by_then_cannot_be_given_up(room: Room, begun: Begun, way: str) -> None:
    room.issuer.approve()
    sign_in = begun.device() if way == "device" else begun.browser()
    if way == "browser":
        get(sign_in.url)
    assert sign_in.wait(PATIENCE_S) is True
    sign_in.cancel()
    assert (sign_in.wait(0.0), sign_in.who, room.ours.exists()) == (
        True,
        "ada@example.com (plus)",
        True,
    )


def test_nobody_is_told_of_a_success_before_there_is_one(begun: Begun) -> None:
    sign_in = begun.browser()
    page = get(asked_for(sign_in)["redirect_uri"].replace("/auth/callback", "/success"))
    assert (page.status_code, "signed in" in page.text) == (404, False)


def test_nobody_answers(room: Room) -> None:
    room.issuer.close()
    with pytest.raises(BackendError, match=r"127\.0\.0\.1 cannot be asked"):
        login.device(room.environ)
