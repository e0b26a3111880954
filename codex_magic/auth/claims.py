"""What a JSON web token says about whose it is: read, never checked.

Checking the signature is for the host that gets the token. A token that cannot be read says
nothing; that is no error, because some are not meant to be read.
"""

from __future__ import annotations

import base64
import json
import math
from dataclasses import dataclass
from typing import Any, Final

_HOST: Final = "api.openai.com"
ACCOUNT: Final = f"https://{_HOST}/auth"
PROFILE: Final = f"https://{_HOST}/profile"
LONGEST: Final = 64 * 1024
"""Characters of a token; real ones have two thousand."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says; what it does not say is empty or None.

    Parameters
    ----------
    issued_at, expires_at
        In seconds since the epoch, by the clock of whoever issued it.
    """

    account_id: str = ""
    user_id: str = ""
    email: str = ""
    plan: str = ""
    issued_at: float | None = None
    expires_at: float | None = None
    residency: str = ""
    is_fedramp: bool = False


def read(token: str) -> Claims:
    """Return what `token` says."""
    said = _payload(token)
    account, profile = _object(said, ACCOUNT), _object(said, PROFILE)
    return Claims(
        account_id=(
            _text(account, "chatgpt_account_id")
            or _text(said, "chatgpt_account_id")
            or _first_organization(account, said)
        ),
        user_id=_text(account, "chatgpt_user_id") or _text(account, "user_id"),
        email=_text(said, "email") or _text(profile, "email"),
        plan=_text(account, "chatgpt_plan_type"),
        issued_at=number(said.get("iat")),
        expires_at=number(said.get("exp")),
        residency=(
            _text(account, "chatgpt_data_residency") or _text(account, "chatgpt_compute_residency")
        ),
        is_fedramp=account.get("chatgpt_account_is_fedramp") is True,
    )


def of(id_token: str, access_token: str) -> Claims:
    """Return what both tokens of a sign-in say: who by the first, how long by the second."""
    who, access = read(id_token), read(access_token)
    return Claims(
        account_id=who.account_id or access.account_id,
        user_id=who.user_id or access.user_id,
        email=who.email or access.email,
        plan=who.plan or access.plan,
        issued_at=access.issued_at,
        expires_at=access.expires_at,
        residency=access.residency or who.residency,
        is_fedramp=who.is_fedramp or access.is_fedramp,
    )


def _payload(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(parts) != len(("header", "payload", "signature")) or len(token) > LONGEST:
        return {}
    try:
        said = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _object(said: dict[str, Any], name: str) -> dict[str, Any]:
    found = said.get(name)
    return found if isinstance(found, dict) else {}


def _text(said: dict[str, Any], name: str) -> str:
    found = said.get(name)
    # These words are shown, and some go into headers.
    return found if isinstance(found, str) and found.isascii() and found.isprintable() else ""


def _first_organization(*places: dict[str, Any]) -> str:
    for place in places:
        match place.get("organizations"):
            case [dict() as first, *_]:
                return _text(first, "id")
    return ""


def number(value: object) -> float | None:
    """Return the finite number that a JSON value is, or None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if math.isfinite(found) else None
