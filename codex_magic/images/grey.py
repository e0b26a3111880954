"""Images in more shades of grey than a screen has: measurements, depths, scans.

Pillow cuts their numbers off at 255 when it makes colours of them, which leaves white. Numbers that
can be colours as they are stay what they are; others are spread over all shades, from the least to
the greatest, as those who plot them do.
"""

from __future__ import annotations

import math
from typing import Any, Final

from codex_magic.errors import CellError

_WHITE: Final = 255
_SHORT: Final = "I;16"
"""How the modes of 16-bit images begin; their ends tell the order of bytes."""
_WHOLE: Final = "I"
_FLOAT: Final = "F"


def is_deep(mode: str) -> bool:
    """Whether images of this mode of Pillow's have more than 8 bits of grey."""
    return mode in (_WHOLE, _FLOAT) or mode.startswith(_SHORT)


def plain(image: Any) -> Any:
    """Return a deep image of Pillow's with 8 bits of grey.

    Raises
    ------
    CellError
        Some of its numbers are infinite, or none at all.
    """
    mode = image.mode
    if mode != _FLOAT:
        image = image.convert(_WHOLE)  # the least and the greatest are known of few modes
    least, greatest = image.getextrema()
    if not (math.isfinite(least) and math.isfinite(greatest)):
        raise CellError(
            "the image holds numbers that are no shades of grey",
            hint="Replace what is infinite or missing first",
        )
    if mode.startswith(_SHORT) or least < 0 or greatest > _WHITE:
        span = greatest - least or 1
    elif mode == _FLOAT and greatest <= 1:
        least, span = 0, 1
    else:
        least, span = 0, _WHITE
    scale = _WHITE / span
    image = image.convert(_FLOAT).point(lambda value: value * scale + (0.5 - least * scale))
    image = image.convert("L")
    image.info.pop("transparency", None)  # it names a shade of before
    return image
