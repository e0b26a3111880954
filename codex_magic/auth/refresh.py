"""Renewing a ChatGPT token: one request, and which refusals are for good.

It knows no file: who keeps the answer is `stored`'s business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codex_magic.auth import hosts, web
from codex_magic.errors import BackendError, CodexMagicError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

REUSED: Final = "refresh_token_reused"
_REASONS: Final[Mapping[str, str]] = {
    "refresh_token_expired": "it has not been used for too long",
    REUSED: "another program has renewed it meanwhile and kept the result to itself",
    "refresh_token_invalidated": "it was taken back",
}
_OK: Final = 200
_UNAUTHORIZED: Final = 401


class RefusedError(SetupError):
    """A sign-in is over: no further request will renew it."""

    def __init__(self, code: str, again: str) -> None:
        reason = _REASONS.get(code, "the host does not know it")
        super().__init__(f"the sign-in is over: {reason}", hint=f"Sign in again: {again}")
        self.code = code


class NotNowError(BackendError):
    """A token could not be renewed this time."""


def refresh(token: str, environ: Mapping[str, str], again: str) -> dict[str, Any]:
    """Return what the issuer gives for a refresh token.

    Parameters
    ----------
    again
        What a person does to sign in anew.

    Raises
    ------
    RefusedError
        It gives nothing for it, now and later.
    NotNowError
        It gives nothing now.
    """
    try:
        where = hosts.hosts(environ)
        body = {"client_id": where.client_id, "grant_type": "refresh_token", "refresh_token": token}
        reply = web.ask(web.Ask("POST", where.token, json=body), environ)
    except CodexMagicError as error:  # also of a proxy or a certificate that cannot be used
        raise NotNowError(
            f"the sign-in could not be renewed: {error.message}", hint=error.hint
        ) from None
    answer = reply.json()
    if reply.status == _OK and answer is not None:
        return answer
    code = reply.code()
    if code in _REASONS or reply.status == _UNAUTHORIZED:
        raise RefusedError(code, again)
    what = "something else than JSON" if reply.status == _OK else f"HTTP {reply.status} {code}"
    raise NotNowError(
        f"the sign-in could not be renewed: {hosts.shown(where.token)} answered {what.strip()}",
        hint=f"Try again in a while; if it stays, sign in again: {again}",
    )
