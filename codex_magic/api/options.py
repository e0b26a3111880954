"""The options of threads and turns: in this package's words, and in the SDK's.

Each option has one name here; the SDK's names are second spellings of it. What the SDK has and
nothing here can mean is left out, and said once; what nobody knows is an error.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypedDict

from codex_magic import settings as st
from codex_magic.api.failures import OptionError
from codex_magic.errors import CellError
from codex_magic.policy import SandboxPolicy
from codex_magic.turn import TurnRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codex_magic.api.approvers import ApproverLike
    from codex_magic.structured.shape import Shape
    from codex_magic.tools.base import Tool
    from codex_magic.turn import Image


class SharedOptions(TypedDict, total=False):
    """What a thread and a turn can be told; said to a turn, it holds for those behind it as well.

    Parameters
    ----------
    model, effort, summary
        Asked of the backend; it chooses where nothing is said.
    sandbox
        What commands may touch: a mode, or a whole `SandboxPolicy`.
    network, add_dirs
        What they may besides: use the network, write in further folders.
    approval
        When to ask: ``on-request``, ``untrusted``, ``never``.
    approver
        Who is asked: a function of one argument, or an object with `ask`. Without one everything
        that would ask is declined.
    cwd
        The folder to work in.
    timeout_s
        Seconds that each command may take.
    approval_mode, config, personality, service_tier
        The SDK's.
    """

    model: str | None
    effort: str | None
    summary: str | None
    sandbox: str | SandboxPolicy | None
    network: bool | None
    add_dirs: Sequence[str | Path] | None
    approval: str | None
    approver: ApproverLike | None
    cwd: str | Path | None
    timeout_s: float | None

    approval_mode: str | None
    approval_policy: str | None
    config: Mapping[str, Any] | None
    personality: Any
    service_tier: Any


class ThreadOptions(SharedOptions, total=False):
    """What a thread can be told when it is started or taken up.

    Parameters
    ----------
    tools
        What the agent is offered beside the tools of this package.
    private
        Whether it is stored nowhere.
    """

    tools: Sequence[Tool]
    private: bool | None

    ephemeral: bool | None
    base_instructions: Any
    developer_instructions: Any
    include_turns: Any
    model_provider: Any
    service_name: Any
    session_start_source: Any
    thread_source: Any


class TurnOptions(SharedOptions, total=False):
    """What a turn can be told.

    Parameters
    ----------
    images
        What the model is to look at: files, addresses, bytes, figures of Matplotlib, images of
        Pillow, arrays of NumPy; one, or a list of them.
    schema
        What the answer must fit: a JSON Schema, a model of pydantic, a msgspec Struct, a dataclass,
        a TypedDict, or types written with these, such as ``list[Row]``.
    """

    images: Any
    schema: Any

    output_schema: Any
    source: Any
    turn_service_tier: Any


Scope = Literal["thread", "turn"]

NAMES: Final[Mapping[Scope, tuple[str, ...]]] = {
    "thread": (
        *("model", "effort", "summary", "sandbox", "network", "add_dirs", "approval", "approver"),
        *("cwd", "timeout_s", "tools", "private"),
    ),
    "turn": (
        *("model", "effort", "summary", "sandbox", "network", "add_dirs", "approval", "approver"),
        *("cwd", "timeout_s", "images", "schema"),
    ),
}

SECOND: Final = {
    "approval_mode": "approval",
    "approval_policy": "approval",
    "ephemeral": "private",
    "output_schema": "schema",
}

CONFIG: Final = {
    "model": "model",
    "model_reasoning_effort": "effort",
    "model_reasoning_summary": "summary",
    "approval_policy": "approval",
    "sandbox_mode": "sandbox",
}
"""Keys of Codex's configuration that are options here."""

_OWN_WORDS: Final = "the model is told how to work here by this package; say it in the prompt"
_TIER: Final = "the account's own is used"
_LABEL: Final = "nothing here asks for it"

MEANINGLESS: Final = {
    "base_instructions": _OWN_WORDS,
    "developer_instructions": _OWN_WORDS,
    "personality": _OWN_WORDS,
    "model_provider": "Codex's configuration chooses it, or Codex(base_url=...)",
    "service_tier": _TIER,
    "turn_service_tier": _TIER,
    "include_turns": "Thread.read(include_turns=True) has them",
    "service_name": _LABEL,
    "session_start_source": _LABEL,
    "source": _LABEL,
    "thread_source": _LABEL,
}
"""Options of the SDK that mean nothing here, and why."""

AUTO_REVIEW: Final = (
    "auto_review means on-request here: no model reviews approvals, the approver is asked, and "
    "without one they are declined"
)


@dataclass(frozen=True, slots=True)
class Given:
    """What was said: options by this package's names, and what there is to tell about them."""

    values: Mapping[str, Any]
    news: tuple[str, ...] = ()


def read(options: Mapping[str, Any], scope: Scope, *, base: Path | None = None) -> Given:
    """Return what `options` say; relative folders stand below `base`.

    Raises
    ------
    OptionError
        There is no such option, its value is none of its choices, or it is said twice.
    """
    values: dict[str, Any] = {}
    news: list[str] = []
    spelt: dict[str, str] = {}
    said = {name: value for name, value in options.items() if value is not None}
    for name, value in _spread(said, news):
        ours = SECOND.get(name, name)
        if name in MEANINGLESS:
            news.append(f"{name} means nothing here: {MEANINGLESS[name]}")
            continue
        if ours not in NAMES[scope]:
            raise _unknown(name, scope)
        checked = _checked(name, ours, value, base, news)
        if ours in values and values[ours] != checked:
            raise OptionError(f"{spelt[ours]} and {name} say different things", hint=f"Use {ours}")
        values[ours], spelt[ours] = checked, name
    return Given(values, tuple(news))


