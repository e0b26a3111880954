"""A server that is missing, too old, dying or lying: one line that says so, and the way on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from dataclasses import replace
from typing import Any

import pytest

from codex_magic import binary
from codex_magic.backends.appserver import wire
from codex_magic.backends.base import ToolSpec
from codex_magic.errors import BackendError, CodexMagicError, SetupError
from codex_magic.settings import Settings
from codex_magic.testing import call, pause_at, say
from codex_magic.tools.shell import ShellTool

SHELL = ToolSpec(ShellTool.name, ShellTool.description, ShellTool.parameters)
GOOD = {
    "initialize": {"userAgent": "codex_magic/0.163.0 (Linux; x86_64)"},
    "account/read": {"account": None, "requiresOpenaiAuth": False},
    "config/read": {"config": {}},
    "thread/start": {"thread": {"id": "t1"}, "model": "m"},
    "thread/read": {"thread": {"id": "t1", "threadSource": wire.thread_source([SHELL])}},
    "thread/resume": {"thread": {"id": "t1"}, "model": "m"},
    "turn/start": {"turn": {"id": "u1"}},
    "turn/interrupt": {},
}
SOURCE = """\
#!{python}
import json, os, sys, time

def send(message):
    sys.stdout.write(json.dumps(message) + "\\n")
    sys.stdout.flush()

def tell(method, **params):
    send({{"method": method, "params": {{"threadId": "t1", "turnId": "u1", **params}}}})

answers = {answers!r}
{before}
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") in answers:
        send({{"id": message["id"], "result": answers[message["method"]]}})
    if message.get("method") == "turn/start":
        send({{"method": "turn/started", "params": {{"threadId": "t1", "turn": {{"id": "u1"}}}}}})
{during}
"""
UNREADABLE = "Codex sent a message that cannot be read: "
SAYS = """
        item = {"type": "agentMessage", "id": "a", "text": ""}
        tell("item/started", item=item)
        tell("item/agentMessage/delta", itemId="a", delta="half a sen")
"""
ENDS = """
        turn = {"id": "u1", "status": "completed"}
        send({"method": "turn/completed", "params": {"threadId": "t1", "turn": turn}})
