"""The log of what ran: a line before each command, a line after it, and a chain through all.

A line is one object of JSON in ASCII: `previous`, `kind` (``start`` or ``end``), the `id` that
the two lines of a command share, what `Started` or `Finished` say, `at`, and `sum`. `previous` is
the SHA-256 of the line before (64 zeros in the first), `sum` that of the line itself without its
`sum`. So a line that was changed, moved or taken out is found by `verify`. A cut at the end leaves
a shorter chain that is whole: it is found by whoever noted the hash of a later line, and by the
kernel whose command was running. Whoever may write the file and computes all hashes anew is not
found: it is the sandbox that keeps commands from the log, not arithmetic.

Several kernels append to one file, each under a lock of the file. Whether a command may run is
decided elsewhere; how the log looks to a person is, too.
"""

from __future__ import annotations

from codex_magic.sandbox.audit.chain import Verdict, verify
from codex_magic.sandbox.audit.lines import (
    End,
    Finished,
    Start,
    Started,
    Stream,
    policy_fields,
    policy_hash,
)
from codex_magic.sandbox.audit.reading import Record, read, unfinished
from codex_magic.sandbox.audit.writing import Log, close_unfinished

__all__ = [
    "End",
    "Finished",
    "Log",
    "Record",
    "Start",
    "Started",
    "Stream",
    "Verdict",
    "close_unfinished",
    "policy_fields",
    "policy_hash",
    "read",
    "unfinished",
    "verify",
]
