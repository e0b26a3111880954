"""The ``ask_user`` tool: a question that only the person can answer.

It runs nothing. The question becomes an item; whoever the session asks answers it, and what was
said goes back to the model as it was typed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic.items import Question
from codex_magic.tools.base import ArgumentsError, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_magic.turn import TurnRequest

OPTIONS: Final = 8
"""Options a person can be offered; more is no choice but a list."""


class _Arguments(msgspec.Struct, forbid_unknown_fields=True):
    question: str
    options: list[str] | None = None


class AskUserTool:
    """Asks the person one question and returns the answer."""

    name = "ask_user"
    description = (
        "Ask the person one question and wait for the answer. Only where you cannot go on without "
        "it; `options` are answers to choose from, and they may write another."
    )
    parameters: Mapping[str, Any] = {
        "type": "object",
        "properties": {
            "question": {"type": "string", "description": "The question, in one or two sentences."},
            "options": {"type": "array", "items": {"type": "string"}, "maxItems": OPTIONS},
        },
        "required": ["question"],
        "additionalProperties": False,
    }

    def prepare(self, call_id: str, arguments: Any, request: TurnRequest) -> QuestionCall:  # noqa: ARG002 - a question needs no policy
        """Check the arguments; see `Tool.prepare`."""
        try:
            asked = msgspec.convert(arguments, _Arguments)
        except msgspec.ValidationError as error:
            raise ArgumentsError(str(error)) from None
        options = tuple(option for option in asked.options or () if option.strip())
        if not asked.question.strip():
            raise ArgumentsError("the question is empty")
        if len(options) > OPTIONS:
            raise ArgumentsError(f"{len(options)} options are too many: offer at most {OPTIONS}")
        return QuestionCall(Question(id=call_id, question=asked.question, options=options))


class QuestionCall:
    """A question, ready to be asked."""

    grant = None

    def __init__(self, item: Question) -> None:
        self.item = item

    def answered(self, text: str, by: str) -> Outcome:
        """Return the outcome of an answer."""
        item = msgspec.structs.replace(self.item, status="completed", answer=text, answered_by=by)
        return Outcome(item, f"outcome: answered\nanswer: {text}", success=True)

    def unanswered(self, reason: str, by: str) -> Outcome:  # noqa: ARG002 - as `answered` has it
        """Return the outcome of having no answer."""
        item = msgspec.structs.replace(self.item, status="declined", answer=reason)
        return Outcome(item, f"outcome: no answer - {reason}", success=False)
