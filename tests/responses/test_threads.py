"""How a turn gets its thread on this backend: the same ways, and the same words, as on Codex."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.backends.base import Start, ThreadMissingError
from codex_magic.backends.responses.store import OPEN, new_id
from codex_magic.backends.responses.threads import Threads
from codex_magic.errors import CellError
from codex_magic.notebook import history
from codex_magic.notebook.records import Kept
from codex_magic.policy import SandboxPolicy
from codex_magic.turn import TurnRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codex_magic.backends.base import Seat

Json = dict[str, Any]

SEE = "Type %codex threads for those there are"
THEIRS = f"{SEE}; one of Codex itself needs --backend app-server"


def message(role: str, text: str) -> Json:
    kind = "input_text" if role == "user" else "output_text"
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


class Kernel:
    """A kernel's threads, and turns on them that echo."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.threads = Threads(environ)
        self.turns = 0

    def ask(
        self, prompt: str, start: Start | None = None, **options: Any
    ) -> tuple[Seat, list[Json]]:
        """Run a turn; return its seat, and what was sent for it."""
        policy = SandboxPolicy(workspace=Path(options.pop("folder", "/w")))
        request = TurnRequest(prompt=prompt, policy=policy, **options)
        seat, log = self.threads.seat(request, start or Start(), default_model=lambda: "default")
        self.turns += 1
        turn_id = f"{prompt}-{self.turns}"
        log.begin_turn(turn_id, model=seat.model, account="a", prompt=prompt)
        log.add([message("user", prompt)])
        sent = list(log.items)
        log.add([message("assistant", f"{prompt}!")])
        log.end_turn("completed")
        return seat, sent

    def close(self) -> None:
        self.threads.close()


@pytest.fixture
def kernel(environ: dict[str, str]) -> Iterator[Callable[[], Kernel]]:
    made: list[Kernel] = []

    def begin() -> Kernel:
        made.append(Kernel(environ))
        return made[-1]

    yield begin
    for each in made:
        each.close()


def notices(seat: Seat) -> list[str]:
    return [notice.text for notice in seat.notices]


def said(*texts: str) -> list[Json]:
    """What is sent for the last of these prompts."""
    pairs = [(message("user", text), message("assistant", f"{text}!")) for text in texts]
    return [each for pair in pairs for each in pair][:-1]


def begun(kernel: Callable[[], Kernel], *prompts: str, **options: Any) -> str:
    """Return the id of a thread that a kernel has left."""
    made = kernel()
    start = Start()
    for prompt in prompts or ("first",):
        seat, _ = made.ask(prompt, start, **options)
        start = Start(known=seat.thread_id)
    made.close()
    return seat.thread_id


KEPT = (Kept(id="t", said=(("user", "first"), ("agent", "one"))),)
TEXT = history.transcript(KEPT).text


def test_a_thread_goes_on_in_the_same_kernel(kernel: Any) -> None:
    made = kernel()
    first, _ = made.ask("first")
    other, _ = made.ask("aside")
    again, sent = made.ask("second", Start(known=first.thread_id, turns=KEPT))
    assert (again, sent) == (first, said("first", "second"))
    assert (first.model, first.notices, other.thread_id == first.thread_id) == (
        "default",
        (),
        False,
    )


def test_new_begins_afresh(kernel: Any) -> None:
    made = kernel()
    first, _ = made.ask("first")
    second, sent = made.ask("second", Start(known=first.thread_id, turns=KEPT), new=True)
    assert (second.thread_id != first.thread_id, sent) == (True, said("second"))


MODELS = [(None, None, "default"), ("m", None, "m"), (None, "n", "n"), ("m", "n", "n")]


@pytest.mark.parametrize(("first", "second", "expected"), MODELS)
def test_a_thread_keeps_its_model(kernel: Any, first: Any, second: Any, expected: str) -> None:
    made = kernel()
    seat, _ = made.ask("first", model=first)
    again, _ = made.ask("second", Start(known=seat.thread_id), model=second)
    assert again.model == expected
    # A turn with another model does not change the thread's own while it is open.
    here, _ = made.ask("third", resume=seat.thread_id)
    assert here.model == (first or "default")
    made.ask("third", Start(known=seat.thread_id), model=expected)
    made.close()
    resumed, _ = kernel().ask("third", resume=seat.thread_id)
    assert resumed.model == expected


