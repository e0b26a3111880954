"""Codex in a notebook: the notebook is the thread, Codex is the brain, the kernel is the hands.

``%load_ext codex_magic`` brings ``%%codex`` and ``%codex``. Loading starts no process, writes no
file and imports nothing heavy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    __version__: str

__all__ = ["__version__", "load_ipython_extension", "unload_ipython_extension"]


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Add the magics to `shell`."""
    from codex_magic import magics  # noqa: PLC0415 - an import of the package costs nothing

    magics.load(shell)


def unload_ipython_extension(shell: InteractiveShell) -> None:
    """Take everything away again that loading and running brought."""
    from codex_magic import magics  # noqa: PLC0415

    magics.unload(shell)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - reads the disk: only when asked

        return version("codex-magic")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
