"""Files before and after an edit, and what became of them as changes with diffs.

It only looks, and only at files a command may see as well: what it finds is saved with the
notebook. Who edits them, and how, is not known here.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import stat
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic.items import Change
from codex_magic.policy import MIB
from codex_magic.render import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from codex_magic.policy import SandboxPolicy

FILE_BYTES: Final = MIB
"""Of a larger file there is no diff."""
LOOK_BYTES: Final = 16 * MIB
"""Bytes held of all files of one edit."""
DIFF_BYTES: Final = 16 * 1024
"""Bytes of each diff; of a longer one both ends are kept."""
DIFFS_BYTES: Final = 128 * 1024
"""Bytes of all diffs of one edit; the rest have none."""
DIFF_STEPS: Final = 4_000_000
"""Lines times changed lines, which is what a search for the shortest diff takes: about a second."""


@dataclass(frozen=True, slots=True)
class File:
    """A file that an edit names, and where the edit moves it."""

    path: Path
    moved: Path | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as it was at one time: `why` says why there is no content, `link` where it leads."""

    mark: tuple[int, ...]
    content: bytes | None = None
    why: str = ""
    link: str = ""


View = dict[Path, Seen | None]
"""Files as they were at one time; None where there was none."""


def place(folder: Path, path: str) -> Path:
    """Return the entry that `path` names from `folder`: in its real folder, not followed itself."""
    whole = folder / path
    return whole.parent.resolve() / whole.name


def told(path: Path, home: Path) -> str:
    """Return `path` as it is shown: relative to `home` where it lies below it."""
    return str(path.relative_to(home) if path.is_relative_to(home) else path)


def look(files: Iterable[File], policy: SandboxPolicy) -> View:
    """Return the named files as they are now."""
    open_to_all = policy.mode in ("full-access", "external")
    folders = ("/",) if open_to_all else (policy.workspace, *policy.writable)
    roots = [Path(folder).resolve() for folder in folders]
    view: View = {}
    left = LOOK_BYTES
    for file in files:
        for path in filter(None, (file.path, file.moved)):
            if path not in view:
                view[path] = seen = _look(path, roots, min(left, FILE_BYTES))
                left -= len(seen.content or b"") if seen else 0
    return view


def _look(path: Path, roots: Sequence[Path], limit: int) -> Seen | None:
    try:
        mark = _mark(path.lstat())
        link = str(path.readlink()) if path.is_symlink() else ""
    except (OSError, RuntimeError):
        return None
    try:
        with open(path.resolve(), "rb", opener=_opener) as file:
            facts = os.fstat(file.fileno())
            # Where it really is: a folder on the way may have become a link just now.
            real = Path(f"/proc/self/fd/{file.fileno()}").readlink()
            if not stat.S_ISREG(facts.st_mode) or not any(map(real.is_relative_to, roots)):
                return Seen(mark, why="not a file of the workspace", link=link)
            mark = _mark(facts)
            content = file.read(limit + 1)
    except (OSError, RuntimeError):
        return Seen(mark, why="not readable", link=link)
    if len(content) > limit:
        return Seen(mark, why=f"{facts.st_size:,} bytes are too many", link=link)
    return Seen(mark, content, link=link)


def _opener(path: str, flags: int) -> int:
    # Never waits for the other end of a pipe.
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)


def _mark(facts: os.stat_result) -> tuple[int, ...]:
    return (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns)


def changes(
    before: Mapping[Path, Seen | None],
    after: Mapping[Path, Seen | None],
    files: Iterable[File],
    home: Path,
) -> tuple[Change, ...]:
    """Return what happened to the files, in the order they were named."""
    found: list[Change] = []
    done: set[Path] = set()
    left = DIFFS_BYTES
    for file in files:
        paths = [path for path in (file.path, file.moved) if path and path not in done]
        done.update(paths)
        for kind, old, new in _happened(paths, before, after):
            diff = "(no diff: there are too many)"
            if left > 0:
                diff = _diff(
                    before[old] if old else None,
                    after[new] if new else None,
                    _heads(old, new, home),
                )
                diff = words.shortened(diff, DIFF_BYTES)
                left -= len(diff.encode())
            found.append(Change(path=told(new or old or file.path, home), kind=kind, diff=diff))
    return tuple(found)


def _happened(
    paths: Sequence[Path], before: Mapping[Path, Seen | None], after: Mapping[Path, Seen | None]
) -> list[tuple[str, Path | None, Path | None]]:
    """Return of some paths, or of one path and where it was moved, what happened to them."""
    states = [(path, before[path], after[path]) for path in paths]
    match states:
        case [(old, Seen(), None), (new, None, Seen())]:
            return [("move", old, new)]
    happened: list[tuple[str, Path | None, Path | None]] = []
    for path, was, now in states:
        match was, now:
            case None, Seen():
                happened.append(("add", None, path))
            case Seen(), None:
                happened.append(("delete", path, None))
            case Seen(), Seen() if not _same(was, now):
                happened.append(("update", path, path))
    return happened


def _same(was: Seen, now: Seen) -> bool:
    if was.content is None or now.content is None:
        return was.mark == now.mark
    return was.content == now.content


def _heads(old: Path | None, new: Path | None, home: Path) -> tuple[str, str]:
    names = ("/dev/null" if path is None else told(path, home) for path in (old, new))
    one, other = (" ".join(name.split("\n")) for name in names)
    return one, other


def _diff(old: Seen | None, new: Seen | None, heads: tuple[str, str]) -> str:
    """Return a unified diff, or in brackets why there is none."""
    sides = [side for side in (old, new) if side is not None]
    if len(sides) == 1 and sides[0].link:
        return f"(no diff: a symbolic link to {sides[0].link})"
    if why := next((side.why for side in sides if side.content is None), ""):
        return f"(no diff: {why})"
    texts = [_lines(side.content if side else b"") for side in (old, new)]
    if texts[0] is None or texts[1] is None:
        return "(no diff: not text)"
    lines = unified(texts[0], texts[1], *heads)
    return "".join(lines).removesuffix("\n")


def _lines(content: bytes | None) -> list[str] | None:
    """Return the lines of a text with their ends; None where it is none."""
    with contextlib.suppress(UnicodeDecodeError):
        text = (content or b"").decode()
        return None if "\0" in text else list(io.StringIO(text, newline="\n"))
    return None


def unified(old: Sequence[str], new: Sequence[str], head: str, other_head: str) -> list[str]:
    """Return the lines of a unified diff, a last line without an end marked as such."""
    compared = _in_one if _steps(old, new) > DIFF_STEPS else difflib.unified_diff
    lines = compared(old, new, head, other_head)
    return [
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines
    ]


def _steps(old: Sequence[str], new: Sequence[str]) -> int:
    one, other = Counter(old), Counter(new)
    changed = (one - other).total() + (other - one).total()
    return (changed + 1) * (len(old) + len(new))


def _in_one(old: Sequence[str], new: Sequence[str], head: str, other_head: str) -> list[str]:
    """Return a diff of one hunk: all between the equal beginnings and the equal ends."""
    shorter = min(len(old), len(new))
    first = next((i for i in range(shorter) if old[i] != new[i]), shorter)
    rest = range(1, shorter - first + 1)
    last = next((i - 1 for i in rest if old[-i] != new[-i]), shorter - first)
    out, into = old[first : len(old) - last], new[first : len(new) - last]
    start = f"@@ -{first + bool(out)},{len(out)} +{first + bool(into)},{len(into)} @@\n"
    lines = [f"--- {head}\n", f"+++ {other_head}\n", start]
    return lines + [f"-{line}" for line in out] + [f"+{line}" for line in into]
