"""The turns that a notebook's outputs keep, read as data.

A file may have been edited by anybody: what does not fit is passed over and counted, nothing in it
is obeyed, and it is never written. Only what a thread is taken up by is decoded, not the outputs of
commands: 5 MB of notebook take some 10 ms so, and 50 and its import with nbformat.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic.items import AgentMessage, UserMessage, well_formed
from codex_magic.settings import thread_name
from codex_magic.turn import MIME, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES: Final = 200
"""Names of variables that are taken over from a stored turn."""

LONGEST: Final = 512 * 1024 * 1024
"""Bytes of a file that is read at all."""


class Said(msgspec.Struct, frozen=True):
    """One message of a stored turn."""

    type: str = ""
    text: str = ""
    draft: str = ""


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """What is taken over from a stored turn as it is; fields as `codex_magic.turn.Turn`."""

    id: str = ""
    thread_id: str = ""
    thread_name: str = "main"
    parent: str = ""
    inputs: str = ""
    names: tuple[str, ...] = ()
    backend: str = ""
    model: str = ""
    tape: str = ""
    private: bool = False
    status: str = ""
    prompt: str = ""


class Kept(_Head, frozen=True, kw_only=True):
    """A stored turn, as far as a thread is taken up by it.

    Parameters
    ----------
    began
        When, in seconds since the epoch; 0 where that is not known.
    said
        What the person and the agent said, in order: pairs of ``user`` or ``agent``, and the text.
    """

    began: float = 0.0
    said: tuple[tuple[str, str], ...] = ()

    @property
    def answer(self) -> str:
        """The last thing that the agent said."""
        return next((text for who, text in reversed(self.said) if who == "agent"), "")


class _Stored(_Head, frozen=True, kw_only=True):
    version: int
    items: tuple[msgspec.Raw, ...] = ()
    started_at: float | None = None


_ITEM: Final = msgspec.json.Decoder(Said)
_TURN: Final = msgspec.json.Decoder(_Stored)
_WHO: Final = {"user_message": "user", "agent_message": "agent"}


def _kept(raw: bytes | msgspec.Raw) -> Kept:
    """Decode a stored turn.

    Raises
    ------
    msgspec.DecodeError, UnicodeDecodeError
        It does not fit, or its thread has a name that no person could give it.
    """
    stored = _TURN.decode(raw)
    fields = {name: getattr(stored, name) for name in _Head.__struct_fields__}
    fields["names"] = stored.names[:NAMES]
    at = stored.started_at
    try:
        thread_name(stored.thread_name)
    except ValueError as error:
        raise msgspec.ValidationError(str(error)) from None
    began = at if at is not None and math.isfinite(at) else 0.0
    return Kept(began=began, said=tuple(_said(stored.items)), **fields)


def _said(items: tuple[msgspec.Raw, ...]) -> Iterator[tuple[str, str]]:
    for raw in items:
        try:
            item = _ITEM.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue  # it is of another kind, or of another hand
        who, text = _WHO.get(item.type), item.text or item.draft
        if who and text:
            yield who, text


NOTHING: Final = msgspec.Raw()


class _Data(msgspec.Struct, rename={"turn": MIME}):
    turn: msgspec.Raw = NOTHING  # a union with None would take None only


class _Output(msgspec.Struct):
    data: _Data | None = None


class _Cell(msgspec.Struct):
    id: str = ""
    outputs: tuple[_Output, ...] = ()


class _File(msgspec.Struct):
    cells: tuple[_Cell, ...] = ()


_FILE: Final = msgspec.json.Decoder(_File)


class Records(msgspec.Struct, frozen=True, kw_only=True):
    """What a notebook's file keeps.

    Parameters
    ----------
    turns
        In the order in which they began; of turns that stand there twice, one.
    cells
        The ids of its cells, as far as they have any.
    unreadable
        How many stored turns do not fit.
    trouble
        Why nothing could be read, in words; empty where it could.
    """

    turns: tuple[Kept, ...] = ()
    cells: frozenset[str] = frozenset()
    unreadable: int = 0
    trouble: str = ""


def read(path: Path) -> Records:
    """Return the turns that the notebook at `path` keeps; a file that is not there keeps none."""
    try:
        if path.stat().st_size > LONGEST:
            return Records(trouble="it is too large to be read for its threads")
        raws, cells = _stored(path.read_bytes())
    except FileNotFoundError:
        return Records()
    except OSError as error:
        return Records(trouble=f"it cannot be read: {error.strerror}")
    except (ValueError, RecursionError):
        return Records(trouble="it is not a notebook that can be read")
    found: dict[str, Kept] = {}
    unreadable = 0
    for raw in raws:
        try:
            turn = _kept(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            unreadable += 1
        else:
            if turn.id:
                found[turn.id] = turn
    # Sorting is stable: where times are missing, the order in the file is what there is.
    turns = tuple(sorted(found.values(), key=lambda t: t.began))
    return Records(turns=turns, cells=frozenset(cells), unreadable=unreadable)


def whole(path: Path, turn_id: str) -> Any:
    """Return the JSON of a stored turn, all of it; None where it is not there."""
    try:
        raws, _ = _stored(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    for raw in reversed(raws):  # of two with one id, `read` keeps the last
        try:
            if _TURN.decode(raw).id == turn_id:
                return msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return None


def kept(turn: Turn) -> Kept:
    """Return what a notebook would keep of `turn`; looks at no output of a command."""
    kinds: tuple[tuple[type, str], ...] = ((UserMessage, "user"), (AgentMessage, "agent"))
    said = tuple(
        (who, well_formed(str(item.text) or str(item.draft)))
        for item in turn.items
        for kind, who in kinds
        if isinstance(item, UserMessage | AgentMessage)
        and isinstance(item, kind)
        and (item.text or item.draft)
    )
    fields = {name: getattr(turn, name) for name in _Head.__struct_fields__}
    return Kept(**fields | {"names": turn.names[:NAMES]}, began=turn.started_at or 0.0, said=said)


def _stored(raw: bytes) -> tuple[list[msgspec.Raw], set[str]]:
    """Return the JSON of each stored turn, in the order of the cells, and the cells' ids."""
    try:
        found = _FILE.decode(raw)
    except msgspec.ValidationError:
        # Something beside the turns is of another shape than a notebook's: look at each part.
        return _searched(json.loads(raw))
    outputs = [output for cell in found.cells for output in cell.outputs]
    raws = [output.data.turn for output in outputs if output.data is not None]
    return [raw for raw in raws if bytes(raw)], {cell.id for cell in found.cells if cell.id}


def _searched(document: Any) -> tuple[list[msgspec.Raw], set[str]]:
    cells = _list(_get(document, "cells"))
    outputs = [output for cell in cells for output in _list(_get(cell, "outputs"))]
    turns = [_get(_get(output, "data"), MIME) for output in outputs]
    ids = [_get(cell, "id") for cell in cells]
    return (
        [msgspec.Raw(json.dumps(turn).encode()) for turn in turns if turn is not None],
        {found for found in ids if isinstance(found, str) and found},
    )


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
