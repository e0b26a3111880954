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

    from codex_magic.backends.base import Account, Backend, SignIn, SignInWay
    from codex_magic.session import Session

WAIT_S: Final = 0.5
"""Seconds between two looks at a sign-in; it ends the wait by itself, an interrupt too."""

_ADDRESS: Final = re.compile(r"https?://[!-;=?-~]+")

CANCELLED: Final = "the sign-in was cancelled; nothing has changed"
TOO_LATE: Final = "the sign-in was complete by then, and stands"
KEPT: Final = ("your sign-in", "Codex's own sign-in")
"""How the source of an account begins that somebody has signed in with here."""
NOT_ALLOWED: Final = "what is of ChatGPT is not used here unless CODEX_MAGIC_CHATGPT is 1"
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
            is_late = _give_up(started, door, "The sign-in was cancelled.")
        if is_late:
            again = door.again.replace("login", "logout")
            raise SignInCancelled(f"{TOO_LATE}; to end it, type: {again}") from None
        raise SignInCancelled(CANCELLED) from None
    except CodexMagicError as error:
        _give_up(started, door, "Nobody was signed in.")
        error.hint = error.hint or f"To try again, type: {door.again}"
        raise
    door.show(said(_signed_in(on, started)))


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
    what = "an access token" if key.startswith("at-") else "an API key"
    kept = f"Signed in with {what}; it is kept for later kernels too."
    door.show(said(f"{kept}{_elsewise(_known(on))}"))


def sign_out(on: Backend, door: Door) -> None:
    """Sign out, and say on what turns run from now on, if on anything."""
    before = _known(on)
    is_ended = on.sign_out()
    after = _known(on)
    door.show(said(_signed_out(before, after, is_ended=is_ended)))


def _signed_out(before: Account | None, after: Account | None, *, is_ended: bool) -> str:
    if after is not None and after.kind:
        was = "Signed out." if is_ended else "There was no sign-in to end."
        return f"{was} Turns run on {_used(after)}."
    if not is_ended:
        return "Nobody was signed in."
    if before is not None and _is_kept(before):
        return f"Signed out; it was {words.who(before)}."
    return "Signed out."


def _is_kept(account: Account) -> bool:
    """Return whether it is what somebody has signed in with here, as far as it says."""
    return bool(account.kind) and (not account.source or account.source.startswith(KEPT))


def _used(account: Account) -> str:
    source = words.flat(account.source)
    return f"{words.who(account)}, {source}" if source else words.who(account)


def _known(on: Backend) -> Account | None:
    """Return whose turns they are; None where that cannot be told just now."""
    try:
        return on.account()
    except CodexMagicError:
        return None


def _signed_in(on: Backend, started: SignIn) -> str:
    if not started.who:
        return f"Signed in as {words.who(on.account())}."
    return f"Signed in as {words.flat(started.who)}.{_elsewise(_known(on))}"


def _elsewise(now: Account | None) -> str:
    """Return on what turns run, and why, where that is not what a person has just signed in with."""
    if now is None or _is_kept(now):
        return ""
    if now.kind:
        return f" Turns still run on {_used(now)}, because that goes before it."
    if now.needed:
        return f" Turns do not run on it, because {NOT_ALLOWED}."
    return " Turns still run without it, because the host that is set for them is another one."


def _give_up(started: SignIn | None, door: Door, text: str) -> bool:
    """Cancel a sign-in; return whether that came too late, because somebody has signed in."""
    if started is None:
        return False
    started.cancel()
    try:
        is_late = started.wait(0.0)
    except CodexMagicError:
        is_late = False
    whose = f" as {words.flat(started.who)}" if started.who else ""
    door.show(said(f"Signed in{whose}." if is_late else text))
    return is_late


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
