"""What one command left behind, in the words of its receipt.

Before it begins the writable folders are looked at, when all of it is dead they are looked at
again. In a sandbox, what must not stay is put aside or back; without one it is only named.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from codex_magic.interrupts import interrupts_held
from codex_magic.items import FILES_NAMED
from codex_magic.sandbox import aftermath, footprint, shadowing
from codex_magic.sandbox.bwrap import outermost, roots

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codex_magic.policy import SandboxPolicy


class Traces:
    """The writable folders of `policy`, before and after a command.

    Parameters
    ----------
    protected
        What a sandbox keeps read-only in them; not looked into.
    confined
        Whether what steers other programs may not stay.
    """

    def __init__(
        self, policy: SandboxPolicy, protected: tuple[str, ...], *, confined: bool
    ) -> None:
        self._folders = [] if policy.mode == "read-only" else roots(policy)
        self._protected = protected
        self._allowed = tuple(map(str, policy.unprotected))
        self._confined = confined
        self._files = footprint.Listing({})
        self._memory: aftermath.Memory | None = None

    def before(self) -> None:
        """Look, before anything can have been written."""
        self._files = self._listed()
        if self._confined and self._folders:
            self._memory = aftermath.remember(self._folders, self._protected)

    def after(self) -> dict[str, Any]:
        """Look again, put aside what must not stay, and return the fields of a receipt."""
        with interrupts_held():
            return self._after()

    def _after(self) -> dict[str, Any]:
        changes = footprint.compare(self._files, self._listed())
        kinds = {name: getattr(changes, name) for name in ("created", "changed", "deleted")}
        fields = {name: _named(paths[:FILES_NAMED]) for name, paths in kinds.items()}
        more = sum(map(len, kinds.values())) - sum(map(len, fields.values()))
        imported = _named(shadowing.imported(changes.changed)[:FILES_NAMED])
        told = {**fields, "files_more": more if changes.complete else -1, "imported": imported}
        if self._memory is not None:
            caches = filter(_is_cache, (*changes.created, *changes.changed))
            found = aftermath.settle(self._memory, self._allowed, caches)
            told["quarantined"] = _bounded(found.quarantined)
            told["restored"] = _bounded(found.restored)
            told["protected"] = _bounded(found.protected)
        return told

    def _listed(self) -> footprint.Listing:
        return footprint.listing(outermost(self._folders), self._protected)


def _is_cache(path: str) -> bool:
    return path.endswith(".pyc") and "/__pycache__/" in path


def _bounded(paths: tuple[str, ...]) -> tuple[str, ...]:
    more = len(paths) - FILES_NAMED
    return _named(paths[:FILES_NAMED]) + ((f"and {more:,} more",) if more > 0 else ())


def _named(paths: Iterable[str]) -> tuple[str, ...]:
    """Return paths as text that can be stored: a name may be any bytes."""
    return tuple(os.fsencode(path).decode("utf-8", "backslashreplace") for path in paths)
