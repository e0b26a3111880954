"""What the app-server says of accounts, models and limits: pure, like `wire`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from codex_magic.backends.appserver.wire import sentence
from codex_magic.backends.base import Account, Model, Quota, SignInWay, Window

Json = Mapping[str, Any]

COMPLETED: Final = "account/login/completed"
"""The notification that a sign-in has ended, well or not."""

WAYS: Final[Mapping[SignInWay, str]] = {"device": "chatgptDeviceCode", "browser": "chatgpt"}

# --- requests we send -------------------------------------------------------------------------


def login(way: SignInWay) -> Json:
    """Return the parameters of ``account/login/start`` for a person who signs in."""
    return {"type": WAYS[way]}


def login_with_key(key: str) -> Json:
    """Return the same for an API key."""
    return {"type": "apiKey", "apiKey": key}


def login_cancel(login_id: str) -> Json:
    """Return the parameters of ``account/login/cancel``."""
    return {"loginId": login_id}


def model_list(cursor: str | None) -> Json:
    """Return the parameters of ``model/list``: for the page at `cursor`, or the first."""
    return {"includeHidden": True, "limit": 100, **({"cursor": cursor} if cursor else {})}


# --- answers we read --------------------------------------------------------------------------


class Begun(msgspec.Struct, frozen=True):
    """A sign-in as the server began it; `code` is empty where a browser does without."""

    login_id: str
    url: str
    code: str = ""


def begun(answer: Json) -> Begun:
    """Read the answer to ``account/login/start``."""
    if answer.get("type") == WAYS["device"]:
        return Begun(answer["loginId"], answer["verificationUrl"], answer["userCode"])
    return Begun(answer["loginId"], answer["authUrl"])


def account(answer: Json) -> Account:
    """Read the answer to ``account/read``."""
    found = answer.get("account") or {}
    return Account(
        kind=found.get("type", ""),
        detail=found.get("email") or "",
        needed=bool(answer.get("requiresOpenaiAuth")),
        plan=found.get("planType") or "",
    )


_REFUSED: Final = re.compile(r"device auth failed with status 4\d\d")
_GIVEN_UP: Final = ("Login was not completed", "Login cancelled")


def why_not(error: str | None) -> str:
    """Return why a sign-in came to nothing, as a sentence."""
    text = sentence((error or "").removeprefix("Login server error: ")).rstrip(".")
    if _REFUSED.match(text):
        return "the sign-in was refused, or its code was too old"
    if not text or text in _GIVEN_UP:
        return "the sign-in was given up; another one may have taken its place"
    return f"the sign-in failed: {text}"


def model(row: Json, contexts: Mapping[str, int]) -> Model:
    """Read a row of ``model/list``; what `contexts` say is not among it."""
    efforts = row.get("supportedReasoningEfforts") or ()
    return Model(
        id=row["id"],
        name=row.get("displayName") or "",
        description=row.get("description") or "",
        efforts=tuple(effort["reasoningEffort"] for effort in efforts),
        default_effort=row.get("defaultReasoningEffort") or "",
        context_tokens=contexts.get(row.get("model") or row["id"], 0),
        sees_images="image" in (row.get("inputModalities") or ("text", "image")),
        hidden=bool(row.get("hidden")),
        is_default=bool(row.get("isDefault")),
    )


def contexts(catalogue: Json) -> dict[str, int]:
    """Return how many tokens each model reads, of what ``codex debug models`` prints."""
    rows = catalogue.get("models") or ()
    return {row["slug"]: int(row.get("context_window") or 0) for row in rows}


def quota(answer: Json) -> Quota:
    """Read the answer to ``account/rateLimits/read``."""
    main = answer.get("rateLimits") or {}
    others = dict(answer.get("rateLimitsByLimitId") or {})
    others.pop(main.get("limitId"), None)
    windows = [*_windows(main)]
    for limit_id, limit in others.items():
        windows += _windows(limit, limit.get("limitName") or limit_id)
    return Quota(
        plan=main.get("planType") or "",
        windows=tuple(windows),
        credits=_credits(main.get("credits") or {}),
        reached=_reached(main),
    )


def _windows(limit: Json, name: str = "") -> Iterator[Window]:
    for key in ("primary", "secondary"):
        if found := limit.get(key):
            minutes = found.get("windowDurationMins") or 0
            yield Window(float(found["usedPercent"]), 60 * minutes, found.get("resetsAt"), name)
    if spending := limit.get("individualLimit"):
        used = 100.0 - spending["remainingPercent"]
        yield Window(used, 0, spending.get("resetsAt"), name or "your spending limit")


def _credits(found: Json) -> str:
    if found.get("unlimited"):
        return "unlimited"
    if found.get("hasCredits"):
        return str(found.get("balance") or "some")
    return "none" if found else ""


_REACHED: Final = {
    "rate_limit_reached": "the limit is reached",
    "workspace_owner_credits_depleted": "the workspace has used up its credits",
    "workspace_member_credits_depleted": "you have used up your credits of the workspace",
    "workspace_owner_usage_limit_reached": "the workspace has reached its limit",
    "workspace_member_usage_limit_reached": "you have reached your limit in the workspace",
}


def _reached(limit: Json) -> str:
    word = limit.get("rateLimitReachedType")
    if word:
        return _REACHED.get(word, str(word).replace("_", " "))
    return "the spending limit is reached" if limit.get("spendControlReached") else ""
