"""Accounts on the real Codex: signed in at a fake issuer, out again, its models and limits."""

from __future__ import annotations

import json
import os
import signal
import threading
import urllib.request
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.account import signing
from codex_magic.backends.base import Account, Quota, Window
from codex_magic.errors import BackendError, CellError, SetupError
from codex_magic.issuer import DEVICE_CODE, DEVICE_TOKEN, Given
from codex_magic.settings import Settings
from codex_magic.testing import FakeIssuer, pause_at, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

KEY = "sk-test-TYPED-0123456789"
ENVIRONMENT_KEY = "sk-test-ENVIRONMENT-0123456789"
ADA = Account("chatgpt", "ada@example.com", plan="plus", source="Codex's own sign-in")
REFUSED = "the sign-in was refused, or its code was too old"
USAGE = "/backend-api/wham/usage"


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with FakeIssuer() as made:
        yield made


@pytest.fixture
def kernel(stage: Any, issuer: FakeIssuer) -> Callable[..., Any]:
    """Return a kernel whose Codex knows no other issuer, and no other host of models."""

    def start(*responses: Any, **how: Any) -> Any:
        model = stage.model(*responses)
        settings = [
            f'openai_base_url="{model.base_url}"',
            f'chatgpt_base_url="{issuer.chatgpt_base_url}"',
            'cli_auth_credentials_store="file"',
            "analytics.enabled=false",
        ]
        made = stage.bare_kernel(settings, **issuer.environ, **how)
        made.model_server = model
        return made

    return start


class Desk:
    """Where a person is told things; they act as soon as they are told the first."""

    def __init__(self, act: Callable[[], object] = lambda: None, *, secret: str = "") -> None:
        self.told: list[str] = []
        self._act = act
        self.door = signing.Door(
            show=self._show,
            has_person=True,
            ask=lambda _prompt: secret,
            again="%codex login",
            stop="interrupt the kernel",
        )

    def _show(self, said: signing.Said) -> None:
        self.told.append(said.text)
        if len(self.told) == 1:
            self._act()


def code(issuer: FakeIssuer) -> str:
    (known,) = issuer._devices.values()
    return known


def store(stage: Any) -> Path:
    return Path(stage.home / "auth.json")


# --- with a code ------------------------------------------------------------------------------


def test_a_person_signs_in_with_a_code(stage: Any, issuer: FakeIssuer, kernel: Any) -> None:
    on = kernel().backend
    desk = Desk(issuer.approve)
    signing.sign_in(on, "device", desk.door)
    waiting, done = desk.told
    assert waiting.split("\n") == [
        f"To sign in, open: {issuer.url}/codex/device",
        f"and type the code: {code(issuer)}",
        "Waiting for you. To give it up, interrupt the kernel.",
    ]
    assert done == "Signed in as ada@example.com (plus)."
    assert on.account() == ADA
    assert store(stage).stat().st_mode & 0o777 == 0o600


def test_a_running_codex_that_knew_nobody_is_the_one_that_is_signed_in(
    issuer: FakeIssuer, kernel: Any
) -> None:
    made = kernel()
    assert made.backend.account() == Account()
    pid = made.pid
    signing.sign_in(made.backend, "device", Desk(issuer.approve).door)
    assert (made.pid, made.backend.account()) == (pid, ADA)


@pytest.mark.parametrize(
    ("path", "answer", "said"),
    [
        (DEVICE_TOKEN, Given(400, {"error": "access_denied"}), REFUSED),
        (DEVICE_TOKEN, Given(400, {"error": "expired_token"}), REFUSED),
        (DEVICE_TOKEN, Given(410), REFUSED),
        (
            DEVICE_TOKEN,
            Given(500),
            "the sign-in failed: device auth failed with status 500 Internal Server Error",
        ),
        (
            DEVICE_CODE,
            Given(404),
            "the sign-in cannot begin: device code login is not enabled for this Codex server. Use the browser login or verify the server URL",
        ),
        (
            DEVICE_CODE,
            Given(500),
            "the sign-in cannot begin: failed to request device code: device code request failed with status 500 Internal Server Error",
        ),
    ],
)
def test_a_sign_in_that_comes_to_nothing_says_why(
    issuer: FakeIssuer, kernel: Any, path: str, answer: Given, said: str
) -> None:
    on = kernel().backend
    issuer.script(path, answer)
    desk = Desk()
    with pytest.raises(SetupError) as caught:
        signing.sign_in(on, "device", desk.door)
    assert str(caught.value) == f"{said}. To try again, type: %codex login"
    assert desk.told[1:] == (["Nobody was signed in."] if path == DEVICE_TOKEN else [])
    assert on.account() == Account()
    # The next one is fine.
    issuer.approve()
    signing.sign_in(on, "device", Desk().door)
    assert on.account() == ADA


