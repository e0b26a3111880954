"""How much of an account's limits is used: read from a host's report, or from the headers it sends.

Pure. A limit is known by how long its window is: what a host calls primary differs between plans.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from codex_magic.backends.base import Quota, Window

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIXES: Final = ("x-codex-", "x-ratelimit-")

_USED: Final = re.compile(r"^x-(.+)-(primary|secondary)-used-percent$")


def read(answer: Any) -> Quota:
    """Read the answer to ``wham/usage``; what is missing in it is missing in the quota."""
    whole = answer if isinstance(answer, dict) else {}
    limits = whole.get("rate_limit") or {}
    windows = (_window(limits.get(name)) for name in ("primary_window", "secondary_window"))
    return Quota(
        plan=str(whole.get("plan_type") or ""),
        windows=tuple(window for window in windows if window is not None),
        credits=_credits(whole.get("credits")),
        reached=str(whole.get("rate_limit_reached_type") or ""),
    )


def _window(found: Any) -> Window | None:
    if not isinstance(found, dict) or _number(found.get("used_percent")) is None:
        return None
    return Window(
        used_percent=_number(found.get("used_percent")) or 0.0,
        length_s=int(_number(found.get("limit_window_seconds")) or 0),
        resets_at=_number(found.get("reset_at")),
    )


def _credits(found: Any) -> str:
    if not isinstance(found, dict) or not found.get("has_credits"):
        return ""
    if found.get("unlimited"):
        return "unlimited"
    return str(found.get("balance") or "")


def of_headers(headers: Mapping[str, str]) -> Quota:
    """Read what the headers of an answer say; of an API key's, the share of requests and tokens."""
    windows = []
    for name in sorted(headers):
        if found := _USED.match(name):
            stem = f"x-{found[1]}-{found[2]}"
            minutes = _number(headers.get(f"{stem}-window-minutes")) or 0
            window = Window(
                used_percent=_number(headers[name]) or 0.0,
                length_s=int(minutes * 60),
                resets_at=_number(headers.get(f"{stem}-reset-at")),
            )
            windows.append(window)
    credit = {
        "has_credits": headers.get("x-codex-credits-has-credits", "").lower() == "true",
        "unlimited": headers.get("x-codex-credits-unlimited", "").lower() == "true",
        "balance": headers.get("x-codex-credits-balance"),
    }
    return Quota(
        plan=headers.get("x-codex-plan-type", ""),
        windows=tuple(windows) or _shares(headers),
        credits=_credits(credit),
        reached=headers.get("x-codex-rate-limit-reached-type", ""),
    )


def _shares(headers: Mapping[str, str]) -> tuple[Window, ...]:
    """Return the limits of an API key; they are counted by the minute."""
    found = []
    for name in ("requests", "tokens"):
        limit = _number(headers.get(f"x-ratelimit-limit-{name}"))
        left = _number(headers.get(f"x-ratelimit-remaining-{name}"))
        if limit and left is not None:
            found.append(Window(used_percent=100 * (limit - left) / limit, length_s=60))
    return tuple(found)


def _number(value: Any) -> float | None:
    try:
        return None if value is None or isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        return None
