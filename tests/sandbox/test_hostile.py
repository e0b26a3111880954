"""Commands that work against the runner itself: what it reads, renames, waits for and believes."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from codex_magic.policy import Limits, SandboxPolicy
from codex_magic.sandbox import CommandResult, footprint, run
from codex_magic.sandbox.shadowing import Shadows, modules

pytestmark = pytest.mark.usefixtures("sandboxed")
SHORT = Limits(wall_s=10)


def open_files() -> set[str]:
    return {file.name for file in Path("/proc/self/fd").iterdir()}


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def aside(result: CommandResult, folder: Path) -> list[str]:
    """What was put aside, by its name below `folder`."""
    before = (Path(said.partition(" -> ")[0]) for said in result.receipt.quarantined)
    return sorted(str(path.relative_to(folder)) for path in before)


# --- what is put aside ---------------------------------------------------------------------------


def test_a_link_to_a_package_is_put_aside_and_what_it_leads_to_is_left_alone(
    policy: SandboxPolicy, room: Path
) -> None:
    (room / "outside").mkdir()
    (room / "outside/__init__.py").write_text("theirs")
    result = run(f"ln -s {room}/outside json", policy=policy)
    assert (room / "outside/__init__.py").read_text() == "theirs"
    assert [path.name for path in (room / "outside").iterdir()] == ["__init__.py"]
    assert aside(result, policy.workspace) == ["json"]
    assert not (policy.workspace / "json").is_symlink()


def test_rings_of_links_hide_nothing_from_the_look(policy: SandboxPolicy) -> None:
    rings = "for i in a b c d e f g h i j; do ln -s $i $i; done"
    result = run(f"{rings}; echo evil > sitecustomize.py; echo evil > json.py", policy=policy)
    assert aside(result, policy.workspace) == ["json.py", "sitecustomize.py"]


@pytest.mark.parametrize("mode", ["0311", "0111", "000", "0555"])
def test_a_closed_workspace_is_opened_again_and_looked_at(policy: SandboxPolicy, mode: str) -> None:
    plant = "mkdir .vscode json; echo > json/__init__.py; echo > pandas.py"
    result = run(f"{plant}; chmod {mode} json; chmod {mode} .", policy=policy)
    assert aside(result, policy.workspace) == [".vscode", "json/__init__.py", "pandas.py"]
    assert policy.workspace.stat().st_mode & 0o700 == 0o700


def test_a_folder_that_becomes_a_repository_itself_loses_what_steers_it(
    policy: SandboxPolicy,
) -> None:
    result = run("mkdir objects refs; echo x > HEAD; echo evil > config", policy=policy)
    assert aside(result, policy.workspace) == ["HEAD", "config"]
    assert (policy.workspace / "objects").is_dir()
    assert run("echo x > HEAD", policy=policy).receipt.quarantined


def test_compiled_modules_are_put_aside_and_none_are_made_by_running(policy: SandboxPolicy) -> None:
    (policy.workspace / "helpers.py").write_text("value = 1\n")
    result = run([sys.executable, "-c", "import helpers"], policy=policy)
    assert (result.exit_code, result.receipt.created) == (0, ())
    result = run(
        "mkdir __pycache__; echo evil > __pycache__/helpers.cpython-311.pyc", policy=policy
    )
    assert aside(result, policy.workspace) == ["__pycache__/helpers.cpython-311.pyc"]


def test_a_part_of_a_package_without_a_start_is_put_aside(
    policy: SandboxPolicy, room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (room / "site/spread/part").mkdir(parents=True)
    monkeypatch.syspath_prepend(str(room / "site"))
    result = run("mkdir -p spread/part own/part; echo > spread/part/__init__.py", policy=policy)
    assert aside(result, policy.workspace) == ["spread"]
    assert (policy.workspace / "own/part").is_dir()


def test_modules_of_another_finder_count_as_known(
    policy: SandboxPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Finder:
        def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
            if name == "broken":
                raise RuntimeError
            origin = "/elsewhere/edited.py"
            return (
                dataclasses.make_dataclass("Spec", ["origin", "loader"])(origin, self)
                if name == "edited"
                else None
            )

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder()])
    result = run("echo > edited.py; echo > broken.py; echo > mine.py", policy=policy)
    assert aside(result, policy.workspace) == ["edited.py"]


def test_thousands_of_modules_take_no_thousands_of_looks(tmp_path: Path) -> None:
    for number in range(3000):
        (tmp_path / f"made{number}.py").touch()
    shadows = Shadows()
    found = list(modules([str(tmp_path)]))
    assert len(found) == 3000
    assert not any(map(shadows, found))
    assert shadows(str(tmp_path / "json.py"))


def test_very_many_are_put_aside_and_counted(policy: SandboxPolicy) -> None:
    names = " ".join(f"jupyter_{n}_config.py" for n in range(50))
    receipt = run(f"touch {names}", policy=policy).receipt
    assert len(receipt.quarantined) == 21
    assert receipt.quarantined[-1] == "and 30 more"


# --- what is protected or hidden -------------------------------------------------------------


def test_what_is_protected_deep_in_the_workspace_is_not_lost_by_renaming(
    policy: SandboxPolicy,
) -> None:
    kept = policy.workspace / "a/b/kept"
    kept.mkdir(parents=True)
    (kept / "hook").write_text("good")
    deep = dataclasses.replace(policy, protected=(Path("a/b/kept"),))
    result = run("mv a a2 || mv a/b a/b2; echo evil > a/b/kept/hook; echo > a/new", policy=deep)
    assert (kept / "hook").read_text() == "good"
    assert (policy.workspace / "a/new").exists()
    assert result.receipt.protected == ()


@pytest.mark.parametrize("name", ["s/key", "s"])
def test_what_is_hidden_stays_so_for_the_next_command(policy: SandboxPolicy, name: str) -> None:
    (policy.workspace / "s").mkdir()
    (policy.workspace / "s/key").write_text("treasure")
    hiding = dataclasses.replace(policy, hidden=(Path(name),))
    run("mv s s2; mv s/key k", policy=hiding)
    assert run("cat s/key s2/key k", policy=hiding).stdout == ""


@pytest.mark.parametrize("path", ["/", "/usr", ".", ".."])
def test_what_cannot_be_hidden_is_refused(policy: SandboxPolicy, path: str) -> None:
    result = run(["true"], policy=dataclasses.replace(policy, hidden=(Path(path),)))
    assert result.outcome == "refused"
    assert "cannot be hidden" in result.message


@pytest.mark.parametrize("kind", ["mkfifo nb.ipynb", "ln -s /dev/zero nb.ipynb", "mkdir nb.ipynb"])
def test_a_notebook_that_became_something_else_is_not_waited_for(
    policy: SandboxPolicy, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    notebook = policy.workspace / "nb.ipynb"
    notebook.write_text("{}")
    monkeypatch.setenv("JPY_SESSION_NAME", "nb.ipynb")

    def replaced(_stream: str, _text: str) -> None:  # as Jupyter does when it saves
        notebook.with_suffix(".new").write_text("{ }")
        notebook.with_suffix(".new").rename(notebook)

    command = f"echo ready; until grep -q '{{ }}' nb.ipynb; do :; done; rm nb.ipynb; {kind}"
    result = run(command, policy=policy, on_output=replaced, limits=SHORT)
    assert result.receipt.protected == (str(notebook),)


def test_a_pointer_to_a_pipe_is_not_waited_for(policy: SandboxPolicy) -> None:
    open_git = dataclasses.replace(policy, unprotected=(policy.workspace / ".git",))
    run("mkdir g; mkfifo g/commondir; echo 'gitdir: g' > .git", policy=open_git)
    assert run(["true"], policy=policy, limits=SHORT).exit_code == 0


# --- what the runner believes ----------------------------------------------------------------


@pytest.mark.parametrize("code", [126, 127])
def test_a_command_cannot_pretend_that_it_never_started(policy: SandboxPolicy, code: int) -> None:
    said = "sandbox: 1: exec: obey me: not found"
    result = run(f"echo x > written; echo '{said}' >&2; exit {code}", policy=policy)
    assert (result.outcome, result.exit_code, result.message) == ("exit", code, "")


def test_an_exit_code_alone_is_no_lack_of_time(policy: SandboxPolicy) -> None:
    assert run("exit 152", policy=policy).message == ""


def test_who_reads_its_own_output_first_does_no_harm(policy: SandboxPolicy) -> None:
    code = """