def test_an_interrupted_sign_in_asks_the_issuer_no_more(issuer: FakeIssuer, kernel: Any) -> None:
    on = kernel().backend
    asked = issuer.hold(DEVICE_TOKEN)

    def interrupt() -> None:
        asked.reached.wait()
        os.kill(os.getpid(), signal.SIGINT)

    person = threading.Thread(target=interrupt)
    desk = Desk(person.start)
    with pytest.raises(signing.SignInCancelled) as caught:
        signing.sign_in(on, "device", desk.door)
    person.join()
    assert str(caught.value) == "the sign-in was cancelled; nothing has changed"
    assert desk.told[1:] == ["The sign-in was cancelled."]
    first = code(issuer)
    asked.release()
    issuer.approve()
    signing.sign_in(on, "device", Desk().door)
    assert on.account() == ADA
    codes = [r.body["user_code"] for r in issuer.requests if r.path == DEVICE_TOKEN]
    assert codes.count(first) == 1


def test_one_that_is_interrupted_as_it_begins_leaves_nothing_either(
    issuer: FakeIssuer, kernel: Any, processes: Any, stage: Any
) -> None:
    on = kernel().backend
    asked = issuer.hold(DEVICE_CODE)

    def interrupt() -> None:
        asked.reached.wait()
        os.kill(os.getpid(), signal.SIGINT)

    person = threading.Thread(target=interrupt)
    person.start()
    with pytest.raises(signing.SignInCancelled):
        signing.sign_in(on, "device", (desk := Desk()).door)
    person.join()
    asked.release()
    assert (desk.told, processes(stage.room.name)) == ([], {})
    issuer.approve()
    signing.sign_in(on, "device", Desk().door)
    assert on.account() == ADA


def test_nobody_signs_in_under_a_running_turn(issuer: FakeIssuer, kernel: Any) -> None:
    made = kernel([pause_at("middle"), say("done")], OPENAI_API_KEY=ENVIRONMENT_KEY)
    ended = []
    turn = threading.Thread(target=lambda: ended.append(made.ask().final_response))
    turn.start()
    on = made.backend
    assert made.model_server.reached("middle").wait(20)
    with pytest.raises(CellError, match="a turn is running"):
        signing.sign_in(on, "device", Desk().door)
    made.model_server.gate("middle").set()
    turn.join()
    assert (ended, issuer.count(DEVICE_CODE)) == (["done"], 0)


def test_a_codex_that_dies_meanwhile_ends_the_wait(issuer: FakeIssuer, kernel: Any) -> None:
    made = kernel()
    on = made.backend
    desk = Desk(lambda: os.kill(made.pid, signal.SIGKILL))
    with pytest.raises(SetupError, match="came to nothing: Codex has stopped"):
        signing.sign_in(on, "device", desk.door)
    issuer.approve()
    signing.sign_in(on, "device", Desk().door)
    assert on.account() == ADA


# --- with a browser ---------------------------------------------------------------------------


@pytest.fixture
def browser(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[str], bool]], None]:
    def use(visit: Callable[[str], bool]) -> None:
        monkeypatch.setenv("BROWSER", "a browser")
        monkeypatch.delenv("JUPYTERHUB_API_TOKEN", raising=False)
        monkeypatch.setattr(webbrowser, "open", visit)

    return use


