"""The ``apply_patch`` tool: edits to files, in the patch format that Codex's models write.

A program in the kernel's sandbox applies them; Codex's own unless another is given. What is shown
is what then stands on disk, whatever the program said.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic import binary, sandbox
from codex_magic.errors import CodexMagicError, SetupError
from codex_magic.events import ItemStarted
from codex_magic.items import Change, FileChange, Status
from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.render import words
from codex_magic.sandbox import admission, machine
from codex_magic.sandbox.bwrap import mounts, visible
from codex_magic.sandbox.steering import steers
from codex_magic.tools import differences
from codex_magic.tools.asking import PARAMETERS, Wishes, exceeded, widened
from codex_magic.tools.base import ArgumentsError, BeyondError, Emit, Outcome
from codex_magic.tools.logged import LogFinder, Logged, no_log
from codex_magic.tools.patchtext import BEGIN, END, Section, read
from codex_magic.tools.shell import OUTPUT_TOKENS

if TYPE_CHECKING:
    import threading
    from collections.abc import Mapping

    from codex_magic.policy import Permission
    from codex_magic.sandbox import CommandResult
    from codex_magic.sandbox.audit import Log
    from codex_magic.turn import TurnRequest

FILES: Final = 500
PATCH_BYTES: Final = 1_000_000
"""A program's arguments may have 2 MB together."""
PIECE_CHARS: Final = 25_000
"""One argument may have 128 KiB; a character has four bytes at most."""
MESSAGE_CHARS: Final = 500


# --- the program -----------------------------------------------------------------------------

Program = Callable[[str, SandboxPolicy], Sequence[str]]
"""Returns the command that applies a patch in its working folder under a policy.

It raises a `CodexMagicError` where there is none. The command ends with 0 if all was applied, and
says on its streams what a model should read.
"""

_SCRIPT: Final = (
    'folder=$(mktemp -d) && trap \'rm -rf "$folder"\' EXIT && ln -s "$0" "$folder/apply_patch" '
    '&& printf %s "$@" | "$folder/apply_patch"'
)


def codex(patch: str, policy: SandboxPolicy) -> list[str]:
    """Return the command with which Codex applies `patch`: its program answers to that name.

    Raises
    ------
    SetupError
        No Codex can be run under `policy`.
    """
    found = [candidate.path.resolve() for candidate in binary.candidates()]
    program = next((path for path in found if _native(path) and _seen(path, policy)), None)
    if program is None:
        raise SetupError(
            f"Codex's own program applies patches, and {found[0]} is not it or is hidden from "
            "commands; edit with shell instead",
            hint=f"A person can type: {binary.INSTALL}",
        )
    pieces = [patch[i : i + PIECE_CHARS] for i in range(0, len(patch), PIECE_CHARS)]
    return ["/bin/sh", "-c", _SCRIPT, str(program), *pieces]


def _native(path: Path) -> bool:
    """Return whether a link of another name to `path` is told its name: a script's is not."""
    with path.open("rb") as file:
        return file.read(2) != b"#!"


def _seen(path: Path, policy: SandboxPolicy) -> bool:
    if policy.mode in ("full-access", "external"):
        return True
    policy = admission.resolve(policy)
    return visible(str(path), mounts(policy, machine.gather(policy), Limits()))


# --- the tool --------------------------------------------------------------------------------


class _Arguments(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    input: str
    workdir: str | None = None
    justification: str | None = None
    unsandboxed: bool | None = None


class PatchTool:
    """Applies one patch.

    Parameters
    ----------
    program
        What applies it.
    log
        Returns where the command is logged; nowhere unless given.
    """

    name = "apply_patch"
    description = (
        "Add, change, move or delete text files with one patch. `input` is the whole patch, from "
        "'*** Begin Patch' to '*** End Patch'. For each file it has '*** Add File: PATH' and the "
        "lines, each with + before it; or '*** Delete File: PATH'; or '*** Update File: PATH', "
        "perhaps '*** Move to: PATH', and hunks: a line '@@' or '@@ the def or class it is in', "
        "then three lines of context, each with a blank before it, around lines with - and +. "
        "A file that the sandbox does not let it write asks the person."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "input": {"type": "string", "description": "The patch."},
            "workdir": {
                "type": "string",
                "description": "Folder that paths count from; the turn's if absent.",
            },
            **{name: PARAMETERS[name] for name in ("justification", "unsandboxed")},
        },
        "required": ["input"],
        "additionalProperties": False,
    }

    def __init__(self, *, program: Program = codex, log: LogFinder = no_log) -> None:
        self._program = program
        self._log = log

    def prepare(self, call_id: str, arguments: Any, request: TurnRequest) -> PatchCall:
        """Check the arguments; see `Tool.prepare`."""
        try:
            asked = msgspec.convert(arguments, _Arguments)
            return PatchCall(call_id, asked, request, self._program, self._log())
        except BeyondError:
            raise
        # Of the last three: paths with a NUL, of an unknown person, in a ring of links.
        except (msgspec.ValidationError, CodexMagicError, ValueError, RuntimeError, OSError) as no:
            raise ArgumentsError(str(no)) from None


