"""An account, its models and its limits in words; `now` is in seconds since the epoch."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Final

from codex_magic.render import words
from codex_magic.render.table import Table, table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from codex_magic.backends.base import Account, Model, Quota, Window

KINDS: Final[Mapping[str, str]] = {
    "chatgpt": "ChatGPT",
    "apiKey": "an API key",
    "accessToken": "an access token",
}

MINUTE: Final = 60
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
WEEK: Final = 7 * DAY

_UNITS: Final = ((DAY, "day"), (HOUR, "hour"), (MINUTE, "minute"))


def who(account: Account) -> str:
    """Return whose an account is, in a few words."""
    plan = f" ({account.plan})" if account.plan else ""
    return flat(f"{account.detail or KINDS.get(account.kind, account.kind)}{plan}")


def facts(account: Account, now: float) -> dict[str, str]:
    """Return what is known of an account, by what it is."""
    if not account.kind:
        nobody = "nobody is signed in" if account.needed else "none needed"
        return {"account": flat(account.detail) or nobody}
    name = KINDS.get(account.kind, account.kind)
    found = {
        "account": f"{name}, {account.detail}" if account.detail else name,
        "plan": account.plan,
        "expires": "" if account.expires_at is None else when(account.expires_at, now),
        "source": account.source,
    }
    return {label: flat(text) for label, text in found.items() if text}


def when(at: float, now: float) -> str:
    """Return how far from now a time is: ``in 9 days``, ``2 hours ago``."""
    away = abs(at - now)
    if away < MINUTE:
        return "now"
    length, unit = next(pair for pair in _UNITS if away >= pair[0])
    count = math.floor(away / length)
    said = f"{count} {unit}{'' if count == 1 else 's'}"
    return f"in {said}" if at > now else f"{said} ago"


def length(seconds: int) -> str:
    """Return what a limit is called by how long it is: ``5 h``, ``week``, ``3 days``."""
    if seconds <= 0:
        return ""
    if seconds == WEEK:
        return "week"
    if seconds % DAY == 0:
        return "day" if seconds == DAY else f"{seconds // DAY} days"
    if seconds % HOUR == 0 or seconds > DAY:
        return f"{round(seconds / HOUR)} h"
    return f"{max(1, round(seconds / MINUTE))} min"


def models(
    found: Sequence[Model],
    asked: str | None,
    aliases: Sequence[tuple[str, str]],
    *,
    own: str = "",
) -> Table:
    """Return the models as a table, with the one that the next turn asks for marked.

    Parameters
    ----------
    asked
        The model that is set, by its name or another one; None for the backend's default.
    own
        The model that the thread has already, which goes before that default.
    """
    wanted = dict(aliases).get(asked, asked) if asked else own
    listed = sorted(found, key=lambda model: model.hidden)
    marked = [m for m in listed if (m.id == wanted if wanted else m.is_default)][:1]
    rows = [
        (
            "*" if model in marked else "",
            model.id,
            _efforts(model),
            _tokens(model.context_tokens),
            _SEES[model.sees_images],
            _remark(model, aliases),
        )
        for model in listed
    ]
    if marked:
        remark = "The next turn asks the one marked *."
        remark += " This thread goes on with it." if own and not asked else ""
    else:
        remark = _unmarked(wanted, is_listed=bool(found))
    columns = ("now", "model", "efforts", "reads", "images", "remarks")
    return table(columns, rows, [remark])


_SEES: Final = {True: "yes", False: "no", None: "?"}


def _unmarked(wanted: str, *, is_listed: bool) -> str:
    """Return what the next turn asks for where that is none of the list."""
    if not wanted:
        first = "None of them is asked by itself" if is_listed else "The host lists no models"
        return f"{first}: name one with -m, or in the setting model."
    asked = f"The next turn asks for {flat(wanted)}"
    return f"{asked}, which is not among them." if is_listed else f"{asked}; the host lists none."


def _efforts(model: Model) -> str:
    named = (f"{e} (default)" if e == model.default_effort else e for e in model.efforts)
    return ", ".join(named)


def _tokens(count: int) -> str:
    return f"{round(count / 1000)}k tokens" if count else ""


def _remark(model: Model, aliases: Sequence[tuple[str, str]]) -> str:
    names = [name for name, stands_for in aliases if stands_for == model.id]
    also = f"also called {', '.join(names)}" if names else ""
    return ", ".join(filter(None, (also, "hidden" if model.hidden else "")))


def usage(quota: Quota, now: float) -> Table:
    """Return the windows of a quota as a table."""
    rows = [_window(window, now) for window in quota.windows]
    return table(("limit", "used", "resets"), rows, _remarks(quota))


def _window(window: Window, now: float) -> tuple[str, ...]:
    name = " of ".join(filter(None, (length(window.length_s), window.name))) or "limit"
    resets = "" if window.resets_at is None else _resets(window.resets_at, now)
    return name, f"{_bar(window.used_percent)} {window.used_percent:.0f} %", resets


def _resets(at: float, now: float) -> str:
    local = time.localtime(at)
    day = f"{local.tm_mday} {time.strftime('%b', local)} " if at - now > DAY else ""
    return f"{when(at, now)} ({day}{time.strftime('%H:%M', local)})"


BAR: Final = 10


def _bar(percent: float) -> str:
    """Return a bar that is full only where nothing is left, and empty only where nothing is used."""
    full = min(BAR, max(0, math.floor(BAR * percent / 100)))
    full = max(full, 1) if percent > 0 else full
    return "█" * full + "░" * (BAR - full)


def _remarks(quota: Quota) -> Iterable[str]:
    if quota.reached:
        yield f"{quota.reached[:1].upper()}{quota.reached[1:]}."
    if not quota.windows:
        yield "No limit is told of this account."
    known = {"Plan": quota.plan, "Credits": quota.credits}
    yield "; ".join(f"{name}: {text}" for name, text in known.items() if text)


def flat(text: str) -> str:
    """Return somebody else's words on one line that moves no cursor."""
    return " ".join(words.clean(text).split())
