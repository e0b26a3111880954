"""Images with Pillow, where it is there: made smaller, and made of what is in memory.

Nothing here is needed for an image that is small enough already.
"""

from __future__ import annotations

import importlib.util
import io
from typing import TYPE_CHECKING, Any, Final

from codex_magic.errors import CellError
from codex_magic.images.kind import Kind, kind

if TYPE_CHECKING:
    from collections.abc import Callable

LONGEST: Final = 2000
"""Pixels of a side; models look at no more than that."""
SENT_BYTES: Final = 5 * 1024 * 1024
"""What is sent of one image: a thread sends each of its images again with every turn."""
DECODED: Final = 80_000_000
"""Pixels that are decoded to make an image smaller; about 320 MB of memory."""

INSTALL: Final = "Type %pip install pillow and run the cell again, or save it smaller"


def fitting(data: bytes, found: Kind, name: str) -> tuple[bytes, Kind]:
    """Return an image that is small enough to be sent: as it is, or made smaller.

    Raises
    ------
    CellError
        It is too large, and cannot be made smaller.
    """
    if found.longest <= LONGEST and len(data) <= SENT_BYTES:
        return data, found
    size = f"{name} has {found.width:,} by {found.height:,} pixels and {len(data) / 2**20:.1f} MB"
    if not _has_pillow():
        if len(data) <= SENT_BYTES:
            return data, found
        raise CellError(f"{size}, which is too large to send", hint=INSTALL)
    if found.width * found.height > DECODED:
        raise CellError(f"{size}, which is too large", hint="Save a smaller one, or a part of it")
    return _remade(data, found, name)


def encoded(image: Any, name: str) -> bytes:
    """Return an image of Pillow's as a file."""
    wide, high = image.size
    if wide * high > DECODED:
        raise CellError(f"{name} has {wide:,} by {high:,} pixels, which is too large")
    return _tried(name, lambda: _file(_small(image), "PNG"))


def pixels(array: Any, name: str) -> bytes:
    """Return an array of pixels as a file: whole numbers up to 255, or shares of 1."""
    if not _has_pillow():
        raise CellError(f"to send the array {name}, Pillow is needed", hint=INSTALL)
    from PIL import Image  # noqa: PLC0415 - not everybody has it

    sides = 2, 3
    if array.ndim not in sides or (array.ndim == sides[1] and array.shape[2] not in (3, 4)):
        raise CellError(
            f"the array {name} has the shape {array.shape}, which is no image's",
            hint="It must be height by width, or that by 3 or 4 colours",
        )
    if not array.size:
        raise CellError(f"the array {name} is empty")
    if array.dtype.kind == "b":
        array = array.astype("uint8") * 255
    elif array.dtype.kind == "f" and array.min() >= 0 and array.max() <= 1:
        array = (array * 255).round().astype("uint8")
    elif array.dtype.kind in "iu" and array.min() >= 0 and array.max() <= 255:  # noqa: PLR2004 - a byte
        array = array.astype("uint8")
    else:
        raise CellError(
            f"the array {name} holds numbers that are no colours",
            hint="They must be whole numbers from 0 to 255, or shares from 0 to 1",
        )
    return encoded(Image.fromarray(array), name)


def _has_pillow() -> bool:
    return importlib.util.find_spec("PIL") is not None


def _remade(data: bytes, found: Kind, name: str) -> tuple[bytes, Kind]:
    from PIL import Image, ImageOps  # noqa: PLC0415 - only for large ones

    def work() -> bytes:
        with Image.open(io.BytesIO(data), formats=[found.name]) as image:
            # How a camera was held is told beside the pixels, and would be lost.
            small = _small(ImageOps.exif_transpose(image))
        made = _file(small, "JPEG" if found.name == "jpeg" else "PNG")
        return made if len(made) <= SENT_BYTES else _file(_on_white(small), "JPEG")

    made = _tried(name, work)
    return made, kind(made)


def _small(image: Any) -> Any:
    if max(image.size) <= LONGEST:
        return image
    # Those with a palette have no colours in between.
    small = image.convert("RGBA") if image.mode in ("P", "PA", "1") else image.copy()
    small.thumbnail((LONGEST, LONGEST))
    return small


def _on_white(image: Any) -> Any:
    from PIL import Image  # noqa: PLC0415 - only for large ones

    image = image.convert("RGBA")
    page = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(page, image).convert("RGB")


_KEPT: Final = {"PNG": ("1", "L", "LA", "P", "RGB", "RGBA"), "JPEG": ("L", "RGB")}


def _file(image: Any, form: str) -> bytes:
    file = io.BytesIO()
    if image.mode not in _KEPT[form]:
        image = image.convert("RGB")
    image.save(file, form)
    return file.getvalue()


def _tried(name: str, work: Callable[[], bytes]) -> bytes:
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - of a broken image, a library may raise anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise CellError(f"{name} cannot be read: {said}") from None
