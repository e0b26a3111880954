"""A taped Codex's private home is made, and swept up after a kernel that was killed."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from codex_magic.tape import homes

if TYPE_CHECKING:
    import pytest


def test_homes_of_dead_processes_are_swept_and_others_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen(["true"]) as gone:
        gone.wait()
    dead = tmp_path / f"{homes.PREFIX}{gone.pid}-abc"
    living = tmp_path / f"{homes.PREFIX}{os.getppid()}-abc"
    other = tmp_path / f"{homes.PREFIX}notes"
    for folder in (dead, living, other):
        folder.mkdir()
    mine = Path(homes.make())
    assert mine.stat().st_mode & 0o777 == 0o700
    assert sorted(tmp_path.iterdir()) == sorted([living, other, mine])
