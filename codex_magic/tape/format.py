"""What a lesson is: values, and the JSONL they are written in.

The first line of a file is the header, every other line is one response of the model. A line
names the prompt of its turn; the lines of one prompt play in their order. Playing is another
module's business: nothing here knows HTTP or time.

A chunk is ``[delay, channel, payload]``, the delay in seconds:

=============  ==========================================================================
channel        payload
=============  ==========================================================================
`reasoning`    text of a summary of thoughts
`commentary`   text, a remark on the way
`answer`       text, the answer
`message`      text that says neither, as older models send it
`shell`        arguments of our shell tool: ``{"command": […], "justification": "…"}``
`call`         any other tool: ``{"tool": "…", "arguments": {…}}``
`js`           the source of one script, for models in code mode
`event`        one event as it goes over the wire
`gate`         name of a gate to wait at until it is opened from outside
`failed`       ``{"code": "…", "message": "…"}``: the response ends in this error
`cut`          none: the connection drops
=============  ==========================================================================
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar, get_args

import msgspec
from msgspec import Meta

from codex_magic.errors import RecordError
from codex_magic.items import Value

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

T = TypeVar("T")

Channel = Literal[
    "reasoning",
    "commentary",
    "answer",
    "message",
    "shell",
    "call",
    "js",
    "event",
    "gate",
    "failed",
    "cut",
]
CHANNELS: Final[tuple[Channel, ...]] = get_args(Channel)
CALLS: Final = frozenset({"shell", "call", "js"})
"""Channels that ask for a tool, so that another request follows."""
LAST: Final = frozenset({"failed", "cut"})
"""Channels that nothing can follow."""

Words = Annotated[str, Meta(min_length=1)]


class ShellCall(msgspec.Struct, frozen=True):
    """What a `shell` chunk must have; it may carry more, which goes to the tool as it is."""

    command: Annotated[list[str], Meta(min_length=1)] | Words


class NamedCall(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A call of any tool."""

    tool: Annotated[str, Meta(pattern="^[A-Za-z_][A-Za-z0-9_]*$")]
    arguments: dict[str, Any] = msgspec.field(default_factory=dict)


