"""The app-server's JSON, in and out: pure, one place for every name on the wire.

`translate` turns a notification into events, `refusal` answers the requests that we do not serve,
and the rest builds the parameters of the requests we send. Names and shapes are those of the
schema that ``codex app-server generate-json-schema --experimental`` prints; a test holds this file
against it, so each name there is either translated here or listed with the reason why not.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, Final, cast

from codex_magic import events as ev
from codex_magic.backends.base import StoredThread, ToolAnswer, ToolSpec, TurnInput
from codex_magic.items import (
    EMPTY,
    AgentMessage,
    Change,
    FileChange,
    Item,
    Plan,
    PlanStep,
    Reasoning,
    Status,
    Text,
    ToolCall,
    UnknownItem,
    WebSearch,
    well_formed,
)

Json = Mapping[str, Any]

CLIENT: Final = "codex_magic"

# --- what we refuse Codex, whatever the person's configuration says ---------------------------

SEARCHING: Final = ('web_search="live"',)
"""Has the model's host search the web, after `OVERRIDES`, where a person has said so."""

OVERRIDES: Final = (
    # Nothing on this machine is Codex's to do: no agents of its own, no shell, no hooks, nobody
    # to notify. Our tools are the only hands.
    "agents.enabled=false",
    "features.multi_agent=false",
    "features.goals=false",
    "features.sleep_tool=false",
    "features.shell_tool=false",
    "features.unified_exec=false",
    "features.shell_snapshot=false",
    "features.image_generation=false",
    "features.hooks=false",
    "features.plugins=false",
    "features.apps=false",
    "features.memories=false",
    "notify=[]",
    'web_search="disabled"',
    # What the model is told comes from us: otherwise it reads of a terminal and of a sandbox that
    # are not there.
    "include_permissions_instructions=false",
    "include_environment_context=false",
    "include_apps_instructions=false",
    "skills.include_instructions=false",
    # A notebook in CI must end with an error, not wait for a network that never comes.
    "features.unbounded_connection_retries=false",
)


def untrusted(cwd: str) -> str:
    """Return the override that keeps the ``.codex/config.toml`` of a folder and above unread."""
    tables = (f'{json.dumps(each)}={{trust_level="untrusted"}}' for each in _upwards(cwd))
    return f"projects={{{','.join(tables)}}}"


def _upwards(cwd: str) -> list[str]:
    """Return a folder and those above it: trust in any of them would be trust in this one."""
    return [cwd, *map(str, PurePath(cwd).parents)]


def at_host(base_url: str) -> list[str]:
    """Return the overrides that have another host asked in the place of OpenAI's own."""
    return ['model_provider="openai"', f"openai_base_url={json.dumps(base_url)}"]


def tape_provider(base_url: str) -> list[str]:
    """Return the overrides that send model traffic to a player on this machine, once."""
    return [
        'model_provider="tape"',
        'model_providers.tape.name="tape"',
        f"model_providers.tape.base_url={json.dumps(base_url)}",
        'model_providers.tape.wire_api="responses"',
        "model_providers.tape.request_max_retries=0",
        "model_providers.tape.stream_max_retries=0",
        "analytics.enabled=false",
    ]


# --- requests we send -------------------------------------------------------------------------


def initialize(version: str) -> Json:
    """Return the parameters of ``initialize``."""
    return {
        "clientInfo": {"name": CLIENT, "title": "codex_magic", "version": version},
        "capabilities": {"experimentalApi": True},
    }


def tools_hash(tools: Sequence[ToolSpec]) -> str:
    """Return a short name for exactly these tools."""
    return hashlib.sha256(json.dumps(_tools(tools), sort_keys=True).encode()).hexdigest()[:16]


def _tools(tools: Sequence[ToolSpec]) -> list[Json]:
    return [
        {
            "type": "function",
            "name": tool.name,
            "description": tool.description,
            "inputSchema": tool.parameters,
        }
        for tool in tools
    ]


_SOURCE: Final = "codex_magic tools="
_FROM: Final = " from="


