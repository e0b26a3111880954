"""Personal access tokens: good until they are taken back, and silent about whose they are."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from codex_magic.auth import hosts, web
from codex_magic.auth.credentials import Credential
from codex_magic.auth.document import PERSONAL
from codex_magic.errors import BackendError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

_OK: Final = 200
_REFUSALS: Final = (401, 403)


class Personal:
    """Whose personal access tokens are; each is asked about once."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._guard = threading.Lock()
        self._known: dict[str, Credential] = {}

    def credential(self, token: str, source: str) -> Credential:
        """Return the credential that `token` is.

        Raises
        ------
        SetupError
            It is none, or was taken back.
        BackendError
            Nobody could be asked whose it is.
        """
        with self._guard:
            if token not in self._known:
                self._known[token] = whose(token, self._environ)
            return replace(self._known[token], source=source)


def whose(token: str, environ: Mapping[str, str]) -> Credential:
    """Ask whose `token` is; raises as `Personal.credential` does."""
    if not token.startswith(PERSONAL):
        raise SetupError(
            "this access token is not a personal one, and only those are understood here",
            hint=f"Make one that begins with {PERSONAL} in ChatGPT's settings, or sign in",
        )
    where = hosts.hosts(environ).whoami
    reply = web.ask(web.Ask("GET", where, bearer=token), environ)
    if reply.status in _REFUSALS:
        raise SetupError("the access token is refused", hint="Make a new one in ChatGPT's settings")
    said = reply.json()
    if reply.status != _OK or said is None:
        raise BackendError(
            f"{hosts.shown(where)} does not say whose the access token is (HTTP {reply.status})",
            hint="Try again in a while",
        )
    return Credential(
        kind="accessToken",
        token=token,
        account_id=_text(said, "chatgpt_account_id", token),
        email=_text(said, "email", token),
        plan=_text(said, "chatgpt_plan_type", token),
        is_fedramp=said.get("chatgpt_account_is_fedramp") is True,
    )


def _text(said: Mapping[str, Any], name: str, token: str) -> str:
    found = said.get(name)
    is_sound = isinstance(found, str) and found.isascii() and found.isprintable()
    return str(found) if is_sound and token not in str(found) else ""
