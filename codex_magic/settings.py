"""What a person has set, as one value.

Precedence, weakest first: the default, another program's keys that `codex_magic.scorpiox` reads (the
file that ``CODEX_MAGIC_ENV_FILE`` names, then the environment), ``CODEX_MAGIC_…`` there, traitlets
(``c.CodexMagics.…`` in a configuration file, ``%config CodexMagics.…``), the cell's own line. The
last of these is `codex_magic.cell`'s. A key is read from the environment alone, because whatever
is set in a notebook is also saved and shown there.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from codex_magic import scorpiox
from codex_magic.errors import CellError
from codex_magic.policy import (
    ALLOWED_KINDS,
    APPROVAL_POLICIES,
    SANDBOX_ALIASES,
    SANDBOX_MODES,
    Allowance,
    ApprovalPolicy,
    SandboxMode,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_Choice = TypeVar("_Choice", bound=str)

PREFIX: Final = "CODEX_MAGIC_"
ENV_FILE: Final = f"{PREFIX}ENV_FILE"
_LONGEST_ENV_FILE: Final = 64 * 1024
BACKENDS: Final = ("auto", "app-server", "responses")
SHELL_TOOLS: Final = ("function", "shell", "local_shell")
TOKEN_SOURCES: Final = ("local", "http", "ssh", "command")
SUMMARIES: Final = ("auto", "concise", "detailed", "none")
EFFORTS: Final = ("none", "minimal", "low", "medium", "high", "xhigh", "max", "ultra")


SECRET: Final = ("api_key", "token_key", "token_password")
"""What is read from the environment alone, and shown nowhere."""
_ADDRESSES: Final = ("base_url", "token_url")
_PAIRS: Final = (("token_url", "token_key"), ("token_host", "token_password"))
"""Where something is asked for, and what is shown there."""


class Borrowed(str):
    """Half of a pair that another program's keys gave; it is of use with their other half alone."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The defaults of every turn in this kernel.

    Parameters
    ----------
    backend
        Where turns run: ``app-server``, the Codex program; ``responses``, a model's host directly;
        ``auto``, the first of them that can be used here.
    model, effort, summary
        Asked of the backend; None leaves it to the backend.
    aliases
        Further names of models, as pairs of a name and what it stands for.
    sandbox, approval
        What commands may touch, and when to ask.
    timeout_s
        Seconds a command may take.
    agents_md
        Whether the project's ``AGENTS.md`` is told to the model.
    rules
        A file with rules of one's own: which commands ask first, which may never run.
    audit
        Whether each command is logged.
    widget
        Whether a running turn is shown as a widget, where the front end has widgets.
    names
        Whether the model is told what the person's variables are called.
    reuse
        Whether a turn that the notebook keeps is shown again instead of asked again.
    tape
        A lesson to play instead of calling a model.
    api_key
        Used before any stored sign-in; never written anywhere.
    base_url, env_key
        Another host of the Responses API, and the variable that holds its key.
    chatgpt
        Whether the responses backend may use a ChatGPT sign-in, which OpenAI documents for its own
        programs only.
    tools
        Whether the agent is offered any tool.
    shell_tool
        The form in which the responses backend offers the shell: our own function, or one of the
        two that models have been trained on.
    web_search
        Whether the model's host may search the web.
    account
        The name of a sign-in beside the first one.
    token_source
        Where a ChatGPT token comes from: ``local``, a file or the keyring; ``http``, ``ssh``, a
        remote host's; ``command``, what a program prints.
    token_file, token_url, token_host, token_command
        What that source needs; `token_host` is ``user@host`` or ``user@host:port``.
    token_key, token_password
        What it asks for; read from the environment alone.
    """

    backend: str = "auto"

    model: str | None = None
    effort: str | None = None
    summary: str | None = "auto"
    sandbox: SandboxMode = "workspace-write"
    approval: ApprovalPolicy = "on-request"
    timeout_s: float = 120.0
    agents_md: bool = True
    rules: str | None = None
    audit: bool = True
    widget: bool = True
    names: bool = True
    reuse: bool = False
    tape: str | None = None
    api_key: str | None = None
    aliases: tuple[tuple[str, str], ...] = ()
    base_url: str | None = None
    env_key: str | None = None
    chatgpt: bool = False
    tools: bool = True
    shell_tool: str = "function"
    web_search: bool = False
    account: str | None = None
    token_source: str = "local"  # noqa: S105 - a kind of place
    token_file: str | None = None
    token_url: str | None = None
    token_host: str | None = None
    token_command: str | None = None
    token_key: str | None = None
    token_password: str | None = None

    def __repr__(self) -> str:
        shown = ((f.name, getattr(self, f.name)) for f in fields(self) if f.name not in SECRET)
        return f"Settings({', '.join(f'{name}={_shown(name, value)!r}' for name, value in shown)})"


def _shown(name: str, value: object) -> object:
    """Return as much of a setting as nobody's secret can stand in."""
    if not isinstance(value, str):
        return value
    if name in _ADDRESSES:
        scheme, _, rest = value.partition("://")
        host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
        return f"{scheme}://{host}" if host else "an address"
    return value.split(maxsplit=1)[0] if name == "token_command" and value.strip() else value