class PatchCall:
    """One patch, ready to be applied."""

    harmless = False
    forbidden = ""
    grant = None  # no patch is like the one before

    def __init__(
        self,
        call_id: str,
        asked: _Arguments,
        request: TurnRequest,
        program: Program,
        log: Log | None,
    ) -> None:
        sections = read(asked.input)
        # Exactly what was read, so that nothing else can be applied.
        patch = "\n".join([BEGIN, *(section.text for section in sections), END, ""])
        _check(patch, sections)
        self._cwd = request.cwd / Path(asked.workdir or ".").expanduser()
        self._limits = Limits(wall_s=request.timeout_s or Limits().wall_s)
        self._logged = Logged(PatchTool.name, call_id, log)
        self._files = _files(sections, self._cwd)
        wishes = Wishes(
            paths=_wanted(sections, self._cwd, request.policy), unsandboxed=asked.unsandboxed
        )
        self._policy, self.asks = widened(wishes, request.policy)
        self.excess = exceeded(request.policy, self._policy)
        if self.asks and (reason := sandbox.refusal(self._policy)):
            # Nobody should be asked for what is refused afterwards.
            raise BeyondError(reason)
        self._command = program(patch, self._policy)
        self._home = request.cwd.resolve()
        self.item = FileChange(
            id=call_id,
            changes=tuple(self._proposed(section) for section in sections),
            cwd=str(self._cwd),
            reason=asked.justification or "",
            asked=self.asks,
        )

    def _proposed(self, section: Section) -> Change:
        path = differences.place(self._cwd, section.moved or section.path)
        kind = "move" if section.moved else section.kind
        return Change(path=differences.told(path, self._home), kind=kind, diff=section.text)

    def run(self, emit: Emit, stop: threading.Event, permission: Permission) -> Outcome:
        """Apply it in the sandbox, and look at the files before and after."""
        emit(ItemStarted(self.item))
        before = differences.look(self._files, self._policy)
        result = sandbox.run(
            self._command,
            policy=self._policy,
            limits=self._limits,
            cwd=self._cwd,
            stop=stop,
            occasion=self._logged.occasion(permission),
        )
        after = differences.look(self._files, self._policy)
        item = msgspec.structs.replace(
            self.item,
            status=_status(result, stopped=stop.is_set()),
            changes=differences.changes(before, after, self._files, self._home),
            message=_message(result),
            receipt=result.receipt,
        )
        said = result.stdout + result.stderr
        return Outcome(item, describe(item, said), success=item.status == "completed")

    def decline(self, reason: str, permission: Permission) -> Outcome:
        """Return the outcome of not applying it."""
        self._logged.declined(self._command, self._policy, self._cwd, permission, reason)
        changes = tuple(
            msgspec.structs.replace(c, diff=words.shortened(c.diff, differences.DIFF_BYTES))
            for c in self.item.changes
        )
        item = msgspec.structs.replace(
            self.item, status="declined", changes=changes, message=reason
        )
        return Outcome(item, f"outcome: declined - {reason}", success=False)


def _check(patch: str, sections: Sequence[Section]) -> None:
    try:
        length = len(patch.encode())
    except UnicodeEncodeError:
        raise ArgumentsError("the patch holds half a character, which no file can hold") from None
    if "\0" in patch:
        raise ArgumentsError("the patch holds a NUL character, which no program can receive")
    if length > PATCH_BYTES:
        said = f"the patch has {length:,} bytes, and one may have {PATCH_BYTES:,}"
        raise ArgumentsError(f"{said}: send it in several")
    if len(sections) > FILES:
        said = f"the patch names {len(sections):,} files, and one may name {FILES:,}"
        raise ArgumentsError(f"{said}: send it in several")


def _files(sections: Sequence[Section], cwd: Path) -> tuple[differences.File, ...]:
    files = []
    for section in sections:
        path = differences.place(cwd, section.path)
        moved = differences.place(cwd, section.moved) if section.moved else None
        if moved is not None and moved.resolve() == path.resolve():
            # Codex writes the new file and then deletes the old one.
            raise ArgumentsError(f"{section.path} would be moved to itself: leave the move out")
        files.append(differences.File(path, moved))
    return tuple(files)


def _wanted(sections: Sequence[Section], cwd: Path, policy: SandboxPolicy) -> list[str]:
    """Return what must be writable for `sections`, as a sandbox can be given it."""
    wanted = []
    for section in sections:
        path = differences.place(cwd, section.path)
        # Deleted is the entry itself, also where it is a link; written is what it leads to.
        removed = section.kind == "delete" or section.moved
        wanted.append(path if removed else path.resolve())
        if section.moved:
            wanted.append(differences.place(cwd, section.moved).resolve())
    roots = [root.resolve() for root in (policy.workspace, *policy.writable)]
    return list(dict.fromkeys(str(_grantable(path, roots)) for path in wanted))


def _grantable(path: Path, roots: Sequence[Path]) -> Path:
    """Return the smallest folder or protected entry that allows to write `path`."""
    if not any(map(path.is_relative_to, roots)):
        return next(folder for folder in path.parents if folder.is_dir())
    # A link is looked through when it is judged, but stands where it stands.
    return path.parent if path.is_symlink() and not steers(path.name) else path


def _status(result: CommandResult, *, stopped: bool) -> Status:
    if result.outcome == "killed" and stopped:
        return "interrupted"
    return "completed" if result.exit_code == 0 else "failed"


def _message(result: CommandResult) -> str:
    if result.exit_code == 0:
        return result.message
    said = result.message or (result.stderr or result.stdout).strip()
    return words.one_line(words.clean(said), MESSAGE_CHARS) or f"exit {result.exit_code}"


def describe(item: FileChange, said: str) -> str:
    """Return what the model reads of a patch; `said` is what the program wrote."""
    done = ", ".join(f"{change.kind} {change.path}" for change in item.changes)
    if item.status == "completed":
        lines = ["outcome: applied"]
    elif done:
        lines = [f"outcome: {item.status}, applied in part - {item.message}", f"changed: {done}"]
    else:
        lines = [f"outcome: {item.status}, nothing was changed - {item.message}"]
    if item.receipt is not None:
        lines += [f"note: {found}" for found in words.findings(item.receipt)]
    output = words.for_model(said, OUTPUT_TOKENS // 2)
    return "\n".join([*lines, "output:", output] if output else lines)
