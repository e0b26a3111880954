"""What ``codex-magic auth`` takes on its command line.

Light: what it does is imported when it does it.
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any, Final

from codex_magic.settings import BACKENDS

if TYPE_CHECKING:
    from collections.abc import Callable

_ACCOUNT: Final = "a sign-in beside the first one, by its name; the responses backend has them"
_JSON: Final = "print JSON, for a program"


def add(commands: Any) -> None:
    """Add the command, with all below it, to those of a parser."""
    auth = commands.add_parser("auth", help="accounts: sign in and out, models, usage, tokens")
    below = auth.add_subparsers(required=True, metavar="WHAT")
    login = _one(below, "login", "sign in: with a code, unless something else is asked for")
    how = login.add_mutually_exclusive_group()
    how.add_argument("--browser", action="store_true", help="sign in with this machine's browser")
    how.add_argument(
        "--api-key",
        nargs="?",
        const=True,
        default=False,
        metavar="",
        help="be asked for an API key, or read it from a pipe; it is never typed on this line",
    )
    login.add_argument("words", nargs="*", help=argparse.SUPPRESS)
    _one(below, "logout", "revoke the sign-in and forget it")
    for word, text in (
        ("status", "who is signed in, and until when"),
        ("models", "the models that can be asked for"),
        ("usage", "how much of the account's limits is used"),
        ("token", "the responses backend's access token, for another program"),
    ):
        _one(below, word, text).add_argument("--json", action="store_true", help=_JSON)


def _one(below: Any, word: str, text: str) -> Any:
    parser = below.add_parser(word, help=text, description=f"{text[:1].upper()}{text[1:]}.")
    parser.add_argument("--account", metavar="NAME", help=_ACCOUNT)
    parser.add_argument("--backend", choices=BACKENDS, help="whose account is meant")
    parser.set_defaults(run=_command(word))
    return parser


def _command(word: str) -> Callable[[argparse.Namespace], int]:
    def run(chosen: argparse.Namespace) -> int:
        from codex_magic.account import command  # noqa: PLC0415 - brings a session

        work: Callable[[argparse.Namespace], int] = getattr(command, word)
        return work(chosen)

    return run