def from_environment(environ: Mapping[str, str] | None = None) -> Settings:
    """Return the defaults as the environment changes them.

    Raises
    ------
    CellError
        A variable holds a value that is none of its choices, or names a file that cannot be read.
    """
    environ = os.environ if environ is None else environ
    found = {
        field.name: environ[name]
        for field in fields(Settings)
        if environ.get(name := PREFIX + field.name.upper())  # an empty one counts as unset
    }
    # CODEX_API_KEY is Codex's own name for a key that goes before the stored sign-in.
    if key := environ.get("CODEX_API_KEY"):
        found.setdefault("api_key", key)
    read = scorpiox.read(environ, _env_files(environ))
    halves: dict[str, Any] = {
        name: Borrowed(read[name]) for pair in _PAIRS for name in pair if name in read
    }
    theirs = replace(changed(Settings(), read), **halves)
    ours = changed(theirs, found, origin=PREFIX)
    # A name that both give stands for what the person has said here.
    return replace(ours, aliases=ours.aliases + theirs.aliases) if "aliases" in found else ours


def _env_files(environ: Mapping[str, str]) -> list[str]:
    """Return the text of the file that the environment names, if it names one."""
    name = environ.get(ENV_FILE)
    if not name:
        return []
    try:
        with Path(name).expanduser().open("rb") as file:
            text = file.read(_LONGEST_ENV_FILE + 1).decode()
    except OSError as error:
        raise CellError(f"{ENV_FILE} names {name}: {error.strerror}") from None
    except (ValueError, RuntimeError):  # not UTF-8, no such person
        raise CellError(f"{ENV_FILE} names {name}, which is not a file of text") from None
    if len(text) > _LONGEST_ENV_FILE:
        raise CellError(f"{ENV_FILE} names {name}, which is too long for such a file")
    return [text]


def changed(settings: Settings, values: Mapping[str, Any], *, origin: str = "") -> Settings:
    """Return `settings` with `values`, each checked and taken from text where it is text."""
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = _CHECKS.get(name, str)(value)
        except ValueError as error:
            label = name.upper() if origin == PREFIX else name
            # An address may hold a password.
            what = "cannot be used" if name in _ADDRESSES else f"is {value!r}"
            raise CellError(f"{origin}{label} {what}: {error}") from None
    return replace(settings, **_unpaired(settings, checked), **checked)


