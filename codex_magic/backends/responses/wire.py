"""What is sent to the Responses API: addresses, headers, bodies.

Pure. The prefix of a thread's requests stays the same to the byte, so that the host can reuse what
it has read of it: the instructions first, then the tools, then the items in their order.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from codex_magic.errors import CellError
from codex_magic.items import well_formed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_magic.auth.credentials import Credential
    from codex_magic.backends.base import TurnInput
    from codex_magic.turn import TurnRequest

Json = dict[str, Any]

CLIENT: Final = "codex_magic"
CHATGPT_HOST: Final = "chatgpt.com"
API_HOST: Final = "api.openai.com"
MODELS_VERSION: Final = "0.163.0"
"""The version of Codex whose models we know: an older one is told of fewer."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kind of host takes.

    Parameters
    ----------
    refuses
        Keys of a body that it answers with 400.
    hosted_shell
        Whether it knows the shell in a form of its own.
    fetches
        Whether it fetches images by their address.
    """

    name: str
    base_url: str
    refuses: frozenset[str] = frozenset()
    hosted_shell: bool = True
    fetches: bool = True
    official: bool = True


CHATGPT: Final = Profile(
    "chatgpt",
    f"https://{CHATGPT_HOST}/backend-api/codex",
    # Of what we might send; it takes neither sampling parameters nor a limit of the output.
    frozenset({"max_output_tokens", "temperature", "top_p", "metadata", "truncation", "user"}),
    hosted_shell=False,
    fetches=False,
    official=False,
)
API: Final = Profile("api", f"https://{API_HOST}/v1")


def profile(credential: Credential | None) -> Profile:
    """Return what the host of a credential takes."""
    if credential is not None and credential.kind in ("chatgpt", "accessToken"):
        return CHATGPT
    return API


def dress(credential: Credential | None, version: str) -> dict[str, str]:
    """Return the headers that show a credential, and who asks."""
    headers = {"originator": CLIENT, "user-agent": f"{CLIENT}/{version}"}
    if credential is None:
        return headers
    headers["authorization"] = f"Bearer {credential.token}"
    if credential.account_id:
        headers["chatgpt-account-id"] = credential.account_id
    if credential.residency:
        headers["x-openai-internal-codex-residency"] = credential.residency
    if credential.is_fedramp:
        headers["x-openai-fedramp"] = "true"
    return headers


def of_thread(thread_id: str, turn_state: str = "") -> dict[str, str]:
    """Return the headers that keep a thread's requests on one road; `turn_state` within one turn."""
    headers = dict.fromkeys(("session-id", "thread-id", "x-client-request-id"), thread_id)
    return headers | ({TURN_STATE: turn_state} if turn_state else {})


