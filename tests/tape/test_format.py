from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codex_magic import tape
from codex_magic.errors import CellError, RecordError
from codex_magic.tape.format import Chunk, Expectation, Header, Response, Tape

if TYPE_CHECKING:
    from pathlib import Path

HEADER = '{"tape":1,"name":"t","model":"m"}'
SAYS = '{"prompt":"p","chunks":[[0,"answer","a"]]}'
ASKS = '{"prompt":"p","chunks":[[0,"shell",{"command":["ls"]}]]}'


def test_what_is_written_is_read_again() -> None:
    lesson = Tape(
        header=Header(tape=1, name="t", model="m", title="T", words_per_s=9.0),
        responses=(
            Response(prompt="p", status=429, headers={"retry-after": "0"}, body={"a": 1}),
            Response(
                prompt="p",
                chunks=(
                    Chunk(0.1, "reasoning", "hm"),
                    Chunk(0.2, "shell", {"command": ["ls", "-l"]}),
                    Chunk(0, "call", {"tool": "inspect", "arguments": {"name": "df"}}),
                    Chunk(0, "gate", "g"),
                ),
            ),
            Response(
                prompt="p",
                expect=(Expectation(exit=1, pattern="x+"),),
                chunks=(Chunk(0, "answer", "ä"), Chunk(0, "cut")),
            ),
        ),
    )
    assert tape.parse(tape.encode(lesson)) == lesson


@pytest.mark.parametrize("name", tape.lessons())
def test_built_in_lessons_survive_writing(name: str) -> None:
    lesson = tape.find(name)
    assert lesson.name == name
    assert tape.parse(tape.encode(lesson)) == lesson


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([], "l.jsonl is empty. A lesson begins with a header line"),
        ([HEADER], "l.jsonl has a header and no responses"),
        (["{"], "l.jsonl, line 1: Input data was truncated"),
        (
            ['{"tape":2,"name":"t","model":"m"}', SAYS],
            "l.jsonl, line 1: Invalid enum value 2 - at `$.tape`",
        ),
        (
            ['{"tape":1,"name":"t"}', SAYS],
            "l.jsonl, line 1: Object missing required field `model`",
        ),
        (
            ['{"tape":1,"name":"t","model":"m","words_per_s":0}', SAYS],
            "l.jsonl, line 1: Expected `float` > 0.0 - at `$.words_per_s`",
        ),
        (
            [HEADER, "", '{"chunks":[]}'],
            "l.jsonl, line 3: Object missing required field `prompt`",
        ),
        (
            [HEADER, '{"prompt":"p","chunk":[]}'],
            "l.jsonl, line 2: Object contains unknown field `chunk`",
        ),
        (
            [HEADER, '{"prompt":" ","chunks":[[0,"answer","a"]]}'],
            "l.jsonl, line 2: the prompt is blank",
        ),
        (
            [HEADER, '{"prompt":"p"}'],
            "l.jsonl, line 2: a response has either chunks or a status",
        ),
        (
            [HEADER, '{"prompt":"p","status":429,"chunks":[[0,"answer","a"]]}'],
            "l.jsonl, line 2: a response has either chunks or a status",
        ),
        (
            [HEADER, '{"prompt":"p","chunks":[[0,"anwser","a"]]}'],
            (
                "l.jsonl, line 2: chunk 1 (anwser): there is no such channel; there are reasoning, "
                "commentary, answer, message, shell, call, js, event, gate, failed, cut"
            ),
        ),
        (
            [HEADER, '{"prompt":"p","chunks":[[-1,"answer","a"]]}'],
            "l.jsonl, line 2: Expected `float` >= 0.0 - at `$.chunks[0][0]`",
        ),
        (
            [HEADER, '{"prompt":"p","chunks":[[0,"answer",""]]}'],
            "l.jsonl, line 2: chunk 1 (answer): Expected `str` of length >= 1",
        ),
        (
            [HEADER, '{"prompt":"p","chunks":[[0,"shell",{"cmd":"ls"}]]}'],
            "l.jsonl, line 2: chunk 1 (shell): Object missing required field `command`",
        ),
        (
            [HEADER, '{"prompt":"p","chunks":[[0,"call",{"tool":"a b"}]]}'],
            (
                "l.jsonl, line 2: chunk 1 (call): "
                "Expected `str` matching regex '^[A-Za-z_][A-Za-z0-9_]*$' - at `$.tool`"
            ),
        ),
        (
            [HEADER, '{"prompt":"p","chunks":[[0,"cut"],[0,"answer","a"]]}'],
            "l.jsonl, line 2: chunk 1 (cut): nothing can follow it",
        ),
        (
            [HEADER, ASKS, '{"prompt":"p","expect":[{"pattern":"("}],"chunks":[[0,"answer","a"]]}'],
            (
                "l.jsonl, line 3: /(/ is no regular expression: "
                "missing ), unterminated subpattern at position 0"
            ),
        ),
        (
            [HEADER, '{"prompt":"p","expect":[{}],"chunks":[[0,"answer","a"]]}'],
            "l.jsonl, line 2: the first response of a prompt has no outputs to expect anything of",
        ),
        (
            [HEADER, ASKS, '{"prompt":"p","expect":[{},{}],"chunks":[[0,"answer","a"]]}'],
            "l.jsonl, line 3: it expects 2 outputs of line 2, which asks for 1",
        ),
        (
            [HEADER, SAYS, SAYS],
            "l.jsonl, line 3: it is never played: line 2 asks for no tool, which ends the turn",
        ),
    ],
)
def test_a_broken_lesson_says_where_and_what(lines: list[str], fault: str) -> None:
    with pytest.raises(RecordError) as caught:
        tape.parse("\n".join(lines).encode(), "l.jsonl")
    assert str(caught.value) == fault


def test_a_lesson_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_bytes(b'{"tape":1,"name":"\xff","model":"m"}\n')
    with pytest.raises(RecordError, match=r"l\.jsonl, line 1: "):
        tape.find(tmp_path / "l.jsonl")


def test_a_lesson_is_found_by_name_and_by_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(f"{HEADER}\n{SAYS}\n")
    assert tape.find(path) == tape.find(str(path))
    assert tape.find("first-turn").prompts[0] == "What is in data/penguins.csv?"


def test_an_unknown_lesson_names_the_known_ones() -> None:
    with pytest.raises(CellError, match=r"no lesson 'nope'\. There are: .*first-turn"):
        tape.find("nope")


def test_white_space_of_a_prompt_does_not_matter() -> None:
    lesson = tape.find("first-turn")
    assert lesson.has("  What is in\n data/penguins.csv? ")
    assert not lesson.has("what is in data/penguins.csv?")


def test_no_answer_names_the_prompts() -> None:
    lesson = tape.parse(f"{HEADER}\n{SAYS}".encode())
    assert lesson.no_answer() == "tape 't' has no answer for this prompt; it has: “p”"
    assert lesson.no_answer("q\n r") == "tape 't' has no answer for “q r”; it has: “p”"
