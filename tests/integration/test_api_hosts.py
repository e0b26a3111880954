"""Which host a program's turns go to, who pays there, and what a host is asked beside turns."""

from __future__ import annotations

import asyncio
import json
import threading
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import binary
from codex_magic.api import AsyncCodex, Codex
from codex_magic.api.types import CancelLoginAccountStatus
from codex_magic.backends.hints import WITH_A_KEY
from codex_magic.backends.responses import compaction
from codex_magic.doors import in_program
from codex_magic.errors import BackendError, CellError, SetupError
from codex_magic.events import ItemDelta
from codex_magic.items import AgentMessage
from codex_magic.policy import SandboxPolicy
from codex_magic.session import Session
from codex_magic.settings import Settings
from codex_magic.testing import (
    FakeIssuer,
    FakeModel,
    compacted,
    offered_tools,
    pause_at,
    say,
    status,
    user_texts,
)
from codex_magic.turn import TurnRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEY = "sk-test-EXPLICIT-0123456789"
OTHER_KEY = "sk-test-OTHER-0123456789"
SHAPE = "gpt-5.5"
PATIENCE_S = 40.0

OFFLINE = 'chatgpt_base_url = "http://127.0.0.1:9/backend-api/"\n[analytics]\nenabled = false\n'
"""What keeps the Codex program from asking OpenAI's own hosts about plugins and the like."""


@pytest.fixture
def make(stage: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Codex]:
    """Return a `Codex` in the workspace of a stage, with a Codex home that knows nobody."""
    monkeypatch.chdir(stage.folder)
    (stage.home / "config.toml").write_text(OFFLINE)

    def made(env: dict[str, str] | None = None, **given: Any) -> Codex:
        environ = {"CODEX_MAGIC_MODEL": SHAPE, "JUPYTER_DATA_DIR": str(stage.place("data"))}
        codex = Codex(env={**stage.environ, **environ, **(env or {})}, **given)
        stage.opened.callback(codex.close)
        return codex

    return made


def strict(stage: Any, *answers: Any) -> FakeModel:
    return stage.opened.enter_context(FakeModel(*answers, strict="api"))


def keys(model: FakeModel) -> set[str | None]:
    return {headers.get("authorization") for headers in model.headers}


def files_with(folder: Path, text: str) -> list[str]:
    whole = [path for path in folder.rglob("*") if path.is_file()]
    return [str(path) for path in whole if text.encode() in path.read_bytes()]


# --- which backend it is ---------------------------------------------------------------------

NO_CODEX = {binary.SETTING: "/nowhere/codex"}

CHOICES: list[tuple[dict[str, str], dict[str, Any], str]] = [
    ({}, {}, "app-server"),
    ({"OPENAI_API_KEY": KEY}, {}, "app-server"),
    ({"OPENAI_API_KEY": KEY}, {"backend": "responses"}, "responses"),
    (NO_CODEX | {"OPENAI_API_KEY": KEY}, {}, "responses"),
    (NO_CODEX, {"api_key": KEY}, "responses"),
    ({}, {"base_url": "http://127.0.0.1:9/v1"}, "responses"),
    (NO_CODEX, {"base_url": "http://127.0.0.1:9/v1"}, "responses"),
]


@pytest.mark.parametrize(("env", "given", "name"), CHOICES)
def test_a_backend_is_chosen_by_what_is_there(make: Any, env: Any, given: Any, name: str) -> None:
    assert make(env, **given).metadata.server_info.name == name


def test_where_nothing_is_there_one_error_names_three_ways(make: Any) -> None:
    codex = make(NO_CODEX)
    for use in (codex.thread_start, codex.models, codex.account):
        with pytest.raises(SetupError) as caught:
            use()
        assert (caught.value.message, caught.value.hint) == (
            "there is no Codex program here, and nobody is signed in",
            in_program(WITH_A_KEY),
        )


# --- another host, through the Codex program -------------------------------------------------


