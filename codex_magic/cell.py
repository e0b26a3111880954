"""A cell's text, read: the options of its first line and the prompt below.

Pure but for one question asked of the disk, whether a named folder is there. Everything below
the first line is the prompt, untouched: braces, ``?``, ``%`` and ``!`` mean nothing here.
"""

from __future__ import annotations

import argparse
import keyword
import shlex
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from codex_magic.errors import CellError
from codex_magic.policy import APPROVAL_POLICIES, SANDBOX_MODES, SandboxPolicy
from codex_magic.settings import (
    BACKENDS,
    EFFORTS,
    SUMMARIES,
    Settings,
    approval_policy,
    backend,
    folder,
    hidden,
    sandbox_mode,
    seconds,
    summary,
    thread_name,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from codex_magic.turn import TurnRequest


LONGEST_PROMPT: Final = 1024 * 1024
PRIVATE: Final = "private"
"""The name of a private thread that is given none."""


@dataclass(frozen=True, slots=True)
class Option:
    """One option of ``%%codex``; without a `metavar` it takes no value.

    One that is `optional` may stand without its value.
    """

    flags: tuple[str, ...]
    help: str
    metavar: str = ""
    values: tuple[str, ...] = ()
    repeats: bool = False
    optional: bool = False

    @property
    def name(self) -> str:
        """The field it sets."""
        return self.flags[-1].lstrip("-").replace("-", "_")


OPTIONS: Final = (
    Option(("-t", "--thread"), "the thread to use; the current one by default", "NAME"),
    Option(("--new",), "start the thread afresh"),
    Option(("--resume",), "take up a stored thread: its id, or 'last'", "ID", ("last",)),
    Option(("--fork",), "go on in a branch, from turn TURN or the last one", "TURN", optional=True),
    Option(("--private",), "use a thread that is stored nowhere; its commands are logged"),
    Option(("--reuse",), "show this turn as the notebook keeps it, where nothing has changed"),
    Option(
        ("-m", "--model"), "the model to ask; a thread goes on with the one it began with", "MODEL"
    ),
    Option(("-e", "--effort"), "how hard the model thinks", "EFFORT", EFFORTS),
    Option(("--summary",), "how much of its thoughts the model tells", "HOW", SUMMARIES),
    Option(
        ("-i", "--image"),
        "an image to look at: a file, an https: address, a variable with a figure; may be repeated",
        "IMAGE",
        repeats=True,
    ),
    Option(
        ("--schema",),
        "what the answer must fit: a file, a variable with a type, list[…] of one",
        "SCHEMA",
    ),
    Option(("-o", "--out"), "the variable to put the answer into", "NAME"),
    Option(("-s", "--sandbox"), "what commands may touch", "MODE", SANDBOX_MODES),
    Option(("-a", "--approve"), "when to ask before acting", "POLICY", APPROVAL_POLICIES),
    Option(("-n", "--network"), "let commands use the network, this machine's services included"),
    Option(("--add-dir",), "a further folder to write in; may be repeated", "DIR", repeats=True),
    Option(("--cwd",), "the folder to work in; the notebook's by default", "DIR"),
    Option(("--timeout",), "seconds each command may take", "SECONDS"),
    Option(("--backend",), "where the turn runs", "BACKEND", BACKENDS),
    Option(("-q", "--quiet"), "show the answer only"),
    Option(("-h", "--help"), "show this help"),
)


def usage() -> str:
    """Return the help of ``%%codex``: its options, as lines."""
    rows = [(", ".join(o.flags) + _value(o), o) for o in OPTIONS]
    width = max(len(row) for row, _ in rows)
    return "\n".join(f"  {row:<{width}}  {o.help}{_choices(o)}" for row, o in rows)


def _value(option: Option) -> str:
    if option.optional:
        return f" [{option.metavar}]"
    return f" {option.metavar}" if option.metavar else ""


def _choices(option: Option) -> str:
    return f": {', '.join(option.values)}" if len(option.values) > 1 else ""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise CellError(message, hint="Type %%codex? for the options")


def _parser() -> _Parser:
    parser = _Parser(prog="%%codex", add_help=False, allow_abbrev=False)
    for option in OPTIONS:
        if option.repeats:
            parser.add_argument(*option.flags, metavar=option.metavar, action="append", default=[])
        elif option.optional:
            parser.add_argument(*option.flags, metavar=option.metavar, nargs="?", const="")
        elif option.metavar:
            parser.add_argument(*option.flags, metavar=option.metavar)
        else:
            parser.add_argument(*option.flags, action="store_true")
    return parser


def asks_for_help(line: str) -> bool:
    """Whether the line asks for the options instead of a turn."""
    return any(word in ("-h", "--help") for word in line.split())


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a line names that only a kernel can look up, in the words that were typed.

    Parameters
    ----------
    images, schema
        Files, addresses or variables.
    out
        The variable that the answer is put into; empty for none.
    """

    images: tuple[str, ...] = ()
    schema: str = ""
    out: str = ""


def inputs(line: str) -> Inputs:
    """Return what a line names beside the prompt.

    Raises
    ------
    CellError
        As for `parse`.
    """
    from codex_magic.items import well_formed  # noqa: PLC0415 - as for `parse`

    chosen = _read(line)
    named = {"schema": chosen.schema, "out": chosen.out}
    given = {name: value for name, value in named.items() if value is not None}
    values = _checked({name: well_formed(value) for name, value in given.items()}, Path())
    images = [_checked({"image": well_formed(each)}, Path())["image"] for each in chosen.image]
    return Inputs(tuple(images), values.get("schema", ""), values.get("out", ""))


def _read(line: str) -> argparse.Namespace:
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise CellError(f"the line cannot be read: {str(error).lower()}") from None
    chosen, rest = _parser().parse_known_args(words)
    if rest:
        _refuse(rest[0])
    return chosen


def parse(  # noqa: PLR0913 - all but two by their names
    line: str,
    body: str,
    *,
    settings: Settings,
    cwd: Path,
    thread: str = "main",
    names: tuple[str, ...] = (),
) -> TurnRequest:
    """Read a cell, without what `inputs` returns of it.

    Parameters
    ----------
    line
        What stands behind ``%%codex`` on its line.
    body
        Everything below.
    cwd
        The kernel's folder, from which relative ones are counted.
    thread
        The thread that is used where the line names none.
    names
        What the person's variables are called.

    Raises
    ------
    CellError
        Always this and nothing else, naming what to change.
    """
    # The values of a turn take longer to import than loading the extension may take.
    from codex_magic.items import well_formed  # noqa: PLC0415
    from codex_magic.turn import TurnRequest  # noqa: PLC0415

    chosen = _read(line)
    if not body.strip():
        raise CellError(
            "the prompt is empty", hint="Write it below the line: %%codex, then your words"
        )
    if len(body) > LONGEST_PROMPT:
        raise CellError(
            f"the prompt has {len(body):,} characters, and Codex takes {LONGEST_PROMPT:,}",
            hint="Put long text in a file, and name the file",
        )
    _exclude(chosen)
    given = {name: value for name, value in vars(chosen).items() if isinstance(value, str)}
    fork = given.pop("fork", None)
    values = _checked({name: well_formed(value) for name, value in given.items()}, cwd)
    if chosen.private:
        values.setdefault("thread", PRIVATE)
    return TurnRequest(
        prompt=well_formed(body.strip("\n")),
        policy=SandboxPolicy(
            mode=values.get("sandbox", settings.sandbox),
            workspace=values.get("cwd", cwd.resolve()),
            network=chosen.network,
            writable=tuple(
                _checked({"add-dir": well_formed(each)}, cwd)["add-dir"] for each in chosen.add_dir
            ),
            hidden=hidden(settings),
        ),
        thread=values.get("thread", thread),
        new=chosen.new,
        resume=values.get("resume"),
        fork=None if fork is None else well_formed(fork),
        private=chosen.private,
        reuse=chosen.reuse or settings.reuse,
        names=names if settings.names else (),
        model=values.get("model", settings.model),
        effort=values.get("effort", settings.effort),
        summary=values.get("summary", settings.summary),
        approval=values.get("approve", settings.approval),
        timeout_s=values.get("timeout", settings.timeout_s),
        quiet=chosen.quiet,
        backend=values.get("backend"),
    )


def _exclude(chosen: argparse.Namespace) -> None:
    """Refuse options that say different things of one thread."""
    said = {
        "--new": chosen.new,
        "--resume": chosen.resume is not None,
        "--fork": chosen.fork is not None,
    }
    ways = [flag for flag, is_said in said.items() if is_said]
    if len(ways) > 1:
        raise CellError(f"{ways[0]} and {ways[1]} exclude each other")
    if chosen.private and ways and ways[0] != "--new":
        raise CellError(f"--private and {ways[0]} exclude each other")


def _checked(values: Mapping[str, str], cwd: Path) -> dict[str, Any]:
    checks: dict[str, Callable[[str], Any]] = {
        "backend": backend,
        "summary": summary,
        "out": _variable,
        "sandbox": sandbox_mode,
        "approve": approval_policy,
        "timeout": seconds,
        "cwd": partial(folder, base=cwd),
        "add-dir": partial(folder, base=cwd),
        "thread": thread_name,
    }
    checked = {}
    for name, value in values.items():
        try:
            checked[name] = checks.get(name, _as_it_is)(_something(value))
        except ValueError as error:
            raise CellError(
                f"--{name} is {value!r}: {error}", hint="Type %%codex? for the options"
            ) from None
    return checked


def _something(value: str) -> str:
    if not value.strip():
        raise ValueError("it must not be empty")
    return value


def _as_it_is(value: str) -> str:
    return value


def _variable(value: str) -> str:
    if not value.isidentifier():
        raise ValueError("that cannot be the name of a variable")
    if keyword.iskeyword(value):
        raise ValueError("that is a word of Python's own")
    return value


def _refuse(word: str) -> NoReturn:
    import difflib  # noqa: PLC0415 - only a mistyped option needs it

    if not word.startswith("-"):
        raise CellError(
            f"{word!r} is not an option", hint="The prompt goes below the line, not behind %%codex"
        )
    flags = [flag for option in OPTIONS for flag in option.flags]
    near = difflib.get_close_matches(word, flags, n=1)
    hint = f"Did you mean {near[0]}?" if near else "Type %%codex? for the options"
    raise CellError(f"there is no option {word}", hint=hint)


LOOKED_UP: Final = ("image", "schema")
"""Options whose value is a file or a variable, which IPython knows better."""


def is_looked_up(text: str) -> bool:
    """Whether a file or a variable may stand at the end of `text`, a line up to the cursor."""
    words = text.split()
    before = words[-1:] if text[-1:].isspace() else words[-2:-1]
    by_flag = {flag: option for option in OPTIONS for flag in option.flags}
    return bool(before) and before[0] in by_flag and by_flag[before[0]].name in LOOKED_UP


def complete(text: str, *, threads: Sequence[str] = ()) -> list[str]:
    """Return what may stand at the end of `text`, a ``%%codex`` line up to the cursor."""
    words = text.split()
    token = "" if text[-1:].isspace() or not words else words[-1]
    before = words[-1:] if not token else words[-2:-1]
    by_flag = {flag: option for option in OPTIONS for flag in option.flags}
    option = by_flag.get(before[0]) if before else None
    if option and option.metavar and not (option.optional and token.startswith("-")):
        values = tuple(threads) if option.name == "thread" else option.values
        # One with spaces stands in quotes; those that a file brings must not become options.
        return [shlex.quote(value) for value in values if value.startswith(token)]
    if token and not token.startswith("-"):
        return []
    whole = words[:-1] if token else words
    once = [by_flag[word] for word in whole if word in by_flag and not by_flag[word].repeats]
    used = {flag for option in once for flag in option.flags}
    return [
        flag
        for option in OPTIONS
        for flag in option.flags
        if flag.startswith("--") and flag.startswith(token) and flag not in used
    ]
