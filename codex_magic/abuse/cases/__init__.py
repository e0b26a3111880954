"""The list: what a confined command must not get, in the order of its numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from codex_magic.abuse.cases import answers, files, kernel, launch, network, processes

if TYPE_CHECKING:
    from codex_magic.abuse.case import Answer, Case

_TRIED: Final[tuple[Case, ...]] = (
    *(*files.CASES, *processes.CASES, *network.CASES, *kernel.CASES),
)
_ANSWERED: Final[tuple[Answer, ...]] = (*answers.CASES, *launch.CASES)

CASES: Final[tuple[Case | Answer, ...]] = tuple(
    sorted([*_TRIED, *_ANSWERED], key=lambda case: case.number)
)