TURN_STATE: Final = "x-codex-turn-state"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What all requests of one turn have in common."""

    model: str
    instructions: str
    tools: Sequence[Json] = ()
    effort: str | None = None
    summary: str | None = None
    schema: Mapping[str, Any] | None = None
    thread_id: str = ""


def body(asking: Asking, items: Sequence[Json], *, without: frozenset[str] = frozenset()) -> Json:
    """Return the body of a request.

    Parameters
    ----------
    items
        The thread so far.
    without
        What this host does not take: keys, and those inside one as ``reasoning.summary``.
    """
    reasoning = {
        name: value
        for name, value in (("effort", asking.effort), ("summary", asking.summary))
        if value and value != "none" and f"reasoning.{name}" not in without
    }
    if asking.effort == "none":
        reasoning["effort"] = "none"
    form = None
    if asking.schema is not None:
        form = {"type": "json_schema", "name": SCHEMA, "schema": asking.schema, "strict": True}
    whole: dict[str, Any] = {
        "model": asking.model,
        "instructions": asking.instructions,
        "tools": list(asking.tools),
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": reasoning,
        "text": {"format": form} if form else {},
        "input": list(items),
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": asking.thread_id,
        "store": False,
        "stream": True,
    }
    if not asking.tools:
        for name in ("tools", "tool_choice", "parallel_tool_calls"):
            del whole[name]
    return {key: value for key, value in whole.items() if value != {} and key not in without}


SCHEMA: Final = "codex_output_schema"

OPTIONAL: Final = frozenset(
    {
        "include",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning",
        "reasoning.effort",
        "reasoning.summary",
        "store",
        "tool_choice",
    }
)
"""What a request can do without, on hosts that do not know it."""

_NAMED: Final = re.compile(
    r"(?:unsupported|unknown|unrecognized|unexpected) (?:parameter|argument|field|key|property)\W+"
    r"([a-z_]+(?:\.[a-z_]+)*)",
    re.IGNORECASE,
)
_SEALED: Final = "encrypted content is not supported"


def refused(message: str) -> str:
    """Return which part of a body that can be left out a 400 names; empty for none.

    A value that is refused is not a part: it is for the person to choose another.
    """
    if _SEALED in message.lower():
        return "include"
    found = (name for name in _NAMED.findall(message) if name in OPTIONAL)
    return next(found, "")


# --- items ------------------------------------------------------------------------------------


def text_item(role: str, text: str) -> Json:
    """Return a message; `role` is ``user``, ``developer`` or ``assistant``."""
    kind = "output_text" if role == "assistant" else "input_text"
    return {
        "type": "message",
        "role": role,
        "content": [{"type": kind, "text": well_formed(text)}],
    }


def opening(turn: TurnInput, history: Sequence[Json]) -> list[Json]:
    """Return the items that begin a turn: notes that say something new, then the prompt."""
    notes = [text_item("developer", _tagged(name, text)) for name, text in turn.context.items()]
    notes += [
        text_item("user", _tagged(f"external_{name}", text)) for name, text in turn.project.items()
    ]
    # A note on images is about those of its own turn.
    new = [note for note in notes if note != _latest(history, note) or _head(note) == IMAGES]
    return [*new, _prompt(turn)]


IMAGES: Final = "<images>"


def _tagged(name: str, text: str) -> str:
    return f"<{name}>\n{text}\n</{name}>"


def _latest(history: Sequence[Json], note: Json) -> Json | None:
    """Return the last note of the same name that the thread already has."""
    head = _head(note)
    same = (item for item in reversed(history) if item.get("role") == note["role"])
    return next((item for item in same if _head(item) == head), None)


def _head(note: Json) -> str:
    content = note.get("content") or [{}]
    return str(content[0].get("text") or "").partition("\n")[0]


def _prompt(turn: TurnInput) -> Json:
    images = [
        {"type": "input_image", "image_url": image.url, "detail": "auto"}
        for image in turn.request.images
    ]
    prompt = {"type": "input_text", "text": well_formed(turn.request.prompt)}
    return {"type": "message", "role": "user", "content": [*images, prompt]}


def check_images(request: TurnRequest, takes: Profile) -> None:
    """Make sure that a host can get at the images of a turn.

    Raises
    ------
    CellError
        One is named by its address, which this host does not fetch.
    """
    far = (image for image in request.images if not image.url.startswith("data:"))
    if not takes.fetches and (image := next(far, None)) is not None:
        raise CellError(
            f"{image.name} is an address, which a ChatGPT sign-in does not fetch",
            hint="Save the image in a file, and name the file",
        )


def has_images(items: Sequence[Json]) -> bool:
    """Whether an image is among what is said in `items`."""
    return any(
        part.get("type") == "input_image" for item in items for part in item.get("content") or ()
    )


def without_images(item: Json) -> Json:
    """Return a message without its images."""
    kept = [part for part in item.get("content") or () if part.get("type") != "input_image"]
    return {**item, "content": kept}


def said(items: Sequence[Json]) -> list[tuple[str, str]]:
    """Return what people and agents said in `items`, without our notes and what we quoted."""
    pairs = []
    for item in items:
        if item.get("type") != "message" or item.get("role") not in ("user", "assistant"):
            continue
        texts = [str(part.get("text") or "") for part in item.get("content") or ()]
        if item["role"] == "assistant":
            pairs.append(("agent", "".join(texts)))
        elif not texts[-1].startswith("<external_"):
            pairs.append(("user", texts[-1]))
    return [(who, text) for who, text in pairs if text]
