from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.mask import MASK, known_secrets, mask

# Put together here, so that no file of the project holds anything of a credential's shape.
DIGITS = "0123456789"
SECRETS = [
    "sk-" + "proj-Ab_" + DIGITS * 3,
    "sk-" + "ant-api03-" + DIGITS * 2,
    "at-" + "Zx9" * 10,
    "ghp_" + "aB3" * 12,
    "github_pat_" + "11AB_" * 6,
    "AKIA" + "ABCDEFGH12345678",
    "xoxb-" + DIGITS,
    "AIza" + "Sy0_-" * 7,
    "eyJ" + "hbGciOiJIUzI1NiJ9.eyJ" + "zdWIiOiIx.c2lnbmF0dXJl",
]


@pytest.mark.parametrize("secret", SECRETS, ids=lambda secret: secret[:5])
@pytest.mark.parametrize("around", ["{}", "key={}", '{{"a": "{}"}}', "x {} y", "({})", "{}\n"])
def test_what_looks_like_a_credential_is_masked(secret: str, around: str) -> None:
    assert mask(around.format(secret)) == around.format(MASK)


def test_a_bearer_is_masked_behind_its_word() -> None:
    assert mask("Authorization: Bearer " + "abc/DEF+" * 3) == f"Authorization: Bearer {MASK}"


ORDINARY = [
    "a risk-free, disk-based, task-oriented plan",
    "look-at-this-very-long-name-of-a-file.csv",
    "/docs/at-rest-encryption-of-the-whole-disk",
    "sk-learn-is-a-library-for-python",
    "git log -1 0123456789abcdef0123456789abcdef01234567",
    "eyJ is how it begins",
    "the bearer of news",
    "sk-short",
    "550e8400-e29b-41d4-a716-446655440000",
]


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_stays(text: str) -> None:
    assert mask(text) == text


@given(st.lists(st.text(min_size=8), max_size=3), st.text())
def test_no_known_secret_remains(secrets: list[str], text: str) -> None:
    masked = mask(text + text.join(secrets), secrets)
    left = masked.replace(MASK, "")
    assert [secret for secret in secrets if secret in left and secret not in MASK] == []


def test_a_secret_within_a_longer_one_leaves_nothing_of_it() -> None:
    assert mask("a=longlong-secret", ["longlong", "longlong-secret"]) == f"a={MASK}"


def test_known_secrets_are_the_values_of_variables_that_say_so() -> None:
    environ = {
        "OPENAI_API_KEY": "value-of-key",
        "my_password": "value-of-password",
        "GH_TOKEN": "value-of-token",
        "SHORT_TOKEN": "short",
        "SSH_KEY": "/home/ada/.ssh/id",
        "HOME": "/home/ada-lovelace",
    }
    assert known_secrets(environ) == {"value-of-key", "value-of-password", "value-of-token"}
