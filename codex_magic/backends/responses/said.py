"""What stands in an error of a model's host: its code, its words, when to come again.

Pure, and prepared for everything: hosts send errors in several shapes of JSON, as web pages, as
nothing. It says what was said, not what that means.
"""

from __future__ import annotations

import math
import re
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from codex_magic.mask import mask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

Json = dict[str, Any]

LONGEST_BODY: Final = 256 * 1024
"""Bytes of an error that are looked at."""
_LONGEST_WORDS: Final = 300

CONTEXT: Final = re.compile(
    r"(?:exceed|maximum|longer|too (?:long|large)).{0,60}context (?:length|window|size)"
    r"|context (?:length|window|size).{0,60}(?:exceed|maximum)",
    re.IGNORECASE,
)
"""How hosts without a code for it say that the thread is too long."""

_AGAIN: Final = re.compile(
    r"(?:try again|retry)\s+(?:in|after)\s+((?:\d+(?:\.\d+)?\s*[a-z]+[\s,]*(?:and\s+)?)+)",
    re.IGNORECASE,
)
_AMOUNT: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]+)", re.IGNORECASE)
_UNITS: Final = (("ms", 0.001), ("mil", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("d", 86400))
_QUERY: Final = re.compile(r"(https?://[^\s?#\"'<>]+)[?#][^\s\"'<>)]*", re.IGNORECASE)
_USER: Final = re.compile(r"(https?://)[^\s/@\"'<>]*@", re.IGNORECASE)
_HOST: Final = re.compile(r"(?:https?:)?//(?:[^/?#@]*@)?([\w.:\[\]-]+)", re.IGNORECASE)
_TITLE: Final = re.compile(r"<title[^>]*>(.*?)</title", re.IGNORECASE | re.DOTALL)
_CHARSET: Final = re.compile(r"charset=\"?([\w.:-]+)", re.IGNORECASE)


_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})


class Said(NamedTuple):
    """An error in its host's own words.

    Parameters
    ----------
    is_error
        Whether it came as an error in JSON, and not as a page or a text.
    limits
        The object it came in, for what it says about limits.
    headers
        In lower case.
    """

    code: str = ""
    type: str = ""
    message: str = ""
    status: int | None = None
    is_error: bool = False
    limits: Mapping[str, Any] = _NOTHING
    headers: Mapping[str, str] = _NOTHING

    @property
    def should_retry(self) -> bool | None:
        """What the host says outright about another try."""
        return {"true": True, "false": False}.get(self.headers.get("x-should-retry", ""))

    @property
    def elsewhere(self) -> str:
        """The host that a redirection leads to."""
        found = _HOST.match(self.headers.get("location", ""))
        return f"to {found[1]}" if found else ""

    def after_s(self, now: float) -> float | None:
        """Return the seconds after which the host wants to be asked again."""
        if (wait := _number(self.headers.get("retry-after-ms"))) is not None:
            return wait / 1000
        if (wait := _number(self.headers.get("retry-after"))) is not None:
            return wait
        if (wait := _until(self.headers, now)) is not None:
            return wait
        if (wait := _number(self.limits.get("resets_in_seconds"))) is not None:
            return wait
        if (at := _number(self.limits.get("resets_at"))) is not None:
            return max(0.0, at - now)
        return _spelt(self.message)


def of_body(headers: Mapping[str, str], body: bytes) -> Said:
    """Return what stands in the body of an answer."""
    body = body[:LONGEST_BODY]
    try:
        found = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        found = None
    if isinstance(found, dict):
        return _of_json(found, headers)
    return Said(message=_plain(_decoded(headers, body)), headers=headers)


def of_event(event: Json) -> Said:
    """Return what stands in an event that ends a stream."""
    response = event.get("response")
    response = response if isinstance(response, dict) else {}
    if event.get("type") == "response.incomplete":
        details = response.get("incomplete_details")
        return Said(code=_text(details.get("reason")) if isinstance(details, dict) else "")
    headers = event.get("headers")
    headers = headers if isinstance(headers, dict) else {}
    lowered = {str(name).lower(): _text(value) for name, value in headers.items()}
    if event.get("type") == "response.failed":
        return _of_json({"error": response.get("error") or {}}, lowered)
    return _of_json({**event, "type": ""}, lowered)


