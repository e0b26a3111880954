"""What stands in a request beside the prompt: ours, and nothing of a terminal's."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

from codex_magic.settings import Settings
from codex_magic.testing import FakeModel, developer_texts, say, user_texts

INSTRUCTIONS = files("codex_magic").joinpath("instructions.md").read_text(encoding="utf-8")


def notes(model: FakeModel) -> list[list[str]]:
    """Return the notes that each request carries."""
    told = [developer_texts(body) for body in model.requests]
    return [[text for text in texts if text.startswith("<notebook>")] for texts in told]


def test_our_instructions_are_what_the_model_reads(stage: Any, shape: str) -> None:
    model = stage.model(say("hello"), say("again"))
    kernel = stage.kernel(model, shape)
    kernel.ask()
    kernel.ask()
    for body in model.requests:
        assert developer_texts(body).count(INSTRUCTIONS) == 1
        assert developer_texts(body)[0] == INSTRUCTIONS
        told = json.dumps(body)
        strange = ("Codex CLI", "terminal", "environment_context", "permissions instructions")
        assert [word for word in strange if word in told.replace("terminalInteraction", "")] == []
        assert body.get("instructions", "") == ""


def test_the_note_says_where_the_model_is(stage: Any, shape: str) -> None:
    model = stage.model(say("one"))
    kernel = stage.kernel(model, shape)
    turn = kernel.ask(mode="read-only", approval="untrusted", timeout_s=7)
    ((note,),) = notes(model)
    assert json.dumps(str(stage.folder)) in note
    assert "sandbox: read-only, network off" in note
    assert "approval policy: untrusted" in note
    assert "each command may take 7 s" in note
    assert "kernel: fresh" in note
    assert turn.level == "full"
    assert "enforced here: all of it" in note


def test_the_note_comes_again_only_when_it_says_something_new(stage: Any, shape: str) -> None:
    model = stage.model(say("one"), say("two"), say("three"), say("four"))
    kernel = stage.kernel(model, shape)
    kernel.ask()
    kernel.ask()
    kernel.ask(mode="read-only")
    kernel.ask(mode="read-only")
    assert [len(found) for found in notes(model)] == [1, 2, 3, 3]
    assert ["workspace-write" in note for note in notes(model)[-1]] == [True, True, False]
    assert ["kernel: fresh" in note for note in notes(model)[-1]] == [True, False, False]


def test_the_note_comes_with_a_taken_up_thread(stage: Any, shape: str) -> None:
    first = stage.kernel(stage.model(say("one")), shape)
    thread_id = first.ask().thread_id
    first.session.close()
    model = stage.model(say("two"))
    stage.kernel(model, shape).ask(resume=thread_id, mode="full-access")
    assert "sandbox: full-access" in notes(model)[0][-1]


def test_a_projects_own_text_is_quoted_as_a_persons_and_said(stage: Any, shape: str) -> None:
    stage.place("workspace/.git")
    stage.file("workspace/AGENTS.md", "Always say please.")
    stage.file("workspace/sub/AGENTS.md", "Count in dozens.")
    model = stage.model(say("one"), say("two"), say("three"))
    kernel = stage.kernel(model, shape)
    kernel.folder = stage.folder / "sub"
    first, second = kernel.ask(), kernel.ask()
    (stage.folder / "AGENTS.md").write_text("Never say please.")
    third = kernel.ask()
    (quoted,) = [text for text in user_texts(model.requests[0]) if "please" in text]
    assert quoted.startswith("<external_project_instructions>")
    assert quoted.index("Always say please.") < quoted.index("Count in dozens.")
    assert not [text for text in developer_texts(model.requests[0]) if "please" in text]
    told = [[text for text in user_texts(body) if "please" in text] for body in model.requests]
    assert [len(texts) for texts in told] == [1, 1, 2]
    paths = f"{stage.folder}/AGENTS.md, {stage.folder}/sub/AGENTS.md"
    said = [[notice.text for notice in turn.notices] for turn in (first, second, third)]
    assert [len(texts) for texts in said] == [1, 0, 1]
    assert paths in said[0][0]


def test_a_projects_own_text_can_be_kept_out(stage: Any, shape: str) -> None:
    stage.place("workspace/.git")
    stage.file("workspace/AGENTS.md", "Always say please.")
    model = stage.model(say("one"))
    turn = stage.kernel(model, shape, settings=Settings(agents_md=False)).ask()
    assert "say please" not in json.dumps(model.requests[0])
    assert turn.notices == ()


def test_the_prompt_arrives_as_it_was_typed(stage: Any, shape: str) -> None:
    prompt = '{"a": 1}\n%%codex\n!rm -rf {x} $HOME @df\n\n`é😀`\u202e\x00\n  '
    model = stage.model(say("one"))
    stage.kernel(model, shape).ask(prompt)
    assert user_texts(model.requests[0])[-1] == prompt


def test_effort_and_summary_reach_the_model(stage: Any, shape: str) -> None:
    model = stage.model(say("one"))
    stage.kernel(model, shape).ask(effort="high", summary="detailed")
    reasoning = model.requests[0]["reasoning"]
    assert (reasoning["effort"], reasoning["summary"]) == ("high", "detailed")


def test_an_effort_is_for_its_turn_only(stage: Any, shape: str) -> None:
    model = stage.model(say("one"), say("two"), say("three"))
    kernel = stage.kernel(model, shape)
    kernel.ask()
    kernel.ask(effort="high")
    kernel.ask()
    first, second, third = (each["reasoning"]["effort"] for each in model.requests)
    assert (second, third) == ("high", first)
