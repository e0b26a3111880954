"""What a token says is read as far as it can be read."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.auth import claims
from codex_magic.auth.claims import ACCOUNT, PROFILE, Claims
from codex_magic.issuer import jwt

FULL = {
    "exp": 2_000_000_000,
    "iat": 1_999_996_400,
    "email": "ada@example.com",
    ACCOUNT: {
        "chatgpt_account_id": "acc",
        "chatgpt_plan_type": "plus",
        "chatgpt_user_id": "user",
        "chatgpt_data_residency": "eu",
        "chatgpt_account_is_fedramp": True,
    },
}
READ = Claims(
    account_id="acc",
    user_id="user",
    email="ada@example.com",
    plan="plus",
    issued_at=1_999_996_400,
    expires_at=2_000_000_000,
    residency="eu",
    is_fedramp=True,
)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param(FULL, READ, id="everything"),
        pytest.param({}, Claims(), id="nothing"),
        pytest.param({"exp": 12.5}, Claims(expires_at=12.5), id="a fraction"),
        pytest.param({"exp": True}, Claims(), id="an end that is no number"),
        pytest.param({"exp": "soon"}, Claims(), id="an end in words"),
        pytest.param({"exp": 10**400}, Claims(), id="an end without end"),
        pytest.param({PROFILE: {"email": "b@c.d"}}, Claims(email="b@c.d"), id="a profile"),
        pytest.param({ACCOUNT: {"user_id": "u"}}, Claims(user_id="u"), id="an older user id"),
        pytest.param({"chatgpt_account_id": "top"}, Claims(account_id="top"), id="at the top"),
        pytest.param(
            {"organizations": [{"id": "org"}, {"id": "other"}]},
            Claims(account_id="org"),
            id="an organization",
        ),
        pytest.param(
            {ACCOUNT: {"chatgpt_compute_residency": "us"}}, Claims(residency="us"), id="compute"
        ),
        pytest.param({ACCOUNT: ["acc"], "email": 7}, Claims(), id="other types"),
        pytest.param(
            {ACCOUNT: {"chatgpt_account_id": "a\r\nx: y"}}, Claims(), id="a header in an id"
        ),
        pytest.param({ACCOUNT: {"chatgpt_account_is_fedramp": 1}}, Claims(), id="not quite true"),
    ],
)
def test_what_a_token_says(said: dict[str, Any], expected: Claims) -> None:
    assert claims.read(jwt(said)) == expected


@pytest.mark.parametrize("token", ["", "opaque", "a.b", "a.%.c", "a.bm90IGpzb24.c", "a.WzFd.c"])
def test_what_is_no_token_says_nothing(token: str) -> None:
    assert claims.read(token) == Claims()


def test_padding_is_optional() -> None:
    head, body, tail = jwt(FULL).split(".")
    padded = base64.urlsafe_b64encode(json.dumps(FULL).encode()).decode()
    assert claims.read(f"{head}.{padded}.{tail}") == claims.read(f"{head}.{body}.{tail}") == READ


def test_who_by_the_one_and_how_long_by_the_other() -> None:
    account = {"chatgpt_account_id": "acc", "chatgpt_data_residency": "eu"}
    access = jwt({"exp": 5, "email": "access@x", ACCOUNT: account})
    assert claims.of(jwt({"exp": 1, "email": "id@x"}), access) == Claims(
        account_id="acc", email="id@x", expires_at=5, residency="eu"
    )


@given(st.text())
def test_any_text_can_be_asked(token: str) -> None:
    claims.read(token)
    claims.read(f"a.{token}.c")


READ_NAMES = ["chatgpt_account_id", "organizations", "id", PROFILE]
JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*FULL, *READ_NAMES]), inner),
)


@given(JSON)
def test_any_payload_can_be_asked(said: Any) -> None:
    found = claims.read(jwt(said))
    assert "\n" not in found.account_id + found.residency
