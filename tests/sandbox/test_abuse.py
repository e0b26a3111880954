"""The abuse list on this machine: as whoever runs the tests, as an ordinary user, and elsewhere."""

from __future__ import annotations

import dataclasses
import functools
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import abuse
from codex_magic.abuse import report
from codex_magic.abuse.attempts import files, processes
from codex_magic.abuse.case import LIMITS, Answer, Case, Row
from codex_magic.abuse.cases import CASES
from codex_magic.abuse.scene import Scene, scene
from codex_magic.sandbox import probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.usefixtures("sandboxed")

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
ORDINARY_UID = 64321
AS_ORDINARY: dict[str, Any] = (
    {"user": ORDINARY_UID, "group": ORDINARY_UID, "extra_groups": []} if os.geteuid() == 0 else {}
)
SIMULATIONS = HERE / "simulations.py"
SIMULATED = ["no-namespaces", "container", "container-root"] if SIMULATIONS.exists() else []

# Rows that may prove nothing on the kinds of machine that tests run on: there is no such device,
# or the bare control lacks the rights as well. Any other row must prove something.
NOWHERE = {
    (15, "open the machine's memory"),
    (20, "write through /proc/1/root"),
    (57, "press the system key"),
    (60, "overwrite the launcher"),
    (82, "call by x32's numbers"),
}
FOR_ROOT_ONLY = {
    (14, "read the password file"),
    (15, "open a raw disk"),
    (16, "read the kernel's log"),
    (36, "make a device"),
    (42, "connect to a service's socket in /run"),
    (45, "listen to all traffic"),
    (48, "mount a file system"),
    (49, "remount what is read-only"),
    (53, "use bpf"),
    (55, "set what a crash runs"),
    (56, "set the machine's devices"),
    (58, "make a control group"),
    (59, "change the root"),
    (59, "set the clock"),
    (63, "enter the kernel's mounts"),
}
# What containers forbid to everybody in them.
IN_CONTAINERS = {
    (50, "make a user namespace by unshare"),
    (50, "make a user namespace by clone3"),
    (51, "use io_uring"),
    (52, "use the kernel's keys"),
    (53, "use perf_event_open"),
    (54, "use userfaultfd"),
    (61, "type into a terminal"),
    (63, "take a file out of the kernel"),
}
MAY_PROVE_NOTHING = NOWHERE | (FOR_ROOT_ONLY if os.geteuid() != 0 else set())


def named(case: Case | Answer) -> str:
    words = re.findall(r"[a-z0-9.]+", f"{case.number} {case.title.lower()}")
    return "-".join(words)


@pytest.fixture(scope="module")
def world(base: Path) -> Iterator[Scene]:
    """One scene for all cases; each makes its files anew."""
    folder = Path(tempfile.mkdtemp(prefix=".room-", dir=base))
    with scene(folder) as made:
        yield made
    left = list(folder.iterdir())
    shutil.rmtree(folder)
    assert left == []


@pytest.fixture(scope="module")
def judged(world: Scene) -> Callable[[Case | Answer], Row]:
    """What a case shows; each is tried once, by the first test that asks."""
    return functools.cache(lambda case: case.judge(world, probe().level))


@pytest.mark.parametrize("case", CASES, ids=named)
def test_nothing_gets_through_that_must_not(
    case: Case | Answer, judged: Callable[[Case | Answer], Row]
) -> None:
    row = judged(case)
    assert row.verdict != "through", row.detail


def test_only_these_rows_prove_nothing_here(judged: Callable[[Case | Answer], Row]) -> None:
    rows = [judged(case) for case in CASES]
    silent = {
        (row.number, row.title): row.detail for row in rows if row.verdict == "proves nothing"
    }
    assert silent.keys() - MAY_PROVE_NOTHING == set(), silent


def test_every_number_of_the_list_is_there_and_every_title_is_its_own() -> None:
    assert {case.number for case in CASES} == set(range(1, 87))
    titles = [(case.number, case.title) for case in CASES]
    assert len(titles) == len(set(titles))


# --- the verdicts themselves ---------------------------------------------------------------------

