"""What a turn is given: text, images, and what they are made from.

Every input becomes text for the prompt, or an image beside it. A skill and a mention become a line
that says where to look: the model reads the file with its own tools, inside the sandbox.
"""

from __future__ import annotations

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

ADDRESSES: Final = ("https://", "http://", "data:")
"""How an address begins that an image may be looked for at; which may be used is for `finding` to say."""

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
    shown = [part for part in parts if isinstance(part, ImageInput | LocalImageInput)]
    shown += images if isinstance(images, list | tuple) else (images,)
    prompt = well_formed("\n\n".join(texts))
    if not prompt.strip():
        raise CellError("the prompt is empty", hint="Say in words what is to be done")
    if len(prompt) > LONGEST_PROMPT:
        raise CellError(
            f"the prompt has {len(prompt):,} characters, and Codex takes {LONGEST_PROMPT:,}",
            hint="Put long text in a file, and name the file",
        )
    return prompt, _images(shown)


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


def _images(shown: list[Any]) -> tuple[Image, ...]:
    if not shown:
        return ()
    from codex_magic.images import finding  # noqa: PLC0415 - most turns have none

    base = Path.cwd()
    found = tuple(
        part if isinstance(part, Image) else finding.of(_named(part), f"image {number}", base)
        for number, part in enumerate(shown, 1)
    )
    finding.together(found)
    return found


def _named(part: Any) -> Any:
    """Return what an input names: a file or an address, or the part itself."""
    if isinstance(part, LocalImageInput):
        return Path(part.path)
    if not isinstance(part, ImageInput):
        return part
    if not part.url.startswith(ADDRESSES):
        scheme = part.url.partition(":")[0]
        raise CellError(
            f"an image cannot come from a {scheme}: address",
            hint="Use https: or data:, or LocalImageInput for a file",
        )
    return part.url
