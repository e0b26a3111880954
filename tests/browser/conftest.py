"""A real JupyterLab in headless Chromium, on this machine's loopback only."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

LESSONS = Path(__file__).parents[2] / "notebooks"
TOKEN = "tok"
START_S = 60


@dataclass(frozen=True)
class Lab:
    """A running JupyterLab, and the folder it shows."""

    url: str
    root: Path

    def page_of(self, notebook: str) -> str:
        """Return the address of a notebook, with a fresh layout."""
        return f"{self.url}/lab/tree/{notebook}?reset&token={TOKEN}"


@pytest.fixture(scope="session")
def browser_type_launch_args() -> dict[str, object]:
    chromium = shutil.which("chromium")
    assert chromium, "Chromium is missing: apt-get install chromium"
    flags = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ]
    return {"executable_path": chromium, "args": flags}


@pytest.fixture(scope="session")
def browser_context_args() -> dict[str, object]:
    return {"viewport": {"width": 1080, "height": 1360}, "device_scale_factor": 1.5}


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    root = tmp_path_factory.mktemp("lab")
    shutil.copytree(LESSONS, root, dirs_exist_ok=True)
    own = tmp_path_factory.mktemp("jupyter")
    _settle(own / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab")
    places = (
        "JUPYTER_CONFIG_DIR",
        "JUPYTER_RUNTIME_DIR",
        "IPYTHONDIR",
        "JUPYTER_DATA_DIR",
        "JUPYTERLAB_SETTINGS_DIR",
    )
    port = _free_port()
    with (own / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser"),
                *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
                *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}"),
                *("--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"),
            ],
            env=os.environ | {name: str(own / name) for name in places},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _await(url, server)
            yield Lab(url, root)
        finally:
            _end_kernels(url)
            server.terminate()
            server.wait(20)


def _settle(settings: Path) -> None:
    """Have no question about news, and every cell in the page, also those out of sight."""
    chosen = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in chosen.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert server.poll() is None, "JupyterLab ended before it answered"
        with contextlib.suppress(OSError):
            _ask(url, "/api/status")
            return
        server_pause()
    pytest.fail("JupyterLab did not answer")


def server_pause() -> None:
    """Give a starting server a moment: it offers nothing to wait on but its port."""
    time.sleep(0.1)


def _ask(url: str, path: str, method: str = "GET") -> bytes:
    request = urllib.request.Request(f"{url}{path}?token={TOKEN}", method=method)
    with urllib.request.urlopen(request, timeout=10) as answer:
        return bytes(answer.read())


def _end_kernels(url: str) -> None:
    with contextlib.suppress(OSError):
        for session in json.loads(_ask(url, "/api/sessions")):
            _ask(url, f"/api/sessions/{session['id']}", "DELETE")
