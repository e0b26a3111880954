"""Where a workspace's requests go: some are kept in a region, and ChatGPT tells which.

Pure. Personal plans have no region, and are not asked about.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from codex_magic.auth import hosts

PERSONAL: Final = frozenset({"", "free", "go", "plus", "pro", "prolite", "promax"})
FREE: Final = "NO_CONSTRAINT"
OVERRIDE: Final = "x-openai-account-routing-override"


@dataclass(frozen=True, slots=True)
class Route:
    """Where to ask: another host than usual, or empty; and what to say there."""

    host: str = ""
    override: str = ""

    def url(self, usual: str) -> str:
        """Return the usual address at this host."""
        if not self.host:
            return usual
        return urlsplit(usual)._replace(scheme="https", netloc=self.host).geturl()

    @property
    def headers(self) -> dict[str, str]:
        """What each request says of it."""
        return {OVERRIDE: self.override} if self.override else {}


def read(answer: Any, account_id: str) -> Route:
    """Return the route of an account, of the answer to ``wham/accounts/check``.

    An account that it names twice, or a host that is not reached by https, changes nothing.
    """
    rows = answer.get("accounts") if isinstance(answer, dict) else None
    rows = [row for row in rows or () if isinstance(row, dict) and row.get("id") == account_id]
    if len(rows) != 1:
        return Route()
    origin, override = (
        str(rows[0].get(name) or FREE)
        for name in ("workspace_backend_origin", "account_routing_override")
    )
    parts = urlsplit(origin)
    host = parts.netloc if parts.scheme == "https" and hosts.is_openai(origin) else ""
    return Route(
        host, "" if override == FREE or not override.replace("_", "").isalnum() else override
    )
