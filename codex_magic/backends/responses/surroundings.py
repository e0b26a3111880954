"""What the environment says about the way to a host: proxies and certificates.

It takes the environment as a mapping, so that a kernel's, a cell's and a test's are alike. It opens
no connection.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from codex_magic.backends.responses.address import is_loopback
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    import ipaddress
    import ssl
    from collections.abc import Mapping

PROXY_SCHEMES: Final = ("http", "https", "socks5", "socks5h")


def proxy(scheme: str, host: str, port: int, environ: Mapping[str, str]) -> str | None:
    """Return the address of the proxy on the way to a host, or None.

    Raises
    ------
    SetupError
        The variable that names one cannot be understood.
    """
    if is_loopback(host) or _excepted(host, port, _variable(environ, "no_proxy")[1]):
        return None
    name, value = _variable(environ, f"{scheme}_proxy")
    if not value:
        name, value = _variable(environ, "all_proxy")
    if not value:
        return None
    address = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(address)
        is_good = parts.scheme in PROXY_SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        # The value may hold a password.
        raise SetupError(
            f"{name} is not the address of a proxy",
            hint="It must name a host and its port, HOST:PORT; correct it where Jupyter is started",
        )
    return address


def trust(environ: Mapping[str, str]) -> ssl.SSLContext | None:
    """Return whose certificates are trusted, or None where the environment says nothing of it.

    Codex's own variable adds to what the system trusts; those of OpenSSL stand in its place.

    Raises
    ------
    SetupError
        The file that a variable names cannot be used.
    """
    import ssl  # noqa: PLC0415 - only a host with https needs it

    for name in ("CODEX_CA_CERTIFICATE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        if not (value := environ.get(name)):
            continue
        try:
            if name == "SSL_CERT_DIR":
                return ssl.create_default_context(capath=value)
            if name == "SSL_CERT_FILE":
                return ssl.create_default_context(cafile=value)
            context = ssl.create_default_context()
            context.load_verify_locations(value)
        except (OSError, ValueError):  # ssl's own errors are OSErrors
            raise SetupError(
                f"{name} names {Path(value)}, which holds no certificates that can be read",
                hint="Correct the variable where Jupyter is started",
            ) from None
        return context
    return None


def _variable(environ: Mapping[str, str], name: str) -> tuple[str, str]:
    """Return a variable and its value; the small name goes first, as for other programs."""
    for spelling in (name, name.upper()):
        if value := environ.get(spelling, "").strip():
            return spelling, value
    return name, ""


def _excepted(host: str, port: int, words: str) -> bool:
    return any(_matches(host, port, word.lower()) for word in words.replace(",", " ").split())


def _matches(host: str, port: int, word: str) -> bool:
    if word == "*":
        return True
    address = _network(host)
    if address is not None:
        network = _network(word)
        if network is not None and network.version == address.version:
            return address.subnet_of(network)  # type: ignore[arg-type] # of the same version
    name, _, number = word.partition(":")
    if number.isdecimal() and int(number) != port:
        return False
    name = name.removeprefix("*").lstrip(".")
    return bool(name) and (host == name or host.endswith(f".{name}"))


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    import ipaddress  # noqa: PLC0415 - few addresses are numbers

    try:
        return ipaddress.ip_network(text.strip("[]"), strict=False)
    except ValueError:
        return None
