"""Which backend a turn runs on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import binary, choosing
from codex_magic.errors import SetupError
from codex_magic.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-test-0123456789abcdef"


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A machine without Codex and without a sign-in."""

    def none(_environ: Any = None) -> Any:
        raise SetupError("no Codex")

    monkeypatch.setattr(binary, "candidates", none)
    return {
        "HOME": str(tmp_path),
        "CODEX_HOME": str(tmp_path / "codex"),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
    }


@pytest.mark.parametrize(
    ("wanted", "settings", "name"),
    [
        ("responses", Settings(), "responses"),
        ("app-server", Settings(base_url="http://127.0.0.1/v1"), "app-server"),
        ("auto", Settings(), "app-server"),
        ("auto", Settings(base_url="http://127.0.0.1/v1"), "responses"),
        ("auto", Settings(account="work"), "responses"),
        ("auto", Settings(token_source="command"), "responses"),
        ("auto", Settings(token_file="x.json"), "responses"),
    ],
)
def test_the_settings_say_which(wanted: str, settings: Settings, name: str) -> None:
    assert choosing.name(wanted, settings, {}) == name


def test_without_codex_a_credential_does(bare: dict[str, str]) -> None:
    assert choosing.name("auto", Settings(), bare | {"OPENAI_API_KEY": KEY}) == "responses"
    assert choosing.name("auto", Settings(api_key=KEY), bare) == "responses"


def test_with_neither_the_three_ways_are_named(bare: dict[str, str]) -> None:
    with pytest.raises(SetupError) as caught:
        choosing.name("auto", Settings(), bare)
    said = str(caught.value)
    assert [way for way in ("%codex login", "OPENAI_API_KEY", "demo") if way not in said] == []


def test_the_advice_is_what_works_there(bare: dict[str, str]) -> None:
    for settings, way in (
        (Settings(), "type %codex login --api-key;"),
        (Settings(chatgpt=True), "type %codex login;"),
    ):
        with pytest.raises(SetupError) as caught:
            choosing.name("auto", settings, bare)
        assert way in caught.value.hint


def test_a_chatgpt_sign_in_alone_is_told_that_it_needs_a_word(
    bare: dict[str, str], tmp_path: Path
) -> None:
    tokens = {"access_token": "t", "refresh_token": "r", "account_id": "a"}
    (tmp_path / "codex").mkdir()
    (tmp_path / "codex" / "auth.json").write_text(
        json.dumps({"auth_mode": "chatgpt", "tokens": tokens})
    )
    assert choosing.name("auto", Settings(), bare) == "responses"
    backend = choosing.make("responses", Settings(), bare, ())
    with pytest.raises(SetupError, match="unofficial") as caught:
        backend.quota()
    assert "chatgpt" in caught.value.hint
    backend.close()


def test_what_makes_a_backend_anew() -> None:
    one = Settings()
    made = choosing.made_of("responses", one)
    assert made == choosing.made_of("responses", Settings(model="x", sandbox="read-only"))
    assert made != choosing.made_of("responses", Settings(web_search=True))
    assert made != choosing.made_of("app-server", one)
