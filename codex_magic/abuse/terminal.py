"""A process with a terminal, whose command tries to open it: alone, or in a sandbox.

Run as a program: with a terminal as standard input, and for the sandbox with a workspace. What a
command that a person's shell has started could do to that shell is seen only so.
"""

from __future__ import annotations

import fcntl
import subprocess
import sys
import termios
from pathlib import Path
from typing import Final

OPENED: Final = "OPENED"
COMMAND: Final = ("sh", "-c", f"exec 3<>/dev/tty && echo {OPENED}")


def main(words: list[str]) -> int:
    """Take standard input for the terminal, and try."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    if words:
        from codex_magic.policy import SandboxPolicy  # noqa: PLC0415 - the control needs none
        from codex_magic.sandbox import run  # noqa: PLC0415

        result = run(COMMAND, policy=SandboxPolicy(workspace=Path(words[0])))
        said, wrong = result.stdout, result.outcome != "exit"
        sys.stderr.write(result.message)
    else:
        ran = subprocess.run(COMMAND, check=False, capture_output=True, text=True)  # noqa: S603 - it is ours
        said, wrong = ran.stdout, False
    sys.stdout.write(said)
    return int(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
