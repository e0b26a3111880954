"""What a person should hear of their credentials, each once."""

from __future__ import annotations

import logging
import threading
from typing import Final

log: Final = logging.getLogger("codex_magic.auth")


class Notices:
    """Sentences without secrets, in the order they came."""

    def __init__(self) -> None:
        self._said: list[str] = []
        self._guard = threading.Lock()

    def say(self, sentence: str) -> None:
        """Keep `sentence` and log it, unless it was said before."""
        with self._guard:
            if sentence in self._said:
                return
            self._said.append(sentence)
        log.warning("%s", sentence)

    @property
    def all(self) -> tuple[str, ...]:
        """Everything said so far."""
        with self._guard:
            return tuple(self._said)
