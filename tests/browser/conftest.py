"""A real JupyterLab and Notebook 7 in headless Chromium, on this machine's loopback only."""

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
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from codex_magic.testing import FakeModel

from . import kernels
from .drive import Desk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from playwright.sync_api import Browser, BrowserContext

    from .drive import Front, Notebook

LESSONS = Path(__file__).parents[2] / "notebooks"
TOKEN = "tok"
START_S = 60
SHOWS_MS = 15_000


@dataclass(frozen=True)
class Lab:
    """A running server of JupyterLab and Notebook 7, and the folder they show.

    `data` is where it looks for kernels, `path` what stands on their own paths.
    """

    url: str
    root: Path
    data: Path
    path: tuple[str, ...]

    def page_of(self, notebook: str, front: Front = "lab") -> str:
        """Return the address of a notebook, with a fresh layout."""
        folder = {"lab": "lab/tree", "notebook": "notebooks"}[front]
        return f"{self.url}/{folder}/{notebook}?reset&token={TOKEN}"

    def empty_page(self) -> str:
        """Return the address of JupyterLab without a notebook."""
        return f"{self.url}/lab?reset&token={TOKEN}"


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
    path = _path(own / "path")
    environ = {name: str(own / name) for name in places} | {"PYTHONPATH": os.pathsep.join(path)}
    port = _free_port()
    with (own / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            [
                *(sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser"),
                *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
                *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}"),
                *("--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"),
                "--JupyterNotebookApp.expose_app_in_browser=True",
            ],
            env=os.environ | environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        url = f"http://127.0.0.1:{port}"
        try:
            _await(url, server)
            yield Lab(url, root, own / "JUPYTER_DATA_DIR", path)
        finally:
            _end_kernels(url)
            server.terminate()
            server.wait(20)


@pytest.fixture(scope="session")
def desk(browser: Browser, browser_context_args: dict[str, Any], lab: Lab) -> Iterator[Desk]:
    expect.set_options(timeout=SHOWS_MS)
    # One window for all: its cache has what each page of JupyterLab would load again.
    window: BrowserContext = browser.new_context(**browser_context_args)
    window.set_default_timeout(SHOWS_MS)
    yield Desk(window, lab)
    window.close()


@pytest.fixture
def model() -> Iterator[FakeModel]:
    """The model that the turns of `notebook` are answered by."""
    with FakeModel() as made:
        yield made


@pytest.fixture
def notebook(desk: Desk, model: FakeModel) -> Iterator[Callable[..., Notebook]]:
    """Open a notebook; its cell 0 has been run, and connects its turns with `model`."""
    opened: list[Notebook] = []

    def open_(*cells: str, set_up: bool = True, **how: Any) -> Notebook:
        first = f"import scripted\nscripted.use({model.base_url!r})"
        made = desk.open([first, *cells], **how)
        opened.append(made)
        if set_up:
            made.run(0)
            made.settle()
            assert made.outputs(0) == []
        return made

    yield open_
    for made in opened:
        made.close()
    assert desk.clear() == [], "the page reported errors"


@pytest.fixture(scope="session")
def kernel_of(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Return the name of the kernel that runs a version of ipykernel, installed at first use."""
    room = tmp_path_factory.mktemp("kernels")
    made = {kernels.INSTALLED: "python3"}

    def name(version: str) -> str:
        if version not in made:
            made[version] = kernels.make(version, data=lab.data, room=room, path=lab.path)
        return made[version]

    return name


def _path(folder: Path) -> tuple[str, ...]:
    """Return what stands on the kernels' path: one module of these tests, and what did before."""
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("scripted.py"), folder)
    return tuple(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


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
