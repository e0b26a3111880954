"""Which backend a turn runs on, and how it is made from the settings.

The settings name one, or leave it to what this machine has. Nothing is started here: a backend starts
what it needs with its first turn.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from codex_magic import binary
from codex_magic.backends.hints import sign_in
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_magic.backends.base import Backend, ToolSpec
    from codex_magic.settings import Settings

AUTO: Final = "auto"
APP_SERVER: Final = "app-server"
RESPONSES: Final = "responses"

OWN_KEYS: Final = ("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN")


def name(wanted: str, settings: Settings, environ: Mapping[str, str]) -> str:
    """Return which backend `wanted` comes to here.

    Raises
    ------
    SetupError
        Neither can be used: Codex is not installed, and there is no credential.
    """
    if wanted != AUTO:
        return wanted
    if settings.base_url is not None or _names_a_sign_in(settings):
        return RESPONSES  # a host that wants no key, or another sign-in than the program's own
    try:
        binary.candidates(environ)
    except SetupError:
        if has_credential(settings, environ):
            return RESPONSES
        raise SetupError(
            "there is no Codex program here, and nobody is signed in",
            hint=sign_in(chatgpt=settings.chatgpt),
        ) from None
    return APP_SERVER


def _names_a_sign_in(settings: Settings) -> bool:
    """Whether a person has said whose credential is to be used, beyond Codex's own."""
    named = (settings.account, settings.token_file, settings.env_key)
    return any(named) or settings.token_source != "local"  # noqa: S105 - a kind of place


def has_credential(settings: Settings, environ: Mapping[str, str]) -> bool:
    """Whether the responses backend would find somebody signed in."""
    from codex_magic.auth import sources  # noqa: PLC0415 - only where there is no Codex

    found = sources.find(settings, environ)
    return not found.is_needed or found.peek() is not None


def make(
    which: str,
    settings: Settings,
    environ: Mapping[str, str],
    tools: Sequence[ToolSpec],
    *,
    replaced: Backend | None = None,
) -> Backend:
    """Return a backend by its name.

    Parameters
    ----------
    replaced
        One that was made of other settings. It ends here, and what can go on from it does.

    Raises
    ------
    SetupError
        Turns are to go to another host than OpenAI's, and it has no key of its own.
    """
    if which == RESPONSES:
        from codex_magic.backends.responses.backend import (  # noqa: PLC0415 - at first use
            ResponsesBackend,
        )

        threads = replaced.hand_over() if isinstance(replaced, ResponsesBackend) else None
        return ResponsesBackend(settings, tools=tools, environ=environ, threads=threads)
    from codex_magic.backends.appserver.backend import (  # noqa: PLC0415 - at first use
        AppServerBackend,
    )

    ended = replaced.hand_over() if isinstance(replaced, AppServerBackend) else {}
    key, environ, overrides = _at_host(settings, environ)
    return AppServerBackend(
        tools=tools, environ=environ, overrides=overrides, api_key=key, ended=ended
    )


def _at_host(
    settings: Settings, environ: Mapping[str, str]
) -> tuple[str | None, Mapping[str, str], Sequence[str]]:
    """Return the key, the environment and the ``-c`` settings with which Codex asks its host."""
    from codex_magic.backends.appserver import wire  # noqa: PLC0415 - with its backend

    url, key = settings.base_url, settings.api_key
    searching = wire.SEARCHING if settings.web_search and settings.tools else ()
    if url is None:
        return key, environ, searching
    from codex_magic.auth import hosts, sources  # noqa: PLC0415 - most turns go to OpenAI's

    is_openais = hosts.is_openai(url)
    if not is_openais or key is not None or settings.env_key is not None:
        credential = sources.find(settings, environ).current()
        if credential is None:
            raise SetupError(
                f"Codex would show your sign-in to {hosts.shown(url)}, for which no key is given",
                hint="Set CODEX_MAGIC_API_KEY, or use the responses backend, which needs none",
            )
        key = credential.token
    if not is_openais:
        environ = _without_keys(environ)
    return key, environ, (*searching, *wire.at_host(url))


def _without_keys(environ: Mapping[str, str]) -> dict[str, str]:
    """Return `environ` without what would be shown to a host that it is not meant for."""
    return {name: value for name, value in environ.items() if name not in OWN_KEYS}


def make_for_tape(
    settings: Settings,
    environ: Mapping[str, str],
    tools: Sequence[ToolSpec],
    *,
    url: str,
    home: str,
) -> Backend:
    """Return a backend whose model is a tape's player.

    Parameters
    ----------
    url
        Where the player answers.
    home
        A folder for what the backend writes.
    """
    # A proxy would be asked for the player on this very machine.
    environ = _without_keys(environ) | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    if plays_on(settings, environ) == RESPONSES:
        settings = replace(settings, base_url=url, env_key=None, api_key=None)
        return make(RESPONSES, settings, environ | {"JUPYTER_DATA_DIR": home}, tools)
    from codex_magic.backends.appserver import wire  # noqa: PLC0415 - with its backend below
    from codex_magic.backends.appserver.backend import AppServerBackend  # noqa: PLC0415 - likewise

    return AppServerBackend(
        tools=tools, environ=environ | {"CODEX_HOME": home}, overrides=wire.tape_provider(url)
    )


def plays_on(settings: Settings, environ: Mapping[str, str]) -> str:
    """Return where a tape is played: on the Codex program where there is one, as it was recorded."""
    if settings.backend != AUTO:
        return settings.backend
    try:
        binary.candidates(environ)
    except SetupError:
        return RESPONSES
    return APP_SERVER


def made_of(which: str, settings: Settings) -> tuple[object, ...]:
    """Return what of the settings a backend is made of: with another of these it is made anew."""
    common: tuple[object, ...] = (which, settings.tools, settings.web_search, settings.api_key)
    common += (settings.base_url, settings.env_key)
    if which != RESPONSES:
        return common
    return (
        *common,
        *(settings.chatgpt, settings.aliases),
        *(settings.shell_tool, settings.account, settings.token_source),
        *(settings.token_file, settings.token_url, settings.token_host, settings.token_command),
        *(settings.token_key, settings.token_password),
    )