READ = Case(13, "read", files.read_outside)
OWN = Case(5, "own", processes.own_variables)


@pytest.mark.parametrize(
    ("case", "verdict"),
    [
        (READ, "through"),
        (dataclasses.replace(READ, choice=True), "allowed"),
        (dataclasses.replace(READ, told=lambda receipt: True), "allowed"),
        (dataclasses.replace(READ, told=lambda receipt: False), "through"),
        (dataclasses.replace(READ, readable="minimal"), "held"),
        (dataclasses.replace(READ, evidence=lambda made: ""), "proves nothing"),
        (Case(1, "absent", files.read_in_home, ("no-such-file",)), "proves nothing"),
        (dataclasses.replace(OWN, limits=dataclasses.replace(LIMITS, wall_s=0)), "proves nothing"),
        (dataclasses.replace(OWN, cwd="missing"), "proves nothing"),
        (dataclasses.replace(OWN, cwd="outside", readable="minimal"), "held"),
        (Answer(1, "wrong", lambda made: "trouble", lambda made: "wrong"), "through"),
        (Answer(1, "right", lambda made: "trouble", lambda made: ""), "held"),
        (Answer(1, "no trouble", lambda made: "", lambda made: ""), "proves nothing"),
        (Answer(1, "wrong by itself", lambda made: "", lambda made: "wrong"), "through"),
    ],
)
def test_a_verdict_says_what_both_tries_show(
    case: Case | Answer, verdict: str, world: Scene
) -> None:
    row = case.judge(world, "full")
    assert row.verdict == verdict, row.detail


@pytest.mark.parametrize(("partial", "verdict"), [("why", "open"), ("", "through")])
def test_what_a_partial_sandbox_leaves_open_is_said_only_where_it_is_known(
    partial: str, verdict: str, world: Scene
) -> None:
    case = dataclasses.replace(READ, partial=partial)
    assert case.judge(world, "partial").verdict == verdict
    assert case.judge(world, "full").verdict == "through"


def test_a_scene_leaves_nothing_behind(room: Path) -> None:
    before = dict(os.environ)
    with scene(room) as made:
        stamp, pid = made.stamp, made.victim.pid
        assert os.environ["HOME"] == str(made.root / "home")
        places = [path.parent for path in made.listeners.files.values()]
        assert all(path.exists() for path in places)
    assert dict(os.environ) == before
    assert [path for path in (*places, *room.iterdir()) if path.exists()] == []
    assert not Path(f"/proc/{pid}").exists()
    assert stamp not in Path("/proc/net/unix").read_text()


# --- the report ----------------------------------------------------------------------------------


COUNTED = "1 held, 0 private, 0 allowed, 0 through, 1 open, 1 prove nothing"


def test_a_report_is_aligned_and_counts() -> None:
    shown = list(
        abuse.lines(
            [Row(1, "one", "held", "why"), Row(10, "ten", "proves nothing"), Row(2, "two", "open")]
        )
    )
    width = max(len(case.title) for case in CASES)
    assert shown == [
        report.LEGEND,
        f"  1  held            {'one':{width}}  why",
        " 10  proves nothing  ten",
        "  2  open            two",
        f"{COUNTED}. Nothing got out, beside the 1 that are open.",
    ]


def test_a_legend_is_one_line_with_every_verdict() -> None:
    assert {part.partition(":")[0] for part in report.LEGEND.split("; ")} == set(report.VERDICTS)
    assert "\n" not in report.LEGEND


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        (["held"], "Nothing got out."),
        (["through", "held", "through"], "2 got out: 0 case, 2 case."),
        (["through", "open"], "1 got out: 0 case."),
        (["open"], "Nothing got out, beside the 1 that are open."),
    ],
)
def test_a_report_ends_with_what_it_comes_to(verdicts: list[Any], said: str) -> None:
    rows = [Row(number, "case", verdict) for number, verdict in enumerate(verdicts)]
    assert list(abuse.lines(rows))[-1].partition(". ")[2] == said


