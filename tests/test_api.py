"""Codex in plain Python, on a backend that a test scripts."""

from __future__ import annotations

import asyncio
import base64
import gc
import linecache
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
import pydantic
import pytest

import codex_magic
from codex_magic import events as ev
from codex_magic import typed
from codex_magic.api import (
    ApprovalMode,
    AsyncCodex,
    Codex,
    CodexConfig,
    ImageInput,
    LocalImageInput,
    MentionInput,
    OptionError,
    OptionWarning,
    Personality,
    ReasoningEffort,
    ReasoningSummary,
    Sandbox,
    ServerBusyError,
    SkillInput,
    TextInput,
    Thread,
    TurnFailedError,
    TurnHandle,
    is_retryable_error,
    retry_on_overload,
    types,
)
from codex_magic.api import config as configs
from codex_magic.api import handle as handle_module
from codex_magic.api.approvers import NOBODY, SAID_NO, approver
from codex_magic.api.options import AUTO_REVIEW, MEANINGLESS
from codex_magic.approval import DECIDE_YOURSELF, Answer, ApprovalRequest, QuestionRequest
from codex_magic.backends.base import Account, Model, Seat, StoredThread, StoredTurn
from codex_magic.errors import BackendError, CellError, SetupError
from codex_magic.items import AgentMessage, Change, FileChange, Text
from codex_magic.policy import Decision, SandboxPolicy
from codex_magic.turn import Image, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from codex_magic.backends.base import Mailbox, Start, TurnInput
    from codex_magic.turn import TurnRequest

PATIENCE_S = 20.0
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PNG_URL = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"


class World:
    """Everything that the brains of one test see, and what they do."""

    def __init__(self) -> None:
        self.brains: list[Brain] = []
        self.requests: list[TurnRequest] = []
        self.starts: list[tuple[str | None, Start]] = []
        self.stored: list[StoredThread] = []
        self.turns: dict[str, list[StoredTurn]] = {}
        self.done: list[tuple[str, ...]] = []
        self.play: Callable[[Brain, str], Sequence[ev.Event | BaseException]] = echo
        self.numbers = iter(range(1, 1000))
        self.open: list[Codex] = []

    def brain(self) -> Brain:
        brain = Brain(self)
        self.brains.append(brain)
        return brain

    def codex(self, *config: Any, **given: Any) -> Codex:
        codex = Codex(*config, connect=self.brain, **given)
        self.open.append(codex)
        return codex


class Brain:
    """A backend that does with each prompt what its world says."""

    name = "brain"
    version = (1, 2, 3)

    def __init__(self, world: World) -> None:
        self.world = world
        self.mailbox: Mailbox | None = None
        self.said: list[str] = []
        self.is_closed = False
        self.stopped = threading.Event()

    def seat(self, request: TurnRequest, start: Start) -> Seat:
        self.world.starts.append((request.resume, start))
        if request.resume == "gone":
            raise CellError("there is no thread 'gone'")
        known = None if start.branch else request.resume or start.known
        return Seat(known or f"id-{next(self.world.numbers)}", request.model or "a-model")

    def start_turn(self, seat: Seat, turn: TurnInput, mailbox: Mailbox) -> None:
        self.world.requests.append(turn.request)
        self.mailbox = mailbox
        for step in self.world.play(self, turn.request.prompt):
            if isinstance(step, BaseException):
                raise step
            mailbox.put(step)

    def answer(self, request_id: Any, answer: Any) -> None: ...

    def interrupt(self) -> None:
        self.stopped.set()
        assert self.mailbox is not None
        self.mailbox.put(ev.TurnCompleted("interrupted", at=9.0))

    def steer(self, text: str) -> None:
        self.said.append(text)
        assert self.mailbox is not None
        self.mailbox.put(ev.TurnCompleted("completed", at=9.0))

    def threads(
        self, cwd: str | None, limit: int = 20, *, archived: bool = False
    ) -> list[StoredThread]:
        self.world.done.append(("threads", str(cwd), str(limit)))
        return [] if archived else self.world.stored

    def turns(self, thread_id: str) -> list[StoredTurn]:
        return self.world.turns.get(thread_id, [])

    def rename(self, thread_id: str, title: str) -> None:
        self.world.done.append(("rename", thread_id, title))

    def archive(self, thread_id: str) -> None:
        self.world.done.append(("archive", thread_id))

    def compact(self, thread_id: str) -> None:
        self.world.done.append(("compact", thread_id))

    def account(self) -> Account:
        return Account("chatgpt", "ada@example.org")

    def models(self) -> list[Model]:
        return [
            Model("m", "M", efforts=("low", "extreme"), default_effort="low"),
            Model("h", hidden=True),
        ]

    def sign_in(self, way: str) -> Waiting:
        return Waiting(way)

    def sign_in_with_key(self, key: str) -> None:
        self.world.done.append(("key", key))

    def sign_out(self) -> bool:
        self.world.done.append(("sign out",))
        return True

    def close(self) -> None:
        self.is_closed = True


class Waiting:
    """A sign-in that a person completes, refuses, or leaves alone."""

    code = "ABCD-1234"
    who = ""

    def __init__(self, way: str) -> None:
        self.url = f"http://127.0.0.1/{way}"
        self.looks: list[bool | SetupError] = [False, True]
        self.is_cancelled = False

    def wait(self, timeout_s: float) -> bool:
        look = self.looks.pop(0)
        if isinstance(look, SetupError):
            raise look
        return look

    def cancel(self) -> None:
        self.is_cancelled = True


def said(text: str) -> list[ev.Event]:
    return [
        ev.TurnStarted("t", 1.0),
        ev.ItemStarted(AgentMessage(id="m")),
        ev.ItemDelta("m", "text", text),
        ev.ItemCompleted(AgentMessage(id="m", status="completed", text=Text(text))),
        ev.UsageUpdated(ev.Usage(input_tokens=3, output_tokens=2)),
        ev.TurnCompleted("completed", at=3.5),
    ]


def echo(_brain: Brain, prompt: str) -> list[ev.Event]:
    return said(f"you said {prompt}")


def begun(_brain: Brain, _prompt: str) -> list[ev.Event]:
    """A turn that goes on until it is steered or stopped."""
    return [ev.TurnStarted("t", 1.0)]


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    yield made
    for codex in made.open:
        codex.close()
    assert [brain for brain in made.brains if not brain.is_closed] == []


@pytest.fixture(autouse=True)
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.png").write_bytes(PNG)
    monkeypatch.chdir(folder)
    return folder.resolve()


# --- a turn ----------------------------------------------------------------------------------


