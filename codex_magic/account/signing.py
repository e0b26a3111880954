"""A person signs in or out: what is said meanwhile, and what becomes of a sign-in nobody finishes."""

from __future__ import annotations

import os
import re
import sys
import webbrowser
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from codex_magic.account import words
from codex_magic.backends.hints import HINTS
from codex_magic.errors import CellError, CodexMagicError, OneLine, SetupError
from codex_magic.interrupts import interrupts_held
from codex_magic.render.table import inert

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from codex_magic.backends.base import Backend, SignIn, SignInWay
    from codex_magic.session import Session

WAIT_S: Final = 0.5
"""Seconds between two looks at a sign-in; it ends the wait by itself, an interrupt too."""

_ADDRESS: Final = re.compile(r"https?://[!-;=?-~]+")

CANCELLED: Final = "the sign-in was cancelled; nothing has changed"
NO_BROWSER: Final = "No browser can be opened on this machine, so a code serves instead."
KEY_IN_SIGHT: Final = (
    "a key does not belong on that line, where it stays: in the notebook, in the history, in the "
    "list of processes. Take it away, and out of use if others may have seen it"
)


class SignInCancelled(OneLine, KeyboardInterrupt):
    """The person gave a sign-in up.

    It stays a ``KeyboardInterrupt``, so that a front end also drops the cells queued behind.
    """


@dataclass(frozen=True, slots=True)
class Said:
    """What a person is told, as text and as Markdown."""

    text: str
    markdown: str


def said(text: str) -> Said:
    """Return a sentence of which nothing is markup."""
    return Said(text, inert(text))


@dataclass(frozen=True, slots=True)
class Door:
    """Where the person is: in a notebook, or at a shell.

    Parameters
    ----------
    show
        Shows something in the place of what it showed before, where that can be.
    has_person
        Whether anybody is there.
    ask
        Reads a secret without showing it.
    again
        What is typed to sign in.
    stop
        How waiting is given up, as ``To give it up, …``.
    """

    show: Callable[[Said], None]
    has_person: bool
    ask: Callable[[str], str]
    again: str
    stop: str


def backend(session: Session) -> Backend:
    """Return the backend whose account is meant.

    Raises
    ------
    CellError
        There is no account to speak of: a tape is played, or the account cannot have a name.
    """
    if session.tape is not None:
        hint = "To be asked for an account: %codex replay off"
        raise CellError("a tape is played, which needs no account", hint=hint)
    found = session.signing_backend
    if session.settings.account and found.name == "app-server":
        raise CellError(
            "Codex keeps one sign-in only, without a name",
            hint="Named ones are the responses backend's: choose that, or leave out the name",
        )
    return found


def at_openai(session: Session) -> Backend:
    """Return the backend that a person signs in to, which is always at OpenAI.

    Raises
    ------
    CellError
        As for `backend`; or turns go to another host, which takes nothing of that.
    """
    from codex_magic.auth import hosts  # noqa: PLC0415 - at a sign-in

    url = session.settings.base_url
    if url is not None and not hosts.is_openai(url):
        raise CellError(
            f"turns go to {hosts.shown(url)}, and signing in is for OpenAI's hosts only",
            hint=f"{HINTS['keyMissing']}; or take base_url away to use OpenAI's again",
        )
    return backend(session)


def beforehand(on: Backend) -> str:
    """Return what signs in at a shell, on any machine; a ChatGPT sign-in may want more words."""
    return f"codex-magic auth login{' --api-key' if on.name == 'responses' else ''}"


def sign_in(on: Backend, way: SignInWay, door: Door) -> None:
    """Sign a person in and wait for it.

    Raises
    ------
    SetupError
        Nobody is there, or nothing came of it.
    SignInCancelled
        The person gave it up.
    """
    if not door.has_person:
        raise SetupError(
            "signing in needs a person, and nobody is here",
            hint=f"Sign in beforehand: type `{beforehand(on)}` in a terminal; or set OPENAI_API_KEY",
        )
    remark = ""
    if way == "browser" and not _has_browser(os.environ):
        way, remark = "device", NO_BROWSER
    started: SignIn | None = None
    try:
        started = on.sign_in(way)
        if way == "browser" and not _opened(started.url):
            started.cancel()
            started, remark = on.sign_in("device"), NO_BROWSER
        door.show(_waiting(started, door, remark))
        while not started.wait(WAIT_S):
            pass
    except KeyboardInterrupt:
        with interrupts_held():
            _give_up(started, door, "The sign-in was cancelled.")
        raise SignInCancelled(CANCELLED) from None
    except CodexMagicError as error:
        _give_up(started, door, "Nobody was signed in.")
        error.hint = error.hint or f"To try again, type: {door.again}"
        raise
    door.show(said(f"Signed in as {words.who(on.account())}."))


def sign_in_with_key(on: Backend, door: Door) -> None:
    """Ask for an API key, unseen, and have the backend keep it.

    Raises
    ------
    SetupError
        Nobody is there.
    CellError
        What was typed is no key.
    SignInCancelled
        The person gave it up.
    """
    if not door.has_person:
        raise SetupError(
            "a key is typed by a person, and nobody is here", hint="Set OPENAI_API_KEY instead"
        )
    try:
        key = door.ask("API key (not shown): ").strip()
    except KeyboardInterrupt:
        raise SignInCancelled(CANCELLED) from None
    if not key:
        raise CellError("no key was typed; nothing has changed")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise CellError("that is no key: it has a space in it, or a letter that no key has")
    on.sign_in_with_key(key)
    door.show(said("Signed in with an API key; it is kept for later kernels too."))


def sign_out(on: Backend, door: Door) -> None:
    """Sign out, and say on what turns run from now on, if on anything."""
    before = on.account()
    on.sign_out()
    after = on.account()
    was = f"Signed out; it was {words.who(before)}." if before.kind else "Nobody was signed in."
    if after.kind:
        source = words.flat(after.source).removeprefix("from ")
        source = f", from {source}" if source else ""
        was = "Signed out." if before != after else "There was no sign-in to end."
        was += f" Turns run on {words.who(after)}{source}."
    door.show(said(was))


def _give_up(started: SignIn | None, door: Door, text: str) -> None:
    if started is not None:
        started.cancel()
        door.show(said(text))


def _waiting(started: SignIn, door: Door, remark: str) -> Said:
    stop = f"Waiting for you. To give it up, {door.stop}."
    first = [remark, ""] if remark else []
    url, link = words.flat(started.url), inert(words.flat(started.url))
    if _ADDRESS.fullmatch(url):
        link = f"<{url}>"
    if not started.code:
        text = (*first, f"Sign in on the page that has opened: {url}", stop)
        drawn = (*first, f"Sign in on the page that has opened: {link}", "", f"*{stop}*")
        return Said("\n".join(text), "\n".join(drawn))
    code = words.flat(started.code)
    text = (*first, f"To sign in, open: {url}", f"and type the code: {code}", stop)
    steps = (f"1. Open {link}", f"2. Type the code **{inert(code)}**")
    return Said("\n".join(text), "\n".join((*first, "To sign in:", "", *steps, "", f"*{stop}*")))


def _has_browser(environ: Mapping[str, str]) -> bool:
    """Whether a page opened here is seen by the person, and can come back to here."""
    if environ.get("JUPYTERHUB_API_TOKEN"):
        return False
    if sys.platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in environ
    # Without a display, a browser for text would start in the kernel's terminal.
    return any(environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"))


def _opened(url: str) -> bool:
    if not _ADDRESS.fullmatch(url):
        return False
    try:
        return webbrowser.open(url)
    except (webbrowser.Error, OSError):
        return False