@pytest.mark.parametrize("named", ["explicit", "variable"])
def test_codex_asks_another_host_with_its_own_key(stage: Any, make: Any, named: str) -> None:
    model = stage.model(say("one"), say("two"))
    theirs = dict.fromkeys(("OPENAI_API_KEY", "CODEX_ACCESS_TOKEN"), OTHER_KEY)
    env = theirs | ({"CODEX_MAGIC_ENV_KEY": "MINE", "MINE": KEY} if named == "variable" else {})
    given = {} if named == "variable" else {"api_key": KEY}
    codex = make(env, backend="app-server", base_url=model.base_url, **given)
    thread = codex.thread_start()
    answers = [thread.run(prompt).final_response for prompt in ("first", "second")]
    assert (answers, keys(model)) == (["one", "two"], {f"Bearer {KEY}"})
    assert codex.account().kind == "apiKey"
    codex.close()
    assert files_with(stage.room, KEY) == []


def test_cells_ask_another_host_as_well(stage: Any) -> None:
    (stage.home / "config.toml").write_text(OFFLINE)
    first, second = stage.model(say("one")), stage.model(say("two"))
    settings = Settings(backend="app-server", base_url=first.base_url, api_key=KEY)
    session = Session(settings, environ=stage.environ)
    stage.opened.callback(session.close)
    policy = SandboxPolicy(workspace=stage.folder)
    request = TurnRequest(prompt="hi", policy=policy, model=SHAPE)

    def asked() -> str:
        page: Any = stage.kernel(first).page
        return session.run(request, page=page, approver=page).final_response

    assert asked() == "one"
    session.settings = replace(settings, base_url=second.base_url)
    assert asked() == "two"
    assert [len(model.requests) for model in (first, second)] == [1, 1]


@pytest.mark.parametrize("env", [{}, {"CODEX_API_KEY": KEY}, {"OPENAI_API_KEY": KEY}])
def test_no_host_is_shown_what_was_meant_for_openai(stage: Any, make: Any, env: Any) -> None:
    stage.file("codex/auth.json", json.dumps({"OPENAI_API_KEY": KEY})).chmod(0o600)
    model = stage.model()
    with pytest.raises(SetupError) as caught:
        make(env, backend="app-server", base_url=model.base_url).thread_start()
    assert str(caught.value) == (
        "Codex would show your sign-in to 127.0.0.1, for which no key is given. "
        "Set CODEX_MAGIC_API_KEY, or use the responses backend, which needs none"
    )
    assert model.requests == []


# --- a shorter thread ------------------------------------------------------------------------


def responses(stage: Any, make: Any, *answers: Any) -> tuple[FakeModel, Codex]:
    model = strict(stage, *answers)
    return model, make(backend="responses", base_url=model.base_url)


def codex(stage: Any, make: Any, *answers: Any) -> tuple[FakeModel, Codex]:
    model = stage.model(*answers)
    return model, make(backend="app-server", base_url=model.base_url, api_key=KEY)


def test_a_thread_is_made_shorter(stage: Any, make: Any) -> None:
    model, made = responses(stage, make, say("one"), say("In short: one."), say("two"), say("3"))
    thread = made.thread_start()
    thread.compact()  # nothing was said yet
    thread.run("first")
    thread.compact()
    thread.run("second")
    asked, after = model.requests[1:]
    assert user_texts(asked) == ["first", compaction.ASK]
    assert (asked["tool_choice"], asked["prompt_cache_key"]) == ("none", thread.id)
    told = ["first", f"{compaction.HEAD}\n\nIn short: one.", "second"]
    assert user_texts(after) == told
    assert [len(turn.said) for turn in thread.read(include_turns=True).thread.turns] == [2, 2]
    made.close()
    # What is stored is as short for the next program.
    again = make(backend="responses", base_url=model.base_url).thread_resume(thread.id)
    again.run("third")
    assert user_texts(model.requests[-1]) == [*told, "third"]


NOT_SHORTER = r"the thread could not be made shorter: .*no such thing"


@pytest.mark.parametrize("shape", ["gpt-5.5", "gpt-6.1-sol"])
def test_codex_makes_a_thread_shorter(stage: Any, make: Any, shape: str) -> None:
    model, made = codex(stage, make, say("one"), compacted("sealed"), say("two"))
    thread = made.thread_start(model=shape)
    thread.compact()
    first = thread.run("first")
    thread.compact()
    second = thread.run("second")
    asked, after = model.requests[1:]
    assert asked["input"][-1] == {"type": "compaction_trigger"}
    assert offered_tools(asked) == offered_tools(after)
    kept = [item for item in after["input"] if item["type"] == "compaction"]
    assert [item["encrypted_content"] for item in kept] == ["sealed"]
    assert (first.thread_id, second.final_response) == (second.thread_id, "two")


