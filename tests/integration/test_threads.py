"""Threads that are taken up again: by this kernel, by another, or made by another program."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from codex_magic.backends.appserver import wire
from codex_magic.errors import CellError
from codex_magic.testing import FakeModel, call, offered_tools, say
from codex_magic.tools.shell import ShellTool

TOOLS = {"gpt-5.5": "direct", "gpt-6.1-sol": "nested"}


class OtherShell(ShellTool):
    description = "Another tool by the same name."


class Look:
    name = "look"
    description = "Looks."
    parameters = {"type": "object", "properties": {}}


def said(model: FakeModel) -> list[tuple[str, str]]:
    """Return who said what in the last request, less what the model is told by us."""
    items = model.requests[-1]["input"]
    return [
        (item["role"], "".join(part["text"] for part in item["content"]))
        for item in items
        if item["type"] == "message" and item["role"] != "developer"
    ]


def notices(turn: Any) -> list[str]:
    return [notice.text for notice in turn.notices]


def rollouts(stage: Any) -> dict[str, str]:
    paths = (stage.home / "sessions").rglob("*.jsonl")
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def begun(stage: Any, shape: str) -> str:
    """Return the id of a thread that a kernel has left."""
    model = stage.model(call("shell", command=["true"]), say("one"))
    kernel = stage.kernel(model, shape)
    thread_id = kernel.ask("first").thread_id
    kernel.session.close()
    return str(thread_id)


HISTORY = [("user", "first"), ("assistant", "one")]


def test_a_thread_goes_on_in_the_same_kernel(stage: Any, shape: str) -> None:
    model = stage.model(say("one"), say("two"), say("three"), say("four"))
    kernel = stage.kernel(model, shape)
    turns = [kernel.ask("first"), kernel.ask("second"), kernel.ask("aside", thread="other")]
    assert said(model) == [("user", "aside")]
    turns.append(kernel.ask("third"))
    assert said(model) == [*HISTORY, ("user", "second"), ("assistant", "two"), ("user", "third")]
    ids = [turn.thread_id for turn in turns]
    assert (ids[0], ids[1], ids[3]) == (ids[0],) * 3
    assert kernel.session.threads == {"main": ids[0], "other": ids[2]}
    assert [notices(turn) for turn in turns] == [[]] * 4


def test_new_begins_afresh(stage: Any) -> None:
    model = stage.model(say("one"), say("two"))
    kernel = stage.kernel(model)
    first, second = kernel.ask("first"), kernel.ask("second", new=True)
    assert said(model) == [("user", "second")]
    assert first.thread_id != second.thread_id == kernel.session.threads["main"]


@pytest.mark.parametrize("how", ["id", "last"])
def test_another_kernel_takes_it_up(stage: Any, shape: str, how: str) -> None:
    thread_id = begun(stage, shape)
    model = stage.model(say("two"), say("three"))
    kernel = stage.kernel(model, shape)
    turn = kernel.ask("second", resume=thread_id if how == "id" else "last")
    assert said(model) == [*HISTORY, ("user", "second")]
    assert (turn.thread_id, notices(turn)) == (thread_id, [f"thread resumed: {thread_id}"])
    assert notices(kernel.ask("third")) == []
    # No environment came back with the thread, and so no tool of Codex's own.
    offers = [offered_tools(body) for body in model.requests]
    assert ["exec_command" in (*offer.direct, *offer.nested) for offer in offers] == [False, False]


def test_a_taken_up_thread_keeps_its_model(stage: Any, shape: str) -> None:
    thread_id = begun(stage, shape)
    kernel = stage.kernel(stage.model(say("two")))
    assert kernel.ask(resume=thread_id, model=None).model == shape


def test_it_can_be_taken_up_where_it_is_loaded(stage: Any) -> None:
    kernel = stage.kernel(stage.model(say("one"), say("two")))
    thread_id = kernel.ask("first").thread_id
    turn = kernel.ask("second", resume=thread_id, thread="other")
    assert (turn.thread_id, turn.thread_name, notices(turn)) == (
        thread_id,
        "main",
        ["this thread is called main here", f"thread resumed: {thread_id}"],
    )


@pytest.mark.parametrize(
    "thread_id", ["01a1fbf8-b2fd-7b81-90a1-000000000000", "no id", "../../x", "é" * 400]
)
def test_an_id_of_no_thread(stage: Any, thread_id: str) -> None:
    kernel = stage.kernel(stage.model(say("one")))
    with pytest.raises(CellError) as caught:
        kernel.ask(resume=thread_id)
    assert str(caught.value) == (
        f"there is no thread {thread_id!r}. Type %codex threads for those there are"
    )
    assert kernel.ask().final_response == "one"


def test_last_where_there_is_none(stage: Any) -> None:
    begun(stage, "gpt-5.5")
    elsewhere = stage.place("elsewhere")
    kernel = stage.kernel(stage.model(say("one")))
    with pytest.raises(CellError) as caught:
        kernel.ask(resume="last", folder=elsewhere)
    assert str(caught.value) == (
        f"no thread is stored for {elsewhere}. Start one: leave out --resume"
    )


def test_a_thread_that_another_program_uses_is_forked(stage: Any, shape: str) -> None:
    first_model = stage.model(say("one"), say("more"))
    first = stage.kernel(first_model, shape)
    thread_id = first.ask("first").thread_id
    model = stage.model(say("two"), say("three"))
    second = stage.kernel(model, shape)
    turn = second.ask("second", resume=thread_id)
    assert said(model) == [*HISTORY, ("user", "second")]
    assert turn.thread_id != thread_id
    assert notices(turn) == [f"another program is using thread {thread_id}; this is a fork of it"]
    assert "shell" in getattr(offered_tools(model.requests[-1]), TOOLS[shape])
    # The original goes on where it is, and the fork can be taken up again as ours.
    assert first.ask("its own").final_response == "more"
    assert said(first_model) == [*HISTORY, ("user", "its own")]
    second.session.close()
    third = stage.kernel(stage.model(say("four")), shape)
    assert notices(third.ask(resume=turn.thread_id)) == [f"thread resumed: {turn.thread_id}"]


@pytest.mark.parametrize("tools", [(OtherShell(),), (ShellTool(), Look())])
def test_other_tools_seat_a_thread_anew(stage: Any, shape: str, tools: Any) -> None:
    thread_id = begun(stage, shape)
    before = rollouts(stage)
    model = stage.model(call("shell", command=["echo", "hello"]), say("two"))
    kernel = stage.kernel(model, shape, tools=tools)
    turn = kernel.ask("second", resume=thread_id, model=None)
    assert said(model)[:3] == [*HISTORY, ("user", "second")]
    assert (turn.model, turn.final_response, turn.items[1].exit_code) == (shape, "two", 0)
    assert notices(turn) == [
        f"the tools have changed since thread {thread_id} began; it goes on as a new one"
    ]
    assert tools[-1].description in str(model.requests[-1])
    after = rollouts(stage)
    assert (len(after), {name: after[name] for name in before}) == (2, before)


def test_a_thread_that_was_seated_twice_keeps_its_history(stage: Any, shape: str) -> None:
    thread_id = begun(stage, shape)
    second = stage.kernel(stage.model(say("two"), say("later")), shape, tools=(OtherShell(),))
    thread_id = second.ask("second", resume=thread_id).thread_id
    # In use there, so a fork of it goes on here; what is said there later is not its history.
    model = stage.model(say("three"), say("four"))
    third = stage.kernel(model, shape, tools=(OtherShell(),))
    forked = third.ask("third", resume=thread_id)
    history = [*HISTORY, ("user", "second"), ("assistant", "two"), ("user", "third")]
    assert said(model) == history
    second.ask("meanwhile")
    third.session.close()
    model = stage.model(say("four"), say("five"))
    fourth = stage.kernel(model, shape)
    turn = fourth.ask("fourth", resume=forked.thread_id)
    assert notices(turn)[0].startswith("the tools have changed")
    history += [("assistant", "three"), ("user", "fourth")]
    assert said(model) == history
    fourth.session.close()
    fifth = stage.kernel(model, shape)
    assert notices(fifth.ask("fifth", resume=turn.thread_id)) == [
        f"thread resumed: {turn.thread_id}"
    ]
    assert said(model) == [*history, ("assistant", "four"), ("user", "fifth")]


def made_by_a_terminal(stage: Any, model: FakeModel) -> str:
    client = stage.client("codex_cli", *wire.tape_provider(model.base_url))
    thread_id = client.start()
    client.turn(thread_id, "first")
    client.close()
    return str(thread_id)


SDK = """
import sys
from openai_codex import Codex, CodexConfig
with Codex(CodexConfig(config_overrides=tuple(sys.argv[2:]))) as codex:
    thread = codex.thread_start(model="gpt-5.5", cwd=sys.argv[1])
    thread.run("first")
    print(thread.id)