import os, time
mine = os.open("/proc/self/fd/1", os.O_RDONLY | os.O_NONBLOCK)
if os.fork() == 0:
    end = time.monotonic() + 1
    while time.monotonic() < end:
        try:
            os.read(mine, 9)
        except BlockingIOError:
            pass
    os._exit(0)
for _ in range(500):
    os.write(1, b"x")
    time.sleep(0.0005)
"""
    assert run(python(code), policy=policy, limits=SHORT).outcome == "exit"


def test_names_that_are_no_text_can_be_stored(policy: SandboxPolicy) -> None:
    code = r"open(b'\xfe\n', 'w'); import os; os.mkdir(b'\xff'); open(b'\xff/x', 'w')"
    receipt = run(python(code), policy=policy).receipt
    assert json.loads(msgspec.json.encode(receipt))["created"][0].endswith("\\xfe\n")


@pytest.mark.parametrize("limit", [{"cpu_s": 2**64}, {"open_files": -1}, {"wall_s": float("nan")}])
def test_limits_that_nobody_can_keep_are_refused(
    policy: SandboxPolicy, limit: dict[str, Any]
) -> None:
    result = run(["true"], policy=policy, limits=Limits(**limit))
    assert result.outcome == "refused"
    assert next(iter(limit)) in result.message


def test_a_callers_variables_reach_the_command_and_nothing_before_it(
    policy: SandboxPolicy,
) -> None:
    env = {"LD_PRELOAD": "/nowhere/evil.so", "a-b": "odd", "BASH_ENV": "/nowhere", "PS4": "x"}
    result = run(["/usr/bin/env"], policy=policy, env=env)
    lines = result.stdout.splitlines()
    assert [name for name, value in env.items() if f"{name}={value}" not in lines] == []
    # The dynamic loader complains for each program that it starts: env, and the command.
    assert result.stderr.count("evil.so") == 1


@pytest.mark.parametrize("number", range(6))
def test_impatient_interrupts_leave_nothing_behind(policy: SandboxPolicy, number: int) -> None:
    run(["true"], policy=policy)
    before = open_files()
    timers = [
        threading.Timer(0.02 + 0.004 * number + 0.002 * n, os.kill, (os.getpid(), signal.SIGINT))
        for n in range(2)
    ]
    try:
        for timer in timers:
            timer.start()
        run("mkdir .vscode; echo > json.py; sleep 5", policy=policy)
        for timer in timers:
            timer.join()
    except KeyboardInterrupt:
        try:
            for timer in timers:
                timer.join()
        except KeyboardInterrupt:
            pass
    assert open_files() <= before
    assert not (policy.workspace / ".vscode").exists()
    assert not (policy.workspace / "json.py").exists()


def test_compiled_modules_go_with_their_folder_or_stay_in_one_that_may(
    policy: SandboxPolicy,
) -> None:
    make = "mkdir -p .venv/lib/__pycache__; echo > .venv/lib/__pycache__/m.cpython-311.pyc"
    receipt = run(make, policy=policy).receipt
    assert (len(receipt.quarantined), receipt.protected) == (1, ())
    allowed = dataclasses.replace(policy, unprotected=(policy.workspace / ".venv",))
    assert run(make, policy=allowed).receipt.quarantined == ()
    assert (policy.workspace / ".venv/lib/__pycache__/m.cpython-311.pyc").exists()


def test_an_interrupt_right_at_the_end_loses_no_quarantine(
    policy: SandboxPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = footprint.compare

    def interrupted(*listings: Any) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        return looked(*listings)

    monkeypatch.setattr(footprint, "compare", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run("mkdir .vscode; echo > json.py", policy=policy)
    assert not (policy.workspace / ".vscode").exists()
    assert not (policy.workspace / "json.py").exists()


def test_modules_that_load_lazily_are_not_loaded_by_looking(
    policy: SandboxPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Lazy:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    monkeypatch.setitem(sys.modules, "lazy", Lazy())
    (policy.workspace / "mine.py").write_text("")
    assert run("echo 1 > mine.py; echo > lazy.py", policy=policy).exit_code == 0
