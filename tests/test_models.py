from __future__ import annotations

import pytest

from codex_magic.backends.base import Model
from codex_magic.backends.models import check_effort, check_images
from codex_magic.errors import CellError

MODELS = (
    Model("small", efforts=("low", "high"), sees_images=False),
    Model("big", efforts=("low", "ultra"), is_default=True),
    Model("own"),
)


@pytest.mark.parametrize(
    ("model", "effort"),
    [("small", "high"), ("big", "ultra"), ("", "ultra"), ("own", "x"), ("?", "x")],
)
def test_what_a_model_has_or_nobody_knows_may_be_asked_for(model: str, effort: str) -> None:
    check_effort(MODELS, model, effort)
    check_effort((), model, effort)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("small", "small has no effort 'max'. It has: low, high"),
        ("", "big has no effort 'max'. It has: low, ultra"),
    ],
)
def test_what_it_has_not_is_refused(model: str, told: str) -> None:
    with pytest.raises(CellError) as error:
        check_effort(MODELS, model, "max")
    assert str(error.value) == told


def test_a_model_that_sees_nothing_gets_no_image() -> None:
    for model in ("", "big", "own", "?"):
        check_images(MODELS, model)
    with pytest.raises(CellError) as error:
        check_images(MODELS, "small")
    assert str(error.value) == ("small sees no images. Choose another with -m: type %codex models")
