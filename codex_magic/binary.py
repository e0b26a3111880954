"""Where Codex is: the one place that knows.

Three sources, in this order: the ``CODEX_MAGIC_CODEX`` setting, a ``codex`` on PATH, and the
binary inside the package ``openai-codex-cli-bin``. That package also ships the ``bwrap`` that
the sandbox uses. Nothing here starts a process.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTING: Final = "CODEX_MAGIC_CODEX"
INSTALL: Final = "pip install -U openai-codex-cli-bin"

Version = tuple[int, int, int]
MINIMUM: Final[Version] = (0, 163, 0)
NEWEST_TESTED: Final[Version] = (0, 163, 99)


@dataclass(frozen=True, slots=True)
class CodexBinary:
    """A Codex program and where it was found."""

    path: Path
    source: Literal["setting", "PATH", "package"]


def candidates(environ: Mapping[str, str] | None = None) -> list[CodexBinary]:
    """Return every Codex on this machine, the preferred one first.

    A setting is a person's word and stands alone. A relative entry of PATH is passed over: it
    would let the folder of a notebook choose the program.

    Raises
    ------
    SetupError
        There is none, or the setting names a file that cannot be run.
    """
    environ = os.environ if environ is None else environ
    if chosen := environ.get(SETTING):
        return [CodexBinary(_runnable(Path(chosen).expanduser()), "setting")]
    found = []
    folders = [p for p in environ.get("PATH", "").split(os.pathsep) if Path(p).is_absolute()]
    if on_path := shutil.which("codex", path=os.pathsep.join(folders)):
        found.append(CodexBinary(Path(on_path), "PATH"))
    if (package := _package()) and (packaged := package / "bin" / "codex").is_file():
        found.append(CodexBinary(packaged, "package"))
    if not found:
        raise SetupError("Codex is not installed", hint=f"Type: {INSTALL}")
    return found


def bundled_bwrap() -> Path | None:
    """Return the ``bwrap`` that came with the Codex package, if it did."""
    if (package := _package()) is None:
        return None
    bwrap = package / _described(package).get("resourcesDir", "codex-resources") / "bwrap"
    return bwrap if os.access(bwrap, os.X_OK) else None


@functools.cache
def bundled_tools() -> Path | None:
    """Return the folder of the tools that came with the Codex package, `rg` among them."""
    if (package := _package()) is None:
        return None
    folder = _described(package).get("pathDir")
    return package / folder if folder and (package / folder).is_dir() else None


def _described(package: Path) -> dict[str, str]:
    described: dict[str, str] = json.loads((package / "codex-package.json").read_text())
    return described


@functools.cache
def _package() -> Path | None:
    spec = importlib.util.find_spec("codex_cli_bin")
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).resolve().parent
    return folder if (folder / "codex-package.json").is_file() else None


def _runnable(path: Path) -> Path:
    if not path.is_file():
        raise SetupError(
            f"{SETTING} names {path}, which is not there",
            hint=f"Correct or unset it, or type: {INSTALL}",
        )
    if not os.access(path, os.X_OK):
        raise SetupError(
            f"{SETTING} names {path}, which is not executable", hint=f"Type: chmod +x {path}"
        )
    return path


def parse_version(text: str) -> Version | None:
    """Return the first ``a.b.c`` in `text`, a user agent or the output of ``--version``."""
    for word in text.replace("/", " ").split():
        numbers = word.split("-")[0].split(".")
        if len(numbers) == len(MINIMUM) and all(n.isdecimal() for n in numbers):
            return (int(numbers[0]), int(numbers[1]), int(numbers[2]))
    return None


def spoken(version: Version) -> str:
    """Return `version` as people write it."""
    return ".".join(map(str, version))
