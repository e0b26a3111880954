"""JSON Schemas, read: checked, and with the words of older versions replaced by today's.

Pure. What is left is what `strict` narrows and `fitting` holds answers against; what neither knows
is refused here, by the name of its field.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from codex_magic.errors import CellError

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

_REFUSED: Final = {
    "patternProperties": "keys by a pattern",
    "propertyNames": "keys of any name",
    "unevaluatedProperties": "keys of any name",
    "if": "conditions",
    "not": "what must not be",
    "contains": "what must be among others",
    "dependentSchemas": "conditions",
    "dependentRequired": "conditions",
    "$dynamicRef": "references of that kind",
}


def plain(schema: Any) -> Json:
    """Return a schema in the words that the rest of this package knows: an older one's are replaced.

    Raises
    ------
    CellError
        It is none, or says what cannot be said narrowly.
    """
    try:
        known = _plain(schema, "")
    except RecursionError:
        raise CellError("the schema is nested too deeply") from None
    named = known.get("$defs") or {}
    if (lost := _lost(known, named)) is not None:
        raise CellError(f"the schema refers to {lost}, which it does not define")
    return known


def resolve(schema: Json, root: Json) -> Json:
    """Return the schema that the reference in a plain one leads to, within `root`.

    Raises
    ------
    CellError
        It leads to itself.
    """
    seen: set[str] = set()
    while isinstance(ref := schema.get("$ref"), str):
        if ref in seen:
            raise CellError(f"the schema refers to {ref}, which refers to itself")
        seen.add(ref)
        rest = {key: value for key, value in schema.items() if key not in ("$ref", "$defs")}
        named = root.get("$defs") or {}
        schema = {**(root if ref == "#" else named[ref.removeprefix("#/$defs/")]), **rest}
    return schema


def _plain(schema: Any, field: str) -> Json:
    if schema is True:
        return {}
    if not isinstance(schema, dict):
        raise CellError(f"{spoken(field)} is no JSON Schema: it is {_brief(schema)}")
    said = _alone(schema, field)
    _check(said, field)
    if "oneOf" in said:
        said["anyOf"] = [*said.get("anyOf", ()), *said.pop("oneOf")]
    if "definitions" in said:
        said["$defs"] = {**said.pop("definitions"), **said.get("$defs", {})}
    if isinstance(said.get("items"), list):  # a fixed row, in an older version
        said["prefixItems"] = said.pop("items")
    if "properties" in said:
        said.setdefault("type", "object")
    return said | _inside(said, field)


def _alone(schema: Json, field: str) -> Json:
    """Return a schema without an ``allOf``, of which older pydantics make one around a reference."""
    said = dict(schema)
    for word, what in _REFUSED.items():
        if said.get(word) not in (None, {}, []):
            raise CellError(f"{spoken(field)} says {word}, and models cannot be held to {what}")
    parts = said.pop("allOf", [{}])
    if not isinstance(parts, list) or len(parts) != 1 or not isinstance(parts[0], dict):
        raise CellError(f"{spoken(field)} says allOf, and models cannot be held to several at once")
    return {**parts[0], **said}


def _inside(said: Json, field: str) -> Json:
    found: Json = {}
    for word in ("properties", "$defs"):
        if word in said:
            found[word] = {
                key: _plain(each, key if word == "$defs" else below(field, key))
                for key, each in said[word].items()
            }
    for word in ("anyOf", "prefixItems"):
        if word in said:
            found[word] = [_plain(each, field) for each in said[word]]
    if isinstance(said.get("items"), dict):
        found["items"] = _plain(said["items"], f"{field}[]")
    if "$ref" in said:
        ref = said["$ref"]
        if not isinstance(ref, str) or not (ref == "#" or ref.startswith(("#/$defs/", _OLD))):
            raise CellError(f"{spoken(field)} refers to {ref!r}, which is outside the schema")
        found["$ref"] = ref.replace(_OLD, "#/$defs/", 1)
    return found


_OLD: Final = "#/definitions/"


def _check(said: Json, field: str) -> None:
    """Refuse words that do not say what they must."""
    for word, (is_fine, what) in _MUST.items():
        if word in said and not is_fine(said[word]):
            raise CellError(f"{spoken(field)} is no JSON Schema: {word} must be {what}")


def _is_list(value: Any) -> bool:
    return isinstance(value, list) and bool(value)


def _is_table(value: Any) -> bool:
    return isinstance(value, dict)


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_pattern(value: Any) -> bool:
    try:
        re.compile(value)
    except (re.error, TypeError, RecursionError, OverflowError):
        return False
    return isinstance(value, str)


def _is_type(value: Any) -> bool:
    kinds = value if _is_list(value) else [value]
    return all(isinstance(kind, str) and kind in _TYPES for kind in kinds)


_TYPES: Final = ("object", "array", "string", "number", "integer", "boolean", "null")
_LIST: Final = (_is_list, "a list")
_TABLE: Final = (_is_table, "an object")
_NUMBER: Final = (_is_number, "a number")
_COUNT: Final = (_is_count, "a whole number")

_MUST: Final[dict[str, tuple[Callable[[Any], bool], str]]] = {
    "type": (_is_type, f"one of {', '.join(_TYPES)}, or a list of them"),
    "properties": _TABLE,
    "$defs": _TABLE,
    "definitions": _TABLE,
    "required": (_are_names, "a list of names"),
    "anyOf": _LIST,
    "oneOf": _LIST,
    "prefixItems": _LIST,
    "enum": _LIST,
    "pattern": (_is_pattern, "a regular expression that Python reads"),
    "format": (lambda value: isinstance(value, str), "a word"),
    "description": (lambda value: isinstance(value, str), "text"),
    "minimum": _NUMBER,
    "maximum": _NUMBER,
    "exclusiveMinimum": _NUMBER,
    "exclusiveMaximum": _NUMBER,
    "multipleOf": (lambda value: _is_number(value) and value > 0, "a number above 0"),
    "minItems": _COUNT,
    "maxItems": _COUNT,
    "minLength": _COUNT,
    "maxLength": _COUNT,
}


def _lost(schema: Any, named: Json) -> str | None:
    """Return a reference that leads nowhere."""
    if isinstance(schema, list):
        return next((lost for each in schema if (lost := _lost(each, named))), None)
    if not isinstance(schema, dict):
        return None
    ref = schema.get("$ref")
    if isinstance(ref, str) and ref != "#" and ref.removeprefix("#/$defs/") not in named:
        return ref
    inner = (schema.get(word) for word in ("properties", "$defs"))
    tables = [part for table in inner if isinstance(table, dict) for part in table.values()]
    lists = [schema.get(word) for word in ("anyOf", "prefixItems", "items")]
    return _lost([*tables, *lists], named)


def below(field: str, key: str) -> str:
    """Return the name of a field within another."""
    return f"{field}.{key}" if field else key


def spoken(field: str) -> str:
    """Return how a sentence calls a field; without a name it is the whole schema."""
    return f"the field {field}" if field else "the schema"


def _brief(value: Any) -> str:
    return json.dumps(value, default=repr)[:60]
