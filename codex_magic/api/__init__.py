"""Codex in plain Python, with the names of the `openai_codex` SDK.

::

    from codex_magic import Codex

    with Codex() as codex:
        thread = codex.thread_start()
        print(thread.run("What does this folder hold?").final_response)

Programs for the SDK run here when their import is changed. Turns run as in a notebook: what Codex
wants done is done here, in a sandbox, and what it may not do is asked of the `approver`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codex_magic.api.codex import Codex, OptionWarning
from codex_magic.api.config import CodexConfig
from codex_magic.api.failures import (
    CodexError,
    JsonRpcError,
    OptionError,
    ServerBusyError,
    TransportClosedError,
    TurnFailedError,
    is_retryable_error,
    retry_on_overload,
)
from codex_magic.api.handle import TurnHandle
from codex_magic.api.inputs import (
    ImageInput,
    Input,
    InputItem,
    LocalImageInput,
    MentionInput,
    RunInput,
    SkillInput,
    TextInput,
)
from codex_magic.api.options import ThreadOptions, TurnOptions
from codex_magic.api.signin import ChatgptLoginHandle, DeviceCodeLoginHandle
from codex_magic.api.thread import Thread
from codex_magic.api.types import (
    ApprovalMode,
    Personality,
    ReasoningEffort,
    ReasoningSummary,
    Sandbox,
    TurnResult,
    TurnStatus,
)

if TYPE_CHECKING:
    from codex_magic.api.approvers import Asked
    from codex_magic.api.asynced import (
        AsyncChatgptLoginHandle,
        AsyncCodex,
        AsyncDeviceCodeLoginHandle,
        AsyncThread,
        AsyncTurnHandle,
    )
    from codex_magic.api.notifications import Notification

__all__ = [
    "ApprovalMode",
    "Asked",
    "AsyncChatgptLoginHandle",
    "AsyncCodex",
    "AsyncDeviceCodeLoginHandle",
    "AsyncThread",
    "AsyncTurnHandle",
    "ChatgptLoginHandle",
    "Codex",
    "CodexConfig",
    "CodexError",
    "DeviceCodeLoginHandle",
    "ImageInput",
    "Input",
    "InputItem",
    "JsonRpcError",
    "LocalImageInput",
    "MentionInput",
    "Notification",
    "OptionError",
    "OptionWarning",
    "Personality",
    "ReasoningEffort",
    "ReasoningSummary",
    "RunInput",
    "Sandbox",
    "ServerBusyError",
    "SkillInput",
    "TextInput",
    "Thread",
    "ThreadOptions",
    "TransportClosedError",
    "TurnFailedError",
    "TurnHandle",
    "TurnOptions",
    "TurnResult",
    "TurnStatus",
    "is_retryable_error",
    "retry_on_overload",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from importlib import import_module  # noqa: PLC0415

        # With asyncio comes much of the network's machinery, which most programs need not.
        where = {"Asked": "approvers", "Notification": "notifications"}.get(name, "asynced")
        return getattr(import_module(f"{__name__}.{where}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
