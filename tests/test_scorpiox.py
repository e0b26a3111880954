"""What another program's configuration comes to here, and what it may not change by accident."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.errors import CellError
from codex_magic.scorpiox import ALIASES, read
from codex_magic.settings import Settings, changed, from_environment

if TYPE_CHECKING:
    from pathlib import Path

MEANT: dict[str, Any] = {"backend": "responses", "chatgpt": True, "aliases": ALIASES}
SECRET = "not-to-be-seen-0123456789"

ENVIRONMENTS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {}),
    ({"MODEL": "m", "TOOLS": "0", "THINKING": "1", "TCP_HOST": "h", "REASONING_EFFORT": "max"}, {}),
    ({"PROVIDER": "openai", "MODEL": "m"}, {}),
    ({"PROVIDER": "codex"}, MEANT),
    ({"PROVIDER": "Codex", "MODEL": "opus"}, MEANT | {"model": "opus"}),
    ({"PROVIDER": "codex", "TOOLS": "0"}, MEANT | {"tools": False}),
    ({"PROVIDER": "codex", "TOOLS": "1"}, MEANT | {"tools": True}),
    ({"PROVIDER": "codex", "MODEL": " ", "CODEX_SSH_USER": "u"}, MEANT),
    (
        {"CODEX_TOKEN_SOURCE": "local", "MODEL": "m"},
        MEANT | {"token_source": "local", "model": "m"},
    ),
    (
        {
            "CODEX_TOKEN_SOURCE": "remote",
            "CODEX_REMOTE_URL": "https://example.org/t",
            "TOKEN_HTTP_API_KEY": SECRET,
        },
        MEANT | {"token_source": "http", "token_url": "https://example.org/t", "token_key": SECRET},
    ),
    (
        {
            "CODEX_TOKEN_SOURCE": "ssh",
            "CODEX_SSH_HOST": "h",
            "CODEX_SSH_USER": "u",
            "CODEX_SSH_PORT": "22",
            "CODEX_SSH_PASS": SECRET,
        },
        MEANT | {"token_source": "ssh", "token_host": "u@h:22", "token_password": SECRET},
    ),
    ({"CODEX_SSH_HOST": "h"}, {"token_host": "h"}),
    ({"CODEX_CREDENTIALS_FILE": "~/a.json"}, {"token_file": "~/a.json"}),
    ({"CODEX_REASONING_EFFORT": "HIGH", "REASONING_EFFORT": "low"}, {"effort": "high"}),
    ({"CODEX_REASONING_EFFORT": "off"}, {"effort": "none"}),
    (
        {"PROVIDER": "codex", "REASONING_EFFORT": "max", "OPENAI_REASONING_EFFORT": "low"},
        MEANT | {"effort": "max"},
    ),
    (
        {"PROVIDER": "codex", "OPENAI_REASONING_EFFORT": "low", "THINKING": "1"},
        MEANT | {"effort": "low"},
    ),
    ({"PROVIDER": "codex", "THINKING": "1"}, MEANT | {"effort": "high"}),
    ({"PROVIDER": "codex", "THINKING": "0"}, MEANT),
    (
        {"PROVIDER": "codex", "CODEX_TOKEN_SOURCE": "local", "TCP_HOST": "h"},
        MEANT | {"token_source": "local"},
    ),
    ({"PROVIDER": "codex", "TCP_HOST": "h", "CODEX_MAGIC_TOKEN_SOURCE": "command"}, MEANT),
]


@pytest.mark.parametrize(("environ", "expected"), ENVIRONMENTS)
def test_what_the_environment_comes_to(environ: dict[str, str], expected: dict[str, Any]) -> None:
    assert read(environ, []) == expected


FILE = """\ufeff# scorpiox

  MODEL = sonnet
