"""A credential that a host gives over HTTPS to whoever has its key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codex_magic.auth import hosts, web
from codex_magic.errors import BackendError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

_OK: Final = 200
_REDIRECTS: Final = range(300, 400)
_REFUSALS: Final = (401, 403)
_MISSING: Final = 404


def fetch(url: str, key: str | None, environ: Mapping[str, str]) -> bytes:
    """Return what `url` answers.

    Raises
    ------
    SetupError
        It may not be asked, refuses, or leads elsewhere.
    BackendError
        It does not answer.
    """
    reply = web.ask(web.Ask("GET", url, bearer=key or ""), environ)
    host = hosts.shown(url)
    if reply.status == _OK:
        return reply.content
    if reply.status in _REDIRECTS:
        raise SetupError(
            f"{host} leads to another address, and a key is not carried there",
            hint="Set CODEX_MAGIC_TOKEN_URL to the address that answers",
        )
    if reply.status in _REFUSALS:
        raise SetupError(
            f"{host} gives no credential for this key (HTTP {reply.status})",
            hint="Correct CODEX_MAGIC_TOKEN_KEY",
        )
    if reply.status == _MISSING:
        raise SetupError(
            f"{host} has no credential at this address", hint="Correct CODEX_MAGIC_TOKEN_URL"
        )
    raise BackendError(
        f"{host} gives no credential (HTTP {reply.status})", hint="Try again in a while"
    )
