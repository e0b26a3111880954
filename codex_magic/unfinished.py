"""Commands whose kernel died while they ran, told when the next kernel loads the extension.

Nobody has looked after them at what they left behind, so that is done here, by the times of files:
what is newer than the command's beginning may be its own, or the person's. It is only named.

Loading must stay light, so the end of the log is only searched for a beginning without an end.
Only where there is one is the log read in earnest. Nothing is written here.
"""

from __future__ import annotations

import os
import re
import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic import folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codex_magic.sandbox.audit import Start

RECENT_BYTES: Final = 64 * 1024
MOST: Final = 3
MOST_FILES: Final = 10
TICK_S: Final = 0.01
"""How much the clock of a file system may be behind; it goes by ticks."""

_LINE: Final = re.compile(rb'"kind":"(start|end)","id":"(\w+)"')


def lines() -> Iterator[str]:
    """Yield a line for each such command, the newest `MOST`, until a turn has closed its entry."""
    path = _log()
    if path is None or not _suspicious(path):
        return
    from codex_magic.render import words  # noqa: PLC0415 - seldom needed, and 70 ms
    from codex_magic.sandbox import audit  # noqa: PLC0415

    for start in audit.unfinished(path)[-MOST:]:
        command = start.command if isinstance(start.command, str) else " ".join(start.command)
        shown = words.one_line(words.clean(command), 60)
        said = f"codex_magic: a kernel ended while this ran: {shown} (see %codex audit)"
        left = [words.one_line(words.clean(found), 200) for found in _left(start)]
        if left:
            said += f". Look at these before you go on, they may be its: {', '.join(left)}"
        yield said


def _log() -> Path | None:
    # In a kernel this is there already; where it is not, to import it takes as long as all the
    # rest, and where Jupyter keeps its data on Linux is no secret.
    if "JUPYTER_DATA_DIR" in os.environ or "jupyter_core.paths" in sys.modules:
        return folder.data() / folder.AUDIT
    if sys.platform != "linux":
        return None
    home = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")  # noqa: PTH111
    return Path(home, "jupyter", folder.NAME, folder.AUDIT)


def _left(start: Start) -> list[str]:
    """Return what is newer than `start` and would be obeyed by other programs."""
    from codex_magic.sandbox import machine, shadowing  # noqa: PLC0415

    named = (start.policy.get("workspace"), *start.policy.get("writable", ()))
    folders = [place for place in named if isinstance(place, str)]
    shadows = shadowing.Shadows()
    found = [
        *machine.steering_places(folders),
        *(path for path in shadowing.modules(folders) if shadows(path)),
    ]
    began_s = datetime.fromisoformat(start.at).timestamp() - TICK_S
    newer = [path for path in found if os.path.lexists(path) and os.lstat(path).st_ctime >= began_s]
    return newer[:MOST_FILES]


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