"""


def made_by_the_sdk(stage: Any, model: FakeModel) -> str:
    pytest.importorskip("openai_codex")
    settings = wire.tape_provider(model.base_url)
    words = [sys.executable, "-c", SDK, str(stage.folder), *settings]
    done = subprocess.run(words, env=stage.environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize("made", [made_by_a_terminal, made_by_the_sdk])
def test_a_thread_made_elsewhere_is_copied(stage: Any, shape: str, made: Any) -> None:
    thread_id = made(stage, stage.model(say("one")))
    before = rollouts(stage)
    model = stage.model(call("shell", command=["echo", "ours"]), say("two"), say("three"))
    kernel = stage.kernel(model, shape)
    turn = kernel.ask("second", resume=thread_id)
    history = [pair for pair in said(model) if not pair[1].startswith("<environment_context>")]
    assert history == [*HISTORY, ("user", "second")]
    assert notices(turn) == [
        f"copied from {thread_id}, with this kernel's tools; the original is untouched"
    ]
    assert (turn.thread_id != thread_id, str(turn.items[1].output)) == (True, "ours\n")
    after = rollouts(stage)
    assert {name: after[name] for name in before} == before
    assert kernel.ask("third").thread_id == turn.thread_id


def test_threads_are_listed_whoever_made_them(stage: Any) -> None:
    theirs = made_by_a_terminal(stage, stage.model(say("one")))
    kernel = stage.kernel(stage.model(say("two")))
    ours = kernel.ask("second").thread_id
    listed = kernel.backend.threads(str(stage.folder))
    assert {(t.thread_id, t.preview, t.origin, t.ours, Path(t.cwd)) for t in listed} == {
        (theirs, "first", "codex_cli", False, stage.folder),
        (ours, "second", "codex_magic", True, stage.folder),
    }
    assert kernel.backend.threads(str(stage.place("elsewhere"))) == []
