"""Codex's sign-in in the keyring of the desktop, where Codex is told to keep it there.

The package ``keyring`` is used if it is installed; it is not asked for. Newer builds of Codex have
an encrypted file of their own beside it, which only Codex can read.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import threading
from typing import TYPE_CHECKING, Any, Final

from codex_magic.auth import places

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from pathlib import Path

SERVICE: Final = "Codex Auth"
PACKAGE: Final = "keyring"


def entry(home: Path) -> str:
    """Return what the keyring calls the sign-in of a Codex home."""
    digest = hashlib.sha256(str(home.resolve()).encode()).hexdigest()
    return f"cli|{digest[:16]}"


class KeyringPlace:
    """An entry of the keyring; asking for it may show a person a question, so it is asked once."""

    words = "Codex's sign-in in the keyring"
    again = "type `codex login` in a terminal"

    def __init__(self, home: Path) -> None:
        self._home = home
        self._guard = threading.Lock()
        self._known: bytes | None = None
        self._is_known = False

    def __str__(self) -> str:
        return f"the keyring ({SERVICE})"

    @property
    def key(self) -> str:
        """The name of the entry."""
        return f"{SERVICE} {entry(self._home)}"

    def read(self, *, afresh: bool = False) -> bytes | None:
        """Return what the keyring has; None where there is no entry, or no keyring."""
        with self._guard:
            if afresh or not self._is_known:
                self._known = self._asked()
                self._is_known = True
            return self._known

    def look(self) -> bytes | None:
        """Return what it is known to have; it is not asked, because that may ask a person."""
        with self._guard:
            return self._known

    def write(self, content: bytes) -> None:
        """Replace the entry.

        Raises
        ------
        OSError
            The keyring does not take it.
        """
        try:
            _keyring().set_password(SERVICE, entry(self._home), content.decode())
        except Exception as error:  # noqa: BLE001 - each keyring has failures of its own
            raise OSError(f"the keyring refuses: {type(error).__name__}") from None
        with self._guard:
            self._known, self._is_known = content, True

    def locked(self) -> AbstractContextManager[None]:
        """Keep other processes from renewing it; what they have renewed is read afterwards."""
        with self._guard:
            self._is_known = False
        return places.locked(self._home / "auth.json.lock")

    def _asked(self) -> bytes | None:
        if importlib.util.find_spec(PACKAGE) is None:
            return None
        try:
            found = _keyring().get_password(SERVICE, entry(self._home))
        except Exception:  # noqa: BLE001 - a machine without a desktop has a keyring that fails
            return None
        return found.encode() if isinstance(found, str) and found else None


def _keyring() -> Any:
    return importlib.import_module(PACKAGE)