"""


def server(
    stage: Any, *, before: str = "", during: str = "", agent: str = "", name: str = "codex"
) -> Any:
    """Return a program that answers as a server does; `during` runs when a turn has begun."""
    answers = GOOD | ({"initialize": {"userAgent": agent}} if agent else {})
    source = SOURCE.format(python=sys.executable, answers=answers, before=before, during=during)
    return stage.program(f"programs/{name}", source)


def text(turn: Any) -> str:
    return "".join(str(item.text) for item in turn.items[1:] if hasattr(item, "text"))


# --- it does not start --------------------------------------------------------------------------


def test_a_setting_that_names_nothing(stage: Any) -> None:
    kernel = stage.bare_kernel(**{binary.SETTING: "/nowhere/codex"})
    with pytest.raises(SetupError) as caught:
        kernel.ask()
    assert str(caught.value) == (
        "CODEX_MAGIC_CODEX names /nowhere/codex, which is not there. "
        "Correct or unset it, or type: pip install -U openai-codex-cli-bin"
    )


def test_a_setting_that_cannot_be_run(stage: Any) -> None:
    path = stage.file("codex-here", "text")
    kernel = stage.bare_kernel(**{binary.SETTING: str(path)})
    with pytest.raises(SetupError) as caught:
        kernel.ask()
    assert str(caught.value) == (
        f"CODEX_MAGIC_CODEX names {path}, which is not executable. Type: chmod +x {path}"
    )


def test_a_program_that_is_none(stage: Any) -> None:
    path = stage.program("codex-here", "\x7fELF, but no more")
    kernel = stage.bare_kernel(**{binary.SETTING: str(path)})
    with pytest.raises(CodexMagicError) as caught:
        kernel.ask()
    assert str(caught.value) == (
        f"{path} cannot be started: Exec format error. "
        "Run the cell again; if it stays, type %codex doctor"
    )


def test_a_server_that_dies_at_start_shows_its_last_words(stage: Any) -> None:
    dies = "sys.stderr.write('one\\nerror: no space left\\n\\n'); sys.exit(3)"
    path = server(stage, before=dies)
    kernel = stage.bare_kernel(**{binary.SETTING: str(path)})
    for _ in range(2):
        with pytest.raises(BackendError) as caught:
            kernel.ask()
        assert str(caught.value) == (
            f"{path} does not start: Codex has stopped (exit 3): error: no space left. "
            "Run the cell again; if it stays, type %codex doctor"
        )


def test_an_old_server_says_how_to_get_a_newer(stage: Any) -> None:
    path = server(stage, agent="codex_magic/0.150.0 (Linux; x86_64) x (codex_magic; 0.1.0)")
    kernel = stage.bare_kernel(**{binary.SETTING: str(path)})
    with pytest.raises(SetupError) as caught:
        kernel.ask()
    assert str(caught.value) == (
        f"{path} is Codex 0.150.0, older than 0.163.0. Type: pip install -U openai-codex-cli-bin"
    )


def test_a_newer_server_is_used_and_named(stage: Any) -> None:
    path = server(stage, agent="codex_magic/0.999.1 (Linux; x86_64)", during=SAYS + ENDS)
    kernel = stage.bare_kernel(**{binary.SETTING: str(path)})
    turns = [kernel.ask(), kernel.ask()]
    assert [text(turn) for turn in turns] == ["half a sen"] * 2
    assert [[notice.text for notice in turn.notices] for turn in turns] == [
        ["Codex 0.999.1 is newer than this package was tested with"],
        [],
    ]


@pytest.mark.parametrize(
    "fault",
    [
        {"agent": "codex_magic/0.150.0 (Linux)"},
        {"before": "sys.stderr.write('error: no such subcommand\\n'); sys.exit(2)"},
    ],
)
def test_the_packaged_server_steps_in(stage: Any, fault: Any) -> None:
    path = server(stage, **fault)
    kernel = stage.kernel(stage.model(say("hello")), PATH=f"{path.parent}:{os.environ['PATH']}")
    turn = kernel.ask()
    assert turn.final_response == "hello"
    (notice,) = turn.notices
    assert notice.text.endswith("; the packaged one is used")
    assert str(path) in notice.text


# --- it dies, or lies, in the middle of a turn --------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("sys.stderr.write('panicked\\n'); os._exit(101)", "Codex has stopped (exit 101): panicked"),
        ("os.kill(os.getpid(), 9)", "Codex has stopped (exit -9)"),
        (
            "print('Hello, I am garbage', flush=True); time.sleep(60)",
            "Codex sent something that is not a message: 'Hello, I am garbage'",
        ),
        ("print('[1, 2]', flush=True)", "Codex sent something that is not a message: '[1, 2]'"),
        (
            "print('x' * (40 << 20), flush=True); time.sleep(60)",
            "Codex sent a message of more than 32 MB",
        ),
        (
            "send({'method': 'item/started', 'params': [1]}); time.sleep(60)",
            "Codex sent a message that cannot be read: '{\"method\": \"item/started\", \"params\": [1]}'",
        ),
        ("os.close(1); time.sleep(60)", "Codex has stopped"),
    ],
)  # fmt: skip
def test_what_streamed_is_kept_and_the_next_turn_starts_it_again(
    stage: Any, fault: str, said: str
) -> None:
    once = f"""
        if not os.path.exists({str(stage.room / "twice")!r}):
            open({str(stage.room / "twice")!r}, "w").close()
            {fault}
