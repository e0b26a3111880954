from __future__ import annotations

import dataclasses
import gc
import io
import os
import re
import subprocess
import sys
import textwrap
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from IPython.core.completer import provisionalcompleter
from traitlets import Unicode

from codex_magic import binary, cell, doctor, folder, magics, sandbox
from codex_magic import events as ev
from codex_magic.backends.base import Account, Model, StoredThread
from codex_magic.backends.hints import SIGN_IN
from codex_magic.errors import BackendError, CellError, SetupError, TurnInterrupted
from codex_magic.lines import LiteralLine
from codex_magic.policy import Grant, SandboxPolicy
from codex_magic.sandbox import probe
from codex_magic.sandbox.audit import Finished, Log, Started
from codex_magic.sandbox.probe import NO_BWRAP
from codex_magic.session import Session
from codex_magic.settings import CHECKED, SECRET, Settings
from codex_magic.turn import TurnRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    Reply = Callable[[str], list[ev.Event]]
    Script = Callable[..., Any]
    Capture = pytest.CaptureFixture[str]


def prompts(backend: Any) -> list[str]:
    return [request.prompt for request in backend.asked]


# --- coming and going ------------------------------------------------------------------------


def traces(shell: InteractiveShell) -> dict[str, Any]:
    """Everything that loading may change in a shell."""
    manager = shell.magics_manager
    assert shell.Completer is not None
    return {
        "magics": {kind: sorted(manager.magics[kind]) for kind in ("line", "cell")},
        "registry": sorted(manager.registry),
        "user magics": sorted(vars(manager.user_magics)),
        "configurables": [type(found).__name__ for found in shell.configurables],
        "transformers": list(shell.input_transformer_manager.token_transformers),
        "cleanup": list(shell.input_transformers_cleanup),
        "matchers": [found.matcher_identifier for found in shell.Completer.custom_matchers],
        "names": sorted(shell.user_ns),
    }


def test_unloading_leaves_nothing_behind(shell: InteractiveShell) -> None:
    shell.find_line_magic("load_ext")
    before = traces(shell)
    shell.run_line_magic("load_ext", "codex_magic")
    loaded = traces(shell)
    assert "codex" in loaded["magics"]["line"]
    assert "codex" in loaded["magics"]["cell"]
    assert LiteralLine in loaded["transformers"]
    shell.run_line_magic("unload_ext", "codex_magic")
    assert traces(shell) == before


def test_unloaded_magics_are_held_by_nobody(
    shell: InteractiveShell, script: Script, reply: Reply
) -> None:
    """Nor by what runs when the process ends."""
    script(reply("hi"))
    shell.run_cell("%%codex\ngo")
    held = weakref.ref(shell.magics_manager.registry["CodexMagics"])
    shell.run_line_magic("unload_ext", "codex_magic")
    gc.collect()
    assert held() is None


def test_loading_twice_is_loading_once(shell: InteractiveShell) -> None:
    shell.run_line_magic("load_ext", "codex_magic")
    once = traces(shell)
    shell.run_line_magic("reload_ext", "codex_magic")
    magics.load(shell)
    assert traces(shell) == once


def test_after_a_reload_config_reaches_the_magics_in_use(shell: InteractiveShell) -> None:
    shell.run_line_magic("load_ext", "codex_magic")
    shell.run_line_magic("reload_ext", "codex_magic")
    shell.run_line_magic("config", "CodexMagics.model = 'm'")
    loaded = shell.magics_manager.registry["CodexMagics"]
    assert isinstance(loaded, magics.CodexMagics)
    assert loaded.session().settings.model == "m"


def test_unloading_ends_the_session(shell: InteractiveShell, script: Script, reply: Reply) -> None:
    backend = script(reply("hi"))
    shell.run_cell("%%codex\ngo")
    assert not backend.is_closed
    shell.run_line_magic("unload_ext", "codex_magic")
    assert backend.is_closed


LOADING = """
import os, sys
from pathlib import Path
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

def files():
    roots = (Path.home(), Path.cwd(), Path(os.environ["TMPDIR"]))
    return sorted(str(path) for root in roots for path in root.rglob("*"))

def children():
    return [task.read_text() for task in Path("/proc/self/task").glob("*/children")]

config = Config()
config.HistoryManager.enabled = False
shell = InteractiveShell(config=config)
shell.run_line_magic("lsmagic", "")
before = files(), children(), len(os.listdir("/proc/self/task"))
shell.run_line_magic("load_ext", "codex_magic")
assert (files(), children(), len(os.listdir("/proc/self/task"))) == before
heavy = ("tornado", "nbclient", "nbformat", "ipywidgets", "anywidget", "httpx2", "subprocess_")
ours = ("session", "sandbox", "backends", "tape", "demo", "doctor", "render", "tools")
heavy += tuple(f"codex_magic.{name}" for name in ours)
print(sorted(name for name in heavy if name in sys.modules))
"""


def test_loading_writes_no_file_starts_no_process_and_imports_nothing_heavy(
    tmp_path: Path,
) -> None:
    for name in ("home", "work", "tmp"):
        (tmp_path / name).mkdir()
    ran = subprocess.run(
        [sys.executable, "-B", "-c", LOADING],
        check=False,
        capture_output=True,
        text=True,
        cwd=tmp_path / "work",
        env={
            "HOME": str(tmp_path / "home"),
            "TMPDIR": str(tmp_path / "tmp"),
            "PYTHONPATH": str(Path(magics.__file__).parents[1]),
        },
    )
    assert (ran.stdout, ran.stderr) == ("[]\n", "")


def test_every_default_that_has_no_other_door_is_a_trait(
    shell: InteractiveShell, script: Script
) -> None:
    script()
    shell.run_line_magic("config", "CodexMagics.summary = 'detailed'")
    loaded = shell.magics_manager.registry["CodexMagics"]
    assert isinstance(loaded, magics.CodexMagics)
    assert loaded.session().settings.summary == "detailed"
    fields = {field.name for field in dataclasses.fields(Settings)}
    assert fields - set(magics.CodexMagics.class_own_traits()) == {"tape", *SECRET}


