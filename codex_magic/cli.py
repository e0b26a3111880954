"""The shell's door: ``codex-magic``.

``demo`` runs the first lesson in a real kernel and prints the turns while they happen; ``run``
executes a notebook without a person, ``strip`` takes the stored turns out of one; ``doctor`` looks
at the machine; ``audit`` shows what commands ran, ``purge`` removes what is kept of them; ``auth``
is about accounts, and ``login`` hands over to Codex's own sign-in.
"""

from __future__ import annotations

import argparse
import itertools
import os
import re
import shutil
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from codex_magic import binary, doors
from codex_magic.account import options as accounts
from codex_magic.errors import CodexMagicError
from codex_magic.headless import options

if TYPE_CHECKING:
    from collections.abc import Sequence

LESSON: Final = "01-first-turn.ipynb"
_AUDIT_HELP: Final = "how many of the last commands to show; or verify: whether it was changed"
_HASH_HELP: Final = "with verify: a line, as an earlier verify named the last, that must be there"


def main(words: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit code."""
    words = sys.argv[1:] if words is None else words
    try:
        if words[:1] in (["login"], ["logout"]):
            return _codex(words)
        kind = _Silent if words[:1] in (["auth"], ("auth",)) else _Parser
        chosen = _parser(kind).parse_args(words)
        return int(chosen.run(chosen))
    except CodexMagicError as error:
        error.hint = doors.at_shell(error.hint)
        print(f"codex-magic: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ncodex-magic: stopped", file=sys.stderr)
        return 130


USAGE: Final = 64
"""The exit code of a command that cannot be understood; argparse's own, 2, says of a run that a turn
failed."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(USAGE, f"{self.prog}: {message}\n")


class _Silent(_Parser):
    """Says what is wrong and repeats nothing of it: about accounts, it may be a key."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            message = "there is a word too many"
        if "invalid choice" in message:
            what, _, choices = message.partition(": invalid choice")
            message = f"{what}: {choices.rpartition('(')[2].rstrip(')')}"
        elif "ambiguous option" in message:
            message = "an option is cut too short"
        super().error(message)


def _parser(kind: type[_Parser] = _Parser) -> argparse.ArgumentParser:
    parser = kind(prog="codex-magic", description="Codex in a notebook.")
    parser.add_argument(
        "--version", action="version", version=f"codex-magic {version('codex-magic')}"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="run the first lesson here, without an account")
    demo.set_defaults(run=_demo)
    options.add(commands)
    doctor = commands.add_parser("doctor", help="try everything a turn needs")
    doctor.add_argument(
        "--sandbox", action="store_true", help="try to get out of the sandbox, in every known way"
    )
    doctor.set_defaults(run=_doctor)
    audit = commands.add_parser("audit", help="the log of the commands that Codex ran")
    audit.add_argument("what", nargs="?", default="20", metavar="N|verify", help=_AUDIT_HELP)
    audit.add_argument("known", nargs="?", default="", metavar="HASH", help=_HASH_HELP)
    audit.set_defaults(run=_audit)
    purge = commands.add_parser("purge", help="remove what codex-magic keeps on this machine")
    purge.add_argument("-y", "--yes", action="store_true", help="do not ask")
    purge.set_defaults(run=_purge)
    accounts.add(commands)
    # Listed for the help; `main` passes them on with whatever stands behind them.
    commands.add_parser("login", help="sign in to Codex; further words go to `codex login`")
    commands.add_parser("logout", help="sign out")
    return parser


def _codex(words: Sequence[str]) -> int:
    """Become ``codex`` with these words: signing in is Codex's own business."""
    program = binary.candidates()[0].path
    sys.stdout.flush()
    os.execv(program, [str(program), *words])  # noqa: S606 - no shell is wanted


def _doctor(chosen: argparse.Namespace) -> int:
    if chosen.sandbox:
        from codex_magic import abuse  # noqa: PLC0415 - the other commands need none of it

        return abuse.tell(sys.stdout)
    from codex_magic import doctor, settings  # noqa: PLC0415 - the other commands need neither
    from codex_magic.session import Session  # noqa: PLC0415

    session = Session(settings.from_environment())
    try:
        checks = []
        for check in doctor.examine(session):
            print(doors.at_shell(str(check)), flush=True)
            checks.append(check)
    finally:
        session.close()
    return 0 if all(check.good for check in checks) else 1


def _audit(chosen: argparse.Namespace) -> int:
    from codex_magic import folder, ledger  # noqa: PLC0415
    from codex_magic.sandbox import audit  # noqa: PLC0415

    path = folder.data() / folder.AUDIT
    if chosen.what == "verify":
        return _verify(path, chosen.known)
    if chosen.known or not (chosen.what.isdecimal() and int(chosen.what)):
        wrong = f"{chosen.what} {chosen.known}".strip()
        raise CodexMagicError(
            f"{wrong!r} is no number of commands", hint="Type: codex-magic audit 20"
        )
    print(ledger.Table(tuple(ledger.rows(audit.read(path, int(chosen.what))))))
    return 0


def _verify(path: Path, known: str) -> int:
    """Say whether the log at `path` is whole, and still has the line whose hash is `known`."""
    from codex_magic.sandbox import audit  # noqa: PLC0415

    if known and not re.fullmatch("[0-9a-f]{64}", known):
        raise CodexMagicError(
            f"{known!r} is no hash of a line",
            hint="Type the 64 digits that an earlier `codex-magic audit verify` ended with",
        )
    verdict = audit.verify(path, known)
    if verdict.ok and not os.path.lexists(path):
        print(f"there is no log at {path}")
        return 0
    print(f"{path}: {verdict}")
    if verdict.ok and verdict.lines:
        print("Keep this hash to notice a later cut at the end. Then type:")
        print(f"  codex-magic audit verify {verdict.last}")
    return 0 if verdict.ok else 1


def _purge(chosen: argparse.Namespace) -> int:
    from codex_magic import purge  # noqa: PLC0415

    found = purge.holdings()
    if not found:
        print("There is nothing to remove.")
        return 0
    print("To be removed:", *found, sep="\n  ")
    print("Left alone:", *purge.LEFT_ALONE, sep="\n  ")
    if not chosen.yes and not _agreed("Remove it?"):
        print("Nothing was removed.")
        return 1
    purge.remove(found)
    print("Removed.")
    return 0


def _agreed(question: str) -> bool:
    """Ask; where nobody can answer, that is a no."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        print("\nNobody is there to answer. To do it without being asked, add -y")
        return False


def _demo(_chosen: argparse.Namespace) -> int:
    from codex_magic import demo  # noqa: PLC0415 - imports nbclient

    lesson = _lesson()
    work = _new_folder(Path.cwd() / "first-turn")
    shutil.copytree(lesson.parent / "data", work / "data")
    print(f"Running {lesson.name} here: {_brain()}, real commands, a tape instead of a model.\n")
    result = demo.run(lesson, work, out=sys.stdout)
    print(f"\nThe executed notebook: {result.notebook}")
    print(f"The same as a page:    {result.page or 'for that, install codex-magic[lab]'}")
    if not result.good:
        print(f"codex-magic: {result.trouble}", file=sys.stderr)
    return 0 if result.good else 1


def _brain() -> str:
    """Return what plays the lesson, in words."""
    from codex_magic import choosing, settings  # noqa: PLC0415 - the other commands need neither

    named = choosing.plays_on(settings.from_environment(), os.environ)
    without = "this package's own backend without the Codex program"
    return "the real Codex" if named == choosing.APP_SERVER else without


def _new_folder(wanted: Path) -> Path:
    """Make a folder that was not there: what an earlier run left may have been worked on."""
    for number in itertools.count(2):
        try:
            wanted.mkdir()
        except FileExistsError:
            wanted = wanted.with_name(f"first-turn-{number}")
        except OSError as error:
            raise CodexMagicError(
                f"{wanted.parent} cannot be written: {error.strerror}",
                hint="Change to a folder of yours, and type it again",
            ) from None
        else:
            break
    return wanted


def _lesson() -> Path:
    """Return the first lesson: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / LESSON).is_file():
            return folder / LESSON
    raise CodexMagicError("the lesson is not in this installation", hint="Install it anew")
