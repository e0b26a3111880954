"""A credential that another program or machine gives: what its words mean.

Two forms are understood: the JSON of Codex's ``auth.json``, and a flat object with a token and when
it expires, as helper programs print it. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codex_magic.auth import claims, document
from codex_magic.auth.credentials import Credential
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKENS: Final = ("access_token", "accessToken", "token")
_MOMENTS: Final = ("expires_at", "expiresAt", "expires", "expiry", "expiration")
_ACCOUNTS: Final = ("account_id", "accountId", "chatgpt_account_id")


def read(raw: bytes, now: float, where: str) -> Credential:
    """Return the credential that `raw` holds; `where` it comes from, in words.

    Raises
    ------
    SetupError
        It holds none. What it holds instead is not told: it may be secret.
    """
    try:
        found = document.parse(raw)
    except ValueError:
        kind = "a web page" if raw.lstrip()[:1] == b"<" else "something that is not JSON"
        raise _useless(where, kind) from None
    credential = document.credential(found, where) or _flat(found, now, where)
    if credential is None:
        raise _useless(where, "JSON without a token")
    if credential.kind == "chatgpt" and not credential.account_id:
        raise _useless(where, "a token that does not say of which account it is")
    return credential


def _useless(where: str, kind: str) -> SetupError:
    return SetupError(
        f"the credential {where} is of no use: it is {kind}",
        hint="What is wanted is the content of an auth.json,"
        ' or {"access_token": …, "account_id": …, "expires_at": …}',
    )


def _flat(found: Mapping[str, Any], now: float, where: str) -> Credential | None:
    token = _first(found, _TOKENS)
    if not token:
        return None
    if token.startswith("sk-"):
        return Credential(kind="apiKey", token=token, source=where)
    if token.startswith(document.PERSONAL):
        return Credential(kind="accessToken", token=token, source=where)
    said = claims.of(_first(found, ("id_token", "idToken")), token)
    return Credential(
        kind="chatgpt",
        token=token,
        account_id=_first(found, _ACCOUNTS) or said.account_id,
        email=said.email or _first(found, ("email",)),
        plan=said.plan or _first(found, ("plan", "plan_type")),
        expires_at=_end(found, now) or said.expires_at,
        source=where,
        residency=said.residency,
        is_fedramp=said.is_fedramp,
    )


def _end(found: Mapping[str, Any], now: float) -> float | None:
    if (lifetime_s := claims.number(found.get("expires_in"))) is not None:
        return now + lifetime_s
    moments = (document.moment(found.get(name)) for name in _MOMENTS)
    return next((moment for moment in moments if moment is not None), None)


def _first(found: Mapping[str, Any], names: tuple[str, ...]) -> str:
    for name in names:
        value = found.get(name)
        if isinstance(value, str) and value and value.isascii() and value.isprintable():
            return value
    return ""