@pytest.mark.parametrize("how", ["id", "last", "known"])
def test_another_kernel_takes_it_up(kernel: Any, how: str) -> None:
    thread_id = begun(kernel)
    made = kernel()
    if how == "known":
        seat, sent = made.ask("second", Start(known=thread_id, turns=KEPT))
    else:
        seat, sent = made.ask("second", resume=thread_id if how == "id" else "last")
    assert (seat.thread_id, seat.forked, sent) == (thread_id, False, said("first", "second"))
    assert notices(seat) == [f"thread resumed: {thread_id}"]
    again, _ = made.ask("third", Start(known=thread_id))
    assert notices(again) == []


def test_it_can_be_taken_up_where_it_is_open(kernel: Any) -> None:
    made = kernel()
    first, _ = made.ask("first")
    seat, sent = made.ask("second", resume=first.thread_id)
    assert (seat.thread_id, notices(seat), sent) == (
        first.thread_id,
        [f"thread resumed: {first.thread_id}"],
        said("first", "second"),
    )


@pytest.mark.parametrize(
    ("thread_id", "hint"),
    [
        ("no id", SEE),
        ("../../x", SEE),
        (new_id(), THEIRS),
        (f"{new_id()[:14]}4{new_id()[15:]}", SEE),
    ],
)
def test_an_id_of_no_thread(kernel: Any, thread_id: str, hint: str) -> None:
    made = kernel()
    with pytest.raises(ThreadMissingError) as caught:
        made.ask("first", resume=thread_id)
    assert str(caught.value) == f"there is no thread {thread_id!r}. {hint}"
    assert made.ask("first")[1] == said("first")


def test_last_where_there_is_none(kernel: Any) -> None:
    begun(kernel)
    with pytest.raises(CellError) as caught:
        kernel().ask("second", resume="last", folder="/x")
    assert str(caught.value) == "no thread is stored for /x. Start one: leave out --resume"


@pytest.mark.parametrize("how", ["resume", "known"])
def test_a_thread_that_another_program_uses_is_forked(
    kernel: Any, elsewhere: Any, how: str
) -> None:
    thread_id = begun(kernel)
    elsewhere(thread_id)
    made = kernel()
    options = {"resume": thread_id} if how == "resume" else {"start": Start(known=thread_id)}
    seat, sent = made.ask("second", folder="/x", **options)
    assert (seat.thread_id != thread_id, seat.forked, sent) == (True, True, said("first", "second"))
    assert notices(seat) == [f"another program is using thread {thread_id}; this is a fork of it"]
    assert [row.thread_id for row in made.threads.stored("/x", 9)] == [seat.thread_id]
    made.close()
    again, _ = kernel().ask("third", resume=seat.thread_id)
    assert notices(again) == [f"thread resumed: {seat.thread_id}"]


def test_a_branch_has_the_turns_up_to_one(kernel: Any) -> None:
    thread_id = begun(kernel, "first", "second")
    made = kernel()
    start = Start(known=thread_id, branch="first-1", turns=KEPT, title="n · b")
    seat, sent = made.ask("other", start)
    assert (sent, notices(seat), seat.forked) == (
        said("first", "other"),
        [f"branched off thread {thread_id}; both go on"],
        False,
    )
    previews = {row.thread_id: row.preview for row in made.threads.stored("/w", 9)}
    assert previews == {thread_id: "first", seat.thread_id: "n · b"}
    # Where the thread is open here, too; and then both go on.
    for known, earlier in ((thread_id, ("first", "second")), (seat.thread_id, ("first", "other"))):
        branch, sent = made.ask(
            "b", Start(known=known, branch=made.threads.turns(known)[-1].turn_id)
        )
        assert (sent, branch.thread_id == known) == (said(*earlier, "b"), False)
        assert made.ask("c", Start(known=known))[1] == said(*earlier, "c")


LOST = [
    (Start(turns=KEPT, why="it is another's"), {}, "it is another's"),
    (Start(known="KNOWN", turns=KEPT), {}, "thread KNOWN is not stored here"),
    (Start(known="KNOWN", branch="t", turns=KEPT), {}, "thread KNOWN is not stored here"),
]


