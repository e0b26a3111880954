"""Places for sandboxed commands."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from codex_magic.policy import SandboxPolicy
from codex_magic.sandbox import CommandResult, probe, run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture
def sandboxed() -> None:
    if probe().level == "none":
        pytest.skip(probe().reason)


@pytest.fixture(scope="session")
def base() -> Path:
    """A folder that no mask covers: that of these tests, or another where the checkout is masked."""
    masked = ("/tmp", "/var/tmp", "/dev/shm", "/run", "/root", "/home", Path.home())
    found = [Path(__file__).resolve().parent, *map(Path, ("/srv", "/mnt", "/opt", "/var/lib"))]
    shown = [path for path in found if not any(path.is_relative_to(mask) for mask in masked)]
    return next((path for path in shown if os.access(path, os.W_OK)), found[0])


@pytest.fixture
def room(base: Path) -> Iterator[Path]:
    """A folder of one test that no mask covers, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix=".room-", dir=base))
    yield folder.resolve()
    shutil.rmtree(folder)


@pytest.fixture
def workspace(room: Path) -> Path:
    folder = room / "workspace"
    folder.mkdir()
    return folder


@pytest.fixture
def policy(workspace: Path) -> SandboxPolicy:
    return SandboxPolicy(workspace=workspace)


@pytest.fixture
def home(room: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person's home with something to hide."""
    folder = room / "home"
    for name in (".ssh/id_rsa", ".codex/auth.json", ".netrc", ".bashrc", "kernel-1.json"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("hidden treasure\n")
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def bare(workspace: Path) -> Callable[..., CommandResult]:
    """The control: the same command, confined by nothing."""
    unconfined = SandboxPolicy(mode="external", workspace=workspace)
    return lambda command, **options: run(command, policy=unconfined, **options)
