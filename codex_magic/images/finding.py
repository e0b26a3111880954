"""From what a person names to an image that can be sent: a file, an address, a variable.

Of variables, only values of types on the list here are looked at: bytes, paths, figures of
Matplotlib, images of Pillow, arrays of NumPy. No method of anything else is called, since a
variable may hold anything. None of these libraries is needed, and none is imported unless the
person has.
"""

from __future__ import annotations

import base64
import io
import sys
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, Final

from codex_magic.errors import CellError, with_article
from codex_magic.images import kind, smaller, whole
from codex_magic.turn import Image

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE_BYTES: Final = 20 * 1024 * 1024
"""What the hosts of models take of one image."""

TURN_BYTES: Final = 15 * 1024 * 1024
"""What one turn sends: Codex tells its items in one message, and hosts refuse a request of 50 MB."""

SAVE_IT: Final = "Save it as PNG or JPEG, and name that file"


def find(word: str, base: Path, variables: Mapping[str, Any]) -> Image:
    """Return the image that `word` names: an address, a file below `base`, or a variable.

    Raises
    ------
    CellError
        There is none, or it is none that can be sent.
    """
    if word.startswith(("https://", "http://", "data:")):
        return _address(word)
    path = _path(word, base)
    if path is not None and path.is_file():
        return _file(word, path)
    if word in variables:
        return of(variables[word], word, base)
    if path is not None and path.is_dir():
        raise CellError(f"{word} is a folder and no image", hint="Name a file in it")
    if path is not None and path.exists():
        raise CellError(f"{word} is no ordinary file", hint=SAVE_IT)
    told, hint = "", "Name a file or an https: address, or give the figure itself"
    if variables:
        told, hint = (
            ", and no variable",
            "Name a file, an https: address, or a variable that holds a figure",
        )
    raise CellError(f"there is no image {word!r}: no file of this name in {base}{told}", hint=hint)


def together(images: Sequence[Image]) -> None:
    """Make sure that one turn can hold all of these.

    Raises
    ------
    CellError
        It cannot.
    """
    size = sum(len(image.url) for image in images) * 3 / 4
    if size > TURN_BYTES:
        raise CellError(
            f"the images have {size / 2**20:.0f} MB together, and a turn takes "
            f"{TURN_BYTES // 2**20}",
            hint="Send some of them with the next turn, or save smaller ones",
        )


def of(value: Any, name: str, base: Path) -> Image:
    """Return the image that `value` is; likewise."""
    kind_of = type(value)
    if kind_of is bytes or kind_of is bytearray or kind_of is memoryview:
        return _sent(bytes(value), name)
    if kind_of is str or _is("pathlib", "PurePath", value, below="pathlib"):
        return find(str(value), base, {})
    if _is("matplotlib.figure", "Figure", value):
        return _sent(_drawn(value, name), name)
    if _is("PIL.Image", "Image", value, below="PIL."):
        return _sent(smaller.encoded(value, name), name)
    if _is("numpy", "ndarray", value):
        return _sent(smaller.pixels(value, name), name)
    kind_of_it = _spoken(type(value))
    hint = "Name a Matplotlib figure, a Pillow image, an array, bytes, or a file"
    if kind_of_it == "Axes":
        hint = f"Name its figure: fig = {name}.figure, then -i fig"
    raise CellError(f"{name} is {with_article(kind_of_it)}, and that is no image", hint=hint)


def _is(module: str, name: str, value: Any, *, below: str = "") -> bool:
    """Whether `value` is of this very type, or of one below it that its library brings itself.

    The type is asked and not the value: a class may claim any name, and any `isinstance`.
    """
    known = getattr(sys.modules.get(module), name, None)
    kind_of = type(value)
    if known is None or not below:
        return known is not None and kind_of is known
    own = str(type.__getattribute__(kind_of, "__module__"))
    return own.startswith(below) and known in type.mro(kind_of)


def _spoken(kind_of: type) -> str:
    return str(type.__getattribute__(kind_of, "__name__"))


def _address(word: str) -> Image:
    if word.startswith("https://"):
        return Image(word, word)
    if word.startswith("http://"):
        raise CellError("an image's address begins with https:", hint="Or name a file")
    head, _, body = word.partition(",")
    if not head.endswith(";base64"):
        raise CellError("this data: address is not in base64", hint=SAVE_IT)
    try:
        data = base64.b64decode(body, validate=True)
    except ValueError:
        raise CellError("this data: address is not in base64", hint=SAVE_IT) from None
    return _sent(data, "the image")


def _path(word: str, base: Path) -> Path | None:
    try:
        path = base / Path(word).expanduser()
        path.exists()
    except (OSError, RuntimeError, ValueError):  # no such person, a name too long
        return None
    return path


def _file(word: str, path: Path) -> Image:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_BYTES + 1)
    except OSError as error:
        said = error.strerror or "it cannot be read"
        raise CellError(f"{word} cannot be read: {said.lower()}") from None
    return _sent(data, PurePath(word).name)


def _sent(data: bytes, name: str) -> Image:
    """Return the image as it is sent, smaller where it has to be."""
    try:
        found = kind.kind(data[: FILE_BYTES + 1])
    except ValueError as error:
        raise CellError(f"{name} {error}", hint=SAVE_IT) from None
    if len(data) > FILE_BYTES:
        limit = FILE_BYTES // 2**20
        raise CellError(f"{name} is larger than {limit} MB", hint="Make it smaller first")
    try:
        whole.check(data, found)
    except ValueError as error:
        raise CellError(f"{name} {error}", hint=SAVE_IT) from None
    data, found = smaller.fitting(data, found, name)
    url = f"data:image/{found.name};base64,{base64.b64encode(data).decode()}"
    return Image(name, url, (found.width, found.height))


def _drawn(figure: Any, name: str) -> bytes:
    file = io.BytesIO()
    try:
        figure.savefig(file, format="png", bbox_inches="tight")
    except Exception as error:  # noqa: BLE001 - of drawing, a library may raise anything
        said = " ".join(str(error).split()) or type(error).__name__
        raise CellError(f"the figure {name} cannot be drawn: {said}") from None
    return file.getvalue()
