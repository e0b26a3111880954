"""The shape that an answer must have, and the value that an answer is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from codex_magic.api.failures import OptionError


@dataclass(frozen=True, slots=True)
class Shape:
    """What an answer must be: the JSON Schema that a model is held to."""

    schema: Mapping[str, Any]

    def read(self, text: str) -> Any:
        """Return the value that an answer says.

        Raises
        ------
        ValueError
            It is no JSON.
        """
        return json.loads(text)


def of(schema: Any) -> Shape:
    """Return the shape that `schema` describes.

    Raises
    ------
    OptionError
        It is no schema.
    """
    if not isinstance(schema, Mapping):
        raise OptionError(f"schema is {schema!r}: it must be a JSON Schema, as a mapping")
    return Shape(schema)
