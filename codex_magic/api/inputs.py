"""What a turn is given: text, images, and what they are made from.

Every input becomes text for the prompt, or an image beside it. A skill and a mention become a line
that says where to look: the model reads the file with its own tools, inside the sandbox.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from codex_magic.cell import LONGEST_PROMPT
from codex_magic.errors import CellError
from codex_magic.items import well_formed
from codex_magic.turn import Image


@dataclass(frozen=True, slots=True)
class TextInput:
    """Text for a turn."""

    text: str


@dataclass(frozen=True, slots=True)
class ImageInput:
    """An image by its ``data:`` or ``https:`` address."""

    url: str


@dataclass(frozen=True, slots=True)
class LocalImageInput:
    """An image in a file."""

    path: str | Path


@dataclass(frozen=True, slots=True)
class SkillInput:
    """Instructions in a file, by a name."""

    name: str
    path: str | Path


@dataclass(frozen=True, slots=True)
class MentionInput:
    """A file or folder that the text speaks of, by a name."""

    name: str
    path: str | Path


InputItem = TextInput | ImageInput | LocalImageInput | SkillInput | MentionInput
Input = list[InputItem] | InputItem
RunInput = Input | str
ImageLike = str | Path | ImageInput | LocalImageInput | Image

KINDS: Final = (
    "text, TextInput, ImageInput, LocalImageInput, SkillInput, MentionInput, or a list of them"
)


def read(given: Any, images: Any = ()) -> tuple[str, tuple[Image, ...]]:
    """Return the prompt that `given` is, and the images that go with it.

    Raises
    ------
    CellError
        It holds something that is no input, no text at all, or an image that cannot be read.
    """
    parts = list(given) if isinstance(given, list | tuple) else [given]
    texts = [text for part in parts if (text := _text(part)) is not None]
    found = [image(part) for part in parts if isinstance(part, ImageInput | LocalImageInput)]
    more = images if isinstance(images, Sequence) and not isinstance(images, str) else (images,)
    prompt = well_formed("\n\n".join(texts))
    if not prompt.strip():
        raise CellError("the prompt is empty", hint="Say in words what is to be done")
    if len(prompt) > LONGEST_PROMPT:
        raise CellError(
            f"the prompt has {len(prompt):,} characters, and Codex takes {LONGEST_PROMPT:,}",
            hint="Put long text in a file, and name the file",
        )
    return prompt, (*found, *map(image, more))


def _text(part: Any) -> str | None:
    match part:
        case str():
            return part
        case TextInput():
            return part.text
        case SkillInput():
            return f"Use the skill {part.name}; read its instructions first: {part.path}"
        case MentionInput():
            return f"{part.name} is {part.path}"
        case ImageInput() | LocalImageInput():
            return None
        case _:
            raise CellError(f"{type(part).__name__} is no input of a turn", hint=f"Give {KINDS}")


def image(given: Any) -> Image:
    """Return the image that `given` is: a file, an address, or one that is ready."""
    match given:
        case Image():
            return given
        case ImageInput():
            return _addressed(given.url)
        case LocalImageInput():
            return _of_file(Path(given.path))
        case str() if given.startswith(("data:", "https:", "http:")):
            return _addressed(given)
        case str() | Path():
            return _of_file(Path(given))
        case _:
            kinds = "a path, ImageInput or LocalImageInput"
            raise CellError(f"{type(given).__name__} is no image", hint=f"Give {kinds}")


def _addressed(url: str) -> Image:
    if url.startswith("data:image/"):
        return Image("image", url)
    if url.startswith("https://"):
        return Image(url, url)
    scheme = url.partition(":")[0]
    raise CellError(
        f"an image cannot come from a {scheme}: address", hint="Use https:, data:image/, or a file"
    )


LARGEST_BYTES: Final = 20 * 1024 * 1024
_KINDS: Final = ((b"\x89PNG\r\n\x1a\n", "png"), (b"\xff\xd8\xff", "jpeg"), (b"GIF8", "gif"))


def _of_file(path: Path) -> Image:
    path = path.expanduser()
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise CellError(f"the image {path} is larger than 20 MB", hint="Make it smaller")
        raw = path.read_bytes()
    except OSError as error:
        raise CellError(f"the image {path} cannot be read: {error.strerror}") from None
    kind = next((kind for start, kind in _KINDS if raw.startswith(start)), "")
    if raw[:4] == b"RIFF" and raw[8:12] == b"WEBP":
        kind = "webp"
    if not kind:
        raise CellError(f"{path} is no image that models read", hint="Use PNG, JPEG, GIF or WebP")
    return Image(str(path), f"data:image/{kind};base64,{base64.b64encode(raw).decode()}")
