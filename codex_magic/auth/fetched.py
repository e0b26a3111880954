"""A credential that somebody else keeps and renews: fetched, used while it is good, fetched again.

It is never renewed here. That is its owner's to do, and two who renew one sign-in end it for both.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

from codex_magic.auth import given
from codex_magic.auth.document import EARLY_S
from codex_magic.auth.personal import Personal
from codex_magic.errors import CodexMagicError, SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from codex_magic.auth.credentials import Credential, Kind
    from codex_magic.auth.notices import Notices

LEAST_S: Final = 60.0
"""Seconds a credential is used, however old this machine's clock says it is; and seconds in which
whoever gave none is not asked again, while the one before is good."""

SKEW_S: Final = 5 * 60.0
"""Seconds by which this machine's clock may be wrong."""

MOST_S: Final = 30 * 60.0
"""Seconds after which one that does not say when it expires is fetched again."""


class FetchedSource:
    """What `fetch` gives.

    Parameters
    ----------
    fetch
        Returns the JSON, or raises; never called by two OS threads at once.
    where
        Where it comes from, in words that follow "the credential".
    kinds
        Which credentials may be used; one of another kind counts as none.
    """

    is_elsewhere = True

    def __init__(
        self,
        fetch: Callable[[], bytes],
        where: str,
        environ: Mapping[str, str],
        notices: Notices,
        kinds: frozenset[Kind],
    ) -> None:
        self._fetch = fetch
        self._where = where
        self._notices = notices
        self._kinds = kinds
        self._personal = Personal(environ)
        self._guard = threading.Lock()
        self._held: Credential | None = None
        self._came_at = 0.0
        self._quiet_until = 0.0

    def peek(self, kinds: frozenset[Kind]) -> Kind | None:
        """Return the kind of what was fetched last, if that is one of these."""
        held = self._held
        return held.kind if held is not None and held.kind in kinds else None

    def current(self) -> Credential | None:
        """Return the credential that was fetched last, or a new one where that is too old."""
        with self._guard:
            found = self._held
            if found is None or self._is_due(found):
                found = self._fetched_or(found)
        if found.kind in self._kinds:
            return found
        self._notices.say(
            f"the credential {self._where} is a ChatGPT sign-in, which is not used here unless"
            " CODEX_MAGIC_CHATGPT is 1"
        )
        return None

    def _fetched_or(self, held: Credential | None) -> Credential:
        """Return a new credential, or `held` while that is good and no other one is to be had."""
        lives = held is not None and held.expires_at is not None and held.expires_at > time.time()
        if held is not None and lives and time.monotonic() < self._quiet_until:
            return held
        try:
            return self._fetched()
        except CodexMagicError:
            self._quiet_until = time.monotonic() + LEAST_S
            if held is None or not lives:
                raise
            return held

    def renewed(self, refused: Credential) -> Credential:
        """Return what is fetched now, if it is another one."""
        with self._guard:
            if self._held is not None and self._held.token != refused.token:
                return self._held
            found = self._fetched()
        if found.token == refused.token:
            raise SetupError(
                f"the credential {self._where} is refused, and no other one comes from there",
                hint="Whoever keeps it has to sign in again, or to renew it",
            )
        return found

    def _is_due(self, held: Credential) -> bool:
        age_s = time.monotonic() - self._came_at
        if held.expires_at is None:
            return age_s > MOST_S
        return age_s > LEAST_S and held.expires_at <= time.time() + EARLY_S

    def _fetched(self) -> Credential:
        found = given.read(self._fetch(), time.time(), self._where)
        if found.expires_at is not None and found.expires_at + SKEW_S < time.time():
            raise SetupError(
                f"the credential {self._where} is over: it expired some time ago",
                hint="Whoever keeps it has to sign in again, or to renew it",
            )
        if found.kind == "accessToken":
            found = self._personal.credential(found.token, found.source)
        self._held, self._came_at = found, time.monotonic()
        return found
