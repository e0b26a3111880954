"""A host of one's own: what a person is told of it, and that nothing of OpenAI's is mixed in."""

from __future__ import annotations

import json
import socket
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import doctor, status
from codex_magic.account import magic, signing
from codex_magic.backends.hints import HINTS
from codex_magic.errors import CellError, SetupError
from codex_magic.session import Session
from codex_magic.settings import Settings
from codex_magic.testing import FakeIssuer, FakeModel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    At = Callable[..., Session]


@pytest.fixture
def at(tmp_path: Path) -> Iterator[At]:
    """A session whose turns go to an address, on a machine without a sign-in."""
    opened: list[Session] = []

    def session(url: str | None, environ: Any = (), **settings: Any) -> Session:
        places = {"HOME": tmp_path, "CODEX_HOME": tmp_path / "c", "JUPYTER_DATA_DIR": tmp_path}
        chosen = replace(Settings(backend="responses", base_url=url), **settings)
        around = {name: str(path) for name, path in places.items()} | dict(environ)
        opened.append(Session(chosen, environ=around))
        return opened[-1]

    yield session
    for one in opened:
        one.close()


def named(*models: str) -> FakeModel:
    return FakeModel(models=[{"slug": model} for model in models])


def line(session: Session, name: str) -> str:
    return next(str(check) for check in doctor.examine(session) if check.name == name)


def test_doctor_asks_the_host(at: At) -> None:
    with named("a", "b") as model, FakeModel() as silent:
        place = model.base_url.split("/")[2]
        assert line(at(model.base_url), "host") == f"ok  host: {place} answers, with 2 models"
        place = silent.base_url.split("/")[2]
        said = f"ok  host: {place} answers, with no list of models"
        assert line(at(silent.base_url), "host") == said


def test_doctor_says_why_a_host_is_no_good(at: At) -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    said = line(at(f"http://127.0.0.1:{port}/v1"), "host")
    assert said.startswith(f"NOT host: 127.0.0.1:{port} cannot be reached")
    assert said.endswith(HINTS["unreachable"])


def test_doctor_asks_a_host_anew_each_time(at: At) -> None:
    with named("a") as model:
        session = at(model.base_url)
        assert line(session, "host").startswith("ok ")
    assert line(session, "host").startswith("NOT")


def test_a_host_that_wants_a_key_is_told_where_to_name_one(at: At) -> None:
    with FakeModel(require_token="sk-x") as model:
        said = line(at(model.base_url), "host")
    assert said.startswith("NOT host: the model's host wants a key, and none is named for it (401)")
    assert said.endswith(HINTS["keyMissing"])


def test_a_chatgpt_sign_in_is_called_unofficial_before_the_first_turn(
    at: At, tmp_path: Path
) -> None:
    with FakeIssuer() as issuer:
        (tmp_path / "c").mkdir()
        (tmp_path / "c" / "auth.json").write_text(json.dumps(issuer.signed_in()))
        (tmp_path / "c" / "auth.json").chmod(0o600)
        session = at(None, issuer.environ, chatgpt=True)
        assert next(iter(status.lines(session))) == "backend:  responses, unofficial"
        session = at(None, issuer.environ)
        assert next(iter(status.lines(session))) == "backend:  responses"
        said = line(session, "account")
    assert said.startswith("NOT account: a ChatGPT sign-in on the responses backend is unofficial")
    assert "%codex login --api-key" in said


@pytest.mark.parametrize("typed", ["", "--browser", "--api-key"])
def test_signing_in_is_not_for_a_host_of_ones_own(typed: str, at: At) -> None:
    told: list[signing.Said] = []
    door = signing.Door(told.append, has_person=True, ask=str, again="", stop="")
    with pytest.raises(CellError, match=r"turns go to models\.example, and") as caught:
        magic.login(at("https://models.example/v1"), typed, door)
    assert "env_key" in caught.value.hint
    assert told == []


def test_of_several_models_none_is_taken_for_the_next_turns(at: At) -> None:
    with named("a", "b") as several, named("a") as one:
        shown = magic.models(at(several.base_url), "")
        assert (shown.columns[0], [row[0] for row in shown.rows]) == ("model", ["a", "b"])
        assert shown.remarks == (
            "None of them is asked by itself: name one with -m, or in the setting model.",
        )
        assert magic.models(at(one.base_url), "").rows[0][:2] == ("*", "a")


def test_a_key_that_is_not_there_is_named_by_its_variable(at: At) -> None:
    session = at("https://models.example/v1", env_key="MINE")
    with pytest.raises(SetupError, match="the key was to come from MINE, which is not set"):
        magic.models(session, "")
    assert any("MINE, which is not set" in said for said in status.lines(session))