def usage_limit(found: Said, now: float) -> str:
    """Return that a limit is reached, and when that is over."""
    plan = _text(found.limits.get("plan_type"))
    whose = f"your {plan} plan" if plan.isalnum() and len(plan) <= 20 else "your account"  # noqa: PLR2004 - a word
    message = f"the usage limit of {whose} is reached"
    wait = found.after_s(now)
    if wait is None:
        return message
    return f"{message}; it resets {_clock(now, wait)}, in {duration(wait)}"


def duration(wait: float) -> str:
    """Return a number of seconds as a person says it."""
    minutes = int(wait // 60)
    days, hours, minutes = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [(days, "d"), (hours, "h"), (minutes, "min")]
    shown = [f"{count} {unit}" for count, unit in parts if count][:2]
    return " ".join(shown) or "less than a minute"


def clean(words: str, secrets: Iterable[str] = ()) -> str:
    """Return a host's words as part of a sentence, without what is nobody's business."""
    words = mask(words, [secret for secret in secrets if secret])
    words = _QUERY.sub(r"\1", _USER.sub(r"\1", words))
    words = " ".join("".join(c if c.isprintable() else " " for c in words).split())
    if len(words) > _LONGEST_WORDS:
        words = words[: _LONGEST_WORDS - 1].rstrip() + "…"
    return words.rstrip(".")


def _of_json(found: Json, headers: Mapping[str, str]) -> Said:
    inner = found.get("error") or found.get("detail") or found
    if isinstance(inner, list):  # a validator's complaints
        inner = inner[0] if inner else {}
    if not isinstance(inner, dict):
        inner = {"message": inner}
    status = found.get("status", found.get("status_code"))
    return Said(
        code=_text(inner.get("code")),
        type=_text(inner.get("type")),
        message=_text(inner.get("message") or inner.get("msg") or inner.get("detail")),
        status=status if isinstance(status, int) and 100 <= status < 600 else None,  # noqa: PLR2004 - what HTTP allows
        is_error=any(found.get(word) for word in ("error", "detail", "message")),
        limits=inner,
        headers=headers,
    )


def _text(value: object) -> str:
    return str(value) if isinstance(value, (str, int, float)) else ""


def _number(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type] # anything else is no number
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _until(headers: Mapping[str, str], now: float) -> float | None:
    """Return the seconds until the date in ``retry-after``, by the host's own clock if it tells."""
    if "retry-after" not in headers:
        return None
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - few hosts send a date

    try:
        until = parsedate_to_datetime(headers["retry-after"]).timestamp()
        if "date" in headers:
            now = parsedate_to_datetime(headers["date"]).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, until - now)


def _spelt(message: str) -> float | None:
    """Return the seconds of "try again in 1.5s", "in 6m0s", "in 20 seconds"."""
    found = _AGAIN.search(message)
    if found is None:
        return None
    total = None
    for amount, word in _AMOUNT.findall(found[1]):
        unit = next((size for unit, size in _UNITS if word.lower().startswith(unit)), None)
        if unit is None:
            break
        total = (total or 0.0) + float(amount) * unit
    return total


def _decoded(headers: Mapping[str, str], body: bytes) -> str:
    charset = _CHARSET.search(headers.get("content-type", ""))
    try:
        return body.decode(charset[1] if charset else "utf-8", "replace")
    except LookupError:
        return body.decode("utf-8", "replace")


def _plain(text: str) -> str:
    """Return the words of something that is not JSON: of a web page, its title."""
    if not text.lstrip("\ufeff \t\r\n").startswith("<"):
        return text
    title = _TITLE.search(text)
    words = " ".join(title[1].split()) if title else ""
    return f"it sent a web page, “{words}”" if words else "it sent a web page"


def _clock(now: float, wait: float) -> str:
    there, here = time.localtime(now + wait), time.localtime(now)
    day = "" if there[:3] == here[:3] else time.strftime("on %a %d %b ", there)
    return f"{day}at {time.strftime('%H:%M', there)}"
