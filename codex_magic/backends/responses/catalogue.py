"""The models that can be asked for, of a host's own list or of the one that comes with us.

Pure. A host tells either rows that say all of a model, or names alone; what we know of a name is
put to it. A row of another shape than expected is passed over, a model that nobody knows goes
unchecked: hosts have new ones long before we hear of them.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from codex_magic.backends.base import Model
from codex_magic.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Sequence

EFFECTIVE_PERCENT: Final = 95
"""How much of a model's context a turn may fill; the rest is for the answer and for estimates."""


class _Level(msgspec.Struct):
    effort: str


class _Row(msgspec.Struct):
    slug: str
    display_name: str | None = None
    description: str | None = None
    visibility: str | None = None
    priority: float | None = None
    supported_reasoning_levels: list[_Level | str] | None = None
    default_reasoning_level: str | None = None
    context_window: int | None = None
    input_modalities: list[str] | None = None

    def model(self) -> Model:
        """Return the model that the row tells of."""
        levels = self.supported_reasoning_levels or []
        return Model(
            id=self.slug,
            name=self.display_name or "",
            description=self.description or "",
            efforts=tuple(x if isinstance(x, str) else x.effort for x in levels),
            default_effort=self.default_reasoning_level or "",
            context_tokens=max(0, self.context_window or 0),
            sees_images="image" in (self.input_modalities or ["image"]),
            hidden=self.visibility not in (None, "list"),
        )


class _Name(msgspec.Struct):
    """A model's name; hosts on a person's own machine say beside it how much the model can read."""

    id: str
    context_length: int | None = None
    max_model_len: int | None = None

    def model(self) -> Model:
        """Return what is known of a model by this name."""
        told = max(0, self.context_length or self.max_model_len or 0)
        known = _find(self.id, bundled()) or Model(id=self.id, sees_images=None)
        return replace(known, context_tokens=told or known.context_tokens, is_default=False)


_Kind = TypeVar("_Kind", _Row, _Name)


@cache
def bundled() -> tuple[Model, ...]:
    """Return the models that this version knows of, the preferred one first."""
    return read(msgspec.json.decode(files(__package__).joinpath("models.json").read_bytes()))


def read(answer: Any) -> tuple[Model, ...]:
    """Return the models of an answer to ``GET /models``, the preferred ones first.

    Nothing where the answer is of neither form, or names none.
    """
    answer = answer if isinstance(answer, dict) else {}
    rows = _each(answer.get("models"), _Row)
    rows.sort(key=lambda row: float("inf") if row.priority is None else row.priority)
    found = {row.slug: row.model() for row in reversed(rows) if row.slug}
    ordered = [*dict.fromkeys(row.slug for row in rows if row.slug)]
    if not found:
        names = _each(answer.get("data"), _Name)
        found = {name.id: name.model() for name in reversed(names) if name.id}
        ours = [model.id for model in bundled() if model.id in found]
        ordered = [*dict.fromkeys([*ours, *(name.id for name in names if name.id)])]
    first = next((each for each in ordered if not found[each].hidden), None)
    return tuple(replace(found[each], is_default=each == first) for each in ordered)


def _each(rows: Any, kind: type[_Kind]) -> list[_Kind]:
    found: list[_Kind] = []
    for row in rows if isinstance(rows, list) else ():
        try:
            found.append(msgspec.convert(row, kind))
        except msgspec.ValidationError:
            continue
    return found


def default(models: Sequence[Model]) -> str:
    """Return the model for those who name none.

    Raises
    ------
    BackendError
        The host has no model.
    """
    for model in models:
        if model.is_default:
            return model.id
    if not models:
        raise BackendError("the host names no model", hint="Name one yourself: %%codex -m MODEL")
    return models[0].id


def context_tokens(model: str, models: Sequence[Model]) -> int:
    """Return how many tokens a request to a model may have; 0 where nobody says."""
    found = _find(model, models) or _find(model, bundled())
    return found.context_tokens * EFFECTIVE_PERCENT // 100 if found else 0


def resolve(name: str, aliases: Sequence[tuple[str, str]], models: Sequence[Model]) -> str:
    """Return the id of the model that a person means: an alias's, a listed one's, or as it is typed."""
    meant = next((model for alias, model in aliases if alias == name), name)
    if _find(meant, models):
        return meant
    alike = (m.id for m in models if meant.casefold() in (m.id.casefold(), m.name.casefold()))
    return next(alike, meant)


def _find(model: str, models: Sequence[Model]) -> Model | None:
    return next((found for found in models if found.id == model), None)
