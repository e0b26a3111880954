from __future__ import annotations

import contextlib
import datetime as dt
import enum
import json
import re
from dataclasses import dataclass, field, fields, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypedDict, Union

import msgspec
import pydantic
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from codex_magic.errors import CellError
from codex_magic.structured import fitting, shape
from codex_magic.structured.plain import plain
from codex_magic.structured.shape import Shape
from codex_magic.structured.strict import strict

if TYPE_CHECKING:
    from pathlib import Path

Json = dict[str, Any]


@dataclass
class Row:
    name: str
    n: int = 3
    tags: list[str] = field(default_factory=list)


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Point(msgspec.Struct):
    x: float
    at: tuple[int, str] | None = None
    row: Row | None = None


class Node(pydantic.BaseModel):
    value: Annotated[int, pydantic.Field(gt=0, description="above zero")]
    kids: list[Node] = []
    color: Color = Color.RED
    when: dt.date | None = None
    code: Annotated[str, pydantic.Field(max_length=3)] = "abc"


class Loose(TypedDict):
    a: int
    b: NotRequired[str]


class Cat(pydantic.BaseModel):
    kind: Literal["cat"]
    lives: int


class Dog(pydantic.BaseModel):
    kind: Literal["dog"]
    name: str


Pet = Annotated[Cat | Dog, pydantic.Field(discriminator="kind")]


def an_object(**properties: Any) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def numbers(cases: list[Any]) -> list[str]:
    return [str(number) for number in range(len(cases))]


NULL = {"type": "null"}
ROW = an_object(
    name={"type": "string"},
    n={"type": ["integer", "null"]},
    tags={"anyOf": [{"type": "array", "items": {"type": "string"}}, NULL]},
)
NODE = an_object(
    value={"description": "above zero", "exclusiveMinimum": 0, "type": "integer"},
    kids={"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/Node"}}, NULL]},
    color={"anyOf": [{"$ref": "#/$defs/Color"}, NULL]},
    when={"anyOf": [{"format": "date", "type": "string"}, NULL]},
    code={"description": "maxLength: 3", "type": ["string", "null"]},
)
COLOR = {"enum": ["red", "blue"], "type": "string"}

NARROW: list[tuple[Any, Json]] = [
    (Row, ROW),
    (Point, {
        **an_object(
            x={"type": "number"},
            at={"anyOf": [
                {"type": "array", "minItems": 2, "maxItems": 2, "items": {"anyOf": [
                    {"type": "integer"}, {"type": "string"},
                ]}},
                NULL,
            ]},
            row={"anyOf": [{"$ref": "#/$defs/Row"}, NULL]},
        ),
        "$defs": {"Row": ROW},
    }),
    (Node, {**NODE, "$defs": {"Color": COLOR, "Node": NODE}}),
    (Loose, an_object(a={"type": "integer"}, b={"type": ["string", "null"]})),
    (list[Row], {
        **an_object(value={"type": "array", "items": {"$ref": "#/$defs/Row"}}),
        "$defs": {"Row": ROW},
    }),
    (Cat | Dog, {
        **an_object(value={"anyOf": [{"$ref": "#/$defs/Cat"}, {"$ref": "#/$defs/Dog"}]}),
        "$defs": {
            "Cat": an_object(kind={"const": "cat", "type": "string"}, lives={"type": "integer"}),
            "Dog": an_object(kind={"const": "dog", "type": "string"}, name={"type": "string"}),
        },
    }),
    (bool, an_object(value={"type": "boolean"})),
    (Literal["p", "q"], an_object(value={"enum": ["p", "q"], "type": "string"})),
    ({"properties": {"a": {"type": "integer"}}}, an_object(a={"type": ["integer", "null"]})),
    ({"type": "object", "properties": {}, "title": "T"}, an_object()),
    (
        {"type": "object", "properties": {"a": {"enum": [1, "x", None]}}, "required": ["a"]},
        an_object(a={"enum": [1, "x", None], "type": ["integer", "string", "null"]}),
    ),
    (
        {"$ref": "#/definitions/T", "definitions": {"T": {"properties": {"me": {"$ref": "#"}}}}},
        {
            **an_object(me={"anyOf": [{"$ref": "#/$defs/Root"}, NULL]}),
            "$defs": {"Root": an_object(me={"anyOf": [{"$ref": "#/$defs/Root"}, NULL]})},
        },
    ),
    (
        {
            "properties": {"a": {"$ref": "#/$defs/A", "description": "the a"}},
            "required": ["a"],
            "$defs": {"A": {"oneOf": [{"const": 1}, {"type": "string", "pattern": "(?i)x"}]}},
        },
        {
            **an_object(a={"description": "the a", "anyOf": [{"$ref": "#/$defs/A"}]}),
            "$defs": {"A": {"anyOf": [
                {"const": 1, "type": "integer"},
                {"description": "pattern: (?i)x", "type": "string"},
            ]}},
        },
    ),
]  # fmt: skip


