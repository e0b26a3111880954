"""Programs: the same text for the SDK and for this package, on the real Codex binary and without it.

Each program is run with the SDK in its imports, and with this package on either backend, and prints
the same each time.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.api import Codex
from codex_magic.testing import (
    FakeModel,
    call,
    pause_at,
    say,
    status,
    think,
    tool_outputs,
    user_texts,
)

if TYPE_CHECKING:
    from collections.abc import Callable

OURS, THEIRS, RESPONSES = "codex_magic.api", "openai_codex", "codex_magic.api on responses"
PATIENCE_S = 40.0


def scripted(stage: Any, sdk: str, *answers: Any) -> FakeModel:
    """Return a model; a host that is asked directly refuses what the real one refuses."""
    strict = "api" if sdk == RESPONSES else None
    return stage.opened.enter_context(FakeModel(*answers, strict=strict))


def configure(stage: Any, model: Any, name: str = "codex") -> Path:
    """Have a Codex home send its turns to `model`."""
    home: Path = stage.place(name)
    home.chmod(0o700)
    (home / "config.toml").write_text(
        'model = "gpt-5.5"\nmodel_provider = "fake"\n\n[model_providers.fake]\nname = "fake"\n'
        f'base_url = "{model.base_url}"\nwire_api = "responses"\nrequest_max_retries = 0\n'
        "stream_max_retries = 0\n"
    )
    return home


class Program:
    """A program that runs, with what it prints."""

    def __init__(self, stage: Any, source: str, sdk: str, model: Any) -> None:
        environ = {"CODEX_HOME": str(configure(stage, model))}
        if sdk == RESPONSES:
            environ |= {
                "CODEX_MAGIC_BACKEND": "responses",
                "CODEX_MAGIC_BASE_URL": model.base_url,
                "CODEX_MAGIC_MODEL": "gpt-5.5",
                "JUPYTER_DATA_DIR": str(stage.place("data")),
            }
        self.folder = stage.place("work")
        code = source.replace("SDK", sdk.split(" ", maxsplit=1)[0])
        warned = [] if sdk == THEIRS else ["-W", "error"]  # the SDK leaves files open
        self.process = subprocess.Popen(
            [sys.executable, "-u", *warned, "-c", code],
            env={**stage.environ, **environ},
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        stage.opened.callback(self.close)

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def rest(self) -> list[str]:
        out, err = self.process.communicate(timeout=PATIENCE_S)
        assert (self.process.returncode, err) == (0, "")
        return list(out.splitlines())

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()


# --- the same text, the same output ----------------------------------------------------------

QUICKSTART = """
from SDK import Codex

with Codex() as codex:
    thread = codex.thread_start()
    result = thread.run("What is in this folder?")
    print(result.final_response)
"""

FIRST_TURN = """
from SDK import Codex, Sandbox

with Codex() as codex:
    server = codex.metadata.serverInfo
    print(server is not None, bool(server.name), server.version.split()[0])
    thread = codex.thread_start(
        model="gpt-5.5",
        config={"model_reasoning_effort": "high"},
        sandbox=Sandbox.workspace_write,
    )
    result = thread.run("Greet me.")
    print(bool(thread.id), result.final_response, len(result.items), bool(result.id))
    print(result.error, result.usage is not None, result.duration_ms >= 0)
    print(result.started_at <= result.completed_at)
"""

OTHER_SANDBOX = """
from SDK import Codex, Sandbox

with Codex() as codex:
    thread = codex.thread_start(sandbox=Sandbox.workspace_write)
    print(thread.run("Change it.").final_response)
    print(thread.run("Only look.", sandbox=Sandbox.read_only).final_response)
"""

SEVERAL_TURNS = """
from SDK import Codex, CodexConfig, TextInput

with Codex(CodexConfig(cwd=".")) as codex:
    thread = codex.thread_start(model="gpt-5.5")
    first = thread.turn(TextInput("Explain it."))
    print("first:", first.run().final_response, first.thread_id == thread.id)
    second = thread.run([TextInput("Shorter."), TextInput("Please.")])
    print("second:", second.final_response, second.id != first.id)
"""

AWAITED = """
import asyncio
from SDK import AsyncCodex, CodexConfig

async def main():
    async with AsyncCodex(config=CodexConfig()) as codex:
        print(bool(codex.metadata.serverInfo.version))
        thread = await codex.thread_start(model="gpt-5.5", config={"model_reasoning_effort": "low"})
        result = await thread.run("Go on.")
        print(result.final_response)
        again = await codex.thread_resume(thread.id)
        print(again.id == thread.id, (await again.run("And on.")).final_response)

asyncio.run(main())
"""

RESUMED = """
from SDK import Codex

with Codex() as codex:
    first = codex.thread_start()
    first.run("Remember seven.")
    name = first.id
