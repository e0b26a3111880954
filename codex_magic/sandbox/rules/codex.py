"""What the person's own Codex rules say about a command.

Codex reads its ``.rules`` files itself: each command is handed to ``codex execpolicy check``,
which only answers and runs nothing. Taking a command apart is not done here.
"""

from __future__ import annotations

import functools
import json
import posixpath
import subprocess
from typing import TYPE_CHECKING, Any, Final

from codex_magic.sandbox.rules.matching import TRUSTED
from codex_magic.sandbox.rules.rule import STRICTNESS, WORDS, Judgement
from codex_magic.sandbox.rules.unwrapping import wraps

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

TIMEOUT_S: Final = 2.0
MOST: Final = 32

# A file as it was: its path, when it changed, its size.
Stamp = tuple[str, int, int]


class _Unanswered(Exception):  # noqa: N818 - it carries a reason to ask, never reaches a person
    """Codex gave no answer; the reason is the text."""


def files(codex_home: Path) -> list[Path]:
    """Return the rule files in `codex_home`, sorted."""
    return sorted(path for path in (codex_home / "rules").glob("*.rules") if path.is_file())


def judge(
    argvs: Sequence[Sequence[str]],
    files: Sequence[Path],
    *,
    program: Path,
    run: Callable[..., subprocess.CompletedProcess[str]] = subprocess.run,
) -> Judgement:
    """Return the strictest of what the rules in `files` say about `argvs`.

    Where Codex gives no answer, because a file cannot be parsed or `program` does not run, the
    verdict is ``ask``. It is ``allow`` only where each of `argvs` is allowed, less those that
    only start another of them. Answers are kept until a file changes.
    """
    commands = [tuple(argv) for argv in argvs if argv]
    if not files or not commands:
        return Judgement(None, "")
    if len(commands) > MOST:
        return Judgement("ask", f"Codex's rules were not asked about {len(commands)} commands")
    answers: list[Judgement] = []
    try:
        stamps = tuple(map(_stamp, files))
        for command in commands:
            answers.append(_about(command, stamps, program, run))  # noqa: PERF401 - kept on failure
    except (_Unanswered, OSError) as error:
        answers.append(Judgement("ask", f"Codex's rules gave no answer: {error}"))
    strictest = max(answers, key=lambda answer: STRICTNESS.index(answer.verdict))
    if strictest.verdict != "allow":
        return strictest
    open_ = [a.command for a in answers if a.verdict is None and not wraps(a.command)]
    return Judgement(None, "") if open_ else strictest


def _about(
    command: tuple[str, ...],
    stamps: tuple[Stamp, ...],
    program: Path,
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> Judgement:
    """Return what the rules say about one command, under its path and under its name."""
    folder, name = posixpath.split(command[0])
    answer = _asked(command, stamps, program, run)
    if not folder:
        return answer
    if answer.verdict == "allow" and folder not in TRUSTED:
        answer = Judgement(None, "", command)  # a file of this name may be any program
    if not name:
        return answer
    named = _asked((name, *command[1:]), stamps, program, run)
    return (
        answer
        if named.verdict in {None, "allow"}
        else max(answer, named, key=lambda one: STRICTNESS.index(one.verdict))
    )


@functools.lru_cache(maxsize=1024)
def _asked(
    command: tuple[str, ...],
    stamps: tuple[Stamp, ...],
    program: Path,
    run: Callable[..., subprocess.CompletedProcess[str]],
) -> Judgement:
    """Ask Codex about one command.

    Raises
    ------
    _Unanswered
        It did not say; that is not remembered.
    """
    rules = [word for path, _, _ in stamps for word in ("--rules", path)]
    words = [str(program), "execpolicy", "check", "--resolve-host-executables", *rules, "--"]
    try:
        ran = run(
            [*words, *command],
            env={"PATH": "/usr/bin:/bin"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise _Unanswered(f"nothing within {TIMEOUT_S:g} s") from None
    except (OSError, ValueError) as error:  # no such program, words that no program can receive
        raise _Unanswered(str(error)) from None
    if ran.returncode:
        raise _Unanswered(_complaint(ran.stderr))
    return _judgement(ran.stdout, command)


def _judgement(answer: str, command: tuple[str, ...]) -> Judgement:
    try:
        said = json.loads(answer)
        decision = said.get("decision")
        matched = [rule.get("prefixRuleMatch", {}) for rule in said.get("matchedRules", [])]
    except (ValueError, AttributeError, TypeError):
        raise _Unanswered("its words were not understood") from None
    if decision is None and not matched:
        return Judgement(None, "", command)
    if decision not in WORDS:
        raise _Unanswered(f"the decision {decision!r} is not known")
    return Judgement(WORDS[decision], _reason(matched, decision), command)


def _reason(matched: Sequence[dict[str, Any]], decision: str) -> str:
    deciding = next((rule for rule in matched if rule.get("decision") == decision), {})
    prefix = " ".join(map(str, deciding.get("matchedPrefix", ())))
    said = deciding.get("justification") or f"a rule says {decision}: {prefix}"
    return f"Codex's rules: {said}"


def _complaint(stderr: str) -> str:
    """Return the first line of an error, and where in the file it is if that is told."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    place = next((line.removeprefix("--> ") for line in lines if line.startswith("--> ")), "")
    first = lines[0].removeprefix("Error: ") if lines else "it failed without a word"
    return f"{first} ({place})" if place else first


def _stamp(path: Path) -> Stamp:
    known = path.stat()
    return (str(path), known.st_mtime_ns, known.st_size)
