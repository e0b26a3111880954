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
NAME_CHARS: Final = 64


def notebook_note(request: TurnRequest, *, level: str, fresh: bool) -> str:
    """Return the note on where the model is: folder, policy, what is enforced, the kernel.

    Parameters
    ----------
    fresh
        Whether this kernel has run no turn of the thread yet.
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
            *([f"variables now: {names}"] if (names := _listed(request.names)) else ()),
        )
    )


def images_note(request: TurnRequest) -> dict[str, str]:
    """Return what the images of a turn are called, in the order in which the model gets them."""
    if not request.images:
        return {}
    rows = []
    for number, image in enumerate(request.images, 1):
        size = "" if image.size is None else ", {} by {} pixels".format(*image.size)
        rows.append(f"image {number}: {json.dumps(image.name)}{size}")
    return {"images": "\n".join(rows)}


def names_before(names: tuple[str, ...]) -> dict[str, str]:
    """Return what the variables were called at the thread's last turn, as untrusted text.

    They come out of a file that anybody may have edited.
    """
    found = _listed(names)
    return {"variables_at_your_last_turn": found} if found else {}


def _listed(names: tuple[str, ...]) -> str:
    """Return names in a row, the newest of them where there are many; only what can be a name."""
    chosen: list[str] = []
    left = NAMES_CHARS
    for name in reversed([n for n in names if n.isidentifier() and len(n) <= NAME_CHARS]):
        left -= len(name) + 2
        if left < 0:
            break
        chosen.append(name)
    return ", ".join(reversed(chosen)) + (", and older ones" if left < 0 else "")


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