def thread_source(tools: Sequence[ToolSpec], after: tuple[str, str] | None = None) -> str:
    """Return what a thread remembers of its tools: they are frozen when it starts.

    Parameters
    ----------
    after
        The thread that this one goes on from, and the last turn of that one: what is injected
        into a thread is read by models, but is not among its turns.
    """
    source = _SOURCE + tools_hash(tools)
    return source if after is None else f"{source}{_FROM}{after[0]}/{after[1]}"


def thread_params(
    *, cwd: str, instructions: str, model: str | None, config: Json
) -> dict[str, Any]:
    """Return what ``thread/start``, ``thread/resume`` and ``thread/fork`` have in common.

    The sandbox is always ``read-only``: told anything wider, Codex would mark the folder as
    trusted in the person's configuration, and start the programs that the folder names there.

    Parameters
    ----------
    config
        The configuration as ``config/read`` tells it: each MCP server in it is switched off by its
        name, because an empty table does not remove them, and each trusted folder is trusted no
        more, because one of them may be the main folder of a worktree.
    """
    folders = [*(config.get("projects") or ()), *_upwards(cwd)]
    params: dict[str, Any] = {
        "cwd": cwd,
        "sandbox": "read-only",
        "approvalPolicy": "never",
        "baseInstructions": instructions,
        "config": {
            "projects": {folder: {"trust_level": "untrusted"} for folder in folders},
            "mcp_servers": {name: {"enabled": False} for name in config.get("mcp_servers") or ()},
        },
    }
    return params | ({"model": model} if model else {})


def thread_start(
    common: Json,
    tools: Sequence[ToolSpec],
    after: tuple[str, str] | None = None,
    *,
    private: bool = False,
) -> Json:
    """Return the parameters of ``thread/start``; for `after` see `thread_source`."""
    return {
        **common,
        "dynamicTools": _tools(tools),
        "environments": [],
        "threadSource": thread_source(tools, after),
        **({"ephemeral": True} if private else {}),
    }


def thread_again(common: Json, thread_id: str) -> Json:
    """Return the parameters of ``thread/resume``."""
    return {**common, "threadId": thread_id, "excludeTurns": True}


def thread_fork(common: Json, thread_id: str, source: str, *, until: str = "") -> Json:
    """Return the parameters of ``thread/fork``; a fork keeps its tools but not who made it.

    Parameters
    ----------
    until
        The last turn that the fork has; all of them without it.
    """
    last = {"lastTurnId": until} if until else {}
    return {**thread_again(common, thread_id), "threadSource": source, **last}


SOURCES: Final = ("cli", "vscode", "exec", "appServer", "unknown")


def thread_list(cwd: str | None, limit: int, *, archived: bool = False) -> Json:
    """Return the parameters of ``thread/list``: of all that a person began, the latest used first.

    Without the empty list of providers the server shows the threads of one only, and without
    `SOURCES` none of ``codex exec``.
    """
    params: dict[str, Any] = {"limit": limit, "modelProviders": [], "sourceKinds": SOURCES}
    params |= {"sortKey": "updated_at"}
    return params | ({"cwd": cwd} if cwd else {}) | ({"archived": True} if archived else {})


def turn_start(thread_id: str, turn: TurnInput, *, model: str, effort: str | None) -> Json:
    """Return the parameters of ``turn/start``.

    Parameters
    ----------
    model, effort
        What this turn asks for. The server keeps what a turn is told for those behind it, so a
        model is always named, and an effort whenever an earlier turn named one.
    """
    request = turn.request
    context = {name: {"kind": "application", "value": text} for name, text in turn.context.items()}
    project = {name: {"kind": "untrusted", "value": text} for name, text in turn.project.items()}
    optional = {
        "model": model,
        "effort": effort,
        "summary": request.summary,
        "outputSchema": request.schema,
    }
    # As data and not as paths: what Codex may read on this machine is nothing.
    images = [{"type": "image", "url": image.url} for image in request.images]
    return {
        "threadId": thread_id,
        "input": [*images, {"type": "text", "text": request.prompt}],
        # Forgotten by thread/resume, and with an environment Codex has tools of its own.
        "environments": [],
        "additionalContext": {**context, **project},
        **{name: value for name, value in optional.items() if value},
    }


