"""One response of a model, read: the host's events become ours, its items become history.

Pure. The output is what `response.output_item.done` brings, in the order of ``output_index``: some
hosts leave it out of the last event. Deltas are for whoever watches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic import events as ev
from codex_magic.backends.responses import calls
from codex_magic.backends.responses.failures import Failure, of_event
from codex_magic.items import (
    EMPTY,
    AgentMessage,
    Compaction,
    Item,
    Reasoning,
    Status,
    Text,
    UnknownItem,
    WebSearch,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

Json = dict[str, Any]

PARAGRAPH: Final = "\n\n"
ENDED_EARLY: Final = "the connection ended before the answer did"


class Reader:
    """Reads the events of one response.

    Parameters
    ----------
    stem
        What the ids of its items begin with. Hosts' own ids need not differ from each other.

    Attributes
    ----------
    calls
        What the model wants done, in the order of the output.
    usage
        What it cost; None until it is over.
    tokens
        Tokens that the thread now has, as the host counts them.
    is_over
        Whether the host has said that this is all.
    """

    def __init__(self, stem: str) -> None:
        self.usage: ev.Usage | None = None
        self.tokens = 0
        self.is_over = False
        self._stem = stem
        self._done: dict[int, Json] = {}
        self._shown: dict[int, Item] = {}
        self._ranks: list[int] = []
        self._names: dict[int, str] = {}
        self._by_index: dict[int, int] = {}
        self._by_name: dict[str, int] = {}
        self._text: dict[int, list[str]] = {}
        self._readers: Mapping[str, Callable[[Json], list[ev.Event]]] = {
            "response.output_item.added": self._added,
            "response.output_item.done": self._finished,
            "response.output_text.delta": self._said,
            "response.refusal.delta": self._said,
            "response.reasoning_summary_part.added": self._part,
            "response.reasoning_summary_text.delta": self._summarised,
            "response.reasoning_text.delta": self._thought,
            "response.completed": self._completed,
            "response.incomplete": _failed,
            "response.failed": _failed,
            "error": _failed,
        }

    @property
    def output(self) -> list[Json]:
        """The finished items, as the host sent them."""
        places = sorted(self._done, key=lambda place: (self._ranks[place], place))
        return [self._done[place] for place in places]

    @property
    def history(self) -> list[Json]:
        """The same as it may be sent again: none that a host would refuse the thread for."""
        found, named = [], set()
        for item in self.output:
            if item["type"] in calls.KINDS:
                if calls.trouble(item) or item["call_id"] in named:
                    continue
                named.add(item["call_id"])
                found.append(calls.sound(item))
            elif item["type"] != "web_search_call" or _searches(item):
                found.append(item)
        return found

    @property
    def calls(self) -> list[calls.Call]:
        """What the model wants done, of the items that are kept."""
        return [calls.read(item) for item in self.history if item["type"] in calls.KINDS]

    @property
    def lost(self) -> Failure | None:
        """Why a call among the items cannot be answered; None where all can."""
        wanted = (item for item in self.output if item["type"] in calls.KINDS)
        return next((why for item in wanted if (why := calls.trouble(item))), None)

    def take(self, event: Json) -> list[ev.Event]:
        """Return the events that `event` of the host's reports; an unknown one is reported as such.

        Raises
        ------
        Failure
            The host says that the response has failed.
        """
        kind = event.get("type")
        reader = self._readers.get(kind) if isinstance(kind, str) else None
        if reader is None:
            return [] if kind in IGNORED else [ev.UnknownEvent(str(kind), event)]
        try:
            return reader(event)
        except (KeyError, TypeError, AttributeError, ValueError):
            # A shape that has changed is unknown too; the response goes on.
            return [ev.UnknownEvent(str(kind), event)]

    def closing(self) -> list[ev.Event]:
        """Return how the items end that the host never finished."""
        open_ones = [shown for place, shown in self._shown.items() if place not in self._done]
        self._shown = {}
        ended = (msgspec.structs.replace(item, status="interrupted") for item in open_ones)
        return [ev.ItemCompleted(item) for item in ended]

    # --- items --------------------------------------------------------------------------------

    def _place(self, event: Json, *, begins: bool = False) -> int:
        """Return which item an event is about.

        Parameters
        ----------
        begins
            Whether it may be about one that was not heard of before, although its place in the
            output is taken: some hosts do not count.
        """
        index = event.get("output_index")
        item = event.get("item") or {}
        name = str(event.get("item_id") or item.get("id") or item.get("call_id") or "")
        if isinstance(index, int):
            place = self._by_index.get(index)
            is_other = begins and place in self._done and name != self._names.get(place or 0, "")
            if place is None and name in self._by_name:
                place = self._by_index[index] = self._by_name.pop(name)
                self._ranks[place] = index
            if place is None or (is_other and name):
                place = self._by_index[index] = self._new(index)
        elif name:
            if name not in self._by_name:
                self._by_name[name] = self._new()
            place = self._by_name[name]
        else:
            place = len(self._ranks) - 1
            if place < 0 or place in self._done:
                place = self._new()
        self._names.setdefault(place, name)
        return place

    def _new(self, index: int | None = None) -> int:
        self._ranks.append(len(self._ranks) if index is None else index)
        return len(self._ranks) - 1

    def _id(self, place: int) -> str:
        return f"{self._stem}.{place}"

    def _added(self, event: Json) -> list[ev.Event]:
        place = self._place(event, begins=True)
        item = read_item(event["item"], self._id(place), "in_progress")
        if item is None or place in self._shown:
            return []
        self._shown[place] = item
        return [ev.ItemStarted(item)]

    def _finished(self, event: Json) -> list[ev.Event]:
        return self._finish(self._place(event, begins=True), event["item"])

    def _finish(self, place: int, raw: Json) -> list[ev.Event]:
        if place in self._done or not isinstance(raw.get("type"), str):
            return []
        item = read_item(raw, self._id(place), "completed")
        self._done[place] = raw
        return [] if item is None else [ev.ItemCompleted(item)]

    def _delta(
        self, event: Json, kind: type[AgentMessage | Reasoning], channel: str
    ) -> list[ev.Event]:
        place, delta = self._place(event), event["delta"]
        if not isinstance(delta, str):
            raise TypeError
        begun: list[ev.Event] = []
        if place not in self._shown:  # some hosts do not announce an item
            self._shown[place] = item = kind(id=self._id(place))
            begun = [ev.ItemStarted(item)]
        if kind is AgentMessage:
            self._text.setdefault(place, []).append(delta)
        return [*begun, ev.ItemDelta(self._id(place), channel, delta)]

    def _said(self, event: Json) -> list[ev.Event]:
        return self._delta(event, AgentMessage, "text")

    def _summarised(self, event: Json) -> list[ev.Event]:
        return self._delta(event, Reasoning, "summary")

    def _thought(self, event: Json) -> list[ev.Event]:
        return self._delta(event, Reasoning, "content")

    def _part(self, event: Json) -> list[ev.Event]:
        if event["summary_index"] == 0:
            return []
        return [ev.ItemDelta(self._id(self._place(event)), "summary", PARAGRAPH)]

    # --- the end ------------------------------------------------------------------------------

    def _completed(self, event: Json) -> list[ev.Event]:
        self.is_over = True
        response = event.get("response") or {}
        found = self._late(response.get("output") or ())
        found.extend(self._unfinished())
        usage = response.get("usage") or {}
        if usage:
            self.usage = read_usage(usage)
            self.tokens = self.usage.input_tokens + self.usage.output_tokens
            found.append(ev.UsageUpdated(self.usage))
        return found

    def _late(self, output: Any) -> list[ev.Event]:
        """Take from the last event what a host has sent nowhere else."""
        found: list[ev.Event] = []
        known = {name for item in self._done.values() if (name := _name(item))}
        for index, item in enumerate(output):
            place = self._by_index.get(index)
            there = self._done.get(-1 if place is None else place, {})
            is_there = there.get("type") == item.get("type") or _name(item) in known
            if not is_there:
                found.extend(self._finished({"output_index": index, "item": item}))
        return found

    def _unfinished(self) -> list[ev.Event]:
        """Take a message that streamed and was never finished for what it said."""
        found: list[ev.Event] = []
        for place, pieces in self._text.items():
            if place not in self._done:
                said = {"type": "output_text", "text": "".join(pieces)}
                item = {"type": "message", "role": "assistant", "content": [said]}
                found.extend(self._finish(place, item))
        return [*found, *self.closing()]


def _name(item: Json) -> str:
    return str(item.get("call_id") or item.get("id") or "")


_SEARCHES: Final = ("search", "open_page", "find_in_page")


def _searches(item: Json) -> bool:
    """Whether a search can be sent again: hosts refuse kinds that they themselves have sent."""
    action = item.get("action")
    return isinstance(action, dict) and action.get("type") in _SEARCHES


def _failed(event: Json) -> list[ev.Event]:
    raise of_event(event)


IGNORED: Final = frozenset(
    f"response.{name}"
    for name in (
        "created",
        "in_progress",
        "queued",
        "content_part.added",
        "content_part.done",
        "output_text.done",
        "output_text.annotation.added",
        "refusal.done",
        "reasoning_summary_part.done",
        "reasoning_summary_text.done",
        "reasoning_text.done",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "shell_call_command.added",
        "shell_call_command.delta",
        "shell_call_command.done",
        "web_search_call.in_progress",
        "web_search_call.searching",
        "web_search_call.completed",
        "compaction.compacting",
        "metadata",
    )
) | {"codex.rate_limits", "keepalive"}
"""What says nothing that another event does not say."""


def read_usage(usage: Json) -> ev.Usage:
    """Read the tokens of one response."""

    def count(place: Json, name: str) -> int:
        found = place.get(name)
        return found if isinstance(found, int) else 0

    return ev.Usage(
        input_tokens=count(usage, "input_tokens"),
        cached_input_tokens=count(usage.get("input_tokens_details") or {}, "cached_tokens"),
        output_tokens=count(usage, "output_tokens"),
        reasoning_output_tokens=count(usage.get("output_tokens_details") or {}, "reasoning_tokens"),
    )


# --- items ------------------------------------------------------------------------------------


def read_item(raw: Json, item_id: str, status: Status) -> Item | None:
    """Return the item that the host describes; None for a call, which is reported when it is run."""
    match raw.get("type"):
        case "message":
            phase = raw.get("phase")
            known = phase if phase in ("commentary", "final_answer") else None
            return AgentMessage(
                id=item_id,
                status=status,
                text=_text(words(raw)),
                phase=known,
                refused=_is_refusal(raw.get("content")),
            )
        case "reasoning":
            summary = PARAGRAPH.join(_parts(raw.get("summary")))
            content = "".join(_parts(raw.get("content")))
            return Reasoning(
                id=item_id, status=status, summary=_text(summary), content=_text(content)
            )
        case "web_search_call":
            return WebSearch(id=item_id, status=status, query=_query(raw.get("action")))
        case "compaction" | "compaction_summary":
            return Compaction(id=item_id, status=status)
        case kind if kind in calls.KINDS:
            return None
        case kind:
            data = {key: value for key, value in raw.items() if key != "id"}
            return UnknownItem(id=item_id, status=status, kind=str(kind), data=data)


def words(raw: Json) -> str:
    """Return what a message says."""
    content = raw.get("content")
    if isinstance(content, str):
        return content
    said = ((part.get("text") or part.get("refusal") or "") for part in content or ())
    return "".join(str(text) for text in said)


def _is_refusal(content: Any) -> bool:
    parts = content if isinstance(content, list) else ()
    return any(part.get("type") == "refusal" for part in parts if isinstance(part, dict))


def _parts(parts: Any) -> list[str]:
    return [str(part.get("text") or "") for part in parts or ()]


def _query(action: Any) -> str:
    action = action if isinstance(action, dict) else {}
    queries = action.get("queries") or ()
    found = action.get("query") or " · ".join(map(str, queries)) or action.get("url")
    return str(found or action.get("pattern") or "")


def _text(text: str) -> Text:
    return Text(text) if text else EMPTY