def test_a_thread_has_its_id_at_once_and_runs_turns(world: World) -> None:
    thread = world.codex().thread_start()
    assert thread.id == "id-1"
    first, second = thread.run("one"), thread.run("two")
    assert (first.final_response, second.final_response) == ("you said one", "you said two")
    assert (second.status, second.thread_id, second.parent) == ("completed", "id-1", first.id)
    assert (second.usage, second.duration_ms) == (ev.Usage(input_tokens=3, output_tokens=2), 2500)
    assert thread.last is second
    assert [start.known for _, start in world.starts] == [None, "id-1", "id-1"]


def test_a_stream_is_every_event_once_and_in_order(world: World) -> None:
    thread = world.codex().thread_start()
    assert list(thread.stream("one")) == [
        ev.ThreadStarted("id-1", "a-model"),
        *said("you said one"),
    ]
    assert thread.last is not None
    assert thread.last.final_response == "you said one"


def test_a_handle_tells_the_same_in_the_sdks_words(world: World) -> None:
    handle = world.codex().thread_start().turn("one")
    told = list(handle.stream())
    assert [notification.event for notification in told][1:] == said("you said one")
    assert [notification.method for notification in told] == [
        "thread/started",
        "turn/started",
        "item/started",
        "item/agentMessage/delta",
        "item/completed",
        "thread/tokenUsage/updated",
        "turn/completed",
    ]
    assert told[3].payload.model_dump() == {
        "thread_id": "id-1",
        "turn_id": "t",
        "item_id": "m",
        "delta": "you said one",
    }
    assert told[5].payload.token_usage.total.total_tokens == 5
    assert told[6].payload.turn.status.value == "completed"
    assert (handle.id, handle.run().final_response) == ("t", "you said one")
    assert list(handle.stream()) == []


def test_a_turn_can_be_added_to(world: World) -> None:
    world.play = begun
    thread = world.codex().thread_start()
    handle = thread.turn("count")
    assert handle.steer(TextInput("stop at ten")).model_dump() == {"turn_id": "t"}
    assert handle.run().status == "completed"
    assert world.brains[0].said == ["stop at ten"]
    with pytest.raises(CellError, match="the turn is over"):
        handle.steer("more")


def test_a_turn_can_be_interrupted(world: World) -> None:
    world.play = begun
    thread = world.codex().thread_start()
    handle = thread.turn("count")
    handle.interrupt()
    assert handle.run().status == "interrupted"
    world.play = echo
    handle.interrupt()  # of what is over, nothing
    assert thread.run("next").final_response == "you said next"


def test_to_leave_a_stream_ends_its_turn(world: World) -> None:
    world.play = begun
    thread = world.codex().thread_start()
    stream = thread.stream("count")
    assert [next(stream), next(stream)] == [
        ev.ThreadStarted("id-1", "a-model"),
        ev.TurnStarted("t", 1.0),
    ]
    stream.close()  # type: ignore[attr-defined]
    world.play = echo
    assert thread.run("next").final_response == "you said next"


def test_two_turns_of_one_thread_are_refused(world: World) -> None:
    world.play = begun
    thread = world.codex().thread_start()
    handle = thread.turn("one")
    with pytest.raises(CellError, match="a turn of this thread is running already") as caught:
        thread.run("two")
    assert "steer()" in str(caught.value)
    handle.interrupt()
    handle.run()


def test_ctrl_c_ends_a_turn(world: World) -> None:
    world.play = lambda _brain, _prompt: [ev.TurnStarted("t", 1.0), KeyboardInterrupt()]
    thread = world.codex().thread_start()
    with pytest.raises(KeyboardInterrupt):
        thread.run("one")
    assert world.brains[0].stopped.is_set()
    assert thread.last is not None
    assert thread.last.status == "interrupted"