def tool_result(answer: ToolAnswer) -> Json:
    """Return the answer to ``item/tool/call``."""
    text = {"type": "inputText", "text": well_formed(answer.text)}
    images = [{"type": "inputImage", "imageUrl": url} for url in answer.images]
    return {"success": answer.success, "contentItems": [text, *images]}


def turns(thread: Json, until: str = "") -> list[Json]:
    """Return the turns of a thread up to the one with this id; all of them where it has none such."""
    found = list(thread.get("turns") or ())
    ends = [number for number, turn in enumerate(found, 1) if turn.get("id") == until]
    return found[: ends[-1] if ends else None]


def said(turn: Json) -> list[tuple[str, str]]:
    """Return what people and agents said in a turn: pairs of ``user`` or ``agent``, and a text."""
    pairs = []
    for item in turn.get("items") or ():
        if item.get("type") == "userMessage":
            parts = [p.get("text", "") for p in item.get("content", ()) if p["type"] == "text"]
            pairs.append(("user", "\n".join(parts)))
        elif item.get("type") == "agentMessage":
            pairs.append(("agent", item.get("text", "")))
    return [(who, text) for who, text in pairs if text]


def transcript(pairs: Sequence[tuple[str, str]]) -> list[Json]:
    """Return what was said as items for ``thread/inject_items``."""
    return [
        _message("user", "input_text", text)
        if who == "user"
        else _message("assistant", "output_text", text)
        for who, text in pairs
    ]


def _message(role: str, kind: str, text: str) -> Json:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


# --- answers we read --------------------------------------------------------------------------


def stored_thread(thread: Json) -> StoredThread:
    """Read a row of ``thread/list``, or the thread of ``thread/read``."""
    return StoredThread(
        thread_id=thread["id"],
        preview=thread.get("name") or thread.get("preview") or "",
        cwd=thread.get("cwd") or "",
        origin=thread.get("originator") or "",
        updated_at=float(thread.get("updatedAt") or 0),
        ours=thread.get("originator") == CLIENT,
    )


def has_tools(thread: Json, tools: Sequence[ToolSpec]) -> bool:
    """Whether a stored thread was started with exactly these tools."""
    return (thread.get("threadSource") or "").split(_FROM)[0] == thread_source(tools)


def goes_on_from(thread: Json) -> tuple[str, str] | None:
    """Return the thread that a thread of ours goes on from, and that one's last turn."""
    source = thread.get("threadSource") or ""
    if not source.startswith(_SOURCE) or _FROM not in source:
        return None
    thread_id, _, turn_id = source.partition(_FROM)[2].partition("/")
    return thread_id, turn_id


# --- notifications ----------------------------------------------------------------------------


def translate(message: Json) -> list[ev.Event]:
    """Return the events that a notification reports; one that nobody knows is reported as such."""
    method = message.get("method", "")
    params = message.get("params") or {}
    if method in IGNORED:
        return []
    reader = NOTIFICATIONS.get(method)
    if reader is None:
        return [ev.UnknownEvent(method, params)]
    try:
        # The time of sending is in milliseconds, the times inside in whole seconds.
        return reader({**params, "emittedAtMs": message.get("emittedAtMs")})
    except (KeyError, TypeError, AttributeError, ValueError):
        # A shape that has changed is unknown too; the turn goes on.
        return [ev.UnknownEvent(method, params)]


def _turn_started(params: Json) -> list[ev.Event]:
    return [ev.TurnStarted(params["turn"]["id"], _time(params, "startedAt"))]


def _turn_completed(params: Json) -> list[ev.Event]:
    turn = params["turn"]
    at = _time(params, "completedAt")
    return [ev.TurnCompleted(_status(turn["status"]), _error(turn.get("error")), at)]


def _time(params: Json, key: str) -> float | None:
    sent_ms = params.get("emittedAtMs")
    at = params["turn"].get(key) if sent_ms is None else sent_ms / 1000
    return None if at is None else float(at)


def _item_started(params: Json) -> list[ev.Event]:
    item = read_item(params["item"])
    return [] if item is None else [ev.ItemStarted(item)]


def _item_completed(params: Json) -> list[ev.Event]:
    item = read_item(params["item"], status="completed")
    return [] if item is None else [ev.ItemCompleted(item)]


