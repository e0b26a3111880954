"""The patch format of Codex's models, as far as to know which files a patch names.

Pure. Whether its hunks fit the files is for whoever applies it to find out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from codex_magic.render import words
from codex_magic.tools.base import ArgumentsError

if TYPE_CHECKING:
    from collections.abc import Sequence

BEGIN: Final = "*** Begin Patch"
END: Final = "*** End Patch"
_FILE: Final = re.compile(r"\*\*\* (Add|Delete|Update) File: (.+)")
_MOVE: Final = re.compile(r"\*\*\* Move to: (.+)")
_EDIT: Final = (" ", "+", "-", "@@", "*** End of File")
_HERE: Final = re.compile(r"<<(['\"]?)EOF\1\n(.*)\nEOF", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Section:
    """What a patch says of one file: `text` is all its lines, `moved` where the file goes."""

    kind: Literal["add", "delete", "update"]
    path: str
    text: str
    moved: str = ""


def read(patch: str) -> tuple[Section, ...]:
    """Return the sections of `patch`, in order.

    Raises
    ------
    ArgumentsError
        It is no patch, or names no file.
    """
    patch = patch.strip()
    if here := _HERE.fullmatch(patch):  # written as for a shell
        patch = here[2].strip()
    lines = patch.split("\n")
    if lines[0].strip() != BEGIN:
        raise ArgumentsError(f"the first line of a patch must be {BEGIN!r}")
    if len(lines) == 1 or lines[-1].strip() != END:
        raise ArgumentsError(f"the last line of a patch must be {END!r}")
    found: list[tuple[re.Match[str], list[str]]] = []
    for number, line in enumerate(lines[1:-1], start=2):
        if found and _belongs(line, *found[-1]):
            found[-1][1].append(line)
        elif header := _FILE.fullmatch(line.strip()):
            found.append((header, [line]))
        else:
            raise ArgumentsError(_misplaced(number, line))
    if not found:
        raise ArgumentsError("the patch names no file")
    return tuple(_section(header, lines) for header, lines in found)


def _belongs(line: str, header: re.Match[str], lines: Sequence[str]) -> bool:
    """Return whether `line` goes on with the section of `header`, which has `lines` so far."""
    match header[1]:
        case "Add":
            return line.startswith("+")
        case "Update":
            moves = len(lines) == 1 and _MOVE.fullmatch(line.strip()) is not None
            return moves or not line.strip() or line.startswith(_EDIT)
        case _:
            return False


def _section(header: re.Match[str], lines: Sequence[str]) -> Section:
    text = "\n".join(lines)
    match header[1]:
        case "Add":
            return Section("add", header[2], text)
        case "Delete":
            return Section("delete", header[2], text)
        case _:
            move = _MOVE.fullmatch(lines[1].strip()) if len(lines) > 1 else None
            return Section("update", header[2], text, move[1] if move else "")


def _misplaced(number: int, line: str) -> str:
    return (
        f"line {number} of the patch is {words.one_line(line)!r}, where a header belongs: "
        "'*** Add File: PATH' (then lines with + before them), '*** Delete File: PATH', or "
        "'*** Update File: PATH' (then perhaps '*** Move to: PATH', then '@@' and lines with a "
        "blank, + or - before them)"
    )
