"""The abuse list: what a confined command tries and must not get, on this very machine.

Each case is tried twice in a small world made for it: bare, which must succeed, or the case proves
nothing here; and confined. Nothing outside that world is changed, also by the controls. The list
shows what a sandbox keeps; it keeps nothing itself.
"""

from __future__ import annotations

from codex_magic.abuse.case import Row, Verdict
from codex_magic.abuse.report import good, lines, place, run, tell

__all__ = ["Row", "Verdict", "good", "lines", "place", "run", "tell"]
