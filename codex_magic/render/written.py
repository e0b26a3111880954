"""What an agent wrote, as Markdown that can be read and does nothing else.

A front end fetches the address of an image without asking, and obeys tags: outside code, images
become links and tags text. A fence that was left open is closed. Code stays as it is; to know
what is code, the block structure is followed as CommonMark describes it. Where parsers are known
to differ, nothing counts as code.
"""

from __future__ import annotations

import re
from typing import Final, Literal, NamedTuple

_CODE: Final = 4  # indented so far, a line is code

_FENCE: Final = re.compile(r"(`{3,})[^`]*$|(~{3,})")
_RULE: Final = re.compile(r"(?:\* *){3,}$|(?:- *){3,}$|(?:_ *){3,}$")
_HEADING: Final = re.compile(r"#{1,6}(?: |$)")
_UNDERLINE: Final = re.compile(r"(?:=+|-+) *$")
_MARKER: Final = re.compile(r"([-+*]|(\d{1,9})[.)])( +|$)")

Kind = Literal["code", "fence", "text", "end"]
"""A line of code, an opening fence, a line of running text, a line after which that ends."""


def harmless(body: str) -> str:
    """Return `body` without anything that a front end would fetch or obey."""
    body = _DIAGRAM.sub(r"\1text", body.replace("\r\n", "\n").replace("\r", "\n"))
    lines = body.split("\n")
    blocks, shown, running = _Blocks(), [], list[str]()
    for line in lines:
        kind = blocks.take(line)
        if kind in ("code", "fence"):
            shown.extend(_inline(running))
            running = []
            shown.append(line if kind == "code" else _opening(line))
            continue
        running.append(line)
        if kind == "end":
            shown.extend(_inline(running))
            running = []
    shown.extend(_inline(running))
    if blocks.fence:
        shown.append(blocks.closing())
    return "\n".join(shown)


# --- which lines are code --------------------------------------------------------------------


class _Item(NamedTuple):
    """A list item: how far its content is indented, and whether it has any yet."""

    width: int
    empty: bool = False


_QUOTE: Final = _Item(0)


class _Blocks:
    """The blocks that are open, line after line."""

    def __init__(self) -> None:
        self.fence = ""
        self._open: list[_Item] = []
        self._paragraph = False
        self._blank = True
        self._doubtful = True  # a list may be open in what stands before the message

    def take(self, line: str) -> Kind:
        """Return what `line` is."""
        line = line.expandtabs(4)
        kind = self._taken(line)
        if self._certain(line, kind):
            self._doubtful = False
        self._blank = not line.strip(" ")
        return "text" if self._doubtful and kind == "code" else kind

    def closing(self) -> str:
        """Return the line that closes the open fence."""
        before = "".join("> " if item is _QUOTE else " " * item.width for item in self._open)
        return before + self.fence

    def _certain(self, line: str, kind: Kind) -> bool:
        """Whether nothing before `line` can have a part in what follows, for any parser."""
        if kind == "fence" and "|" in line:
            self._doubtful = True  # the head of a table, to some
            return False
        if kind == "fence" and line[0] in "`~":
            return True
        return self._blank and kind != "code" and line[:1] not in ("", " ")

    def _taken(self, line: str) -> Kind:
        rest, matched = self._matched(line)
        if matched < len(self._open):
            self.fence = ""
        if self.fence:
            return self._within_fence(rest)
        if not rest.strip(" "):
            self._keep(matched)
            return "end"
        began = rest
        while (inner := self._container(rest, matched)) is not None:
            rest, matched = inner, len(self._open)
        if self._paragraph and _indent(rest) >= _CODE:
            return "text"
        kind = self._leaf(rest, matched)
        # Behind a marker it may be the head of a table.
        return "end" if kind == "code" and rest is not began else kind

    def _matched(self, line: str) -> tuple[str, int]:
        """Return what stands in `line` behind the open containers, and how many go on."""
        for i, item in enumerate(self._open):
            blank, indent = not line.strip(" "), _indent(line)
            if item is _QUOTE:
                if line[indent : indent + 1] != ">":
                    return line, i
                if indent >= _CODE:
                    self._doubtful = True  # a quotation goes on here, to some
                    return line, i
                line = _quoted(line)
            elif (item.empty and blank) or (not blank and indent < item.width):
                return line, i
            else:
                line = line[item.width :]
                self._open[i] = _Item(item.width)
        return line, len(self._open)

    def _keep(self, matched: int) -> None:
        """Close what does not go on, and whatever paragraph there was."""
        del self._open[matched:]
        self._paragraph = False

    def _within_fence(self, rest: str) -> Kind:
        found = rest.strip(" ")
        if (
            _indent(rest) < _CODE
            and len(found) >= len(self.fence)
            and not found.strip(self.fence[0])
        ):
            self.fence = ""
        return "code"

    def _container(self, rest: str, matched: int) -> str | None:
        """Open the quotation or the list item that begins here; return what stands behind."""
        indent = _indent(rest)
        content = rest[indent:]
        if indent >= _CODE or not content:
            return None
        if content[0] == ">":
            self._keep(matched)
            self._open.append(_QUOTE)
            return _quoted(rest)
        marker = _MARKER.match(content)
        if marker is None or _RULE.match(content):
            return None
        behind = content[marker.end() :]
        goes_on = self._paragraph and matched == len(self._open)
        if goes_on and (not behind or marker[2] not in (None, "1")):
            # No list to CommonMark, unless what seems a paragraph is a definition of links.
            self._doubtful = True
            return None
        self._keep(matched)
        gap = len(marker[3])
        gap = gap if behind and gap <= _CODE else 1
        width = indent + len(marker[1]) + gap
        self._open.append(_Item(width, empty=not behind))
        return rest[width:]

    def _leaf(self, rest: str, matched: int) -> Kind:
        content = rest.lstrip(" ")
        if not content:
            return "end"
        if _indent(rest) >= _CODE:
            self._keep(matched)
            return "code"
        if found := _FENCE.match(content):
            self._keep(matched)
            self.fence = found[1] or found[2]
            return "fence"
        goes_on = self._paragraph and matched == len(self._open)
        underlined = goes_on and _UNDERLINE.match(content)
        if underlined or _RULE.match(content) or _HEADING.match(content):
            self._keep(matched)
            return "end"
        if not self._paragraph:
            self._keep(matched)
        self._paragraph = True
        return "text"


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _quoted(line: str) -> str:
    behind = line[_indent(line) + 1 :]
    return behind.removeprefix(" ")


