"""What a cell names beside its prompt, and where its answer goes."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import PIL.Image
import pytest
from matplotlib.figure import Figure

from codex_magic import events as ev
from codex_magic import magics
from codex_magic.errors import BackendError, CellError, TurnInterrupted
from codex_magic.items import AgentMessage, Text
from codex_magic.structured import shape
from codex_magic.turn import to_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from IPython.core.interactiveshell import InteractiveShell

    Script = Callable[..., Any]
    Capture = pytest.CaptureFixture[str]


@dataclass
class Row:
    name: str
    n: int = 3


def said(text: str, turn_id: str = "t1") -> list[ev.Event]:
    return [
        ev.TurnStarted(turn_id, 100.0),
        ev.ItemCompleted(AgentMessage(id="m", status="completed", text=Text(text))),
        ev.TurnCompleted("completed", at=101.0),
    ]


def last(shell: InteractiveShell) -> Any:
    loaded = shell.magics_manager.registry["CodexMagics"]
    assert isinstance(loaded, magics.CodexMagics)
    return loaded.session().last


def run(shell: InteractiveShell, cell: str) -> None:
    shell.run_cell(cell).raise_error()


GOOD = '{"name": "a", "n": 5}'
BAD = '{"name": "a", "n": "five"}'
MISFIT = "Expected `int`, got `str` - at `$.n`"


# --- out -------------------------------------------------------------------------------------


def test_the_text_is_put_into_a_variable(shell: InteractiveShell, script: Script) -> None:
    script(said("Three.\n"))
    run(shell, "%%codex -o answer\nhow many?")
    assert shell.user_ns["answer"] == "Three.\n"


def test_a_typed_answer_is_put_into_a_variable(shell: InteractiveShell, script: Script) -> None:
    backend = script(said(GOOD))
    shell.push({"Row": Row})
    run(shell, "%%codex --schema Row -o row\ngo")
    assert shell.user_ns["row"] == Row("a", 5)
    assert [request.schema for request in backend.asked] == [shape.of(Row).schema]


def test_a_file_may_say_the_shape(shell: InteractiveShell, script: Script) -> None:
    Path("list.json").write_text('{"type": "array", "items": {"type": "integer"}}')
    script(said('{"value": [1, 2]}'))
    run(shell, "%%codex --schema list.json -o numbers\ngo")
    assert shell.user_ns["numbers"] == [1, 2]


def test_without_a_variable_the_json_is_shown(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script(said(GOOD))
    shell.push({"Row": Row})
    before = set(shell.user_ns)
    run(shell, "%%codex --schema Row\ngo")
    assert set(shell.user_ns) - before == set()
    assert GOOD in capsys.readouterr().out


def test_a_name_of_pythons_own_is_taken_with_a_notice(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    script(said("one"), said("two"))
    run(shell, "%%codex -o list\ngo")
    assert shell.user_ns["list"] == "one"
    told = "list is the answer now, and no longer Python's own; type `del list` to undo that."
    assert told in capsys.readouterr().out
    run(shell, "%%codex -o mine\ngo")
    assert "Python's own" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("end", "error"),
    [
        (ev.TurnCompleted("failed", ev.TurnError(message="it broke")), BackendError),
        (ev.TurnCompleted("interrupted"), None),
        (KeyboardInterrupt(), TurnInterrupted),
    ],
    ids=["failed", "stopped", "interrupted"],
)
def test_a_turn_that_did_not_complete_binds_nothing(
    end: Any, error: type[BaseException] | None, shell: InteractiveShell, script: Script
) -> None:
    backend = script([*said(GOOD)[:-1], end])
    shell.push({"Row": Row, "row": "as before"})
    result = shell.run_cell("%%codex --schema Row -o row\ngo")
    assert type(result.error_in_exec) is (error or type(None))
    assert shell.user_ns["row"] == "as before"
    assert len(backend.asked) == 1


# --- an answer that does not fit -------------------------------------------------------------


def test_an_answer_that_does_not_fit_is_asked_for_once_more(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    backend = script(said(BAD), said(GOOD, "t2"))
    shell.push({"Row": Row})
    Path("a.png").write_bytes(pixels())
    run(shell, "%%codex -t side --new -e high -i a.png --schema Row -o row\ngo")
    assert shell.user_ns["row"] == Row("a", 5)
    first, second = backend.asked
    assert second.prompt == (
        f"Your answer does not fit the schema that it was asked for in. {MISFIT}\n"
        "Answer once more: JSON that fits the schema, and nothing else."
    )
    assert [(r.thread, r.new, len(r.images), r.effort) for r in (first, second)] == [
        ("side", True, 1, "high"),
        ("side", False, 0, "high"),
    ]
    assert second.schema == first.schema
    assert [start.known for start in backend.starts] == [None, "id-of-side"]
    told = f"the answer did not fit the schema: {MISFIT}; asked once more"
    assert [notice.text for notice in last(shell).notices] == [told]
    out = capsys.readouterr().out
    assert out.index(BAD) < out.index(GOOD) < out.index(told)


def test_a_second_misfit_is_an_error_and_the_text_is_kept(
    shell: InteractiveShell, script: Script
) -> None:
    backend = script(said(BAD), said("Sorry.", "t2"))
    shell.push({"Row": Row})
    result = shell.run_cell("%%codex --schema Row -o row\ngo")
    assert isinstance(result.error_in_exec, BackendError)
    assert str(result.error_in_exec) == (
        "the answer does not fit Row: the answer is no JSON: Expecting value: line 1 column 1 "
        "(char 0). It is kept as text; ask once more, or for less at once"
    )
    assert "row" not in shell.user_ns
    assert last(shell).final_response == "Sorry."
    assert len(backend.asked) == 2


def test_a_thread_is_taken_up_once_also_where_its_answer_does_not_fit(
    shell: InteractiveShell, script: Script
) -> None:
    backend = script(said(BAD), said(BAD, "t2"), said("fine", "t3"))
    shell.push({"Row": Row})
    shell.run_line_magic("codex", "resume abc")
    shell.run_cell("%%codex --schema Row\ngo")
    run(shell, "%%codex\ngo on")
    assert [request.resume for request in backend.asked] == ["abc", None, None]


def test_a_refusal_is_no_misfit_and_is_not_asked_again(
    shell: InteractiveShell, script: Script
) -> None:
    no = AgentMessage(id="m", status="completed", text=Text("I will not."), refused=True)
    backend = script(
        [ev.TurnStarted("t", 1.0), ev.ItemCompleted(no), ev.TurnCompleted("completed")]
    )
    shell.push({"Row": Row})
    result = shell.run_cell("%%codex --schema Row -o row\ngo")
    assert str(result.error_in_exec).startswith("the model refused to answer. Why is kept as text")
    assert (len(backend.asked), "row" in shell.user_ns) == (1, False)
    assert last(shell).final_response == "I will not."


def test_a_second_turn_that_fails_is_a_failed_turn(shell: InteractiveShell, script: Script) -> None:
    script(said(BAD), [ev.TurnCompleted("failed", ev.TurnError(message="it broke"))])
    shell.push({"Row": Row})
    result = shell.run_cell("%%codex --schema Row -o row\ngo")
    assert "the turn failed: it broke" in str(result.error_in_exec)
    assert "row" not in shell.user_ns


# --- images ----------------------------------------------------------------------------------


def pixels(color: str = "red") -> bytes:
    file = io.BytesIO()
    PIL.Image.new("RGB", (8, 6), color).save(file, "PNG")
    return file.getvalue()


def test_images_go_with_the_prompt(
    shell: InteractiveShell, script: Script, capsys: Capture
) -> None:
    backend = script(said("Red."))
    Path("a.png").write_bytes(pixels())
    shell.push({"fig": Figure(figsize=(2, 1), dpi=100)})
    run(shell, "%%codex -i a.png --image fig\ngo")
    (request,) = backend.asked
    assert [(image.name, image.url[:22]) for image in request.images] == [
        ("a.png", "data:image/png;base64,"),
        ("fig", "data:image/png;base64,"),
    ]
    assert base64.b64decode(request.images[0].url[22:]) == pixels()
    width, height = request.images[1].size
    sizes = f'image 1: "a.png", 8 by 6 pixels\nimage 2: "fig", {width} by {height} pixels'
    assert backend.told[0].context["images"] == sizes
    assert (
        f"(with images: a.png (8\u00d76), fig ({width}\u00d7{height}))" in capsys.readouterr().out
    )
    kept = json.dumps(to_json(last(shell)))
    assert "a.png" in kept
    assert "base64" not in kept


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("-i nothing", "there is no image 'nothing'"),
        ("--schema nothing", "there is no schema 'nothing'"),
        ("-o 1", "--out is '1'"),
        ("-i number", "number is an int, and that is no image"),
        ("--schema number", "number is an int, and no shape of an answer"),
    ],
)
def test_what_cannot_be_found_is_said_before_any_turn(
    line: str, told: str, shell: InteractiveShell, script: Script
) -> None:
    backend = script()
    shell.push({"number": 1})
    result = shell.run_cell(f"%%codex {line}\ngo")
    assert isinstance(result.error_in_exec, CellError)
    assert told in str(result.error_in_exec)
    assert backend.asked == []


def test_images_that_are_too_much_together_are_refused(
    shell: InteractiveShell, script: Script
) -> None:
    backend = script()
    shell.push({"raw": pixels() + bytes(4 * 2**20)})
    result = shell.run_cell("%%codex " + "-i raw " * 4 + "\ngo")
    assert "the images have 16 MB together" in str(result.error_in_exec)
    assert backend.asked == []


def test_a_struct_may_be_a_shape(shell: InteractiveShell, script: Script) -> None:
    class Point(msgspec.Struct):
        x: int

    script(said('{"x": 1}'))
    shell.push({"Point": Point})
    run(shell, "%%codex --schema Point -o p\ngo")
    assert shell.user_ns["p"] == Point(1)
