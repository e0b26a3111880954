"""The magics in a real ipykernel, with the real Codex binary and a tape in the model's place."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.items import CommandExecution
from codex_magic.turn import MIME, Turn, from_json

if TYPE_CHECKING:
    from collections.abc import Callable

MODELS = ("gpt-5.5", "gpt-6.1-sol")
SAVED = {"text/markdown", "text/plain", MIME}


def say(prompt: str, text: str) -> dict[str, Any]:
    return {"prompt": prompt, "chunks": [[0, "answer", text]]}


def shell(prompt: str, **arguments: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chunks": [[0, "shell", arguments]]}


def turn_of(cell: Any) -> Turn:
    (bundle,) = cell.bundles
    assert set(bundle) == SAVED
    return from_json(bundle[MIME])


def gone(find: Callable[[str], list[str]], word: str, within_s: float = 5.0) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if not find(word):
            return True
    return False


def until_running(cell_output: dict[str, Any]) -> bool:
    return "started" in cell_output.get("data", {}).get("text/plain", "")


@pytest.mark.parametrize("model", MODELS)
def test_a_turn_is_saved_in_three_forms_beside_what_the_cell_prints(
    kernel: Any, lesson: Callable[..., str], model: str
) -> None:
    kernel.run(lesson(say("hello", "Good day."), model=model))
    before = kernel.run(
        "print('before')\nget_ipython().run_cell_magic('codex', '', 'hello')\nprint('after')"
    )
    turn = turn_of(before)
    assert (turn.status, turn.final_response, turn.tape) == ("completed", "Good day.", "test")
    assert before.printed == "before\nafter\n"
    assert before.reply["status"] == "ok"


def test_loading_starts_no_process_and_writes_no_file(kernel: Any) -> None:
    kernel.run("import os; before = sorted(os.listdir())")
    children = Path(f"/proc/{kernel.pid}/task/{kernel.pid}/children")
    started = children.read_text()
    assert kernel.run("%load_ext codex_magic").reply["status"] == "ok"
    assert kernel.run("assert sorted(os.listdir()) == before").reply["status"] == "ok"
    assert children.read_text() == started


def test_unloading_ends_codex(
    kernel: Any, lesson: Callable[..., str], processes: Callable[[str], list[str]]
) -> None:
    kernel.run(lesson(say("hello", "Good day.")))
    kernel.run("%%codex\nhello")
    assert [line for line in processes(str(kernel.cwd)) if "app-server" in line]
    kernel.run("%unload_ext codex_magic")
    assert [line for line in processes(str(kernel.cwd)) if "app-server" in line] == []
    assert "not found" in kernel.run("%codex status").printed


@pytest.mark.parametrize("model", MODELS)
def test_an_interrupt_ends_the_turn_and_drops_the_cell_behind_it(
    kernel: Any,
    lesson: Callable[..., str],
    processes: Callable[[str], list[str]],
    model: str,
) -> None:
    slow = shell("wait", command=["sh", "-c", "printf star%s ted; exec sleep 61.25"])
    kernel.run(lesson(slow, say("wait", "done"), say("next", "Here."), model=model))
    first = kernel.start("%%codex\nwait")
    second = kernel.start("%%codex\nnext")
    pressed: list[float] = []

    def press(content: dict[str, Any]) -> None:
        if until_running(content) and not pressed:
            pressed.append(time.monotonic())
            kernel.manager.interrupt_kernel()

    stopped = kernel.finish(first, on_output=press)
    assert stopped.reply["ename"] == "TurnInterrupted"
    (item,) = [
        i for i in from_json(stopped.bundles[0][MIME]).items if isinstance(i, CommandExecution)
    ]
    assert (item.status, str(item.output)) == ("interrupted", "started")
    assert gone(processes, "sleep 61.25")
    assert kernel.finish(second).reply["status"] == "aborted"
    assert turn_of(kernel.run("%%codex\nnext")).final_response == "Here."


@pytest.mark.parametrize("model", MODELS)
def test_a_killed_kernel_leaves_no_process(
    kernel: Any,
    lesson: Callable[..., str],
    processes: Callable[[str], list[str]],
    model: str,
) -> None:
    slow = shell("wait", command=["sh", "-c", "printf star%s ted; exec sleep 61.5"])
    kernel.run(lesson(slow, say("wait", "done"), model=model))
    message = kernel.start("%%codex\nwait")
    with pytest.raises(_KilledError):
        kernel.finish(message, on_output=lambda content: _kill(kernel, content))
    assert gone(processes, "sleep 61.5"), processes("sleep 61.5")
    assert gone(
        lambda word: [line for line in processes(word) if "app-server" in line], str(kernel.cwd)
    )


class _KilledError(Exception):
    pass


def _kill(kernel: Any, content: dict[str, Any]) -> None:
    if until_running(content):
        os.kill(kernel.pid, signal.SIGKILL)
        raise _KilledError


def test_a_person_is_asked_in_the_cell_and_an_answer_lets_it_run(
    kernel: Any, lesson: Callable[..., str]
) -> None:
    asks = shell("look outside", command=["echo", "out"], network=True, justification="to see")
    kernel.run(lesson(asks, say("look outside", "Seen.")))
    cell = kernel.run("%%codex\nlook outside", answer="y")
    (item,) = [i for i in turn_of(cell).items if isinstance(i, CommandExecution)]
    assert (item.outcome, item.exit_code, item.decision) == ("exit", 0, "accept by person")


def test_where_nobody_can_be_asked_it_is_declined_and_said_so(
    kernel: Any, lesson: Callable[..., str]
) -> None:
    asks = shell("look outside", command=["echo", "out"], network=True)
    kernel.run(lesson(asks, say("look outside", "I could not.")))
    cell = kernel.run("%%codex\nlook outside")
    turn = turn_of(cell)
    (item,) = [i for i in turn.items if isinstance(i, CommandExecution)]
    assert (turn.status, item.status, item.decision) == (
        "completed",
        "declined",
        "decline by nobody",
    )
    assert "nobody can be asked" in cell.bundles[0]["text/markdown"]


def test_a_prompt_that_is_not_on_the_tape_names_those_that_are(
    kernel: Any, lesson: Callable[..., str]
) -> None:
    kernel.run(lesson(say("hello", "Good day.")))
    cell = kernel.run("%%codex\nsomething else")
    assert cell.reply["ename"] == "CellError"
    assert "hello" in cell.reply["evalue"]
    assert len(cell.reply["traceback"]) == 1
    assert turn_of(kernel.run("%%codex\nhello")).status == "completed"


@pytest.mark.parametrize(
    "prompt", ['{"a": 1}', "%%time", "!rm -rf x", "why?", "$HOME {kernel}", "a;"]
)
def test_a_prompt_reaches_codex_as_it_was_typed(
    kernel: Any, lesson: Callable[..., str], prompt: str
) -> None:
    kernel.run(lesson(say(prompt, "Read.")))
    turn = turn_of(kernel.run(f"%%codex\n{prompt}"))
    assert (turn.prompt, turn.final_response) == (prompt, "Read.")


@pytest.mark.parametrize("wrapper", ["%%time", "%%capture --no-display"])
def test_one_line_turns_work_inside_other_cell_magics(
    kernel: Any, lesson: Callable[..., str], wrapper: str
) -> None:
    kernel.run(lesson(say("why? it's {a} $HOME;", "Read.")))
    cell = kernel.run(f"{wrapper}\n%codex ask why? it's {{a}} $HOME;")
    assert cell.reply["status"] == "ok"
    last = "get_ipython().magics_manager.registry['CodexMagics'].session().last.final_response"
    assert kernel.run(f"print({last})").printed == "Read.\n"
