"""Credentials that a host or a program gives."""

from __future__ import annotations

import ast
import json
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.auth import command, given, program, web
from codex_magic.auth.credentials import Credential
from codex_magic.errors import BackendError, CodexMagicError, SetupError
from codex_magic.issuer import Given, jwt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Room

    from codex_magic.auth.sources import Chosen

NOW = 1_800_000_000.0
GIVE = "/codex"
ACCOUNT = {"https://api.openai.com/auth": {"chatgpt_account_id": "acc"}}
TOKEN = jwt({"exp": NOW + 60, "email": "a@b.c", **ACCOUNT})


def chatgpt(**changed: Any) -> Credential:
    known = {"account_id": "acc", "email": "a@b.c", "expires_at": NOW + 60, "source": "from a"}
    return Credential(**{"kind": "chatgpt", "token": TOKEN, **known, **changed})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        pytest.param({"tokens": {"access_token": TOKEN}}, chatgpt(), id="auth.json"),
        pytest.param({"access_token": TOKEN}, chatgpt(), id="a token"),
        pytest.param(
            {"access_token": TOKEN, "expires_in": 600}, chatgpt(expires_at=NOW + 600), id="in"
        ),
        pytest.param(
            {"token": TOKEN, "expires_at": NOW + 9}, chatgpt(expires_at=NOW + 9), id="seconds"
        ),
        pytest.param(
            {"accessToken": TOKEN, "expiresAt": (NOW + 9) * 1000},
            chatgpt(expires_at=NOW + 9),
            id="milliseconds",
        ),
        pytest.param(
            {"access_token": TOKEN, "expires": "2027-01-15T08:00:09Z"},
            chatgpt(expires_at=NOW + 9),
            id="a date",
        ),
        pytest.param(
            {"access_token": "opaque", "account_id": "x", "email": "e", "plan": "pro"},
            chatgpt(token="opaque", account_id="x", email="e", plan="pro", expires_at=None),
            id="opaque",
        ),
        pytest.param(
            {"OPENAI_API_KEY": "sk-x"},
            Credential(kind="apiKey", token="sk-x", source="from a"),
            id="a key in auth.json",
        ),
        pytest.param(
            {"token": "sk-x"}, Credential(kind="apiKey", token="sk-x", source="from a"), id="a key"
        ),
    ],
)
def test_what_is_understood(said: dict[str, Any], expected: Credential) -> None:
    assert given.read(json.dumps(said).encode(), NOW, "from a") == expected


@pytest.mark.parametrize(
    ("raw", "what"),
    [
        (b"", "something that is not JSON"),
        (b" <!doctype html><p>sk-secret", "a web page"),
        (b"sk-secret", "something that is not JSON"),
        (b'["sk-secret"]', "something that is not JSON"),
        (b'{"detail": "sk-secret"}', "JSON without a token"),
        (b'{"access_token": 7}', "JSON without a token"),
        (b'{"access_token": "a\\nsk-secret"}', "JSON without a token"),
        (b'{"access_token": "sk_secret"}', "a token that does not say of which account it is"),
    ],
)
def test_what_is_of_no_use(raw: bytes, what: str) -> None:
    with pytest.raises(SetupError) as caught:
        given.read(raw, NOW, "from a")
    assert caught.value.message == f"the credential from a is of no use: it is {what}"
    assert "secret" not in str(caught.value)


# --- over HTTP -----------------------------------------------------------------------------------


def remote(room: Room, **settings: Any) -> Chosen:
    url = room.issuer.url + GIVE
    return room.find(
        token_source="http", **{"token_url": url, "token_key": "the-hosts-key", **settings}
    )


def test_a_host_is_asked_once_while_its_token_is_good(room: Room) -> None:
    kept = room.aged(3600)
    room.issuer.script(GIVE, Given(200, kept))
    source = remote(room)
    found = [source.current() for _ in range(3)]
    assert {one.token for one in found} == {kept["tokens"]["access_token"]}
    assert found[0].source == "from 127.0.0.1"
    (asked,) = room.issuer.requests
    assert (asked.method, asked.headers["authorization"]) == ("GET", "Bearer the-hosts-key")


