"""Runs in the kernels under test: the real Codex, and a model that a test has scripted.

It stands on the kernels' own path, see the fixture `lab`; nothing else of these tests does.
"""

from __future__ import annotations

import atexit
import os
import shutil
from typing import Any

from IPython.core.getipython import get_ipython

from codex_magic.backends.appserver import wire
from codex_magic.backends.appserver.backend import AppServerBackend
from codex_magic.session import Session
from codex_magic.tape import homes

NOT_THE_PERSONS = ("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN")


def use(base_url: str, model: str = "gpt-5.5", home: str = "", data: str = "") -> None:
    """Load the extension and have its turns answered by the model that listens there.

    Parameters
    ----------
    home
        Codex's, for kernels that come after this one; else one that goes with the kernel.
    data
        Where the index of notebooks is; else where the server has its own data.
    """
    if data:
        os.environ["JUPYTER_DATA_DIR"] = data
    if not home:
        home = homes.make()
        # Before the extension is loaded: at the end its Codex must be gone before its home is.
        atexit.register(shutil.rmtree, home, ignore_errors=True)
    shell: Any = get_ipython()
    shell.run_line_magic("load_ext", "codex_magic")
    magics = shell.magics_manager.registry["CodexMagics"]
    magics.model = model
    session = Session(connect=lambda: _backend(session, home, base_url))
    magics._session = session


def _backend(session: Session, home: str, base_url: str) -> AppServerBackend:
    environ = {name: value for name, value in os.environ.items() if name not in NOT_THE_PERSONS}
    environ |= {"CODEX_HOME": home, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}
    overrides = wire.tape_provider(base_url)
    return AppServerBackend(tools=session._specs(), environ=environ, overrides=overrides)
