"""Kernels of other versions of ipykernel than the one that is installed.

CI runs the installed one and `ALWAYS`; the others run where ``CODEX_MAGIC_KERNELS=all`` is set.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SETTING = "CODEX_MAGIC_KERNELS"
INSTALLED = "installed"
ALWAYS = ("6.29.5",)
ON_DEMAND = ("6.17.1", "7.0.1", "7.3.0")


def versions() -> tuple[str, ...]:
    """Return the versions that are asked for, the installed one first."""
    return (INSTALLED, *ALWAYS, *(ON_DEMAND if os.environ.get(SETTING) == "all" else ()))


def make(version: str, *, data: Path, room: Path, path: Sequence[str]) -> str:
    """Install a version beside the environment, and return the name of a kernel that runs it.

    Parameters
    ----------
    version
        Of ipykernel; its dependencies are those of the environment.
    data
        The server's data folder, where it looks for kernels.
    room
        Where to install.
    path
        What else stands on the kernel's path.
    """
    name = f"ipykernel-{version}"
    target = room / name
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    subprocess.run([*pip, "--target", target, f"ipykernel=={version}"], check=True)
    spec = data / "kernels" / name / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps(_spec(name, [str(target), *path])))
    return name


def _spec(name: str, path: Sequence[str]) -> dict[str, object]:
    return {
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": name,
        "language": "python",
        "env": {"PYTHONPATH": os.pathsep.join(path)},
    }
