"""Which commands are allowed, asked about, or denied, by how they begin.

The rules are for a person's attention; the boundary is the sandbox. `judge` takes a command apart:
`shelltext` reads what a shell would start, `unwrapping` follows the programs that only start
others. Each part is held against each rule (`matching`), the strictest word wins, and what cannot
be seen through is asked about. `DEFAULTS` come with the package, `load` reads a person's own; the
rules of the person's Codex are in `codex`, which starts a process and is not imported from here.
"""

from __future__ import annotations

from codex_magic.sandbox.rules.defaults import DEFAULTS
from codex_magic.sandbox.rules.judging import judge
from codex_magic.sandbox.rules.matching import TRUSTED
from codex_magic.sandbox.rules.reading import load, parse
from codex_magic.sandbox.rules.rule import STRICTNESS, WORDS, Judgement, Rule, Verdict
from codex_magic.sandbox.rules.unwrapping import programs, wraps

__all__ = [  # noqa: RUF022 - in plain order, as in every module here
    "DEFAULTS",
    "Judgement",
    "Rule",
    "STRICTNESS",
    "TRUSTED",
    "Verdict",
    "WORDS",
    "judge",
    "load",
    "parse",
    "programs",
    "wraps",
]
