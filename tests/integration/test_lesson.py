"""The built-in lesson on the real binary, and the whole turns that come of it.

The turns are held against `first-turn.json`; run with UPDATE_GOLDEN=1 to write it anew.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from codex_magic import tape as tapes
from codex_magic.errors import CellError
from codex_magic.sandbox import probe
from codex_magic.settings import Settings
from codex_magic.tape.format import Chunk
from codex_magic.testing import say
from codex_magic.turn import from_json, to_json

HERE = Path(__file__).parent
GOLDEN = HERE / "first-turn.json"
DATA = HERE.parents[1] / "notebooks" / "data"
# What differs from run to run, or by nature between the two kinds of models.
LEFT_OUT = {"started_at": 0, "completed_at": 0, "duration_s": 0, "input_tokens": 0, "model": ""} | {
    "policy_hash": ""  # it differs with the folder
}
NOT_ALWAYS = {"cpu_s", "peak_memory_bytes"}  # of a short command nothing may be seen


@pytest.fixture
def lesson(stage: Any, shape: str) -> str:
    """The path of the lesson without its pace, for a model of either kind."""
    if probe().level != "full":
        pytest.skip(probe().reason)
    shutil.copytree(DATA, stage.folder / "data")
    found = tapes.find("first-turn")
    fast = replace(
        found,
        header=replace(found.header, words_per_s=1e6, model=shape),
        responses=tuple(replace(r, chunks=tuple(map(at_once, r.chunks))) for r in found.responses),
    )
    path = stage.room / "lesson.jsonl"
    path.write_bytes(tapes.encode(fast))
    return str(path)


def at_once(chunk: Chunk) -> Chunk:
    return Chunk(0, chunk.channel, chunk.payload)


def normal(value: Any, names: dict[str, str], folder: str) -> Any:
    """Return a stored turn with its ids numbered in order, and its folder named."""
    if isinstance(value, list):
        return [normal(each, names, folder) for each in value]
    if isinstance(value, str):
        return value.replace(folder, "FOLDER")
    if not isinstance(value, dict):
        return value
    done = {}
    for key, each in value.items():
        if key in NOT_ALWAYS:
            continue
        if key in LEFT_OUT:
            done[key] = LEFT_OUT[key]
        elif key in ("id", "parent", "thread_id") and each != "prompt":
            done[key] = names.setdefault(each, f"id-{len(names) + 1}")
        else:
            done[key] = normal(each, names, folder)
    return done


def test_the_whole_lesson(stage: Any, lesson: str, shape: str) -> None:
    kernel = stage.kernel(
        "http://127.0.0.1:9/v1", "a model that nobody asks", OPENAI_API_KEY="sk-x"
    )
    tape = kernel.session.replay(lesson)
    home = Path(kernel.session._taped.home)
    assert home.stat().st_mode & 0o777 == 0o700
    turns = [kernel.ask(prompt) for prompt in tape.prompts]
    kernel.session.close()
    assert not home.exists()
    assert list(stage.home.iterdir()) == []
    assert [turn.model for turn in turns] == [shape] * len(turns)
    stored = [to_json(turn) for turn in turns]
    assert [from_json(each) for each in stored] == turns
    names: dict[str, str] = {}
    found = [normal(each, names, str(stage.folder)) for each in stored]
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    assert found == json.loads(GOLDEN.read_text())


def test_the_whole_lesson_without_codex(stage: Any, lesson: str) -> None:
    settings = Settings(backend="responses")
    kernel = stage.responses_kernel(
        "http://127.0.0.1:9/v1", "a model that nobody asks", settings=settings
    )
    tape = kernel.session.replay(lesson)
    stored = [to_json(kernel.ask(prompt)) for prompt in tape.prompts]
    kernel.session.close()
    names: dict[str, str] = {}
    found = [normal(each, names, str(stage.folder)) for each in stored]
    assert {each.pop("backend") for each in found} == {"responses"}
    golden = json.loads(GOLDEN.read_text())
    assert {each.pop("backend") for each in golden} == {"app-server"}
    assert found == golden
    assert not list(stage.place("data").rglob("*.jsonl*"))


def test_a_lesson_without_its_data_says_so_and_goes_on(stage: Any, lesson: str) -> None:
    shutil.rmtree(stage.folder / "data")
    kernel = stage.kernel("http://127.0.0.1:9/v1")
    tape = kernel.session.replay(lesson)
    turn = kernel.ask(tape.prompts[0])
    assert turn.status == "completed"
    assert [notice.level for notice in turn.notices] == ["warning"] * 2
    assert "the lesson expects `head -5 data/penguins.csv` to exit 0" in turn.notices[0].text


def test_a_prompt_that_is_not_on_the_tape(stage: Any, lesson: str) -> None:
    kernel = stage.kernel("http://127.0.0.1:9/v1")
    tape = kernel.session.replay(lesson)
    with pytest.raises(CellError) as caught:
        kernel.ask("Who are you?")
    assert [prompt in str(caught.value) for prompt in tape.prompts] == [True] * 3
    assert kernel.ask(tape.prompts[0]).status == "completed"


def test_a_lesson_and_then_a_model(stage: Any, lesson: str, shape: str) -> None:
    model = stage.model(say("live"))
    kernel = stage.kernel(model, shape)
    tape = kernel.session.replay(lesson)
    assert kernel.ask(tape.prompts[0]).tape == "first-turn"
    assert model.requests == []
    kernel.session.replay(None)
    turn = kernel.ask(tape.prompts[0])
    assert (turn.tape, turn.final_response) == ("", "live")
