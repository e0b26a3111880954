"""Markdown as HTML, for a page whose host does not draw it: VS Code, for one.

A library reads the Markdown; it takes tags for text, and images for links with a mark before them.
The page lets through only what Markdown itself can say.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt


def html(text: str) -> str:
    """Return `text` as HTML that fetches nothing."""
    drawn: str = _reader().render(text)
    return drawn


@functools.cache
def _reader() -> MarkdownIt:
    from markdown_it import MarkdownIt  # noqa: PLC0415 - most pages do without

    reader = MarkdownIt("commonmark", {"html": False})
    return reader.enable(["table", "strikethrough"]).disable("image")