def _spread(said: Mapping[str, Any], news: list[str]) -> Iterator[tuple[str, Any]]:
    """Yield every option, those that stand in `config` as well unless they are said beside it."""
    config = said.get("config", {})
    if not isinstance(config, Mapping):
        raise OptionError(f"config is {config!r}: it must be a mapping")
    yield from ((name, value) for name, value in said.items() if name != "config")
    named = {SECOND.get(name, name) for name in said}
    for key, value in config.items():
        if key not in CONFIG:
            news.append(f"config {key!r} is left out: what Codex may do by itself is fixed here")
        elif CONFIG[key] not in named:
            yield CONFIG[key], value


def _unknown(name: str, scope: Scope) -> OptionError:
    import difflib  # noqa: PLC0415 - only a mistyped option needs it

    near = difflib.get_close_matches(name, [*NAMES[scope], *SECOND], n=1)
    hint = f"Did you mean {near[0]}?" if near else f"There are: {', '.join(NAMES[scope])}"
    if name in NAMES["thread" if scope == "turn" else "turn"]:
        other = "turn" if scope == "thread" else "thread when it is started"
        hint = f"Say it to the {other}"
    return OptionError(f"a {scope} has no option {name!r}", hint=hint)


def _checked(name: str, ours: str, value: Any, base: Path | None, news: list[str]) -> Any:
    check: Callable[..., Any] = _CHECKS.get(ours, _word)
    try:
        return check(value, base, news)
    except ValueError as error:
        raise OptionError(f"{name} is {value!r}: {error}") from None


def _word(value: Any, *_: Any) -> str:
    """Return a word, also of an enum's, and of a model of pydantic's around one."""
    value = value.root if hasattr(value, "model_fields_set") else value
    value = value.value if isinstance(value, enum.Enum) else value
    if not isinstance(value, str) or not value.strip():
        raise ValueError("it must be a word")
    return value


def _sandbox(value: Any, *_: Any) -> Any:
    return value if isinstance(value, SandboxPolicy) else st.sandbox_mode(_word(value))


def _approval(value: Any, _base: Path | None, news: list[str]) -> str:
    word = _word(value)
    if word == "auto_review":
        news.append(AUTO_REVIEW)
        return "on-request"
    return "never" if word == "deny_all" else st.approval_policy(word)


def _folder(value: Any, base: Path | None, *_: Any) -> Path:
    if not isinstance(value, str | Path):
        raise ValueError("it must be a folder")  # noqa: TRY004 - told as any other wrong value
    return st.folder(str(value), base or Path.cwd())


def _folders(value: Any, base: Path | None, *_: Any) -> tuple[Path, ...]:
    several = [value] if isinstance(value, str | Path) else value
    return tuple(_folder(each, base) for each in several)


def _flag(value: Any, *_: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("it must be True or False")  # noqa: TRY004 - likewise
    return value


def _seconds(value: Any, *_: Any) -> float:
    return st.seconds(value)


def _tools(value: Any, *_: Any) -> tuple[Any, ...]:
    tools = tuple(value)
    needed = ("name", "description", "parameters", "prepare")
    if not all(hasattr(tool, part) for tool in tools for part in needed):
        raise ValueError(f"a tool has a {', a '.join(needed)}")
    return tools


def _as_it_is(value: Any, *_: Any) -> Any:
    return value


_CHECKS: Final[dict[str, Callable[..., Any]]] = {
    "sandbox": _sandbox,
    "approval": _approval,
    "cwd": _folder,
    "add_dirs": _folders,
    "network": _flag,
    "private": _flag,
    "timeout_s": _seconds,
    "approver": _as_it_is,
    "images": _as_it_is,
    "schema": _as_it_is,
    "tools": _tools,
}


def request(  # noqa: PLR0913 - all but two by their names
    prompt: str,
    values: Mapping[str, Any],
    *,
    settings: st.Settings,
    cwd: Path,
    thread: str,
    images: tuple[Image, ...] = (),
    shape: Shape | None = None,
) -> TurnRequest:
    """Return what `values` ask for, over what is set."""
    return TurnRequest(
        prompt=prompt,
        policy=_policy(values, settings, cwd),
        thread=thread,
        private=values.get("private", False),
        model=values.get("model", settings.model),
        effort=values.get("effort", settings.effort),
        summary=values.get("summary", settings.summary),
        approval=values.get("approval", settings.approval),
        timeout_s=values.get("timeout_s", settings.timeout_s),
        images=images,
        schema=None if shape is None else shape.schema,
    )


def shape(values: Mapping[str, Any]) -> Shape | None:
    """Return the shape of an answer that `values` ask for, or None.

    Raises
    ------
    OptionError
        Models cannot be held to it.
    """
    if "schema" not in values:
        return None
    from codex_magic.structured import shape as shapes  # noqa: PLC0415 - most turns have none

    said = values["schema"]
    try:
        return shapes.of(dict(said) if isinstance(said, Mapping) else said)
    except CellError as error:
        raise OptionError(error.message, hint=error.hint) from None


def _policy(values: Mapping[str, Any], settings: st.Settings, cwd: Path) -> SandboxPolicy:
    given = values.get("sandbox", settings.sandbox)
    if isinstance(given, SandboxPolicy):
        policy = replace(given, workspace=values.get("cwd", given.workspace))
    else:
        policy = SandboxPolicy(mode=given, workspace=values.get("cwd", cwd))
    return replace(
        policy,
        network=values.get("network", policy.network),
        writable=(*policy.writable, *values.get("add_dirs", ())),
        hidden=(*policy.hidden, *st.hidden(settings)),
    )
