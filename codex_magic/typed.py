"""A turn whose answer is a value: run, read by its shape, and asked once more where it does not fit.

It has turns run and reads them. How a turn is run and shown, what a shape is, and where the value
goes, is others' business.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from codex_magic.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.session import Session
    from codex_magic.structured.shape import Shape
    from codex_magic.turn import Turn, TurnRequest

    Play = Callable[[TurnRequest], Turn]

ONCE_MORE: Final = (
    "Your answer does not fit the schema that it was asked for in. {problem}\n"
    "Answer once more: JSON that fits the schema, and nothing else."
)
_LONGEST: Final = 500


@dataclass(frozen=True, slots=True)
class Answered:
    """A turn that is over, and its answer.

    Parameters
    ----------
    value
        What the answer says, by the shape that was asked for; its text where none was. None where
        the turn did not complete.
    """

    turn: Turn
    value: Any = None

    @property
    def has_value(self) -> bool:
        """Whether there is an answer."""
        return self.turn.status == "completed"


def run(session: Session, request: TurnRequest, shape: Shape | None, play: Play) -> Answered:
    """Run a turn and return its answer, after a second turn on the thread where it does not fit.

    Parameters
    ----------
    request
        Its schema is that of `shape`.
    play
        Runs one turn on `session`.

    Raises
    ------
    BackendError
        The second answer does not fit either; the turn is `Session.last`.
    CodexMagicError, KeyboardInterrupt
        As for `Session.run`.
    """
    turn = play(request)
    if turn.status != "completed" or shape is None:
        return Answered(turn, turn.final_response if turn.status == "completed" else None)
    _refuse(turn)
    try:
        return Answered(turn, shape.read(turn.final_response))
    except ValueError as error:
        problem = _sentence(error)
    again = _again(request, turn, problem)
    if session.tape is None or session.tape.has(again.prompt):
        told = f"the answer did not fit the schema: {problem}; asked once more"
        session.attachment.news.append(told)
        turn = play(again)
        if turn.status != "completed":
            return Answered(turn)
        _refuse(turn)
        try:
            return Answered(turn, shape.read(turn.final_response))
        except ValueError as error:
            problem = _sentence(error)
    raise BackendError(
        f"the answer does not fit {shape.name}: {problem}",
        hint="It is kept as text; ask once more, or for less at once",
    )


def _refuse(turn: Turn) -> None:
    """Say so where the model will not do it: asking again would not change that."""
    if turn.is_refusal:
        raise BackendError(
            "the model refused to answer",
            hint="Why is kept as text; ask for something else, or in other words",
        )


def _again(request: TurnRequest, turn: Turn, problem: str) -> TurnRequest:
    """Return the request for the same answer, on the thread where the turn was."""
    return replace(
        request,
        prompt=ONCE_MORE.format(problem=problem),
        thread=turn.thread_name,
        new=False,
        resume=None,
        fork=None,
        images=(),  # the thread has them
    )


def _sentence(error: ValueError) -> str:
    said = " ".join(str(error).split()).rstrip(".")
    return said if len(said) <= _LONGEST else said[:_LONGEST] + " …"