with Codex() as codex:
    thread = codex.thread_resume(name)
    print(thread.id == name, thread.run("What was it?").final_response)
"""

TYPES = """
from SDK.types import Personality, ReasoningEffort, ReasoningSummary, ThreadReadResponse
from SDK.types import Turn, TurnStatus

print(TurnStatus.completed.value, TurnStatus.in_progress.value, ReasoningEffort("high").value)
print(ReasoningEffort("hypersonic").value, Personality.pragmatic.value)
"""

LIFECYCLE = """
from SDK import Codex, TextInput

with Codex() as codex:
    thread = codex.thread_start(model="gpt-5.5")
    first = thread.turn(TextInput("One.")).run()
    second = thread.turn(TextInput("Two.")).run()
    reopened = codex.thread_resume(thread.id)
    active = codex.thread_list(limit=20, archived=False)
    reading = reopened.read(include_turns=True)
    reopened.set_name("a life")
    codex.thread_archive(reopened.id)
    unarchived = codex.thread_unarchive(reopened.id)
    print(first.final_response, second.final_response, len(active.data), active.data[0].preview)
    print(reopened.id == thread.id == unarchived.id, len(reading.thread.turns))
    resumed = codex.thread_resume(unarchived.id, model="gpt-5.5")
    print(resumed.turn(TextInput("Three.")).run().final_response)
    forked = codex.thread_fork(unarchived.id, model="gpt-5.5")
    print(forked.id != thread.id, forked.turn(TextInput("Four.")).run().final_response)
"""

STREAMED = """
from SDK import Codex, TextInput
from SDK.types import ThreadTokenUsageUpdatedNotification, TurnCompletedNotification

with Codex() as codex:
    turn = codex.thread_start().turn(TextInput("Say it."))
    for event in turn.stream():
        payload = event.payload
        if event.method == "item/agentMessage/delta":
            print(payload.delta)
        if isinstance(payload, ThreadTokenUsageUpdatedNotification):
            print(payload.token_usage.last.output_tokens > 0, payload.turn_id == turn.id)
        if isinstance(payload, TurnCompletedNotification):
            print(payload.turn.id == turn.id, payload.turn.status.value, payload.turn.error)
"""

OPTIONS = """
import warnings
from pathlib import Path
from SDK import ApprovalMode, Codex, Sandbox, TextInput
from SDK.types import ReasoningEffort, ReasoningSummary

SCHEMA = {
    "type": "object",
    "properties": {"summary": {"type": "string"}},
    "required": ["summary"],
    "additionalProperties": False,
}
with Codex() as codex:
    thread = codex.thread_start(model="gpt-5.5", approval_mode=ApprovalMode.deny_all)
    turn = thread.turn(
        TextInput("Plan it."),
        approval_mode=ApprovalMode.deny_all,
        cwd=str(Path.cwd()),
        effort=ReasoningEffort.medium,
        model="gpt-5.5",
        output_schema=SCHEMA,
        sandbox=Sandbox.read_only,
        summary=ReasoningSummary.model_validate("concise"),
    )
    print(turn.run().final_response)
"""

FAILING = """
from SDK import Codex, ServerBusyError, TextInput, retry_on_overload

with Codex() as codex:
    thread = codex.thread_start()
    try:
        retry_on_overload(
            lambda: thread.turn(TextInput("Try.")).run(),
            max_attempts=2,
            initial_delay_s=0.01,
            max_delay_s=0.01,
        )
    except ServerBusyError as error:
        print("busy")
    except RuntimeError as error:
        print("failed:", "no such thing" in str(error))
"""

SIDE_BY_SIDE = """
from concurrent.futures import ThreadPoolExecutor
from SDK import Codex

