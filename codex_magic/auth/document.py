"""A sign-in as it is stored: the JSON of Codex's ``auth.json``, in and out.

Pure: no file, no clock, no network. Fields that nobody here knows are kept where a document is
rewritten, because other programs read it too.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from codex_magic.auth import claims
from codex_magic.auth.credentials import Credential

if TYPE_CHECKING:
    from collections.abc import Mapping

Json = dict[str, Any]
Mode = Literal["chatgpt", "apiKey", "accessToken", "other", ""]

EARLY_S: Final = 5 * 60
"""A token is renewed that long before it expires: a turn may take as long."""

OLDEST_S: Final = 8 * 24 * 3600
"""A token that does not say when it expires is renewed after that long."""

PERSONAL: Final = "at-"
"""How personal access tokens begin."""

_MODES: Final[Mapping[str, Mode]] = {
    "apikey": "apiKey",
    "chatgpt": "chatgpt",
    "chatgptAuthTokens": "chatgpt",
    "personalAccessToken": "accessToken",
}
_EXTERNAL: Final = "chatgptAuthTokens"


def parse(raw: bytes) -> Json:
    """Return the document that `raw` holds.

    Raises
    ------
    ValueError
        It holds none.
    """
    try:
        found = json.loads(raw)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - what is wrong is the text
    return found


def written(document: Json) -> bytes:
    """Return `document` as it is stored."""
    return json.dumps(document, indent=2).encode() + b"\n"


def mode(document: Json) -> Mode:
    """Return what kind of sign-in this is; empty for none, ``other`` for one that is not ours."""
    if isinstance(named := document.get("auth_mode"), str) and named:
        found = _MODES.get(named, "other")
        return found if found == "other" or _secret(document, found) else ""
    if _text(document, "personal_access_token"):
        return "accessToken"
    if document.get("bedrock_api_key"):
        return "other"
    if _text(document, "OPENAI_API_KEY"):
        return "apiKey"
    if _token(document, "access_token"):
        return "chatgpt"
    return "other" if document.get("agent_identity") else ""


def credential(document: Json, source: str) -> Credential | None:
    """Return the credential in `document`; None where it holds none that is of use here.

    That of a personal access token says nothing of its account: its host has to be asked.
    """
    match mode(document):
        case "apiKey" | "accessToken" as kind:
            return Credential(kind=kind, token=_secret(document, kind), source=source)
        case "chatgpt":
            said = claims.of(_token(document, "id_token"), _token(document, "access_token"))
            return Credential(
                kind="chatgpt",
                token=_token(document, "access_token"),
                account_id=_token(document, "account_id") or said.account_id,
                email=said.email,
                plan=said.plan,
                expires_at=said.expires_at,
                source=source,
                residency=said.residency,
                is_fedramp=said.is_fedramp,
            )
    return None


def access_token(document: Json) -> str:
    """Return what is shown to the host; empty where there is no such token."""
    return _token(document, "access_token")


def refresh_token(document: Json) -> str:
    """Return what renews this sign-in; empty where it is another program's to renew."""
    if mode(document) != "chatgpt" or document.get("auth_mode") == _EXTERNAL:
        return ""
    return _token(document, "refresh_token")


def is_due(document: Json, now: float) -> bool:
    """Return whether the token must be renewed before it is used."""
    said = claims.read(_token(document, "access_token"))
    renewed_at = last_refresh(document)
    if said.expires_at is None:
        return renewed_at is not None and now - renewed_at > OLDEST_S
    if said.expires_at > now + EARLY_S:
        return False
    if renewed_at is None or renewed_at > now:
        return True
    if said.issued_at is None:
        # It came just now and was too old at once: another one would be no better.
        return now - renewed_at > EARLY_S
    # It was renewed later than it was issued: this machine's clock is ahead of its issuer's.
    # What it says of the end is then counted from when it came.
    return renewed_at + (said.expires_at - said.issued_at) <= now + EARLY_S


def last_refresh(document: Json) -> float | None:
    """Return when the tokens came, in seconds since the epoch."""
    return moment(document.get("last_refresh"))


def moment(value: object) -> float | None:
    """Return the moment that `value` names, as a date or a number, in seconds since the epoch."""
    if isinstance(value, int | float):
        if (found := claims.number(value)) is None:
            return None
        # Milliseconds, where seconds would be thousands of years from now.
        return found / 1000 if abs(found) > _MILLISECONDS else found
    if not isinstance(value, str):
        return None
    try:
        date = datetime.fromisoformat(value)
    except ValueError:
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


_MILLISECONDS: Final = 1e11


def renewed(document: Json, answer: Mapping[str, Any], now: float) -> Json:
    """Return `document` with the tokens of `answer`; those that it does not give stay."""
    given = {name: answer[name] for name in _TOKENS if _text(answer, name)}
    tokens = {**_tokens(document), **given}
    return {**document, "tokens": tokens, "last_refresh": stamp(now)}


_TOKENS: Final = ("id_token", "access_token", "refresh_token")


def signed_in(answer: Mapping[str, Any], now: float) -> Json:
    """Return the document of a new sign-in.

    Raises
    ------
    ValueError
        The answer has no access token.
    """
    if not _text(answer, "access_token"):
        raise ValueError("it gave no access token")
    tokens: Json = {name: _text(answer, name) for name in _TOKENS}
    said = claims.of(tokens["id_token"], tokens["access_token"])
    tokens["account_id"] = said.account_id or None
    return {
        "auth_mode": "chatgpt",
        "OPENAI_API_KEY": None,
        "tokens": tokens,
        "last_refresh": stamp(now),
    }


def with_key(key: str) -> Json:
    """Return the document that keeps an API key, or a personal access token."""
    if key.startswith(PERSONAL):
        return {"OPENAI_API_KEY": None, "personal_access_token": key}
    return {"auth_mode": "apikey", "OPENAI_API_KEY": key}


def stamp(now: float) -> str:
    """Return a moment as these documents write it."""
    return datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")


def _secret(document: Json, kind: Mode) -> str:
    match kind:
        case "apiKey":
            return _text(document, "OPENAI_API_KEY")
        case "accessToken":
            return _text(document, "personal_access_token")
    return _token(document, "access_token")


def _tokens(document: Json) -> Json:
    found = document.get("tokens")
    return found if isinstance(found, dict) else {}


def _token(document: Json, name: str) -> str:
    return _text(_tokens(document), name)


def _text(document: Mapping[str, Any], name: str) -> str:
    found = document.get(name)
    # It goes into a header, which takes nothing else.
    return found if isinstance(found, str) and found.isascii() and found.isprintable() else ""
