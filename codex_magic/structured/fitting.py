"""Whether a JSON value fits a schema, and in what sentence it does not.

Pure. It knows what `plain` leaves in a schema and no more. The sentence is for a model, which
is asked to answer once more: it says where, what was expected, and what was found.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any, Final

from codex_magic.structured.plain import Json, resolve

if TYPE_CHECKING:
    from collections.abc import Iterator


def problem(value: Any, schema: Json, root: Json, at: str = "$") -> str:
    """Return the first thing that does not fit; empty where all of it does."""
    return next(_problems(value, resolve(schema, root), root, at), "")


def without_nulls(value: Any, schema: Json, root: Json) -> Any:
    """Return `value` without the nulls that stand for what was left out.

    Models cannot leave out a property; one that is not required, and may not be null by itself, was
    left out where it is null.
    """
    schema = resolve(schema, root)
    if "anyOf" in schema:
        for each in schema["anyOf"]:
            tried = without_nulls(value, each, root)
            if not problem(tried, each, root):
                return tried
        return value
    if isinstance(value, dict):
        parts = schema.get("properties") or {}
        required = schema.get("required") or ()
        return {
            key: without_nulls(each, parts[key], root) if key in parts else each
            for key, each in value.items()
            if not (
                each is None
                and key in parts
                and key not in required
                and problem(None, parts[key], root)
            )
        }
    if isinstance(value, list):
        return [
            without_nulls(each, of, root)
            for each, of in zip(value, _rows(schema, len(value)), strict=True)
        ]
    return value


def _rows(schema: Json, count: int) -> list[Json]:
    """Return the schema of each of `count` items."""
    row = list(schema.get("prefixItems") or ())[:count]
    items = schema.get("items")
    return row + [items if isinstance(items, dict) else {}] * (count - len(row))


def _problems(value: Any, schema: Json, root: Json, at: str) -> Iterator[str]:
    kinds = schema.get("type")
    if kinds is not None and not any(_is(value, each) for each in _listed(kinds)):
        yield f"{at}: expected {' or '.join(_listed(kinds))}, got {_kind(value)}"
        return
    if "enum" in schema and not any(_same(value, each) for each in schema["enum"]):
        allowed = ", ".join(json.dumps(each, ensure_ascii=False) for each in schema["enum"])
        yield f"{at}: expected one of {allowed}"
    if "const" in schema and not _same(value, schema["const"]):
        yield f"{at}: expected {json.dumps(schema['const'], ensure_ascii=False)}"
    if "anyOf" in schema:
        yield from _of_several(value, schema["anyOf"], root, at)
    if isinstance(value, dict):
        yield from _object(value, schema, root, at)
    elif isinstance(value, list):
        yield from _array(value, schema, root, at)
    elif isinstance(value, str):
        yield from _string(value, schema, at)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield from _number(value, schema, at)


def _of_several(value: Any, several: list[Json], root: Json, at: str) -> Iterator[str]:
    found = [problem(value, each, root, at) for each in several]
    if all(found):
        # The one that got furthest was meant.
        yield max(found, key=lambda said: len(said.partition(":")[0]))


def _object(value: dict[str, Any], schema: Json, root: Json, at: str) -> Iterator[str]:
    parts = schema.get("properties") or {}
    for key in schema.get("required") or ():
        if key not in value:
            yield f"{at}: {json.dumps(key)} is missing"
    if schema.get("additionalProperties") is False:
        for key in value:
            if key not in parts:
                yield f"{at}: {json.dumps(key)} does not belong there"
    for key, each in value.items():
        if key in parts and (said := problem(each, parts[key], root, f"{at}.{key}")):
            yield said


def _array(value: list[Any], schema: Json, root: Json, at: str) -> Iterator[str]:
    yield from _length(len(value), schema, "Items", f"{at}: expected", "items")
    if schema.get("uniqueItems") and any(
        _same(one, other) for i, one in enumerate(value) for other in value[:i]
    ):
        yield f"{at}: two items are the same"
    for i, (each, of) in enumerate(zip(value, _rows(schema, len(value)), strict=True)):
        if said := problem(each, of, root, f"{at}[{i}]"):
            yield said


def _string(value: str, schema: Json, at: str) -> Iterator[str]:
    yield from _length(len(value), schema, "Length", f"{at}: expected", "characters")
    if "pattern" in schema and re.search(schema["pattern"], value) is None:
        yield f"{at}: expected text that matches {schema['pattern']}"


def _length(count: int, schema: Json, what: str, begin: str, unit: str) -> Iterator[str]:
    least, most = schema.get(f"min{what}"), schema.get(f"max{what}")
    if least is not None and count < least:
        yield f"{begin} at least {least} {unit}, got {count}"
    if most is not None and count > most:
        yield f"{begin} at most {most} {unit}, got {count}"


def _number(value: float, schema: Json, at: str) -> Iterator[str]:
    for word, said, is_fine in _BOUNDS:
        if word in schema and not is_fine(value, schema[word]):
            yield f"{at}: expected a number {said} {schema[word]}, got {value}"


def _is_multiple(value: float, of: float) -> bool:
    share = value / of
    return math.isclose(share, round(share), rel_tol=0, abs_tol=1e-9 * max(1.0, abs(share)))


_BOUNDS: Final = (
    ("minimum", "of at least", lambda value, least: value >= least),
    ("maximum", "of at most", lambda value, most: value <= most),
    ("exclusiveMinimum", "above", lambda value, least: value > least),
    ("exclusiveMaximum", "below", lambda value, most: value < most),
    ("multipleOf", "that is a multiple of", _is_multiple),
)


def _listed(kinds: Any) -> list[str]:
    return [kinds] if isinstance(kinds, str) else list(kinds)


def _is(value: Any, kind: str) -> bool:
    if kind == "number":
        return isinstance(value, int | float) and not isinstance(value, bool)
    if kind == "integer":  # 2.0 is one, as JSON Schema has it
        whole = isinstance(value, float) and value.is_integer()
        return whole or (isinstance(value, int) and not isinstance(value, bool))
    return _kind(value) == kind


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case _:
            return "object"


def _same(one: Any, other: Any) -> bool:
    """Whether two JSON values are equal; in Python, True would equal 1."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    return bool(one == other)
