"""One script, two backends, the same turn: nothing of a turn depends on which brain had it.

Ids, times, measures and counts of what a request held are numbered or blanked; all else is compared.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.approval import Answer
from codex_magic.policy import Decision
from codex_magic.sandbox import probe
from codex_magic.testing import (
    FakeModel,
    call,
    failed,
    pause_at,
    say,
    status,
    think,
    tool_outputs,
    user_texts,
)
from codex_magic.tools.ask_user import AskUserTool
from codex_magic.tools.patch import PatchTool
from codex_magic.tools.shell import ShellTool
from codex_magic.turn import Image, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence

PATCH = "*** Begin Patch\n*** Add File: new.txt\n+one\n+two\n*** End Patch\n"
DOT = Image(
    "dot.png",
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    (1, 1),
)
SHAPE = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
BLANK = {
    "started_at",
    "completed_at",
    "duration_s",
    "input_tokens",
    "cached_input_tokens",
    "backend",
    "policy_hash",
}


MEASURES = {"cpu_s", "peak_memory_bytes"}  # of a short command nothing may be seen


@dataclass(frozen=True)
class Scene:
    """What the model says, and how it is asked."""

    name: str
    responses: Sequence[Any]
    options: dict[str, Any] = field(default_factory=dict)
    answers: Sequence[Answer] = ()


SCENES = (
    Scene("an answer", [say("Hello.")]),
    Scene("thoughts", [[think("First."), say("On it.", "commentary"), say("So.", "final_answer")]]),
    Scene("a command", [call("shell", command=["echo", "hi"]), say("It says hi.")]),
    Scene(
        "a failing command",
        [call("shell", command="echo no >&2; exit 3", workdir="."), say("It failed.")],
    ),
    Scene(
        "two commands in one response",
        [
            [call("shell", command=["echo", "1"]), call("shell", command=["echo", "2"])],
            say("Both."),
        ],
    ),
    Scene("arguments that do not fit", [call("shell", commando=["ls"]), say("No.")]),
    Scene(
        "what nobody may be asked",
        [call("shell", command=["true"], network=True, justification="why"), say("No.")],
        {"approval": "never"},
    ),
    Scene(
        "what a person declines",
        [call("shell", command=["true"], network=True), say("No.")],
        answers=[Answer(Decision.DECLINE, "person", "not now")],
    ),
    Scene(
        "what a person allows",
        [call("shell", command=["true"], network=True), say("Yes.")],
        answers=[Answer(Decision.ACCEPT, "person")],
    ),
    Scene(
        "a question",
        [call("ask_user", question="Which?", options=["a", "b"]), say("b it is.")],
        answers=[Answer(Decision.ACCEPT, "person", "b")],
    ),
    Scene("an edit", [call("apply_patch", input=PATCH), say("Done.")]),
    Scene("an image", [say("A dot.")], {"images": (DOT,), "effort": "high"}),
    Scene("a shape", [say('{"n": 1}')], {"schema": SHAPE, "summary": "detailed"}),
    Scene("a refusal by status", [status(400, {"error": {"message": "no such model"}})]),
    Scene(
        "a used-up limit",
        [
            status(
                429,
                {
                    "error": {
                        "type": "usage_limit_reached",
                        "message": "The usage limit has been reached",
                    }
                },
            )
        ],
    ),
    Scene("a failure in the stream", [[say("So"), failed("server_is_overloaded", "too many ask")]]),
)


def normal(value: Any, names: dict[str, str], folder: str) -> Any:
    if isinstance(value, list):
        return [normal(each, names, folder) for each in value]
    if isinstance(value, str):
        return value.replace(folder, "FOLDER")
    if not isinstance(value, dict):
        return value
    done = {}
    for key, each in value.items():
        if key in MEASURES:
            continue
        if key in BLANK:
            done[key] = "-"
        elif key == "error":
            done[key] = each["kind"]  # what it says is each one's own
        elif key in ("id", "parent", "thread_id", "waiting_for") and each != "prompt":
            done[key] = names.setdefault(each, f"id-{len(names) + 1}")
        else:
            done[key] = normal(each, names, folder)
    return done


def played(stage: Any, people: Any, which: str, scene: Scene) -> tuple[Any, FakeModel]:
    model = stage.model(*scene.responses)
    tools = (ShellTool(), PatchTool(), AskUserTool())
    make = stage.kernel if which == "app-server" else stage.responses_kernel
    kernel = make(model, tools=tools)
    kernel.folder = stage.place(f"workspace-{which}")
    turn = kernel.ask(person=people(*scene.answers), **scene.options)
    return normal(to_json(turn), {}, str(kernel.folder)), model


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.name)
def test_backends_agree(stage: Any, people: Any, scene: Scene) -> None:
    if probe().level != "full":
        pytest.skip(probe().reason)
    one, of_one = played(stage, people, "app-server", scene)
    other, of_other = played(stage, people, "responses", scene)
    assert other == one
    assert len(of_one.requests) == len(of_other.requests)
    texts = [[user_texts(body)[-1] for body in model.requests] for model in (of_one, of_other)]
    assert texts[0] == texts[1]
    asked = [
        (body.get("reasoning"), body.get("text", {}).get("format"))
        for body in (of_one.requests[0], of_other.requests[0])
    ]
    if "effort" in scene.options:
        assert asked[0] == asked[1]
    assert asked[0][1] == asked[1][1]
    outputs = [[len(tool_outputs(body)) for body in model.requests] for model in (of_one, of_other)]
    assert outputs[0] == outputs[1]


def test_they_agree_on_what_is_stopped(stage: Any, until: Any) -> None:
    turns = []
    for which in ("app-server", "responses"):
        model = stage.model([say("So far. "), pause_at("here"), say("never")])
        kernel = (stage.kernel if which == "app-server" else stage.responses_kernel)(model)
        reached = model.reached("here")
        kernel.page.once(
            lambda turn, reached=reached: turn.final_response == "So far. " and reached.is_set(),
            kernel.session.stop,
        )
        turns.append(normal(to_json(kernel.ask()), {}, str(kernel.folder)))
        model.gate("here").set()
    assert turns[0]["status"] == "interrupted"
    assert turns[1] == turns[0]
