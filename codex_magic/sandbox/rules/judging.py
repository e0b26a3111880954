"""What all rules together say about one command: the strictest word, or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_magic.sandbox.rules.matching import begins, hits
from codex_magic.sandbox.rules.rule import Judgement
from codex_magic.sandbox.rules.unwrapping import take_apart

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_magic.sandbox.rules.rule import Rule
    from codex_magic.sandbox.rules.unwrapping import Parts


def judge(command: Sequence[str] | str, rules: Sequence[Rule]) -> Judgement:
    """Return the strictest of what `rules` say about `command`, a text for a shell or its words."""
    parts = take_apart(command)
    found = [
        (rule, part, certain)
        for part in parts.found
        for rule in rules
        if rule.verdict != "allow" and (certain := hits(rule, part.argv))
    ]
    for rule, part, certain in found:
        if rule.verdict == "deny" and certain == "yes":
            return Judgement("deny", rule.told(), part.argv)
    for rule, part, certain in found:
        doubt = "" if certain == "yes" else ", if its words turn out so"
        return Judgement("ask", rule.told() + doubt, part.argv)
    if parts.unclear:
        return Judgement("ask", parts.unclear[0])
    return _allowed(parts, [rule for rule in rules if rule.verdict == "allow"])


def _allowed(parts: Parts, allowing: Sequence[Rule]) -> Judgement:
    """Return ``allow`` where each part is allowed, no verdict otherwise."""
    needed = [part.argv for part in parts.found if not part.incidental]
    reasons = [
        next((rule.told() for rule in allowing if begins(rule, argv)), None) for argv in needed
    ]
    # An `allow` speaks of a command, not of the files that the text around it writes.
    if parts.writes or not reasons or None in reasons:
        return Judgement(None, "")
    return Judgement("allow", reasons[0] or "", needed[0])


def applies(rule: Rule, command: Sequence[str] | str) -> bool:
    """Return whether `rule` alone is about `command`."""
    if rule.verdict == "allow":
        return judge(command, [rule]).verdict == "allow"
    return any(hits(rule, part.argv) == "yes" for part in take_apart(command).found)
