"""What a cell names beside its prompt, looked up in the kernel: images, and the shape of the answer.

And the way back: the answer, put into a variable.
"""

from __future__ import annotations

import builtins
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from codex_magic.cell import Inputs
    from codex_magic.structured.shape import Shape
    from codex_magic.turn import TurnRequest


def find(
    named: Inputs, request: TurnRequest, base: Path, variables: Mapping[str, Any]
) -> tuple[TurnRequest, Shape | None]:
    """Return `request` with what its line names, and the shape of its answer.

    Parameters
    ----------
    base
        The kernel's folder, from which files are counted.
    variables
        The person's, by their names.

    Raises
    ------
    CellError
        Something is not there, or cannot be used.
    """
    if named.images:
        from codex_magic.images import finding  # noqa: PLC0415 - most turns have none

        images = tuple(finding.find(word, base, variables) for word in named.images)
        finding.together(images)
        request = replace(request, images=images)
    if not named.schema:
        return request, None
    from codex_magic.structured import shape  # noqa: PLC0415 - likewise

    found = shape.find(named.schema, base, variables)
    return replace(request, schema=found.schema), found


def shadows(name: str) -> str:
    """Return a sentence where a variable of this name hides one of Python's own, or nothing."""
    if not hasattr(builtins, name):
        return ""
    return f"{name} is the answer now, and no longer Python's own; type `del {name}` to undo that."
