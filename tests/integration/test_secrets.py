"""What a turn shows its host can be read nowhere else.

Each kind of credential goes through turns that succeed, are refused, break and are stopped. Then all
that was written, said, logged or handed to another process is searched for it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import traceback
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import render
from codex_magic.auth import sources
from codex_magic.backends.responses import wire
from codex_magic.errors import CodexMagicError
from codex_magic.issuer import Given
from codex_magic.sandbox import probe
from codex_magic.session import Session
from codex_magic.settings import from_environment
from codex_magic.testing import (
    FakeIssuer,
    FakeModel,
    call,
    cut,
    failed,
    pause_at,
    say,
    status,
    stream_error,
)
from codex_magic.turn import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


KEY = "sk-test-NeverToBeSaid-0123456789"
OPAQUE = "a-key-without-any-shape-that-is-known"
PASSWORD = "correct horse battery staple"
HANDED_OUT = "/handed-out"
LOOK = "env; cat /proc/self/environ; touch here; while [ ! -e go ]; do sleep 0.02; done"

PRINTS = """#!/bin/sh
cat "$ROOM/secret/auth.json"
"""
SSH = """#!/bin/sh
{ echo "$@"; env; } >> "$ROOM/words of ssh"
[ "$1" = -G ] && { echo "user me"; echo "hostname host"; exit; }
asked=$("$SSH_ASKPASS" "me@host's password: ")
[ "$asked" = "$(cat "$ROOM/secret/password")" ] && cat "$ROOM/secret/auth.json"
"""


class Scene:
    """A kernel with one kind of credential, and all that is heard of it.

    Attributes
    ----------
    environ
        Its environment, which a case adds to.
    given
        What must not be said.
    heard
        What was said.
    """

    def __init__(self, stage: Any, issuer: FakeIssuer, model: FakeModel) -> None:
        self.stage, self.issuer, self.model = stage, issuer, model
        self.given: list[str] = []
        self.heard: list[str] = []
        self.environ = {
            **stage.environ,
            **issuer.environ,
            "JUPYTER_DATA_DIR": str(stage.place("data")),
            "ROOM": str(stage.room),
            "CODEX_MAGIC_BACKEND": "responses",
            "CODEX_MAGIC_CHATGPT_URL": model.chatgpt_url,
        }

    @property
    def shown(self) -> list[str]:
        """What the host was shown."""
        return [headers["authorization"][len("Bearer ") :] for headers in self.model.headers]

    def keep(self, name: str, content: Any) -> None:
        text = content if isinstance(content, str) else json.dumps(content)
        self.stage.file(name, text).chmod(0o600)

    def open(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in self.environ.items():
            monkeypatch.setenv(name, value)
        self.kernel = self.stage.responses_kernel(self.model)
        self.kernel.session = Session(from_environment(self.environ))
        self.stage.opened.callback(self.kernel.session.close)

    def ask(self, *responses: Any, **how: Any) -> str:
        """Run a turn and return how it ended; what the last one did not ask for is forgotten."""
        self.model._script.clear()
        for response in responses:
            self.model.enqueue(*(response if isinstance(response, list) else [response]))
        turn = self.kernel.ask(approval="never", **how)
        self.hear(turn, to_json(turn), render.saved(turn))
        return str(turn.status)

    def again(self, session: Session) -> None:
        """Run a turn as another kernel would."""
        self.kernel.session = session
        self.ask(say("done"))

    def hear(self, *found: object) -> None:
        self.heard.extend(repr(each) for each in found)

    def attempt(self, work: Callable[[], object]) -> None:
        try:
            self.hear(work())
        except CodexMagicError as error:
            self.hear(error, vars(error), *traceback.format_exception(error))

    def look(self) -> None:
        """Read the words and the environment of every process that this one has started."""
        for process in descendants(os.getpid()):
            for name in ("cmdline", "environ"):
                with contextlib.suppress(OSError):
                    self.hear((process / name).read_bytes())
        (self.kernel.folder / "go").touch()

    def secrets(self) -> set[str]:
        """Return the least that gives each of them away."""
        renewals = [str(asked.body.get("refresh_token", "")) for asked in self.issuer.requests]
        found = {*self.given, *self.shown, *renewals}
        for path in self.stage.room.rglob("auth.json"):
            tokens = json.loads(path.read_text()).get("tokens") or {}
            found |= {str(value) for name, value in tokens.items() if name.endswith("_token")}
        # Of a token that says something, what it says; of others, what stands behind their kind.
        return {each.split(".")[1] if each.count(".") == 2 else each[4:] for each in found if each}


def descendants(pid: int) -> list[Path]:
    parents = {}
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            with contextlib.suppress(OSError):
                words = (process / "stat").read_text().rpartition(")")[2].split()
                parents[int(process.name)] = int(words[1])
    found = [pid]
    for one in found:
        found += [child for child, parent in parents.items() if parent == one]
    return [Path(f"/proc/{one}") for one in found[1:]]


# --- every kind of credential -------------------------------------------------------------------


def in_the_environment(scene: Scene) -> None:
    scene.given, scene.environ["OPENAI_API_KEY"] = [KEY], KEY


def explicit(scene: Scene) -> None:
    scene.given, scene.environ["CODEX_API_KEY"] = [KEY], KEY


def of_another_host(scene: Scene) -> None:
    scene.environ |= {
        "CODEX_MAGIC_BASE_URL": scene.model.base_url,
        "CODEX_MAGIC_ENV_KEY": "WAY_IN",
        "WAY_IN": OPAQUE,
    }
    scene.given = [OPAQUE]


def typed(scene: Scene) -> None:
    """As after ``%codex login --api-key``."""
    session = Session(from_environment(scene.environ), environ=scene.environ)
    session.signing_backend.sign_in_with_key(KEY)
    session.close()
    scene.given = [KEY]


def signed_in(scene: Scene) -> None:
    scene.issuer.lifetime_s = -60
    scene.keep("data/codex_magic/auth.json", scene.issuer.signed_in())
    scene.issuer.lifetime_s = 3600
    scene.environ["CODEX_MAGIC_CHATGPT"] = "1"


def personal(scene: Scene) -> None:
    token = scene.issuer.personal_token()
    scene.given = [token]
    scene.environ |= {"CODEX_ACCESS_TOKEN": token, "CODEX_MAGIC_CHATGPT": "1"}


def by_http(scene: Scene) -> None:
    scene.issuer.script(HANDED_OUT, *[Given(200, scene.issuer.signed_in()) for _ in range(4)])
    scene.given = [OPAQUE, PASSWORD.replace(" ", "-")]
    scene.environ |= {
        "CODEX_MAGIC_CHATGPT": "1",
        "CODEX_MAGIC_TOKEN_SOURCE": "http",
        "CODEX_MAGIC_TOKEN_URL": f"{scene.issuer.url}{HANDED_OUT}?for={scene.given[1]}",
        "CODEX_MAGIC_TOKEN_KEY": OPAQUE,
    }


def by_ssh(scene: Scene) -> None:
    scene.keep("secret/auth.json", scene.issuer.signed_in())
    scene.keep("secret/password", PASSWORD)
    scene.stage.program("programs/ssh", SSH)
    scene.given = [PASSWORD]
    scene.environ |= {
        "CODEX_MAGIC_CHATGPT": "1",
        "CODEX_MAGIC_TOKEN_SOURCE": "ssh",
        "CODEX_MAGIC_TOKEN_HOST": "me@host",
        "CODEX_MAGIC_TOKEN_PASSWORD": PASSWORD,
        "PATH": f"{scene.stage.room}/programs:{scene.environ['PATH']}",
    }


def by_program(scene: Scene) -> None:
    scene.keep("secret/auth.json", scene.issuer.signed_in())
    program = scene.stage.program("programs/prints", PRINTS)
    scene.environ |= {
        "CODEX_MAGIC_CHATGPT": "1",
        "CODEX_MAGIC_TOKEN_SOURCE": "command",
        "CODEX_MAGIC_TOKEN_COMMAND": str(program),
    }


KINDS = (
    *(in_the_environment, explicit, of_another_host, typed),
    *(signed_in, personal, by_http, by_ssh, by_program),
)


# --- what happens with it -----------------------------------------------------------------------


def through_turns(scene: Scene) -> list[str]:
    """Run turns that end in every way, and return how they did."""
    seen = scene.kernel.folder / "here"
    scene.kernel.page.once(lambda _: seen.exists(), scene.look)
    ended = [scene.ask(call("shell", command=["sh", "-c", LOOK]), say("done"))]
    ended.append(scene.ask(call("shell", command=["env"]), say("done"), mode="full-access"))
    ended.append(scene.ask([say("So"), cut()], say("on")))

    said = {"message": f"this was sent: {scene.shown[-1]}, good for nothing"}
    ended.append(scene.ask(status(400, {"error": said})))
    ended.append(scene.ask([say("So"), failed("invalid_prompt", said["message"])]))
    ended.append(scene.ask([say("So"), stream_error("invalid_prompt", said["message"])]))
    ended.append(scene.ask(status(200, {"error": {"code": "invalid_prompt", **said}})))

    scene.kernel.page.once(lambda _: scene.model.reached("x").is_set(), scene.kernel.session.stop)
    ended.append(scene.ask([say("So"), pause_at("x")]))
    scene.model.gate("x").set()

    for _ in range(2):  # where there is another token, the first of them is answered with that
        refusal = {"message": f"incorrect key: {scene.shown[-1]}", "code": "invalid_api_key"}
        scene.ask(*[status(401, {"error": refusal})] * 2)
    return ended


def in_other_ways(scene: Scene) -> None:
    """Ask all that can be asked about a credential, while it is good and once it is not."""
    for is_good in (True, False):
        scene.model.host.require_token = lambda _, is_good=is_good: is_good
        if not is_good:
            for path in list(scene.stage.room.rglob("auth.json")):
                path.write_text(path.read_text()[:-9])
        settings = from_environment()
        source = sources.find(settings, os.environ)
        session = Session(settings)
        backend = session.backend
        for work in (source.current, backend.account, backend.models, backend.quota):
            scene.attempt(work)
        scene.hear(settings, source, *source._sources, source.notices, session, backend)
        scene.hear(backend._host, backend._host and backend._host.client)
        scene.attempt(lambda session=session: scene.again(session))
        session.close()


# --- the search ---------------------------------------------------------------------------------


def around(text: str, secrets: set[str]) -> str:
    """Return where one of `secrets` stands in `text`; empty where none does."""
    places = (text.find(secret) for secret in secrets if secret in text)
    return next((text[max(0, place - 90) : place + 20] for place in places), "")


def files_with(folder: Path, secrets: set[str]) -> list[str]:
    """Return the files that hold one of `secrets`, other than those that are there for it."""
    return [
        str(path)
        for path in folder.rglob("*")
        if path.is_file() and path.name != "auth.json" and path.parent.name != "secret"
        if any(secret.encode() in path.read_bytes() for secret in secrets)
    ]


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with FakeIssuer() as made:
        yield made


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_credential_is_nowhere_to_be_found(
    stage: Any,
    issuer: FakeIssuer,
    kind: Callable[[Scene], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    if probe().level != "full":
        pytest.skip(probe().reason)
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr("codex_magic.backends.responses.retry.FIRST_S", 0.01)
    scene = Scene(stage, issuer, stage.model())
    # The API's own host is the fake one: no other is shown a key that was not named for it.
    monkeypatch.setattr(wire, "API", replace(wire.API, base_url=scene.model.base_url))
    kind(scene)
    scene.open(monkeypatch)
    ended = through_turns(scene)
    secrets = scene.secrets()
    in_other_ways(scene)

    assert ended == [*["completed"] * 3, *["failed"] * 4, "interrupted"]
    assert secrets >= {secret[4:] for secret in scene.given if secret.count(".") != 2}
    heard = [*scene.heard, *(str(vars(record)) for record in caplog.records), caplog.text]
    assert [words for each in heard if (words := around(each, secrets))] == []
    assert files_with(stage.room, secrets) == []