def _unpaired(settings: Settings, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is no longer set: the borrowed half of a pair whose other half changes."""
    halves = [half for pair in _PAIRS for half in (pair, pair[::-1])]
    return {
        theirs: None
        for ours, theirs in halves
        if isinstance(getattr(settings, theirs), Borrowed)
        and theirs not in values
        and values.get(ours) not in (None, getattr(settings, ours))
    }


def allowed(environ: Mapping[str, str] | None = None) -> Allowance:
    """Return what may be done here without asking, where nobody can be asked.

    Read from ``CODEX_MAGIC_ALLOW`` and nowhere else: it is for whoever starts a notebook to say,
    not for the notebook.

    Raises
    ------
    CellError
        It names something that is neither a kind nor a folder.
    """
    environ = os.environ if environ is None else environ
    words = environ.get(f"{PREFIX}ALLOW", "").split(os.pathsep)
    try:
        return allowance([word for word in words if word], Path.cwd())
    except ValueError as error:
        raise CellError(f"{PREFIX}ALLOW: {error}") from None


def allowance(words: Iterable[str], base: Path) -> Allowance:
    """Return what `words` allow: kinds, and folders, relative ones below `base`."""
    kinds, folders = set(), []
    for word in words:
        if word in ALLOWED_KINDS:
            kinds.add(word)
            continue
        try:
            folders.append(folder(word, base))
        except ValueError as error:
            known = ", ".join(ALLOWED_KINDS)
            raise ValueError(f"{word!r} is none of {known}, and no folder: {error}") from None
    return Allowance(kinds=frozenset(kinds), folders=tuple(folders))


def hidden(settings: Settings) -> tuple[Path, ...]:
    """Return the files that the settings name and no command may read."""
    if settings.token_file is None:
        return ()
    try:
        return (Path(settings.token_file).expanduser().absolute(),)
    except RuntimeError:  # no such person
        return ()


def backend(value: str) -> str:
    """Return the backend that `value` names."""
    return _one_of(BACKENDS, value)


def summary(value: str) -> str:
    """Return how much of its thoughts a model tells, as `value` says."""
    return _one_of(SUMMARIES, value)


def sandbox_mode(value: str) -> SandboxMode:
    """Return the sandbox mode that `value` names, in our words or Codex's."""
    return _one_of(SANDBOX_MODES, SANDBOX_ALIASES.get(value, value))


def approval_policy(value: str) -> ApprovalPolicy:
    """Return the approval policy that `value` names."""
    return _one_of(APPROVAL_POLICIES, value)


def seconds(value: str | float) -> float:
    """Return `value` as a number of seconds above zero."""
    try:
        number = float(value)
    except ValueError:
        number = 0.0
    if not 0 < number < float("inf"):
        raise ValueError("it must be a number of seconds above 0")
    return number


_THREAD: Final = 64


def thread_name(value: str) -> str:
    """Return `value` if a thread can be called so."""
    if value != value.strip() or not value or not value.isprintable() or value.startswith("-"):
        raise ValueError("a thread's name is printable, and begins with no - or space")
    if len(value) > _THREAD:
        raise ValueError(f"a thread's name has at most {_THREAD} characters")
    return value


def folder(value: str, base: Path) -> Path:
    """Return the folder that `value` names, relative ones below `base`."""
    try:
        path = (base / Path(value).expanduser()).resolve()
        if path.is_dir():
            return path
    except (OSError, RuntimeError, ValueError):  # no such person, a loop of links, a name too long
        raise ValueError("it cannot be a folder here") from None
    raise ValueError(f"there is no folder {path}")


def _one_of(choices: tuple[_Choice, ...], value: str) -> _Choice:
    for choice in choices:
        if choice == value:
            return choice
    raise ValueError(f"it must be one of {', '.join(choices)}")


def _flag(value: str | bool) -> bool:  # noqa: FBT001 - a trait or a word
    if isinstance(value, bool):
        return value
    if value.lower() not in _FLAGS:
        raise ValueError("it must be 1 or 0")
    return _FLAGS[value.lower()]


def _aliases(value: str | tuple[tuple[str, str], ...]) -> tuple[tuple[str, str], ...]:
    """Return pairs of names, of ``name=model`` with commas between."""
    if not isinstance(value, str):
        return value
    pairs = [pair.partition("=") for pair in value.split(",") if pair.strip()]
    found = tuple((name.strip(), model.strip()) for name, _, model in pairs)
    if not all(name and model for name, model in found):
        raise ValueError("it must be NAME=MODEL, with commas between")
    return found


def _url(value: str) -> str:
    if not value.startswith(("https://", "http://")):
        raise ValueError("it must begin with https:// or http://")
    return value.rstrip("/")


_FLAGS: Final = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}

_CHECKS: Final[dict[str, Any]] = {
    "backend": backend,
    "summary": summary,
    "sandbox": sandbox_mode,
    "approval": approval_policy,
    "timeout_s": seconds,
    "aliases": _aliases,
    "base_url": _url,
    "chatgpt": _flag,
    "tools": _flag,
    "shell_tool": partial(_one_of, SHELL_TOOLS),
    "web_search": _flag,
    "token_source": partial(_one_of, TOKEN_SOURCES),
    "agents_md": _flag,
    "audit": _flag,
    "widget": _flag,
    "names": _flag,
    "reuse": _flag,
}

CHECKED: Final = tuple(_CHECKS)
"""The settings that not every value will do for."""