def waits(line: str) -> bool:
    """Whether the main thread is at this line of a handle's."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None and frame.f_code.co_filename != handle_module.__file__:
        frame = frame.f_back
    return frame is not None and line in linecache.getline(handle_module.__file__, frame.f_lineno)


@pytest.mark.parametrize("wait", ["self._ended.wait()", "self._events.get()"])
def test_ctrl_c_ends_a_turn_that_is_waited_for(world: World, wait: str) -> None:
    world.play = begun
    handle = world.codex().thread_start().turn("one")
    stream = handle.events()
    [next(stream) for _ in range(2)]

    def press() -> None:
        while not waits(wait):
            time.sleep(0.005)
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    with pytest.raises(KeyboardInterrupt):
        handle.run() if "wait" in wait else next(stream)
    presser.join()
    assert handle.turn is not None
    assert handle.turn.status == "interrupted"


# --- what goes wrong -------------------------------------------------------------------------

FAILURES = [
    (None, TurnFailedError, "the turn failed"),
    (
        ev.TurnError(message="no such model.", kind="badRequest"),
        TurnFailedError,
        "the turn failed: no such model. Check the options, the model's name first",
    ),
    (
        ev.TurnError(message="too busy", kind="serverOverloaded"),
        ServerBusyError,
        "the turn failed: too busy. Wait a little, then try again: retry_on_overload does",
    ),
]


@pytest.mark.parametrize(("error", "kind", "text"), FAILURES)
def test_a_failed_turn_is_an_error_that_has_the_turn(
    world: World, error: Any, kind: type, text: str
) -> None:
    world.play = lambda _brain, _prompt: [
        ev.TurnStarted("t", 1.0),
        ev.TurnCompleted("failed", error, at=2.0),
    ]
    thread = world.codex().thread_start()
    for run in (lambda: thread.run("one"), lambda: thread.turn("one").run()):
        with pytest.raises(RuntimeError) as caught:
            run()
        assert (type(caught.value), str(caught.value)) == (kind, text)
        assert isinstance(caught.value, BackendError)
        assert caught.value.turn is thread.last
    assert [type(event) for event in thread.stream("one")][-1] is ev.TurnCompleted
    assert is_retryable_error(caught.value) is (kind is ServerBusyError)


def test_what_is_too_busy_is_tried_again(world: World) -> None:
    busy = ev.TurnError(message="too busy", kind="serverOverloaded")
    ends = [ev.TurnCompleted("failed", busy, at=2.0), ev.TurnCompleted("completed", at=2.0)]
    world.play = lambda _brain, _prompt: [ev.TurnStarted("t", 1.0), ends.pop(0)]
    thread = world.codex().thread_start()
    assert retry_on_overload(lambda: thread.run("one"), initial_delay_s=0.0).status == "completed"


def test_what_could_not_be_started_says_so_at_once(world: World) -> None:
    world.play = lambda _brain, _prompt: [BackendError("the server is not there")]
    thread = world.codex().thread_start()
    for start in (thread.run, thread.turn, lambda prompt: list(thread.stream(prompt))):
        with pytest.raises(BackendError, match="the server is not there"):
            start("one")  # type: ignore[operator]


def test_what_is_closed_is_closed(world: World) -> None:
    world.play = begun
    codex = world.codex()
    thread = codex.thread_start()
    handle = thread.turn("one")
    codex.close()
    assert handle.run().status == "interrupted"
    uses: list[Callable[[], Any]] = [
        lambda: thread.run("two"),
        codex.thread_start,
        codex.models,
        lambda: codex.thread_resume("x"),
    ]
    for use in uses:
        with pytest.raises(CellError, match="this Codex is closed"):
            use()


# --- side by side ----------------------------------------------------------------------------

MANY = 100


def test_a_hundred_threads_run_side_by_side_and_lose_nothing(world: World) -> None:
    together = threading.Barrier(MANY, timeout=PATIENCE_S)

    def play(_brain: Brain, prompt: str) -> list[ev.Event]:
        together.wait()  # all of them are running now
        deltas = [ev.ItemDelta("m", "text", f"{prompt}.{i} ") for i in range(50)]
        return [ev.TurnStarted("t", 1.0), *deltas, ev.TurnCompleted("completed", at=2.0)]

    world.play = play
    codex = world.codex()
    threads = [codex.thread_start() for _ in range(MANY)]
    with ThreadPoolExecutor(MANY) as pool:
        heard = list(pool.map(lambda n: list(threads[n].stream(str(n))), range(MANY)))
    assert [
        [event.text for event in events if isinstance(event, ev.ItemDelta)] for events in heard
    ] == [[f"{n}.{i} " for i in range(50)] for n in range(MANY)]
    assert len({thread.id for thread in threads}) == MANY


def test_a_lane_serves_the_next_thread_when_its_own_is_gone(world: World) -> None:
    codex = world.codex()
    for n in range(5):
        assert codex.thread_start().run(str(n)).final_response == f"you said {n}"
        gc.collect()
    assert len(world.brains) == 1
    held = [codex.thread_start(), codex.thread_start()]
    assert len(world.brains) == len(held)


def test_a_thread_that_comes_back_is_on_its_own_lane(world: World) -> None:
    codex = world.codex()
    first, second = codex.thread_start(), codex.thread_start()
    assert codex.thread_resume(first.id) is first
    first_id, kept = first.id, first._lane
    del first
    gc.collect()
    third = codex.thread_start()
    assert third._lane is kept
    again = codex.thread_resume(first_id)
    assert (again.id, again._lane, second._lane is kept) == (first_id, kept, False)
    # Two threads on one lane take turns.
    world.play = begun
    handle = again.turn("one")
    waiting = ThreadPoolExecutor(1).submit(third.run, "two")
    world.play = echo
    handle.interrupt()
    assert handle.run().status == "interrupted"
    assert waiting.result(PATIENCE_S).final_response == "you said two"


def test_a_fork_goes_on_behind_the_last_turn(world: World) -> None:
    codex = world.codex()
    thread = codex.thread_start()
    with pytest.raises(CellError, match="thread id-1 has had no turn yet"):
        codex.thread_fork(thread.id)
    world.turns["id-1"] = [StoredTurn("t1", "id-1", ()), StoredTurn("t2", "id-1", ())]
    fork = codex.thread_fork("id-1")
    _, start = world.starts[-1]
    assert (fork.id, start.known, start.branch) == ("id-2", "id-1", "t2")
    assert fork.run("one").thread_id == "id-2"
    assert fork._lane is not thread._lane


# --- spellings -------------------------------------------------------------------------------

POLICY = SandboxPolicy(mode="read-only", workspace=Path("/"), network=True)

SPELLINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {"approval": "on-request", "mode": "workspace-write", "summary": "auto"}),
    ({"model": "m", "effort": "high"}, {"model": "m", "effort": "high"}),
    ({"effort": ReasoningEffort.xhigh}, {"effort": "xhigh"}),
    ({"summary": ReasoningSummary.model_validate("concise")}, {"summary": "concise"}),
    ({"sandbox": "read-only"}, {"mode": "read-only"}),
    ({"sandbox": Sandbox.workspace_write}, {"mode": "workspace-write"}),
    ({"sandbox": Sandbox.full_access}, {"mode": "full-access"}),
    ({"sandbox": "danger-full-access"}, {"mode": "full-access"}),
    ({"sandbox": POLICY}, {"mode": "read-only", "network": True, "cwd": Path("/")}),
    (
        {"sandbox": POLICY, "network": False, "cwd": "sub"},
        {"mode": "read-only", "cwd": Path("sub")},
    ),
    ({"network": True}, {"network": True}),
    ({"approval": "untrusted"}, {"approval": "untrusted"}),
    ({"approval": "never"}, {"approval": "never"}),
    ({"approval_mode": ApprovalMode.deny_all}, {"approval": "never"}),
    ({"approval_policy": "never"}, {"approval": "never"}),
    ({"timeout_s": 5}, {"timeout_s": 5.0}),
    ({"cwd": "sub"}, {"cwd": Path("sub")}),
    ({"cwd": Path("sub")}, {"cwd": Path("sub")}),
    ({"add_dirs": ["sub"]}, {"writable": (Path("sub"),)}),
    ({"config": {"model_reasoning_effort": "high"}}, {"effort": "high"}),
    ({"config": {"model": "c", "sandbox_mode": "read-only"}}, {"model": "c", "mode": "read-only"}),
    ({"config": {"model": "c"}, "model": "m"}, {"model": "m"}),
    ({"model": None, "approval_mode": None, "personality": None}, {"model": None}),
]


def seen(request: TurnRequest, work: Path) -> dict[str, Any]:
    def short(path: Path) -> Path:
        return path.relative_to(work) if path.is_relative_to(work) else path

    return {
        "model": request.model,
        "effort": request.effort,
        "summary": request.summary,
        "approval": request.approval,
        "timeout_s": request.timeout_s,
        "mode": request.policy.mode,
        "network": request.policy.network,
        "cwd": short(request.policy.workspace),
        "writable": tuple(map(short, request.policy.writable)),
    }


@pytest.mark.parametrize(("given", "expected"), SPELLINGS)
def test_both_spellings_mean_the_same(
    world: World, work: Path, given: dict[str, Any], expected: dict[str, Any]
) -> None:
    default = {
        "model": None,
        "effort": None,
        "summary": "auto",
        "approval": "on-request",
        "timeout_s": 120.0,
        "mode": "workspace-write",
        "network": False,
        "cwd": Path(),
        "writable": (),
    }
    codex = world.codex()
    codex.thread_start(**given).run("to a thread")
    codex.thread_start().run("to a turn", **given)
    of_a_thread, of_a_turn = (seen(request, work) for request in world.requests)
    assert of_a_thread == of_a_turn == default | expected


def test_what_is_said_to_a_turn_holds_for_those_behind_it(world: World) -> None:
    thread = world.codex().thread_start(sandbox=Sandbox.workspace_write, model="m")
    thread.run("one", sandbox=Sandbox.read_only, output_schema=N)
    thread.run("two")
    thread.run("three", model="n")
    assert [(r.policy.mode, r.model, r.schema) for r in world.requests] == [
        ("read-only", "m", N),
        ("read-only", "m", None),
        ("read-only", "n", None),
    ]


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"efort": "high"}, "a turn has no option 'efort'. Did you mean effort?"),
    ({"output_shema": {}}, "a turn has no option 'output_shema'. Did you mean output_schema?"),
    ({"private": True}, "a turn has no option 'private'. Say it to the thread when it is started"),
    (
        {"xyzzy": 1},
        (
            "a turn has no option 'xyzzy'. There are: model, effort, summary, sandbox, network, "
            "add_dirs, approval, approver, cwd, timeout_s, images, schema"
        ),
    ),
    (
        {"sandbox": "none"},
        "sandbox is 'none': it must be one of read-only, workspace-write, full-access, external",
    ),
    (
        {"approval": "on-failure"},
        "approval is 'on-failure': it must be one of untrusted, on-request, never",
    ),
    ({"network": "yes"}, "network is 'yes': it must be True or False"),
    ({"timeout_s": 0}, "timeout_s is 0: it must be a number of seconds above 0"),
    ({"model": ""}, "model is '': it must be a word"),
    ({"config": "x"}, "config is 'x': it must be a mapping"),
    (
        {"schema": 3},
        (
            "the schema is an int, and no shape of an answer. Name a JSON Schema, a pydantic model, "
            "a msgspec Struct, a dataclass or a TypedDict"
        ),
    ),
    (
        {"output_schema": {"type": "object", "additionalProperties": {"type": "string"}}},
        (
            "the schema: the schema may have keys of any name, and models cannot be held to that. "
            "Use a list of pairs, each an object with a key and a value"
        ),
    ),
    (
        {"approval": "never", "approval_mode": ApprovalMode.auto_review},
        "approval and approval_mode say different things. Use approval",
    ),
    ({"approver": 3}, "int cannot be asked. Give approver= a function of one argument"),
]


@pytest.mark.parametrize(("given", "text"), REFUSED)
def test_what_cannot_be_meant_is_an_error_that_names_ours(
    world: World, given: dict[str, Any], text: str
) -> None:
    thread = world.codex().thread_start()
    with pytest.raises(CellError) as caught:
        thread.run("one", **given)
    assert str(caught.value) == text
    assert isinstance(caught.value, TypeError) or "approver" in given
    assert world.requests == []
    assert thread.run("two").final_response == "you said two"


def test_a_folder_that_is_not_there_is_named(world: World, work: Path) -> None:
    with pytest.raises(OptionError, match=f"cwd is 'nowhere': there is no folder {work}/nowhere"):
        world.codex().thread_start(cwd="nowhere")


def test_an_option_that_means_nothing_is_said_once_and_to_the_next_turn(world: World) -> None:
    codex = world.codex()
    told = f"personality means nothing here: {MEANINGLESS['personality']}"
    with pytest.warns(OptionWarning, match="personality means nothing") as caught:
        thread = codex.thread_start(personality=Personality.friendly)
    assert [Path(warning.filename).name for warning in caught] == ["test_api.py"]
    turns = [thread.run("one", personality="friendly"), codex.thread_start().run("two")]
    assert [[notice.text for notice in turn.notices] for turn in turns] == [[told], []]


def test_auto_review_says_what_it_means(world: World) -> None:
    with pytest.warns(OptionWarning, match="auto_review means on-request here"):
        thread = world.codex().thread_start(approval_mode=ApprovalMode.auto_review)
    turn = thread.run("one")
    assert (turn.approval, [notice.text for notice in turn.notices]) == (
        "on-request",
        [AUTO_REVIEW],
    )


@pytest.mark.parametrize("name", MEANINGLESS)
def test_every_option_of_the_sdk_is_known(world: World, name: str) -> None:
    with pytest.warns(OptionWarning, match=f"{name} means nothing here"):
        thread = world.codex().thread_start(**{name: "x"})
    assert thread.run("one").status == "completed"


def test_the_sdks_own_signatures_are_understood() -> None:
    """Whatever the SDK's methods can be told has a meaning here, or is said to have none."""
    import inspect

    import openai_codex
    import openai_codex.types

    from codex_magic.api.codex import LIST_OPTIONS
    from codex_magic.api.options import NAMES, SECOND

    known = {*NAMES["thread"], *NAMES["turn"], *SECOND, *MEANINGLESS, *LIST_OPTIONS}
    known |= {"self", "config", "input", "thread_id", "archived", "limit"}
    theirs = [
        getattr(kind, name)
        for kind, names in {
            openai_codex.Codex: ("thread_start", "thread_resume", "thread_fork", "thread_list"),
            openai_codex.Thread: ("run", "turn"),
        }.items()
        for name in names
    ]
    named = {name for method in theirs for name in inspect.signature(method).parameters}
    assert named - known == set()
    for ours, of in ((Codex, openai_codex.Codex), (Thread, openai_codex.Thread)):
        assert [n for n in dir(of) if not n.startswith("_") and not hasattr(ours, n)] == (
            ["id"] if ours is Thread else []
        )
    public = set(openai_codex.__all__) - {"__version__"}
    assert {name for name in public if not hasattr(codex_magic.api, name)} == {
        *("CodexRpcError", "ExternalMessage", "InternalRpcError", "InvalidParamsError"),
        *("InvalidRequestError", "MethodNotFoundError", "ParseError", "RetryLimitExceededError"),
    }
    named = set(openai_codex.types.__all__)
    assert {name for name in named if not hasattr(types, name)} == {
        *("ApprovalsReviewer", "AskForApproval", "PlanType", "SandboxMode", "SandboxPolicy"),
        *("SortDirection", "ThreadListCwdFilter", "ThreadSortKey", "ThreadSource"),
        *("ThreadSourceKind", "ThreadStartSource"),
    }