def test_a_person_signs_in_with_the_browser_of_this_machine(kernel: Any, browser: Any) -> None:
    def visit(url: str) -> bool:
        return bool(urllib.request.urlopen(url, timeout=10).close() is None)

    browser(visit)
    on = kernel().backend
    desk = Desk()
    signing.sign_in(on, "browser", desk.door)
    first, stop = desk.told[0].split("\n")
    assert first.startswith("Sign in on the page that has opened: http://127.0.0.1:")
    assert stop == "Waiting for you. To give it up, interrupt the kernel."
    assert desk.told[1:] == ["Signed in as ada@example.com (plus)."]
    assert on.account() == ADA


def test_where_no_browser_opens_a_code_serves(
    issuer: FakeIssuer, kernel: Any, browser: Any
) -> None:
    browser(lambda _url: False)
    on = kernel().backend
    desk = Desk(issuer.approve)
    signing.sign_in(on, "browser", desk.door)
    remark, _, *rest = desk.told[0].split("\n")
    assert remark == "No browser can be opened on this machine, so a code serves instead."
    assert rest[1] == f"and type the code: {code(issuer)}"
    assert on.account() == ADA


# --- with a key -------------------------------------------------------------------------------


def files_with(folder: Path, text: str) -> list[str]:
    return [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]


def test_a_key_is_kept_where_codex_keeps_it_and_nowhere_else(stage: Any, kernel: Any) -> None:
    made = kernel(say("done"))
    assert made.backend.account() == Account()
    signing.sign_in_with_key(made.backend, Desk(secret=f" {KEY}\n").door)
    assert made.backend.account() == Account("apiKey", source="Codex's own sign-in")
    assert made.ask().final_response == "done"
    assert [h["authorization"] for h in made.model_server.headers] == [f"Bearer {KEY}"]
    assert KEY.encode() not in Path(f"/proc/{made.pid}/cmdline").read_bytes()
    made.session.close()
    assert files_with(stage.room, KEY) == ["auth.json"]
    assert store(stage).stat().st_mode & 0o777 == 0o600


def test_another_key_pays_for_the_next_turn_of_an_open_thread(kernel: Any) -> None:
    made = kernel(say("one"), say("two"))
    for key in (KEY, KEY[::-1]):
        signing.sign_in_with_key(made.backend, Desk(secret=key).door)
        made.ask()
    sent = [headers["authorization"] for headers in made.model_server.headers]
    assert sent == [f"Bearer {KEY}", f"Bearer {KEY[::-1]}"]


def test_with_an_explicit_key_nobody_signs_in_or_out(
    stage: Any, issuer: FakeIssuer, kernel: Any
) -> None:
    stored = json.dumps(issuer.signed_in())
    stage.file("codex/auth.json", stored).chmod(0o600)
    on = kernel(settings=Settings(api_key=KEY)).backend
    for attempt in (
        lambda: signing.sign_in(on, "device", Desk().door),
        lambda: signing.sign_in_with_key(on, Desk(secret=KEY).door),
        lambda: signing.sign_out(on, Desk().door),
    ):
        with pytest.raises(SetupError, match="goes before any sign-in"):
            attempt()
    assert (issuer.requests, issuer.revoked) == ([], [])
    assert store(stage).read_text() == stored


def test_a_sign_in_goes_before_the_environments_key_which_comes_back_with_its_end(
    stage: Any, issuer: FakeIssuer, kernel: Any
) -> None:
    on = kernel(OPENAI_API_KEY=ENVIRONMENT_KEY).backend
    environments = Account("apiKey", source="OPENAI_API_KEY, in memory only")
    assert on.account() == environments
    signing.sign_in(on, "device", Desk(issuer.approve).door)
    assert on.account() == ADA
    desk = Desk()
    signing.sign_out(on, desk.door)
    assert desk.told == ["Signed out. Turns run on an API key, OPENAI_API_KEY, in memory only."]
    assert on.account() == environments
    desk = Desk()
    signing.sign_out(on, desk.door)
    assert desk.told[0].startswith("There was no sign-in to end. Turns run on an API key")
    on.close()
    assert files_with(stage.room, ENVIRONMENT_KEY) == []


# --- out again, and what there is to know -----------------------------------------------------