"""
    path = server(stage, during=SAYS + once + ENDS)
    kernel = stage.bare_kernel(**{binary.SETTING: str(path)})
    turn = kernel.ask()
    assert (turn.status, text(turn), turn.error.kind) == ("failed", "half a sen", "connectionLost")
    assert turn.error.message.startswith(said)
    assert kernel.page.kept == turn
    again = kernel.ask()
    assert (again.status, text(again)) == ("completed", "half a sen")
    assert [notice.text for notice in again.notices] == [
        "Codex had stopped; it was started again and the thread goes on"
    ]


def test_the_real_server_killed_in_mid_turn(stage: Any, shape: str) -> None:
    model = stage.model(say("I remember"), [say("half a sen"), pause_at("never")], say("whole"))
    kernel = stage.kernel(model, shape)
    kernel.ask("first")
    kernel.page.once(
        lambda turn: "half a sen" in text(turn), lambda: os.kill(kernel.pid, signal.SIGKILL)
    )
    turn = kernel.ask("second")
    assert (turn.status, turn.error.message) == ("failed", "Codex has stopped (exit -9)")
    assert text(turn) == "half a sen"
    again = kernel.ask("third")
    assert (again.thread_id, again.final_response) == (turn.thread_id, "whole")
    assert [notice.text for notice in again.notices] == [
        "Codex had stopped; it was started again and the thread goes on"
    ]
    assert "I remember" in json.dumps(model.requests[-1]["input"])


def test_the_real_server_killed_while_a_command_runs(
    stage: Any, shape: str, processes: Any
) -> None:
    words = ["sh", "-c", "echo begun; sleep 600.125"]
    kernel = stage.kernel(stage.model(call("shell", command=words), say("whole")), shape)
    kernel.page.once(
        lambda turn: "begun" in str(getattr(turn.items[-1], "output", "")),
        lambda: os.kill(kernel.pid, signal.SIGKILL),
    )
    turn = kernel.ask()
    assert (turn.status, turn.items[-1].status) == ("failed", "interrupted")
    assert processes("sleep 600.125") == {}
    assert kernel.ask().final_response == "whole"


def test_the_real_server_killed_between_turns(stage: Any, shape: str, until: Any) -> None:
    model = stage.model(say("I remember"), say("whole"), say("more"))
    kernel = stage.kernel(model, shape)
    first = kernel.ask("first")
    connection = kernel.backend._connection
    os.kill(kernel.pid, signal.SIGKILL)
    until(lambda: connection.lost, "nobody noticed")
    turns = [kernel.ask("second"), kernel.ask("third")]
    assert {turn.thread_id for turn in turns} == {first.thread_id}
    assert [[notice.text for notice in turn.notices] for turn in turns] == [
        ["Codex had stopped; it was started again and the thread goes on"],
        [],
    ]
    assert "I remember" in json.dumps(model.requests[1]["input"])


def test_a_new_thread_on_a_new_server(stage: Any, until: Any) -> None:
    kernel = stage.kernel(stage.model(say("one"), say("two")))
    first = kernel.ask()
    connection = kernel.backend._connection
    os.kill(kernel.pid, signal.SIGKILL)
    until(lambda: connection.lost, "nobody noticed")
    second = kernel.ask(new=True)
    assert second.thread_id != first.thread_id
    assert [notice.text for notice in second.notices] == ["Codex had stopped; it was started again"]


def test_a_thread_that_is_gone_is_said(stage: Any, until: Any) -> None:
    kernel = stage.kernel(stage.model(say("one"), say("two")))
    first = kernel.ask()
    connection = kernel.backend._connection
    os.kill(kernel.pid, signal.SIGKILL)
    until(lambda: connection.lost, "nobody noticed")
    for entry in stage.home.iterdir():
        shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    second = kernel.ask()
    assert second.final_response == "two"
    why = f"thread {first.thread_id} is not stored here"
    assert [notice.text for notice in second.notices] == [
        "Codex had stopped; it was started again",
        f"restored from the notebook: 1 turn as unverified text, because {why}",
    ]


# --- it asks for more than we serve -------------------------------------------------------------

REQUESTS = {**wire.REFUSALS, **dict.fromkeys(wire.UNANSWERED), "invented/yesterday": None}


def test_a_changed_setting_ends_a_private_thread_and_says_so(stage: Any) -> None:
    model = stage.model(*map(say, ("one", "two", "three", "four")))
    stage.file("codex/config.toml", "\n".join(wire.tape_provider(model.base_url)))
    kernel = stage.settled_kernel(replace(Settings(), backend="app-server"))
    private = {"private": True, "thread": "private"}
    stored, lost = kernel.ask("first"), kernel.ask("first", **private)
    kernel.session.settings = replace(kernel.session.settings, api_key="sk-another")
    again = kernel.ask("second")
    assert (again.status, again.thread_id) == ("completed", stored.thread_id)
    turn = kernel.ask("second", **private)
    assert (turn.final_response, [notice.text for notice in turn.notices]) == (
        "four",
        [f"thread {lost.thread_id} ended because a setting changed; this is a new one"],
    )


def test_what_is_not_served_is_refused(stage: Any) -> None:
    log = stage.room / "answers"
    asks = f"""
        for number, method in enumerate({list(REQUESTS)!r}):
            send({{"id": f"r{{number}}", "method": method, "params": {{"threadId": "t1"}}}})
        with open({str(log)!r}, "w") as log:
            for _ in range({len(REQUESTS)}):
                log.write(sys.stdin.readline())
