"""What ``codex-magic run`` and ``codex-magic strip`` take on their command line.

Light: what they do is imported when they do it.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

CODES: Final = """\
exit codes:
  0    every cell ran, every turn completed
  1    a cell failed, took too long, or took the kernel with it
  2    a turn failed
  3    all of it ran, but something that Codex wanted was refused
  64   nothing was run: the command or the notebook is not as it must be
  74   it ran, and what came of it could not be written
  130  stopped by Ctrl-C (143: by SIGTERM, 129: by SIGHUP)

The first of 1, 2 and 3 that is true counts. The notebook is written in all of these cases
but 64 and 74, with what there was when it stopped. Cells tagged raises-exception may fail.
"""

_ALLOW: Final = (
    "what may be done without asking, of what would be asked: network, rules (what a rule asks "
    "about), unsandboxed, or a folder to write in; may be repeated"
)


def add(commands: Any) -> None:
    """Add both commands to those of a parser."""
    run = commands.add_parser(
        "run",
        help="execute a notebook without a person",
        epilog=CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("notebook", metavar="NOTEBOOK", type=Path)
    where = run.add_mutually_exclusive_group(required=True)
    where.add_argument("-o", "--output", metavar="OUT", type=Path, help="the executed notebook")
    where.add_argument("--in-place", action="store_true", help="write into NOTEBOOK itself")
    run.add_argument("--tape", metavar="T", help="play a lesson, by name or file; ask no model")
    run.add_argument("--timeout", metavar="S", type=_seconds, help="seconds each cell may take")
    run.add_argument("--allow", metavar="KIND", action="append", default=[], help=_ALLOW)
    run.add_argument(
        "--reuse",
        action="store_true",
        help="show turns from the notebook where nothing has changed, and tell which had to be asked",
    )
    run.add_argument(
        "--kernel", metavar="NAME", help="the kernel; by default that of this environment"
    )
    run.set_defaults(run=_command("run"))
    strip = commands.add_parser("strip", help="remove the stored turns from a notebook")
    strip.add_argument("notebook", metavar="NOTEBOOK", type=Path)
    strip.add_argument(
        "-o", "--output", metavar="OUT", type=Path, help="where to; NOTEBOOK itself by default"
    )
    strip.set_defaults(run=_command("strip"))


def _command(name: str) -> Callable[[argparse.Namespace], int]:
    def run(chosen: argparse.Namespace) -> int:
        from codex_magic.headless import command  # noqa: PLC0415 - imports nbclient

        work: Callable[[argparse.Namespace], int] = getattr(command, name)
        return work(chosen)

    return run


def _seconds(text: str) -> float:
    from codex_magic.settings import seconds  # noqa: PLC0415

    try:
        return seconds(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: {error}") from None
