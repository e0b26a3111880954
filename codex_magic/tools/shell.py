"""The ``shell`` tool: one command in the kernel's sandbox.

It builds a policy from the turn's and from what the call asks for beyond it, and leaves the rest
to `codex_magic.sandbox`. It decides nothing: `asks` says what a person must have allowed.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from codex_magic import sandbox
from codex_magic.events import ItemDelta, ItemStarted
from codex_magic.items import CommandExecution, Status, Text
from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.render.words import shortened
from codex_magic.tools.base import ArgumentsError, Emit, Outcome

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from codex_magic.turn import TurnRequest

TEXT_LIMIT_BYTES: Final = 32 * 1024
"""Bytes of output a model gets: the app-server itself cuts at about 48 KB, without a mark."""

_HARMLESS: Final = frozenset(
    [
        "basename",
        "cat",
        "cmp",
        "comm",
        "cut",
        "date",
        "df",
        "diff",
        "dirname",
        "du",
        "echo",
        "expr",
        "false",
        "grep",
        "head",
        "id",
        "ls",
        "md5sum",
        "nl",
        "od",
        "paste",
        "pwd",
        "readlink",
        "realpath",
        "rev",
        "seq",
        "sha256sum",
        "stat",
        "tac",
        "tail",
        "tr",
        "true",
        "uname",
        "wc",
        "which",
        "whoami",
    ]
)
"""Programs that only look, whatever their options and arguments.

`find`, `sort`, `sed`, `rg`, `file` and `uniq` have ways to write or to run something.
"""


class _Arguments(msgspec.Struct, forbid_unknown_fields=True):
    command: list[str] | str
    workdir: str | None = None
    timeout_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None
    justification: str | None = None
    network: bool | None = None
    paths: list[str] | None = None
    unsandboxed: bool | None = None


class ShellTool:
    """Runs one command and returns its output."""

    name = "shell"
    description = (
        "Run one command in the notebook kernel's sandbox and return its outcome and output. "
        "`command` is a list of arguments, or one string for /bin/sh -c. Without network, and "
        "writing only where the sandbox policy allows; `network`, `paths` and `unsandboxed` ask "
        "the person for more."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "command": {
                "anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "string"}],
                "description": "Arguments, the program first; or one string for /bin/sh -c.",
            },
            "workdir": {"type": "string", "description": "Folder to run in; the turn's if absent."},
            "timeout_ms": {"type": "number", "description": "Kill it after this time."},
            "justification": {"type": "string", "description": "Why, in words a person can judge."},
            "network": {"type": "boolean", "description": "Ask for network access."},
            "paths": {
                "type": "array",
                "items": {"type": "string"},
                "description": "Ask to write in these further folders.",
            },
            "unsandboxed": {"type": "boolean", "description": "Ask to run without any sandbox."},
        },
        "required": ["command"],
        "additionalProperties": False,
    }

    def prepare(self, call_id: str, arguments: Any, request: TurnRequest) -> ShellCall:
        """Check the arguments; see `Tool.prepare`."""
        try:
            return ShellCall(call_id, msgspec.convert(arguments, _Arguments), request)
        # The last three: a folder with a NUL in its name, of an unknown person, in a ring of links.
        except (msgspec.ValidationError, ValueError, RuntimeError, OSError) as error:
            raise ArgumentsError(str(error)) from None


class ShellCall:
    """One command, ready to run."""

    def __init__(self, call_id: str, asked: _Arguments, request: TurnRequest) -> None:
        command = asked.command if isinstance(asked.command, str) else tuple(asked.command)
        self._command = command
        self._cwd = request.cwd / Path(asked.workdir or ".").expanduser()
        self._limits = Limits(wall_s=_wall_s(asked.timeout_ms, request.timeout_s))
        self._policy, self.asks = _policy(asked, request.policy)
        if self.asks and (reason := sandbox.refusal(self._policy)):
            # Nobody should be asked for what is refused afterwards.
            raise ArgumentsError(reason)
        self.harmless = not self.asks and _only_looks(command)
        self.item = CommandExecution(
            id=call_id,
            command=command,
            cwd=str(self._cwd),
            reason=asked.justification or "",
            asked=self.asks,
        )

    def run(self, emit: Emit, stop: threading.Event) -> Outcome:
        """Run it in the sandbox, its output emitted as it comes."""
        output = Text()

        def show(_stream: str, text: str) -> None:
            nonlocal output
            output = output.plus(text)
            emit(ItemDelta(self.item.id, "output", text))

        emit(ItemStarted(self.item))
        result = sandbox.run(
            self._command,
            policy=self._policy,
            limits=self._limits,
            cwd=self._cwd,
            on_output=show,
            stop=stop,
        )
        # In the order it came, if all of it streamed; of a long output only the head does.
        kept = result.stdout + result.stderr
        shown = output if len(str(output)) == len(kept) else Text(kept)
        item = msgspec.structs.replace(
            self.item,
            status=_status(result.outcome, stopped=stop.is_set()),
            output=shown,
            outcome=result.outcome,
            exit_code=result.exit_code,
            message=result.message,
            receipt=result.receipt,
        )
        return Outcome(item, describe(item), success=result.outcome == "exit")

    def decline(self, reason: str) -> Outcome:
        """Return the outcome of not running it."""
        item = msgspec.structs.replace(self.item, status="declined", message=reason)
        return Outcome(item, f"outcome: declined - {reason}", success=False)


def _status(outcome: str, *, stopped: bool) -> Status:
    if outcome == "killed" and stopped:
        return "interrupted"
    return "completed" if outcome == "exit" else "failed"


def _wall_s(asked_ms: float | None, allowed_s: float | None) -> float:
    """Return the seconds a command gets: a model can lower a person's limit, never raise it."""
    limit = allowed_s or Limits().wall_s
    return limit if asked_ms is None else min(limit, asked_ms / 1000)


