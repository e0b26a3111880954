"""A turn, and the one fold that changes it.

`advance` is pure: no clock, no display, no backend. It takes every event in any order, keeps what
it does not know, and loses no text. `to_json` and `from_json` are its stored form; fields that a
newer version wrote survive being read and written here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, assert_never, get_args

import msgspec

from codex_magic import events as ev
from codex_magic.errors import RecordError
from codex_magic.items import (
    CHANNELS,
    EMPTY,
    AgentMessage,
    Change,
    FileChange,
    Item,
    Plan,
    Status,
    Text,
    ToolCall,
    UnknownItem,
    UserMessage,
    Value,
    well_formed,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from codex_magic.policy import ApprovalPolicy, SandboxPolicy

VERSION: Final = 1
MIME: Final = "application/vnd.codex.turn+json"
REUSED: Final = "shown from the notebook: no model was asked"
"""The notice of a turn that was taken from the notebook instead of being asked again."""
PLAN_ID: Final = "plan"
PROMPT_ID: Final = "prompt"


@dataclass(frozen=True, slots=True)
class Image:
    """An image that goes with a prompt.

    Parameters
    ----------
    name
        What a person calls it: a file, a variable, an address.
    url
        A ``data:`` URL, or an ``https:`` one where the backend may fetch it itself.
    size
        Its width and height in pixels, as it is sent; None where that is not known.
    """

    name: str
    url: str = field(repr=False)
    size: tuple[int, int] | None = None

    @property
    def label(self) -> str:
        """Its name, and how large it is."""
        if self.size is None:
            return self.name
        return "{} ({}\N{MULTIPLICATION SIGN}{})".format(self.name, *self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnRequest:
    """What a cell asks for.

    Parameters
    ----------
    prompt
        The text as it was typed.
    thread
        The name of the thread within the notebook.
    new, resume, fork
        Start the thread afresh; take up a stored one by its id (``last``: the newest of this
        folder); or go on from an earlier turn, in a branch (an empty text: from the last one).
    private
        Use a thread that is stored nowhere.
    reuse
        Show what the notebook keeps of this very turn, where it does, instead of asking again.
    names
        What the person's variables are called, in the order of their making.
    inputs
        A hash of what the answer depends on; see `Turn`.
    model, effort, summary
        Asked of the backend; None leaves it to the backend.
    timeout_s
        Seconds each command may take; None leaves the default.
    quiet
        Show the answer only.
    images
        What the model is to look at beside the prompt.
    schema
        The JSON Schema that the answer must fit; None for prose.
    backend
        Where this turn is to run; None leaves it to the settings.
    """

    prompt: str
    policy: SandboxPolicy
    thread: str = "main"
    new: bool = False
    resume: str | None = None
    fork: str | None = None
    private: bool = False
    reuse: bool = False
    names: tuple[str, ...] = ()
    inputs: str = ""
    model: str | None = None
    effort: str | None = None
    summary: str | None = None
    approval: ApprovalPolicy = "on-request"
    timeout_s: float | None = None
    quiet: bool = False
    images: tuple[Image, ...] = ()
    schema: Mapping[str, Any] | None = None
    backend: str | None = None

    @property
    def cwd(self) -> Path:
        """The folder the turn works in."""
        return self.policy.workspace


class Turn(Value, frozen=True, kw_only=True):
    """One request and everything that came of it.

    Parameters
    ----------
    prompt, backend, thread_name, sandbox, approval
        What was asked for, and how.
    parent
        The id of the turn before this one in its thread; empty for the first.
    inputs
        A hash of what the answer depends on: the prompt, the options, and the turns before.
    names
        What the person's variables were called when it began.
    private
        Whether its thread is stored nowhere; a notebook then keeps its text only.
    tape
        The name of the tape that was played; empty when a model was called.
    structured
        Whether the answer is JSON, by a schema.
    level
        What the machine could enforce for this turn's commands.
    started_at, completed_at
        Seconds since the epoch.
    unknown
        Reports this version did not understand: their name and how often they came.
    newer
        Fields that a newer version wrote, kept for writing.
    """

    prompt: str = ""
    backend: str = ""
    id: str = ""
    thread_id: str = ""
    thread_name: str = "main"
    parent: str = ""
    inputs: str = ""
    names: tuple[str, ...] = ()
    private: bool = False
    model: str = ""
    tape: str = ""
    sandbox: str = ""
    approval: str = ""
    structured: bool = False
    level: str = ""
    status: Status = "in_progress"
    items: tuple[Item, ...] = ()
    notices: tuple[ev.Notice, ...] = ()
    usage: ev.Usage | None = None
    error: ev.TurnError | None = None
    waiting_for: str = ""
    started_at: float | None = None
    completed_at: float | None = None
    unknown: tuple[tuple[str, int], ...] = ()
    newer: dict[str, Any] = {}
    version: int = VERSION

    @property
    def is_over(self) -> bool:
        """Whether nothing more is expected."""
        return self.status != "in_progress"

    @property
    def final_response(self) -> str:
        """The answer: the last final message, or the last message where none is marked so."""
        return "".join(str(item.text) or str(item.draft) for item in self._answer)

    @property
    def is_refusal(self) -> bool:
        """Whether the answer is that the model will not do what was asked."""
        return any(item.refused for item in self._answer)

    @property
    def _answer(self) -> list[AgentMessage]:
        messages = [item for item in self.items if isinstance(item, AgentMessage)]
        final = [item for item in messages if item.phase == "final_answer"]
        return (final or messages)[-1:]

    @property
    def changes(self) -> tuple[Change, ...]:
        """What became of files and cells, in order; what was declined, or failed, is not among it."""
        made = [item for item in self.items if isinstance(item, FileChange)]
        return tuple(
            change for item in made if item.status == "completed" for change in item.changes
        )

    @property
    def duration_ms(self) -> int | None:
        """How long it took, where both ends are known."""
        if self.started_at is None or self.completed_at is None:
            return None
        return round((self.completed_at - self.started_at) * 1000)


def advance(turn: Turn, event: ev.Event) -> Turn:  # noqa: C901, PLR0912 - one flat table
    """Return `turn` after `event`."""
    match event:
        case ev.ItemDelta():
            return _append(turn, event)
        case ev.ItemStarted():
            return _start(turn, event.item)
        case ev.ItemCompleted():
            return _put(turn, event.item)
        case ev.ThreadStarted():
            model = event.model or turn.model
            return msgspec.structs.replace(turn, thread_id=event.thread_id, model=model)
        case ev.TurnStarted():
            at = turn.started_at if event.at is None else event.at
            return msgspec.structs.replace(turn, id=event.turn_id, started_at=at)
        case ev.ToolCallRequested():
            arguments = _shown(event.arguments)
            return _start(turn, ToolCall(id=event.call_id, tool=event.tool, arguments=arguments))
        case ev.ApprovalRequested() | ev.QuestionAsked():
            return msgspec.structs.replace(turn, waiting_for=event.item_id)
        case ev.ApprovalDecided() | ev.QuestionAnswered():
            # An answer to something else, or one that came twice, ends no waiting.
            waits = turn.waiting_for != event.item_id
            return turn if waits else msgspec.structs.replace(turn, waiting_for="")
        case ev.StopRequested() | ev.SteerRequested():
            return turn  # what comes of it is told by other events
        case ev.UsageUpdated():
            usage = event.usage if turn.usage is None else turn.usage + event.usage
            return msgspec.structs.replace(turn, usage=usage)
        case ev.PlanUpdated():
            text = Text(event.explanation) if event.explanation else EMPTY
            plan = Plan(id=PLAN_ID, status="completed", steps=event.steps, text=text)
            return _put(turn, plan)
        case ev.Notice():
            return msgspec.structs.replace(turn, notices=(*turn.notices, event))
        case ev.TurnCompleted():
            return _complete(turn, event)
        case ev.UnknownEvent():
            return _count(turn, event.method)
        case _:
            assert_never(event)


def _index(turn: Turn, item_id: str) -> int | None:
    # From the end: the item that grows is nearly always the last one.
    items = turn.items
    for i in range(len(items) - 1, -1, -1):
        if items[i].id == item_id:
            return i
    return None


def _with(turn: Turn, i: int | None, item: Item) -> Turn:
    if turn.is_over and item.status == "in_progress":
        item = msgspec.structs.replace(item, status="interrupted")
    items = turn.items
    kept = (*items, item) if i is None else (*items[:i], item, *items[i + 1 :])
    return msgspec.structs.replace(turn, items=kept)


def _append(turn: Turn, event: ev.ItemDelta) -> Turn:
    i = _index(turn, event.item_id)
    if i is None:
        return _with(turn, None, UnknownItem(id=event.item_id, text=EMPTY.plus(event.text)))
    item = turn.items[i]
    field = event.channel if event.channel in CHANNELS[type(item)] else "draft"
    if isinstance(item, UnknownItem):
        field = "text"
    grown = getattr(item, field).plus(event.text)
    return _with(turn, i, msgspec.structs.replace(item, **{field: grown}))


def _put(turn: Turn, item: Item) -> Turn:
    i = _index(turn, item.id)
    return _with(turn, i, item if i is None else _merge(turn.items[i], item))


def _start(turn: Turn, item: Item) -> Turn:
    i = _index(turn, item.id)
    if i is not None and turn.items[i].status != "in_progress":
        # It came late: what is finished stays finished, and only text is taken over.
        return _with(turn, i, _merge(item, turn.items[i]))
    return _put(turn, item)


def _merge(old: Item, new: Item) -> Item:
    """Return `new` with every text of `old` that it does not already say."""
    kept = str(new.draft)
    fields: dict[str, Text] = {}
    for channel in (*sorted(CHANNELS[type(old)]), "draft"):
        streamed = getattr(old, channel)
        if not streamed:
            continue
        if channel in CHANNELS[type(new)] and str(streamed).startswith(str(getattr(new, channel))):
            fields[channel] = streamed
        elif str(streamed) not in kept and not _says(new, str(streamed)):
            kept += str(streamed)
    if kept != str(new.draft):
        fields["draft"] = Text(kept)
    return msgspec.structs.replace(new, **fields) if fields else new


def _says(item: Item, text: str) -> bool:
    return any(text in str(getattr(item, channel)) for channel in CHANNELS[type(item)])


def _shown(arguments: Any) -> str:
    try:
        return msgspec.json.encode(arguments, enc_hook=repr).decode()
    except UnicodeError:
        return repr(arguments)


def _complete(turn: Turn, event: ev.TurnCompleted) -> Turn:
    """End the turn; what is still open ends with it, as interrupted."""
    items = tuple(
        msgspec.structs.replace(item, status="interrupted")
        if item.status == "in_progress" and event.status != "in_progress"
        else item
        for item in turn.items
    )
    return msgspec.structs.replace(
        turn,
        status=event.status,
        error=event.error or turn.error,
        completed_at=turn.completed_at if event.at is None else event.at,
        items=items,
        waiting_for="",
    )


def _count(turn: Turn, method: str) -> Turn:
    counts = dict(turn.unknown)
    counts[method] = counts.get(method, 0) + 1
    return msgspec.structs.replace(turn, unknown=tuple(counts.items()))


def opening(request: TurnRequest, *, backend: str, tape: str = "") -> Turn:
    """Return the turn that `request` begins: the person's message and nothing else yet."""
    return Turn(
        prompt=request.prompt,
        backend=backend,
        thread_name=request.thread,
        inputs=request.inputs,
        names=request.names,
        private=request.private,
        sandbox=request.policy.mode,
        approval=request.approval,
        items=(
            UserMessage(
                id=PROMPT_ID,
                status="completed",
                text=Text(request.prompt),
                images=tuple(well_formed(image.label) for image in request.images),
            ),
        ),
        structured=request.schema is not None,
        tape=tape,
    )


