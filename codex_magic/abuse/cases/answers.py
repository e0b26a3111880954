"""Cases on what the runner answers to odd commands and odd output.

Their trouble is what happens to whoever starts the same command plainly.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Final

from codex_magic.abuse.case import LIMITS, Answer
from codex_magic.abuse.scene import NOTEBOOK
from codex_magic.sandbox import CommandResult, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from codex_magic.abuse.scene import Scene

BYTES: Final = r"printf '\377\376abc\303'"
HALF_CLOSED: Final = "exec >&- 2>&-; sleep 0.1; exit 4"
LEFT_BEHIND: Final = "sleep 5 & echo done"
SOON_S: Final = 2.0


def _shown(result: CommandResult) -> str:
    return f"{result.outcome} {result.exit_code}: {result.message or result.stdout[:80]!r}"


def _raises(*commands: Sequence[str], cwd: str | None = None) -> Callable[[Scene], str]:
    """Return what a plain start of `commands` raises."""

    def trouble(scene: Scene) -> str:
        raised = []
        for command in commands:
            words = [word.format(workspace=scene.workspace) for word in command]
            folder = cwd and cwd.format(workspace=scene.workspace)
            try:
                subprocess.run(words, check=False, cwd=folder, capture_output=True)  # noqa: S603
            except (OSError, ValueError, IndexError) as error:
                raised.append(type(error).__name__)
        return ", ".join(raised) if len(raised) == len(commands) else ""

    return trouble


def _answers(
    expected: str, *commands: Sequence[str], cwd: str | None = None
) -> Callable[[Scene], str]:
    """Return what is wrong where not all `commands` end as `expected`, and say why."""

    def wrong(scene: Scene) -> str:
        for command in commands:
            words = [word.format(workspace=scene.workspace) for word in command]
            result = run(words, policy=scene.policy, limits=LIMITS, cwd=cwd)
            known = f"{result.outcome} {result.exit_code}"
            if known != expected or not result.message:
                return _shown(result)
        return ""

    return wrong


def _undecodable(_: Scene) -> str:
    said = subprocess.run(BYTES, shell=True, check=False, capture_output=True).stdout  # noqa: S602
    try:
        said.decode()
    except UnicodeDecodeError as error:
        return str(error)
    return ""


def _misread(scene: Scene) -> str:
    result = run(BYTES, policy=scene.policy, limits=LIMITS)
    return "" if result.stdout == "��abc�" else _shown(result)


def _ends_early(_: Scene) -> str:
    with _started(HALF_CLOSED) as process:
        said = process.stdout.read() if process.stdout else b""
        return "its output ends before it does" if not said and process.poll() is None else ""


def _taken_for_ended(scene: Scene) -> str:
    result = run(HALF_CLOSED, policy=scene.policy, limits=LIMITS)
    return "" if result.exit_code == 4 else _shown(result)  # noqa: PLR2004 - what it returns


def _held_open(_: Scene) -> str:
    with _started(LEFT_BEHIND) as process:
        try:
            process.communicate(timeout=0.1)
        except subprocess.TimeoutExpired:
            return "its output goes on after it has ended"
        return ""


def _waited_for(scene: Scene) -> str:
    began = time.monotonic()
    result = run(LEFT_BEHIND, policy=scene.policy, limits=LIMITS)
    took_s = time.monotonic() - began
    if result.stdout != "done\n" or result.exit_code != 0:
        return _shown(result)
    return "" if took_s < SOON_S else f"it took {took_s:.1f} s"


@contextlib.contextmanager
def _started(command: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start a shell command, confined by nothing, and kill all of it at the end."""
    with subprocess.Popen(  # noqa: S602 - the command is ours
        command,
        shell=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


LONG: Final = "x" * 200_000
MUCH: Final = ("x" * 1000,) * 3000

CASES: Final = (
    Answer(
        71,
        "a command with a NUL",
        _raises(["true", "a\0b"]),
        _answers("refused None", ["true", "a\0b"]),
    ),
    Answer(
        72,
        "a command that is too long",
        _raises(["true", LONG], ["true", *MUCH]),
        _answers("error 126", ["true", LONG], ["true", *MUCH]),
    ),
    Answer(73, "output that is no text", _undecodable, _misread),
    Answer(74, "a command that closes its output", _ends_early, _taken_for_ended),
    Answer(75, "a child that keeps the output open", _held_open, _waited_for),
    Answer(
        76,
        "a working folder that is missing",
        _raises(["true"], cwd="{workspace}/missing"),
        _answers("refused None", ["true"], cwd="missing"),
    ),
    Answer(
        81,
        "a program that is missing",
        _raises(["no-such-program"], ["{workspace}/missing"], [""]),
        _answers("error 127", ["no-such-program"], ["{workspace}/missing"], [""]),
    ),
    Answer(
        81,
        "a program that cannot be run",
        _raises(["{workspace}"], [f"{{workspace}}/{NOTEBOOK}"]),
        _answers("error 126", ["{workspace}"], [f"{{workspace}}/{NOTEBOOK}"]),
    ),
    Answer(81, "no command at all", _raises([]), _answers("refused None", [])),
)