@pytest.mark.parametrize(("said", "narrow"), NARROW, ids=numbers(NARROW))
def test_a_shape_becomes_a_schema_that_models_are_held_to(said: Any, narrow: Json) -> None:
    assert shape.of(said).schema == narrow


class Inner(pydantic.BaseModel):
    counts: dict[str, int]


@dataclass
class Outer:
    inner: list[dict[str, int]]


OPEN = "may have keys of any name, and models cannot be held to that"
PAIRS = "Use a list of pairs, each an object with a key and a value"
TYPES = f"Name {shape.TYPES}"
REFUSED: list[tuple[Any, str]] = [
    (Inner, f"x: the field counts {OPEN}. {PAIRS}"),
    (list[Inner], f"x: the field Inner.counts {OPEN}. {PAIRS}"),
    (Outer, f"x: the field inner[] {OPEN}. {PAIRS}"),
    (dict[str, int], f"x: the schema {OPEN}. {PAIRS}"),
    ({"type": "object"}, f"x: the schema {OPEN}. {PAIRS}"),
    (
        {"properties": {"a": {"properties": {"b": {}}}}},
        "x: the field a.b may be anything, and models cannot be held to that. Say which type it has",
    ),
    (
        {"type": "array"},
        "x: the schema is a list of anything, and models cannot be held to that. Say what is in it",
    ),
    (
        {"a": "string"},
        "x: the schema may be anything, and models cannot be held to that. Say which type it has",
    ),
    ({"properties": {"a": "string"}}, 'x: the field a is no JSON Schema: it is "string"'),
    ({"properties": []}, "x: the schema is no JSON Schema: properties must be an object"),
    ({"anyOf": []}, "x: the schema is no JSON Schema: anyOf must be a list"),
    (
        {"properties": {"a": {"type": "string"}}, "required": "a"},
        "x: the schema is no JSON Schema: required must be a list of names",
    ),
    (
        {"properties": {"a": {"allOf": [{"type": "string"}, {"minLength": 2}]}}},
        "x: the field a says allOf, and models cannot be held to several at once",
    ),
    (
        {"properties": {"a": {"not": {"type": "null"}}}},
        "x: the field a says not, and models cannot be held to what must not be",
    ),
    (
        {"properties": {"a": {"$ref": "https://a.example/s.json"}}},
        "x: the field a refers to 'https://a.example/s.json', which is outside the schema",
    ),
    (
        {"properties": {"a": {"$ref": "#/$defs/B"}}},
        "x: the schema refers to #/$defs/B, which it does not define",
    ),
    (
        {"$ref": "#/$defs/A", "$defs": {"A": {"$ref": "#/$defs/A"}}},
        "x: the schema refers to #/$defs/A, which refers to itself",
    ),
    ({"$ref": "#"}, "x: the schema refers to #, which refers to itself"),
    (3, f"x is an int, and no shape of an answer. {TYPES}"),
    (dict, f"x is a class without fields, and no shape of an answer. {TYPES}"),
    (object, f"x is a class without fields, and no shape of an answer. {TYPES}"),
]


