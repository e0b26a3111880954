"""One case of the list, how it is tried twice, and what that shows.

A case that fails where nothing confines it shows nothing by failing in the sandbox. So each is
tried bare first, and its verdict says what both tries together prove.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import marshal
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from codex_magic.abuse import inside
from codex_magic.policy import GIB, Limits
from codex_magic.sandbox import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import CodeType

    from codex_magic.abuse.scene import Scene
    from codex_magic.items import Receipt
    from codex_magic.policy import SandboxPolicy

Verdict = Literal["held", "private", "allowed", "through", "open", "proves nothing"]
"""What a case showed.

held: bare it succeeds, confined it does not. private: confined it reached only its own copy.
allowed: it succeeds, and the policy lets it, or the receipt names it. through: it succeeds and
must not. open: it succeeds, and at this level nothing keeps it from that. proves nothing: bare it
fails as well.
"""

LIMITS: Final = Limits(wall_s=10)
ROOMY: Final = Limits(wall_s=10, processes=4096, memory_bytes=8 * GIB)
TOLD: Final = ".attempt"
HIDDEN: Final = re.compile(r"the working folder .* is hidden from commands", re.DOTALL)
LOADER: Final = """
import marshal, sys
with open(sys.argv[1], "rb") as file:
    programs, facts = marshal.load(file)
for name, program in programs.items():
    module = sys.modules[name] = type(sys)(name)
    exec(program, module.__dict__)
sys.modules["codex_magic.abuse.inside"].perform(getattr(module, sys.argv[2]), facts, sys.argv[3:])
"""


@dataclass(frozen=True, slots=True)
class Row:
    """What one case showed on this machine."""

    number: int
    title: str
    verdict: Verdict
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Try:
    """What came of trying once: what was reached, or only its own copy of, or why nothing was."""

    reached: str = ""
    own: str = ""
    failed: str = ""
    receipt: Receipt | None = None
    ran: bool = True
    refused: bool = False


@dataclass(frozen=True, slots=True)
class Case:
    """Something that a command attempts.

    Parameters
    ----------
    attempt, words
        What it does, and with what; see `inside.perform`.
    evidence
        What it has reached outside, in words; empty for nothing. Without it, what the attempt
        says counts.
    told
        Whether a receipt names what was reached, where reaching it is the policy's choice.
    own_copy
        Whether it is right that it succeeds in a copy of its own.
    choice
        Whether the policy lets it.
    cwd
        Where it runs, below the scene's folder.
    meanwhile
        What is done outside once it waits for that.
    partial
        Why it succeeds at the level ``partial``, if it does.
    """

    number: int
    title: str
    attempt: Callable[..., str]
    words: tuple[str, ...] = ()
    _: dataclasses.KW_ONLY
    evidence: Callable[[Scene], str] | None = None
    told: Callable[[Receipt], bool] | None = None
    own_copy: bool = False
    choice: bool = False
    readable: Literal["all", "minimal"] = "all"
    network: bool = False
    limits: Limits = LIMITS
    cwd: str = "workspace"
    meanwhile: Callable[[Scene], None] | None = None
    partial: str = ""

    def judge(self, scene: Scene, level: str) -> Row:
        """Try it bare, then confined, and say what that shows."""
        control = self._try(scene, scene.bare, ROOMY)
        granted = dataclasses.replace(scene.policy, readable=self.readable, network=self.network)
        verdict, detail = self._verdict(self._try(scene, granted, self.limits), level)
        if not control.reached and verdict not in {"through", "open"}:
            why = control.failed or "nothing came of it"
            verdict, detail = "proves nothing", f"bare it fails too: {why}"
        return Row(self.number, self.title, verdict, detail.replace(f"{scene.root}/", ""))

    def _verdict(self, confined: Try, level: str) -> tuple[Verdict, str]:
        receipt = confined.receipt
        if confined.refused and HIDDEN.search(confined.failed):
            return "held", confined.failed
        if not confined.ran:
            return "proves nothing", f"it did not start: {confined.failed}"
        if confined.reached:
            if self.told is not None and receipt is not None and self.told(receipt):
                return "allowed", "the receipt names it"
            if self.choice:
                return "allowed", confined.reached
            open_here = level == "partial" and self.partial
            return ("open", self.partial) if open_here else ("through", confined.reached)
        if confined.own and self.own_copy:
            return "private", f"{confined.own}, a copy of its own"
        undone = receipt is not None and bool(receipt.quarantined or receipt.restored)
        nothing = "undone afterwards" if undone else "nothing came of it"
        return "held", nothing if confined.own else confined.failed

    def _try(self, scene: Scene, policy: SandboxPolicy, limits: Limits) -> Try:
        scene.renew()
        met = False

        def hear(_: str, text: str) -> None:
            nonlocal met
            if self.meanwhile is not None and not met and inside.READY in text:
                met = True
                self.meanwhile(scene)
                scene.open_door()

        # In a file: among the words of the command others would find the secret there.
        told = scene.workspace / TOLD
        facts = scene.facts(bare=policy.mode == "external")
        told.write_bytes(marshal.dumps((_programs(self.attempt.__module__), facts)))
        begin = [sys.executable, "-I", "-S", "-c", LOADER, str(told)]
        result = run(
            [*begin, self.attempt.__name__, *self.words],
            policy=policy,
            limits=limits,
            cwd=scene.root / self.cwd,
            on_output=hear,
        )
        lines = result.stdout.splitlines()
        said = {word: _after(word, lines) for word in (inside.THROUGH, inside.OWN, inside.FAILED)}
        reached = self.evidence(scene) if self.evidence else said[inside.THROUGH]
        return Try(
            reached=reached,
            own="" if reached else said[inside.OWN] or said[inside.THROUGH],
            failed=said[inside.FAILED] or result.message or result.stderr.strip()[-200:],
            receipt=result.receipt,
            ran=inside.BEGUN in lines,
            refused=result.outcome == "refused",
        )


@dataclass(frozen=True, slots=True)
class Answer:
    """Something that a runner must know an answer to.

    Parameters
    ----------
    trouble
        What happens without a sandbox, or without an answer; empty where nothing does.
    wrong
        What is wrong with the sandbox's answer; empty where it is right.
    """

    number: int
    title: str
    trouble: Callable[[Scene], str]
    wrong: Callable[[Scene], str]

    def judge(self, scene: Scene, _level: str) -> Row:
        """Make the trouble, then look at the answer."""
        scene.renew()
        trouble = self.trouble(scene)
        scene.renew()
        if wrong := self.wrong(scene):
            return Row(self.number, self.title, "through", wrong)
        if not trouble:
            return Row(self.number, self.title, "proves nothing", "bare there is no trouble either")
        return Row(self.number, self.title, "held", f"bare: {trouble}")


def _after(word: str, lines: list[str]) -> str:
    return next((line.removeprefix(word) for line in lines if line.startswith(word)), "")


@functools.cache
def _programs(module: str) -> dict[str, CodeType]:
    """Return what an attempt of `module` is made of, compiled for the interpreter that runs it."""
    texts = {name: inspect.getsource(sys.modules[name]) for name in (inside.__name__, module)}
    return {name: compile(text, name, "exec", dont_inherit=True) for name, text in texts.items()}
