"""Cases on how a command is launched: its variables, its terminal, and the folder it is given."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic.abuse import terminal
from codex_magic.abuse.case import LIMITS, Answer
from codex_magic.policy import SandboxPolicy
from codex_magic.sandbox import CommandResult, run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codex_magic.abuse.scene import Scene

HIJACKED: Final = ("ls", "sh", "bwrap", "python3")
ODD_NAMES: Final = ("with space", "with\nnewline", "with-é", "--bind")
MARK: Final = "echo written > mark"


def _shown(result: CommandResult) -> str:
    return f"{result.outcome} {result.exit_code}: {(result.message or result.stderr)[:200]}"


# --- what the launcher obeys ---------------------------------------------------------------------


def _obeyed(scene: Scene, policy: SandboxPolicy) -> str:
    """Return whether a dynamic loader outside wrote where a command's variable told it to."""
    told = {"LD_DEBUG": "files", "LD_DEBUG_OUTPUT": f"{scene.root}/outside/loader"}
    run(["/bin/true"], policy=policy, limits=LIMITS, env=told)
    found = list((scene.root / "outside").glob("loader.*"))
    return "a loader outside obeyed the command's variables" if found else ""


def _hijacked(scene: Scene, policy: SandboxPolicy) -> str:
    """Return whether a program of the workspace ran in the place of the system's."""
    for name in HIJACKED:
        (scene.workspace / name).write_text("#!/bin/sh\necho hijacked\n", encoding="utf-8")
        (scene.workspace / name).chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{scene.workspace}:{before}"
    try:
        result = run(["ls"], policy=policy, limits=LIMITS)
    finally:
        os.environ["PATH"] = before
    return "a program of the workspace ran" if "hijacked" in result.stdout else ""


def _terminal(scene: Scene, *, confined: bool) -> str:
    """Return whether a command opens the terminal of the process that runs it."""
    ours, theirs = os.openpty()
    try:
        ran = subprocess.run(  # noqa: S603 - the command is ours
            [sys.executable, "-m", terminal.__name__, str(scene.workspace)][: 4 if confined else 3],
            stdin=theirs,
            capture_output=True,
            text=True,
            check=False,
            start_new_session=True,
        )
    finally:
        os.close(ours)
        os.close(theirs)
    if ran.returncode:
        return ran.stderr.strip()[-200:]
    return "it opened the terminal" if terminal.OPENED in ran.stdout else ""


# --- which folder it is given --------------------------------------------------------------------


def _writes_to(scene: Scene, folder: str) -> str:
    """Return whether a control whose workspace is `folder` writes outside."""
    policy = SandboxPolicy(mode="external", workspace=Path(folder))
    target = scene.root / "outside/target.txt"
    run(["sh", "-c", 'echo > "$0"', str(target)], policy=policy, limits=LIMITS)
    return scene.changed("outside/target.txt")


def _admitted(scene: Scene) -> str:
    """Return which folder was admitted that must not be a workspace."""
    (scene.workspace / "root").symlink_to("/")
    home = scene.root / "home"
    folders = (Path("/"), Path("/etc"), home, home / ".ssh", scene.root, scene.workspace / "root")
    for folder in folders:
        for policy in (
            SandboxPolicy(workspace=folder),
            dataclasses.replace(scene.policy, writable=(folder,)),
        ):
            result = run(["true"], policy=policy, limits=LIMITS, cwd=scene.workspace)
            if result.outcome != "refused" or not result.message:
                return f"{folder}: {_shown(result)}"
    return ""


def _works_in(folder: Path, policy: SandboxPolicy) -> str:
    """Return why a command cannot write in its workspace `folder`."""
    result = run(MARK, policy=dataclasses.replace(policy, workspace=folder), limits=LIMITS)
    return "" if (folder / "mark").exists() else f"{folder.name!r}: {_shown(result)}"


def _linked(scene: Scene) -> Path:
    (scene.root / "outside/real").mkdir()
    link = scene.root / "outside/link"
    link.symlink_to("real")
    return link


@contextlib.contextmanager
def _odd(scene: Scene) -> Iterator[list[Path]]:
    """Make folders of odd names, one among the temporary ones."""
    shared = Path(tempfile.mkdtemp(prefix=f"{scene.stamp}-", dir="/tmp"))
    try:
        folders = [shared, *(scene.root / "outside" / name for name in ODD_NAMES)]
        for folder in folders[1:]:
            folder.mkdir()
        yield folders
    finally:
        shutil.rmtree(shared, ignore_errors=True)


def _fails_oddly(scene: Scene, policy: SandboxPolicy) -> str:
    with _odd(scene) as folders:
        return next(filter(None, (_works_in(folder, policy) for folder in folders)), "")


def _shell_writes(scene: Scene) -> str:
    """Return that bare commands write there, which is what must work confined as well."""
    return "" if _fails_oddly(scene, scene.bare) else "it works"


CASES: Final = (
    Answer(
        62,
        "open the person's terminal",
        lambda scene: _terminal(scene, confined=False),
        lambda scene: _terminal(scene, confined=True),
    ),
    Answer(
        69,
        "preload a library into the launcher",
        lambda scene: _obeyed(scene, scene.bare),
        lambda scene: _obeyed(scene, scene.policy),
    ),
    Answer(
        70,
        "stand in for a program of the system",
        lambda scene: _hijacked(scene, scene.bare),
        lambda scene: _hijacked(scene, scene.policy),
    ),
    Answer(
        78,
        "a workspace that holds the system or a home",
        lambda scene: _writes_to(scene, "/"),
        _admitted,
    ),
    Answer(
        79,
        "a workspace that is a symbolic link",
        lambda scene: "" if _works_in(_linked(scene), scene.bare) else "it works",
        lambda scene: _works_in(_linked(scene), scene.policy),
    ),
    Answer(
        80,
        "a workspace in /tmp or of an odd name",
        _shell_writes,
        lambda scene: _fails_oddly(scene, scene.policy),
    ),
)
