"""Advice, in the words of the door that a person came through."""

from __future__ import annotations

import pytest

from codex_magic import cli, doors
from codex_magic.backends import hints
from codex_magic.backends.responses.backend import OPT_IN

NOTEBOOKS = ("%codex", "%%codex", "%config", "%pip", "cell", "kernel", "Jupyter")

SHELL = {
    hints.SIGN_IN: (
        "Three ways: type codex-magic auth login; or set OPENAI_API_KEY where this is started; "
        "or see it work without an account: type `codex-magic demo` in a terminal"
    ),
    OPT_IN: (
        "To use it all the same: CODEX_MAGIC_CHATGPT=1; or use an API "
        "key: type codex-magic auth login --api-key; or, where Codex is installed, "
        "--backend app-server"
    ),
    "Run the cell again": "Try again",
    "Set it and restart the kernel": "Set it and try again",
    "Wait a little, then run the cell again": "Wait a little, then try again",
    "type %config CodexMagics.chatgpt = True first": "set CODEX_MAGIC_CHATGPT=1 first",
}


@pytest.mark.parametrize("text", SHELL)
def test_at_a_shell(text: str) -> None:
    assert doors.at_shell(text) == SHELL[text]


@pytest.mark.parametrize("text", [*hints.HINTS.values(), hints.SIGN_IN, hints.WITH_A_KEY, OPT_IN])
def test_nothing_of_a_notebook_is_said_elsewhere(text: str) -> None:
    assert [word for word in NOTEBOOKS if word in doors.in_program(text)] == []


def test_what_is_in_no_table_stays() -> None:
    text = "Type: codex-magic audit 20"
    assert (doors.at_shell(text), doors.in_program(text)) == (text, text)


def test_a_command_that_fails_says_what_is_typed_at_a_shell(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CODEX_MAGIC_BASE_URL", "https://models.example/v1")
    assert cli.main(["auth", "login"]) == 1
    assert capsys.readouterr().err == (
        "codex-magic: turns go to models.example, and signing in is for OpenAI's hosts only. "
        "Set env_key (CODEX_MAGIC_ENV_KEY) to the name of the variable that holds this host's "
        "key; or take base_url away to use OpenAI's again\n"
    )
