"""A notebook on disk: read with care, and written beside its place before it takes it.

It knows the format and the file system. What stands in the cells is data, also where it is not
what it should be.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from nbformat.v4 import nbjson

from codex_magic.errors import RecordError, SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FORMAT: Final = 4


def read(path: Path) -> Any:
    """Return the notebook at `path`, as it stands there.

    Raises
    ------
    RecordError
        There is none, or it is none that can be run.
    """
    name = shlex.quote(str(path))
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{name} cannot be read: {error.strerror}") from None
    if not raw.strip():
        raise RecordError(f"{name} is empty")
    try:
        data = json.loads(raw)
    # Not JSON, not text, numbers of a million digits; and brackets in brackets without an end.
    except (ValueError, RecursionError):
        raise RecordError(f"{name} is not a notebook: it is not JSON") from None
    _check(data, name)
    with _deep():
        return nbjson.to_notebook(data)


def _check(data: Any, name: str) -> None:
    """Raise unless `data` has the shape that those rely on who read it here and in nbformat."""
    number = data.get("nbformat") if isinstance(data, dict) else None
    if type(number) is not int:
        raise RecordError(f"{name} is not a notebook: it has no format number")
    if number < FORMAT:
        raise RecordError(
            f"{name} is a notebook of the old format {number}",
            hint=f"Upgrade it: jupyter nbconvert --to notebook --inplace {name}",
        )
    if number > FORMAT:
        raise RecordError(f"{name} is of format {number}, which is newer than this program")
    cells = data.get("cells")
    sound = isinstance(cells, list) and isinstance(data.get("metadata"), dict)
    if not sound or not all(map(_is_cell, cells or ())):
        raise RecordError(f"{name} is a broken notebook: its cells are not as they must be")


def _is_cell(cell: Any) -> bool:
    if not isinstance(cell, dict) or not isinstance(cell.get("metadata"), dict):
        return False
    attachments, outputs = cell.get("attachments", {}), cell.get("outputs", [])
    kind, tags = cell.get("cell_type"), cell["metadata"].get("tags", [])
    return (
        isinstance(kind, str)
        and isinstance(tags, list)
        and _is_text(cell.get("source"))
        and isinstance(attachments, dict)
        and all(isinstance(each, dict) for each in attachments.values())
        and (isinstance(outputs, list) if kind == "code" else "outputs" not in cell)
        and (kind != "code" or "outputs" in cell)
        and all(map(_is_output, outputs))
    )


def _is_output(output: Any) -> bool:
    if not isinstance(output, dict) or not isinstance(output.get("output_type"), str):
        return False
    is_text = output["output_type"] != "stream" or _is_text(output.get("text"))
    return is_text and isinstance(output.get("data", {}), dict)


def _is_text(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(line, str) for line in value)
    return isinstance(value, str)


def write(notebook: Any, path: Path) -> None:
    """Put `notebook` at `path`; what is there stays whole until all of the new one is on disk.

    A link is followed, and the mode of a file that is there is kept.

    Raises
    ------
    SetupError
        It cannot be written: nothing has changed then.
    """
    with _deep():
        text = nbjson.writes(notebook)
    # Halves of characters are legal in JSON as escapes, and this is how they look.
    raw = f"{text}\n".encode(errors="backslashreplace")
    target, beside = _beside(path)
    try:
        _fill(beside, raw, _mode(target))
        beside.replace(target)
    except OSError as error:
        raise _unwritable(path, error) from None
    finally:
        beside.unlink(missing_ok=True)
    _settle(target.parent)


@contextmanager
def _deep() -> Iterator[None]:
    """Let nbformat, which copies level by level, go as deep as a parser has gone before."""
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(max(limit, 20_000))
    try:
        yield
    finally:
        sys.setrecursionlimit(limit)


def try_to_write(path: Path) -> None:
    """Raise a `SetupError` where `write` could not even begin: better now than after hours."""
    target, beside = _beside(path)
    try:
        if target.is_dir():
            raise SetupError(f"{shlex.quote(str(path))} is a folder")
        if target.exists() and not target.stat().st_mode & 0o222:
            raise SetupError(f"{shlex.quote(str(path))} is read-only")
        os.close(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        beside.unlink()
    except OSError as error:
        raise _unwritable(path, error) from None


def _beside(path: Path) -> tuple[Path, Path]:
    """Return the file that `path` leads to, and a new name in the same folder."""
    try:
        target = path.resolve()
    except (OSError, RuntimeError):  # a ring of links
        raise SetupError(f"{shlex.quote(str(path))} leads nowhere") from None
    # Not after the notebook's own name, which may be as long as a name can be.
    return target, target.with_name(f".codex-magic-{secrets.token_hex(8)}.tmp")


def _mode(target: Path) -> int | None:
    try:
        return target.stat().st_mode & 0o7777
    except FileNotFoundError:
        return None


def _fill(beside: Path, raw: bytes, mode: int | None) -> None:
    # Made with what a new file gets here; closed to others at once where the old one was.
    made = 0o666 if mode is None else mode & 0o666
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, made), "wb") as file:  # noqa: PTH123
        if mode is not None:
            os.fchmod(file.fileno(), mode)
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())


def _settle(folder: Path) -> None:
    """Have the folder remember the new file after a power cut; not all file systems can."""
    try:
        fd = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(fd)
    except OSError:
        pass
    finally:
        os.close(fd)


def _unwritable(path: Path, error: OSError) -> SetupError:
    return SetupError(f"{shlex.quote(str(path))} cannot be written: {error.strerror}")


def language(notebook: Any) -> str:
    """Return the notebook's language, as far as it names one."""
    kernel = notebook.metadata.get("kernelspec")
    info = notebook.metadata.get("language_info")
    names = (
        kernel.get("language") if isinstance(kernel, dict) else None,
        info.get("name") if isinstance(info, dict) else None,
    )
    return next((name for name in names if isinstance(name, str) and name), "")
