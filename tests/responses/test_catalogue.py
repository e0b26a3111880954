"""Which models there are, as a host lists them and as we know them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.backends.base import Model
from codex_magic.backends.responses.catalogue import (
    bundled,
    context_tokens,
    default,
    read,
    resolve,
)
from codex_magic.errors import BackendError

FOUR = ("low", "medium", "high", "xhigh")


def test_what_this_version_knows() -> None:
    models = bundled()
    by_id = {model.id: model for model in models}
    assert len(models) == 11
    assert default(models) == "gpt-6.1-sol"
    assert by_id["gpt-5.5"] == Model(
        id="gpt-5.5",
        name="GPT-5.5",
        efforts=FOUR,
        default_effort="medium",
        context_tokens=272_000,
    )
    hidden = {"gpt-daybreak-blue-latest", "gpt-daybreak-red-latest", "codex-auto-review"}
    assert {model.id for model in models if model.hidden} == hidden
    assert [model.id for model in models if model.is_default] == ["gpt-6.1-sol"]


ROW = {
    "slug": "new",
    "display_name": "New",
    "description": "Thinks.",
    "visibility": "list",
    "priority": 2,
    "supported_reasoning_levels": [{"effort": "low", "description": "x"}, {"effort": "max"}],
    "default_reasoning_level": "low",
    "context_window": 1000,
    "input_modalities": ["text"],
    "base_instructions": "x",
}
NEW = Model(
    id="new",
    name="New",
    description="Thinks.",
    efforts=("low", "max"),
    default_effort="low",
    context_tokens=1000,
    sees_images=False,
)
CHOSEN = replace(NEW, is_default=True)
KNOWN = next(model for model in bundled() if model.id == "gpt-5.5")

ANSWERS: list[tuple[str, Any, list[Model]]] = [
    ("a row", {"models": [ROW]}, [CHOSEN]),
    (
        "by priority",
        {"models": [{"slug": "last"}, ROW, ROW | {"slug": "first", "priority": 1}]},
        [replace(CHOSEN, id="first"), NEW, Model(id="last")],
    ),
    (
        "a hidden one is no default",
        {"models": [{"slug": "hid", "visibility": "hide", "priority": 1}, ROW]},
        [Model(id="hid", hidden=True), CHOSEN],
    ),
    ("twice", {"models": [ROW, ROW | {"display_name": "Other"}]}, [CHOSEN]),
    ("broken rows", {"models": [7, {}, {"slug": 7}, ROW, ROW | {"slug": ""}]}, [CHOSEN]),
    ("nulls", {"models": [dict.fromkeys(ROW) | {"slug": "n"}]}, [Model(id="n", is_default=True)]),
    (
        "names",
        {"object": "list", "data": [{"id": "local", "owned_by": "me"}, {"id": "gpt-5.5"}]},
        [replace(KNOWN, is_default=True), Model(id="local", sees_images=None)],
    ),
    (
        "names that say how much",
        {"data": [{"id": "a", "max_model_len": 8}, {"id": "b", "context_length": 9}]},
        [
            Model(id="a", context_tokens=8, sees_images=None, is_default=True),
            Model(id="b", context_tokens=9, sees_images=None),
        ],
    ),
    ("none", {"models": []}, []),
    ("neither", {"detail": "no"}, []),
    ("no object", ["x"], []),
    ("null", None, []),
]


@pytest.mark.parametrize(
    ("answer", "expected"), [a[1:] for a in ANSWERS], ids=[a[0] for a in ANSWERS]
)
def test_both_forms_of_an_answer_are_read(answer: Any, expected: list[Model]) -> None:
    assert list(read(answer)) == expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from([*ROW, "id", "x"]), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from(["models", "data"]), st.lists(JSON)))
def test_whatever_a_host_says_names_each_model_once(answer: Any) -> None:
    models = read(answer)
    assert len({model.id for model in models}) == len(models)
    listed = [model.is_default for model in models if not model.hidden]
    assert listed == [True, *[False] * (len(listed) - 1)][: len(listed)]


def test_a_default_is_a_listed_one_or_an_error() -> None:
    assert default([Model(id="a"), Model(id="b", is_default=True)]) == "b"
    assert default([Model(id="a", hidden=True)]) == "a"
    with pytest.raises(BackendError) as caught:
        default(())
    assert str(caught.value) == "the host names no model. Name one yourself: %%codex -m MODEL"


@pytest.mark.parametrize(("model", "expected"), [("new", 950), ("gpt-5.5", 258_400), ("x", 0)])
def test_a_request_leaves_room_for_the_answer(model: str, expected: int) -> None:
    assert context_tokens(model, [NEW]) == expected


ALIASES = (("fast", "new"), ("gone", "retired"), ("new", "x"))
NAMES = [
    ("fast", "new"),
    ("gone", "retired"),
    ("new", "x"),
    ("NEW", "new"),
    ("gpt-5.5", "gpt-5.5"),
    ("GPT-5.5", "gpt-5.5"),
    ("unheard-of", "unheard-of"),
]


@pytest.mark.parametrize(("name", "expected"), NAMES)
def test_a_name_becomes_a_model(name: str, expected: str) -> None:
    assert resolve(name, ALIASES, [NEW, KNOWN]) == expected
