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


class _Plain(argparse.HelpFormatter):
    """Help that shows no value behind ``--api-key``: one is taken only to be refused."""

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        return "" if action.dest == "api_key" else super()._format_args(action, default_metavar)


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
    told = f"{text[:1].upper()}{text[1:]}."
    parser = below.add_parser(word, help=text, description=told, formatter_class=_Plain)
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
