"""All rules that hold for a person's commands, as one judgement.

Three sources, the strictest wins: the rules that come with this package, the person's own file,
and the rules of the person's Codex. None of them is looked for in the notebook's folder, where a
command could have written it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from codex_magic import binary
from codex_magic.errors import CodexMagicError, SetupError
from codex_magic.sandbox import rules
from codex_magic.sandbox.rules import codex

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_magic.sandbox.rules import Judgement, Rule

CODEX_HOME: Final = "CODEX_HOME"
UNSET: Final = "Correct the name, or type: %config CodexMagics.rules = None"


class Rulebook:
    """The rules of one person; files are read again when they change.

    Parameters
    ----------
    environ
        Where the home of Codex is looked for.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._codex_home = Path(environ.get(CODEX_HOME) or "~/.codex").expanduser()
        self._file: Path | None = None
        self._read: tuple[int, int] | None = None
        self._rules: tuple[Rule, ...] = rules.DEFAULTS

    def use(self, file: str | None) -> None:
        """Take the rules in `file` from now on, beside those of this package.

        Raises
        ------
        SetupError
            It cannot be read, or a rule in it is not one.
        """
        if not file:
            self._file, self._rules = None, rules.DEFAULTS
            return
        path = Path(file).expanduser()
        try:
            facts = path.stat()
            if (self._file, self._read) == (path, (facts.st_mtime_ns, facts.st_ino)):
                return
            found = rules.load(path.read_text(encoding="utf-8"))
        except CodexMagicError as error:
            raise SetupError(f"in {path}: {error.message}", hint=error.hint) from None
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise SetupError(f"the rules in {path} cannot be read: {why}", hint=UNSET) from None
        self._file, self._read = path, (facts.st_mtime_ns, facts.st_ino)
        self._rules = (*rules.DEFAULTS, *found)

    def described(self) -> str:
        """Return in words which rules hold."""
        own = len(self._rules) - len(rules.DEFAULTS)
        theirs = len(codex.files(self._codex_home))
        parts = [f"{len(rules.DEFAULTS)} of this package"]
        parts += [f"{own} in {self._file}"] if self._file else []
        parts += [f"your Codex's, in {theirs} files"] if theirs else []
        return ", ".join(parts)

    def judge(self, command: Sequence[str] | str) -> Judgement:
        """Return what all rules together say of `command`."""
        ours = rules.judge(command, self._rules)
        files = codex.files(self._codex_home)
        if not files:
            return ours
        try:
            program = binary.candidates()[0].path
            theirs = codex.judge(rules.programs(command), files, program=program)
        except CodexMagicError as error:
            theirs = rules.Judgement("ask", f"your Codex's rules cannot be read: {error.message}")
        return max((ours, theirs), key=lambda said: rules.STRICTNESS.index(said.verdict))