# --- inputs ----------------------------------------------------------------------------------

INPUTS: list[tuple[Any, Any, tuple[str, list[tuple[str, str]]]]] = [
    ("one", (), ("one", [])),
    (TextInput("one"), (), ("one", [])),
    ([TextInput("one"), "two"], (), ("one\n\ntwo", [])),
    (["see", LocalImageInput("a.png")], (), ("see", [("a.png", PNG_URL)])),
    (["see", ImageInput(PNG_URL)], (), ("see", [("the image", PNG_URL)])),
    ("see", [PNG, "a.png"], ("see", [("image 1", PNG_URL), ("a.png", PNG_URL)])),
    (["see", LocalImageInput("a.png")], PNG, ("see", [("a.png", PNG_URL), ("image 2", PNG_URL)])),
    ("see", "a.png", ("see", [("a.png", PNG_URL)])),
    ("see", [Path("a.png")], ("see", [("a.png", PNG_URL)])),
    ("see", [Image("i", PNG_URL)], ("see", [("i", PNG_URL)])),
    (
        "see",
        ("https://example.org/i.png",),
        ("see", [("https://example.org/i.png", "https://example.org/i.png")]),
    ),
    (
        [SkillInput("plot", "s/SKILL.md"), TextInput("go")],
        (),
        ("Use the skill plot; read its instructions first: s/SKILL.md\n\ngo", []),
    ),
    (
        [TextInput("read @a"), MentionInput("@a", "a.csv")],
        (),
        ("read @a\n\n@a is a.csv", []),
    ),
]


