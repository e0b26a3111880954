"""The shape of an answer: from what a person names, to a schema for a model, to a typed value.

A shape is a JSON Schema, or a type: of pydantic, of msgspec, a dataclass, a TypedDict, or what is
written with these in brackets, such as ``list[Row]``. The libraries are imported only for types of
theirs.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import math
import re
import sys
import types
import typing
from typing import TYPE_CHECKING, Any, Final, NoReturn

from codex_magic.errors import CellError, with_article
from codex_magic.items import well_formed
from codex_magic.structured import fitting
from codex_magic.structured.plain import plain
from codex_magic.structured.strict import VALUE, strict

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FILE_BYTES: Final = 1024 * 1024
_NAMED: Final = 5
"""Problems that are named at once."""

TYPES: Final = "a JSON Schema, a pydantic model, a msgspec Struct, a dataclass or a TypedDict"


class Shape:
    """What an answer must be.

    Parameters
    ----------
    name
        What the person calls it.
    said
        Its JSON Schema.
    convert
        Makes the typed result of JSON text that fits; raises `ValueError` where it does not.

    Attributes
    ----------
    schema
        The same in the form that a model is held to.
    """

    def __init__(self, name: str, said: Any, convert: Callable[[str], Any] | None = None) -> None:
        self.name = name
        try:
            self._said = plain(said)
            self.schema, self._is_wrapped = strict(self._said)
        except CellError as error:
            raise CellError(f"{name}: {error.message}", hint=error.hint) from None
        self._convert = convert

    def __repr__(self) -> str:
        return f"Shape({self.name!r})"

    def read(self, text: str) -> Any:
        """Return the value that an answer says.

        Raises
        ------
        ValueError
            It does not fit; the text is a sentence for the model.
        """
        value = _json(text)
        if self._is_wrapped:
            if not isinstance(value, dict) or value.keys() != {VALUE}:
                raise ValueError(f'$: expected an object with the one property "{VALUE}"')
            value = value[VALUE]
        try:
            value = fitting.without_nulls(value, self._said, self._said)
            if self._convert is not None:
                return self._convert(json.dumps(value))
            said = fitting.problem(value, self._said, self._said)
        except RecursionError:
            raise ValueError("the answer is nested too deeply") from None
        if said:
            raise ValueError(said)
        return value


def find(word: str, base: Path, variables: Mapping[str, Any]) -> Shape:
    """Return the shape that `word` names: a file below `base`, a variable, or ``list[…]`` of one.

    That form is read, not evaluated, and it is the only one.

    Raises
    ------
    CellError
        There is none, or models cannot be held to it.
    """
    try:
        path = base / word
        if path.is_file():
            return from_file(path, word)
    except (OSError, ValueError):  # a name too long, or with a null in it
        pass
    if word in variables:
        return of(variables[word], word)
    if (found := _LIST.fullmatch(word)) and (name := found[1]) in (known := _PLAIN | {**variables}):
        if _is_type(known[name]):
            return of(types.GenericAlias(list, (known[name],)), word)
        raise CellError(f"{name} is no type, so there is no {word}", hint=f"Name {TYPES}")
    raise CellError(
        f"there is no schema {word!r}: no file of this name in {base}, and no variable",
        hint=f"Name a file with a JSON Schema, or a variable that holds {TYPES}, or list[…] of one",
    )


_LIST: Final = re.compile(r"list\[\s*([^\W\d]\w*)\s*\]")
_PLAIN: Final[dict[str, Any]] = {each.__name__: each for each in (str, int, float, bool)}


def from_file(path: Path, name: str) -> Shape:
    """Return the shape that a file describes; likewise."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except OSError as error:
        said = error.strerror or "it cannot be read"
        raise CellError(f"{name} cannot be read: {said.lower()}") from None
    if len(data) > FILE_BYTES:
        raise CellError(f"{name} is larger than 1 MB, which no schema for a model is")
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise CellError(f"{name} is no JSON: {error}") from None
    return Shape(name, said)