def test_a_thread_that_cannot_be_made_shorter_goes_on(stage: Any, make: Any) -> None:
    refusal = status(400, {"error": {"message": "no such thing"}})
    model, made = responses(stage, make, say("one"), refusal, say("two"))
    thread = made.thread_start()
    thread.run("first")
    with pytest.raises(BackendError, match=NOT_SHORTER):
        thread.compact()
    thread.run("second")
    assert user_texts(model.requests[-1]) == ["first", "second"]


def test_codex_that_cannot_make_a_thread_shorter_goes_on(stage: Any, make: Any) -> None:
    refusal = status(400, {"error": {"message": "no such thing"}})
    model, made = codex(stage, make, say("one"), refusal, say("two"))
    thread = made.thread_start()
    thread.run("first")
    with pytest.raises(BackendError, match=NOT_SHORTER):
        thread.compact()
    assert thread.run("second").final_response == "two"
    assert [text for text in user_texts(model.requests[-1]) if text == "first"] == ["first"]


@pytest.mark.parametrize("start", [responses, codex])
def test_closing_ends_what_makes_a_thread_shorter(stage: Any, make: Any, start: Any) -> None:
    model, made = start(stage, make, say("one"), [say("In"), pause_at("for ever")])
    thread = made.thread_start()
    thread.run("first")
    with ThreadPoolExecutor(1) as pool:
        work = pool.submit(thread.compact)
        while len(model.requests) < 2:
            assert not work.done()
        with pytest.raises(CellError, match="a turn of this thread is running already"):
            thread.run("second")
        made.close()
        with pytest.raises(BackendError, match="could not be made shorter: that was stopped"):
            work.result(PATIENCE_S)


# --- what was put away -----------------------------------------------------------------------


@pytest.mark.parametrize("start", [responses, codex])
def test_what_is_archived_is_on_the_other_list(stage: Any, make: Any, start: Any) -> None:
    _, made = start(stage, make, say("one"), say("two"), say("three"))
    threads = [made.thread_start(), made.thread_start()]
    for thread in threads:
        thread.run("hello")
    made.thread_archive(threads[0].id)

    def listed(*, archived: bool) -> list[str]:
        return [row.id for row in made.thread_list(cwd=".", archived=archived)]

    assert [listed(archived=False), listed(archived=True)] == [[threads[1].id], [threads[0].id]]


# --- signing in ------------------------------------------------------------------------------


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with FakeIssuer(interval_s=1) as made:
        yield made


@pytest.fixture(params=["app-server", "responses"])
def signing(request: Any, stage: Any, make: Any, issuer: FakeIssuer) -> Codex:
    """A `Codex` that knows no other issuer."""
    (stage.home / "config.toml").write_text(
        f'chatgpt_base_url = "{issuer.chatgpt_base_url}"\n'
        'cli_auth_credentials_store = "file"\n[analytics]\nenabled = false\n'
    )
    env = {**issuer.environ, "CODEX_MAGIC_CHATGPT": "1"}
    made: Codex = make(env, backend=request.param)
    return made


def test_a_person_signs_in_with_a_code(signing: Codex, issuer: FakeIssuer) -> None:
    assert (signing.account().account, signing.account().requires_openai_auth) == (None, True)
    handle = signing.login_chatgpt_device_code()
    assert (handle.verification_url, handle.user_code) == (
        f"{issuer.url}/codex/device",
        next(iter(issuer._devices.values())),
    )
    issuer.approve()
    assert (handle.wait().success, handle.wait().error) == (True, None)
    account = signing.account()
    assert (account.kind, account.detail, account.plan) == ("chatgpt", "ada@example.com", "plus")
    signing.logout()
    assert (signing.account().account, len(issuer.revoked)) == (None, 1)


