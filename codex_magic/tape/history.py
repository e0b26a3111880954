"""What the hosts refuse in the history that a request carries.

Pure. Every call has its output and every output its call; every item has the fields of its kind.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from codex_magic.tape import request as asked
from codex_magic.tape.wire import error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codex_magic.tape.request import Body
    from codex_magic.tape.steps import Reply

Item = dict[str, Any]

CALLS: Final = frozenset(
    f"{kind}_call" for kind in ("function", "custom_tool", "shell", "local_shell", "apply_patch")
)
"""Calls that the client answers."""
OTHERS: Final = frozenset(
    [
        "additional_tools",
        "code_interpreter_call",
        "compaction",
        "compaction_summary",
        "compaction_trigger",
        "computer_call",
        "computer_call_output",
        "configuration_update",
        "file_search_call",
        "image_generation_call",
        "item_reference",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_call",
        "mcp_list_tools",
        "message",
        "program",
        "program_output",
        "reasoning",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    ]
)
KINDS: Final = CALLS | OTHERS | {f"{kind}_output" for kind in CALLS}
CALL: Final = frozenset(["type", "id", "call_id", "status", "caller", "created_by"])
FIELDS: Final = {
    "message": frozenset(["type", "id", "role", "content", "status", "phase"]),
    "reasoning": frozenset(["type", "id", "summary", "content", "encrypted_content", "status"]),
    "function_call": CALL | {"name", "namespace", "arguments", "async"},
    "function_call_output": CALL | {"output"},
    "custom_tool_call": CALL | {"name", "namespace", "input"},
    "custom_tool_call_output": CALL | {"output"},
    "shell_call": CALL | {"action", "environment"},
    "shell_call_output": CALL | {"output", "max_output_length"},
    "local_shell_call": CALL | {"action"},
    "local_shell_call_output": CALL | {"output"},
}
"""The fields of the kinds that are best known."""
PRIVATE: Final = "internal_chat_message_metadata_passthrough"
"""What Codex may add to any item."""
SEARCHES: Final = frozenset({"search", "open_page", "find_in_page"})
CONTENTS: Final = frozenset(["input_text", "input_image", "input_file", "output_text", "refusal"])
GIVEN: Final = frozenset({"input_text", "input_image", "input_file"})


def faults(body: Body, *, only_data_images: bool) -> Iterator[Reply]:
    """Yield what a host would refuse, the first of which it does.

    Parameters
    ----------
    only_data_images
        Whether the host can see no image that it would have to fetch.
    """
    history = asked.items(body)
    for number, item in enumerate(history):
        at = f"input[{number}]"
        yield from _fields(item, at)
        yield from CHECKS.get(_kind(item), _nothing)(item, at)
        if only_data_images:
            yield from _images(item, at)
    yield from _ids(history)
    yield from _kept(history, stored=body.get("store") is not False)
    yield from _pairs(history)
    yield from _unfollowed(history)


def _kind(item: Item) -> str:
    return str(item.get("type", "message"))


def _spoken(kind: str) -> str:
    return kind.replace("_", " ")


def _refused(told: str, code: str | None = None, param: str = "input") -> Reply:
    return error(400, code, told, param)


def _fields(item: Item, at: str) -> Iterator[Reply]:
    kind = _kind(item)
    if kind not in KINDS:
        yield _refused(f"Invalid value: '{kind}'.", "invalid_value", at)
    for name in item:
        if name not in FIELDS.get(kind, item) and name != PRIVATE:
            where = f"{at}.{name}"
            yield _refused(f"Unknown parameter: '{where}'.", "unknown_parameter", where)
    # The older shell's output may come without: then its call counts as unanswered, below.
    paired = kind in CALLS or kind.removesuffix("_output") in CALLS - {"local_shell_call"}
    if paired and not item.get("call_id"):
        yield _missing(f"{at}.call_id")


def _missing(where: str) -> Reply:
    told = f"Missing required parameter: '{where}'."
    return _refused(told, "missing_required_parameter", where)


def _invalid_type(where: str, wanted: str, value: object) -> Reply:
    given = {str: "a string", list: "an array", dict: "an object", type(None): "null"}
    told = f"expected {wanted}, but got {given.get(type(value), 'another type')} instead."
    return _refused(f"Invalid type for '{where}': {told}", "invalid_type", where)


def _nothing(_item: Item, _at: str) -> Iterator[Reply]:
    yield from ()


def _message(item: Item, at: str) -> Iterator[Reply]:
    if item.get("role") not in {"user", "assistant", "developer", "system"}:
        told = f"Invalid value: '{item.get('role')}'."
        yield _refused(told, "invalid_value", f"{at}.role")
    content = item.get("content")
    if isinstance(content, str):
        return
    if not isinstance(content, list):
        yield _invalid_type(f"{at}.content", "one of an array of objects or string", content)
        return
    said = item.get("role") == "assistant"
    allowed = CONTENTS - GIVEN if said else CONTENTS
    for number, part in enumerate(content):
        if part.get("type") not in allowed:
            has = ", ".join(f"'{kind}'" for kind in sorted(allowed))
            told = f"Invalid value: '{part.get('type')}'. Supported values are: {has}."
            yield _refused(told, "invalid_value", f"{at}.content[{number}]")


def _arguments(item: Item, at: str) -> Iterator[Reply]:
    for name in ("name", "arguments" if item["type"] == "function_call" else "input"):
        if not isinstance(item.get(name), str):
            yield _invalid_type(f"{at}.{name}", "a string", item.get(name))


def _output(item: Item, at: str) -> Iterator[Reply]:
    output = item.get("output")
    if isinstance(output, str):
        return
    if not isinstance(output, list):
        yield _invalid_type(f"{at}.output", "one of an array of objects or string", output)
        return
    for number, part in enumerate(output):
        if part.get("type") not in GIVEN:
            told = f"Invalid value: '{part.get('type')}'."
            yield _refused(told, "invalid_value", f"{at}.output[{number}]")


def _text_output(item: Item, at: str) -> Iterator[Reply]:
    if not isinstance(item.get("output"), str):
        yield _invalid_type(f"{at}.output", "a string", item.get("output"))


def _shell_output(item: Item, at: str) -> Iterator[Reply]:
    output = item.get("output")
    if not isinstance(output, list):
        yield _invalid_type(f"{at}.output", "an array of objects", output)
        return
    for number, entry in enumerate(output):
        where = f"{at}.output[{number}]"
        for name in ("stdout", "stderr"):
            if not isinstance(entry.get(name), str):
                yield _invalid_type(f"{where}.{name}", "a string", entry.get(name))
        outcome = entry.get("outcome") or {}
        if outcome.get("type") not in {"exit", "timeout"}:
            yield _missing(f"{where}.outcome.type")
        if outcome.get("type") == "exit" and not isinstance(outcome.get("exit_code"), int):
            yield _missing(f"{where}.outcome.exit_code")


def _searched(item: Item, at: str) -> Iterator[Reply]:
    kind = (item.get("action") or {}).get("type")
    if kind not in SEARCHES:
        has = "'search', 'open_page', and 'find_in_page'"
        told = f"Invalid value: '{kind}'. Supported values are: {has}."
        yield _refused(told, "invalid_value", f"{at}.action.type")


CHECKS: Final[dict[str, Callable[[Item, str], Iterator[Reply]]]] = {
    "message": _message,
    "function_call": _arguments,
    "custom_tool_call": _arguments,
    "function_call_output": _output,
    "custom_tool_call_output": _output,
    "local_shell_call_output": _text_output,
    "shell_call_output": _shell_output,
    "web_search_call": _searched,
}


def _images(item: Item, at: str) -> Iterator[Reply]:
    parts = item.get("content") or item.get("output")
    for part in parts if isinstance(parts, list) else ():
        if part.get("type") == "input_image":
            url = str(part.get("image_url", ""))
            if not url.startswith("data:"):
                told = f"Error while downloading {url}."
                yield _refused(told, "failed_to_download_image", at)


def _ids(history: list[Item]) -> Iterator[Reply]:
    seen: set[str] = set()
    for item in history:
        item_id = item.get("id")
        # The output of the older shell has the id of its call.
        if not item_id or _kind(item) == "local_shell_call_output":
            continue
        if item_id in seen:
            told = f"Duplicate item found with id {item_id}."
            yield _refused(f"{told} Remove duplicate items from your input and try again.")
        seen.add(item_id)


def _kept(history: list[Item], *, stored: bool) -> Iterator[Reply]:
    """Yield what refers to something that the host would have to have kept."""
    for item in history:
        named = _kind(item) == "item_reference"
        sealed = _kind(item) != "reasoning" or item.get("encrypted_content")
        if named or (not sealed and not stored):
            told = f"Item with id '{item.get('id')}' not found."
            if not stored:
                told += (
                    " Items are not persisted when `store` is set to false. Try again with `store`"
                    " set to true, or remove this item from your input."
                )
            yield _refused(told)


def _pairs(history: list[Item]) -> Iterator[Reply]:
    made: dict[tuple[str, str], Item] = {}
    answered: set[tuple[str, str]] = set()
    for number, item in enumerate(history):
        kind, call_id = _kind(item), str(item.get("call_id") or "")
        if kind in CALLS:
            made[kind, call_id] = item
        asking = kind.removesuffix("_output")
        if asking == kind or asking not in CALLS or not call_id:
            continue
        call = made.get((asking, call_id))
        if call is None:
            told = f"No tool call found for {_spoken(asking)} output with call_id {call_id}."
            yield _refused(told)
        else:
            yield from _echoes(call, item, f"input[{number}]")
        answered.add((asking, call_id))
    for kind, call_id in made:
        if (kind, call_id) not in answered:
            yield _refused(f"No tool output found for {_spoken(kind)} {call_id}.")


def _echoes(call: Item, output: Item, at: str) -> Iterator[Reply]:
    """Yield what an output does not repeat of its call, or does not answer in it."""
    if call.get("caller") != output.get("caller"):
        yield _refused(f"'{at}.caller' must be that of the call.", "invalid_value", f"{at}.caller")
    if _kind(call) != "shell_call":
        return
    action = call.get("action") or {}
    if action.get("max_output_length") != output.get("max_output_length"):
        where = f"{at}.max_output_length"
        yield _refused(f"'{where}' must be that of the call.", "invalid_value", where)
    commands, given = len(action.get("commands") or ()), len(output.get("output") or ())
    if commands != given:
        told = f"Expected one output for each of {commands} commands, but got {given}."
        yield _refused(told, "invalid_value", f"{at}.output")


def _unfollowed(history: list[Item]) -> Iterator[Reply]:
    # Thoughts may end a history: Codex sends what came of a broken stream, to go on from there.
    for item, after in pairwise(history):
        if _kind(item) == "reasoning" and _is_given(after):
            told = "was provided without its required following item."
            yield _refused(f"Item '{item.get('id')}' of type 'reasoning' {told}")


def _is_given(item: Item) -> bool:
    """Return whether an item comes from the client and not from the model."""
    said = _kind(item) == "message" and item.get("role") != "assistant"
    return said or _kind(item).endswith("_output")
