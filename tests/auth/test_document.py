"""A stored sign-in: what kind it is, when it is due, what a renewal leaves alone."""

from __future__ import annotations

import json
from typing import Any

import pytest

from codex_magic.auth import document
from codex_magic.auth.credentials import Credential
from codex_magic.issuer import jwt

NOW = 1_800_000_000.0
DAY = 24 * 3600
TOKENS = {"access_token": "opaque", "refresh_token": "rt", "id_token": "", "account_id": "acc"}


@pytest.mark.parametrize(
    ("kept", "mode"),
    [
        ({}, ""),
        ({"OPENAI_API_KEY": None}, ""),
        ({"OPENAI_API_KEY": "sk"}, "apiKey"),
        ({"auth_mode": "apikey", "OPENAI_API_KEY": "sk"}, "apiKey"),
        ({"auth_mode": "apikey", "OPENAI_API_KEY": None}, ""),
        ({"auth_mode": "chatgpt", "OPENAI_API_KEY": "sk", "tokens": TOKENS}, "chatgpt"),
        ({"auth_mode": "chatgptAuthTokens", "tokens": TOKENS}, "chatgpt"),
        ({"tokens": TOKENS}, "chatgpt"),
        ({"tokens": TOKENS, "OPENAI_API_KEY": "sk"}, "apiKey"),
        ({"tokens": TOKENS, "OPENAI_API_KEY": "sk", "personal_access_token": "at-"}, "accessToken"),
        ({"auth_mode": "personalAccessToken", "personal_access_token": "at-"}, "accessToken"),
        ({"auth_mode": "chatgpt", "tokens": None}, ""),
        ({"auth_mode": "chatgpt", "tokens": ["x"]}, ""),
        ({"auth_mode": "agentIdentity", "agent_identity": "x"}, "other"),
        ({"agent_identity": {"account_id": "x"}}, "other"),
        ({"bedrock_api_key": "x", "OPENAI_API_KEY": "sk"}, "other"),
        ({"auth_mode": "tomorrows"}, "other"),
        ({"auth_mode": 7, "OPENAI_API_KEY": "sk"}, "apiKey"),
        ({"OPENAI_API_KEY": "sk\r\nx: y"}, ""),
    ],
)
def test_what_kind_of_sign_in_it_is(kept: document.Json, mode: str) -> None:
    assert document.mode(kept) == mode


def tokens(**claims: Any) -> document.Json:
    return {"tokens": {**TOKENS, "access_token": jwt(claims) if claims else "opaque"}}


def refreshed(age_s: float) -> str:
    return document.stamp(NOW - age_s)


@pytest.mark.parametrize(
    ("kept", "is_due"),
    [
        pytest.param(tokens(exp=NOW + 301), False, id="good"),
        pytest.param(tokens(exp=NOW + 300), True, id="in five minutes"),
        pytest.param(tokens(exp=NOW - 1), True, id="over"),
        pytest.param(
            tokens(exp=NOW + 3600) | {"last_refresh": refreshed(9 * DAY)}, False, id="its own word"
        ),
        pytest.param(tokens() | {"last_refresh": refreshed(8 * DAY + 1)}, True, id="old"),
        pytest.param(tokens() | {"last_refresh": refreshed(8 * DAY - 1)}, False, id="not so old"),
        pytest.param(tokens(), False, id="nothing is known"),
        pytest.param(
            tokens(iat=NOW - 9 * 3600, exp=NOW - 8 * 3600) | {"last_refresh": refreshed(60)},
            False,
            id="our clock is hours ahead",
        ),
        pytest.param(
            tokens(iat=NOW - 9 * 3600, exp=NOW - 8 * 3600) | {"last_refresh": refreshed(3400)},
            True,
            id="our clock is hours ahead, and it is over",
        ),
        pytest.param(
            tokens(iat=NOW - 9 * 3600, exp=NOW - 8 * 3600) | {"last_refresh": refreshed(-60)},
            True,
            id="renewed in the future",
        ),
        pytest.param(tokens(exp=NOW - 1) | {"last_refresh": "yesterday"}, True, id="no date"),
    ],
)
def test_when_a_token_is_due(kept: document.Json, is_due: bool) -> None:
    assert document.is_due(kept, NOW) is is_due


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-21T10:00:00Z", 1_795_255_200.0),
        ("2026-11-21T10:00:00.123456789Z", 1_795_255_200.123456),
        ("2026-11-21T12:00:00+02:00", 1_795_255_200.0),
        ("2026-11-21T10:00:00", 1_795_255_200.0),
        (1_795_255_200, 1_795_255_200.0),
        (1_795_255_200_000, 1_795_255_200.0),
        ("soon", None),
        (True, None),
        (None, None),
        (float("nan"), None),
        (float("inf"), None),
        (10**400, None),
    ],
)
def test_moments_as_others_write_them(value: object, moment: float | None) -> None:
    found = document.moment(value)
    assert (found is None) == (moment is None)
    assert found == pytest.approx(moment, abs=1e-3)


def test_a_renewal_leaves_alone_what_it_does_not_know() -> None:
    kept = {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {**TOKENS, "new_in_codex": [1]},
        "last_refresh": "2020-01-01T00:00:00Z",
        "something_else": {"a": None},
    }
    assert document.renewed(kept, {"access_token": "A", "scope": "x", "id_token": None}, NOW) == {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": {**TOKENS, "access_token": "A", "new_in_codex": [1]},
        "last_refresh": "2027-01-15T08:00:00Z",
        "something_else": {"a": None},
    }


@pytest.mark.parametrize(
    ("kept", "token"),
    [
        ({"tokens": TOKENS}, "rt"),
        ({"auth_mode": "chatgptAuthTokens", "tokens": TOKENS}, ""),
        ({"OPENAI_API_KEY": "sk", "tokens": TOKENS}, ""),
        ({"tokens": {"access_token": "x"}}, ""),
    ],
)
def test_another_programs_tokens_are_not_ours_to_renew(kept: document.Json, token: str) -> None:
    assert document.refresh_token(kept) == token


def test_the_credential_of_a_document() -> None:
    claims = {"exp": NOW, "email": "a@b.c"}
    assert document.credential(tokens(**claims), "somewhere") == Credential(
        kind="chatgpt",
        token=jwt(claims),
        account_id="acc",
        email="a@b.c",
        expires_at=NOW,
        source="somewhere",
    )


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'{"a":'])
def test_what_is_no_document(raw: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - any will do
        document.parse(raw)


def test_a_document_is_written_as_codex_writes_it() -> None:
    kept = {"OPENAI_API_KEY": None, "tokens": TOKENS}
    assert json.loads(document.written(kept)) == kept
    assert document.written({"a": 1}) == b'{\n  "a": 1\n}\n'
