"""Runs in the kernels under test: the real Codex, and a model that a test has scripted.

It stands on the kernels' own path, see the fixture `lab`; nothing else of these tests does.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from IPython.core.getipython import get_ipython

from codex_magic.backends.appserver import wire
from codex_magic.backends.appserver.backend import AppServerBackend
from codex_magic.session import Session
from codex_magic.tape import homes

if TYPE_CHECKING:
    from collections.abc import Mapping

NOT_THE_PERSONS = ("OPENAI_API_KEY", "CODEX_API_KEY", "CODEX_ACCESS_TOKEN")
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


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
    magics = _loaded(home or _home(), wire.tape_provider(base_url))
    magics.model = model


def signs_in_at(environ: dict[str, str], chatgpt_base_url: str) -> None:
    """Load the extension and have Codex sign people in at the issuer that `environ` names."""
    settings = [
        f"chatgpt_base_url={json.dumps(chatgpt_base_url)}",
        'openai_base_url="http://127.0.0.1:9/v1"',
        'cli_auth_credentials_store="file"',
        "analytics.enabled=false",
    ]
    _loaded(_home(), settings, environ)


def _home() -> str:
    """Make a home for Codex that goes with the kernel."""
    home = homes.make()
    # Before the extension is loaded: at the end its Codex must be gone before its home is.
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    return home


def _loaded(home: str, overrides: list[str], given: Mapping[str, str] = _NOTHING) -> Any:
    shell: Any = get_ipython()
    shell.run_line_magic("load_ext", "codex_magic")
    environ = {name: value for name, value in os.environ.items() if name not in NOT_THE_PERSONS}
    environ |= {"CODEX_HOME": home, "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", **given}

    def connect() -> AppServerBackend:
        return AppServerBackend(tools=session._specs(), environ=environ, overrides=overrides)

    magics = shell.magics_manager.registry["CodexMagics"]
    magics._session = session = Session(connect=connect)
    return magics
