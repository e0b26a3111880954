"""What the probe believes, and what it does not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from codex_magic.sandbox import landlock, probe
from codex_magic.sandbox.probe import Candidate, broken, examine, trusted


def script(folder: Path, text: str) -> Path:
    path = folder / "bwrap"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def no_landlock() -> int:
    return 0


@pytest.mark.usefixtures("sandboxed")
def test_it_names_what_is_kept_and_what_is_not() -> None:
    found = probe()
    assert (found.level, found.reason) == ("full", "")
    assert found.bwrap
    assert found.bwrap.is_file()
    assert any("network" in words for words in found.enforced)
    assert any("memory" in words for words in found.missing)
    assert any("system calls" in words for words in found.enforced)
    assert probe() is found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("exit 1", "did not run"),
        ("echo 'bwrap: No permissions to create a new namespace' >&2; exit 1", "No permissions"),
        ("exec sleep 0", "did not run"),
    ],
)
def test_a_program_that_confines_nothing_is_not_used(room: Path, text: str, why: str) -> None:
    found = examine([Candidate("fake", script(room, text))], abi=no_landlock)
    assert found.level == "none"
    assert found.bwrap is None
    assert not found.enforced
    assert why in found.reason
    assert "fake" in found.reason


@pytest.mark.usefixtures("sandboxed")
@pytest.mark.parametrize(
    ("without", "why"),
    [
        ("--cap-drop", "capabilities"),
        ("--unshare-all", "other processes|network"),
        ("--ro-bind", "kernel's settings|write outside|not run|Can't|execvp|No such"),
    ],
)
def test_a_sandbox_with_a_hole_is_not_used(room: Path, without: str, why: str) -> None:
    # A launcher that drops one kind of option from the list it was given.
    width = {"--cap-drop": 2, "--unshare-all": 1, "--ro-bind": 3}[without]
    code = f"""import os, sys
words = open(int(sys.argv[2]), "rb").read().split(b"\\0")[:-1]
kept, at = [], 0
while at < len(words):
    if words[at] == {without.encode()!r}:
        at += {width}
    else:
        kept.append(words[at])
        at += 1
if {without!r} == "--ro-bind":
    kept = [b"--bind", b"/", b"/", *kept]
for fd in filter(str.isdecimal, sys.argv[3 : sys.argv.index("--")]):
    os.set_inheritable(int(fd), True)
os.execv({str(probe().bwrap)!r}, [b"bwrap", *kept, *map(os.fsencode, sys.argv[3:])])
"""
    (room / "leaky.py").write_text(code)
    text = f'exec {os.sys.executable} {room / "leaky.py"} "$@"'
    found = examine([Candidate("leaky", script(room, text))], abi=no_landlock)
    if os.geteuid() != 0 and without == "--cap-drop":
        pytest.skip("without root there is nothing to drop")
    assert found.level == "none", found
    assert any(word in found.reason for word in why.split("|")), found.reason


def test_the_next_candidate_is_tried(room: Path) -> None:
    working = probe()
    if working.bwrap is None:
        pytest.skip(working.reason)
    found = examine(
        [Candidate("gone", room / "none"), Candidate("good", working.bwrap)],
    )
    assert (found.level, found.mechanism) == ("full", "good")


def test_a_program_that_others_can_change_is_not_trusted(room: Path) -> None:
    path = script(room, "exit 0")
    assert trusted(path) == (os.geteuid() == 0)
    path.chmod(0o775)
    assert not trusted(path)
    assert not trusted(room / "none")
    assert not trusted(Path("bwrap"))


def test_an_empty_report_proves_nothing() -> None:
    assert len(list(broken("", wrote=True, works=False))) == 6


def test_where_no_bwrap_works_landlock_does_a_part(room: Path) -> None:
    found = examine([Candidate("fake", script(room, "exit 1"))])
    if not landlock.abi():
        pytest.skip("this kernel has no Landlock")
    assert (found.level, found.bwrap) == ("partial", None)
    assert found.mechanism == f"Landlock, version {landlock.abi()}"
    assert found.reason == "fake: it did not run a command"
    assert found.enforced
    assert found.missing


@pytest.mark.parametrize(
    ("system", "why"), [("darwin", "not been run yet"), ("win32", "WSL2"), ("sunos5", "none for")]
)
def test_other_systems_are_told_why_nothing_runs(system: str, why: str) -> None:
    found = examine([], system=system)
    assert found.level == "none"
    assert why in found.reason


def test_without_a_filter_for_this_machine_nothing_is_called_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    working = probe()
    if working.bwrap is None:
        pytest.skip(working.reason)
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    found = examine([Candidate("good", working.bwrap)])
    assert (found.level, found.filters, found.filtered()) == ("partial", False, b"")
    assert any("system calls" in words for words in found.missing)
    assert examine([]).level == "none"


def test_what_a_report_must_show() -> None:
    good = """pid 2
CapEff: 0
CapPrm: 0
CapBnd: 0
NoNewPrivs: 1
Seccomp: 2
net lo: 0
mount 1 2 0:1 / /proc/sys ro,relatime - proc proc rw"""
    assert list(broken(good, wrote=False, works=True, filters=True)) == []
    assert list(broken(good.replace("Seccomp: 2", ""), wrote=False, works=True, filters=True)) == [
        "a command's system calls were not filtered"
    ]
    crowded = good.replace("pid 2", "pid 999").replace("lo:", "eth0:").replace(" ro,", " rw,")
    assert len(list(broken(crowded, wrote=False, works=True))) == 3
    assert list(broken(crowded, wrote=False, works=True, alone=False)) == []


ELSEWHERE = {
    "win32": ("sys.platform = 'win32'", "SetupError: commands cannot be confined on Windows"),
    "darwin": (
        "[delattr(os, name) for name in ('O_PATH', 'pidfd_open', 'memfd_create')]",
        "its profile for macOS has not been run yet",
    ),
}


@pytest.mark.parametrize("system", ELSEWHERE)
def test_other_systems_get_a_sentence_and_no_import_error(system: str) -> None:
    without, said = ELSEWHERE[system]
    code = f"""
import os, sys
{without}
import codex_magic.sandbox
from codex_magic.sandbox.probe import examine
print(examine([], system={system!r}).reason)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert said in done.stdout + done.stderr