def test_a_person_signs_in_in_a_browser(signing: Codex, issuer: FakeIssuer) -> None:
    handle = signing.login_chatgpt()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(handle.wait)
        urllib.request.urlopen(handle.auth_url, timeout=PATIENCE_S).close()
        assert waiting.result(PATIENCE_S).success
    assert signing.account().detail == "ada@example.com"
    assert handle.cancel().status == CancelLoginAccountStatus.not_found


def test_a_sign_in_is_given_up(signing: Codex) -> None:
    for begin in (signing.login_chatgpt, signing.login_chatgpt_device_code):
        handle = begin()
        assert handle.cancel().status == CancelLoginAccountStatus.canceled
        ended = handle.wait()
        assert (ended.success, ended.error) == (False, "the sign-in was given up")
    assert signing.account().account is None


def test_a_key_is_kept_until_it_is_taken_back(signing: Codex, stage: Any) -> None:
    signing.login_api_key(KEY)
    assert signing.account().kind == "apiKey"
    assert SHAPE in [model.id for model in signing.models()]
    assert files_with(stage.room, KEY) != []
    signing.logout()
    assert files_with(stage.room, KEY) == []
    assert signing.account().account is None


def test_a_chatgpt_sign_in_is_for_who_says_so(make: Any, issuer: FakeIssuer) -> None:
    made = make(issuer.environ, backend="responses")
    for begin in (made.login_chatgpt, made.login_chatgpt_device_code):
        with pytest.raises(SetupError, match="is unofficial"):
            begin()
    assert (issuer.requests, made.account().account) == ([], None)


# --- many at once ----------------------------------------------------------------------------

MANY = 100


def test_a_hundred_turns_at_once_lose_nothing(stage: Any, until: Any) -> None:
    """Two on each of a hundred threads; the second ones know what was said in the first."""
    words = [f"w{i}" for i in range(20)]
    gate = pause_at("all are there")
    first = [[gate, *(say(f"{n}.{word} ") for word in words)] for n in range(MANY)]
    model = strict(stage, *first, *[say(f"again {n}") for n in range(MANY)])
    env = {**stage.environ, "CODEX_MAGIC_MODEL": SHAPE}
    env["JUPYTER_DATA_DIR"] = str(stage.place("data"))

    async def work() -> Any:
        given: dict[str, Any] = {"base_url": model.base_url, "env": env}
        async with AsyncCodex(backend="responses", **given) as made:
            starts = (made.thread_start(cwd=stage.folder) for _ in range(MANY))
            threads = await asyncio.gather(*starts)

            async def heard(n: int) -> tuple[str, str, str]:
                events = [event async for event in threads[n].stream(f"prompt {n}")]
                deltas = "".join(e.text for e in events if isinstance(e, ItemDelta))
                turn = threads[n].last
                assert turn is not None
                said = [str(item.text) for item in turn.items if isinstance(item, AgentMessage)]
                return threads[n].id, deltas, "".join(said)

            one = await asyncio.gather(*(heard(n) for n in range(MANY)))
            two = await asyncio.gather(*(thread.run("and now?") for thread in threads))
            return one, [turn.final_response for turn in two]

    result: list[Any] = []
    loop = threading.Thread(target=lambda: result.append(asyncio.run(work())))
    loop.start()
    until(lambda: len(model.requests) == MANY, lambda: f"{len(model.requests)} of {MANY} came")
    model.gate("all are there").set()
    loop.join(PATIENCE_S)
    assert not loop.is_alive()
    one, two = result[0]
    texts = {"".join(f"{n}.{word} " for word in words) for n in range(MANY)}
    assert [deltas for _, deltas, _ in one] == [whole for _, _, whole in one]
    assert {whole for _, _, whole in one} == texts
    assert set(two) == {f"again {n}" for n in range(MANY)}
    said = {thread_id: (f"prompt {n}", text) for n, (thread_id, _, text) in enumerate(one)}
    later = {
        body["prompt_cache_key"]: (user_texts(body)[0], answered(body))
        for body in model.requests[MANY:]
    }
    assert (len(model.requests), later) == (2 * MANY, said)


def answered(body: Any) -> str:
    said = (item["content"] for item in body["input"] if item.get("role") == "assistant")
    return "".join(part["text"] for parts in said for part in parts)