@pytest.mark.parametrize(("said", "told"), REFUSED, ids=numbers(REFUSED))
def test_what_models_cannot_be_held_to_is_refused_by_its_field(said: Any, told: str) -> None:
    with pytest.raises(CellError) as error:
        shape.of(said, "x")
    assert str(error.value) == told


class Trap(type):
    """A class whose class obeys: whoever asks it anything has run its code."""

    def __getattribute__(cls, name: str) -> Any:
        raise AssertionError(name)

    def __eq__(cls, other: object) -> bool:
        raise AssertionError

    __hash__ = type.__hash__


class Trapped(metaclass=Trap):
    def __getattribute__(self, name: str) -> Any:
        raise AssertionError(name)


def test_no_code_of_a_value_that_is_no_type_runs() -> None:
    with pytest.raises(CellError, match="x is a Trapped, and no shape of an answer"):
        shape.of(Trapped(), "x")


@dataclass
class WithCode:
    work: Any
    callback: pydantic.BaseModel


def test_a_type_that_a_library_cannot_describe_is_refused_in_its_words() -> None:
    with pytest.raises(CellError, match="x cannot be told to a model: ") as error:
        shape.of(WithCode, "x")
    assert error.value.hint == TYPES


def test_a_schema_nested_too_deeply_is_refused() -> None:
    deep: Json = {"type": "string"}
    for _ in range(5000):
        deep = {"properties": {"a": deep}}
    with pytest.raises(CellError, match="the schema is nested too deeply"):
        shape.of(deep)


# --- answers ---------------------------------------------------------------------------------

READ: list[tuple[Any, str, Any]] = [
    (Row, '{"name": "a", "n": null, "tags": null}', Row("a")),
    (Row, '{"name": "a", "n": 5, "tags": ["x"]}', Row("a", 5, ["x"])),
    (Row, '```json\n{"name": "a", "n": 5, "tags": []}\n```', Row("a", 5)),
    (Row, '{"name": "\\ud83d\\ude00\\ud800", "n": 1, "tags": []}', Row("\U0001f600\ufffd", 1)),
    (Point, '{"x": 1, "at": [2, "b"], "row": {"name": "r", "n": null, "tags": null}}',
     Point(1.0, (2, "b"), Row("r"))),
    (Node, '{"value": 1, "kids": [{"value": 2, "color": "blue"}], "color": null, "code": "xyz"}',
     Node(value=1, kids=[Node(value=2, color=Color.BLUE)], code="xyz")),
    (Node, '{"value": 1, "kids": null, "when": "2026-01-02"}',
     Node(value=1, when=dt.date(2026, 1, 2))),
    (Loose, '{"a": 1, "b": null}', {"a": 1}),
    (list[Row], '{"value": [{"name": "a", "n": 1, "tags": []}]}', [Row("a", 1)]),
    (Cat | Dog, '{"value": {"kind": "dog", "name": "rex"}}', Dog(kind="dog", name="rex")),
    (list[Pet], '{"value": [{"kind": "cat", "lives": 9}]}', [Cat(kind="cat", lives=9)]),
    (int | None, '{"value": null}', None),
    (Color, '{"value": "blue"}', Color.BLUE),
    ({"properties": {"a": {"type": "integer"}}}, '{"a": null}', {}),
    ({"properties": {"a": {"type": ["integer", "null"]}}}, '{"a": null}', {"a": None}),
    ({"type": "array", "items": {"properties": {"a": {"type": "string"}}}},
     '{"value": [{"a": null}, {"a": "b"}]}', [{}, {"a": "b"}]),
]  # fmt: skip


