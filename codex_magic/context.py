"""What a model is told beside the prompt: where it is, and what the project says of itself.

It reads the project's ``AGENTS.md`` files and nothing else. Their text is data: it is quoted to
the model as the project's, shown to the person as a line, and can be switched off.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from codex_magic.turn import TurnRequest

AGENTS_FILE: Final = "AGENTS.md"
AGENTS_LIMIT_BYTES: Final = 32 * 1024  # what Codex itself reads of them by default


@dataclass(frozen=True, slots=True)
class ProjectText:
    """The project's instructions: the files they came from, and their text."""

    paths: tuple[Path, ...] = ()
    text: str = ""
    truncated: bool = False


def agents_md(cwd: Path) -> ProjectText:
    """Return what the ``AGENTS.md`` files say, from the project's root down to `cwd`.

    The root is the nearest folder upwards with a ``.git``; without one only `cwd` counts. At most
    32 KB are read; a file that is a link to somewhere outside the root is passed over.
    """
    root = next((folder for folder in (cwd, *cwd.parents) if (folder / ".git").exists()), cwd)
    folders = [folder for folder in (*reversed(cwd.parents), cwd) if folder.is_relative_to(root)]
    parts: list[str] = []
    paths: list[Path] = []
    left = AGENTS_LIMIT_BYTES
    truncated = False
    for folder in folders:
        path = folder / AGENTS_FILE
        raw = _read(path, root, left + 1)
        truncated = truncated or len(raw) > left
        if text := raw[:left].decode(errors="ignore").strip():
            parts.append(f"[{path.relative_to(root)}]\n{text}")
            paths.append(path)
        left = max(0, left - len(raw))
    return ProjectText(tuple(paths), "\n\n".join(parts), truncated)


def _read(path: Path, root: Path, limit_bytes: int) -> bytes:
    try:
        if not path.is_file() or not path.resolve().is_relative_to(root.resolve()):
            return b""
        with path.open("rb") as file:
            return file.read(limit_bytes)
    except OSError:
        return b""


NAMES_CHARS: Final = 1500


def notebook_note(
    request: TurnRequest, *, level: str, fresh: bool, before: tuple[str, ...] = ()
) -> str:
    """Return the note on where the model is: folder, policy, what is enforced, the kernel.

    Parameters
    ----------
    fresh
        Whether this kernel has run no turn of the thread yet.
    before
        What the variables were called at the thread's last turn.
    """
    policy = request.policy
    network = "on" if policy.network else "off"
    kernel = "fresh: no variables of earlier sessions exist" if fresh else "in use"
    folders = [json.dumps(str(path)) for path in policy.writable]
    time = f"{request.timeout_s:g} s" if request.timeout_s else "the default time"
    return "\n".join(
        (
            # As JSON: the name of a folder must not read as a line of this note.
            f"working folder: {json.dumps(str(policy.workspace))}",
            f"sandbox: {policy.mode}, network {network}; enforced here: {_ENFORCED[level]}",
            *([f"also writable: {', '.join(folders)}"] if folders else []),
            f"approval policy: {request.approval}: {_APPROVAL[request.approval]}",
            f"each command may take {time}",
            f"kernel: {kernel}",
            *_names("variables now", request.names),
            *(_names("variables at your last turn", before) if fresh else ()),
        )
    )


def _names(label: str, names: tuple[str, ...]) -> list[str]:
    """Return the names on a line, the newest of them where there are many.

    Only what Python takes for a name: those of earlier turns come out of a file.
    """
    chosen: list[str] = []
    left = NAMES_CHARS
    for name in reversed([name for name in names if name.isidentifier()]):
        left -= len(name) + 2
        if left < 0:
            break
        chosen.append(name)
    if not chosen:
        return []
    more = ", and older ones" if left < 0 else ""
    return [f"{label}: {', '.join(reversed(chosen))}{more}"]


_ENFORCED: Final = {
    "full": "all of it",
    "partial": "a part of it",
    "none": "nothing, so commands are refused",
    "external": "nothing by us; the machine itself is the sandbox",
    "off": "nothing, as the person chose",
}
_APPROVAL: Final = {
    "on-request": "what the sandbox contains runs at once; what exceeds it asks the person",
    "untrusted": "every command asks the person, but for a few that only look",
    "never": "nobody is asked; what exceeds the sandbox is declined",
}
