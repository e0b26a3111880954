"""What this machine can enforce of a turn's policy, found out while its backend starts."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from codex_magic import sandbox

if TYPE_CHECKING:
    from codex_magic.turn import TurnRequest


class Level:
    """What the machine can enforce, found out while the backend starts."""

    def __init__(self, request: TurnRequest) -> None:
        self._mode = request.policy.mode
        self._found = ""
        self._work = threading.Thread(target=self._probe, name="codex probe", daemon=True)
        self._work.start()

    def _probe(self) -> None:
        self._found = sandbox.probe().level

    def wait(self) -> str:
        """Return it, as a turn keeps it."""
        if self._mode == "external":
            return "external"
        if self._mode == "full-access":
            return "off"
        self._work.join()
        return self._found or "none"
