"""Images, schemas and thoughts, as they reach a model through the real binary, and come back."""

from __future__ import annotations

import base64
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import PIL.Image
import pytest

from codex_magic import typed
from codex_magic.errors import BackendError, CellError
from codex_magic.items import Text, ToolCall
from codex_magic.policy import SandboxPolicy
from codex_magic.structured import shape as shapes
from codex_magic.testing import call, developer_texts, js, say, think, tool_outputs, user_texts
from codex_magic.tools.base import Outcome
from codex_magic.turn import Image, Turn, TurnRequest

if TYPE_CHECKING:
    from codex_magic.testing import FakeModel


@dataclass
class Row:
    name: str
    n: int = 3


GOOD = '{"name": "a", "n": null}'
BAD = '{"name": "a", "n": "five"}'


def picture(color: str, size: tuple[int, int] = (64, 48)) -> Image:
    file = io.BytesIO()
    PIL.Image.new("RGB", size, color).save(file, "PNG")
    url = f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
    return Image(f"{color}.png", url, size)


def parts(body: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """Return the parts of this kind of all that a request carries."""
    items = [item for item in body["input"] if isinstance(item, dict)]
    found = [item.get("content") or item.get("output") or () for item in items]
    lists = [part for part in found if isinstance(part, list)]
    return [each for part in lists for each in part if each.get("type") == kind]


def seen(body: dict[str, Any]) -> list[str]:
    return [part["image_url"] for part in parts(body, "input_image")]


# --- images ----------------------------------------------------------------------------------


def test_images_reach_the_model_as_they_are_and_stay_in_the_thread(stage: Any, shape: str) -> None:
    model = stage.model(say("Red, then blue."), say("two"))
    kernel = stage.kernel(model, shape)
    images = (picture("red"), picture("blue"))
    turn = kernel.ask("which colours?", images=images)
    kernel.ask("and now?")
    urls = [image.url for image in images]
    assert [seen(body) for body in model.requests] == [urls, urls]
    told = 'image 1: "red.png", 64 by 48 pixels\nimage 2: "blue.png", 64 by 48 pixels'
    assert [text for text in developer_texts(model.requests[0]) if told in text] != []
    assert user_texts(model.requests[0])[-1] == "which colours?"
    assert turn.items[0].images == ("red.png (64\u00d748)", "blue.png (64\u00d748)")


def test_an_address_is_refused_before_a_turn(stage: Any) -> None:
    model = stage.model()
    kernel = stage.kernel(model)
    away = Image("https://a.example/x.png", "https://a.example/x.png")
    with pytest.raises(CellError) as error:
        kernel.ask(images=(away,))
    assert str(error.value) == (
        "Codex fetches no image from the network: https://a.example/x.png. "
        "Download it, and name the file"
    )
    assert (model.requests, kernel.session.last) == ([], None)


class Camera:
    """A tool that answers with an image."""

    name = "camera"
    description = "Take a picture."
    parameters: dict[str, Any] = {"type": "object", "properties": {}}

    def prepare(self, call_id: str, arguments: Any, request: TurnRequest) -> Shot:
        return Shot(ToolCall(id=call_id, tool=self.name))


@dataclass
class Shot:
    item: ToolCall
    asks: tuple[str, ...] = ()
    excess: None = None
    harmless: bool = True
    forbidden: str = ""
    grant: None = None

    def run(self, emit: Any, stop: Any, permission: Any) -> Outcome:
        done = ToolCall(id=self.item.id, status="completed", tool="camera", output=Text("click"))
        return Outcome(done, "click", success=True, images=(picture("green").url,))


SHOT = {
    "gpt-5.5": call("camera"),
    # A script gets text: the answer's own, then a line for each image.
    "gpt-6.1-sol": js(
        "const lines = (await tools.camera({})).split('\\n');\ntext(lines[0]); image(lines[1])"
    ),
}


def test_an_image_of_a_tool_reaches_the_model(stage: Any, shape: str) -> None:
    model = stage.model(SHOT[shape], say("Green."))
    turn = stage.kernel(model, shape, tools=(Camera(),)).ask()
    assert turn.status == "completed"
    assert seen(model.requests[1]) == [picture("green").url]
    assert "click" in tool_outputs(model.requests[1])[0]


# --- thoughts --------------------------------------------------------------------------------


def test_thoughts_are_told_as_asked(stage: Any, shape: str) -> None:
    model = stage.model([think("Hmm."), say("one")], say("two"))
    kernel = stage.kernel(model, shape)
    kernel.ask(summary="detailed")
    kernel.ask(summary="none")
    assert [body["reasoning"].get("summary") for body in model.requests] == ["detailed", None]


def test_an_effort_that_a_model_has_not_is_refused_before_a_turn(stage: Any, shape: str) -> None:
    model = stage.model(say("one"))
    kernel = stage.kernel(model, shape)
    with pytest.raises(CellError) as error:
        kernel.ask(effort="hard")
    assert error.value.message == f"{shape} has no effort 'hard'"
    assert error.value.hint.startswith("It has: low, medium, high")
    with pytest.raises(CellError):
        kernel.ask(effort="hard", model=None)
    assert (model.requests, kernel.session.last) == ([], None)
    assert kernel.ask(effort="high").status == "completed"


def test_a_model_that_nobody_lists_has_any_effort(stage: Any) -> None:
    model = stage.model(say("one"))
    assert stage.kernel(model, "a-model-of-mine").ask(effort="hard").status == "completed"
    assert model.requests[0]["reasoning"]["effort"] == "hard"


# --- schemas ---------------------------------------------------------------------------------


def formats(model: FakeModel) -> list[Any]:
    return [(body.get("text") or {}).get("format") for body in model.requests]


def ask(kernel: Any, **options: Any) -> typed.Answered:
    row = shapes.of(Row, "Row")
    policy = SandboxPolicy(mode="workspace-write", workspace=kernel.folder)
    request = TurnRequest(
        prompt="go", policy=policy, model=kernel.model, schema=row.schema, **options
    )

    def play(request: TurnRequest) -> Turn:
        return kernel.session.run(request, page=kernel.page, approver=None)

    return typed.run(kernel.session, request, row, play)


def test_a_schema_holds_for_its_turn_only(stage: Any, shape: str) -> None:
    model = stage.model(say(GOOD), say("prose"))
    kernel = stage.kernel(model, shape)
    assert ask(kernel).value == Row("a")
    kernel.ask()
    assert formats(model) == [
        {
            "type": "json_schema",
            "name": "codex_output_schema",
            "strict": True,
            "schema": shapes.of(Row).schema,
        },
        None,
    ]
    assert (kernel.page.kept.structured, kernel.session.last.structured) == (False, False)


def test_a_misfit_is_asked_for_once_more_on_the_thread(stage: Any, shape: str) -> None:
    model = stage.model(say(BAD), say(GOOD))
    kernel = stage.kernel(model, shape)
    answer = ask(kernel)
    assert (answer.value, answer.turn.structured) == (Row("a"), True)
    first, second = model.requests
    assert formats(model)[0] == formats(model)[1]
    problem = "Expected `int`, got `str` - at `$.n`"
    assert problem in user_texts(second)[-1]
    assert BAD in json.dumps([item for item in second["input"] if item.get("role") == "assistant"]
                             ).replace('\\"', '"')  # fmt: skip
    assert [notice.text for notice in answer.turn.notices] == [
        f"the answer did not fit the schema: {problem}; asked once more"
    ]
    assert first["prompt_cache_key"] == second["prompt_cache_key"]


def test_a_second_misfit_is_an_error(stage: Any, shape: str) -> None:
    model = stage.model(say(BAD), say(BAD))
    kernel = stage.kernel(model, shape)
    with pytest.raises(
        BackendError, match="the answer does not fit Row: Expected `int`, got `str`"
    ):
        ask(kernel)
    assert len(model.requests) == 2
    assert kernel.session.last.final_response == BAD
