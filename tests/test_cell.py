from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codex_magic import cell
from codex_magic.errors import CellError
from codex_magic.policy import SandboxPolicy
from codex_magic.settings import Settings
from codex_magic.turn import TurnRequest

HERE = Path("/")
PLAIN = TurnRequest(
    prompt="go",
    policy=SandboxPolicy(mode="workspace-write", workspace=HERE),
    summary="auto",
    timeout_s=120.0,
)


def parse(line: str, body: str = "go\n", settings: Settings | None = None) -> TurnRequest:
    return cell.parse(line, body, settings=settings or Settings(), cwd=HERE)


def sandboxed(mode: Any, workspace: Path = HERE) -> TurnRequest:
    return replace(PLAIN, policy=SandboxPolicy(mode=mode, workspace=workspace))


def policy(**changes: Any) -> TurnRequest:
    return replace(PLAIN, policy=replace(PLAIN.policy, **changes))


LINES: dict[str, TurnRequest] = {
    "": PLAIN,
    "   ": PLAIN,
    "-t side": replace(PLAIN, thread="side"),
    "--thread 'my side'": replace(PLAIN, thread="my side"),
    "--thread=side": replace(PLAIN, thread="side"),
    "--new": replace(PLAIN, new=True),
    "--new -t side": replace(PLAIN, new=True, thread="side"),
    "--resume last": replace(PLAIN, resume="last"),
    "--resume 0199-ab": replace(PLAIN, resume="0199-ab"),
    "-m gpt-x": replace(PLAIN, model="gpt-x"),
    "-e high": replace(PLAIN, effort="high"),
    "-e a-word-of-next-year": replace(PLAIN, effort="a-word-of-next-year"),
    "-s read-only": sandboxed("read-only"),
    "--sandbox full-access": sandboxed("full-access"),
    "-s danger-full-access": sandboxed("full-access"),
    "-s external": sandboxed("external"),
    "-a never": replace(PLAIN, approval="never"),
    "--approve=untrusted": replace(PLAIN, approval="untrusted"),
    "--cwd usr": sandboxed("workspace-write", Path("/usr").resolve()),
    "--cwd /usr/.": sandboxed("workspace-write", Path("/usr").resolve()),
    "-n": policy(network=True),
    "--network -q": replace(policy(network=True), quiet=True),
    "--add-dir usr": policy(writable=(Path("/usr").resolve(),)),
    "--add-dir usr --add-dir=/etc": policy(
        writable=(Path("/usr").resolve(), Path("/etc").resolve())
    ),
    "--timeout 2.5": replace(PLAIN, timeout_s=2.5),
    "--summary detailed": replace(PLAIN, summary="detailed"),
    "--summary none": replace(PLAIN, summary="none"),
    "-i a.png --schema b.json -o c": PLAIN,
    "-q": replace(PLAIN, quiet=True),
    "-q -m x -a never": replace(PLAIN, quiet=True, model="x", approval="never"),
}


@pytest.mark.parametrize("line", LINES)
def test_a_line_becomes_a_request(line: str) -> None:
    assert parse(line) == LINES[line]


def test_the_line_goes_before_the_settings() -> None:
    chosen = Settings(model="m", effort="low", sandbox="read-only", approval="never", timeout_s=3.0)
    assert parse("", settings=chosen) == replace(
        sandboxed("read-only"), model="m", effort="low", approval="never", timeout_s=3.0
    )
    assert parse("-m n -s external -a untrusted --timeout 9 -e max", settings=chosen) == replace(
        sandboxed("external"), model="n", effort="max", approval="untrusted", timeout_s=9.0
    )


PROMPTS = [
    '{"a": 1}',
    "{df} and {{x}}",
    "%%time\n%%codex -q",
    "%%",
    "!rm -rf /",
    "why?",
    "?",
    "$HOME `x` \\n",
    "\tindented\n\n  twice  ",
    "  trailing   \t",
    "-s full-access",
    "it's",
    "a\r\nb",
    "\x00",
    "日本 😀 e\u0301",
]


@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_prompt_is_not_touched(prompt: str) -> None:
    assert parse("", f"\n{prompt}\n").prompt == prompt