@pytest.mark.parametrize(("prompt", "images", "expected"), INPUTS)
def test_every_kind_of_input_reaches_the_turn(
    world: World, prompt: Any, images: Any, expected: Any
) -> None:
    world.codex().thread_start().run(prompt, images=images)
    [request] = world.requests
    assert (request.prompt, [(image.name, image.url) for image in request.images]) == expected


BAD_INPUTS: list[tuple[Any, Any, str]] = [
    ("", (), "the prompt is empty. Say in words what is to be done"),
    (" \n", (), "the prompt is empty. Say in words what is to be done"),
    ([LocalImageInput("a.png")], (), "the prompt is empty. Say in words what is to be done"),
    ("x" * 1_048_577, (), "the prompt has 1,048,577 characters, and Codex takes 1,048,576"),
    ({"type": "text"}, (), "dict is no input of a turn"),
    ("see", "no.png", "there is no image 'no.png': no file of this name in HERE. Name a file or"),
    ("see", "sub", "sub is a folder and no image. Name a file in it"),
    ("see", "text.png", "text.png is no PNG, JPEG, WEBP or GIF image. Save it as PNG"),
    ("see", "http://example.org/i.png", "an image's address begins with https:"),
    (["see", ImageInput("ftp://x/i.png")], (), "an image cannot come from a ftp: address. Use"),
    (["see", ImageInput("a.png")], (), "an image cannot come from a a.png: address"),
    ("see", [PNG, 3], "image 2 is an int, and that is no image"),
    ("see", [PNG + bytes(4 * 2**20)] * 4, "the images have 16 MB together, and a turn takes 15"),
]


@pytest.mark.parametrize(("prompt", "images", "text"), BAD_INPUTS)
def test_what_is_no_input_is_an_error(
    world: World, work: Path, prompt: Any, images: Any, text: str
) -> None:
    (work / "text.png").write_text("no image")
    thread = world.codex().thread_start()
    with pytest.raises(CellError) as caught:
        thread.run(prompt, images=images)
    assert str(caught.value).startswith(text.replace("HERE", str(work)))


# --- who is asked ----------------------------------------------------------------------------

APPROVAL = ApprovalRequest("rm x", "/w", "", ("do it",), "read-only")
QUESTION = QuestionRequest("Which?")
YES = Answer(Decision.ACCEPT, "person")

APPROVERS: list[tuple[Any, Any, Answer]] = [
    (None, APPROVAL, Answer(Decision.DECLINE, "nobody", NOBODY)),
    (None, QUESTION, Answer(Decision.DECLINE, "nobody", DECIDE_YOURSELF)),
    (True, APPROVAL, Answer(Decision.ACCEPT, "program")),
    (False, APPROVAL, Answer(Decision.DECLINE, "program", SAID_NO)),
    (False, QUESTION, Answer(Decision.DECLINE, "program", DECIDE_YOURSELF)),
    ("too risky", APPROVAL, Answer(Decision.DECLINE, "program", "too risky")),
    ("", APPROVAL, Answer(Decision.DECLINE, "program", SAID_NO)),
    ("b.csv", QUESTION, Answer(Decision.ACCEPT, "program", "b.csv")),
    (Decision.ACCEPT_FOR_SESSION, APPROVAL, Answer(Decision.ACCEPT_FOR_SESSION, "program")),
    (Decision.CANCEL, APPROVAL, Answer(Decision.CANCEL, "program", SAID_NO)),
    (YES, APPROVAL, YES),
]


@pytest.mark.parametrize(("says", "request_", "expected"), APPROVERS)
def test_a_function_answers(says: Any, request_: Any, expected: Answer) -> None:
    assert approver(None if says is None else lambda _: says).ask(request_) == expected


@pytest.mark.parametrize(("says", "request_"), [(3, APPROVAL), (1, APPROVAL), (True, QUESTION)])
def test_what_is_no_answer_allows_nothing(says: Any, request_: Any) -> None:
    with pytest.raises(CellError, match="which is no answer"):
        approver(lambda _: says).ask(request_)


# --- what concerns no thread -----------------------------------------------------------------


def test_what_is_stored_is_listed_in_both_spellings(world: World, work: Path) -> None:
    world.stored = [StoredThread("a", "hi", str(work), "cli", 5.0, ours=False)]
    codex = world.codex()
    listed = codex.thread_list(cwd=".", limit=3)
    assert listed.data == list(listed)
    assert listed == (types.StoredThread("a", "hi", str(work), "cli", 5.0, ours=False),)
    codex.thread_list()
    assert world.done == [("threads", str(work), "3"), ("threads", "None", "20")]
    assert codex.thread_list(archived=True).data == []
    with pytest.warns(OptionWarning, match="cursor means nothing here"):
        codex.thread_list(cursor="c")
    with pytest.raises(OptionError, match="thread_list has no option 'limt'"):
        codex.thread_list(limt=3)


def test_a_thread_is_read_named_and_put_away(world: World, work: Path) -> None:
    codex = world.codex()
    thread = codex.thread_start()
    assert thread.read().thread == types.StoredThread("id-1", cwd=str(work))
    stored = StoredTurn("t", "id-1", (("user", "hi"), ("agent", "hello")))
    world.turns["id-1"] = [stored]
    read = thread.read(include_turns=True).thread
    assert read == types.StoredThread("id-1", "hi", str(work), turns=(stored,))
    thread.set_name("mine")
    codex.thread_archive(thread.id)
    assert codex.thread_unarchive(thread.id) is thread
    assert world.done == [("rename", "id-1", "mine"), ("archive", "id-1")]
    thread.compact()  # of nothing, nothing
    assert len(world.done) == 2
    thread.run("one")
    thread.compact()
    assert world.done[2:] == [("compact", "id-1")]
    with pytest.raises(CellError, match="there is no thread 'gone'"):
        codex.thread_resume("gone")