with Codex() as codex:
    threads = [codex.thread_start() for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        answers = pool.map(lambda thread: thread.run("Say it.").final_response, threads)
        print(sorted(answers))
"""

PROGRAMS: dict[str, tuple[str, list[Any], list[str]]] = {
    "quickstart": (QUICKSTART, [say("Nothing.")], ["Nothing."]),
    "first turn": (
        FIRST_TURN,
        [say("Hello.")],
        ["True True VERSION", "True Hello. 2 True", "None True True", "True"],
    ),
    "other sandbox": (OTHER_SANDBOX, [say("a"), say("b")], ["a", "b"]),
    "several turns": (
        SEVERAL_TURNS,
        [say("a"), say("b")],
        ["first: a True", "second: b True"],
    ),
    "awaited": (AWAITED, [say("a"), say("b")], ["True", "a", "True b"]),
    "resumed": (RESUMED, [say("a"), say("b")], ["True b"]),
    "types": (TYPES, [], ["completed inProgress high", "hypersonic pragmatic"]),
    "lifecycle": (
        LIFECYCLE,
        [say(word) for word in "abcd"],
        ["a b 1 One.", "True 2", "c", "True d"],
    ),
    "streamed": (
        STREAMED,
        [[think("Well."), say("a"), say("b")]],
        ["a", "b", "True True", "True completed None"],
    ),
    "options": (OPTIONS, [say('{"summary": "s"}')], ['{"summary": "s"}']),
    "failing": (
        FAILING,
        [status(400, {"error": {"message": "no such thing", "type": "invalid_request_error"}})],
        ["failed: True"],
    ),
    "side by side": (SIDE_BY_SIDE, [say("a"), say("b"), say("c")], ["['a', 'b', 'c']"]),
}


@pytest.mark.parametrize("sdk", [OURS, RESPONSES, THEIRS])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_prints_the_same_with_either_import(stage: Any, name: str, sdk: str) -> None:
    source, answers, expected = PROGRAMS[name]
    runs = version("codex-magic") if sdk == RESPONSES else "0.163.0"
    printed = Program(stage, source, sdk, scripted(stage, sdk, *answers)).rest()
    assert printed == [line.replace("VERSION", runs) for line in expected]


STEERED = """
from SDK import Codex, TextInput

with Codex() as codex:
    thread = codex.thread_start()
    turn = thread.turn(TextInput("Count."))
    turn.steer(TextInput("Stop at three."))
    print("steered")
    for event in turn.stream():
        if event.method == "turn/completed":
            print(event.payload.turn.status.value)
    turn = thread.turn(TextInput("Count again."))
    for event in turn.stream():
        if event.method == "item/agentMessage/delta":
            turn.interrupt()
        if event.method == "turn/completed":
            print(event.payload.turn.status.value)
"""

STEERED_AWAITED = """
import asyncio
from SDK import AsyncCodex, TextInput

async def main():
    async with AsyncCodex() as codex:
        thread = await codex.thread_start()
        turn = await thread.turn(TextInput("Count."))
        told = await turn.steer(TextInput("Stop at three."))
        print("steered")
        async for event in turn.stream():
            if event.method == "turn/completed":
                print(event.payload.turn.status.value)
        turn = await thread.turn(TextInput("Count again."))
        async for event in turn.stream():
            if event.method == "item/agentMessage/delta":
                await turn.interrupt()
            if event.method == "turn/completed":
                print(event.payload.turn.status.value)

asyncio.run(main())
"""


@pytest.mark.parametrize("sdk", [OURS, RESPONSES, THEIRS])
@pytest.mark.parametrize("source", [STEERED, STEERED_AWAITED])
def test_a_program_steers_and_interrupts(stage: Any, source: str, sdk: str) -> None:
    first = [say("1, 2"), pause_at("steered")]
    model = scripted(stage, sdk, first)
    program = Program(stage, source, sdk, model)
    assert program.line() == "steered"
    assert model.reached("steered").wait(20)
    if "Stop at three." not in user_texts(model.requests[0]):  # it came before the first request
        model.enqueue(say("3"))
    model.enqueue(say("1"), pause_at("for ever"))
    model.gate("steered").set()
    assert program.rest() == ["completed", "interrupted"]
    assert "Stop at three." in "".join(user_texts(model.requests[1]))


# --- what only this package does -------------------------------------------------------------


@pytest.fixture
def on_codex(stage: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Codex]:
    """A `Codex` in the workspace of a stage, whose turns go to a model through the Codex program."""
    monkeypatch.chdir(stage.folder)

    def make(model: FakeModel, **given: Any) -> Codex:
        codex = Codex(codex_home=configure(stage, model), env=stage.environ, **given)
        stage.opened.callback(codex.close)
        return codex

    return make


@pytest.fixture(params=["app-server", "responses"])
def here(request: pytest.FixtureRequest, stage: Any, on_codex: Any) -> Callable[..., Codex]:
    """The same, and one whose turns go there directly."""

    def make(model: FakeModel, **given: Any) -> Codex:
        model.strict = "api"
        environ = {**stage.environ, "CODEX_MAGIC_MODEL": "gpt-5.5"}
        codex = Codex(backend="responses", base_url=model.base_url, env=environ, **given)
        stage.opened.callback(codex.close)
        return codex

    return make if request.param == "responses" else on_codex


WRITES = call(
    "shell", command=["sh", "-c", "echo hi > .git/x"], paths=[".git"], justification="to test"
)


def test_nobody_is_asked_and_nothing_hangs(stage: Any, here: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("CODEX_MAGIC_ALLOW", f"network:rules:unsandboxed:{stage.folder}/.git")
    stage.place("workspace/.git")
    model = stage.model(WRITES, say("Then not."))
    turn = here(model).thread_start().run("Write.")
    assert turn.final_response == "Then not."
    [output] = tool_outputs(model.requests[-1])
    assert "nobody is asked in this program" in output
    assert not (stage.folder / ".git" / "x").exists()


def test_a_program_is_asked_and_may_allow(stage: Any, here: Any) -> None:
    stage.place("workspace/.git")
    asked: list[Any] = []

    def decide(request: Any) -> bool:
        asked.append(request.command)
        return True

    model = stage.model(WRITES, say("Done."))
    turn = here(model, approver=decide).thread_start().run("Write.")
    assert (turn.final_response, len(asked)) == ("Done.", 1)
    assert (stage.folder / ".git" / "x").read_text() == "hi\n"


def test_changes_are_those_that_were_made(stage: Any, here: Any) -> None:
    patch = "*** Begin Patch\n*** Add File: a.txt\n+one\n*** End Patch\n"
    model = stage.model(call("apply_patch", input=patch), say("Added."))
    turn = here(model).thread_start().run("Add it.")
    assert [(change.path, change.kind) for change in turn.changes] == [("a.txt", "add")]
    assert (stage.folder / "a.txt").read_text() == "one\n"


def test_a_fork_runs_beside_what_it_came_from(stage: Any, here: Any) -> None:
    model = stage.model(say("a"), say("b"), say("c"))
    codex = here(model)
    thread = codex.thread_start()
    thread.run("First.")
    fork = codex.thread_fork(thread.id)
    assert fork.run("Second.").final_response == "b"
    assert thread.run("Third.").final_response == "c"
    of_the_fork, of_the_thread = ("".join(user_texts(body)) for body in model.requests[1:])
    assert ["First." in of_the_fork, "Second." in of_the_fork] == [True, True]
    assert ["First." in of_the_thread, "Second." in of_the_thread] == [True, False]


def test_a_thread_of_the_sdk_goes_on_as_a_copy(stage: Any, on_codex: Any) -> None:
    client = stage.client("codex_python_sdk")
    codex = on_codex(model := stage.model(say("Yes."), say("Seven.")))
    client.close()
    client = stage.client("codex_python_sdk")
    thread_id = client.start()
    client.turn(thread_id, "Remember seven.")
    thread = codex.thread_resume(thread_id)
    turn = thread.run("What was it?")
    assert (thread.id != thread_id, turn.final_response) == (True, "Seven.")
    assert [notice.text.startswith("copied from") for notice in turn.notices] == [True]
    assert "Remember seven." in "".join(user_texts(model.requests[-1]))


def test_closing_ends_a_turn_and_leaves_nothing(stage: Any, here: Any, processes: Any) -> None:
    model = stage.model(call("shell", command=["sleep", "600"]), say("never"))
    codex = here(model)
    handle = codex.thread_start().turn("Wait.")
    heard = threading.Event()

    def listen() -> None:
        for event in handle.events():
            if type(event).__name__ == "ItemStarted":
                heard.set()

    listener = threading.Thread(target=listen)
    listener.start()
    assert heard.wait(PATIENCE_S)
    codex.close()
    listener.join()
    assert handle.run().status == "interrupted"
    assert processes(stage.room.name) == {}


INTERRUPTED = """
from codex_magic import Codex

with Codex() as codex:
    thread = codex.thread_start()
    try:
        WAIT
    except KeyboardInterrupt:
        print("interrupted", thread.last.status, thread.last.final_response)
    print(thread.run("next").final_response)
"""

WAITS = [
    'print("begun"); thread.run("count")',
    'handle = thread.turn("count"); print("begun"); handle.run()',
    'print("begun"); [None for _ in thread.stream("count")]',
]


@pytest.mark.parametrize("sdk", [OURS, RESPONSES])
@pytest.mark.parametrize("wait", WAITS)
def test_ctrl_c_in_a_program(stage: Any, until: Any, wait: str, sdk: str) -> None:
    model = scripted(stage, sdk, [say("1, 2"), pause_at("for ever")], say("fine"))
    program = Program(stage, INTERRUPTED.replace("WAIT", wait), sdk, model)
    assert program.line() == "begun"
    until(lambda: model.requests, "the model was not asked")
    program.process.send_signal(signal.SIGINT)
    words = program.line().split(" ", 2)
    assert words[:2] == ["interrupted", "interrupted"]
    assert program.rest() == ["fine"]


def test_the_program_in_the_readme_runs(stage: Any) -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = readme.partition("## In plain Python\n")[2]
    source = section.partition("```python\n")[2].partition("```")[0]
    printed = Program(stage, source, OURS, stage.model(say("Nothing."), say("None."))).rest()
    assert printed[0] == "Nothing."
    assert [line for line in printed[1:] if "None." in line and "ItemCompleted" in line] != []
    assert printed[-1].startswith("TurnCompleted(status='completed'")
