"""The ``shell`` tool: one command in the kernel's sandbox.

It joins what the call asks for beyond its turn's policy with what the rules say of the command,
and leaves the rest to `codex_magic.sandbox`. It decides nothing: `asks` says what a person must have
allowed.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec

from codex_magic import sandbox
from codex_magic.events import ItemDelta, ItemStarted
from codex_magic.items import CommandExecution, Status, Streams, Text
from codex_magic.policy import Grant, Limits
from codex_magic.render import words
from codex_magic.sandbox.rules import Judgement
from codex_magic.tools.asking import PARAMETERS, Wishes, exceeded, widened
from codex_magic.tools.base import ArgumentsError, BeyondError, Emit, Outcome
from codex_magic.tools.logged import LogFinder, Logged, no_log

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from codex_magic.policy import Permission
    from codex_magic.sandbox.audit import Log
    from codex_magic.turn import TurnRequest

OUTPUT_TOKENS: Final = 8_000
"""Tokens of output a model gets: the app-server itself cuts at about 48 KB, without a mark."""

Judge = Callable[[Sequence[str] | str], Judgement]


def no_rules(_command: Sequence[str] | str) -> Judgement:
    """Say nothing of any command."""
    return Judgement(None, "")


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


class _Arguments(Wishes, forbid_unknown_fields=True):
    command: list[str] | str
    workdir: str | None = None
    timeout_ms: Annotated[float, msgspec.Meta(gt=0)] | None = None


class ShellTool:
    """Runs one command and returns its output.

    Parameters
    ----------
    judge
        What the rules say of a command; none unless given.
    log
        Returns where a command is logged; nowhere unless given.
    """

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
            **PARAMETERS,
        },
        "required": ["command"],
        "additionalProperties": False,
    }

    def __init__(self, *, judge: Judge = no_rules, log: LogFinder = no_log) -> None:
        self._judge = judge
        self._log = log

    def prepare(self, call_id: str, arguments: Any, request: TurnRequest) -> ShellCall:
        """Check the arguments; see `Tool.prepare`."""
        try:
            asked = msgspec.convert(arguments, _Arguments)
            return ShellCall(call_id, asked, request, self._judge(_command(asked)), self._log())
        except BeyondError:
            raise
        # The last three: a folder with a NUL in its name, of an unknown person, in a ring of links.
        except (msgspec.ValidationError, ValueError, RuntimeError, OSError) as error:
            raise ArgumentsError(str(error)) from None


def _command(asked: _Arguments) -> tuple[str, ...] | str:
    return asked.command if isinstance(asked.command, str) else tuple(asked.command)


class ShellCall:
    """One command, ready to run."""

    def __init__(
        self,
        call_id: str,
        asked: _Arguments,
        request: TurnRequest,
        judgement: Judgement,
        log: Log | None,
    ) -> None:
        self._command = _command(asked)
        self._cwd = request.cwd / Path(asked.workdir or ".").expanduser()
        self._limits = Limits(wall_s=_wall_s(asked.timeout_ms, request.timeout_s))
        self._logged = Logged(ShellTool.name, call_id, log)
        self._policy, asks = widened(asked, request.policy)
        if asks and (reason := sandbox.refusal(self._policy)):
            # Nobody should be asked for what is refused afterwards.
            raise BeyondError(reason)
        if judgement.verdict == "ask":
            asks = (*asks, f"run what a rule asks about: {judgement.reason}")
        self.asks = asks
        ruled = judgement.verdict == "ask"
        self.excess = exceeded(request.policy, self._policy, rule=ruled)
        self.forbidden = f"a rule forbids it: {judgement.reason}" * (judgement.verdict == "deny")
        known = judgement.verdict == "allow" or _only_looks(self._command)
        self.harmless = not self.asks and known
        # Without a sandbox the same words may come to do something else: a script may have changed.
        bare = self._policy.mode == "full-access"
        self.grant = None if bare else Grant(self._command, self._cwd, self._policy)
        self.item = CommandExecution(
            id=call_id,
            command=self._command,
            cwd=str(self._cwd),
            reason=asked.justification or "",
            asked=self.asks,
        )

    def run(self, emit: Emit, stop: threading.Event, permission: Permission) -> Outcome:
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
            occasion=self._logged.occasion(permission),
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
        streams = Streams(
            stdout=result.stdout,
            stderr="\n".join(filter(None, (result.stderr, result.message))),
            exit_code=result.exit_code,
            timed_out=result.outcome == "timeout",
        )
        good = result.outcome == "exit"
        return Outcome(item, describe(item), success=good, streams=streams)

    def decline(self, reason: str, permission: Permission) -> Outcome:
        """Return the outcome of not running it."""
        self._logged.declined(self._command, self._policy, self._cwd, permission, reason)
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
        "exit": f"exit {item.exit_code}" + (f" - {item.message}" if item.message else ""),
        "refused": f"refused - {item.message}",
        "error": f"error - {item.message}",
    }.get(str(item.outcome), f"{item.outcome} - {item.message}")
    receipt = item.receipt
    lines = [f"outcome: {ended}", f"duration: {receipt.duration_s if receipt else 0.0:.2f} s"]
    if receipt is not None:
        lines += [f"note: {found}" for found in words.findings(receipt)]
    output = words.for_model(str(item.output), OUTPUT_TOKENS)
    return "\n".join([*lines, "output:", output] if output else [*lines, "output: none"])