def test_models_and_the_account_have_both_spellings(world: World) -> None:
    codex = world.codex()
    [model] = codex.models().data
    assert [m.id for m in codex.models(include_hidden=True)] == ["m", "h"]
    assert (model.model, model.display_name, model.hidden) == ("m", "M", False)
    efforts = [option.reasoning_effort.value for option in model.supported_reasoning_efforts]
    assert (efforts, model.default_reasoning_effort) == (["low", "extreme"], ReasoningEffort.low)
    account = codex.account(refresh_token=True)
    assert (account.detail, account.account, account.requires_openai_auth) == (
        "ada@example.org",
        account,
        True,
    )
    server = codex.metadata.serverInfo
    assert (server.name, server.version) == ("brain", "1.2.3")


def test_a_person_signs_in(world: World) -> None:
    codex = world.codex()
    codex.login_api_key("sk-not-a-real-one")
    codex.logout()
    assert world.done == [("key", "sk-not-a-real-one"), ("sign out",)]
    device = codex.login_chatgpt_device_code()
    assert (device.verification_url, device.user_code) == ("http://127.0.0.1/device", "ABCD-1234")
    assert device.wait().success
    assert device.cancel().status == types.CancelLoginAccountStatus.not_found
    browser = codex.login_chatgpt()
    assert browser.auth_url == "http://127.0.0.1/browser"
    assert browser.cancel().status == types.CancelLoginAccountStatus.canceled
    ended = browser.wait()
    assert (ended.success, ended.error) == (False, "the sign-in was given up")
    refused = codex.login_chatgpt()
    refused._waiting.looks = [SetupError("the person said no")]  # type: ignore[attr-defined]
    assert (refused.wait().success, refused.wait().error) == (False, "the person said no")


# --- how it is set up ------------------------------------------------------------------------

HOST = {"base_url": "http://127.0.0.1:9/v1", "env_key": "MY_KEY"}
SETUPS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {}, {}),
    ({"config_overrides": ('model="m"', "model_reasoning_effort=high")}, {}, {"effort": "high"}),
    ({"config_overrides": ("openai_base_url=http://127.0.0.1:9/v1",)}, {"base_url": 1}, {}),
    (
        {
            "config_overrides": (
                "model_provider=x",
                'model_providers.x.base_url="http://127.0.0.1:9/v1"',
                "model_providers.x.env_key=MY_KEY",
                "model_providers.x.wire_api=responses",
            )
        },
        {"base_url": 1, "env_key": 1},
        {},
    ),
]


@pytest.mark.parametrize(("given", "settings", "values"), SETUPS)
def test_a_config_of_the_sdk_is_understood(
    given: dict[str, Any], settings: dict[str, Any], values: dict[str, Any]
) -> None:
    found = configs.setup(CodexConfig(**given), {}, codex_home=None, env=None)
    assert {name: getattr(found.settings, name) for name in settings} == {
        name: HOST[name] for name in settings
    }
    assert {name: found.values[name] for name in values} == values
    assert found.news == ()


def test_a_config_names_program_folder_and_variables(work: Path) -> None:
    config = CodexConfig(codex_bin="/x/codex", cwd="sub", env={"A": "1", "B": "1"})
    found = configs.setup(config, {}, codex_home="~/c", env={"B": "2"})
    names = ("CODEX_MAGIC_CODEX", "CODEX_HOME", "A", "B")
    assert [found.environ[name] for name in names] == [
        "/x/codex",
        str(Path("~/c").expanduser()),
        "1",
        "2",
    ]
    assert found.values == {"cwd": work / "sub"}


def test_a_config_is_taken_in_both_ways_and_says_what_it_leaves_out(world: World) -> None:
    told = ["client_name means nothing here: nothing here asks for it"]
    told += ["config 'features.shell_tool' is left out: what Codex may do by itself is fixed here"]
    config = CodexConfig(client_name="me", config_overrides=("features.shell_tool=true", "model=m"))
    for made in ((config,), ()):
        with pytest.warns(OptionWarning) as caught:
            codex = world.codex(*made, **({} if made else {"config": config}))
        assert [str(warning.message) for warning in caught] == told
        codex.thread_start().run("one")
    assert [request.model for request in world.requests] == ["m", "m"]


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"backend": "cloud"}, "backend is 'cloud': it must be one of auto, app-server, responses"),
    ({"base_url": "x"}, "base_url cannot be used: it must begin with https:// or http://"),
    (
        {"config": CodexConfig(config_overrides=("model",))},
        "the override 'model' has no value. Write it as key=value",
    ),
]


@pytest.mark.parametrize(("given", "text"), WRONG)
def test_a_setup_that_cannot_be_is_an_error(given: dict[str, Any], text: str) -> None:
    with pytest.raises(CellError) as caught:
        Codex(**given)
    assert str(caught.value) == text


def test_a_key_is_shown_nowhere(world: World) -> None:
    codex = world.codex(api_key="sk-secret-secret", env={"OPENAI_API_KEY": "sk-other-secret"})
    assert codex._setup.settings.api_key == "sk-secret-secret"
    assert "secret" not in f"{codex!r} {codex._setup!r} {vars(codex)!r}"


def test_settings_come_from_the_environment_as_well(world: World) -> None:
    codex = world.codex(env={"CODEX_MAGIC_MODEL": "m", "CODEX_MAGIC_SANDBOX": "read-only"})
    codex.thread_start().run("one")
    assert [(r.model, r.policy.mode) for r in world.requests] == [("m", "read-only")]


# --- structured answers ----------------------------------------------------------------------


@dataclass
class Row:
    name: str
    n: int = 3


class Struct(msgspec.Struct):
    n: int


class Pydantic(pydantic.BaseModel):
    n: int


class Typed(TypedDict):
    n: int


N = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
SHAPES: list[tuple[Any, str, Any]] = [
    (N, '{"n": 1}', {"n": 1}),
    (MappingProxyType(N), '{"n": 1}', {"n": 1}),
    (Row, '{"name": "a", "n": null}', Row("a")),
    (Struct, '{"n": 1}', Struct(1)),
    (Pydantic, '{"n": 1}', Pydantic(n=1)),
    (Typed, '{"n": 1}', {"n": 1}),
    (list[Row], '{"value": [{"name": "a", "n": 1}]}', [Row("a", 1)]),
    (int, '{"value": 7}', 7),
]


@pytest.mark.parametrize(("schema", "text", "value"), SHAPES)
def test_an_answer_is_a_value(world: World, schema: Any, text: str, value: Any) -> None:
    world.play = lambda _brain, _prompt: said(text)
    thread = world.codex().thread_start()
    turn = thread.run("one", schema=schema)
    assert (turn.final_response, thread.answer("two", schema)) == (text, value)
    told = [request.schema for request in world.requests]
    assert told == [told[0], told[0]]
    if schema is N:
        assert told[0] == N