def _delta(channel: str) -> Callable[[Json], list[ev.Event]]:
    def read(params: Json) -> list[ev.Event]:
        return [ev.ItemDelta(params["itemId"], channel, params["delta"])]

    return read


def _summary_part(params: Json) -> list[ev.Event]:
    first = params["summaryIndex"] == 0
    return [] if first else [ev.ItemDelta(params["itemId"], "summary", PARAGRAPH)]


def _usage(params: Json) -> list[ev.Event]:
    last = params["tokenUsage"]["last"]
    usage = ev.Usage(
        input_tokens=last["inputTokens"],
        cached_input_tokens=last["cachedInputTokens"],
        output_tokens=last["outputTokens"],
        reasoning_output_tokens=last["reasoningOutputTokens"],
    )
    return [ev.UsageUpdated(usage)]


def _plan(params: Json) -> list[ev.Event]:
    steps = tuple(
        PlanStep(text=s["step"], status=_STEPS.get(s["status"], "pending")) for s in params["plan"]
    )
    return [ev.PlanUpdated(steps, params.get("explanation") or "")]


def _failure(params: Json) -> list[ev.Event]:
    # A failure that ends the turn comes again with turn/completed.
    if not params.get("willRetry"):
        return []
    error = params["error"]
    text, detail = sentence(error["message"]), sentence(error.get("additionalDetails") or "")
    return [ev.Notice(f"{text} ({detail})" if detail else text, "warning")]


def _warning(params: Json) -> list[ev.Event]:
    return [ev.Notice(params.get("message") or params["summary"], "warning")]


def _rerouted(params: Json) -> list[ev.Event]:
    return [ev.Notice(f"{params['fromModel']} was replaced by {params['toModel']}", "warning")]


def _compacted(_params: Json) -> list[ev.Event]:
    return [ev.Notice("the thread was long; Codex summarised its beginning")]


NOTIFICATIONS: Final[dict[str, Callable[[Json], list[ev.Event]]]] = {
    "turn/started": _turn_started,
    "turn/completed": _turn_completed,
    "item/started": _item_started,
    "item/completed": _item_completed,
    "item/agentMessage/delta": _delta("text"),
    "item/plan/delta": _delta("text"),
    "item/reasoning/summaryTextDelta": _delta("summary"),
    "item/reasoning/summaryPartAdded": _summary_part,
    "item/reasoning/textDelta": _delta("content"),
    "item/fileChange/outputDelta": _delta("output"),
    "item/commandExecution/outputDelta": _delta("output"),
    "thread/tokenUsage/updated": _usage,
    "turn/plan/updated": _plan,
    "error": _failure,
    "warning": _warning,
    "guardianWarning": _warning,
    "deprecationNotice": _warning,
    "model/rerouted": _rerouted,
    "thread/compacted": _compacted,
}

_NOT_OURS = "about things that Codex does by itself, all of which are switched off"
_ELSEWHERE = "about other parts of Codex, asked for by nobody here"
_KNOWN = "says what the answer to our own request already said"
_NOT_SHOWN = "of no use to the person reading the turn"

