"""Who pays: an explicit key, a stored sign-in, OPENAI_API_KEY; and no key ever on the disk."""

from __future__ import annotations

import base64
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.backends.base import Account
from codex_magic.errors import SetupError
from codex_magic.settings import Settings
from codex_magic.testing import FakeModel, call, say

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-test-EXPLICIT-0123456789"
ENVIRONMENT_KEY = "sk-test-ENVIRONMENT-0123456789"
STORED_KEY = "sk-test-STORED-0123456789"


def at(model: FakeModel) -> list[str]:
    """Return the settings that lead the built-in provider to a fake model, and nowhere else."""
    return [
        f'openai_base_url="{model.base_url}"',
        'chatgpt_base_url="http://127.0.0.1:9/backend-api/"',
        "analytics.enabled=false",
    ]


def sent_keys(model: FakeModel) -> list[str]:
    return [headers["authorization"] for headers in model.headers]


def files_with(folder: Path, text: str) -> list[str]:
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and text.encode() in path.read_bytes()
    ]


def token(**claims: Any) -> str:
    """Return a token as a sign-in stores it; nobody here checks its signature."""
    parts = ({"alg": "none"}, claims)
    coded = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in parts]
    return b".".join([*coded, b"c2ln"]).decode()


def sign_in(stage: Any, **auth: Any) -> str:
    text = json.dumps({"OPENAI_API_KEY": None, **auth})
    path = stage.file("codex/auth.json", text)
    path.chmod(0o600)
    return text


def chatgpt() -> dict[str, Any]:
    account = {"chatgpt_account_id": "acc", "chatgpt_plan_type": "plus", "chatgpt_user_id": "u"}
    claims = {"exp": 4_000_000_000, "email": "a@b.c", "https://api.openai.com/auth": account}
    tokens = {
        "id_token": token(**claims),
        "access_token": token(**claims),
        "refresh_token": "rt-never-used",
        "account_id": "acc",
    }
    return {"auth_mode": "chatgpt", "tokens": tokens, "last_refresh": "2099-01-01T00:00:00Z"}


@pytest.mark.parametrize("origin", ["explicit", "environment"])
def test_a_key_pays_and_is_nowhere_on_the_disk(stage: Any, shape: str, origin: str) -> None:
    key = KEY if origin == "explicit" else ENVIRONMENT_KEY
    model = stage.model(call("shell", command=["env"]), say("done"))
    kernel = stage.bare_kernel(
        at(model),
        shape,
        settings=Settings(api_key=KEY if origin == "explicit" else None),
        OPENAI_API_KEY=ENVIRONMENT_KEY,
    )
    turn = kernel.ask()
    assert turn.final_response == "done"
    assert sent_keys(model) == [f"Bearer {key}"] * 2
    name = "given explicitly" if origin == "explicit" else "OPENAI_API_KEY"
    assert kernel.backend.account() == Account("apiKey", source=f"{name}, in memory only")
    assert "sk-test" not in str(turn)
    kernel.session.close()
    assert [files_with(stage.room, "sk-test"), files_with(stage.home, key)] == [[], []]
    assert not (stage.home / "auth.json").exists()


def test_the_key_is_not_among_the_servers_words(stage: Any) -> None:
    model = stage.model(say("done"))
    kernel = stage.bare_kernel(at(model), settings=Settings(api_key=KEY))
    kernel.ask()
    assert KEY.encode() not in Path(f"/proc/{kernel.pid}/cmdline").read_bytes()


def test_a_key_pays_again_after_the_server_died(stage: Any, until: Any) -> None:
    model = stage.model(say("one"), say("two"))
    kernel = stage.bare_kernel(at(model), OPENAI_API_KEY=ENVIRONMENT_KEY)
    kernel.ask()
    connection = kernel.backend._connection
    os.kill(kernel.pid, 9)
    until(lambda: connection.lost, "nobody noticed")
    assert kernel.ask().final_response == "two"
    assert sent_keys(model) == [f"Bearer {ENVIRONMENT_KEY}"] * 2
    assert files_with(stage.room, "sk-test") == []