def of(value: Any, name: str = "the schema") -> Shape:
    """Return the shape that a schema or a type describes; likewise."""
    if type(value) is dict:
        return Shape(name, value)
    if not _is_type(value):
        kind = type.__getattribute__(type(value), "__name__")
        what = "a class without fields" if issubclass(type(value), type) else with_article(kind)
        raise CellError(f"{name} is {what}, and no shape of an answer", hint=f"Name {TYPES}")
    try:
        made = _pydantic(value) if _is_pydantics(value) else _msgspec(value)
    except Exception as error:  # noqa: BLE001 - of a type that it cannot take, a library may raise anything
        _refuse(error, name)
    return Shape(name, *made)


def _refuse(error: Exception, name: str) -> NoReturn:
    if isinstance(error, CellError):
        raise error
    said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    raise CellError(f"{name} cannot be told to a model: {said}", hint=f"Name {TYPES}") from None


def _is_type(value: Any) -> bool:
    """Whether `value` is a type, or made of types in brackets or with bars between."""
    if not issubclass(type(value), type):
        return _home(type(value)) in _BRACKETS and typing.get_origin(value) is not None
    return (
        dataclasses.is_dataclass(value)
        or typing.is_typeddict(value)
        or any(value is each for each in (str, int, float, bool))
        or _is_pydantics(value)
        or _is_struct(value)
        or issubclass(value, enum.Enum)
    )


_BRACKETS: Final = ("types", "typing")
"""Where what is written with brackets, or with bars between, has its type."""


def _home(kind: type) -> str:
    return str(type.__getattribute__(kind, "__module__"))


def _is_struct(value: type) -> bool:
    msgspec = sys.modules.get("msgspec")
    return msgspec is not None and issubclass(value, msgspec.Struct)


def _is_pydantics(value: Any) -> bool:
    """Whether it is, or names in its brackets, a type of pydantic's."""
    pydantic = sys.modules.get("pydantic")
    if pydantic is None:
        return False
    if not issubclass(type(value), type):
        if _home(type(value)) in _BRACKETS:
            return any(_is_pydantics(each) for each in typing.get_args(value))
        return _home(type(value)).startswith(("pydantic.", "annotated_types"))
    return issubclass(value, pydantic.BaseModel) or "__pydantic_validator__" in vars(value)


def _pydantic(value: Any) -> tuple[Any, Callable[[str], Any]]:
    import pydantic  # noqa: PLC0415 - a type of its is there already

    if not hasattr(pydantic, "TypeAdapter"):
        raise CellError(
            "models of pydantic 1 are not understood", hint="Type %pip install -U pydantic"
        )
    adapter = pydantic.TypeAdapter(value)

    def convert(text: str) -> Any:
        try:
            return adapter.validate_json(text)
        except pydantic.ValidationError as error:
            found = [f"{_at(each['loc'])}: {each['msg']}" for each in error.errors()]
            raise ValueError("; ".join(found[:_NAMED])) from None

    return adapter.json_schema(), convert


def _at(place: tuple[int | str, ...]) -> str:
    return "$" + "".join(f"[{each}]" if isinstance(each, int) else f".{each}" for each in place)


def _msgspec(value: Any) -> tuple[Any, Callable[[str], Any]]:
    import msgspec  # noqa: PLC0415 - loading must stay light

    decoder = msgspec.json.Decoder(value)

    def convert(text: str) -> Any:
        try:
            return decoder.decode(text)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise ValueError(str(error)) from None

    return msgspec.json.schema(value), convert


def _json(text: str) -> Any:
    try:
        found = json.loads(_bare(text), parse_constant=_no_number, parse_float=_finite)
        # An escape may stand for half a character, which no file and no library takes.
        return json.loads(well_formed(json.dumps(found, ensure_ascii=False)))
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None
    except json.JSONDecodeError as error:
        if not text.strip():
            raise ValueError("the answer is empty; expected JSON") from None
        raise ValueError(f"the answer is no JSON: {error}") from None


def _bare(text: str) -> str:
    """Return what stands in a fence, where an answer is one: models that are not held to JSON do so."""
    text = text.strip()
    first, _, rest = text.partition("\n")
    fenced = first.strip() in ("```", "```json") and rest.endswith("```")
    return rest.removesuffix("```") if fenced else text


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"the answer says {word}, which is no number in JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the answer says {digits}, which is too large a number")
    return number
