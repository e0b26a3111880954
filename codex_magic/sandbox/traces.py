"""What one command left behind, in the words of its receipt.

Before it begins the writable folders are looked at, when all of it is dead they are looked at
again. In a sandbox, what must not stay is put aside or back; without one it is only named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from codex_magic.items import FILES_NAMED
from codex_magic.sandbox import aftermath, footprint
from codex_magic.sandbox.bwrap import outermost, roots

if TYPE_CHECKING:
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
        """Look again, and return the fields of a receipt that this gives."""
        changes = footprint.compare(self._files, self._listed())
        kinds = {name: getattr(changes, name) for name in ("created", "changed", "deleted")}
        named = {name: paths[:FILES_NAMED] for name, paths in kinds.items()}
        more = sum(map(len, kinds.values())) - sum(map(len, named.values()))
        fields = {
            **named,
            "files_more": more if changes.complete else -1,
            "imported": aftermath.imported(changes.changed)[:FILES_NAMED],
        }
        if self._memory is not None:
            found = aftermath.settle(self._memory, self._allowed)
            fields["quarantined"] = found.quarantined
            fields["restored"] = found.restored
            fields["protected"] = found.protected
        return fields

    def _listed(self) -> footprint.Listing:
        return footprint.listing(outermost(self._folders), self._protected)