"""
    path = server(stage, during=asks + SAYS + ENDS)
    turn = stage.bare_kernel(**{binary.SETTING: str(path)}).ask()
    assert (turn.status, len(turn.items)) == ("completed", 2)
    answers = [json.loads(line) for line in log.read_text().splitlines()]
    assert answers == [
        {"id": f"r{number}", "result": refusal}
        if refusal is not None
        else {
            "id": f"r{number}",
            "error": {"code": -32601, "message": f"codex_magic does not serve {method}"},
        }
        for number, (method, refusal) in enumerate(REQUESTS.items())
    ]


def test_a_tool_call_outside_a_turn_is_refused(stage: Any, until: Any) -> None:
    log = stage.room / "answers"
    late = f"""
        call = {{"threadId": "t1", "turnId": "u1", "callId": "c", "tool": "shell", "arguments": {{}}}}
        send({{"id": "late", "method": "item/tool/call", "params": call}})
        open({str(log)!r}, "w").write(sys.stdin.readline())
"""
    path = server(stage, during=SAYS + ENDS + late)
    kernel = stage.bare_kernel(**{binary.SETTING: str(path)})
    kernel.ask()
    until(lambda: log.exists() and log.read_text(), "nobody answered")
    said = [{"type": "inputText", "text": "outcome: refused - the turn is over"}]
    assert json.loads(log.read_text()) == {
        "id": "late",
        "result": {"success": False, "contentItems": said},
    }


def test_reports_that_nobody_knows_are_counted(stage: Any) -> None:
    news = """
        tell("invented/yesterday")
        tell("item/started", item={"type": "hologram", "id": "h", "depth": 3})
        tell("item/agentMessage/delta", itemId=7)
"""
    path = server(stage, during=news + SAYS + ENDS)
    turn = stage.bare_kernel(**{binary.SETTING: str(path)}).ask()
    assert turn.unknown == (("invented/yesterday", 1), ("item/agentMessage/delta", 1))
    assert (turn.items[1].kind, turn.items[1].data) == (
        "hologram",
        {"type": "hologram", "depth": 3},
    )
    assert text(turn) == "half a sen"


def test_a_call_of_another_turn_is_refused(stage: Any) -> None:
    """A straggler of one turn must not run under the policy of the next."""
    log = stage.room / "answers"
    late = f"""
        call = {{"threadId": "t1", "turnId": "u0", "callId": "c", "tool": "shell", "arguments": {{}}}}
        send({{"id": "late", "method": "item/tool/call", "params": call}})
        open({str(log)!r}, "w").write(sys.stdin.readline())
"""
    path = server(stage, during=late + SAYS + ENDS)
    turn = stage.bare_kernel(**{binary.SETTING: str(path)}).ask()
    assert "the turn is over" in json.loads(log.read_text())["result"]["contentItems"][0]["text"]
    assert [item.id for item in turn.items if hasattr(item, "tool")] == []
