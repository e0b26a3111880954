"""The lines of a stored thread: one JSON object each, of a kind, and what they come to together.

Pure: it knows no file. A line of a kind that this version does not know is passed over and stays
where it is; one that cannot be read is counted. Nothing in a line is obeyed, only its shape counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, get_args

import msgspec

from codex_magic.backends.responses.replay import answered
from codex_magic.items import well_formed

if TYPE_CHECKING:
    from collections.abc import Iterable

Json = dict[str, Any]

VERSION: Final = 1
ORIGIN: Final = "codex-magic"
PREVIEW: Final = 200


class _Line(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="kind"):
    """What stands on one line."""


class Parent(msgspec.Struct, frozen=True, kw_only=True):
    """The thread that another one branched off, and the last turn that they share."""

    thread_id: str
    turn_id: str


class Head(_Line, frozen=True, kw_only=True, tag="thread"):
    """What a thread is; its first line.

    Parameters
    ----------
    preview
        How its first prompt begins, for a list of threads.
    """

    version: int
    id: str
    cwd: str
    created_at: float
    origin: str = ""
    title: str = ""
    preview: str = ""
    parent: Parent | None = None


class TurnLine(_Line, frozen=True, kw_only=True, tag="turn"):
    """A turn begins; `request` is what the person typed. It takes its thread out of the archive."""

    id: str
    at: float
    model: str
    account: str
    request: str


class ItemsLine(_Line, frozen=True, kw_only=True, tag="items"):
    """Items as they went to the model or came from it; of no turn where they began the thread."""

    turn_id: str
    items: list[Json]


class EndLine(_Line, frozen=True, kw_only=True, tag="end"):
    """A turn is over."""

    turn_id: str
    status: str
    at: float


class CompactedLine(_Line, frozen=True, kw_only=True, tag="compacted"):
    """From here on, `items` are sent instead of all that came before."""

    turn_id: str
    items: list[Json]


class TitleLine(_Line, frozen=True, kw_only=True, tag="title"):
    """The thread is called something else."""

    title: str


class ArchivedLine(_Line, frozen=True, kw_only=True, tag="archived"):
    """The thread is taken off the list, or put there again."""

    archived: bool


Line = Head | TurnLine | ItemsLine | EndLine | CompactedLine | TitleLine | ArchivedLine


class _Kind(msgspec.Struct):
    kind: str


_LINE: Final = msgspec.json.Decoder(Line)
_KIND: Final = msgspec.json.Decoder(_Kind)
_KINDS: Final = frozenset(kind.__struct_config__.tag for kind in get_args(Line))


def encode(line: Line) -> bytes:
    """Return a line with its end; halves of characters, which JSON cannot say, are replaced."""
    try:
        return msgspec.json.encode(line) + b"\n"
    except UnicodeEncodeError:
        whole = json.dumps(msgspec.to_builtins(line), ensure_ascii=False)
        return msgspec.json.encode(json.loads(well_formed(whole))) + b"\n"


def begins(kind: type[Line]) -> bytes:
    """Return how every line of a kind begins behind another one, to look for it unread."""
    return f'\n{{"kind":"{kind.__struct_config__.tag}"'.encode()


def decode(raw: bytes) -> Line | None:
    """Read a line; None if it is of a kind that this version does not know.

    Raises
    ------
    ValueError
        It cannot be read.
    """
    try:
        line: Line = _LINE.decode(raw)
    except msgspec.ValidationError:
        if _KIND.decode(raw).kind in _KINDS:
            raise
        return None
    except RecursionError:
        raise ValueError("it is too deep") from None
    return line


@dataclass(slots=True)
class Told:
    """A turn as its lines tell it; `status` is empty while it has no end."""

    id: str
    prompt: str
    items: list[Json] = field(default_factory=list)
    status: str = ""


@dataclass(slots=True)
class Record:
    """A thread as its lines tell it.

    Parameters
    ----------
    items
        What is sent to a model of all this, in order.
    model, account
        Those of the last turn.
    broken
        How many lines cannot be read.
    """

    head: Head | None = None
    title: str = ""
    items: list[Json] = field(default_factory=list)
    turns: list[Told] = field(default_factory=list)
    model: str = ""
    account: str = ""
    broken: int = 0

    @property
    def unfinished(self) -> str:
        """The id of the last turn, if it never ended; else empty."""
        return self.turns[-1].id if self.turns and not self.turns[-1].status else ""


def fold(raws: Iterable[bytes]) -> Record:
    """Return what `raws` tell, every call among the items answered."""
    record = Record()
    turns: dict[str, Told] = {}
    for raw in raws:
        try:
            line = decode(raw)
        except ValueError:
            record.broken += not raw.isspace()
        else:
            _advance(record, turns, line)
    record.items = answered(record.items)
    return record


def _advance(record: Record, turns: dict[str, Told], line: Line | None) -> None:
    match line:
        case Head() if record.head is None:
            record.head, record.title = line, record.title or line.title
        case TurnLine():
            record.model, record.account = line.model, line.account
            turns[line.id] = turn = Told(line.id, line.request)
            record.turns.append(turn)
        case ItemsLine():
            record.items += line.items
            if line.turn_id in turns:
                turns[line.turn_id].items += line.items
        case EndLine(turn_id=turn_id) if turn_id in turns:
            turns[turn_id].status = line.status
        case CompactedLine():
            record.items = list(line.items)
        case TitleLine():
            record.title = line.title
        case _:
            pass


@dataclass(slots=True)
class Shared:
    """What a branch has of a thread: its lines up to a turn, without those about itself."""

    head: Head | None = None
    title: str = ""
    raws: list[bytes] = field(default_factory=list)


def shared(raws: Iterable[bytes], until: str) -> Shared | None:
    """Return what a branch behind a turn has, or behind the last for an empty id; None without one."""
    found = Shared()
    is_there, is_over = not until, False
    behind: list[bytes] | None = []
    for raw in raws:
        try:
            line = decode(raw)
        except ValueError:
            continue
        if isinstance(line, Head):
            found.head, found.title = line, found.title or line.title
        elif isinstance(line, TitleLine):
            found.title = line.title
        elif isinstance(line, ArchivedLine):
            continue
        elif is_over:
            # A summary that was asked for behind the last turn is a part of what it goes on with;
            # behind an earlier one, the turns themselves are there to go on with.
            behind = None if isinstance(line, TurnLine) or behind is None else [*behind, raw]
        elif isinstance(line, TurnLine) and until and is_there:
            is_over, behind = True, None  # the turn that was asked for never ended
        else:
            found.raws.append(raw)
            is_there = is_there or (isinstance(line, TurnLine) and line.id == until)
            is_over = bool(until) and isinstance(line, EndLine) and line.turn_id == until
    found.raws.extend(behind or ())
    return found if is_there else None


def said(turn: Told) -> list[tuple[str, str]]:
    """Return what the person and the agent said in a turn: ``user`` or ``agent``, and the text.

    What the person said later than the prompt stands behind something of the model's; what stands
    before that is what we told the model beside the prompt.
    """
    pairs = [("user", turn.prompt)]
    has_begun = False
    for item in turn.items:
        role = item.get("role") if item.get("type") == "message" else None
        has_begun = has_begun or role in (None, "assistant")
        if role == "assistant":
            pairs.append(("agent", _text(item)))
        elif role == "user" and has_begun:
            pairs.append(("user", _text(item)))
    return [(who, text) for who, text in pairs if text]


def _text(item: Json) -> str:
    content = item.get("content")
    if isinstance(content, str):
        return content
    parts = (
        [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    )
    texts = (part.get("text", part.get("refusal")) for part in parts)
    return "\n".join(text for text in texts if isinstance(text, str) and text)