# --- the stored form -------------------------------------------------------------------------


def to_json(turn: Turn) -> dict[str, Any]:
    """Return `turn` as JSON values, with the version of this format in ``version``."""
    own = _sound(msgspec.to_builtins(msgspec.structs.replace(turn, newer={}), enc_hook=_encode))
    known = msgspec.json.decode(msgspec.json.encode(own))
    stored: dict[str, Any] = _union({"version": turn.version, **known}, turn.newer)
    return stored


def from_json(data: Any) -> Turn:
    """Read a turn that this or a newer version wrote.

    Raises
    ------
    RecordError
        It is not a turn.
    """
    if not isinstance(data, dict) or not isinstance(data.get("version"), int):
        raise RecordError("this is not a stored turn: it has no version")
    fields = {key: value for key, value in _sound(data).items() if key != "newer"}
    if isinstance(items := fields.get("items"), list):
        fields["items"] = [_readable(item) for item in items]
    try:
        turn: Turn = msgspec.convert(fields, Turn, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise RecordError(f"this stored turn cannot be read: {error}") from None
    newer = _beyond(fields, _whole(turn))
    return msgspec.structs.replace(turn, newer=newer) if newer else turn


UNKNOWN: Final = UnknownItem.__struct_config__.tag
_TAGS: Final = frozenset(kind.__struct_config__.tag for kind in get_args(Item))


def _readable(item: Any) -> Any:
    """Return `item` if some kind of ours fits it, else the same as an unknown item.

    What an older version had to call unknown is taken for what it is as soon as it is known,
    unless more has been said beside it since.
    """
    if isinstance(item, dict) and item.get("type") == UNKNOWN and _fits(item.get("data")):
        inner = item["data"]
        same = (item.get("kind"), item.get("id")) == (inner["type"], inner["id"])
        if same and not item.get("text") and not item.get("draft"):
            return inner
    if _fits(item):
        return item
    data = item if isinstance(item, dict) else {"value": item}
    kind, item_id = data.get("type"), data.get("id")
    return {"type": UNKNOWN, "id": str(item_id), "kind": str(kind), "data": data}


def _fits(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("type"), str):
        return False
    if item["type"] not in _TAGS:
        return False
    try:
        msgspec.convert(item, Item, dec_hook=_decode)
    except msgspec.ValidationError:
        return False
    return True


def _encode(value: Any) -> str:
    if isinstance(value, Text):
        return str(value)
    raise NotImplementedError


def _decode(kind: type, value: Any) -> Any:
    if kind is Text and isinstance(value, str):
        return Text(value) if value else EMPTY
    raise ValueError(f"expected text, found {type(value).__name__}")


def _sound(value: Any) -> Any:
    """Return JSON values with every string in them well-formed."""
    if isinstance(value, str):
        return well_formed(value)
    if isinstance(value, dict):
        return {_sound(key): _sound(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_sound(part) for part in value]
    return value


def _whole(value: Any) -> Any:
    """Return a value in the shape of its JSON, with the fields that are not written, too."""
    if isinstance(value, msgspec.Struct):
        config = value.__struct_config__
        tag = {config.tag_field: config.tag} if config.tag_field else {}
        return tag | {name: _whole(getattr(value, name)) for name in value.__struct_fields__}
    return [_whole(part) for part in value] if isinstance(value, tuple) else value


def _beyond(data: Any, known: Any) -> dict[str, Any]:
    """Return the parts of `data` that `known` does not have, in the shape of `data`."""
    pairs = _children(data)
    ours = dict(_children(known))
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key not in ours:
            found[key] = value
        elif rest := _beyond(value, ours[key]):
            found[key] = rest
    return found


def _union(known: Any, rest: dict[str, Any]) -> Any:
    """Return `known` with the parts that `_beyond` set aside put back."""
    if isinstance(known, list):
        return [_union(value, rest.get(str(i), {})) for i, value in enumerate(known)]
    if not isinstance(known, dict):
        return known
    missing = {key: value for key, value in rest.items() if key not in known}
    return {key: _union(value, rest.get(key, {})) for key, value in known.items()} | missing


def _children(data: Any) -> list[tuple[str, Any]]:
    if isinstance(data, dict):
        return list(data.items())
    if isinstance(data, list):
        return [(str(i), value) for i, value in enumerate(data)]
    return []
