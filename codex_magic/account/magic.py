"""What ``%codex login``, ``logout``, ``models`` and ``usage`` take, and what they show."""

from __future__ import annotations

import getpass
import time
from typing import TYPE_CHECKING, Final

from codex_magic.account import signing, words
from codex_magic.errors import CellError

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.render.table import Table
    from codex_magic.session import Session

USAGE: Final = "Type: %codex login [--browser | --api-key]"


def login(session: Session, rest: str, door: signing.Door) -> None:
    """Sign a person in, as the line says; see `codex_magic.account.signing`.

    Raises
    ------
    CellError
        The line says something else, maybe a key.
    """
    typed = rest.split()
    # What was typed is not repeated: it may be a key.
    if any(word.startswith(("sk-", "--api-key=")) for word in typed) or (
        "--api-key" in typed and len(typed) > 1 and "--browser" not in typed
    ):
        hint = "Type %codex login --api-key alone, and then the key where you are asked for it"
        raise CellError(signing.KEY_IN_SIGHT, hint=hint)
    on = signing.at_openai(session)
    match typed:
        case []:
            signing.sign_in(on, "device", door)
        case ["--browser"]:
            signing.sign_in(on, "browser", door)
        case ["--api-key"]:
            signing.sign_in_with_key(on, door)
        case _:
            raise CellError("that is not how one signs in", hint=USAGE)


def logout(session: Session, rest: str, door: signing.Door) -> None:
    """Sign out."""
    _nothing_else(rest, "logout")
    signing.sign_out(signing.backend(session), door)


def models(session: Session, rest: str) -> Table:
    """Return the models as a table."""
    _nothing_else(rest, "models")
    settings = session.settings
    found = signing.backend(session).models()
    return words.models(found, settings.model, settings.aliases, own=session.own_model)


def usage(session: Session, rest: str) -> Table:
    """Return how much of the account's limits is used, as a table."""
    _nothing_else(rest, "usage")
    return words.usage(signing.backend(session).quota(), time.time())


def door(show: Callable[[str, str], None], *, has_person: bool, in_kernel: bool) -> signing.Door:
    """Return the notebook's door, or that of IPython in a terminal.

    Parameters
    ----------
    show
        Shows a text, given also as Markdown, in the place of the one before.
    """

    def ask(prompt: str) -> str:
        # By its module: a kernel puts its own in there while a cell runs.
        return getpass.getpass(prompt)

    return signing.Door(
        show=lambda said: show(said.text, said.markdown),
        has_person=has_person,
        ask=ask,
        again="%codex login",
        stop="interrupt the kernel" if in_kernel else "press Ctrl-C",
    )


def _nothing_else(rest: str, word: str) -> None:
    if rest:
        raise CellError("that is not how it is used", hint=f"Type: %codex {word}")
