"""Commands whose kernel died while they ran, told when the next kernel loads the extension.

Loading must stay light, so the end of the log is only searched for a beginning without an end.
Only where there is one is the log read in earnest. Nothing is written here.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING, Final

from codex_magic import folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECENT_BYTES: Final = 64 * 1024
MOST: Final = 3

_LINE: Final = re.compile(rb'"kind":"(start|end)","id":"(\w+)"')


def lines() -> Iterator[str]:
    """Yield a line for each such command that nobody has been told of, the newest `MOST`."""
    # In a kernel it is there already; where it is not, importing it takes as long as all the rest.
    if "JUPYTER_DATA_DIR" not in os.environ and "jupyter_core.paths" not in sys.modules:
        return
    path = folder.data() / folder.AUDIT
    if not _suspicious(path):
        return
    from codex_magic.render import words  # noqa: PLC0415 - seldom needed, and 70 ms
    from codex_magic.sandbox import audit  # noqa: PLC0415

    for start in audit.unfinished(path)[-MOST:]:
        command = start.command if isinstance(start.command, str) else " ".join(start.command)
        shown = words.one_line(words.clean(command), 60)
        yield f"codex_magic: a kernel ended while this ran: {shown} (see %codex audit)"


def _suspicious(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - RECENT_BYTES))
            found = _LINE.findall(file.read(RECENT_BYTES))
    except OSError:
        return False
    begun = {name for kind, name in found if kind == b"start"}
    return bool(begun - {name for kind, name in found if kind == b"end"})