IGNORED: Final[Mapping[str, str]] = {
    "account/login/completed": "about no turn; whoever signs a person in waits for it",
    **dict.fromkeys(
        (
            "thread/started",
            "thread/settings/updated",
            "thread/status/changed",
            "thread/archived",
            "thread/deleted",
            "thread/unarchived",
            "thread/closed",
            "thread/reverted",
            "thread/name/updated",
            "serverRequest/resolved",
            "account/updated",
        ),
        _KNOWN,
    ),
    **dict.fromkeys(
        (
            "hook/started",
            "hook/completed",
            "item/autoApprovalReview/started",
            "item/autoApprovalReview/completed",
            "autoApprovalReview/strictReviewRequired",
            "command/exec/outputDelta",
            "process/outputDelta",
            "process/exited",
            "item/commandExecution/terminalInteraction",
            "item/fileChange/patchUpdated",
            "item/mcpToolCall/progress",
            "mcpServer/oauthLogin/completed",
            "mcpServer/startupStatus/updated",
            "mcpServer/event/stream/notification",
            "thread/goal/updated",
            "thread/goal/cleared",
            "thread/environment/connected",
            "thread/environment/disconnected",
            "windows/worldWritableWarning",
            "windowsSandbox/setupCompleted",
            "turn/diff/updated",
        ),
        _NOT_OURS,
    ),
    **dict.fromkeys(
        (
            "thread/readState/changed",
            "thread/attachment/updated",
            "thread/prediction/updated",
            "thread/queue/changed",
            "thread/project/updated",
            "project/changed",
            "skills/changed",
            "account/gatewayOAuth/changed",
            "app/list/updated",
            "remoteControl/status/changed",
            "externalAgentConfig/import/progress",
            "externalAgentConfig/import/completed",
            "fs/changed",
            "fuzzyFileSearch/sessionUpdated",
            "fuzzyFileSearch/sessionCompleted",
            "thread/realtime/started",
            "thread/realtime/itemAdded",
            "thread/realtime/item/started",
            "thread/realtime/item/transcript/delta",
            "thread/realtime/item/completed",
            "thread/realtime/transcript/delta",
            "thread/realtime/transcript/done",
            "thread/realtime/outputAudio/delta",
            "thread/realtime/sdp",
            "thread/realtime/error",
            "thread/realtime/closed",
        ),
        _ELSEWHERE,
    ),
    **dict.fromkeys(
        (
            "account/rateLimits/updated",
            # It says that the folder's own configuration is not read, which is what we asked for.
            "configWarning",
            "model/verification",
            "model/safetyBuffering/updated",
            "modelProvider/authRecoveryStarted",
            "modelProvider/authRecoveryCompleted",
            "turn/moderationMetadata",
        ),
        _NOT_SHOWN,
    ),
}
"""Notifications that become no event, and why."""


# --- items ------------------------------------------------------------------------------------

PARAGRAPH: Final = "\n\n"

_STATUSES: Final[dict[str, Status]] = {
    "inProgress": "in_progress",
    "completed": "completed",
    "interrupted": "interrupted",
    "failed": "failed",
    "declined": "declined",
}
_STEPS: Final[dict[str, Any]] = {
    "pending": "pending",
    "inProgress": "in_progress",
    "completed": "completed",
}


def _status(word: str, default: Status = "completed") -> Status:
    return _STATUSES.get(word, default)


def _error(error: Json | None) -> ev.TurnError | None:
    if error is None:
        return None
    kind = error.get("codexErrorInfo")
    name = next(iter(kind)) if isinstance(kind, dict) and kind else kind
    if isinstance(kind, dict) and (status := (kind.get(str(name)) or {}).get("httpStatusCode")):
        name = f"{name} {status}"
    said = str(error.get("message", ""))
    if name == "other" and said.startswith("{"):
        name = "badRequest"  # the one refusal whose body Codex passes on as it came
    return ev.TurnError(message=sentence(said), kind=str(name or ""))


_ADDRESS: Final = re.compile(r", url: \S+?(, [\w -]+: \S+)*$")
_LONGEST_SENTENCE: Final = 500


def sentence(message: str) -> str:
    """Return what a message says on one line: the JSON of a host in it becomes its sentence."""
    text = _ADDRESS.sub("", message.strip())
    at = text.find("{")
    try:
        body, _ = json.JSONDecoder().raw_decode(text[at:]) if at >= 0 else (None, 0)
    except ValueError:
        body = None
    if isinstance(body, dict) and (said := _said(body)):
        text = text[:at] + said
    return " ".join(text.split())[:_LONGEST_SENTENCE]


def _said(body: Json) -> str:
    error = body.get("error")
    inner = error.get("message") if isinstance(error, dict) else error
    found = (inner, body.get("message"), body.get("detail"))
    return next((text for text in found if isinstance(text, str) and text), "")


def read_item(item: Json, status: Status = "in_progress") -> Item | None:
    """Return the item that the wire describes, or None for one that we report ourselves."""
    kind = item["type"]
    if kind in OUR_OWN_ITEMS:
        return None
    if "status" in item:
        status = _status(item["status"], status)
    reader = ITEMS.get(kind)
    if reader is None:
        data = {key: value for key, value in item.items() if key != "id"}
        return UnknownItem(id=str(item.get("id", "")), status=status, kind=str(kind), data=data)
    return reader(item, status)


