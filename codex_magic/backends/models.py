"""Whether a model can do what a turn asks of it: pure, over the list that a backend gives.

A model that is not on the list is taken at the person's word: hosts have more than they list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_magic.errors import CellError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_magic.backends.base import Model


def check_effort(models: Sequence[Model], model: str, effort: str) -> None:
    """Make sure that a model thinks as hard as that; ``""`` stands for the default one.

    Raises
    ------
    CellError
        It does not, with the efforts that it has.
    """
    found = _found(models, model)
    if found is None or not found.efforts or effort in found.efforts:
        return
    raise CellError(
        f"{found.id} has no effort {effort!r}", hint=f"It has: {', '.join(found.efforts)}"
    )


def check_images(models: Sequence[Model], model: str) -> None:
    """Make sure that a model sees images; likewise."""
    found = _found(models, model)
    if found is not None and found.sees_images is False:
        raise CellError(
            f"{found.id} sees no images", hint="Choose another with -m: type %codex models"
        )


def _found(models: Sequence[Model], model: str) -> Model | None:
    wanted = (each for each in models if (each.id == model if model else each.is_default))
    return next(wanted, None)
