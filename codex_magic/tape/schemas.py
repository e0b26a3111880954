"""What a schema must be where a host promises to keep to it.

Pure. Every object names all its properties as required and allows no others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

Path = tuple[str, ...]


def loose(schema: object) -> str | None:
    """Return what keeps a host from promising `schema`, in its words; None if nothing does."""
    if not isinstance(schema, dict) or schema.get("type") != "object":
        return "schema must be a JSON Schema of 'type: \"object\"', got another."
    return next(_faults(schema, ()), None)


def _faults(schema: dict[str, Any], at: Path) -> Iterator[str]:
    properties = schema.get("properties") or {}
    if schema.get("type") == "object" or properties:
        if schema.get("additionalProperties") is not False:
            yield f"In context={at}, 'additionalProperties' is required to be supplied and to be false."
        for name in properties:
            if name not in (schema.get("required") or ()):
                yield (
                    f"In context={at}, 'required' is required to be supplied and to be an array "
                    f"including every key in properties. Missing '{name}'."
                )
    for path, inner in _inner(schema):
        yield from _faults(inner, at + path)


def _inner(schema: dict[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    for group in ("properties", "$defs", "definitions"):
        for name, inner in (schema.get(group) or {}).items():
            yield (group, name), inner
    for number, inner in enumerate(schema.get("anyOf") or ()):
        yield ("anyOf", str(number)), inner
    if isinstance(schema.get("items"), dict):
        yield ("items",), schema["items"]