@pytest.mark.parametrize(("start", "options", "why"), LOST)
def test_what_is_not_stored_is_restored_as_text(
    kernel: Any, start: Start, options: Any, why: str
) -> None:
    made = kernel()
    seat, sent = made.ask("second", start, **options)
    told = f"restored from the notebook: 1 turn as unverified text, because {why}"
    assert (notices(seat), sent) == ([told], [message("user", TEXT), message("user", "second")])
    made.close()
    _, sent = kernel().ask("third", Start(known=seat.thread_id))
    assert sent[:2] == [message("user", TEXT), message("user", "second")]


def test_a_branch_off_a_turn_that_is_not_stored(kernel: Any) -> None:
    thread_id = begun(kernel)
    seat, sent = kernel().ask("second", Start(known=thread_id, branch="t", turns=KEPT))
    why = f"thread {thread_id} is not stored here"
    assert notices(seat) == [
        f"restored from the notebook: 1 turn as unverified text, because {why}"
    ]
    assert sent == [message("user", TEXT), message("user", "second")]


def test_one_that_never_had_a_turn(kernel: Any) -> None:
    seat, _ = kernel().ask("first", Start(known="KNOWN"))
    assert notices(seat) == ["thread KNOWN was not stored; this is a new one"]


def test_a_private_thread_is_this_kernel_s_alone(kernel: Any) -> None:
    made = kernel()
    first, _ = made.ask("first", private=True)
    seat, sent = made.ask("second", Start(known=first.thread_id), private=True)
    assert (seat.thread_id, sent, made.threads.stored(None, 9)) == (
        first.thread_id,
        said("first", "second"),
        [],
    )
    with pytest.raises(ThreadMissingError):
        kernel().ask("third", resume=first.thread_id)
    stored, _ = made.ask("stored")
    third, sent = made.ask("third", Start(known=stored.thread_id), private=True)
    assert notices(third) == [f"thread {stored.thread_id} was not stored; this is a new one"]
    assert (sent, len(made.threads.stored(None, 9))) == (said("third"), 1)


def test_a_thread_that_was_closed_meanwhile_goes_on_without_a_word(kernel: Any) -> None:
    made = kernel()
    seats = [made.ask("first", model=f"m{number}")[0] for number in range(OPEN + 2)]
    made.ask("second", Start(known=seats[0].thread_id), model="other")
    first = Start(known=seats[0].thread_id, turns=KEPT)
    again, sent = made.ask("third", first)
    assert (again, sent) == (seats[0], said("first", "second", "third"))
    assert [made.threads.log(seat.thread_id).thread_id for seat in seats] == [
        seat.thread_id for seat in seats
    ]


def test_one_that_was_closed_and_is_another_s_now_is_forked(kernel: Any, elsewhere: Any) -> None:
    made = kernel()
    seats = [made.ask("first")[0] for _ in range(OPEN + 2)]
    elsewhere(seats[0].thread_id)
    again, sent = made.ask("second", Start(known=seats[0].thread_id))
    assert (again.forked, sent) == (True, said("first", "second"))
    assert notices(again) == [
        f"another program is using thread {seats[0].thread_id}; this is a fork of it"
    ]


def test_a_damaged_thread_says_so_with_its_seat(kernel: Any, environ: dict[str, str]) -> None:
    thread_id = begun(kernel)
    path = Path(environ["JUPYTER_DATA_DIR"], "codex_magic", "threads", f"{thread_id}.jsonl")
    path.write_bytes(path.read_bytes()[:-9])
    made = kernel()
    seat, _ = made.ask("second", Start(known=thread_id))
    told = f"the last line of thread {thread_id} was torn; what is left of it is in {path}.torn"
    assert notices(seat) == [f"thread resumed: {thread_id}", told]
    assert [notice.level for notice in seat.notices] == ["info", "warning"]
    again, _ = made.ask("third", Start(known=thread_id))
    assert notices(again) == []


def test_an_archived_thread_is_taken_up_again(kernel: Any) -> None:
    thread_id = begun(kernel)
    made = kernel()
    made.threads.archive(thread_id)
    made.threads.rename(thread_id, "called")
    assert made.threads.stored(None, 9) == []
    made.ask("second", resume=thread_id)
    assert [row.preview for row in made.threads.stored(None, 9)] == ["called"]
    made.threads.delete(thread_id)
    assert made.ask("third", Start(known=thread_id, turns=KEPT))[0].thread_id != thread_id
