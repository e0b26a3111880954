"""Control groups, on plain folders that stand for them: what is written where."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_magic.policy import Limits
from codex_magic.sandbox import cgroup

if TYPE_CHECKING:
    from pathlib import Path


def test_a_group_has_the_limits_and_its_processes(tmp_path: Path) -> None:
    group = cgroup.make(Limits(memory_bytes=1000, processes=7), tmp_path)
    assert group is not None
    group.add(4711)
    [folder] = tmp_path.iterdir()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "memory.max": "1000",
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "7",
        "cgroup.procs": "4711",
    }
    assert (group.peak_bytes(), group.ran_out()) == (0, False)
    (folder / "memory.peak").write_text("900\n")
    (folder / "memory.events").write_text("oom 1\noom_kill 2\n")
    assert (group.peak_bytes(), group.ran_out()) == (900, True)
    group.close()
    assert (folder / "cgroup.kill").read_text() == "1"


def test_where_none_can_be_made_there_is_none(tmp_path: Path) -> None:
    assert cgroup.make(Limits(), None) is None
    assert cgroup.make(Limits(), tmp_path / "missing") is None
    own = tmp_path / "own"
    own.write_text("1:memory:/old\n0::/user/ours\n")
    (tmp_path / "user/ours").mkdir(parents=True)
    # A plain folder gives no group the files that the system would.
    (tmp_path / "user/cgroup.controllers").write_text("memory pids")
    assert cgroup.delegated(tmp_path, own) is None
    assert cgroup.delegated(tmp_path, tmp_path / "missing") is None
    assert [path.name for path in (tmp_path / "user").iterdir() if path.is_dir()] == ["ours"]
