"""What the real hosts refuse, and in which words.

Pure: a request in, the refusal out, or nothing for what they take. The rules are those that
have been seen of the hosts; where only the rule is known and not how it is put, it is put here.
A request is judged from outside to inside: headers, fields, tools, and then its history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal

from codex_magic.tape import request as asked
from codex_magic.tape.history import faults as history_faults
from codex_magic.tape.schemas import loose
from codex_magic.tape.steps import Reply
from codex_magic.tape.wire import error

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from codex_magic.tape.request import Body, Request

Profile = Literal["chatgpt", "api"]

COMMON: Final = frozenset(
    [
        "client_metadata",
        "include",
        "input",
        "instructions",
        "model",
        "parallel_tool_calls",
        "prompt_cache_key",
        "reasoning",
        "service_tier",
        "store",
        "stream",
        "text",
        "tool_choice",
        "tools",
    ]
)
"""Fields that both hosts take. ChatGPT's is known to take these, and no other."""
API_ONLY: Final = frozenset(
    [
        "access_programs",
        "background",
        "background_options",
        "context_management",
        "conversation",
        "image",
        "max_output_tokens",
        "max_tool_calls",
        "metadata",
        "moderation",
        "previous_response_id",
        "prompt",
        "prompt_cache_options",
        "prompt_cache_retention",
        "safety_identifier",
        "stream_options",
        "temperature",
        "top_logprobs",
        "top_p",
        "truncation",
        "user",
    ]
)
LITE: Final = "x-openai-internal-codex-responses-lite"
LITE_TOOLS: Final = frozenset({"custom", "function", "namespace", "tool_search"})
FOUNDATIONS: Final = frozenset({"developer", "system"})
"""Roles of a first message that can stand for instructions, as Codex sends them."""


def refusal(
    profile: Profile, request: Request, models: Sequence[Mapping[str, Any]] = ()
) -> Reply | None:
    """Return how a host refuses a model request, or nothing.

    Parameters
    ----------
    models
        Rows of the catalogue; without any, every model is known and has every effort.
    """
    return next(_faults(profile, request, models), None)


def _faults(
    profile: Profile, request: Request, models: Sequence[Mapping[str, Any]]
) -> Iterator[Reply]:
    if profile == "chatgpt":
        yield from _chatgpt(request, models)
    else:
        yield from _api(request.body)
    yield from _effort(request.body, models)
    yield from _tools(request.body)
    yield from _choice(request.body)
    yield from _format(request.body)
    yield from history_faults(request.body, only_data_images=profile == "chatgpt")


def _chatgpt(request: Request, models: Sequence[Mapping[str, Any]]) -> Iterator[Reply]:
    body = request.body
    if not request.token or not request.header("chatgpt-account-id"):
        yield Reply(401, {"detail": "Unauthorized"})
    for name in body:
        if name not in COMMON:
            yield _detail(f"Unsupported parameter: {name}")
    if body.get("store") is not False:
        yield _detail("Store must be set to false")
    if body.get("stream") is not True:
        yield _detail("Stream must be set to true")
    if not _instructed(body):
        yield _detail("Instructions are required")
    if not isinstance(body.get("input"), list):
        yield _detail("Input must be a list")
    if not _known(body.get("model"), models):
        told = "is not supported when using Codex with a ChatGPT account."
        yield _detail(f"The '{body.get('model')}' model {told}")
    if request.header(LITE) == "true":
        yield from _lite(body)


def _instructed(body: Body) -> bool:
    if "instructions" in body:
        return bool(str(body["instructions"] or "").strip())
    first = next(iter(asked.items(body)), {})
    return first.get("role") in FOUNDATIONS


def _known(model: object, models: Sequence[Mapping[str, Any]]) -> bool:
    if not model or not isinstance(model, str):
        return False
    return not models or any(row.get("slug") == model for row in models)


def _lite(body: Body) -> Iterator[Reply]:
    given = (body.get("reasoning") or {}).get("context")
    if given != "all_turns":
        told = (
            "X-OpenAI-Internal-Codex-Responses-Lite requires reasoning.context to be 'all_turns'."
        )
        yield error(400, "unsupported_value", told, "reasoning.context")
    if any(tool.get("type") not in LITE_TOOLS for tool in asked.offers(body)):
        told = (
            "X-OpenAI-Internal-Codex-Responses-Lite only supports function tools, custom tools, "
            "and client-executed tool search."
        )
        yield error(400, "unsupported_value", told, "tools")


def _api(body: Body) -> Iterator[Reply]:
    for name in body:
        if name not in COMMON | API_ONLY:
            yield error(400, "unknown_parameter", f"Unknown parameter: '{name}'.", name)
    for name in ("model", "input"):
        if not body.get(name):
            told = f"Missing required parameter: '{name}'."
            yield error(400, "missing_required_parameter", told, name)
    if before := body.get("previous_response_id"):
        # Nothing is stored here, so there is none.
        told = f"Previous response with id '{before}' not found."
        yield error(400, "previous_response_not_found", told, "previous_response_id")


def _effort(body: Body, models: Sequence[Mapping[str, Any]]) -> Iterator[Reply]:
    effort = (body.get("reasoning") or {}).get("effort")
    row = next((row for row in models if row.get("slug") == body.get("model")), {})
    levels = [level.get("effort") for level in row.get("supported_reasoning_levels") or ()]
    if effort is not None and levels and effort not in levels:
        has = ", ".join(f"'{level}'" for level in levels)
        told = f"'{effort}' is not supported with the '{body['model']}' model. Supported values are: {has}."
        yield error(400, "unsupported_value", f"Unsupported value: {told}", "reasoning.effort")


def _tools(body: Body) -> Iterator[Reply]:
    for number, tool in enumerate(body.get("tools") or ()):
        kind, name, at = tool.get("type"), tool.get("name"), f"tools[{number}]"
        if kind is None:
            yield _missing(f"{at}.type")
        if kind in {"function", "custom"} and not name:
            yield _missing(f"{at}.name")
        if kind == "function" and tool.get("strict") and (fault := loose(tool.get("parameters"))):
            told = f"Invalid schema for function '{name}': {fault}"
            yield error(400, "invalid_function_parameters", told, f"{at}.parameters")


def _choice(body: Body) -> Iterator[Reply]:
    choice = body.get("tool_choice")
    if not isinstance(choice, dict) or choice.get("type") == "allowed_tools":
        return
    # The hosts look here alone, whatever else the input offers.
    offered = [tool.get("name") or tool.get("type") for tool in body.get("tools") or ()]
    wanted = choice.get("name") or choice.get("type")
    if wanted not in offered:
        told = f"Tool choice '{wanted}' not found in 'tools' parameter."
        yield error(400, None, told, "tool_choice")


def _format(body: Body) -> Iterator[Reply]:
    wanted = (body.get("text") or {}).get("format") or {}
    if wanted.get("type") != "json_schema":
        return
    for name in ("name", "schema"):
        if not wanted.get(name):
            yield _missing(f"text.format.{name}")
    if wanted.get("strict") and (fault := loose(wanted.get("schema"))):
        told = f"Invalid schema for response_format '{wanted.get('name')}': {fault}"
        yield error(400, "invalid_json_schema", told, "text.format.schema")


def _missing(param: str) -> Reply:
    told = f"Missing required parameter: '{param}'."
    return error(400, "missing_required_parameter", told, param)


def _detail(told: str) -> Reply:
    return Reply(400, {"detail": told})