def misfits(*answers: str) -> Callable[[Brain, str], Sequence[ev.Event]]:
    left = [said(answer) for answer in answers]
    return lambda _brain, _prompt: left.pop(0)


PROBLEM = '$: "n" is missing'
ONCE_MORE = typed.ONCE_MORE.format(problem=PROBLEM)


def answered(world: World, *, is_async: bool) -> Any:
    if not is_async:
        thread = world.codex().thread_start()
        return thread.answer("one", N), thread.last, thread.id

    async def work() -> Any:
        async with AsyncCodex(connect=world.brain) as codex:
            thread = await codex.thread_start()
            return await thread.answer("one", N), thread.last, thread.id

    return awaited(work)


@pytest.mark.parametrize("is_async", [False, True])
def test_an_answer_that_does_not_fit_is_asked_for_once_more(world: World, is_async: bool) -> None:
    world.play = misfits("{}", '{"n": 2}')
    value, last, thread_id = answered(world, is_async=is_async)
    assert (value, last.final_response, last.thread_id) == ({"n": 2}, '{"n": 2}', thread_id)
    assert [(r.prompt, r.schema) for r in world.requests] == [("one", N), (ONCE_MORE, N)]
    assert [start.known for _, start in world.starts] == [None, thread_id, thread_id]
    assert [notice.text for notice in last.notices] == [
        f"the answer did not fit the schema: {PROBLEM}; asked once more"
    ]


@pytest.mark.parametrize("is_async", [False, True])
def test_an_answer_that_never_fits_is_an_error(world: World, is_async: bool) -> None:
    world.play = misfits("{}", "no JSON")
    with pytest.raises(BackendError, match="the answer does not fit the schema: the answer is no"):
        answered(world, is_async=is_async)
    assert [request.prompt for request in world.requests] == ["one", ONCE_MORE]


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("status", "kind", "text"),
    [
        ("failed", TurnFailedError, "the turn failed"),
        ("interrupted", BackendError, "the turn was stopped before it had answered. Run it again"),
    ],
)
def test_a_turn_without_an_answer_has_no_value(
    world: World, status: Any, kind: type[Exception], text: str, is_async: bool
) -> None:
    world.play = lambda _brain, _prompt: [ev.TurnStarted("t"), ev.TurnCompleted(status)]
    with pytest.raises(kind) as caught:
        answered(world, is_async=is_async)
    assert (type(caught.value), str(caught.value)) == (kind, text)
    assert len(world.requests) == 1


def test_a_second_turn_can_be_given_up_as_well(world: World) -> None:
    """Also one that is given up between the two."""
    thread = world.codex().thread_start()
    kept: list[Any] = []
    is_there = threading.Event()

    def play(brain: Brain, prompt: str) -> list[ev.Event]:
        if prompt != "one":
            return begun(brain, prompt)
        assert brain.mailbox is not None
        for event in said("{}"):
            brain.mailbox.put(event)
        assert is_there.wait(PATIENCE_S)
        handle.interrupt()  # the first turn is over before that is read
        return []

    world.play = play
    handle = thread.begin("one", {"schema": N}, None, kept.append)
    is_there.set()
    assert handle.run().status == "interrupted"
    assert [answer.has_value for answer in kept] == [False]
    assert [request.prompt for request in world.requests] == ["one", ONCE_MORE]


# --- tools -----------------------------------------------------------------------------------


class Extra:
    name, description = "extra", "Does more."
    parameters: dict[str, Any] = {"type": "object", "properties": {}}

    def prepare(self, call_id: str, arguments: Any, request: Any) -> Any: ...


def test_a_thread_has_tools_of_its_own(world: World) -> None:
    codex = world.codex()
    plain, more = codex.thread_start(), codex.thread_start(tools=[Extra()])
    offered = [[*thread._lane.session._hands.tools] for thread in (plain, more)]
    assert offered[1] == [*offered[0], "extra"]
    more_id = more.id
    with pytest.raises(OptionError, match="the tools of a thread are fixed when it is started"):
        codex.thread_resume(more_id, tools=[])
    del more
    gc.collect()
    assert codex.thread_start()._lane is not plain._lane
    assert [*codex.thread_resume(more_id)._lane.session._hands.tools] == offered[1]


class Shell(Extra):
    name = "shell"


def test_what_is_no_tool_or_has_a_name_that_is_taken_is_refused(world: World) -> None:
    codex = world.codex()
    with pytest.raises(OptionError, match=r"tools is .*: a tool has a name, .*"):
        codex.thread_start(tools=[len])  # type: ignore[list-item]
    with pytest.raises(CellError, match="there are two tools called 'shell'"):
        codex.thread_start(tools=[Shell()])


# --- asynchronous ----------------------------------------------------------------------------