TOOLS=0\r
TOKEN_HTTP_API_KEY=a=b#c
EMPTY=
USAGE_TRACKING=1
"""
FILED = {"model": "sonnet", "tools": False, "token_key": "a=b#c", "aliases": ALIASES}


def test_in_a_file_every_key_counts_and_the_environment_is_stronger() -> None:
    assert read({}, [FILE]) == FILED
    assert read({"MODEL": "m", "THINKING": "1"}, [FILE]) == FILED
    meant = FILED | MEANT | {"model": "m"}
    assert read({"MODEL": "m", "PROVIDER": "codex"}, [FILE]) == meant
    assert read({"MODEL": "m"}, [f"{FILE}PROVIDER=codex"]) == meant
    assert read({}, [FILE, "MODEL=opus\nTOOLS=1"]) == FILED | {"model": "opus", "tools": True}
    assert read({}, ["", "# nothing\n"]) == {}


TCP = (
    "tokens over TCP cannot be had here: that protocol is scorpiox's own. Set"
    " CODEX_MAGIC_TOKEN_SOURCE=command, and CODEX_MAGIC_TOKEN_COMMAND to a program"
    " that prints the token"
)
LONG = "A key has at most 64 characters, a value 512"
PROVIDER = "PROVIDER is 'gemini', and only codex runs here. Set PROVIDER=codex"

WRONG: list[tuple[dict[str, str], str, str]] = [
    ({}, "PROVIDER=gemini", PROVIDER),
    ({"PROVIDER": "gemini", "CODEX_TOKEN_SOURCE": "local"}, "", PROVIDER),
    ({"CODEX_TOKEN_SOURCE": "tcp"}, "", TCP),
    ({"PROVIDER": "codex", "TCP_HOST": "h"}, "", TCP),
    ({}, "TCP_API_KEY=k", TCP),
    (
        {"CODEX_TOKEN_SOURCE": "post"},
        "",
        "CODEX_TOKEN_SOURCE is 'post': it must be one of local, remote, http, ssh",
    ),
    ({"CODEX_SSH_PORT": "x"}, "", "CODEX_SSH_PORT is 'x': it must be a number"),
    ({}, "TOOLS=yes", "TOOLS is 'yes': it must be 1 or 0"),
    ({}, f"\n{SECRET}", "line 2 of the env file is not KEY=VALUE"),
    ({}, f"={SECRET}", "line 1 of the env file is not KEY=VALUE"),
    ({}, f"K={SECRET * 30}", f"line 1 of the env file is too long. {LONG}"),
    ({}, f"{'K' * 65}=v", f"line 1 of the env file is too long. {LONG}"),
]


@pytest.mark.parametrize(("environ", "text", "said"), WRONG)
def test_what_cannot_be_done_is_said(environ: dict[str, str], text: str, said: str) -> None:
    with pytest.raises(CellError) as caught:
        read(environ, [text])
    assert str(caught.value) == said
    assert SECRET not in str(caught.value)


def test_the_longest_line_is_read() -> None:
    assert read({}, [f"{'K' * 64}={'v' * 512}\nMODEL=m"])["model"] == "m"


@given(st.text())
def test_any_text_is_settings_or_an_error_of_ours(text: str) -> None:
    try:
        found = read({}, [text])
    except CellError:
        return
    assert found.keys() <= {"aliases", "backend", "chatgpt", "effort", "model", "tools"} | {
        *("token_file", "token_host", "token_key", "token_password", "token_source", "token_url"),
    }


# --- as settings -------------------------------------------------------------------------------


def test_our_own_variables_are_stronger(tmp_path: Path) -> None:
    path = tmp_path / "env.txt"
    path.write_text("PROVIDER=codex\nMODEL=opus\nTOOLS=0\nCODEX_REASONING_EFFORT=off\n")
    environ = {"CODEX_MAGIC_ENV_FILE": str(path), "MODEL": "sonnet"}
    settings = Settings(
        backend="responses",
        chatgpt=True,
        model="sonnet",
        tools=False,
        effort="none",
        aliases=ALIASES,
    )
    assert from_environment(environ) == settings
    ours = {
        "CODEX_MAGIC_BACKEND": "auto",
        "CODEX_MAGIC_CHATGPT": "0",
        "CODEX_MAGIC_MODEL": "m",
        "CODEX_MAGIC_TOOLS": "1",
        "CODEX_MAGIC_EFFORT": "low",
        "CODEX_MAGIC_ALIASES": "opus=o,own=x",
    }
    assert from_environment(environ | ours) == Settings(
        model="m", effort="low", aliases=(("opus", "o"), ("own", "x"), *ALIASES)
    )


UNREADABLE = [
    ("none.txt", None, "names {}: No such file or directory"),
    ("latin.txt", b"\xff", "names {}, which is not a file of text"),
    ("long.txt", b"#" * 70_000, "names {}, which is too long for such a file"),
]


@pytest.mark.parametrize(("name", "content", "said"), UNREADABLE)
def test_a_file_that_cannot_be_read(
    tmp_path: Path, name: str, content: bytes | None, said: str
) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CellError) as caught:
        from_environment({"CODEX_MAGIC_ENV_FILE": str(path)})
    assert str(caught.value) == f"CODEX_MAGIC_ENV_FILE {said.format(path)}"


def test_a_key_in_a_file_is_not_shown(tmp_path: Path) -> None:
    path = tmp_path / "env.txt"
    path.write_text(f"TOKEN_HTTP_API_KEY={SECRET}\nCODEX_SSH_PASS={SECRET}\n")
    settings = from_environment({"CODEX_MAGIC_ENV_FILE": str(path)})
    assert (settings.token_key, settings.token_password) == (SECRET, SECRET)
    assert SECRET not in repr(settings)


THEIRS = {"CODEX_REMOTE_URL": "https://theirs.test/t", "TOKEN_HTTP_API_KEY": SECRET} | {
    "CODEX_SSH_HOST": "theirs",
    "CODEX_SSH_PASS": SECRET,
    "PROVIDER": "codex",
}
PAIRS = [
    ("token_url", "https://ours.test/t", "token_key"),
    ("token_host", "ours", "token_password"),
]


@pytest.mark.parametrize(("address", "ours", "secret"), PAIRS)
def test_no_address_of_ones_own_is_told_their_secret(address: str, ours: str, secret: str) -> None:
    """Nor is theirs told one's own; together they go, wherever the two are set."""
    name, key = f"CODEX_MAGIC_{address.upper()}", f"CODEX_MAGIC_{secret.upper()}"

    def pair(settings: Settings) -> tuple[str | None, str | None]:
        return getattr(settings, address), getattr(settings, secret)

    theirs = from_environment(THEIRS)
    assert pair(theirs) == (getattr(theirs, address), SECRET)
    assert pair(from_environment(THEIRS | {name: ours})) == (ours, None)
    assert pair(from_environment(THEIRS | {key: "mine"})) == (None, "mine")
    assert pair(from_environment(THEIRS | {name: ours, key: "mine"})) == (ours, "mine")
    assert pair(changed(theirs, {address: ours})) == (ours, None)
    assert pair(changed(theirs, {address: getattr(theirs, address)})) == pair(theirs)
    assert pair(changed(from_environment({key: "mine"}), {address: ours})) == (ours, "mine")
