"""The fake issuer is honest: the real Codex binary signs in at it, renews its tokens and leaves."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.auth import sources
from codex_magic.issuer import DEVICE_CODE, REVOKE, TOKEN, WHOAMI
from codex_magic.settings import Settings
from codex_magic.testing import FakeIssuer

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with FakeIssuer() as made:
        yield made


def codex(stage: Any, issuer: FakeIssuer, **environ: str) -> Any:
    stage.environ |= issuer.environ | environ
    return stage.client(
        "editor",
        f'chatgpt_base_url="{issuer.chatgpt_base_url}"',
        'cli_auth_credentials_store="file"',
        "analytics.enabled=false",
    )


def heard(client: Any, method: str) -> dict[str, Any]:
    while (message := client.messages.get(timeout=20)).get("method") != method:
        pass
    return dict(message["params"])


def test_codex_signs_in_with_a_code(stage: Any, issuer: FakeIssuer) -> None:
    client = codex(stage, issuer)
    begun = client.call("account/login/start", type="chatgptDeviceCode")
    assert begun["verificationUrl"] == f"{issuer.url}/codex/device"
    issuer.approve()
    done = heard(client, "account/login/completed")
    assert (done["success"], done["loginId"]) == (True, begun["loginId"])
    account = {"type": "chatgpt", "email": "ada@example.com", "planType": "plus"}
    assert client.call("account/read")["account"].items() >= account.items()
    stored = json.loads((stage.home / "auth.json").read_text())
    assert (issuer.count(DEVICE_CODE), issuer.count(TOKEN)) == (1, 1)

    client.call("account/logout")
    assert issuer.revoked == [stored["tokens"]["refresh_token"]]
    assert (issuer.count(REVOKE), (stage.home / "auth.json").exists()) == (1, False)


def test_codex_renews_what_the_issuer_signed_in(stage: Any, issuer: FakeIssuer) -> None:
    issuer.lifetime_s = -60
    stage.file("codex/auth.json", json.dumps(issuer.signed_in())).chmod(0o600)
    issuer.lifetime_s = 3600
    client = codex(stage, issuer)
    assert client.call("account/read", refreshToken=True)["account"]["type"] == "chatgpt"
    assert {asked.body["grant_type"] for asked in issuer.requests if asked.path == TOKEN} == {
        "refresh_token"
    }


def test_codex_goes_on_with_what_we_renewed(stage: Any, issuer: FakeIssuer) -> None:
    """And we go on with what Codex renewed: each finds the other's tokens in the same file."""
    path = stage.file("codex/auth.json", json.dumps(issuer.signed_in()))
    path.chmod(0o600)
    client = codex(stage, issuer)
    stage.environ["JUPYTER_DATA_DIR"] = str(stage.place("data"))
    source = sources.find(Settings(), stage.environ)
    first = source.current()
    ours = source.renewed(first)
    client.call("account/read", refreshToken=True)
    assert json.loads(path.read_text())["tokens"]["access_token"] == ours.token
    client.call("account/read", refreshToken=True)
    theirs = source.current()
    assert len({first.token, ours.token, theirs.token}) == 3
    assert source.renewed(ours) == theirs
    renewals = [asked.body["refresh_token"] for asked in issuer.requests if asked.path == TOKEN]
    assert len(renewals) == len(set(renewals)) == 2


def test_codex_asks_whose_a_personal_token_is(stage: Any, issuer: FakeIssuer) -> None:
    client = codex(stage, issuer, CODEX_ACCESS_TOKEN=issuer.personal_token())
    account = client.call("account/read")["account"]
    assert (account["type"], account["email"]) == ("chatgpt", "ada@example.com")
    assert issuer.count(WHOAMI) > 0
