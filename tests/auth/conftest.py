"""What these tests share: an issuer that is a fake, and a person's folders."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.auth import sources
from codex_magic.settings import Settings
from codex_magic.testing import FakeIssuer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Json = dict[str, Any]


class Room:
    """Where one person keeps their sign-ins."""

    def __init__(self, folder: Path, issuer: FakeIssuer) -> None:
        self.folder = folder
        self.issuer = issuer
        self.ours = folder / "data/codex_magic/auth.json"
        self.codexs = folder / "codex/auth.json"
        self.environ = {
            "HOME": str(folder),
            "PATH": os.environ["PATH"],
            "JUPYTER_DATA_DIR": str(folder / "data"),
            "CODEX_HOME": str(folder / "codex"),
            **issuer.environ,
        }

    def keep(self, document: Json | str | bytes, path: Path | None = None) -> Path:
        path = path or self.ours
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        text = json.dumps(document) if isinstance(document, dict) else document
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        path.chmod(0o600)
        return path

    def kept(self, path: Path | None = None) -> Json:
        found = json.loads((path or self.ours).read_text())
        assert isinstance(found, dict)
        return found

    def expired(self) -> Json:
        """A sign-in whose access token is too old."""
        return self.aged(-60)

    def aged(self, lifetime_s: float) -> Json:
        """A sign-in whose access token is good for so long."""
        before, self.issuer.lifetime_s = self.issuer.lifetime_s, lifetime_s
        document = self.issuer.signed_in()
        self.issuer.lifetime_s = before
        document["last_refresh"] = "2026-01-01T00:00:00.123456789Z"
        return document

    def find(self, **settings: Any) -> sources.Chosen:
        return sources.find(Settings(**settings), self.environ)


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with FakeIssuer(interval_s=0.02) as made:
        yield made


@pytest.fixture
def room(tmp_path: Path, issuer: FakeIssuer) -> Room:
    return Room(tmp_path, issuer)


@pytest.fixture
def until() -> Callable[[Callable[[], Any]], None]:
    """Return as soon as something holds; a test that waits in vain fails."""

    def waiting(condition: Callable[[], Any]) -> None:
        deadline = time.monotonic() + 20
        while not condition():
            assert time.monotonic() < deadline, "it has not come to pass"
            time.sleep(0.005)

    return waiting