def test_a_report_says_how_much_it_tries_and_leaves_no_folder(room: Path) -> None:
    out = io.StringIO()
    assert abuse.tell(out, room / "cache/ours", [71, 81]) == 0
    first, legend, *rows, last = out.getvalue().splitlines()
    found = probe()
    assert first == f"level {found.level}, by {found.mechanism}: 4 attempts of 2 kinds"
    assert (legend, len(rows)) == (report.LEGEND, 4)
    assert last.endswith("0 through, 0 prove nothing. Nothing got out.")
    assert list(room.iterdir()) == []


def test_a_report_without_a_sandbox_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = dataclasses.replace(probe(), level="none", reason="of a reason")
    monkeypatch.setattr(report, "probe", lambda: nothing)
    out = io.StringIO()
    assert abuse.tell(out) == 1
    assert out.getvalue() == "no sandbox works here, so every command is refused: of a reason\n"


@pytest.mark.parametrize("verdict", report.VERDICTS)
def test_only_what_got_through_is_bad(verdict: Any) -> None:
    assert abuse.good([Row(1, "one", verdict)]) == (verdict != "through")


def test_chosen_numbers_alone_are_tried(room: Path) -> None:
    assert [row.number for row in abuse.run(room, only=[71, 17])] == [17, 71]


def parsed(text: str) -> list[Row]:
    """The rows of a printed report, less what the reasons are."""
    width = max(len(case.title) for case in CASES)
    table = [line for line in text.splitlines() if re.match(r" *\d+  [a-z]", line)]
    return [Row(int(r[:3]), r[21 : 21 + width].strip(), r[5:19].strip()) for r in table]  # type: ignore[arg-type] - it is what was printed


def printed(base: Path, *launcher: str, **options: Any) -> tuple[list[Row], str]:
    """Print the report in another process, with `base` as its home too."""
    site = next(path for path in sys.path if path.endswith("site-packages"))
    ran = subprocess.run(
        [*launcher, _program(), "-m", "codex_magic.abuse", "--base", str(base)],
        env={"PATH": os.defpath, "HOME": str(base), "PYTHONPATH": f"{PROJECT}:{site}"},
        cwd=base,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    found = parsed(ran.stdout)
    assert [(r.number, r.title) for r in found] == [(c.number, c.title) for c in CASES], (
        ran.stdout[-2000:] + ran.stderr[-2000:]
    )
    through = [row for row in found if row.verdict == "through"]
    assert (through, ran.returncode) == ([], 0)
    return found, ran.stdout


def _program() -> str:
    """An interpreter that any user may run; ours may lie in somebody's home."""
    for program in (sys.executable, "/usr/bin/python3"):
        command = [
            program,
            "-c",
            f"import sys; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})",
        ]
        try:
            if subprocess.run(command, check=False, cwd="/", **AS_ORDINARY).returncode == 0:
                return program
        except PermissionError:
            continue
    pytest.fail("no interpreter of this version can be run by another user")


@pytest.fixture
def ordinary(room: Path) -> dict[str, Any]:
    """What makes a process an ordinary user's; the room becomes theirs."""
    if AS_ORDINARY:
        os.chown(room, ORDINARY_UID, ORDINARY_UID)
    return AS_ORDINARY


def test_it_holds_for_an_ordinary_user_too(room: Path, ordinary: dict[str, Any]) -> None:
    found, text = printed(room, **ordinary)
    assert text.startswith("level full, ")
    silent = {(row.number, row.title) for row in found if row.verdict == "proves nothing"}
    assert silent - NOWHERE - FOR_ROOT_ONLY == set()
    assert list(room.glob("abuse-*")) == []


@pytest.mark.parametrize("name", SIMULATED)
def test_it_holds_where_there_are_no_user_namespaces(room: Path, name: str) -> None:
    room.chmod(0o777)  # whoever the simulation makes us must be at home there
    found, text = printed(room, sys.executable, str(SIMULATIONS), name, "--")
    assert text.startswith("level partial")
    silent = {(row.number, row.title) for row in found if row.verdict == "proves nothing"}
    assert silent - NOWHERE - FOR_ROOT_ONLY - IN_CONTAINERS == set()
