"""The widget: a script for the page, and a state that can be asked for at any time.

The script is sent with each turn, so it is sent compressed: a few lines unpack it in the page, once
for all turns there. What a turn looks like is never sent as state while it runs; a page that was
reloaded asks for the state, and gets what there is by then.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import re
import zlib
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import anywidget
import traitlets

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]

_LOADER: Final = """\
const packed = "%(packed)s";
const loaded = (globalThis.__codex_magic_turn ??= {});
async function unpack() {
  const bytes = Uint8Array.from(atob(packed), (char) => char.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const url = URL.createObjectURL(
    new Blob([await new Response(plain).text()], { type: "text/javascript" }),
  );
  const module = await import(url);
  URL.revokeObjectURL(url);
  return module.default;
}
export default await (loaded["%(name)s"] ??= unpack());
"""


_FOR_READERS: Final = re.compile(
    r"^ */\*\*(?:(?!\*/).)*\*/\n|^ *// [^\n]*\n|^ +", re.MULTILINE | re.DOTALL
)
"""Comments and indentation of a script, a fifth of what would be sent."""


@functools.cache
def script() -> str:
    """Return the script as a page gets it."""
    static = files("codex_magic").joinpath("static")
    style = json.dumps(static.joinpath("turn.css").read_text(encoding="utf-8"))
    source = static.joinpath("turn.js").read_text(encoding="utf-8")
    whole = f"{_FOR_READERS.sub('', source)}\nconst STYLE = {style};\n".encode()
    packed = base64.b64encode(zlib.compress(whole, 9)).decode()
    return _LOADER % {"packed": packed, "name": hashlib.sha256(whole).hexdigest()[:16]}


class TurnWidget(anywidget.AnyWidget):
    """One turn on a page.

    Parameters
    ----------
    state
        Returns what a page that asks for the widget's state is told.
    """

    _esm = traitlets.Unicode().tag(sync=True)
    snapshot = traitlets.Dict().tag(sync=True)

    def __init__(self, state: Callable[[], Json]) -> None:
        self._state: Callable[[], Json] | None = None  # the first asking is its own opening
        super().__init__(_esm=script())
        self._state = state

    def get_state(self, key: Any = None, drop_defaults: bool = False) -> Json:  # noqa: FBT001, FBT002 - as it is overridden
        """Return the state, the turn as it stands now in it."""
        state: Json = super().get_state(key, drop_defaults)
        if self._state is not None and "snapshot" in state:
            state["snapshot"] = self._state()
        return state

    def close(self) -> None:
        """Close the widget, and what stands for its layout."""
        self.layout.close()
        super().close()