@pytest.mark.parametrize(("said", "answer", "value"), READ, ids=numbers(READ))
def test_an_answer_becomes_a_value(said: Any, answer: str, value: Any) -> None:
    found = shape.of(said).read(answer)
    assert (found, type(found)) == (value, type(value))


LIMITED: Json = {
    "properties": {
        "n": {"type": "integer", "minimum": 1, "exclusiveMaximum": 9, "multipleOf": 2},
        "s": {"type": "string", "minLength": 2, "maxLength": 3, "pattern": "^a"},
        "l": {"type": "array", "items": {"type": "number"}, "maxItems": 2, "uniqueItems": True},
        "e": {"enum": ["x", 1, True]},
        "u": {"anyOf": [{"type": "null"}, {"properties": {"v": {"type": "boolean"}}}]},
    },
    "additionalProperties": False,
}
MISFIT: list[tuple[Any, str, str]] = [
    (Row, "", "the answer is empty; expected JSON"),
    (Row, "Sure!", "the answer is no JSON: Expecting value: line 1 column 1 (char 0)"),
    (Row, '{"name": "a"', "the answer is no JSON: Expecting ',' delimiter: line 1 column 13 (char 12)"),
    (Row, '{"name": NaN}', "the answer says NaN, which is no number in JSON"),
    (Row, '{"n": 1e999}', "the answer says 1e999, which is too large a number"),
    (Row, "[" * 100_000, "the answer is nested too deeply"),
    (Row, '{"n": 1}', "Object missing required field `name`"),
    (Row, '{"name": "a", "n": "b"}', "Expected `int`, got `str` - at `$.n`"),
    (Row, "[]", "Expected `object`, got `array`"),
    (Node, '{"value": 0, "code": "abcd"}',
     "$.value: Input should be greater than 0; $.code: String should have at most 3 characters"),
    (Node, '{"value": 1, "kids": [{"value": "x"}]}',
     "$.kids[0].value: Input should be a valid integer, unable to parse string as an integer"),
    (list[Row], "[]", '$: expected an object with the one property "value"'),
    (list[Row], '{"value": [], "more": 1}', '$: expected an object with the one property "value"'),
    (LIMITED, "[]", "$: expected object, got array"),
    (LIMITED, '{"n": 0}', "$.n: expected a number of at least 1, got 0"),
    (LIMITED, '{"n": 9}', "$.n: expected a number below 9, got 9"),
    (LIMITED, '{"n": 3}', "$.n: expected a number that is a multiple of 2, got 3"),
    (LIMITED, '{"n": true}', "$.n: expected integer, got boolean"),
    (LIMITED, '{"n": 2.5}', "$.n: expected integer, got number"),
    (LIMITED, '{"s": "a"}', "$.s: expected at least 2 characters, got 1"),
    (LIMITED, '{"s": "abcd"}', "$.s: expected at most 3 characters, got 4"),
    (LIMITED, '{"s": "ba"}', "$.s: expected text that matches ^a"),
    (LIMITED, '{"l": [1, 2, 3]}', "$.l: expected at most 2 items, got 3"),
    (LIMITED, '{"l": [1, 1.0]}', "$.l: two items are the same"),
    (LIMITED, '{"l": [1, "x"]}', "$.l[1]: expected number, got string"),
    (LIMITED, '{"e": 2}', '$.e: expected one of "x", 1, true'),
    (LIMITED, '{"u": {"v": 1}}', "$.u.v: expected boolean, got integer"),
    (LIMITED, '{"z": 1}', '$: "z" does not belong there'),
    ({"properties": {"a": {"const": 1}}, "required": ["a"]}, '{"a": true}', "$.a: expected 1"),
    ({"properties": {"a": {"type": "string"}}, "required": ["a"]}, "{}", '$: "a" is missing'),
    ({"type": "array", "items": [{"type": "string"}, {"type": "integer"}]},
     '{"value": [1, "a"]}', "$[0]: expected string, got integer"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "answer", "told"), MISFIT, ids=numbers(MISFIT))