def _agent_message(item: Json, status: Status) -> Item:
    phase = item.get("phase")
    known = phase if phase in ("commentary", "final_answer") else None
    return AgentMessage(id=item["id"], status=status, text=_text(item.get("text")), phase=known)


def _reasoning(item: Json, status: Status) -> Item:
    summary = PARAGRAPH.join(item.get("summary") or ())
    content = "".join(item.get("content") or ())
    return Reasoning(id=item["id"], status=status, summary=_text(summary), content=_text(content))


def _plan_text(item: Json, status: Status) -> Item:
    return Plan(id=item["id"], status=status, text=_text(item.get("text")))


def _file_change(item: Json, status: Status) -> Item:
    changes = tuple(
        Change(path=c["path"], kind=c["kind"]["type"], diff=c["diff"]) for c in item["changes"]
    )
    return FileChange(id=item["id"], status=status, changes=changes)


def _mcp_call(item: Json, status: Status) -> Item:
    tool = f"{item['server']}.{item['tool']}"
    arguments = json.dumps(item.get("arguments"))
    return ToolCall(id=item["id"], status=status, tool=tool, arguments=arguments)


def _search(item: Json, status: Status) -> Item:
    return WebSearch(id=item["id"], status=status, query=item.get("query") or "")


def _text(text: str | None) -> Text:
    return Text(text) if text else EMPTY


ITEMS: Final[dict[str, Callable[[Json, Status], Item]]] = {
    "agentMessage": _agent_message,
    "reasoning": _reasoning,
    "plan": _plan_text,
    "fileChange": _file_change,
    "mcpToolCall": _mcp_call,
    "webSearch": _search,
}

OUR_OWN_ITEMS: Final[Mapping[str, str]] = {
    "userMessage": "the turn opens with the prompt; a steer is reported when it is sent",
    "dynamicToolCall": "a call of ours: requested by item/tool/call, and reported by our tool",
}

UNREAD_ITEMS: Final[Mapping[str, str]] = dict.fromkeys(
    (
        "hookPrompt",
        "functionCallOutput",
        "commandExecution",
        "collabAgentToolCall",
        "subAgentActivity",
        "imageView",
        "imageGeneration",
        "sleep",
        "enteredReviewMode",
        "exitedReviewMode",
        "contextCompaction",
    ),
    "comes from a tool that is switched off; shown by its kind if it should come all the same",
)


# --- requests of the server -------------------------------------------------------------------

SERVED: Final = frozenset({"item/tool/call"})

_DECLINE: Final = {"decision": "decline"}
_DENIED: Final = {"decision": "denied"}

REFUSALS: Final[Mapping[str, Json]] = {
    "item/commandExecution/requestApproval": _DECLINE,
    "item/fileChange/requestApproval": _DECLINE,
    "execCommandApproval": _DENIED,
    "applyPatchApproval": _DENIED,
    "item/permissions/requestApproval": {"permissions": {}, "scope": "turn"},
    "item/tool/requestUserInput": {"answers": {}},
    "mcpServer/elicitation/request": {"action": "decline", "content": None},
}
"""The refusing form of each answer; a request that is not here gets a JSON-RPC error."""

UNANSWERED: Final[Mapping[str, str]] = {
    "account/chatgptAuthTokens/refresh": "only for tokens that a client brought in; ours never are",
    "attestation/generate": "we cannot attest anything",
    "currentTime/read": "only where a client offers a clock",
}


def tool_call(message: Json) -> ev.ToolCallRequested:
    """Read an ``item/tool/call`` request."""
    params = cast("Json", message["params"])
    return ev.ToolCallRequested(
        message["id"], params["callId"], params["tool"], params.get("arguments")
    )


def default_effort(models: Json, model: str) -> str | None:
    """Return the effort that a model has by itself, of the answer to ``model/list``."""
    found = (row for row in models.get("data") or () if model in (row.get("id"), row.get("model")))
    return next((row.get("defaultReasoningEffort") for row in found), None)
