"""JSON Schemas in the narrow form that models can be held to.

Pure. A host guarantees that an answer fits only where every object names all its properties,
requires each of them, and allows no other. So what may be left out becomes what may be null.
Demands that hosts do not know are told in the description instead, for the model to heed and for
`fitting` to check. What no narrow form says, such as an object with keys of any name, is refused by
the name of its field.
"""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING, Any, Final

from codex_magic.errors import CellError
from codex_magic.structured.plain import Json, below, resolve, spoken

if TYPE_CHECKING:
    from collections.abc import Iterator

VALUE: Final = "value"
"""The property that holds an answer which is no object itself."""

_FORMATS: Final = frozenset(
    ("date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid")
)
_KEPT: Final = (
    *("description", "enum", "const", "$ref"),
    *("multipleOf", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"),
    *("minItems", "maxItems"),
)
_TOLD: Final = ("minLength", "maxLength", "uniqueItems", "contentEncoding")
_MEANING: Final = frozenset(
    ("type", "properties", "items", "prefixItems", "anyOf", "enum", "const", "$ref")
)


def strict(schema: Json) -> tuple[Json, bool]:
    """Return a `plain` schema in the narrow form, and whether its answer is wrapped in an object.

    Raises
    ------
    CellError
        It has none, with the field that is to blame.
    """
    named = schema.get("$defs") or {}
    root = resolve(schema, schema)
    wraps = root.get("type") != "object"
    body = {key: value for key, value in root.items() if key != "$defs"}
    narrowed = _narrow(body, "")
    if wraps:
        narrowed = _object({VALUE: narrowed})
    defs = {name: _narrow(each, name) for name, each in named.items()}
    if _mentions(body, "#") or any(_mentions(each, "#") for each in named.values()):
        # The root has a name then: it may stand inside another object now.
        name = next(name for name in _names() if name not in defs)
        defs |= {name: _narrow(body, "")}
        to = {"$ref": f"#/$defs/{name}"}
        narrowed, defs = _redirected(narrowed, to), _redirected(defs, to)
    used = _used(narrowed, defs)
    kept = {name: each for name, each in defs.items() if name in used}
    return narrowed | ({"$defs": kept} if kept else {}), wraps


# --- narrow ----------------------------------------------------------------------------------


def _narrow(schema: Json, field: str) -> Json:  # noqa: C901 - one flat table
    told = [f"{word}: {json.dumps(schema[word])}" for word in _TOLD if word in schema]
    found: Json = {word: schema[word] for word in _KEPT if word in schema}
    for word, is_known in (("format", _FORMATS.__contains__), ("pattern", _is_simple)):
        if word in schema and is_known(schema[word]):
            found[word] = schema[word]
        elif word in schema:
            told.append(f"{word}: {schema[word]}")
    if not _MEANING & schema.keys():
        raise CellError(
            f"{spoken(field)} may be anything, and models cannot be held to that",
            hint="Say which type it has",
        )
    if "anyOf" in schema:
        found["anyOf"] = [_narrow(each, field) for each in schema["anyOf"]]
    kinds = schema.get("type")
    if kinds is not None:
        found["type"] = kinds
    elif "enum" in schema or "const" in schema:
        found["type"] = _types(schema.get("enum", [schema.get("const")]))
        if {"object", "array"} & set(_listed(found["type"])):
            raise CellError(
                f"{spoken(field)} is one of certain objects, and models cannot be held to that",
                hint="Describe the objects by their properties",
            )
    if kinds == "object" or (isinstance(kinds, list) and "object" in kinds):
        found |= _properties(schema, field) | {"type": kinds}
    if kinds == "array" or (isinstance(kinds, list) and "array" in kinds):
        found |= _items(schema, field)
    if told:
        found["description"] = "; ".join(filter(None, (schema.get("description"), *told)))
    if "$ref" in found and len(found) > 1:
        # Beside a reference nothing may stand.
        found["anyOf"] = [{"$ref": found.pop("$ref")}]
    return found


def _listed(kinds: Any) -> list[str]:
    return kinds if isinstance(kinds, list) else [kinds]


def _properties(schema: Json, field: str) -> Json:
    if "properties" not in schema:
        raise CellError(
            f"{spoken(field)} may have keys of any name, and models cannot be held to that",
            hint="Use a list of pairs, each an object with a key and a value",
        )
    required = schema.get("required", [])
    parts = {}
    for key, each in schema["properties"].items():
        narrowed = _narrow(each, below(field, key))
        parts[key] = narrowed if key in required else _or_null(narrowed)
    return _object(parts)


def _object(parts: Json) -> Json:
    return {
        "type": "object",
        "properties": parts,
        "required": list(parts),
        "additionalProperties": False,
    }


def _or_null(schema: Json) -> Json:
    null = {"type": "null"}
    if schema.get("type") in ("null", None) and "anyOf" in schema:
        return schema if null in schema["anyOf"] else {**schema, "anyOf": [*schema["anyOf"], null]}
    kinds = schema.get("type")
    if kinds == "null" or (isinstance(kinds, list) and "null" in kinds):
        return schema
    is_scalar = isinstance(kinds, str) and kinds not in ("object", "array")
    if is_scalar and "enum" not in schema and "const" not in schema:
        return {**schema, "type": [kinds, "null"]}
    return {"anyOf": [schema, null]}


def _items(schema: Json, field: str) -> Json:
    row = schema.get("prefixItems")
    if row is None:
        if not isinstance(schema.get("items"), dict):
            raise CellError(
                f"{spoken(field)} is a list of anything, and models cannot be held to that",
                hint="Say what is in it",
            )
        return {"items": _narrow(schema["items"], f"{field}[]")}
    # A fixed row is not among what hosts know: told is how long it is, and what occurs in it.
    kinds: list[Json] = []
    for each in row:
        if (narrowed := _narrow(each, f"{field}[]")) not in kinds:
            kinds.append(narrowed)
    item = kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
    return {"items": item, "minItems": len(row), "maxItems": len(row)}


def _types(values: list[Any]) -> str | list[str]:
    kinds = list(dict.fromkeys(_kind(value) for value in values))
    return kinds[0] if len(kinds) == 1 else kinds


def _kind(value: Any) -> str:
    return _NAMES.get(type(value), "string")


_NAMES: Final = {
    bool: "boolean",
    int: "integer",
    float: "number",
    str: "string",
    type(None): "null",
    list: "array",
    dict: "object",
}


def _is_simple(pattern: str) -> bool:
    return "(?" not in pattern


def _mentions(schema: Any, ref: str) -> bool:
    if isinstance(schema, list):
        return any(_mentions(each, ref) for each in schema)
    if not isinstance(schema, dict):
        return False
    return schema.get("$ref") == ref or any(_mentions(each, ref) for each in schema.values())


def _used(schema: Json, defs: Json) -> set[str]:
    """Return the names of the definitions that `schema` refers to, by way of others too."""
    found: set[str] = set()
    waiting: list[Any] = [schema]
    while waiting:
        part = waiting.pop()
        if isinstance(part, list):
            waiting.extend(part)
        elif isinstance(part, dict):
            waiting.extend(part.values())
            name = str(part.get("$ref", "")).removeprefix("#/$defs/")
            if name in defs and name not in found:
                found.add(name)
                waiting.append(defs[name])
    return found


def _names() -> Iterator[str]:
    return ("Root" + "_" * count for count in itertools.count())


def _redirected(schema: Any, to: Json) -> Any:
    """Return `schema` with each reference to the root replaced."""
    if isinstance(schema, list):
        return [_redirected(each, to) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("$ref") == "#":
        return to
    return {key: _redirected(each, to) for key, each in schema.items()}