def test_a_misfit_is_a_sentence_that_a_model_can_act_on(said: Any, answer: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}$"):
        shape.of(said).read(answer)


# --- where it comes from ---------------------------------------------------------------------


def test_a_file_goes_before_a_variable(tmp_path: Path) -> None:
    (tmp_path / "Row").write_text('{"properties": {"a": {"type": "string"}}, "required": ["a"]}')
    assert shape.find("Row", tmp_path, {"Row": Row}).read('{"a": "b"}') == {"a": "b"}
    (tmp_path / "Row").unlink()
    (tmp_path / "Row").mkdir()
    assert shape.find("Row", tmp_path, {"Row": Row}).read('{"name": "a"}') == Row("a")


FILES = {
    "not json": "s.json is no JSON: Expecting value: line 1 column 1 (char 0)",
    "[1]": "s.json: the schema is no JSON Schema: it is [1]",
    "[" * 100_000: "s.json is no JSON: ",
    " " * (1024 * 1024 + 1): "s.json is larger than 1 MB, which no schema for a model is",
}


@pytest.mark.parametrize("text", FILES, ids=lambda text: text[:10])
def test_a_file_that_is_no_schema_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "s.json").write_text(text)
    with pytest.raises(CellError) as error:
        shape.find("s.json", tmp_path, {})
    assert str(error.value).startswith(FILES[text])


@pytest.mark.parametrize("word", ["nothing", "a\x00b", "x" * 5000, ".."])
def test_a_schema_that_is_not_there_is_named(word: str, tmp_path: Path) -> None:
    with pytest.raises(CellError, match="there is no schema") as error:
        shape.find(word, tmp_path, {})
    assert (
        error.value.hint
        == f"Name a file with a JSON Schema, or a variable that holds {shape.TYPES}, "
        "or list[…] of one"
    )


def test_a_list_is_read_from_its_brackets(tmp_path: Path) -> None:
    rows = shape.find("list[Row]", tmp_path, {"Row": Row})
    assert (rows.name, rows.read('{"value": [{"name": "a"}]}')) == ("list[Row]", [Row("a")])
    assert shape.find("list[int]", tmp_path, {}).read('{"value": [1]}') == [1]


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("list[Gone]", "there is no schema 'list[Gone]'"),
        ("list[rows]", "rows is no type, so there is no list[rows]"),
        ("list[dict]", "there is no schema"),
        ("list[Row.x]", "there is no schema"),
        ("list[run()]", "there is no schema"),
        ("dict[str, Row]", "there is no schema"),
    ],
)
def test_nothing_else_in_brackets_is_read(word: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(CellError) as error:
        shape.find(word, tmp_path, {"rows": [1], "Row": Row, "run": Trapped})
    assert str(error.value).startswith(told)


# --- laws ------------------------------------------------------------------------------------

SCALARS: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (int, st.integers(-(2**53), 2**53)),
    (str, st.text()),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (Color, st.sampled_from(Color)),
    (Literal["a", "b"], st.sampled_from(["a", "b"])),
    (dt.date, st.dates()),
    (Row, st.builds(Row, st.text(), st.integers(-9, 9), st.lists(st.text(), max_size=2))),
]


@st.composite
def typed(draw: st.DrawFn) -> tuple[Any, st.SearchStrategy[Any]]:
    kind, values = draw(st.sampled_from(SCALARS))
    match draw(st.sampled_from(["itself", "list", "optional", "pair"])):
        case "list":
            return list[kind], st.lists(values, max_size=3)
        case "optional":
            return Union[kind, None], st.none() | values  # noqa: UP007 - a Literal takes no bar
        case "pair":
            return tuple[kind, int], st.tuples(values, st.integers(-9, 9))
    return kind, values