def _policy(asked: _Arguments, policy: SandboxPolicy) -> tuple[SandboxPolicy, tuple[str, ...]]:
    """Return the policy the call would run under, and in words what it has beyond the turn's."""
    if policy.mode in ("full-access", "external"):
        return policy, ()
    asks = []
    if asked.unsandboxed:
        return replace(policy, mode="full-access"), ("run without any sandbox",)
    if asked.network and not policy.network:
        policy = replace(policy, network=True)
        asks.append("use the network, this machine's own services included")
    extra = tuple(
        (policy.workspace / Path(path).expanduser()).resolve() for path in asked.paths or ()
    )
    outside = tuple(path for path in extra if not _may_write(policy, path))
    if outside and policy.mode == "read-only":
        # Where a sandbox writes at all it writes in the workspace, so that is asked for as well.
        policy = replace(policy, mode="workspace-write")
        rest = (path for path in outside if not _may_write(policy, path))
        asks.append(f"write in {policy.workspace}")
        outside = tuple(rest)
    if outside:
        policy = replace(policy, writable=(*policy.writable, *outside))
        asks.extend(f"write in {path}" for path in outside)
    return policy, tuple(asks)


def _may_write(policy: SandboxPolicy, path: Path) -> bool:
    roots = (policy.workspace, *policy.writable) if policy.mode == "workspace-write" else ()
    return any(path.is_relative_to(root) for root in roots)


def _only_looks(command: tuple[str, ...] | str) -> bool:
    """Whether every part of the command is a program that only looks.

    A string counts only where it is plain words and pipes: anything a shell would expand,
    redirect or substitute is left for a person to judge.
    """
    if isinstance(command, str):
        # Only blanks part words in a shell: with another kind of space in it, a word is longer.
        if not (command.isascii() and command.isprintable()):
            return False
        if set(command) & set("`$<>;&(){}[]*?!~#\\\"'="):
            return False
        parts = [part.split() for part in command.split("|")]
    else:
        parts = [list(command)]
    return all(part and part[0] in _HARMLESS for part in parts)


def spoken(command: tuple[str, ...] | str) -> str:
    """Return a command as one would type it."""
    return command if isinstance(command, str) else shlex.join(command)


def describe(item: CommandExecution) -> str:
    """Return what the model reads of a finished command."""
    ended = {
        "exit": f"exit {item.exit_code}",
        "refused": f"refused - {item.message}",
        "error": f"error - {item.message}",
    }.get(str(item.outcome), f"{item.outcome} - {item.message}")
    duration_s = item.receipt.duration_s if item.receipt else 0.0
    output = shortened(str(item.output), TEXT_LIMIT_BYTES)
    lines = [f"outcome: {ended}", f"duration: {duration_s:.2f} s", "output:", output]
    return "\n".join(lines if output else [*lines[:2], "output: none"])
