"""Who is asked where there is no notebook: a function of the program's, or nobody.

A function gets an `ApprovalRequest` or a `QuestionRequest`. It returns True or False, a `Decision`,
an `Answer`, or words: the answer to a question, and of an approval the reason why not. It is called
in the OS thread that runs the turn.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from codex_magic.approval import (
    DECIDE_YOURSELF,
    UNSAID,
    Answer,
    ApprovalRequest,
    Approver,
    QuestionRequest,
)
from codex_magic.errors import CellError
from codex_magic.policy import Decision

Asked = ApprovalRequest | QuestionRequest
ApproverLike = Approver | Callable[[Asked], Any]

BY: Final = "program"
SAID_NO: Final = "the program that started this turn said no"
NOBODY: Final = (
    "nobody is asked in this program: do without it, or say in your answer what you would need"
)


class Nobody:
    """Declines what would be asked, so that no program waits for a person who is not there."""

    def ask(self, request: Asked) -> Answer:
        """Decline, and tell the model what to do instead."""
        is_question = isinstance(request, QuestionRequest)
        return Answer(Decision.DECLINE, "nobody", DECIDE_YOURSELF if is_question else NOBODY)


class Function:
    """Asks a function."""

    def __init__(self, decide: Callable[[Asked], Any]) -> None:
        self._decide = decide

    def ask(self, request: Asked) -> Answer:
        """Return what the function says.

        Raises
        ------
        CellError
            It said something that is no answer; nothing is allowed then.
        """
        said = self._decide(request)
        match said:
            case Answer():
                return said
            case Decision():
                return Answer(said, BY, SAID_NO if said in UNSAID else "")
            case str() if isinstance(request, QuestionRequest):
                return Answer(Decision.ACCEPT, BY, said)
            case str():
                return Answer(Decision.DECLINE, BY, said or SAID_NO)
            case True if isinstance(request, ApprovalRequest):
                return Answer(Decision.ACCEPT, BY)
            case False | None:
                is_question = isinstance(request, QuestionRequest)
                return Answer(Decision.DECLINE, BY, DECIDE_YOURSELF if is_question else SAID_NO)
        raise CellError(
            f"the approver returned {said!r}, which is no answer",
            hint="Return True or False, a Decision, an Answer, or words",
        )


def approver(given: ApproverLike | None) -> Approver:
    """Return `given` as an approver; nobody is asked where there is none."""
    if given is None:
        return Nobody()
    if hasattr(given, "ask"):
        return given
    if callable(given):
        return Function(given)
    raise CellError(
        f"{type(given).__name__} cannot be asked", hint="Give approver= a function of one argument"
    )
