"""What a turn is given to run with: a backend with its threads, and hands."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from codex_magic.notebook.attach import Attachment

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_magic.backends.base import Backend
    from codex_magic.policy import Grant
    from codex_magic.tape import Player, Tape
    from codex_magic.tools.base import Tool


@dataclass(slots=True)
class Desk:
    """A backend, and the notebook's threads that live there."""

    backend: Backend
    attachment: Attachment = field(default_factory=Attachment)
    told: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    tape: Tape | None = None
    player: Player | None = None
    home: str | None = None

    def close(self) -> None:
        """End the backend, and the tape with everything that was made for it."""
        self.backend.close()
        if self.player is not None:
            self.player.close()
        if self.home is not None:
            shutil.rmtree(self.home, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Hands:
    """What an agent can do here: its tools, and what a person has allowed until the kernel ends."""

    tools: Mapping[str, Tool]
    grants: dict[Grant, None] = field(default_factory=dict)