# --- cells -----------------------------------------------------------------------------------


def test_a_cell_is_a_turn_of_the_notebooks_thread(
    shell: InteractiveShell, script: Script, reply: Reply, capsys: Capture
) -> None:
    backend = script(reply("One."), reply("Two."))
    for prompt in ("first", "{second} $HOME `x` @f"):
        assert shell.run_cell(f"%%codex -s read-only -q\n\n{prompt}\n").success
    policy = SandboxPolicy(mode="read-only", workspace=Path.cwd())
    asked = [dataclasses.replace(request, inputs="") for request in backend.asked]
    assert asked == [
        TurnRequest(prompt=prompt, policy=policy, summary="auto", timeout_s=120.0, quiet=True)
        for prompt in ("first", "{second} $HOME `x` @f")
    ]
    assert capsys.readouterr().out == "One.\nTwo.\n"


def test_a_turn_shows_its_items_and_its_end(
    shell: InteractiveShell, script: Script, typical: list[ev.Event], capsys: Capture
) -> None:
    ours = [event for event in typical if not isinstance(event, ev.ToolCallRequested)]
    script(ours)
    shell.run_cell("%%codex\ngo")
    assert capsys.readouterr().out == textwrap.dedent("""\
        (thinking) Counting lines.

        - count
        - tell

        $ wc -l a.csv
        345 a.csv
        -> exit 0 · 12 ms · sandbox full

        $ ls | head
        a.csv
        -> exit 2 · 12 ms · sandbox full

        There are **344** penguins.

        [a-model · 2,500 tokens in, 100 out · 2.5 s · thread main]
        """)


def test_the_users_names_stay_as_they_were(
    shell: InteractiveShell, script: Script, reply: Reply, capsys: Capture
) -> None:
    shell.run_cell("x = 1")
    before = {name: value for name, value in shell.user_ns.items() if not name.startswith("_")}
    script(reply("One."), reply("Two."))
    shell.run_cell("%%codex\ngo")
    shell.run_cell("%codex ask go")
    shell.run_cell("%codex status")
    after = {name: value for name, value in shell.user_ns.items() if not name.startswith("_")}
    assert set(after) - set(before) <= {"In", "Out"}
    assert after["x"] == 1


# --- lines that stay literal -----------------------------------------------------------------

LITERAL = [
    "why?",
    "why??",
    "it's",
    'say "hi',
    "{a}",
    "$HOME",
    "a; b",
    "a;",
    "a ?",
    "#x",
    "a # b",
    "!ls",
    "%time x",
    "x = 1",
    "(",
    '"""',
    "日本 😀",
    "a  b\tc",
    "\\n",
    "?",
    "C:\\",
]
AROUND = {
    "alone": "%codex ask {}",
    "indented": "if True:\n    %codex ask {}",
    "behind code": "y = 2\n%codex ask {}",
    "before code": "%codex ask {}\n\ny = 2",
    "timed": "%%time\n%codex ask {}",
    "captured": "%%capture out\n%codex ask {}",
    "spaced": "%codex  ask   {}   ",
}


PLACED = [
    (text, place)
    for text in LITERAL
    for place in AROUND
    if not (place == "before code" and text.endswith("\\"))  # it goes on: see below
]


@pytest.mark.parametrize(("text", "place"), PLACED)
def test_the_text_of_a_line_is_literal(
    text: str, place: str, shell: InteractiveShell, script: Script, reply: Reply
) -> None:
    backend = script(reply("Because."))
    result = shell.run_cell(AROUND[place].format(text))
    assert prompts(backend) == [text]
    # When all is done these two read their cell once more, as Python, and stumble over brackets.
    assert result.success or place in ("timed", "captured")


def test_a_line_goes_on_behind_a_backslash(
    shell: InteractiveShell, script: Script, reply: Reply
) -> None:
    backend = script(reply("Because."))
    shell.run_cell("%codex ask one \\\n  two\ny = 2")
    assert prompts(backend) == ["one \\\n  two"]
    assert shell.user_ns["y"] == 2


NOT_OURS = {
    "a string": ('s = """\n%codex ask why?\n"""', "s", "\n%codex ask why?\n"),
    "a comment": ("s = 1 # %codex ask why?", "s", 1),
    "an expression": ("codex, ask = 7, 4\ns = 10 %codex", "s", 3),
}


@pytest.mark.parametrize("name", NOT_OURS)
def test_what_only_looks_like_a_line_of_ours_is_python(
    name: str, shell: InteractiveShell, script: Script
) -> None:
    code, variable, value = NOT_OURS[name]
    backend = script()
    shell.run_cell(code)
    assert shell.user_ns[variable] == value
    assert prompts(backend) == []


BODIES = ["%codex ask why?", "%%codex\n%codex status", "!ls\n?x\n{a}", "why?", "x = '''", "\\"]


@pytest.mark.parametrize("body", BODIES)
def test_nothing_in_a_prompt_is_looked_at(
    body: str, shell: InteractiveShell, script: Script, reply: Reply
) -> None:
    backend = script(reply("Because."))
    shell.run_cell(f"%%codex\n{body}")
    assert prompts(backend) == [body]


# --- help ------------------------------------------------------------------------------------


