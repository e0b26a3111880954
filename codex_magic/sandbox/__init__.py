"""Commands in a sandbox: `run` one, or `probe` what this machine can enforce.

A confined command sees the system read-only, an empty home, its own processes and, unless it is
granted, no network; it writes in the workspace and in private temporary folders; and all it
started is dead when `run` returns; its receipt says what it did. Asking a person first is not done
here.
"""

from __future__ import annotations

import sys

if sys.platform == "win32":
    from codex_magic.errors import SetupError

    raise SetupError(
        "commands cannot be confined on Windows", hint="Use the Windows Subsystem for Linux, WSL2"
    )

from codex_magic.sandbox.asked import Occasion
from codex_magic.sandbox.probe import Probe, probe
from codex_magic.sandbox.runner import CommandResult, declined, refusal, run

__all__ = ["CommandResult", "Occasion", "Probe", "declined", "probe", "refusal", "run"]
