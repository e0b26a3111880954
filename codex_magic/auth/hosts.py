"""Where one signs in, and whom a credential may be shown to: addresses, nothing else.

The variables are Codex's own, so that whoever leads Codex to another issuer leads us there too.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

ISSUER: Final = "auth.openai.com"
CLIENT_ID: Final = "app_EMoamEEZ73f0CkXaXp7hrann"
OWNERS: Final = ("openai.com", "chatgpt.com")


@dataclass(frozen=True, slots=True)
class Hosts:
    """Where to ask for what.

    Parameters
    ----------
    issuer
        The root of device codes and of a browser's sign-in.
    token, revoke, whoami
        What renews a token, takes it back, and tells whose a personal one is.
    """

    issuer: str
    client_id: str
    token: str
    revoke: str
    whoami: str


def hosts(environ: Mapping[str, str]) -> Hosts:
    """Return where to ask, as `environ` changes it.

    Raises
    ------
    SetupError
        A variable leads to a host that tokens would reach unencrypted.
    """
    issuer = f"https://{ISSUER}"
    accounts = _named(environ, "CODEX_AUTHAPI_BASE_URL", f"{issuer}/api/accounts")
    return Hosts(
        issuer=_named(environ, "CODEX_APP_SERVER_LOGIN_ISSUER", issuer),
        client_id=environ.get("CODEX_APP_SERVER_LOGIN_CLIENT_ID") or CLIENT_ID,
        token=_named(environ, "CODEX_REFRESH_TOKEN_URL_OVERRIDE", f"{issuer}/oauth/token"),
        revoke=_named(environ, "CODEX_REVOKE_TOKEN_URL_OVERRIDE", f"{issuer}/oauth/revoke"),
        whoami=f"{accounts}/v1/user-auth-credential/whoami",
    )


def _named(environ: Mapping[str, str], name: str, default: str) -> str:
    if not (url := environ.get(name, "").rstrip("/")):
        return default
    if not is_safe(url):
        raise SetupError(
            f"{name} leads to an address that tokens must not be sent to",
            hint="Let it begin with https://, or name this machine",
        )
    return url


def is_safe(url: str) -> bool:
    """Return whether a secret may be sent to `url`: encrypted, or without leaving this machine."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises where it is no number
    except ValueError:
        return False
    if not parts.hostname or parts.username is not None:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and is_here(parts.hostname))


def is_here(host: str) -> bool:
    """Return whether `host` is this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_openai(url: str) -> bool:
    """Return whether `url` is one of OpenAI's, which may be shown OpenAI's credentials."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    host = (parts.hostname or "").rstrip(".")
    return parts.scheme == "https" and any(
        host == owner or host.endswith(f".{owner}") for owner in OWNERS
    )


def shown(url: str) -> str:
    """Return the host of `url`, for a sentence: the rest of an address may be secret."""
    try:
        return urlsplit(url).hostname or "the address"
    except ValueError:
        return "the address"
