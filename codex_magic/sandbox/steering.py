"""Names that steer programs which later run outside the sandbox.

Version control, editors, environments and Jupyter itself read them from the folder they are
started in, and do what they say. What is there stays read-only for commands; what a command makes
under such a name is put aside after it. Only the top of a writable folder is looked at.
"""

from __future__ import annotations

import re
from typing import Final

_NAMES: Final = frozenset(
    (
        # Hooks, filters and aliases of version control.
        *(".git", ".hg", ".svn", ".jj", ".gitmodules"),
        # Agents, editors, containers: tasks and servers that start with the folder.
        *(".codex", ".agents", ".claude", ".cursor", ".mcp.json", ".vscode", ".idea"),
        *(".devcontainer", ".husky", ".pre-commit-config.yaml", ".envrc", ".direnv"),
        # Environments: what stands in them is imported.
        *(".venv", "venv", "pyvenv.cfg", ".pth"),
        # Start files of shells, debuggers and tools, for a folder that serves as somebody's home.
        *(".bashrc", ".bash_profile", ".bash_login", ".bash_logout", ".profile", ".inputrc"),
        *(".zshrc", ".zshenv", ".zprofile", ".zlogin", ".pdbrc", ".gdbinit", ".lldbinit"),
        *(".gitconfig", ".netrc", ".npmrc", ".pypirc", ".pythonrc", ".pythonrc.py"),
        *(".ssh", ".aws", ".config", ".local"),
        # Jupyter and IPython.
        *(".jupyter", ".ipython"),
    )
)
_CONFIGURATION: Final = re.compile(r"(?:ipython|jupyter)\w*_config\.(?:py|json)")

BARE: Final = ("HEAD", "objects", "refs")
"""Together they make the folder itself a repository, to version control that is run in it."""

BARE_STEERS: Final = ("HEAD", "config")


def steers(name: str) -> bool:
    """Return whether a file or folder of this name is obeyed by other programs."""
    return name in _NAMES or _CONFIGURATION.fullmatch(name) is not None
