"""What of a thread's items can be sent to a model again.

Pure, and on items as they stand on the wire, of whatever shape: a host refuses a whole request for
one call without its output, one output without its call, or one thought that another model had.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Json = dict[str, Any]

ABORTED: Final = "aborted"
INTERRUPTED: Final = 130
"""What a shell calls the end of a command that was interrupted."""


def answered(items: Sequence[Json]) -> list[Json]:
    """Return `items` with every call answered, an open one by "aborted", and no other answers.

    An answer of ours stands behind what the model said in one go, where the next word is another's.
    A call that names no id can have no answer and is left out.
    """
    matched, open_ = _matched(items)
    found: list[Json] = []
    owed: dict[str, Json] = {}  # our answers that are still to come, by the id of their call
    for i, item in enumerate(items):
        if _is_call(item):
            call_id = item.get("call_id")
            if not isinstance(call_id, str):
                continue
            if call_id in owed:
                found.append(owed.pop(call_id))
            if i in open_:
                owed[call_id] = _aborted(item)
        elif _is_output(item) and i not in matched:
            continue
        elif _is_anothers(item):
            found += owed.values()
            owed.clear()
        found.append(item)
    return [*found, *owed.values()]


def _matched(items: Sequence[Json]) -> tuple[set[int], set[int]]:
    """Return the places of the outputs that answer a call, and of the calls that none answers."""
    waiting: dict[tuple[str, str], int] = {}
    matched: set[int] = set()
    open_: set[int] = set()
    for i, item in enumerate(items):
        call_id = item.get("call_id")
        if not isinstance(call_id, str):
            continue
        kind = str(item.get("type"))
        if _is_call(item):
            waiting[call_id, f"{kind}_output"] = i
            open_.add(i)
        elif _is_output(item) and (call_id, kind) in waiting:
            open_.discard(waiting.pop((call_id, kind)))
            matched.add(i)
    return matched, open_


def _aborted(call: Json) -> Json:
    kind = str(call["type"])
    kept = {name: call[name] for name in ("caller",) if name in call}
    return {"type": f"{kind}_output", "call_id": call["call_id"]} | _CALLS[kind](call) | kept


def _text(_call: Json) -> Json:
    return {"output": ABORTED}


def _shell(call: Json) -> Json:
    action = call.get("action")
    action = action if isinstance(action, dict) else {}
    commands = action.get("commands")
    outcome = {"type": "exit", "exit_code": INTERRUPTED}
    output = [
        {"stdout": "", "stderr": ABORTED, "outcome": outcome}
        for _ in (commands if isinstance(commands, list) and commands else [""])
    ]
    limit = action.get("max_output_length")
    return {"output": output} | ({} if limit is None else {"max_output_length": limit})


def _local_shell(call: Json) -> Json:
    own = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**own, "output": ABORTED}


def _patch(_call: Json) -> Json:
    return {"status": "failed", "output": ABORTED}


_CALLS: Final[Mapping[str, Callable[[Json], Json]]] = {
    "function_call": _text,
    "custom_tool_call": _text,
    "shell_call": _shell,
    "local_shell_call": _local_shell,
    "apply_patch_call": _patch,
}
"""The calls that a client answers, and what is in an answer beside the id."""

_OUTPUTS: Final = frozenset(f"{kind}_output" for kind in _CALLS)


def _is_call(item: Json) -> bool:
    kind = item.get("type")
    return isinstance(kind, str) and kind in _CALLS


def _is_output(item: Json) -> bool:
    kind = item.get("type")
    return isinstance(kind, str) and kind in _OUTPUTS


def _is_anothers(item: Json) -> bool:
    """Whether a message is not the model's."""
    return item.get("type", "message") == "message" and item.get("role") != "assistant"


SEALER: Final = "sealed_by"
"""A field of our own on sealed items: who can read them. It never leaves this machine."""

_SEALED: Final = ("reasoning", "compaction")


def sealed(items: Sequence[Json], by: str) -> list[Json]:
    """Return `items` of a response, those that are encrypted marked with who can read them."""
    return [{**item, SEALER: by} if item.get("type") in _SEALED else item for item in items]


def portable(items: Sequence[Json], *, by: str) -> list[Json]:
    """Return `items` as they can be sent in a request that stands alone.

    Their ids go, since nothing is stored at the host that has them; and a thought goes that is not
    followed by what it led to.

    Parameters
    ----------
    by
        Who is asked, as `sealed` has it. Others cannot read thoughts and summaries that it
        encrypted, and it cannot read theirs.
    """
    found: list[Json] = []
    leads_to_something = False
    for item in reversed(items):
        kind = item.get("type")
        if kind == "reasoning":
            if item.get(SEALER) != by or not leads_to_something:
                continue
        else:
            leads_to_something = not (_is_anothers(item) or str(kind).endswith("_output"))
            if kind == "compaction" and item.get(SEALER) != by and "encrypted_content" in item:
                continue
        found.append({name: item[name] for name in item if name not in ("id", SEALER)})
    return found[::-1]