class Failure(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a response fails after it began."""

    code: Words
    message: str


class RawEvent(msgspec.Struct, frozen=True):
    """What an `event` chunk must have."""

    type: Words


PAYLOADS: Final[Mapping[str, Any]] = {
    "shell": ShellCall,
    "call": NamedCall,
    "event": RawEvent,
    "failed": Failure,
    "cut": None,
}
"""What each channel's payload must look like; those not named here carry text."""


class Chunk(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One piece of a response, after a delay."""

    delay_s: Annotated[float, Meta(ge=0)]
    channel: str
    payload: Any = None

    @property
    def asks(self) -> bool:
        """Whether this chunk asks for a tool, as a raw event can too."""
        if self.channel == "event":
            item = self.payload.get("item") or {}
            done = self.payload["type"] == "response.output_item.done"
            return done and str(item.get("type", "")).endswith("_call")
        return self.channel in CALLS


class Expectation(Value, frozen=True, forbid_unknown_fields=True):
    """What one tool output must look like.

    Parameters
    ----------
    exit
        The exit status.
    pattern
        A regular expression, searched for in what the command printed.
    """

    exit: int = 0
    pattern: str = ""


class Response(Value, frozen=True, forbid_unknown_fields=True):
    """One response of the model: chunks, or an HTTP error in their place.

    Parameters
    ----------
    prompt
        The turn it belongs to.
    expect
        What the calls of the response before must have given, in their order.
    """

    prompt: Words
    expect: tuple[Expectation, ...] = ()
    chunks: tuple[Chunk, ...] = ()
    status: Annotated[int, Meta(ge=400, le=599)] | None = None
    headers: dict[str, str] = msgspec.field(default_factory=dict)
    body: dict[str, Any] = msgspec.field(default_factory=dict)

    @property
    def calls(self) -> tuple[Chunk, ...]:
        """The chunks that ask for a tool."""
        return tuple(chunk for chunk in self.chunks if chunk.asks)

    @property
    def breaks(self) -> bool:
        """Whether this response fails, so that the same request may come again."""
        return self.status is not None or any(c.channel in LAST for c in self.chunks)


class Header(Value, frozen=True, forbid_unknown_fields=True):
    """The first line of a lesson; its key `tape` is the version of the format."""

    tape: Literal[1]
    name: Words
    model: Words
    title: str = ""
    words_per_s: Annotated[float, Meta(gt=0)] = 60.0


class Tape(Value, frozen=True):
    """A lesson: what a model said once, to be played again."""

    header: Header
    responses: tuple[Response, ...]

    @property
    def name(self) -> str:
        """What people call it."""
        return self.header.name

    @property
    def title(self) -> str:
        """What it is about."""
        return self.header.title

    @property
    def model(self) -> str:
        """The model whose shape it plays."""
        return self.header.model

    @property
    def prompts(self) -> tuple[str, ...]:
        """What can be asked, in order."""
        first: dict[str, str] = {}
        for response in self.responses:
            first.setdefault(normal(response.prompt), response.prompt)
        return tuple(first.values())

    @property
    def notice(self) -> str:
        """What an output says when this tape was played."""
        return (
            f"Played from the tape {self.name!r}: no model was called; commands run on this machine"
        )

    def has(self, prompt: str) -> bool:
        """Return whether `prompt` can be asked; white space does not matter."""
        return bool(self.lines(prompt))

    def lines(self, prompt: str) -> tuple[Response, ...]:
        """Return the responses of one prompt, in order."""
        wanted = normal(prompt)
        return tuple(r for r in self.responses if normal(r.prompt) == wanted)

    def no_answer(self, prompt: str = "") -> str:
        """Return the sentence for a prompt that is not on this tape, naming those that are."""
        has = "; ".join(f"“{normal(p)}”" for p in self.prompts)
        asked = f"“{clip(normal(prompt))}”" if normal(prompt) else "this prompt"
        return f"tape {self.name!r} has no answer for {asked}; it has: {has}"


def normal(text: str) -> str:
    """Return `text` with each run of white space as one space."""
    return " ".join(text.split())


def clip(text: str, length: int = 60) -> str:
    """Return `text`, shortened to `length` characters."""
    return text if len(text) <= length else text[: length - 1] + "…"


def read(path: Path) -> Tape:
    """Return the lesson in a file.

    Raises
    ------
    RecordError
        It cannot be read, or is no lesson.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: {error.strerror}") from error
    return parse(data, str(path))


def parse(data: bytes, source: str = "lesson") -> Tape:
    """Return the lesson in `data`; `source` names it in errors.

    Raises
    ------
    RecordError
        Naming `source`, the line, and what is wrong.
    """
    data = data.removeprefix(codecs.BOM_UTF8)  # some editors begin a file with it
    lines = [(n, line) for n, line in enumerate(data.split(b"\n"), 1) if line.strip()]
    if not lines:
        raise RecordError(f"{source} is empty", hint="A lesson begins with a header line")
    header = _line(source, lines[0], Header)
    responses = []
    # The numbers of the lines of each prompt, to check a line against the one before it.
    before: dict[str, tuple[int, Response]] = {}
    for number, line in lines[1:]:
        response = _line(source, (number, line), Response)
        key = normal(response.prompt)
        for fault in _faults(response, before.get(key)):
            raise RecordError(f"{source}, line {number}: {fault}")
        before[key] = (number, response)
        responses.append(response)
    if not responses:
        raise RecordError(f"{source} has a header and no responses")
    return Tape(header=header, responses=tuple(responses))


def encode(tape: Tape) -> bytes:
    """Return `tape` as the lines that `parse` reads."""
    return b"".join(msgspec.json.encode(v) + b"\n" for v in (tape.header, *tape.responses))


def _line(source: str, numbered: tuple[int, bytes], kind: type[T]) -> T:
    number, line = numbered
    try:
        return msgspec.json.decode(line, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RecordError(f"{source}, line {number}: {error}") from error


def _faults(response: Response, before: tuple[int, Response] | None) -> Iterator[str]:
    """Yield what is wrong with a line, seen beside the line before it of the same prompt."""
    if not normal(response.prompt):
        yield "the prompt is blank"
    if (response.status is None) == (not response.chunks):
        yield "a response has either chunks or a status"
    for number, chunk in enumerate(response.chunks, 1):
        for fault in _chunk_faults(chunk):
            yield f"chunk {number} ({chunk.channel}): {fault}"
        if chunk.channel in LAST and number < len(response.chunks):
            yield f"chunk {number} ({chunk.channel}): nothing can follow it"
    for expectation in response.expect:
        try:
            re.compile(expectation.pattern)
        except re.error as error:
            yield f"/{expectation.pattern}/ is no regular expression: {error}"
    yield from _order_faults(response, before)


def _chunk_faults(chunk: Chunk) -> Iterator[str]:
    if chunk.channel not in CHANNELS:
        yield f"there is no such channel; there are {', '.join(CHANNELS)}"
        return
    try:
        msgspec.convert(chunk.payload, PAYLOADS.get(chunk.channel, Words))
    except msgspec.ValidationError as error:
        yield str(error)


def _order_faults(response: Response, before: tuple[int, Response] | None) -> Iterator[str]:
    if before is None:
        if response.expect:
            yield "the first response of a prompt has no outputs to expect anything of"
        return
    number, last = before
    if not last.calls and not last.breaks:
        yield f"it is never played: line {number} asks for no tool, which ends the turn"
    if len(response.expect) > len(last.calls):
        yield f"it expects {len(response.expect)} outputs of line {number}, which asks for {len(last.calls)}"
