"""What a model's host says when it does not answer, as one kind of error.

Pure: a status or an event in, a `Failure` out. It says whether another try may help and when; who
tries again, and how often, is decided elsewhere.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from codex_magic.backends.hints import AGAIN, HINTS
from codex_magic.backends.responses import said
from codex_magic.backends.responses.retry import LONGEST_ASKED_S
from codex_magic.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from codex_magic.backends.responses.said import Said

Json = dict[str, Any]


class Failure(BackendError):  # noqa: N818 - its kind says what it is
    """A request that a model's host did not answer as it should.

    Parameters
    ----------
    message
        One sentence without a closing stop; no token and no query of an address is in it.
    kind
        A word of Codex's, one of those that `codex_magic.backends.hints` knows.
    status
        The HTTP status, where one came.
    retries
        Whether the same request may well succeed later.
    after_s
        How long to wait before it, where the host says so.
    """

    def __init__(
        self,
        message: str,
        *,
        kind: str,
        status: int | None = None,
        retries: bool = False,
        after_s: float | None = None,
    ) -> None:
        super().__init__(message, hint=HINTS.get(kind, AGAIN))
        self.kind = kind
        self.status = status
        self.retries = retries
        self.after_s = after_s


class AbortedError(BackendError):
    """The request was given up on this side."""

    def __init__(self) -> None:
        super().__init__("the request was given up")


_Verdict = tuple[str, bool]

CODES: Final[Mapping[str, _Verdict]] = {
    "usage_limit_reached": ("usageLimitExceeded", False),
    "usage_not_included": ("usageNotIncluded", False),
    "insufficient_quota": ("insufficientQuota", False),
    "billing_hard_limit_reached": ("insufficientQuota", False),
    "rate_limit_exceeded": ("rateLimitExceeded", True),
    "context_length_exceeded": ("contextWindowExceeded", False),
    "exceed_context_size_error": ("contextWindowExceeded", False),
    "server_is_overloaded": ("serverOverloaded", False),
    "slow_down": ("serverOverloaded", False),
    "invalid_prompt": ("badRequest", False),
    "cyber_policy": ("cyberPolicy", False),
    "cyber_policy_violation": ("cyberPolicy", False),
    "model_not_found": ("badRequest", False),
    "invalid_api_key": ("unauthorized", False),
    "token_expired": ("unauthorized", False),
    "token_invalidated": ("unauthorized", False),
    "token_revoked": ("unauthorized", False),
}
"""Words that say all, whatever the status."""

TYPES: Final[Mapping[str, _Verdict]] = {
    "invalid_request_error": ("badRequest", False),
    "authentication_error": ("unauthorized", False),
    "permission_error": ("forbidden", False),
    "rate_limit_error": ("rateLimitExceeded", True),
}
"""Words that say something where there is no status."""

STATUSES: Final[Mapping[int, _Verdict]] = {
    401: ("unauthorized", False),
    402: ("insufficientQuota", False),
    403: ("forbidden", False),
    404: ("notFound", False),
    405: ("notFound", False),
    407: ("proxy", False),
    408: ("connectionLost", True),
    409: ("internalServerError", True),
    425: ("internalServerError", True),
    429: ("rateLimitExceeded", True),
    501: ("notFound", False),
    503: ("serverOverloaded", True),
    529: ("serverOverloaded", True),
}

REASONS: Final[Mapping[str, str]] = {
    "max_output_tokens": "maxOutputTokens",
    "content_filter": "contentFilter",
}
"""Why an answer is incomplete."""

SENTENCES: Final[Mapping[str, str]] = {
    "badRequest": "the model's host refused the request",
    "badStream": "the model's host does not answer as the Responses API does",
    "connectionLost": "the model's host gave up waiting",
    "contentFilter": "the host's content filter stopped the answer",
    "contextWindowExceeded": "the thread has become longer than the model can read",
    "cyberPolicy": "the model's host declined this under its policy for security work",
    "forbidden": "the model's host refuses access",
    "incomplete": "the model's answer is incomplete",
    "insufficientQuota": "the account's credit or budget is used up",
    "internalServerError": "the model's host failed",
    "keyMissing": "the model's host wants a key, and none is named for it",
    "maxOutputTokens": "the answer reached the most that the model may write at once",
    "notFound": "the model's host has nothing at this address",
    "proxy": "the proxy on the way to the model's host wants a sign-in",
    "rateLimitExceeded": "the model's host gets more requests from this account than it allows",
    "redirected": "the model's host sends the request elsewhere",
    "serverOverloaded": "the model's host is overloaded",
    "unauthorized": "the model's host does not accept the sign-in",
    "usageNotIncluded": "this account's plan does not include Codex",
}

_SUCCESS: Final = range(200, 300)
_ELSEWHERE: Final = range(300, 400)
_THEIRS: Final = range(500, 600)


def of_status(  # noqa: PLR0913 - all but three by their names
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    now: float | None = None,
    secrets: Iterable[str] = (),
    has_key: bool = True,
) -> Failure:
    """Return what an answer with `status` means; of 2xx, that it is not the one asked for.

    Parameters
    ----------
    body
        As much of it as there is, its encoding taken off.
    now
        In seconds since the epoch; by default what the clock says.
    secrets
        What the message must not repeat.
    has_key
        Whether a credential was shown: without one there is no sign-in to renew.
    """
    found = said.of_body({name.lower(): value for name, value in headers.items()}, body)
    now = time.time() if now is None else now
    kind, retries = _verdict(found, status)
    if kind == "unauthorized" and not has_key:
        kind = "keyMissing"
    return _failure(found, (kind, retries), status, now, secrets)


def of_event(event: Json, *, now: float | None = None, secrets: Iterable[str] = ()) -> Failure:
    """Return what ``response.failed``, ``response.incomplete`` or ``error`` mean."""
    found = said.of_event(event)
    now = time.time() if now is None else now
    if event.get("type") == "response.incomplete":
        kind = REASONS.get(found.code, "incomplete")
        words = "" if kind in REASONS.values() else found.code
        return _failure(found._replace(message=words), (kind, False), None, now, secrets)
    status = found.status
    return _failure(found, _verdict(found, status), status, now, secrets)


def _verdict(found: Said, status: int | None) -> _Verdict:
    for word in (found.code, found.type):
        if word in CODES:
            return CODES[word]
    if said.CONTEXT.search(found.message):
        return "contextWindowExceeded", False
    kind, retries = _by_status(found, status)
    return kind, found.should_retry if found.should_retry is not None else retries


def _by_status(found: Said, status: int | None) -> _Verdict:
    if status is None or (status in _SUCCESS and found.is_error):
        if found.code.startswith(("invalid_", "unsupported_")) or "image" in found.code:
            return "badRequest", False
        return TYPES.get(found.type, ("internalServerError", True))
    if status in _SUCCESS:
        return "badStream", False
    if status in _ELSEWHERE:
        return "redirected", False
    if status == 404 and found.is_error:  # noqa: PLR2004 - a model it does not know, in JSON
        return "badRequest", False
    if status in STATUSES:
        return STATUSES[status]
    return ("internalServerError", True) if status in _THEIRS else ("badRequest", False)


def _failure(
    found: Said, verdict: _Verdict, status: int | None, now: float, secrets: Iterable[str]
) -> Failure:
    kind, retries = verdict
    after_s = found.after_s(now)
    if kind == "usageLimitExceeded":
        message = said.clean(said.usage_limit(found, now), secrets)
    else:
        number = f" ({status})" if status is not None and status not in _SUCCESS else ""
        words = said.clean(found.elsewhere if kind == "redirected" else found.message, secrets)
        message = f"{SENTENCES[kind]}{number}{': ' if words else ''}{words}"
        if retries and after_s is not None and after_s > LONGEST_ASKED_S:
            message = f"{message}; it wants to be asked again in {said.duration(after_s)}"
    return Failure(message, kind=kind, status=status, retries=retries, after_s=after_s)