# --- running text ----------------------------------------------------------------------------

_TAG: Final = re.compile(r"<(?=[A-Za-z/!?])")  # before anything else it is a sign and no bracket
_IMAGE: Final = re.compile(r"!(?=\[)")
_INLINE: Final = re.compile(
    rf"""
    (?P<escaped>\\[!<])
  | \\[!-/:-@\[-`{{-~]
  | (?P<math>\$\$[^`]{{1,1000}}?\$\$ | \$[^\s$`](?:[^$`]*[^\s$`])?\$ | \\begin\{{(\w+\*?)\}}[^`]{{1,1000}}?\\end\{{\3\}})
  | (?P<code>(?P<ticks>`+)(?!`)(?P<inside>[^\n]+?)(?<!`)(?P=ticks)(?!`))
  | `+
  | <(?:https?://|mailto:)[^\s<>`\[\\]*>
  | (?P<tag>{_TAG.pattern})
  | (?P<bangs>!+(?=\[))
    """,
    re.VERBOSE | re.DOTALL,
)
_MEANING: Final = {
    "&": "&amp;",
    "<": "&lt;",
    "!": "&#33;",
    "[": "&#91;",
    "`": "&#96;",
    "\\": "&#92;",
    "*": "&#42;",
    "_": "&#95;",
    "$": "&#36;",
    "~": "&#126;",
    "|": "&#124;",
}


def _inline(lines: list[str]) -> list[str]:
    text = "\n".join(lines)
    return [_INLINE.sub(_disarmed, text)] if lines else []


# Front ends draw these as a picture, and fetch what it names. They know it by its word alone.
_DIAGRAM: Final = re.compile(r"((?:`{3,}|~{3,})(?:[^\S\n]|\ufeff)*)mermaid", re.IGNORECASE)


def _opening(line: str) -> str:
    """Return an opening fence; where a parser sees none, its language is running text."""
    return _IMAGE.sub("", _TAG.sub("&lt;", line))


def _disarmed(found: re.Match[str]) -> str:
    match found.lastgroup:
        case "escaped":
            return _MEANING[found[0][1]]
        case "math":
            # A formula may not be escaped; a space changes nothing in it.
            return _IMAGE.sub("! ", _TAG.sub("< ", found[0]))
        case "code":
            return _span(found[0], found["inside"])
        case "tag":
            return "&lt;"
        case "bangs":
            return _MEANING["!"] * (len(found[0]) - 1)
        case _:
            return found[0]


def _span(whole: str, inside: str) -> str:
    """Return a code span so that it is harmless also where a parser does not take it for one.

    A table's cell or a link's address may end within it.
    """
    if not (_TAG.search(inside) or _IMAGE.search(inside)):
        return whole
    if inside[0] == inside[-1] == " ":
        inside = inside[1:-1]
    return f"<code>{''.join(_MEANING.get(char, char) for char in inside)}</code>"
