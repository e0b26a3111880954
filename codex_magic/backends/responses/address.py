"""What is asked, and where, from the text of an address.

Pure. What a person or a setting gives is checked here once, so that nothing later has to wonder.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

_PORTS: Final = {"http": 80, "https": 443}
_PLAIN: Final = "%/:=&?~!$'()*+,;@-._"


class Address(NamedTuple):
    """A host, and what on it."""

    scheme: str
    host: str
    port: int
    path: str = ""
    query: str = ""

    @property
    def name(self) -> str:
        """The host, and its port where that is not the usual one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def target(self) -> str:
        """What the host is asked for."""
        path = self.path or "/"
        return f"{path}?{self.query}" if self.query else path

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read what is sent."""
        return self.scheme == "https" or is_loopback(self.host)

    def below(self, path: str, params: Mapping[str, str] | None = None) -> Address:
        """Return the address of `path` below this one; a query of ours stays."""
        query = "&".join(part for part in (self.query, urlencode(params or {})) if part)
        return self._replace(path=f"{self.path.rstrip('/')}/{path.lstrip('/')}", query=query)


class Request(NamedTuple):
    """What is asked of a host; the headers that show a credential are added later."""

    method: str
    address: Address
    headers: Mapping[str, str]
    body: bytes = b""


def parse(url: str) -> Address:
    """Return the address that `url` is.

    Raises
    ------
    SetupError
        It leads nowhere, or holds a password.
    """
    try:
        parts = urlsplit(url.strip())
        host = parts.hostname or ""
        if not host.isascii():
            host = host.encode("idna").decode()
        port = parts.port
    except ValueError:  # also of names that can be none
        raise _unusable() from None
    if parts.scheme not in _PORTS or not host or parts.username is not None:
        raise _unusable()
    return Address(
        parts.scheme,
        host,
        port if port is not None else _PORTS[parts.scheme],
        quote(parts.path, safe=_PLAIN),
        quote(parts.query, safe=_PLAIN),
    )


def is_loopback(host: str) -> bool:
    """Return whether `host` is this machine, by its name alone."""
    parts = host.split(".")
    is_numbers = len(parts) == 4 and all(part.isdecimal() for part in parts)  # noqa: PLR2004 - IPv4
    return host in ("localhost", "::1") or (is_numbers and parts[0] == "127")


def _unusable() -> SetupError:
    # It is not repeated: it may hold a password.
    return SetupError(
        "the address of the model's host cannot be used",
        hint=(
            "CODEX_MAGIC_BASE_URL must begin with https:// and name a host, "
            "without a person's name and password"
        ),
    )