@st.composite
def values_with_a_dataclass(draw: st.DrawFn) -> Any:
    kinds = draw(st.lists(typed(), max_size=4))
    rows = [(f"f{i}", kind, field(default=None)) for i, (kind, _) in enumerate(kinds)]
    first = draw(st.integers(0, len(rows)))
    made = [(n, k) if i < first else (n, Union[k, None], d) for i, (n, k, d) in enumerate(rows)]  # noqa: UP007
    cls = make_dataclass("Made", made)
    return cls(*[draw(values) for _, values in kinds])


def is_narrow(schema: Any) -> bool:
    if isinstance(schema, list):
        return all(map(is_narrow, schema))
    if not isinstance(schema, dict):
        return True
    objects = schema.get("type") == "object" and (
        schema["additionalProperties"] is not False
        or schema["required"] != list(schema["properties"])
    )
    inner = [schema.get("items"), schema.get("anyOf"), *(schema.get("properties") or {}).values()]
    return not objects and is_narrow([*inner, *(schema.get("$defs") or {}).values()])


@given(values_with_a_dataclass())
def test_what_a_dataclass_holds_comes_back(value: Any) -> None:
    cls = type(value)
    made: Shape = shape.of(cls)
    answer = msgspec.to_builtins(value)
    assert made.read(json.dumps(answer)) == value
    assert is_narrow(made.schema)
    assert fitting.problem(json.loads(json.dumps(answer)), made.schema, made.schema) == ""
    left_out = {f.name: None for f in fields(cls) if getattr(value, f.name) is None}
    assert made.read(json.dumps({**answer, **left_out})) == value


scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=3)
json_values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
words = st.sampled_from(
    ["type", "properties", "items", "required", "anyOf", "enum", "$ref", "$defs", "allOf", "not"]
)
schemas = st.recursive(
    scalars | st.sampled_from(["object", "array", "string", "#", "#/$defs/a"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(words | st.just("a"), inner, max_size=4)
    ),
    max_leaves=12,
)


@example({"enum": [{}]}, None)
@example({"const": [1]}, None)
@given(st.dictionaries(words, schemas, max_size=5), json_values)
def test_any_schema_is_narrowed_or_refused_and_any_answer_read_or_told(
    said: Json, answer: Any
) -> None:
    try:
        made = shape.of(said)
    except CellError:
        return
    assert is_narrow(made.schema)
    with contextlib.suppress(ValueError):
        made.read(json.dumps(answer))


def of_schema(said: Json) -> st.SearchStrategy[Any]:
    """Values that fit a narrow schema of the simple kinds below."""
    match said:
        case {"type": "object"}:
            return st.fixed_dictionaries({k: of_schema(v) for k, v in said["properties"].items()})
        case {"type": "array"}:
            return st.lists(of_schema(said["items"]), max_size=2)
        case {"anyOf": several}:
            return st.one_of(*map(of_schema, several))
        case {"type": ["string", "null"]}:
            return st.none() | st.text(max_size=3)
        case {"type": "null"}:
            return st.none()
    return st.text(max_size=3)


simple = st.recursive(
    st.just({"type": "string"}),
    lambda inner: (
        st.builds(
            lambda parts, required: {
                "type": "object",
                "properties": parts,
                "required": [key for key in required if key in parts],
            },
            st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
            st.lists(st.sampled_from("abc"), unique=True),
        )
        | st.builds(lambda items: {"type": "array", "items": items}, inner)
    ),
    max_leaves=5,
)


@given(simple, st.data())
def test_what_fits_the_narrow_form_fits_what_was_said(said: Json, data: st.DataObject) -> None:
    narrow, wraps = strict(plain(said))
    answer = data.draw(of_schema(narrow))
    value = Shape("x", said).read(json.dumps(answer))
    assert fitting.problem(value, said, said) == ""
    assert wraps is (said["type"] != "object")