def awaited(work: Callable[[], Any]) -> Any:
    """Run a coroutine in an OS thread of its own: this one may have a loop already."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result(PATIENCE_S)


def test_everything_can_be_awaited(world: World) -> None:
    world.stored = [StoredThread("a", "hi", "/w", "cli", 5.0, ours=False)]
    world.turns["id-1"] = [StoredTurn("t", "id-1", ())]

    async def work() -> Any:
        async with AsyncCodex(connect=world.brain) as codex:
            thread = await codex.thread_start(model="m")
            first = await thread.run("one")
            events = [event async for event in thread.stream("two")]
            handle = await thread.turn(TextInput("three"))
            methods = [notification.method async for notification in handle.stream()]
            ended = await handle.run()
            fork = await codex.thread_fork(thread.id)
            again = await codex.thread_resume(thread.id)
            login = await codex.login_chatgpt()
            code = await codex.login_chatgpt_device_code()
            await login.cancel()
            await thread.set_name("mine")
            await codex.thread_archive(thread.id)
            await codex.login_api_key("k")
            await codex.logout()
            return {
                "texts": [first.final_response, ended.final_response],
                "events": events,
                "methods": methods[-1],
                "ids": [thread.id, fork.id, again.id, (await codex.thread_unarchive("b")).id],
                "list": len((await codex.thread_list()).data),
                "models": len(await codex.models(include_hidden=True)),
                "account": (await codex.account()).kind,
                "login": [login.auth_url, (await login.wait()).success],
                "code": [code.user_code, (await code.wait()).success],
                "read": len((await thread.read(include_turns=True)).thread.turns),
                "server": codex.metadata.server_info.name,
                "last": thread.last is ended,
            }

    assert awaited(work) == {
        "texts": ["you said one", "you said three"],
        "events": [ev.ThreadStarted("id-1", "m"), *said("you said two")],
        "methods": "turn/completed",
        "ids": ["id-1", "id-2", "id-1", "b"],
        "list": 1,
        "models": 2,
        "account": "chatgpt",
        "login": ["http://127.0.0.1/browser", False],
        "code": ["ABCD-1234", True],
        "read": 1,
        "server": "brain",
        "last": True,
    }


def test_a_hundred_turns_are_awaited_together(world: World) -> None:
    together = threading.Barrier(MANY, timeout=PATIENCE_S)

    def play(_brain: Brain, prompt: str) -> list[ev.Event]:
        together.wait()
        return said(prompt)

    world.play = play

    async def work() -> list[str]:
        async with AsyncCodex(connect=world.brain) as codex:
            threads = await asyncio.gather(*(codex.thread_start() for _ in range(MANY)))
            turns = await asyncio.gather(*(t.run(str(n)) for n, t in enumerate(threads)))
            return [turn.final_response for turn in turns]

    assert awaited(work) == [str(n) for n in range(MANY)]


def test_a_cancelled_task_ends_its_turn(world: World) -> None:
    world.play = begun

    async def work() -> Any:
        async with AsyncCodex(connect=world.brain) as codex:
            thread = await codex.thread_start()
            handle = await thread.turn("one")
            task = asyncio.create_task(handle.run())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            first = await handle.run()
            stream = thread.stream("two")
            await anext(stream)
            await stream.aclose()
            return first.status, thread.last is not None and thread.last.status

    assert awaited(work) == ("interrupted", "interrupted")


def test_an_awaited_turn_can_be_added_to_and_can_fail(world: World) -> None:
    def play(_brain: Brain, prompt: str) -> list[Any]:
        if prompt == "fail":
            return [ev.TurnStarted("t"), ev.TurnCompleted("failed")]
        return [BackendError("not there")] if prompt == "not" else begun(_brain, prompt)

    world.play = play

    async def work() -> Any:
        async with AsyncCodex(connect=world.brain) as codex:
            thread = await codex.thread_start()
            handle = await thread.turn("one")
            await handle.steer("more")
            steered = await handle.run()
            stopped = await thread.turn("two")
            await stopped.interrupt()
            interrupted = await stopped.run()
            with pytest.raises(TurnFailedError):
                await thread.run("fail")
            with pytest.raises(BackendError, match="not there"):
                await thread.run("not")
            return steered.status, interrupted.status

    assert awaited(work) == ("completed", "interrupted")
    assert world.brains[0].said == ["more"]


# --- in a notebook ---------------------------------------------------------------------------


def test_a_notebook_is_asked_in_python(
    shell: Any, script: Any, reply: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    backend = script(reply("hello"), reply("again"))
    assert codex_magic.last is None
    turn = codex_magic.ask([TextInput("hi"), LocalImageInput(Path("a.png"))], effort="high")
    assert isinstance(turn, Turn)
    assert codex_magic.last is turn
    assert "hello" in capsys.readouterr().out
    shell.run_cell_magic("codex", "", "and again")
    assert [request.prompt for request in backend.asked] == ["hi", "and again"]
    assert [(r.thread, r.effort) for r in backend.asked] == [("main", "high"), ("main", None)]
    assert [len(request.images) for request in backend.asked] == [1, 0]
    assert codex_magic.last is not turn


@pytest.fixture
def shell(shell: Any) -> Any:
    Path("a.png").write_bytes(PNG)  # the shell has a folder of its own
    return shell


def test_a_notebook_asks_once_more_where_an_answer_does_not_fit(shell: Any, script: Any) -> None:
    backend = script(said("{}"), said('{"n": 2}'))
    turn = codex_magic.ask("hi", schema=N)
    assert (turn.final_response, codex_magic.last) == ('{"n": 2}', turn)
    assert [request.prompt for request in backend.asked] == ["hi", ONCE_MORE]
    script(said("{}"), said("{}"))
    with pytest.raises(BackendError, match="the answer does not fit the schema"):
        codex_magic.ask("hi", schema=N)


def test_a_notebook_says_what_an_option_means(shell: Any, script: Any, reply: Any) -> None:
    script(reply("hello"))
    turn = codex_magic.ask("hi", approval_mode="auto_review")
    assert [notice.text for notice in turn.notices] == [AUTO_REVIEW]
    with pytest.raises(OptionError, match="Did you mean effort"):
        codex_magic.ask("hi", efort="high")
    with pytest.raises(CellError, match="in a notebook the person is asked"):
        codex_magic.ask("hi", approver=lambda _: True)


def test_a_failed_turn_in_a_notebook_is_an_error(shell: Any, script: Any) -> None:
    script([ev.TurnStarted("t"), ev.TurnCompleted("failed", ev.TurnError(message="no"))])
    with pytest.raises(BackendError, match="the turn failed: no"):
        codex_magic.ask("hi")


def test_without_a_notebook_there_is_nobody_to_ask() -> None:
    assert codex_magic.last is None
    with pytest.raises(CellError, match="no notebook has this extension loaded") as caught:
        codex_magic.ask("hi")
    assert "%load_ext codex_magic" in caught.value.hint


# --- what it costs ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "code",
    [
        "from codex_magic import Codex, Sandbox, TextInput, ApprovalMode, CodexConfig",
        "from codex_magic.api.types import ThreadReadResponse, Turn, TurnStatus",
        "import codex_magic; codex_magic.last",
    ],
)
def test_importing_the_names_imports_nothing_heavy(code: str) -> None:
    heavy = ("httpx2", "pydantic", "tornado", "asyncio", "ssl", "IPython", "anywidget", "keyring")
    ask = f"import sys; {code}; print([name for name in {heavy!r} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True)
    assert ran.stdout.strip() == "[]"


# --- a turn's own ----------------------------------------------------------------------------


def test_a_turn_tells_what_it_changed_and_how_long_it_took() -> None:
    one, two, three = (Change(path=name, kind="update") for name in "abc")
    turn = Turn(
        items=(
            FileChange(id="1", status="completed", changes=(one, two)),
            FileChange(id="2", status="declined", changes=(three,)),
            FileChange(id="3", status="completed", changes=(three,)),
        ),
        started_at=1.0,
        completed_at=1.25,
    )
    assert (turn.changes, turn.duration_ms) == ((one, two, three), 250)
    assert (Turn().changes, Turn(started_at=1.0).duration_ms) == ((), None)


def test_a_handle_shows_no_more_than_its_names(world: World) -> None:
    thread = world.codex().thread_start()
    handle = thread.turn("one")
    assert isinstance(handle, TurnHandle)
    handle.run()
    assert [repr(thread), repr(handle)] == [
        "Thread(id='id-1')",
        "TurnHandle(id='t', thread_id='id-1')",
    ]


def test_what_is_no_configuration_is_named() -> None:
    with pytest.raises(OptionError) as caught:
        Codex("x")
    assert str(caught.value) == (
        "what comes first is a CodexConfig, and this is a str. A folder goes in as "
        "CodexConfig(cwd=…), a host as base_url=…, a key as api_key=…"
    )
