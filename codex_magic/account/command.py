"""What ``codex-magic auth`` does."""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import sys
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from codex_magic import settings
from codex_magic.account import signing, words
from codex_magic.errors import CodexMagicError, SetupError
from codex_magic.session import Session

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

USAGE: Final = 64
"""The exit code of a command that cannot be understood."""


def login(chosen: argparse.Namespace) -> int:
    """Sign a person in."""
    if chosen.words or chosen.api_key not in (True, False):
        # What was typed is not repeated: it may be a key.
        told = signing.KEY_IN_SIGHT if chosen.api_key else "login takes no further words"
        print(f"codex-magic: {told}. Type: codex-magic auth login --api-key", file=sys.stderr)
        return USAGE
    with _session(chosen) as session:
        on = signing.at_openai(session)
        if chosen.api_key:
            signing.sign_in_with_key(on, _door())
        else:
            signing.sign_in(on, "browser" if chosen.browser else "device", _door())
    return 0


def logout(chosen: argparse.Namespace) -> int:
    """Sign out."""
    with _session(chosen) as session:
        signing.sign_out(signing.backend(session), _door())
    return 0


def status(chosen: argparse.Namespace) -> int:
    """Print who is signed in; the code says whether anybody is who is needed."""
    with _session(chosen) as session:
        on = signing.backend(session)
        found = on.account()
        if chosen.json:
            _print({"backend": on.name, **asdict(found)})
        else:
            for label, text in {"backend": on.name, **words.facts(found, time.time())}.items():
                print(f"{label + ':':<9} {text}")
    return 0 if found.kind or not found.needed else 1


def models(chosen: argparse.Namespace) -> int:
    """Print the models."""
    with _session(chosen) as session:
        found = signing.backend(session).models()
        chosen_ones = session.settings
    if chosen.json:
        _print([asdict(model) for model in found])
    else:
        print(words.models(found, chosen_ones.model, chosen_ones.aliases))
    return 0


def usage(chosen: argparse.Namespace) -> int:
    """Print how much of the account's limits is used."""
    with _session(chosen) as session:
        found = signing.backend(session).quota()
    if chosen.json:
        _print(asdict(found))
    else:
        print(words.usage(found, time.time()))
    return 0


def token(chosen: argparse.Namespace) -> int:
    """Print a token that is good now; on a terminal only as JSON, which nobody asks for by mistake.

    Raises
    ------
    CodexMagicError
        There is none, or none that may be used, or it would stand on a terminal.
    """
    from codex_magic.auth import sources  # noqa: PLC0415 - loads what asks a host
    from codex_magic.backends.responses import backend  # noqa: PLC0415 - likewise

    if not chosen.json and sys.stdout.isatty():
        raise CodexMagicError(
            "a token is not shown on a terminal: whoever reads it there can use your account",
            hint="For a program, type: codex-magic auth token --json",
        )
    named = _settings(chosen)
    kinds = sources.KINDS if named.chatgpt else backend.OFFICIAL
    source = sources.find(named, os.environ, kinds=kinds)
    found = source.current()
    if found is None and source.passed_over() is not None:
        raise SetupError(backend.UNOFFICIAL, hint=backend.OPT_IN)
    for notice in source.notices:
        print(f"codex-magic: {notice}", file=sys.stderr)
    if found is None:
        hint = "Type: codex-magic auth login --backend responses"
        if not named.chatgpt:
            hint += " --api-key; for a ChatGPT sign-in, set CODEX_MAGIC_CHATGPT=1 first"
        raise CodexMagicError("there is no token: nobody is signed in", hint=hint)
    if chosen.json:
        _print(
            {
                "access_token": found.token,
                "expires_at": found.expires_at,
                "account_id": found.account_id or None,
            }
        )
    else:
        print(found.token)
    return 0


def _settings(chosen: argparse.Namespace) -> settings.Settings:
    given = {name: getattr(chosen, name) for name in ("backend", "account")}
    named = {name: value for name, value in given.items() if value is not None}
    # A tape has no account; this is about the one behind it.
    return replace(settings.changed(settings.from_environment(), named), tape=None)


@contextlib.contextmanager
def _session(chosen: argparse.Namespace) -> Iterator[Session]:
    session = Session(_settings(chosen))
    try:
        yield session
    finally:
        session.close()


def _door() -> signing.Door:
    return signing.Door(
        show=lambda said: print(said.text, flush=True),
        has_person=True,  # a program may read what is printed, and pass it on
        ask=_ask,
        again="codex-magic auth login",
        stop="press Ctrl-C",
    )


def _ask(prompt: str) -> str:
    """Read a key: from a person, or from whatever is piped in."""
    if not sys.stdin.isatty():
        return sys.stdin.readline()
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return ""


def _print(value: Any) -> None:
    print(json.dumps(value, indent=2))