def test_a_refused_token_is_fetched_again_and_never_renewed_here(room: Room) -> None:
    old, new = room.aged(3600), room.aged(3600)
    room.issuer.script(GIVE, Given(200, old), Given(200, new), Given(200, new))
    source = remote(room)
    first = source.current()
    second = source.renewed(first)
    assert second.token == new["tokens"]["access_token"]
    assert source.renewed(first) == second  # who comes later takes what is there
    with pytest.raises(SetupError, match=r"from 127\.0\.0\.1 is refused, and no other one comes"):
        source.renewed(second)
    assert {asked.path for asked in room.issuer.requests} == {GIVE}


def test_a_token_that_is_about_to_end_is_fetched_again(room: Room) -> None:
    room.issuer.script(GIVE, Given(200, room.aged(200)), Given(200, room.aged(3600)))
    source = remote(room)
    first = source.current()
    assert source.current() == first  # however wrong a clock is, not for each request
    (fetched,) = source._sources
    fetched._came_at -= 61
    assert source.current() != first


def test_trouble_does_not_end_a_token_that_is_good(room: Room) -> None:
    room.issuer.script(GIVE, Given(200, room.aged(200)), Given(500))
    source = remote(room)
    first = source.current()
    (fetched,) = source._sources
    fetched._came_at -= 61
    assert (source.current(), room.issuer.count(GIVE)) == (first, 2)


def test_whoever_gave_nothing_is_left_in_peace_while_the_token_is_good(room: Room) -> None:
    room.issuer.script(GIVE, Given(200, room.aged(200)), Given(500), Given(200, room.aged(3600)))
    source = remote(room)
    first = source.current()
    (fetched,) = source._sources
    fetched._came_at -= 61
    assert [source.current() for _ in range(3)] == [first] * 3
    assert room.issuer.count(GIVE) == 2
    fetched._quiet_until = 0.0
    assert (source.current() != first, room.issuer.count(GIVE)) == (True, 3)


def test_a_token_that_is_over_is_not_used(room: Room) -> None:
    room.issuer.script(GIVE, Given(200, room.aged(-3600)), Given(200, room.aged(3600)))
    source = remote(room)
    with pytest.raises(SetupError, match=r"the credential from 127\.0\.0\.1 is over"):
        source.current()
    assert source.current().account_id == "acc-1"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Given(200, "<html>sign in</html>"), "is of no use: it is a web page"),
        (Given(200, {"x": "y" * 70_000}), "is longer than 64 KB"),
        (Given(302, "", {"Location": "http://elsewhere.test/"}), "leads to another address"),
        (Given(307, "", {"Location": "/other"}), "leads to another address"),
        (Given(401), "gives no credential for this key"),
        (Given(403), "gives no credential for this key"),
        (Given(404), "has no credential at this address"),
        (Given(500), r"gives no credential \(HTTP 500\)"),
        (Given(204), r"gives no credential \(HTTP 204\)"),
    ],
)
def test_what_a_host_may_answer_instead(room: Room, answer: Given, said: str) -> None:
    room.issuer.script(GIVE, answer)
    with pytest.raises(CodexMagicError, match=said) as caught:
        remote(room).current()
    assert "the-hosts-key" not in str(caught.value)
    assert len(room.issuer.requests) == 1


def test_the_address_of_a_host_is_not_told(room: Room) -> None:
    url = f"{room.issuer.url}/secret-path?key=secret-word"
    with pytest.raises(SetupError) as caught:
        remote(room, token_url=url).current()
    assert "secret" not in str(caught.value)