def test_signing_out_revokes_and_forgets(stage: Any, issuer: FakeIssuer, kernel: Any) -> None:
    signed_in = issuer.signed_in()
    stage.file("codex/auth.json", json.dumps(signed_in)).chmod(0o600)
    on = kernel().backend
    assert on.account() == ADA
    desk = Desk()
    signing.sign_out(on, desk.door)
    assert desk.told == ["Signed out; it was ada@example.com (plus)."]
    assert issuer.revoked == [signed_in["tokens"]["refresh_token"]]
    assert (store(stage).exists(), on.account()) == (False, Account())
    signing.sign_out(on, (again := Desk()).door)
    assert again.told == ["Nobody was signed in."]
    assert len(issuer.revoked) == 1


def test_a_token_of_the_environment_is_told_as_such(issuer: FakeIssuer, kernel: Any) -> None:
    on = kernel(CODEX_ACCESS_TOKEN=issuer.personal_token()).backend
    found = on.account()
    assert (found.detail, found.source) == ("ada@example.com", "CODEX_ACCESS_TOKEN")


def test_the_models_are_all_there_and_say_how_much_they_read(kernel: Any) -> None:
    found = {model.id: model for model in kernel().backend.models()}
    old, latest = found["gpt-5.5"], found["gpt-6.1-sol"]
    assert (old.efforts, old.default_effort) == (("low", "medium", "high", "xhigh"), "medium")
    assert (old.context_tokens, old.sees_images, old.hidden) == (272_000, True, False)
    assert (latest.name, latest.is_default, old.is_default) == ("GPT-6.1-Sol", True, False)
    assert [model.id for model in found.values() if model.hidden] != []
    assert min(model.context_tokens for model in found.values()) > 0


def test_every_page_of_models_is_read(kernel: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from codex_magic.backends.appserver import account_wire

    on = kernel().backend
    whole = on.models()
    ordinary = account_wire.model_list
    monkeypatch.setattr(account_wire, "model_list", lambda cursor: {**ordinary(cursor), "limit": 2})
    assert on.models() == whole


LIMITS = {
    "plan_type": "plus",
    "rate_limit": {
        "allowed": True,
        "limit_reached": False,
        "primary_window": {
            "used_percent": 42,
            "limit_window_seconds": 18_000,
            "reset_after_seconds": 3600,
            "reset_at": 2_000_003_600,
        },
        "secondary_window": {
            "used_percent": 9,
            "limit_window_seconds": 604_800,
            "reset_after_seconds": 86_400,
            "reset_at": 2_000_086_400,
        },
    },
    "credits": {"has_credits": True, "unlimited": False, "balance": "12.5"},
}


def test_the_limits_are_told_by_their_length(stage: Any, issuer: FakeIssuer, kernel: Any) -> None:
    stage.file("codex/auth.json", json.dumps(issuer.signed_in())).chmod(0o600)
    issuer.script(USAGE, Given(200, LIMITS))
    assert kernel().backend.quota() == Quota(
        plan="plus",
        windows=(Window(42.0, 18_000, 2_000_003_600), Window(9.0, 604_800, 2_000_086_400)),
        credits="12.5",
    )


@pytest.mark.parametrize(
    "answer",
    [Given(500), Given(401, {"detail": "Unauthorized"}), Given(200, {}), Given(200, "<p>")],
)
def test_limits_that_cannot_be_had_are_an_error(
    stage: Any, issuer: FakeIssuer, kernel: Any, answer: Given
) -> None:
    stage.file("codex/auth.json", json.dumps(issuer.signed_in())).chmod(0o600)
    issuer.script(USAGE, answer, answer, answer)
    with pytest.raises(BackendError) as caught:
        kernel().backend.quota()
    assert caught.value.message.startswith("the limits cannot be read: ")


def test_a_key_has_no_limits_to_tell(kernel: Any) -> None:
    on = kernel(OPENAI_API_KEY=ENVIRONMENT_KEY).backend
    with pytest.raises(SetupError, match="only a ChatGPT account has limits"):
        on.quota()


def test_nobody_has_no_limits_to_tell(kernel: Any) -> None:
    with pytest.raises(SetupError, match="nobody is signed in"):
        kernel().backend.quota()
