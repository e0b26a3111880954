"""``codex-magic auth`` on the real Codex, against a fake issuer."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import cli
from codex_magic.backends.responses.backend import OPT_IN, UNOFFICIAL
from codex_magic.doors import at_shell
from codex_magic.issuer import DEVICE_CODE, Given
from codex_magic.testing import FakeIssuer

if TYPE_CHECKING:
    from collections.abc import Iterator

    Capture = pytest.CaptureFixture[str]

KEY = "sk-test-PIPED-0123456789"
USAGE = "/backend-api/wham/usage"


@pytest.fixture
def issuer(stage: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeIssuer]:
    """The issuer at which this machine's Codex signs in."""
    with FakeIssuer() as made:
        stage.file(
            "codex/config.toml",
            f'chatgpt_base_url = "{made.chatgpt_base_url}"\n'
            'cli_auth_credentials_store = "file"\n'
            "analytics.enabled = false\n",
        )
        for name in ("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        for name, value in {**stage.environ, **made.environ}.items():
            monkeypatch.setenv(name, value)
        yield made


def signed_in(stage: Any, issuer: FakeIssuer) -> None:
    stage.file("codex/auth.json", json.dumps(issuer.signed_in())).chmod(0o600)


def test_in_and_out_again(issuer: FakeIssuer, capsys: Capture) -> None:
    issuer.approve()
    assert cli.main(["auth", "login"]) == 0
    (code,) = issuer._devices.values()
    assert capsys.readouterr().out.splitlines() == [
        f"To sign in, open: {issuer.url}/codex/device",
        f"and type the code: {code}",
        "Waiting for you. To give it up, press Ctrl-C.",
        "Signed in as ada@example.com (plus).",
    ]
    assert cli.main(["auth", "status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "backend:  app-server",
        "account:  ChatGPT, ada@example.com",
        "plan:     plus",
        "source:   Codex's own sign-in",
    ]
    assert cli.main(["auth", "logout"]) == 0
    assert capsys.readouterr().out == "Signed out; it was ada@example.com (plus).\n"
    assert cli.main(["auth", "status"]) == 1
    assert capsys.readouterr().out.splitlines()[1] == "account:  nobody is signed in"


def test_a_sign_in_that_cannot_begin(issuer: FakeIssuer, capsys: Capture) -> None:
    issuer.script(DEVICE_CODE, Given(404))
    assert cli.main(["auth", "login"]) == 1
    said = capsys.readouterr().err
    assert said.startswith("codex-magic: the sign-in cannot begin: device code login is not")
    assert said.endswith("To try again, type: codex-magic auth login\n")


def test_a_key_comes_from_a_pipe(
    stage: Any, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{KEY}\n"))
    assert cli.main(["auth", "login", "--api-key"]) == 0
    assert KEY not in "".join(capsys.readouterr())
    assert json.loads((stage.home / "auth.json").read_text())["OPENAI_API_KEY"] == KEY


@pytest.mark.parametrize(
    "words",
    [
        ["--api-key", KEY],
        [f"--api-key={KEY}"],
        [f"--api={KEY}"],
        [KEY],
        ["--browser", "--api-key", KEY],
        ["--api-key", "--browser"],
    ],
)
def test_a_key_among_the_words_is_refused_and_not_repeated(
    stage: Any, issuer: FakeIssuer, capsys: Capture, words: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        raise SystemExit(cli.main(["auth", "login", *words]))
    assert (caught.value.code, (stage.home / "auth.json").exists()) == (64, False)
    assert KEY not in "".join(capsys.readouterr())


def test_what_programs_read(stage: Any, issuer: FakeIssuer, capsys: Capture) -> None:
    signed_in(stage, issuer)
    window = {"used_percent": 42, "limit_window_seconds": 18_000, "reset_at": 2_000_003_600}
    primary = {"primary_window": window | {"reset_after_seconds": 9}}
    limits = {"rate_limit": {"allowed": True, "limit_reached": False, **primary}}
    issuer.script(USAGE, Given(200, {"plan_type": "plus", **limits}))

    def printed(word: str) -> Any:
        assert cli.main(["auth", word, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    assert printed("status") == {
        "backend": "app-server",
        "kind": "chatgpt",
        "detail": "ada@example.com",
        "needed": True,
        "plan": "plus",
        "source": "Codex's own sign-in",
        "expires_at": None,
    }
    assert "gpt-5.5" in {model["id"] for model in printed("models")}
    assert printed("usage")["windows"] == [
        {"used_percent": 42.0, "length_s": 18_000, "resets_at": 2_000_003_600, "name": ""}
    ]


def test_a_named_account_is_the_other_backends(issuer: FakeIssuer, capsys: Capture) -> None:
    words = ["auth", "login", "--account", "work", "--backend", "app-server"]
    assert cli.main(words) == 1
    assert "Codex keeps one sign-in only" in capsys.readouterr().err
    assert issuer.requests == []


@pytest.mark.parametrize(
    "words", [[], ["sign-in"], ["login", "--backend", "mine"], ["models", "x"]]
)
def test_what_is_not_understood(words: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["auth", *words])
    assert caught.value.code == 64


# --- tokens, which need no Codex ---------------------------------------------------------------


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person has said that a ChatGPT sign-in may be used without the Codex program."""
    monkeypatch.setenv("CODEX_MAGIC_CHATGPT", "1")


@pytest.mark.usefixtures("allowed")
def test_a_token_goes_to_programs(stage: Any, issuer: FakeIssuer, capsys: Capture) -> None:
    stored = issuer.signed_in()
    stage.file("codex/auth.json", json.dumps(stored)).chmod(0o600)
    access = stored["tokens"]["access_token"]
    assert cli.main(["auth", "token", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    expires = claims(access)["exp"]
    assert printed == {"access_token": access, "expires_at": expires, "account_id": "acc-1"}
    assert cli.main(["auth", "token"]) == 0
    assert capsys.readouterr().out == f"{access}\n"


def claims(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def test_a_token_that_may_not_be_used_is_not_given_away(
    stage: Any, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    signed_in(stage, issuer)
    assert cli.main(["auth", "token", "--json"]) == 1
    assert capsys.readouterr() == ("", f"codex-magic: {UNOFFICIAL}. {at_shell(OPT_IN)}\n")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert cli.main(["auth", "token", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["access_token"] == KEY


@pytest.mark.usefixtures("allowed")
def test_a_terminal_is_shown_a_token_only_as_json(
    stage: Any, issuer: FakeIssuer, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    signed_in(stage, issuer)
    monkeypatch.setattr("sys.stdout", screen := Terminal())
    assert cli.main(["auth", "token"]) == 1
    assert screen.getvalue() == ""
    assert "a token is not shown on a terminal" in capsys.readouterr().err
    assert cli.main(["auth", "token", "--json"]) == 0
    assert json.loads(screen.getvalue())["account_id"] == "acc-1"


def test_without_a_sign_in_there_is_no_token(issuer: FakeIssuer, capsys: Capture) -> None:
    assert cli.main(["auth", "token", "--json"]) == 1
    out, err = capsys.readouterr()
    told = (
        "there is no token: nobody is signed in. Type: codex-magic auth login --backend responses "
        "--api-key; for a ChatGPT sign-in, set CODEX_MAGIC_CHATGPT=1 first"
    )
    assert (out, err) == ("", f"codex-magic: {told}\n")