def test_a_stored_key_goes_before_the_environments(stage: Any) -> None:
    stored = sign_in(stage, auth_mode="apikey", OPENAI_API_KEY=STORED_KEY)
    model = stage.model(say("done"))
    kernel = stage.bare_kernel(at(model), OPENAI_API_KEY=ENVIRONMENT_KEY)
    kernel.ask()
    assert sent_keys(model) == [f"Bearer {STORED_KEY}"]
    assert kernel.backend.account().kind == "apiKey"
    assert (stage.home / "auth.json").read_text() == stored


@pytest.fixture
def chatgpt_host() -> Iterator[str]:
    """What Codex asks about an account before anything else."""
    account = {"id": "acc", "plan_type": "plus", "structure": "personal"}
    free = {
        "workspace_backend_origin": "https://a.invalid",
        "account_routing_override": "NO_CONSTRAINT",
    }
    answer = {
        "accounts": [account | free],
        "account_ordering": ["acc"],
        "default_account_id": "acc",
    }

    class Door(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Door) as host:
        serving = threading.Thread(target=host.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        yield f"http://127.0.0.1:{host.server_port}/backend-api/"
        host.shutdown()
        serving.join()


def test_a_chatgpt_sign_in_goes_before_the_environments_key(stage: Any, chatgpt_host: str) -> None:
    stored = sign_in(stage, **chatgpt())
    settings = [*at(stage.model()), f'chatgpt_base_url="{chatgpt_host}"']
    kernel = stage.bare_kernel(settings, OPENAI_API_KEY=ENVIRONMENT_KEY)
    found = Account("chatgpt", "a@b.c", plan="plus", source="Codex's own sign-in")
    assert kernel.backend.account() == found
    kernel.session.close()
    assert (stage.home / "auth.json").read_text() == stored


def test_an_explicit_key_goes_before_the_stored_one(stage: Any) -> None:
    stored = sign_in(stage, auth_mode="apikey", OPENAI_API_KEY=STORED_KEY)
    model = stage.model(say("done"))
    kernel = stage.bare_kernel(
        at(model), settings=Settings(api_key=KEY), OPENAI_API_KEY=ENVIRONMENT_KEY
    )
    kernel.ask()
    assert sent_keys(model) == [f"Bearer {KEY}"]
    kernel.session.close()
    assert (stage.home / "auth.json").read_text() == stored
    assert files_with(stage.room, KEY) == []


def test_nobody_is_signed_in(stage: Any, shape: str) -> None:
    model = stage.model(say("done"))
    kernel = stage.bare_kernel(at(model), shape)
    for _ in range(2):
        with pytest.raises(SetupError) as caught:
            kernel.ask()
        assert str(caught.value) == (
            "nobody is signed in to Codex. Three ways: type %codex login; "
            "or set OPENAI_API_KEY where Jupyter is started; "
            "or see it work without an account: type `codex-magic demo` in a terminal"
        )
    assert model.requests == []


def test_a_sign_in_between_two_cells_is_noticed(stage: Any) -> None:
    model = stage.model(say("done"))
    kernel = stage.bare_kernel(at(model))
    with pytest.raises(SetupError):
        kernel.ask()
    sign_in(stage, auth_mode="apikey", OPENAI_API_KEY=STORED_KEY)
    assert kernel.ask().final_response == "done"
    assert sent_keys(model) == [f"Bearer {STORED_KEY}"]


def test_proxies_and_certificates_reach_the_server(stage: Any) -> None:
    given = {
        "HTTPS_PROXY": "http://proxy.invalid:3128",
        "https_proxy": "http://proxy.invalid:3128",
        "NO_PROXY": "127.0.0.1,internal",
        "SSL_CERT_FILE": os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt"),
        "CODEX_CA_CERTIFICATE": "/etc/ssl/certs/ca-certificates.crt",
    }
    kernel = stage.kernel(stage.model(say("done")), **given)
    assert kernel.ask().status == "completed"
    raw = Path(f"/proc/{kernel.pid}/environ").read_bytes().decode().split("\0")
    environ = dict(line.split("=", 1) for line in raw if line)
    assert {name: environ.get(name) for name in given} == given
