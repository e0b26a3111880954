"""A small world for the attempts: a person's home, a workspace, and what is beside them.

Everything is made below one folder of the caller's, beside a few sockets where all programs have
theirs, and is taken away again whatever happens. A scene knows what it holds and what of that has
changed; what is tried in it is not known here.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import stat
import struct
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic.abuse import inside
from codex_magic.abuse.neighbours import Listeners, Victim, listeners, victim
from codex_magic.policy import SandboxPolicy
from codex_magic.sandbox.machine import COVERED_BY_NAME, ENVIRONMENTS, SECRET_BY_NAME

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET: Final = (
    *("home/.ssh/id_rsa", "home/.codex/auth.json", "home/.netrc", "home/.aws/credentials"),
    *("home/.config/gcloud/credentials.db", "home/.git-credentials", "runtime/kernel-1.json"),
    "outside/notes.txt",
)
NOTEBOOK: Final = "lesson.ipynb"
MODULE: Final = "lesson_tools.py"
FILES: Final = {
    "home/.bashrc": "",
    "outside/target.txt": "untouched\n",
    "workspace/.git/config": "[core]\n",
    "workspace/.git/hooks/pre-commit": "#!/bin/sh\n",
    "workspace/.codex/config.toml": "",
    "workspace/.venv/lib/python3/site-packages/tools.pth": "",
    f"workspace/{NOTEBOOK}": '{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}',
    f"workspace/{MODULE}": "kept = True\n",
}
STANDARD: Final = ("sitecustomize.py", "usercustomize.py", "json.py", "random/__init__.py")
WELL_KNOWN: Final = ("pandas", "numpy", "matplotlib")
"""Packages that notebooks import whether they are installed here or not."""

RENEWED: Final = ("home", "outside", "workspace")
PRIVATE_MODE: Final = 0o700


@dataclass(slots=True)
class Scene:
    """One world.

    Parameters
    ----------
    reached
        What was reached from outside while a command met with us.
    """

    root: Path
    token: str
    victim: Victim
    listeners: Listeners
    port: int
    reached: str = ""

    @property
    def stamp(self) -> str:
        """A name that nothing else on this machine has."""
        return self.listeners.abstract

    @property
    def workspace(self) -> Path:
        """The folder that a confined command may write."""
        return self.root / "workspace"

    @property
    def policy(self) -> SandboxPolicy:
        """What confined commands are given: the workspace, and nothing else."""
        return SandboxPolicy(workspace=self.workspace)

    @property
    def bare(self) -> SandboxPolicy:
        """What the controls are given."""
        return dataclasses.replace(self.policy, mode="external")

    def renew(self) -> None:
        """Make all files as they were at first."""
        for name in RENEWED:
            shutil.rmtree(self.root / name, ignore_errors=True)
        for name in (*SECRET, *FILES):
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True, mode=PRIVATE_MODE)
            path.write_text(FILES.get(name, f"{self.token}\n"), encoding="utf-8")
        os.mkfifo(self.workspace / inside.MEETING)
        self.reached = ""
        self.victim.signals()
        self.listeners.received(b"")

    def changed(self, name: str) -> str:
        """Return whether the file `name`, below the scene's folder, is not as it was, in words."""
        path = self.root / name
        if not path.exists():
            return f"{path.name} is gone" if name in FILES else ""
        text = path.read_text(encoding="utf-8", errors="replace")
        return f"{path.name} was written" if text != FILES.get(name) else ""

    def setuid_files(self) -> str:
        """Return which files of the workspace run with their owner's rights."""
        paths = sorted(self.workspace.iterdir())
        modes = {path.name: path.lstat() for path in paths if path.is_file()}
        bits = stat.S_ISUID | stat.S_ISGID
        return ", ".join(name for name, facts in modes.items() if facts.st_mode & bits)

    def take_left(self, folder: str) -> str:
        """Return whether something was left in a shared folder, and remove it."""
        path = Path(folder, self.stamp)
        if not path.exists():
            return ""
        path.unlink()
        return f"{path} was there"

    def end_survivor(self) -> str:
        """Return who still holds the workspace's lock file, and end that process."""
        path = self.workspace / "alive"
        if not path.exists():
            return ""
        with path.open("r+b") as file:
            asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, pid = struct.unpack("hhqqi4x", fcntl.fcntl(file, fcntl.F_GETLK, asked))
        if kind == fcntl.F_UNLCK:
            return ""
        os.kill(pid, signal.SIGKILL)
        return "a process of it lived on"

    def save_notebook(self) -> None:
        """Save the notebook as Jupyter does: by a new file of the same name."""
        path = self.workspace / NOTEBOOK
        path.with_suffix(".new").write_text(FILES[f"workspace/{NOTEBOOK}"], encoding="utf-8")
        path.with_suffix(".new").replace(path)

    def call_port(self) -> None:
        """Try to reach a command that listens."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            self.reached = "a command was reached from outside"

    def open_door(self) -> None:
        """Let a command go on that met with us."""
        door = os.open(self.workspace / inside.MEETING, os.O_WRONLY | os.O_NONBLOCK)
        os.write(door, b"x")
        os.close(door)

    def facts(self, *, bare: bool) -> dict[str, object]:
        """Return what an attempt is told, in plain values."""
        return {
            "bare": bare,
            "token": self.token,
            "stamp": self.stamp,
            **{name: str(self.root / name) for name in (*RENEWED, "runtime")},
            "kernel": self.victim.pid,
            "address": self.victim.address,
            "tcp": self.listeners.tcp,
            "udp": self.listeners.datagrams.getsockname()[1],
            "port": self.port,
            "abstract": self.listeners.abstract,
            "sockets": {name: str(path) for name, path in self.listeners.files.items()},
            "interfaces": [name for _, name in socket.if_nameindex() if name != "lo"],
            "modules": list(shadowing()),
        }


def shadowing() -> tuple[str, ...]:
    """Return files which, beside a notebook, would be imported for modules that are known."""
    installed = ("msgspec.py",) if importlib.util.find_spec("msgspec") else ()
    return (*STANDARD, *(f"{name}.py" for name in WELL_KNOWN), *installed)


@contextlib.contextmanager
def scene(base: Path) -> Iterator[Scene]:
    """Make a scene in a new folder of `base`, and take it away.

    While it stands, this process's variables say that the scene's home is the person's, and a
    module of its workspace counts as imported.
    """
    folder = Path(os.path.realpath(tempfile.mkdtemp(prefix="abuse-", dir=base)))
    stamp = f"codex-magic-{folder.name}"
    token = f"treasure-of-{folder.name}-{os.urandom(8).hex()}"
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        for name in ("runtime", "readable"):
            (folder / name).mkdir(mode=PRIVATE_MODE)
        places = {"runtime": folder / "runtime", "readable": folder / "readable"}
        made = Scene(
            root=folder,
            token=token,
            victim=stack.enter_context(victim(token)),
            listeners=stack.enter_context(listeners(stamp, places)),
            port=_free_port(),
        )
        stack.enter_context(_variables(made))
        made.renew()
        stack.enter_context(_imported(made.workspace / MODULE))
        yield made


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@contextlib.contextmanager
def _variables(made: Scene) -> Iterator[None]:
    """Let this process's variables name the scene's folders."""
    before = dict(os.environ)
    # Its environment may be the real workspace's.
    for name in (*COVERED_BY_NAME, *SECRET_BY_NAME, *ENVIRONMENTS):
        os.environ.pop(name, None)
    os.environ |= {
        "HOME": str(made.root / "home"),
        "JUPYTER_RUNTIME_DIR": str(made.root / "runtime"),
        "JPY_SESSION_NAME": str(made.workspace / NOTEBOOK),
        "OPENAI_API_KEY": made.token,
        "LAB_LOGIN": made.token,
    }
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@contextlib.contextmanager
def _imported(path: Path) -> Iterator[None]:
    """Let a file count as a module that this process has imported."""
    found = importlib.util.spec_from_file_location(path.stem, path)
    if found is not None:
        sys.modules[path.stem] = importlib.util.module_from_spec(found)
    try:
        yield
    finally:
        sys.modules.pop(path.stem, None)
