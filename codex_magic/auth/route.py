"""How a request leaves this machine: through which proxy, and whom it believes.

Both follow the variables that Codex follows, read from the environment that is given and not from
the process's own.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from codex_magic.auth import hosts
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping


def trusted(url: str, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Return whom to believe that they are the host of `url`.

    Raises
    ------
    SetupError
        The file with further certificates cannot be used.
    """
    import ssl  # noqa: PLC0415 - it comes with httpx2

    import httpx2  # noqa: PLC0415 - 100 ms, at the first request

    if not url.startswith("https:"):
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # unused, and trusts nobody
    context = httpx2.create_ssl_context(trust_env=False)
    for name in ("CODEX_CA_CERTIFICATE", "SSL_CERT_FILE"):
        if not (path := environ.get(name)):
            continue
        try:
            context.load_verify_locations(cafile=path)
        except (OSError, ssl.SSLError) as error:
            raise SetupError(
                f"the certificates in {path} cannot be used: {error.strerror or error}",
                hint=f"Correct or unset {name}",
            ) from None
        break
    return context


def proxy(url: str, environ: Mapping[str, str]) -> str | None:
    """Return the proxy through which `environ` sends requests to `url`, if it does."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if hosts.is_here(host) or _is_direct(host, environ.get("no_proxy") or environ.get("NO_PROXY")):
        return None
    names = (f"{parts.scheme}_proxy", "all_proxy")
    found = (environ.get(name) or environ.get(name.upper()) for name in names)
    chosen = next(filter(None, found), None)
    return chosen if chosen is None or "://" in chosen else f"http://{chosen}"


def _is_direct(host: str, skipped: str | None) -> bool:
    for entry in (skipped or "").split(","):
        name = entry.strip().lower().removeprefix("*").removeprefix(".")
        if entry.strip() == "*" or (name and (host == name or host.endswith(f".{name}"))):
            return True
        try:
            if ipaddress.ip_address(host) in ipaddress.ip_network(name, strict=False):
                return True
        except ValueError:
            continue  # one of them is a name
    return False
