"""What was asked: a model request, read in either of its two shapes.

Older models are offered function tools and call them by name. The newer ones work in *code
mode*: they are offered `exec`, and reach every other tool from the script they write for it.
Reading only; nothing here answers.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

Body = Mapping[str, Any]
Shape = Literal["functions", "code"]

CHATGPT: Final = "/backend-api/"
"""Below this path is what only ChatGPT's host has."""
SCRIPT_HEADER: Final = re.compile(r"\AScript \w+[^\n]*\nWall time [^\n]*\nOutput:\n")
"""What code mode puts in front of the output of a script."""
HEADING: Final = re.compile(r"^### `([^`]+)`", re.MULTILINE)
"""How the description of `exec` introduces each tool that a script can reach."""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request; `body` is the decoded JSON of a POST, `path` is without the query."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: Body
    query: str = ""

    def header(self, name: str) -> str:
        """Return a header, whatever the case of its name; empty if it was not sent."""
        return next((v for k, v in self.headers.items() if k.lower() == name.lower()), "")

    @property
    def token(self) -> str:
        """The bearer token; empty without one."""
        kind, _, token = self.header("authorization").partition(" ")
        return token.strip() if kind.lower() == "bearer" else ""

    @property
    def for_chatgpt(self) -> bool:
        """Whether this is asked of ChatGPT's host and not of the API's."""
        return self.path.startswith(CHATGPT)


def items(body: Body) -> list[dict[str, Any]]:
    """Return the history that the request carries."""
    sent = body.get("input")
    return [i for i in sent if isinstance(i, dict)] if isinstance(sent, list) else []


def shape(body: Body) -> Shape:
    """Return which of the two shapes of model is addressed."""
    first = next(iter(items(body)), {})
    return "code" if first.get("type") == "additional_tools" else "functions"


def parts(item: Mapping[str, Any]) -> list[str]:
    """Return the texts of an item's content or output."""
    content = item.get("content", item.get("output"))
    if isinstance(content, str):
        return [content]
    if not isinstance(content, list):
        return []
    return [text for p in content if isinstance(p, dict) and (text := _text(p)) is not None]


def _text(part: Mapping[str, Any]) -> str | None:
    """Return what a part says; None for one without words, as an image."""
    if "outcome" in part:  # one command of a shell
        return f"{part.get('stdout', '')}{part.get('stderr', '')}"
    return str(part["text"]) if "text" in part else None


def texts(body: Body, role: str) -> list[str]:
    """Return what each message of `role` says, in order."""
    return ["\n".join(parts(item)) for item in items(body) if is_message(item, role)]


def is_message(item: Mapping[str, Any], role: str) -> bool:
    """Return whether `item` is a message of `role`."""
    return item.get("type", "message") == "message" and item.get("role") == role


def is_call(item: Mapping[str, Any]) -> bool:
    """Return whether `item` is the model asking for a tool."""
    return str(item.get("type", "")).endswith("_call")


def is_output(item: Mapping[str, Any]) -> bool:
    """Return whether `item` is what a tool gave."""
    return str(item.get("type", "")).endswith("_call_output")


def output(item: Mapping[str, Any]) -> str:
    """Return what a tool gave, without what code mode puts in front of it."""
    return SCRIPT_HEADER.sub("", "".join(parts(item)))


def outputs(history: list[dict[str, Any]], calls: list[dict[str, Any]]) -> list[str]:
    """Return what each of `calls` gave; nothing for a call without an output."""
    given: dict[str, str] = {}
    for item in filter(is_output, history):
        call_id = str(item.get("call_id"))
        # A script that reports in between sends several outputs for one call.
        given[call_id] = given.get(call_id, "") + output(item)
    return [given.get(str(call.get("call_id")), "") for call in calls]


def words(body: Body) -> int:
    """Return how many words the request carries, for a plausible bill."""
    return sum(len(text.split()) for item in items(body) for text in parts(item))


def direct_tools(body: Body) -> Iterator[str]:
    """Yield the tools that the model itself can call, by the names it sees."""
    for tool in offers(body):
        if tool.get("type") != "namespace":
            yield tool_name(tool)
            continue
        prefix = "" if tool.get("name") == "functions" else f"{tool.get('name')}."
        for inner in tool.get("tools") or ():
            yield prefix + tool_name(inner)


def nested_tools(body: Body) -> Iterator[str]:
    """Yield the tools that a script of the model can reach, where there are scripts."""
    for tool in offers(body):
        for inner in tool.get("tools") or ():
            if inner.get("name") == "exec":
                yield from HEADING.findall(str(inner.get("description", "")))


def tool_name(tool: Mapping[str, Any]) -> str:
    """Return what a tool is called; hosted tools have only their type."""
    return str(tool.get("name") or tool.get("type"))


def offers(body: Body) -> Iterator[dict[str, Any]]:
    """Yield what is offered to the model, wherever the request says so."""
    yield from body.get("tools") or ()
    for item in items(body):
        if item.get("type") == "additional_tools":
            yield from item.get("tools") or ()