@pytest.mark.parametrize("asked", ["%%codex -h", "%%codex -q --help\nx"])
def test_a_cell_can_ask_for_its_options(
    asked: str, shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    backend = script()
    shell.run_cell(asked)
    assert capsys.readouterr().out == magics.CELL_HELP + "\n"
    assert prompts(backend) == []


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("%codex?", [line.split(":")[0] for line in magics.SUBCOMMANDS.values()]),
        ("?%codex", [line.split(":")[0] for line in magics.SUBCOMMANDS.values()]),
        ("%%codex?", cell.usage().splitlines()),
    ],
)
def test_a_question_mark_shows_the_help(
    typed: str,
    shown: list[str],
    shell: InteractiveShell,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    script()
    paged: list[str] = []
    shell.set_hook("show_in_pager", lambda _self, data, **_: paged.append(str(data)))
    shell.run_cell(typed)
    assert len(paged) == 1
    assert [line for line in shown if line not in paged[0]] == []


@pytest.mark.parametrize("typed", ["%codex", "%codex help", "%codex -h"])
def test_the_line_magic_alone_lists_its_subcommands(
    typed: str, shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script()
    shell.run_cell(typed)
    shown = capsys.readouterr().out
    assert [text for text in magics.SUBCOMMANDS.values() if text not in shown] == []


@pytest.mark.parametrize("typed", ["%%codex", "%%codex -q"])
def test_a_cell_that_is_being_typed_is_not_complete_yet(
    typed: str, shell: InteractiveShell, script: Script
) -> None:
    script()
    assert shell.check_complete(typed)[0] == "incomplete"


# --- errors ----------------------------------------------------------------------------------

ONE_LINE = {
    "%codex stauts": "CellError: there is no subcommand 'stauts'. Did you mean %codex status?",
    "%codex zzz": "CellError: there is no subcommand 'zzz'. Type %codex for those there are",
    "%codex\task\t": "CellError: the prompt is empty. Write it below the line: %%codex, "
    "then your words",
    "%%codex\n": "CellError: the prompt is empty. Write it below the line: %%codex, "
    "then your words",
    "%%codex --quite\ngo": "CellError: there is no option --quite. Did you mean --quiet?",
    "%%codex -s maybe\ngo": "CellError: --sandbox is 'maybe': it must be one of read-only, "
    "workspace-write, full-access, external. Type %%codex? for the options",
    "%codex replay nothing-of-this-name": None,
}


@pytest.mark.parametrize("typed", ONE_LINE)
def test_an_error_is_one_line(
    typed: str, shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    backend = script()
    result = shell.run_cell(typed)
    shown = capsys.readouterr()
    assert isinstance(result.error_in_exec, CellError)
    assert (len(shown.out.splitlines()), shown.err) == (1, "")
    assert ONE_LINE[typed] in (None, shown.out.rstrip("\n"))
    assert prompts(backend) == []


WRONG_DEFAULTS = {
    "approval = 'x'": "approval is 'x': it must be one of untrusted, on-request, never",
    "backend = 'x'": "backend is 'x': it must be one of auto, app-server, responses",
    "base_url = 'x'": "base_url cannot be used: it must begin with https:// or http://",
    "timeout_s = -1": "timeout_s is -1.0: it must be a number of seconds above 0",
}


@pytest.mark.parametrize("typed", WRONG_DEFAULTS)
def test_a_wrong_default_is_refused_at_once_and_changes_nothing(
    typed: str,
    shell: InteractiveShell,
    script: Script,
    reply: Reply,
    caplog: pytest.LogCaptureFixture,
) -> None:
    backend = script(reply("One."))
    shell.run_line_magic("config", f"CodexMagics.{typed}")
    shell.run_line_magic("config", "CodexMagics.model = 'm'")
    assert [record.getMessage() for record in caplog.records] == [
        f"CodexMagics.{WRONG_DEFAULTS[typed]}"
    ]
    assert shell.run_cell("%%codex\ngo").success
    assert [request.model for request in backend.asked] == ["m"]


def test_a_wrong_default_of_a_file_is_named_by_what_needs_it(
    shell: InteractiveShell, capsys: Capture
) -> None:
    shell.config.CodexMagics.approval = "x"
    shell.run_line_magic("load_ext", "codex_magic")
    shell.run_cell("%%codex\ngo")
    said = "CodexMagics.approval is 'x': it must be one of untrusted, on-request, never"
    assert capsys.readouterr().out == f"CellError: {said}\n"
    shell.run_line_magic("config", "CodexMagics.approval = 'never'")
    loaded = shell.magics_manager.registry["CodexMagics"]
    assert loaded.session().settings.approval == "never"


def test_an_empty_text_means_that_nothing_is_set(
    shell: InteractiveShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_MAGIC_MODEL", "from-outside")
    shell.run_line_magic("load_ext", "codex_magic")
    loaded = shell.magics_manager.registry["CodexMagics"]
    texts = {n for n, each in loaded.traits(config=True).items() if isinstance(each, Unicode)}
    for value in ("'x=y'", "''"):
        for name in texts - {*CHECKED}:
            shell.run_line_magic("config", f"CodexMagics.{name} = {value}")
    for name in texts & {*CHECKED}:
        shell.run_line_magic("config", f"CodexMagics.{name} = ''")
    assert loaded.session().settings == Settings(model="from-outside")


def test_a_folder_that_is_gone_is_one_line(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script()
    gone = Path.cwd() / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    shell.run_cell("%%codex\ngo")
    os.chdir(gone.parent)
    assert capsys.readouterr().out == (
        "CellError: the kernel's folder is gone. Type %cd and one that is there\n"
    )


def test_a_failed_turn_is_shown_and_ends_in_one_line(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    error = ev.TurnError(message="the stream\nbroke off.", kind="unauthorized")
    script([ev.ItemDelta("m", "text", "Half an"), ev.TurnCompleted("failed", error)])
    result = shell.run_cell("%%codex\ngo")
    *shown, last = capsys.readouterr().out.splitlines()
    assert isinstance(result.error_in_exec, BackendError)
    assert shown == [
        "unknown item: Half an",
        "",
        "The turn failed: the stream",
        "broke off.",
        "[a-model · thread main]",
    ]
    assert last.startswith("BackendError: the turn failed: the stream broke off. ")


def test_a_failure_is_saved_without_its_secrets(
    shell: InteractiveShell, script: Script, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    """An error is an output like any other."""
    monkeypatch.setenv("SOME_TOKEN", "hidden-treasure")
    error = ev.TurnError(message="the key hidden-treasure or sk-proj_" + "a1" * 12 + " is bad")
    script([ev.TurnCompleted("failed", error)])
    result = shell.run_cell("%%codex -q\ngo")
    last = capsys.readouterr().out.splitlines()[-1]
    for text in (str(result.error_in_exec), last):
        assert "the key ***masked*** or ***masked*** is bad" in text


def test_an_interrupted_turn_is_kept_and_stays_an_interrupt(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    backend = script([ev.ItemDelta("m", "text", "Half an"), KeyboardInterrupt()])
    result = shell.run_cell("%%codex\ngo")
    shown = capsys.readouterr().out.splitlines()
    assert isinstance(result.error_in_exec, TurnInterrupted)
    assert isinstance(result.error_in_exec, KeyboardInterrupt)
    assert backend.interrupts == 1
    assert [line for line in shown if line] == [
        "unknown item: Half an",
        "The turn was interrupted",
        "[a-model · thread main]",
        "TurnInterrupted: the turn was stopped; what had arrived is kept",
    ]


def test_after_a_bad_turn_the_next_one_is_fine(
    shell: InteractiveShell, script: Script, reply: Reply, capsys: Capture
) -> None:
    backend = script([ev.TurnCompleted("failed")], [KeyboardInterrupt()], reply("Fine."))
    outcomes = [shell.run_cell("%%codex -q\ngo").success for _ in range(3)]
    assert outcomes == [False, False, True]
    assert capsys.readouterr().out.endswith("Fine.\n")
    assert len(backend.asked) == 3


def test_a_turn_within_a_turn_is_refused(
    shell: InteractiveShell, script: Script, reply: Reply
) -> None:
    backend = script(reply("One."))
    first = backend.start_turn
    inner: list[Any] = []

    def start_turn(*asked: Any) -> None:
        inner.append(shell.run_cell("%codex ask again"))
        first(*asked)

    backend.start_turn = start_turn
    assert shell.run_cell("%%codex\ngo").success
    assert str(inner[0].error_in_exec) == (
        "a turn is running already. Wait for it, or interrupt the kernel"
    )
    assert prompts(backend) == ["go"]


# --- subcommands -----------------------------------------------------------------------------


def test_status_says_what_the_next_turn_would_run_on(
    shell: InteractiveShell, script: Script, reply: Reply, capsys: Capture
) -> None:
    script(reply("One."))
    shell.run_line_magic("config", "CodexMagics.sandbox = 'read-only'")
    shell.run_cell("%%codex -q -t side\ngo")
    capsys.readouterr()
    shell.run_cell("%codex status")
    shown = dict(line.split(":", 1) for line in capsys.readouterr().out.splitlines())
    assert shown.pop("sandbox").startswith("  read-only; enforced here: ")
    assert shown == {
        "backend": "  scripted, Codex 0.163.0",
        "account": "  ChatGPT, ada@example.org",
        "model": "    the one the backend chooses",
        "approval": " on-request",
        "thread": "   main, side",
        "last": "     completed, a-model",
    }


def test_status_and_models_name_the_model_of_the_thread(
    shell: InteractiveShell, script: Script, reply: Reply, capsys: Capture
) -> None:
    backend = script(reply("One."), reply("Two."))
    backend.models = lambda: [Model("best", is_default=True), Model("a-model")]
    shell.run_cell("%%codex -q -m a-model\ngo")

    def told() -> tuple[str, str]:
        capsys.readouterr()
        shell.run_cell("%codex status")
        said = capsys.readouterr().out.splitlines()
        marked = [row[1] for row in shell.run_cell("%codex models").result.rows if row[0]]
        return next(line for line in said if line.startswith("model:")), marked[0]

    assert told() == ("model:    a-model, this thread's own", "a-model")
    shell.run_cell("%codex new")
    assert told() == ("model:    the one the backend chooses", "best")
    shell.run_line_magic("config", "CodexMagics.model = 'best'")
    shell.run_cell("%codex switch main")
    assert told() == ("model:    best", "best")


@pytest.mark.parametrize(
    ("account", "said"),
    [
        (Account("apikey"), "apikey"),
        (Account(), "nobody is signed in"),
        (Account(needed=False), "none needed"),
    ],
)
def test_status_and_doctor_say_who_is_signed_in(
    account: Account, said: str, shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script().account = lambda: account
    shell.run_cell("%codex status")
    assert f"account:  {said}\n" in capsys.readouterr().out
    shell.run_cell("%codex doctor")
    [line] = [line for line in capsys.readouterr().out.splitlines() if line[4:12] == "account:"]
    assert (
        line
        == {
            "apikey": "ok  account: apikey",
            "none needed": "ok  account: none needed",
            "nobody is signed in": f"NOT account: nobody is signed in. {SIGN_IN}",
        }[said]
    )


def test_doctor_names_an_account_as_status_does(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script().account = lambda: Account("chatgpt", "a@b.c", plan="plus", source="a file")
    shell.run_cell("%codex doctor")
    assert "ok  account: ChatGPT, a@b.c, plus, a file\n" in capsys.readouterr().out


def test_status_says_that_there_are_no_tools(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script()
    shell.run_line_magic("config", "CodexMagics.tools = False")
    shell.run_cell("%codex status")
    assert "tools:    none\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("level", "said"),
    [
        (
            "partial",
            f"%codex sandbox. {doctor.INSTALL_BWRAP}\n",
        ),
        (
            "none",
            f"NOT sandbox: {NO_BWRAP}. Commands are refused; install bubblewrap, or run with ",
        ),
    ],
)
def test_doctor_says_what_to_install_for_the_sandbox(  # noqa: PLR0913, PLR0917 - two are cases
    level: Any,
    said: str,
    shell: InteractiveShell,
    script: Script,
    monkeypatch: pytest.MonkeyPatch,
    capsys: Capture,
) -> None:
    script()
    found = sandbox.Probe(level=level, mechanism="Landlock", reason=NO_BWRAP)
    monkeypatch.setattr(sandbox, "probe", lambda: found)
    shell.run_cell("%codex doctor")
    assert said in capsys.readouterr().out


def test_status_lists_what_a_person_has_allowed(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script()
    session = shell.magics_manager.registry["CodexMagics"].session()
    policy = SandboxPolicy(workspace=Path("/w"), network=True, writable=(Path("/x"),))
    session._hands.grants[Grant(("curl", "a\u202eb"), Path("/w"), policy)] = None
    shell.run_cell("%codex status")
    said = (
        "allowed:  exactly curl 'a\\u202eb', in /w, sandbox workspace-write, with network, "
        "writing also in /x, whatever the files it names say by then, until this kernel ends\n"
    )
    assert said in capsys.readouterr().out


def test_status_asks_codex_before_it_tells_its_version(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    backend = script()
    backend.version = None

    def account() -> Account:
        backend.version = (0, 163, 1)
        return Account("chatgpt")

    backend.account = account
    shell.run_cell("%codex status")
    assert capsys.readouterr().out.startswith("backend:  scripted, Codex 0.163.1\n")


def test_doctor_names_the_codex_that_runs(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script().program = binary.CodexBinary(Path("/x/codex"), "package")
    shell.run_cell("%codex doctor")
    assert "ok  Codex: 0.163.0, /x/codex (from package)\n" in capsys.readouterr().out


def test_what_others_named_moves_no_cursor(
    shell: InteractiveShell, script: Script, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    bad = "a\x1b[2Jb\x07\x9bc\n"
    backend = script()
    backend.stored = [StoredThread(bad, bad, "/", bad, 0.0, ours=False)]
    backend.account = lambda: Account(bad, bad)
    shell.run_cell("%codex status")
    shell.run_cell("%codex threads")
    played = SimpleNamespace(name=bad, prompts=[bad])
    monkeypatch.setattr(Session, "replay", lambda _self, _name: played)
    shell.run_cell("%codex replay x")
    shown = capsys.readouterr().out
    assert set(shown).isdisjoint("\x1b\x07\x9b")
    assert "Tape ab\\x07\\x9bc is on" in shown


def test_threads_lists_the_kernels_own_and_the_stored_ones(
    shell: InteractiveShell, script: Script, reply: Reply, capsys: Capture
) -> None:
    backend = script(reply("One."))
    backend.stored = [
        StoredThread("id-of-main", "go", "/", "codex_magic", 0.0, ours=True),
        StoredThread("0199-ab", "count the penguins", "/", "cli", 0.0, ours=False),
    ]
    shell.run_cell("%%codex -q\ngo")
    capsys.readouterr()
    shell.run_cell("%codex threads")
    mine, hint, stored = capsys.readouterr().out.splitlines()
    assert mine == "* main         id-of-main  1 turn, last: go"
    assert stored.endswith(" 0199-ab count the penguins (cli)")
    assert hint == "Also stored for this folder; to take one up, type: %%codex --resume ID"


# --- threads ---------------------------------------------------------------------------------


def numbered(reply: Reply, text: str, turn_id: str) -> list[ev.Event]:
    return [ev.TurnStarted(turn_id, 100.0), *reply(text)[1:]]


@pytest.fixture
def talk(
    shell: InteractiveShell, script: Script, reply: Reply, capsys: Capture
) -> Callable[[str], list[str]]:
    """Run cells after two turns; return what a line prints, line by line."""
    turns = [numbered(reply, f"Answer {n}.", f"turn-{n}") for n in range(1, 8)]
    backend = script(*turns)
    shell.run_cell("%%codex -q\nfirst")
    shell.run_cell("%%codex -q\nsecond")

    def run(cell_text: str) -> list[str]:
        capsys.readouterr()
        shell.run_cell(cell_text)
        shown = capsys.readouterr()
        return (shown.out + shown.err).splitlines()

    run.backend = backend  # type: ignore[attr-defined]
    return run


def test_threads_draws_the_branches_below_the_trunk(talk: Any) -> None:
    assert talk("%codex fork 1") == [
        "The next cell goes on from turn 1 of main, in the branch main-2.",
        "To go back, type: %codex switch main",
    ]
    assert talk("%codex threads")[:2] == [
        "  main         id-of-main  2 turns, last: second",
        "* └─ main-2    not begun  from turn 1 of main, 1 turn, last: first",
    ]
    talk("%%codex -q\ninstead")
    start = talk.backend.starts[-1]
    assert (start.known, start.branch) == ("id-of-main", "turn-1")
    talk("%%codex -q -t main\nthird")
    assert (talk.backend.starts[-1].known, talk.backend.starts[-1].branch) == ("id-of-main", "")
    talk("%%codex -q --fork turn-3\nbelow")
    assert talk("%codex threads")[:3] == [
        "  main         id-of-main  3 turns, last: third",
        "  └─ main-2    id-of-main-2  from turn 1 of main, 2 turns, last: instead",
        "*    └─ main-3 id-of-main-3  from turn 2 of main-2, 3 turns, last: below",
    ]


def test_show_numbers_the_turns(talk: Any) -> None:
    assert talk("%codex show") == ["  1  first", "     Answer 1.", "  2  second", "     Answer 2."]
    assert talk("%codex show main --md") == [
        *("## 1", "", "> first", "", "Answer 1.", ""),
        *("## 2", "", "> second", "", "Answer 2.", ""),
    ]


def test_new_and_switch_change_the_thread_of_cells_that_name_none(talk: Any) -> None:
    assert talk("%codex new 'my review'") == ["The next cell begins my review afresh."]
    talk("%%codex -q\nthird")
    assert talk("%codex switch main") == ["Cells that name no thread use main now."]
    talk("%%codex -q\nfourth")
    assert [request.thread for request in talk.backend.asked[2:]] == ["my review", "main"]
    talk("%codex new")
    talk("%%codex -q\nfifth")
    assert talk.backend.starts[-1].known is None
    assert talk.backend.starts[-1].turns == ()


def test_resume_takes_up_a_thread_with_the_next_cell_only(talk: Any) -> None:
    assert talk("%codex resume 0199-ab") == ["The next cell takes up 0199-ab."]
    talk("%%codex -q\nthird")
    talk("%%codex -q\nfourth")
    assert [request.resume for request in talk.backend.asked[2:]] == ["0199-ab", None]


def test_rename_and_archive_and_delete(talk: Any) -> None:
    assert talk("%codex rename results") == ["main is called results now."]
    talk("%%codex -q -t results\nanother")
    assert talk("%codex archive results") == [
        "Archived. To take it up again, type: %%codex --resume id-of-main"
    ]
    assert talk("%codex delete nothing")[-1].startswith(
        "CellError: this notebook has no thread 'nothing'. Type %codex threads"
    )


def test_delete_says_what_goes_before_it_goes(talk: Any) -> None:
    assert talk("%codex delete main") == [
        "main has 2 turns; nothing brings it back.",
        "To delete it, type: %codex delete main --yes",
    ]
    assert talk.backend.done == []
    assert talk("%codex delete main --yes") == [
        "Deleted: id-of-main. What the notebook shows of it stays in its outputs."
    ]
    assert talk.backend.done == [("delete", "id-of-main")]
    assert talk("%codex show") == ["This thread has no turns yet."]


def test_a_resume_waits_for_the_cell_that_it_is_for(talk: Any) -> None:
    talk("%codex resume 0199-ab")
    talk("%%codex --nonsense\nx")
    talk("%%codex -q --private\naside")
    talk("%%codex -q\nthird")
    assert [request.resume for request in talk.backend.asked[2:]] == [None, "0199-ab"]
    talk("%codex resume 0199-cd")
    talk("%codex new")
    talk("%%codex -q\nfourth")
    assert talk.backend.asked[-1].resume is None


def test_a_branch_that_has_not_begun_just_goes(talk: Any) -> None:
    talk("%codex fork 1")
    assert talk("%codex delete main-2 --yes") == ["main-2 had not begun; it is gone."]
    assert talk.backend.done == []
    assert talk("%codex threads") == ["* main         id-of-main  2 turns, last: second"]


def test_names_with_spaces_are_quoted_where_they_are_typed(talk: Any) -> None:
    talk("%codex rename 'my thread'")
    talk("%codex switch 'my thread'")
    assert talk("%codex fork")[-1] == "To go back, type: %codex switch 'my thread'"
    assert cell.complete("-t my", threads=["my thread"]) == ["'my thread'"]


def test_a_private_thread_has_no_place_on_any_list(talk: Any) -> None:
    talk("%%codex -q --private\naside")
    assert talk("%codex threads")[1] == "  private      stored nowhere"
    assert talk("%codex archive private")[-1].startswith(
        "CellError: thread 'private' is private: it is stored nowhere"
    )


WRONG = {
    "%codex switch": "that is not how it is used. Type: %codex switch THREAD",
    "%codex switch a b": "that is not how it is used. Type: %codex switch THREAD",
    "%codex switch nothing": "this notebook has no thread 'nothing'. Type %codex threads for those there are",
    "%codex fork 9": "this thread has no turn '9': it has 2. Type %codex show for its turns and their numbers",
    "%codex rename": "no name is given. Type: %codex rename [THREAD] NAME",
    "%codex rename main main": "there is a thread 'main' already. Choose another name",
    "%codex rename -x": "'-x' cannot be used: a thread's name is printable, and begins with no - or space",
    "%codex show 'x": "the line cannot be read: no closing quotation",
    "%%codex --new --fork\nx": "--new and --fork exclude each other",
    "%%codex --private --fork\nx": "--private and --fork exclude each other",
    "%%codex --resume last --private\nx": "--private and --resume exclude each other",
    "%%codex -t ''\nx": "--thread is '': it must not be empty. Type %%codex? for the options",
}


@pytest.mark.parametrize("typed", WRONG)
def test_what_cannot_be_done_is_said_and_changes_nothing(talk: Any, typed: str) -> None:
    before = talk("%codex threads")
    assert talk(typed)[-1] == f"CellError: {WRONG[typed]}"
    assert talk("%codex threads") == before


# --- accounts --------------------------------------------------------------------------------


class Terminal(io.StringIO):
    """What a person types into a terminal, as far as anybody asks."""

    def isatty(self) -> bool:
        return True


@pytest.fixture
def person(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    def sits(secret: str) -> None:
        monkeypatch.setattr("sys.stdin", Terminal())
        monkeypatch.setattr("getpass.getpass", lambda _prompt: secret)

    return sits


def test_login_waits_and_says_who_it_is(
    shell: InteractiveShell, script: Script, person: Any, capsys: Capture
) -> None:
    backend = script()
    person("")
    assert shell.run_cell("%codex login").success
    assert capsys.readouterr().out.splitlines() == [
        "To sign in, open: http://127.0.0.1:1/device",
        "and type the code: CODE-1",
        "Waiting for you. To give it up, press Ctrl-C.",
        "Signed in as ada@example.org.",
    ]
    assert backend.done == [("sign in", "device")]


def test_login_asks_for_a_key_unseen(
    shell: InteractiveShell, script: Script, person: Any, capsys: Capture
) -> None:
    backend = script()
    person("sk-test-1")
    assert shell.run_cell("%codex login --api-key").success
    assert capsys.readouterr().out == (
        "Signed in with an API key; it is kept for later kernels too.\n"
    )
    assert backend.done == [("key", "sk-test-1")]


@pytest.mark.parametrize(
    "typed",
    [
        "--api-key sk-proj-1234567890abcdef",
        "--api-key=sk-proj-1234567890abcdef",
        "sk-proj-1234567890abcdef",
        "--api-key another-shape-of-1234567890abcdef",
        "--browser --api-key sk-proj-1234567890abcdef",
    ],
)
def test_a_key_in_a_cell_is_refused_and_not_repeated(
    typed: str, shell: InteractiveShell, script: Script, person: Any, capsys: Capture
) -> None:
    backend = script()
    person("sk-test-1")
    result = shell.run_cell(f"%codex login {typed}")
    assert "a key does not belong on that line" in str(result.error_in_exec)
    assert "1234567890abcdef" not in "".join(capsys.readouterr())
    assert backend.done == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("login now", "that is not how one signs in"),
        ("login --browser --api-key", "that is not how one signs in"),
        ("logout now", "Type: %codex logout"),
        ("models gpt", "Type: %codex models"),
        ("usage week", "Type: %codex usage"),
    ],
)
def test_what_they_do_not_take(
    typed: str, said: str, shell: InteractiveShell, script: Script, person: Any
) -> None:
    backend = script()
    person("")
    assert said in str(shell.run_cell(f"%codex {typed}").error_in_exec)
    assert backend.done == []


@pytest.mark.parametrize("typed", ["login", "login --browser", "login --api-key"])
def test_nobody_signs_in_where_nobody_is(
    typed: str, shell: InteractiveShell, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = script()
    monkeypatch.setattr("sys.stdin", io.StringIO())
    assert "nobody is here" in str(shell.run_cell(f"%codex {typed}").error_in_exec)
    assert backend.done == []


def test_logout_says_who_it_was(shell: InteractiveShell, script: Script, capsys: Capture) -> None:
    backend = script()
    assert shell.run_cell("%codex logout").success
    assert capsys.readouterr().out == "Signed out; it was ada@example.org.\n"
    assert backend.done == [("sign out",)]


def test_models_and_usage_are_tables(shell: InteractiveShell, script: Script) -> None:
    script()
    shell.run_line_magic("config", "CodexMagics.model = 'fast'")
    shell.run_line_magic("config", "CodexMagics.aliases = 'fast=a-model'")
    shown = shell.run_cell("%codex models").result
    assert (shown.rows[0][0], shown.columns[1]) == ("*", "model")
    assert "also called fast" in repr(shown)
    shown = shell.run_cell("%codex usage").result
    assert repr(shown).splitlines()[0].split() == ["limit", "used"]
    assert "| 5 h |" in shown._repr_markdown_()


@pytest.mark.parametrize("word", ["login", "logout", "models", "usage"])
def test_a_tape_has_no_account(
    word: str, shell: InteractiveShell, script: Script, person: Any
) -> None:
    backend = script()
    person("")
    shell.run_cell("%codex replay first-turn")
    said = str(shell.run_cell(f"%codex {word}").error_in_exec)
    assert said == (
        "a tape is played, which needs no account. To be asked for an account: %codex replay off"
    )
    assert backend.done == []


def test_codex_itself_has_no_named_accounts(
    shell: InteractiveShell, script: Script, person: Any
) -> None:
    script().name = "app-server"
    person("")
    shell.run_line_magic("config", "CodexMagics.account = 'work'")
    said = str(shell.run_cell("%codex login").error_in_exec)
    assert said.startswith("Codex keeps one sign-in only, without a name.")


def test_status_tells_plan_expiry_and_source_of_an_account(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    found = Account("chatgpt", "a@b.c", plan="plus", source="a file", expires_at=4_000_000_000)
    script().account = lambda: found
    shell.run_cell("%codex status")
    shown = capsys.readouterr().out.splitlines()
    assert [shown[1], shown[2], shown[4]] == [
        "account:  ChatGPT, a@b.c",
        "plan:     plus",
        "source:   a file",
    ]
    assert re.fullmatch(r"expires:  in \d+ days", shown[3])


def test_doctor_prints_a_line_for_each_thing(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script()
    assert shell.run_cell("%codex doctor").success
    checks = capsys.readouterr().out.splitlines()
    names = [line[4:].split(":")[0] for line in checks]
    assert names[:3] == ["Python", "packages", "sandbox"]
    assert names[-1] == "proxy and certificates"
    assert {line[:4] for line in checks} <= {"ok  ", "NOT "}


def test_doctor_names_the_kernels_that_stop_listening(
    shell: InteractiveShell, script: Script, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    script()
    named = []
    for version in ("6.31.0", "7.0.1", "7.3.0", "7.4.0"):
        monkeypatch.setattr("codex_magic.doctor.version", lambda _name, found=version: found)
        shell.run_cell("%codex doctor")
        named += [
            line for line in capsys.readouterr().out.splitlines() if "reading requests" in line
        ]
    advice = "Type: pip install -U ipykernel, and restart the kernel"
    deaf = [
        f"NOT kernel: ipykernel {version} can stop reading requests. {advice}"
        for version in ("7.0.1", "7.3.0")
    ]
    assert named == deaf


def test_replay_names_its_lessons(shell: InteractiveShell, script: Script, capsys: Capture) -> None:
    script()
    shell.run_cell("%codex replay")
    shell.run_cell("%codex replay off")
    assert capsys.readouterr().out == "Lessons: first-turn\nTurns call a model again.\n"


# --- completion ------------------------------------------------------------------------------

MODES = ["external", "full-access", "read-only", "workspace-write"]
OFFERED: dict[str, list[str]] = {
    "%%codex --sa": ["--sandbox"],
    "%%codex --sandbox wo": ["workspace-write"],
    "%%codex --sandbox ": MODES,
    "\n%%codex -s full": ["full-access"],
    "%%codex -t ": ["main"],
    "%codex st": ["status", "steer", "stop"],
    "%codex replay fi": ["first-turn"],
    "x = 1\n%codex th": ["threads"],
    "%%time\n%codex do": ["doctor"],
    "%codex audit ": ["100", "20"],
    "%codex audit 2": ["20"],
    "%codex login -": ["--api-key", "--browser"],
    "%codex log": ["login", "logout"],
}


def completed(shell: InteractiveShell, typed: str) -> list[str]:
    assert shell.Completer is not None
    with provisionalcompleter():
        found = list(shell.Completer.completions(typed, len(typed)))
    return sorted(typed[: c.start] + c.text for c in found)


@pytest.mark.parametrize("typed", OFFERED)
def test_tab_offers_what_may_stand_there(
    typed: str, shell: InteractiveShell, script: Script
) -> None:
    script()
    before = typed[: max(typed.rfind(" "), typed.rfind("\n")) + 1]
    assert completed(shell, typed) == [before + word for word in OFFERED[typed]]


@pytest.mark.parametrize("flag", ["-i", "--image", "--schema"])
def test_tab_offers_files_and_variables_where_both_may_stand(
    flag: str, shell: InteractiveShell, script: Script
) -> None:
    script()
    Path("plot.png").touch()
    shell.push({"plotted": 1, "other": 2, "_plain": 3})
    line = f"%%codex {flag} "
    assert completed(shell, f"{line}plo") == [f"{line}plot.png", f"{line}plotted"]
    assert completed(shell, line) == [f"{line}other", f"{line}plotted"]
    assert f"%%codex\n{flag} plotted" not in completed(shell, f"%%codex\n{flag} plo")


@pytest.mark.parametrize("text", ["%%codex --sandbox wo", "%codex st", "--sa", "-s wo"])
def test_tab_offers_no_option_within_a_prompt(
    text: str, shell: InteractiveShell, script: Script
) -> None:
    script()
    offered = " ".join(completed(shell, f"%%codex\n{text}"))
    assert [word for word in (*MODES, "--sandbox", "status") if word in offered] == []


@pytest.mark.parametrize("typed", ["audit 3", "audit 20 ", "status ", "status pengu", "doctor x"])
def test_tab_offers_nothing_of_pythons_on_a_line_of_ours(
    typed: str, shell: InteractiveShell, script: Script
) -> None:
    script()
    shell.user_ns["penguins"] = 1
    assert completed(shell, f"%codex {typed}") == [f"%codex {typed}"]


def test_tab_works_as_ever_on_other_lines(shell: InteractiveShell, script: Script) -> None:
    script()
    shell.user_ns["penguins"] = 1
    assert completed(shell, "pengu") == ["penguins"]
    assert "%%codex" in completed(shell, "%%cod")


# --- the sandbox and its log -----------------------------------------------------------------


def test_sandbox_says_what_is_enforced_and_what_is_not(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script()
    shell.run_line_magic("codex", "sandbox")
    shown = capsys.readouterr().out
    found = probe()
    assert f"enforced here: {found.level}" in shown
    assert [line for line in (*found.enforced, *found.missing) if line not in shown] == []
    assert "audit.jsonl" in shown


def test_audit_shows_the_last_commands(
    shell: InteractiveShell, script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    script()
    assert "no command" in repr(shell.run_line_magic("codex", "audit"))
    log = Log(folder.data() / folder.AUDIT)
    for word in ("first", "second", "third"):
        log.end(log.start(Started(command=("echo", word), cwd="/")), Finished(outcome="exit"))
    shown = repr(shell.run_line_magic("codex", "audit 2"))
    assert [word for word in ("first", "second", "third") if f"echo {word}" in shown] == [
        "second",
        "third",
    ]


@pytest.mark.parametrize("word", ["x", "0", "-1", "2 3"])
def test_audit_takes_a_number(shell: InteractiveShell, script: Script, word: str) -> None:
    script()
    with pytest.raises(CellError, match="is no number of commands"):
        shell.run_line_magic("codex", f"audit {word}")


def test_rules_that_cannot_be_read_stop_the_turn_before_it_starts(
    shell: InteractiveShell, script: Script, reply: Reply, tmp_path: Path
) -> None:
    backend = script(reply("hello"))
    (rules := tmp_path / "mine.toml").write_text(
        '[[rule]]\npattern = ["git"]\ndecision = "maybe"\n'
    )
    shell.run_line_magic("config", f"CodexMagics.rules = {str(rules)!r}")
    with pytest.raises(SetupError, match="maybe"):
        shell.run_cell_magic("codex", "", "go")
    assert prompts(backend) == []
    rules.write_text('[[rule]]\npattern = ["git"]\ndecision = "deny"\n')
    shell.run_cell_magic("codex", "", "go")
    assert prompts(backend) == ["go"]


def test_a_command_whose_kernel_died_is_told_at_the_next_load_until_one_runs(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path / "data"))
    code = """if True:
        import os, signal
        from codex_magic import folder
        from codex_magic.sandbox.audit import Log, Started
        log = Log(folder.data() / folder.AUDIT)
        folder = os.environ["HERE"]
        log.start(Started(command=("sleep", "99"), cwd="/", policy={"workspace": folder}))
        for name in ("json.py", ".envrc", "mine.py"):
            open(f"{folder}/{name}", "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    (tmp_path / "here").mkdir()
    (tmp_path / "here/random.py").touch()
    environ = os.environ | {"HERE": str(tmp_path / "here")}
    subprocess.run([sys.executable, "-c", code], check=False, env=environ)
    told = (
        "codex_magic: a kernel ended while this ran: sleep 99 (see %codex audit). Look at these "
        f"before you go on, they may be its: {tmp_path}/here/.envrc, {tmp_path}/here/json.py\n"
    )
    for _ in range(2):
        magics.load(shell)
        assert capsys.readouterr().out == told
    session = Session(Settings(), environ=os.environ)
    assert session._audit() is not None
    magics.load(shell)
    assert capsys.readouterr().out == ""
    assert "unknown" in repr(shell.run_line_magic("codex", "audit"))


def test_a_log_that_is_no_log_does_not_hinder_loading(
    shell: InteractiveShell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("JUPYTER_DATA_DIR", str(tmp_path))
    (folder.data() / folder.AUDIT).mkdir(parents=True)
    magics.load(shell)
    (folder.data() / folder.AUDIT).rmdir()
    (folder.data() / folder.AUDIT).write_bytes(b'\xff"kind":"start","id":"x"\n{')
    magics.load(shell)
    assert capsys.readouterr().out == ""
