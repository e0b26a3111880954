"""``codex-magic run`` and ``codex-magic strip``: from their options to their exit codes."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from codex_magic import sandbox, settings, tape
from codex_magic.errors import CellError, CodexMagicError, SetupError
from codex_magic.headless import drift, outcome
from codex_magic.headless.progress import Progress
from codex_magic.interrupts import interrupts_held
from codex_magic.notebook import files, stored, where
from codex_magic.notebook.run import Ending, execute, is_run
from codex_magic.page import writable
from codex_magic.policy import SandboxPolicy
from codex_magic.render import words

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from codex_magic.turn import Turn


def run(chosen: argparse.Namespace) -> int:
    """Execute a notebook; return one of the exit codes in `options.CODES`."""
    try:
        out = _target(chosen)
        notebook = files.read(chosen.notebook)
        _check_language(notebook, chosen)
        environ = _environment(chosen)
        files.try_to_write(out)
        before = [stored.turns(cell) for cell in notebook.cells]
        ending = _executed(notebook, chosen, environ, out)
    except _UnwrittenError as error:
        _say(f"codex-magic: {error.__cause__}", sys.stderr)
        return outcome.UNWRITTEN
    except CodexMagicError as error:
        _say(f"codex-magic: {error}", sys.stderr)
        return outcome.NOTHING_RUN
    if chosen.reuse:
        for line in drift.report(drift.drifts(_compared(notebook, before, ending))):
            _say(line, sys.stdout)
    code, said = outcome.judge(notebook, ending)
    if said:
        _say(f"codex-magic: {' '.join(said.split())}", sys.stderr)
    if ending.how != "unstarted":
        _say(f"Written: {out}", sys.stdout)
    return code


class _UnwrittenError(Exception):
    """The notebook has run and could not be written."""


def _executed(
    notebook: Any, chosen: argparse.Namespace, environ: dict[str, str], out: Path
) -> Ending:
    progress = Progress(sum(map(is_run, notebook.cells)), sys.stderr)
    try:
        ending = execute(
            notebook,
            folder=chosen.notebook.absolute().parent,
            watcher=progress,
            timeout_s=chosen.timeout,
            kernel=chosen.kernel or "",
            environ=environ,
        )
    except KeyboardInterrupt:  # it came when the kernel was already gone
        ending = Ending("stopped", "stopped", signum=signal.SIGINT)
    finally:
        progress.close()
    if ending.how != "unstarted":
        try:
            with interrupts_held():
                files.write(notebook, out)
        except SetupError as error:
            raise _UnwrittenError from error
    return ending


def _target(chosen: argparse.Namespace) -> Path:
    """Return where the executed notebook goes."""
    if chosen.in_place:
        return Path(chosen.notebook)
    out = Path(chosen.output)
    try:
        same = out.samefile(chosen.notebook)
    except OSError:
        same = False  # one of them is not there
    if same:
        raise CellError(f"{out} is the notebook itself", hint="To write into it, type --in-place")
    return out


def _check_language(notebook: Any, chosen: argparse.Namespace) -> None:
    language = files.language(notebook)
    if language not in ("", "python", "ipython") and not chosen.kernel:
        raise CellError(
            f"{chosen.notebook} is a notebook in {language}", hint="Name its kernel with --kernel"
        )


def _environment(chosen: argparse.Namespace) -> dict[str, str]:
    """Return what the kernel is told by its environment: a notebook cannot say these things."""
    environ = {where.GIVEN: str(chosen.notebook.absolute())}
    if chosen.tape is not None:
        tape.find(chosen.tape)  # which says so if there is none
        is_lesson = chosen.tape in tape.lessons()
        path = Path(chosen.tape).expanduser()
        environ["CODEX_MAGIC_TAPE"] = chosen.tape if is_lesson else str(path.absolute())
    if chosen.reuse:
        environ["CODEX_MAGIC_REUSE"] = "1"
    if chosen.allow:
        environ["CODEX_MAGIC_ALLOW"] = _allowed(chosen.allow)
    return environ


def _allowed(kinds: Sequence[str]) -> str:
    if not all(kinds):
        raise CellError("--allow: it must not be empty")
    try:
        allowed = settings.allowance(kinds, Path.cwd())
    except ValueError as error:
        raise CellError(f"--allow: {error}") from None
    for folder in allowed.folders:
        if reason := sandbox.refusal(SandboxPolicy(workspace=folder)):
            raise CellError(f"--allow: {folder} cannot be allowed: {reason}")
    names = [*sorted(allowed.kinds), *map(str, allowed.folders)]
    if split := [name for name in names if os.pathsep in name]:
        raise CellError(f"--allow: {split[0]} cannot be named, for the {os.pathsep} in it")
    return os.pathsep.join(names)


def _compared(
    notebook: Any, before: Sequence[Sequence[Turn]], ending: Ending
) -> list[drift.CellTurns]:
    numbers = (i for i, cell in enumerate(notebook.cells) if is_run(cell))
    reached = set(ending.executed)
    return [
        drift.CellTurns(
            number,
            before[index],
            stored.turns(notebook.cells[index]) if index in reached else None,
        )
        for number, index in enumerate(numbers, 1)
    ]


def strip(chosen: argparse.Namespace) -> int:
    """Remove the stored turns of a notebook, and say how many there were."""
    out = Path(chosen.output or chosen.notebook)
    try:
        notebook = files.read(chosen.notebook)
        turns, notes = stored.strip(notebook)
        if chosen.output or turns or notes:
            files.try_to_write(out)
            files.write(notebook, out)
    except CodexMagicError as error:
        _say(f"codex-magic: {error}", sys.stderr)
        return outcome.NOTHING_RUN
    removed = f"{turns} stored turn{'s' * (turns != 1)}"
    _say(
        f"{out}: removed {removed}; what they say can still be read."
        if turns or notes
        else f"{out}: there was no stored turn.",
        sys.stdout,
    )
    return 0


def _say(text: str, out: Any) -> None:
    print(writable(words.clean(text), out.encoding), file=out)
