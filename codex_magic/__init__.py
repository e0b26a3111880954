"""Codex in a notebook: the notebook is the thread, Codex is the brain, the kernel is the hands.

``%load_ext codex_magic`` brings ``%%codex`` and ``%codex``. Loading starts no process, writes no
file and imports nothing heavy. In a program, `Codex` does the same without a notebook.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from codex_magic.api import (
        ApprovalMode,
        AsyncCodex,
        Codex,
        CodexConfig,
        ImageInput,
        LocalImageInput,
        MentionInput,
        ReasoningEffort,
        ReasoningSummary,
        Sandbox,
        SkillInput,
        TextInput,
    )
    from codex_magic.turn import Turn

    __version__: str
    last: Turn | None

__all__ = [
    "ApprovalMode",
    "AsyncCodex",
    "Codex",
    "CodexConfig",
    "ImageInput",
    "LocalImageInput",
    "MentionInput",
    "ReasoningEffort",
    "ReasoningSummary",
    "Sandbox",
    "SkillInput",
    "TextInput",
    "__version__",
    "ask",
    "last",
    "load_ipython_extension",
    "unload_ipython_extension",
]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add the magics to `shell`."""
    from codex_magic import magics  # noqa: PLC0415 - an import of the package costs nothing

    magics.load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take everything away again that loading and running brought."""
    from codex_magic import magics  # noqa: PLC0415

    magics.unload(shell)


def ask(prompt: Any, **options: Any) -> Turn:
    """Run a turn on the notebook's current thread, shown below the cell, and return what came of it.

    Parameters
    ----------
    prompt
        Text, or a list of inputs such as `LocalImageInput`.
    **options
        See `codex_magic.api.TurnOptions`; they hold for this turn.

    Raises
    ------
    CellError
        The extension is not loaded, or an option cannot be understood.
    BackendError, SetupError
        The turn failed, or could not be started.
    """
    from codex_magic import magics  # noqa: PLC0415 - as for loading

    return magics.loaded().ask(prompt, options)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - reads the disk: only when asked

        return version("codex-magic")
    if name == "last":
        import sys  # noqa: PLC0415 - only who asks for it pays

        # The turn that the notebook ran last; None where there was none, or no notebook.
        magics = sys.modules.get("codex_magic.magics")
        return None if magics is None else magics.last()
    if name in __all__:
        from codex_magic import api  # noqa: PLC0415 - likewise

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
