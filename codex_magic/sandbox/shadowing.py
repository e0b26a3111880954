"""Which modules a command made that importing something else would find.

A kernel imports from the folder it is started in, and from what is on its path: a ``random.py``
there goes before Python's. Files are not opened, and nothing is changed.
"""

from __future__ import annotations

import contextlib
import importlib.machinery
import os
import sys
from typing import TYPE_CHECKING, Final

from codex_magic.sandbox.bwrap import within

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

SUFFIXES: Final = frozenset(importlib.machinery.all_suffixes())
STARTS: Final = tuple(f"__init__{suffix}" for suffix in SUFFIXES)
ALWAYS: Final = frozenset(
    (
        *("sitecustomize", "usercustomize"),
        # Installed here or not: these are what a notebook imports, perhaps in another kernel.
        *("IPython", "ipykernel", "ipywidgets", "jupyter_client", "jupyter_core", "traitlets"),
        *("pandas", "numpy", "scipy", "matplotlib", "sklearn", "seaborn", "plotly", "polars"),
        *("pyarrow", "torch", "tensorflow", "xarray", "requests", "PIL", "codex_magic"),
    )
)
UNIMPORTED: Final = frozenset({"test"})
"""A module of Python that nobody imports, whose name people give to files of their own."""

LOOKED_UP: Final = 300
"""Names that are looked for everywhere; of more, which nobody writes by hand, only the known."""


def modules(imports: Sequence[str]) -> Iterator[str]:
    """Yield what could be imported by name from the folders `imports`.

    Files, the folders that are packages, and what starts them. Of a link that could be either, the
    link: where it leads is not this folder's.
    """
    for place in imports:
        try:
            names = os.listdir(place)
        except OSError:  # it is gone, or closed to the kernel as well
            continue
        for name in names:
            stem, dot, suffix = name.partition(".")
            if not stem.isidentifier() or name == "__pycache__":
                continue
            path = f"{place}/{name}"
            if (dot and f".{suffix}" in SUFFIXES) or (not dot and os.path.islink(path)):
                yield path
            elif not dot and os.path.isdir(path):
                yield path
                starts = (f"{path}/{start}" for start in STARTS)
                yield from filter(os.path.lexists, starts)


class Shadows:
    """Whether modules hide others; each name is looked for once."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, bool], bool] = {}

    def __call__(self, path: str) -> bool:
        """Return whether importing something else would now find `path`."""
        place, file = os.path.split(path)
        if file in STARTS:
            place, file = os.path.split(place)
        name = file.partition(".")[0]
        # A folder without a start is no more than a further part of a package without one.
        part = os.path.isdir(path) and not os.path.islink(path)
        if (name, part) not in self._known:
            self._known[name, part] = self._hides(name, place, part=part)
        return self._known[name, part]

    def _hides(self, name: str, place: str, *, part: bool) -> bool:
        if name in UNIMPORTED:
            return False
        if name in ALWAYS or name in sys.stdlib_module_names:
            return not part
        if len(self._known) > LOOKED_UP:
            return False
        if not part and (file := _file(sys.modules.get(name))):
            return not within(os.path.realpath(file), place)
        spec = _usual(name, place) or _elsewhere(name)
        if spec is None or within(os.path.realpath(spec.origin or "/"), place):
            return False
        return not part or spec.loader is None or spec.origin is None


def _file(module: object) -> str:
    """Return where a module comes from, without running the code of one that loads lazily."""
    file = getattr(module, "__dict__", {}).get("__file__")
    return file if isinstance(file, str) else ""


def _usual(name: str, place: str) -> importlib.machinery.ModuleSpec | None:
    real = os.path.realpath(place)
    others = [entry for entry in sys.path if entry and not within(os.path.realpath(entry), real)]
    return importlib.machinery.PathFinder.find_spec(name, others)


def _elsewhere(name: str) -> importlib.machinery.ModuleSpec | None:
    """Return what somebody's own finder knows, such as that of an editable install."""
    usual = (importlib.machinery.PathFinder, importlib.machinery.BuiltinImporter)
    for finder in sys.meta_path:
        if finder in (*usual, importlib.machinery.FrozenImporter):
            continue
        with contextlib.suppress(Exception):  # others' code, and it must not spoil a receipt
            if (spec := finder.find_spec(name, None)) is not None:
                return spec
    return None


def imported(paths: Sequence[str]) -> tuple[str, ...]:
    """Return which of `paths` the kernel has imported: it still runs what they said before."""
    names = {os.path.basename(path) for path in paths}
    if not names:
        return ()
    files = filter(None, map(_file, list(sys.modules.values())))
    # Links are followed only where a name fits: of all modules it would take longer than a command.
    likely = (file for file in files if os.path.basename(file) in names)
    known = {os.path.realpath(file) for file in likely}
    return tuple(path for path in paths if path in known)