@pytest.fixture
def drip() -> Iterator[Callable[[bytes], str]]:
    """A host that says something, then a byte now and then, and never comes to an end."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()
    threads = []

    def serve(first: bytes) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(first)
            while not over.wait(0.02):
                try:
                    connection.send(b"x")
                except OSError:
                    return

    def start(first: bytes) -> str:
        threads.append(threading.Thread(target=serve, args=(first,)))
        threads[-1].start()
        return f"http://127.0.0.1:{listener.getsockname()[1]}/"

    yield start
    over.set()
    for thread in threads:
        thread.join()
    listener.close()


@pytest.mark.parametrize(
    "first",
    [
        pytest.param(b"", id="the status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: ", id="the headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n", id="the content"),
    ],
)
def test_a_host_that_drips_is_left(drip: Callable[[bytes], str], first: bytes) -> None:
    with pytest.raises(BackendError, match=r"it did not answer within 0\.2 s"):
        web.ask(web.Ask("GET", drip(first), timeout_s=0.2), {})


def test_a_request_can_be_given_up(
    drip: Callable[[bytes], str], until: Callable[..., None]
) -> None:
    line, errors = web.Line(), []

    def ask() -> None:
        try:
            web.ask(web.Ask("GET", url, timeout_s=60), {}, line)
        except BackendError as error:
            errors.append(error)

    url = drip(b"HTTP/1.1 200 OK\r\nX: ")
    asking = threading.Thread(target=ask)
    asking.start()
    until(lambda: line._sockets)
    line.cut()
    asking.join()
    assert [type(error) for error in errors] == [web.UnreachableError]


# --- printed by a program ------------------------------------------------------------------------


def script(folder: Path, source: str, name: str = "gen-token") -> Path:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{source}")
    path.chmod(0o755)
    return path


def test_a_program_prints_the_credential(room: Room) -> None:
    helper = script(
        room.folder,
        "import json, sys\n"
        "print(json.dumps({'access_token': sys.argv[1], 'account_id': sys.argv[2]}))\n",
    )
    found = room.find(token_source="command", token_command=f"{helper} opaque 'a b'").current()
    assert (found.token, found.account_id) == ("opaque", "a b")
    assert found.source == "printed by gen-token"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (
            "import sys; sys.exit('no luck, opaque-secret')",
            r"ended with exit 1\. Type it in a term",
        ),
        ("raise SystemExit(3)", "ended with exit 3"),
        ("print('<html>')", "is of no use: it is a web page"),
        ("print('x' * 200_000)", "prints more than 64 KB"),
        ("while True: print('x' * 1000)", "prints more than 64 KB"),
        ("", "is of no use: it is something that is not JSON"),
    ],
)
def test_a_program_that_prints_something_else(room: Room, source: str, said: str) -> None:
    helper = script(room.folder, source)
    with pytest.raises(SetupError, match=said):
        room.find(token_source="command", token_command=str(helper)).current()


@pytest.mark.parametrize("line", ["nowhere-to-be-found", "/", "./gen token"])
def test_a_program_that_is_none(room: Room, line: str) -> None:
    with pytest.raises(SetupError, match="cannot be started"):
        room.find(token_source="command", token_command=line).current()


def test_there_is_no_shell(room: Room) -> None:
    mark = room.folder / "mark"
    helper = script(room.folder, "import sys; print(sys.argv[1:])")
    printed = command.fetch(f"{helper} ; touch {mark} $(touch {mark}) `touch {mark}`", room.environ)
    assert ast.literal_eval(printed.decode())[:3] == [";", "touch", str(mark)]
    assert not mark.exists()


def lives(pid: int) -> bool:
    """Return whether a process is there, and not only waits to be noticed."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_program_that_does_not_end_is_ended_with_all_it_started(
    room: Room, until: Callable[..., None]
) -> None:
    pids = room.folder / "pids"
    helper = script(
        room.folder,
        "import os, pathlib, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '600'])\n"
        "pathlib.Path(sys.argv[1]).write_text(f'{os.getpid()} {child.pid}')\n"
        "time.sleep(600)\n",
    )
    with pytest.raises(BackendError, match=r"did not end within 2 s"):
        program.run([str(helper), str(pids)], {"PATH": room.environ["PATH"]}, 2.0)
    started = [int(pid) for pid in pids.read_text().split()]
    assert len(started) == 2
    until(lambda: not any(map(lives, started)))


def test_a_program_may_leave_somebody_behind_who_holds_its_pipe(room: Room) -> None:
    """As an ssh does that shares its connection: it is not waited for, nor ended."""
    helper = script(
        room.folder,
        "import subprocess, sys\n"
        "subprocess.Popen(['sleep', '3'], stdin=subprocess.DEVNULL, start_new_session=True)\n"
        "print('{}')\n",
    )
    ran = program.run([str(helper)], {"PATH": room.environ["PATH"]}, 60.0)
    assert (ran.code, ran.printed) == (0, b"{}\n")
