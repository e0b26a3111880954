"""Which notebook, and which cell of it, a kernel is running.

No front end says it outright. JupyterLab and Notebook 7 name the cell with each request and know
the file by the kernel's id, VS Code leaves a variable, a headless run knows nothing unless it is
told. An inherited ``JPY_SESSION_NAME`` names somebody else's notebook, so it counts only where a
front end has named a cell. The variables and paths are those of Jupyter Server 2, ipykernel and VS
Code's Jupyter extension.
"""

from __future__ import annotations

import json
import logging
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("codex_magic")

GIVEN: Final = "CODEX_MAGIC_NOTEBOOK"
"""Names the notebook of a headless run."""

SERVER_S: Final = 0.5
"""Seconds that the server has to say which notebook this is; it takes some milliseconds."""

LONGEST: Final = 4 * 1024 * 1024
"""Bytes of a server's answer that are read."""

_KERNEL: Final = re.compile(r"kernel-(?P<id>[\w-]+)\.json")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a cell runs.

    Parameters
    ----------
    path
        The notebook's file, absolute; None where nobody says it.
    cell_id
        The cell's id in the file; empty where the front end does not name it.
    is_sure
        Whether a front end or the server says so now; else the path is that of the kernel's start.
    """

    path: Path | None = None
    cell_id: str = ""
    is_sure: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Hints:
    """What a kernel has been told by those around it.

    Parameters
    ----------
    cell
        ``metadata.cellId`` of the request that runs; empty where there is none.
    vscode
        The variable ``__vsc_ipynb_file__``, whatever it holds.
    connection_file
        The kernel's own, which has its id in its name; empty in a terminal.
    runtime
        Where Jupyter's servers leave word of themselves; None where that is not known.
    """

    cell: str = ""
    vscode: object = None
    connection_file: str = ""
    runtime: Path | None = None


def find(hints: Hints, environ: Mapping[str, str]) -> Place:
    """Return where the running cell is, as far as that can be known."""
    is_interactive = hints.cell or hints.vscode is not None
    if (given := environ.get(GIVEN)) and not is_interactive:
        return Place(Path(given).absolute())  # else it was inherited from a headless run
    if not hints.connection_file:
        return Place()
    if isinstance(hints.vscode, str) and hints.vscode:
        # Its name for a cell is an address, not an id.
        return Place(_file(hints.vscode), "", is_sure=True)
    if (path := _asked(hints, environ)) is not None:
        return Place(path, hints.cell, is_sure=True)
    return Place(_file(environ.get("JPY_SESSION_NAME", "")) if hints.cell else None, hints.cell)


def _file(name: str) -> Path | None:
    path = Path(name)
    try:
        return path if path.is_absolute() and path.is_file() else None
    except (OSError, ValueError):  # a name too long, or with a NUL
        return None


def _asked(hints: Hints, environ: Mapping[str, str]) -> Path | None:
    """Return what the Jupyter server says of this kernel; it follows when a file is renamed."""
    found = _KERNEL.fullmatch(Path(hints.connection_file).name)
    parent = environ.get("JPY_PARENT_PID", "")
    if found is None or hints.runtime is None or not parent.isdecimal():
        return None
    try:
        server = json.loads((hints.runtime / f"jpserver-{parent}.json").read_text())
        for session in _sessions(server["url"], server["token"]):
            if _is_of(session, found["id"]):
                return Path(server["root_dir"], session["path"]).absolute()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        # No such server, or none that lets itself be asked: others say where we are.
        log.debug("the Jupyter server does not say where this is", exc_info=True)
    return None


def _is_of(session: Any, kernel_id: str) -> bool:
    """Whether a session is a notebook's that runs this kernel; others need not even have one."""
    kernel = session.get("kernel") or {}
    return bool(kernel.get("id") == kernel_id and session.get("type") == "notebook")


def _sessions(address: str, token: str) -> Any:
    """Ask a server for its sessions; never through a proxy, which could not reach it."""
    from http.client import HTTPConnection, HTTPException, HTTPSConnection  # noqa: PLC0415

    url = urlsplit(address)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("the server listens elsewhere")
    kind = HTTPSConnection if url.scheme == "https" else HTTPConnection
    connection = kind(url.hostname, url.port, timeout=SERVER_S)
    try:
        headers = {"Authorization": f"token {token}"} if token else {}
        connection.request("GET", f"{quote(url.path, safe='/%')}api/sessions", headers=headers)
        answer = connection.getresponse()
        if answer.status != 200:  # noqa: PLR2004 - HTTP's OK
            raise ValueError(f"the server answered {answer.status}")
        return json.loads(answer.read(LONGEST))
    except HTTPException as error:
        raise ValueError("the server does not speak HTTP") from error
    finally:
        connection.close()