def test_a_prompt_is_something_that_can_be_sent() -> None:
    assert parse("", "a \ud83d\ude00 \ud800").prompt == "a 😀 \ufffd"


REFUSED = {
    "-t": "argument -t/--thread: expected one argument. Type %%codex? for the options",
    "--quite": "there is no option --quite. Did you mean --quiet?",
    "--sandbx read-only": "there is no option --sandbx. Did you mean --sandbox?",
    "--san read-only": "there is no option --san. Did you mean --sandbox?",
    "-z": "there is no option -z. Type %%codex? for the options",
    "--": "there is no option --. Type %%codex? for the options",
    "explain this": (
        "'explain' is not an option. The prompt goes below the line, not behind %%codex"
    ),
    "-q please": "'please' is not an option. The prompt goes below the line, not behind %%codex",
    "-s yes": (
        "--sandbox is 'yes': it must be one of read-only, workspace-write, full-access, external. "
        "Type %%codex? for the options"
    ),
    "-a often": (
        "--approve is 'often': it must be one of untrusted, on-request, never. "
        "Type %%codex? for the options"
    ),
    "--add-dir nowhere/at/all": (
        "--add-dir is 'nowhere/at/all': there is no folder /nowhere/at/all. "
        "Type %%codex? for the options"
    ),
    "--add-dir ''": "--add-dir is '': it must not be empty. Type %%codex? for the options",
    "--timeout soon": (
        "--timeout is 'soon': it must be a number of seconds above 0. Type %%codex? for the options"
    ),
    "--summary long": (
        "--summary is 'long': it must be one of auto, concise, detailed, none. "
        "Type %%codex? for the options"
    ),
    "--timeout 0": (
        "--timeout is '0': it must be a number of seconds above 0. Type %%codex? for the options"
    ),
    "--timeout inf": (
        "--timeout is 'inf': it must be a number of seconds above 0. Type %%codex? for the options"
    ),
    "--timeout nan": (
        "--timeout is 'nan': it must be a number of seconds above 0. Type %%codex? for the options"
    ),
    "--cwd no/such": (
        "--cwd is 'no/such': there is no folder /no/such. Type %%codex? for the options"
    ),
    "--cwd ~nobody-of-this-name": (
        "--cwd is '~nobody-of-this-name': it cannot be a folder here. Type %%codex? for the options"
    ),
    "--cwd a\x00b": (
        "--cwd is 'a\\x00b': it cannot be a folder here. Type %%codex? for the options"
    ),
    "-m ''": "--model is '': it must not be empty. Type %%codex? for the options",
    "-s ''": "--sandbox is '': it must not be empty. Type %%codex? for the options",
    "--cwd ''": "--cwd is '': it must not be empty. Type %%codex? for the options",
    "--new --resume last": "--new and --resume exclude each other",
    "-t 'side": "the line cannot be read: no closing quotation",
    "-t side\\": "the line cannot be read: no escaped character",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_wrong_line_says_what_to_change(line: str) -> None:
    with pytest.raises(CellError) as error:
        parse(line)
    assert str(error.value) == REFUSED[line]


def test_a_name_too_long_for_a_folder_is_refused() -> None:
    with pytest.raises(CellError, match="it cannot be a folder here"):
        parse(f"--cwd {'x' * 5000}")


INPUTS: dict[str, cell.Inputs] = {
    "": cell.Inputs(),
    "-q -e high": cell.Inputs(),
    "-i plot.png": cell.Inputs(images=("plot.png",)),
    "-i fig --image 'my plot.png' --image=https://a.example/b.png": cell.Inputs(
        images=("fig", "my plot.png", "https://a.example/b.png")
    ),
    "--schema Row -o rows": cell.Inputs(schema="Row", out="rows"),
    "--out \u00fcber": cell.Inputs(out="\u00fcber"),
    "-o match -o list": cell.Inputs(out="list"),
}


@pytest.mark.parametrize("line", INPUTS)
def test_a_line_names_what_a_kernel_looks_up(line: str) -> None:
    assert cell.inputs(line) == INPUTS[line]


UNFIT = {
    "-o 1x": "--out is '1x': that cannot be the name of a variable",
    "-o a.b": "--out is 'a.b': that cannot be the name of a variable",
    "-o 'x = 1'": "--out is 'x = 1': that cannot be the name of a variable",
    "-o class": "--out is 'class': that is a word of Python's own",
    "-o None": "--out is 'None': that is a word of Python's own",
    "-o ''": "--out is '': it must not be empty",
    "--schema ''": "--schema is '': it must not be empty",
    "-i a.png -i ' '": "--image is ' ': it must not be empty",
}


@pytest.mark.parametrize("line", UNFIT)
def test_a_name_that_cannot_be_one_is_refused(line: str) -> None:
    with pytest.raises(CellError) as error:
        cell.inputs(line)
    assert str(error.value) == f"{UNFIT[line]}. Type %%codex? for the options"


@pytest.mark.parametrize("body", ["", "\n", " \t\n\u00a0\n"])
def test_an_empty_prompt_is_refused(body: str) -> None:
    with pytest.raises(CellError) as error:
        parse("", body)
    assert str(error.value) == (
        "the prompt is empty. Write it below the line: %%codex, then your words"
    )


anything = st.text(st.characters(exclude_categories=()))
words = st.sampled_from(
    [flag for option in cell.OPTIONS for flag in option.flags]
    + ["--cwd=~", "--", "-", "''", "=", "~x", "\\", "'", "read-only", "5", "-tq", "--new=1", "@f"]
)


@given(anything | st.lists(words | anything).map(" ".join), anything)
@example("--cwd \ud800", "go")
@example("--thread \ud800", "go")
def test_reading_raises_nothing_but_a_cell_error(line: str, body: str) -> None:
    try:
        cell.inputs(line)
        request = parse(line, body)
    except CellError:
        return
    assert request.prompt.encode()
    assert request.prompt in body or not body.isascii()


@pytest.mark.parametrize(
    ("line", "asks"),
    [("-h", True), ("-q --help", True), ("", False), ("--helpful", False), ("-t h", False)],
)
def test_help_is_asked_for_by_its_own_option(line: str, asks: bool) -> None:
    assert cell.asks_for_help(line) is asks


def test_the_help_names_every_option_and_its_choices() -> None:
    shown = cell.usage().splitlines()
    assert [line.split("  ")[1] for line in shown] == [
        "-t, --thread NAME",
        "--new",
        "--resume ID",
        "--fork [TURN]",
        "--private",
        "--reuse",
        "-m, --model MODEL",
        "-e, --effort EFFORT",
        "--summary HOW",
        "-i, --image IMAGE",
        "--schema SCHEMA",
        "-o, --out NAME",
        "-s, --sandbox MODE",
        "-a, --approve POLICY",
        "-n, --network",
        "--add-dir DIR",
        "--cwd DIR",
        "--timeout SECONDS",
        "--backend BACKEND",
        "-q, --quiet",
        "-h, --help",
    ]
    assert shown[12].endswith(
        "what commands may touch: read-only, workspace-write, full-access, external"
    )


LONG = [f for option in cell.OPTIONS for f in option.flags if f.startswith("--")]
COMPLETIONS: dict[str, list[str]] = {
    "": LONG,
    "--": LONG,
    "-": LONG,
    "--sa": ["--sandbox"],
    "--t": ["--thread", "--timeout"],
    "-q --ne": ["--new", "--network"],
    "--add-dir x --add": ["--add-dir"],
    "-i a.png --im": ["--image"],
    "--summary ": ["auto", "concise", "detailed", "none"],
    "-o ": [],
    "-q ": [flag for flag in LONG if flag != "--quiet"],
    "--sandbox ": ["read-only", "workspace-write", "full-access", "external"],
    "--sandbox wo": ["workspace-write"],
    "-s full": ["full-access"],
    "-a ": ["untrusted", "on-request", "never"],
    "--resume ": ["last"],
    "-t ": ["main", "side"],
    "-t s": ["side"],
    "--effort x": ["xhigh"],
    "-m ": [],
    "-m x ": [flag for flag in LONG if flag != "--model"],
    "explain": [],
    "--zzz": [],
}


@pytest.mark.parametrize("text", COMPLETIONS)
def test_completions(text: str) -> None:
    assert cell.complete(text, threads=("main", "side")) == COMPLETIONS[text]


@given(anything)
def test_completing_never_raises(text: str) -> None:
    cell.complete(text)
