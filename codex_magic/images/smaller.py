"""Images with Pillow, where it is there: looked at, made smaller, and made of what is in memory.

Nothing here is needed for an image that is small enough already; but where Pillow is, one that
cannot be decoded is found out before it is sent.
"""

from __future__ import annotations

import importlib.util
import io
from typing import TYPE_CHECKING, Any, Final, TypeVar

from codex_magic.errors import CellError
from codex_magic.images import grey
from codex_magic.images.kind import Kind, kind

if TYPE_CHECKING:
    from collections.abc import Callable

Made = TypeVar("Made")

LONGEST: Final = 2000
"""Pixels of a side; models look at no more than that."""
SENT_BYTES: Final = 5 * 1024 * 1024
"""What is sent of one image: a thread sends each of its images again with every turn."""
DECODED: Final = 80_000_000
"""Pixels that are decoded to make an image smaller; about 320 MB of memory."""

INSTALL: Final = "Type %pip install pillow and run the cell again, or save it smaller"


def fitting(data: bytes, found: Kind, name: str) -> tuple[bytes, Kind]:
    """Return an image that is small enough to be sent: as it is, or made smaller.

    One in more shades of grey than a screen has is made anew, too: others would show it white.

    Raises
    ------
    CellError
        It is too large, and cannot be made smaller; it cannot be decoded.
    """
    if found.longest <= LONGEST and len(data) <= SENT_BYTES:
        if _can_decode(found):
            mode = _tried(name, lambda: _mode(data, found))
            return _remade(data, found, name) if grey.is_deep(mode) else (data, found)
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


def _can_decode(found: Kind) -> bool:
    if not _has_pillow():
        return False
    from PIL import features  # noqa: PLC0415 - not everybody has it

    return found.name != "webp" or bool(features.check("webp"))  # which some builds leave out


def _mode(data: bytes, found: Kind) -> str:
    """Decode an image, and return of which mode its pixels are."""
    from PIL import Image  # noqa: PLC0415 - not everybody has it

    with Image.open(io.BytesIO(data), formats=[found.name]) as image:
        image.load()
        return str(image.mode)


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
    image = _plain(image)
    if max(image.size) <= LONGEST:
        return image
    # Those with a palette have no colours in between.
    small = image.convert("RGBA") if image.mode in ("P", "1") else image.copy()
    small.thumbnail((LONGEST, LONGEST))
    return small


_SEEN_THROUGH: Final = {"La": "LA", "RGBa": "RGBA", "PA": "RGBA"}
"""Modes of images that one can see through, and those in which files have that."""


def _plain(image: Any) -> Any:
    """Return `image` in a mode that a file can have."""
    if grey.is_deep(image.mode):
        return grey.plain(image)
    if image.mode in _KEPT["PNG"]:
        return image
    return image.convert(_SEEN_THROUGH.get(image.mode, "RGB"))


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


def _tried(name: str, work: Callable[[], Made]) -> Made:
    try:
        return work()
    except CellError:
        raise
    except Exception as error:  # noqa: BLE001 - of a broken image, a library may raise anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise CellError(f"{name} cannot be read: {said}") from None
