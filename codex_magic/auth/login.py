"""Signing in and out: what is brought goes into our own file, never into Codex's."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from codex_magic.auth import device as by_device
from codex_magic.auth import document, exchange, homes, memory, personal, places
from codex_magic.errors import BackendError, CellError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from codex_magic.auth.browser import BrowserSignIn
    from codex_magic.auth.device import DeviceSignIn


PATIENCE_S: Final = places.PATIENCE_S
"""Seconds that signing out waits for another process, which may just be renewing it."""


def device(environ: Mapping[str, str], *, account: str | None = None) -> DeviceSignIn:
    """Begin a sign-in with a code; it goes on in an OS thread until it ends or is cancelled.

    Parameters
    ----------
    account
        The name to keep it under; None is the first one.

    Raises
    ------
    SetupError
        There is no such sign-in here.
    BackendError
        The issuer cannot be asked.
    """
    homes.ours(environ, account)  # a wrong name shows before a person has signed in
    return by_device.DeviceSignIn(by_device.begin(environ), environ, account)


def browser(environ: Mapping[str, str], *, account: str | None = None) -> BrowserSignIn:
    """Begin a sign-in by a browser of this machine; opening its `url` there is the caller's.

    Raises
    ------
    SetupError
        The ports that the browser would answer to are taken.
    """
    # It brings a web server along, which no turn needs.
    from codex_magic.auth.browser import BrowserSignIn  # noqa: PLC0415 - at first use

    homes.ours(environ, account)
    return BrowserSignIn(environ, account)


def with_key(environ: Mapping[str, str], key: str, *, account: str | None = None) -> None:
    """Keep an API key, or a personal access token, for this and later kernels.

    Raises
    ------
    CellError
        It is none.
    SetupError
        It cannot be kept, or a personal token is refused.
    """
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable() or " " in key:
        raise CellError("this is no API key", hint="Copy it anew, without spaces or line ends")
    if key.startswith(document.PERSONAL):
        personal.whose(key, environ)
    exchange.keep(document.with_key(key), environ, account)


def logout(environ: Mapping[str, str], *, account: str | None = None) -> bool:
    """Take our own sign-in back and forget it; return whether there was one.

    That of Codex stays: it is signed out of where it was signed in.

    It is forgotten first, and whatever comes of taking it back.

    Raises
    ------
    SetupError
        The file cannot be removed.
    """
    path = homes.ours(environ, account)
    if not os.path.lexists(path):
        return False
    kept = _read(path)
    try:
        try:
            with contextlib.suppress(BackendError), places.locked(places.lock(path), PATIENCE_S):
                kept = _read(path)  # another process may just have renewed it
        finally:
            path.unlink(missing_ok=True)
    except OSError as error:
        raise SetupError(
            f"the sign-in in {path} cannot be removed: {error.strerror}", hint=f"Type: rm {path}"
        ) from None
    memory.forget(str(path))
    exchange.revoke(kept, environ)
    return True


def _read(path: Path) -> document.Json:
    """Return what is to be taken back of what is kept in a file."""
    if path.is_symlink() or not path.is_file():
        return {}  # a link's target is whosever it is: that sign-in goes on
    unsaved = memory.of(str(path.resolve())).unsaved
    try:
        raw = path.read_bytes()
        if unsaved is not None and unsaved.instead_of == raw:
            return unsaved.document
        return document.parse(raw)
    except (OSError, ValueError):
        return {}  # nothing to take back that could be read
