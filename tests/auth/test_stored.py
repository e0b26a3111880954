"""A stored sign-in is renewed when it is due, once, and what comes of it is not lost."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.auth import document, memory, places
from codex_magic.auth.refresh import RefusedError
from codex_magic.errors import BackendError, SetupError
from codex_magic.issuer import TOKEN, Given, Person, jwt, refused

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Room

    from codex_magic.auth.credentials import Credential


def test_a_good_token_is_used_as_it_is(room: Room) -> None:
    kept = room.aged(3600)
    room.keep(kept)
    found = room.find().current()
    assert (found.kind, found.token) == ("chatgpt", kept["tokens"]["access_token"])
    assert (found.account_id, found.email, found.plan) == ("acc-1", "ada@example.com", "plus")
    assert room.issuer.requests == []


def test_a_token_that_is_due_is_renewed_and_kept(room: Room) -> None:
    old = room.expired() | {"of_tomorrow": {"a": 1}}
    room.keep(old)
    before = time.time()
    found = room.find().current()
    new = room.kept()
    assert new["tokens"]["access_token"] == found.token != old["tokens"]["access_token"]
    assert {**new, "tokens": None, "last_refresh": None} == {
        **old,
        "tokens": None,
        "last_refresh": None,
    }
    assert document.last_refresh(new) >= before - 1
    assert room.ours.stat().st_mode & 0o777 == 0o600
    (asked,) = room.issuer.requests
    assert asked.body == {
        "client_id": "app_EMoamEEZ73f0CkXaXp7hrann",
        "grant_type": "refresh_token",
        "refresh_token": old["tokens"]["refresh_token"],
    }
    assert (room.find().current().token, room.issuer.count(TOKEN)) == (found.token, 1)


def test_codexs_file_stays_codexs(room: Room) -> None:
    """It is written back where it was read, or Codex would be signed out; none of ours is made."""
    old = room.expired() | {"of_tomorrow": 1}
    room.keep(old, room.codexs)
    found = room.find().current()
    assert found.source == "Codex's sign-in"
    assert room.kept(room.codexs)["tokens"]["access_token"] == found.token
    assert set(room.kept(room.codexs)) == set(old)
    assert not room.ours.exists()


def test_a_link_stays_a_link(room: Room) -> None:
    real = room.keep(room.expired(), room.folder / "dotfiles/auth.json")
    room.ours.parent.mkdir(parents=True)
    room.ours.symlink_to(real)
    found = room.find().current()
    assert room.ours.is_symlink()
    assert room.kept(real)["tokens"]["access_token"] == found.token


def test_what_an_answer_does_not_give_stays(room: Room) -> None:
    old = room.expired()
    room.keep(old)
    fresh = jwt({"exp": time.time() + 3600})
    room.issuer.script(TOKEN, Given(200, {"access_token": fresh}))
    assert room.find().current().token == fresh
    assert room.kept()["tokens"] == old["tokens"] | {"access_token": fresh}


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("refresh_token_expired", "it has not been used for too long"),
        ("refresh_token_reused", "another program has renewed it meanwhile"),
        ("refresh_token_invalidated", "it was taken back"),
        ("something_else", "the host does not know it"),
    ],
)
def test_a_refusal_for_good_is_remembered(room: Room, code: str, said: str) -> None:
    room.keep(room.expired())
    room.issuer.script(TOKEN, refused(code))
    source = room.find()
    for _ in range(3):
        with pytest.raises(RefusedError) as caught:
            source.current()
        assert str(caught.value).startswith(f"the sign-in is over: {said}")
        assert caught.value.hint == "Sign in again: type %codex login"
    assert room.issuer.count(TOKEN) == 1
    new = room.aged(3600)
    room.keep(new)
    assert source.current().token == new["tokens"]["access_token"]


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": "refresh_token_expired"}},
        {"error": "refresh_token_expired"},
        {"code": "refresh_token_expired"},
    ],
)
def test_a_refusal_is_read_wherever_it_stands(room: Room, body: dict[str, Any]) -> None:
    room.keep(room.expired())
    room.issuer.script(TOKEN, Given(400, body))
    with pytest.raises(RefusedError, match="not been used for too long"):
        room.find().current()


TROUBLE = [
    pytest.param(Given(500), id="broken"),
    pytest.param(Given(429), id="busy"),
    pytest.param(Given(400, {"error": "invalid_request"}), id="not understood"),
    pytest.param(Given(200, "<html>please sign in to this hotel</html>"), id="a page"),
    pytest.param(Given(302, "", {"Location": "http://127.0.0.1:9/"}), id="elsewhere"),
    pytest.param(Given(200, {"x": "y" * 70_000}), id="too long"),
]


@pytest.mark.parametrize("answer", TROUBLE)
def test_trouble_does_not_end_a_token_that_is_good(room: Room, answer: Given) -> None:
    kept = room.aged(120)
    room.keep(kept)
    room.issuer.script(TOKEN, answer)
    source = room.find()
    assert [source.current().token for _ in range(3)] == [kept["tokens"]["access_token"]] * 3
    assert room.issuer.count(TOKEN) == 1
    (notice,) = source.notices
    assert notice.endswith("; the token is good for a while yet")


@pytest.mark.parametrize("answer", TROUBLE)
def test_trouble_is_told_where_the_token_is_over_and_asked_again(room: Room, answer: Given) -> None:
    room.keep(room.expired())
    room.issuer.script(TOKEN, answer)
    source = room.find()
    with pytest.raises(BackendError, match="the sign-in could not be renewed"):
        source.current()
    assert source.current().expires_at > time.time()


def test_nobody_answers(room: Room) -> None:
    room.keep(room.expired())
    room.issuer.close()
    with pytest.raises(BackendError, match=r"127\.0\.0\.1 cannot be asked"):
        room.find().current()


def test_a_refused_token_is_read_again_before_it_is_renewed(room: Room) -> None:
    room.keep(room.aged(3600))
    source = room.find()
    first = source.current()
    second = room.aged(3600)
    room.keep(second)
    reloaded = source.renewed(first)
    assert (reloaded.token, room.issuer.count(TOKEN)) == (second["tokens"]["access_token"], 0)
    renewed = source.renewed(reloaded)
    assert (room.kept()["tokens"]["access_token"], room.issuer.count(TOKEN)) == (renewed.token, 1)
    with pytest.raises(SetupError, match="the host refuses your sign-in, although it is new"):
        source.renewed(renewed)
    assert room.issuer.count(TOKEN) == 1


def test_a_refused_token_that_nobody_here_may_renew(room: Room) -> None:
    room.keep(room.aged(3600) | {"auth_mode": "chatgptAuthTokens"})
    source = room.find()
    with pytest.raises(SetupError, match="and it cannot be renewed"):
        source.renewed(source.current())
    assert room.issuer.requests == []


def test_another_programs_expired_token_is_not_renewed(room: Room) -> None:
    kept = room.expired() | {"auth_mode": "chatgptAuthTokens"}
    room.keep(kept)
    assert room.find().current().token == kept["tokens"]["access_token"]
    assert room.issuer.requests == []


def test_the_sign_in_is_gone(room: Room) -> None:
    path = room.keep(room.aged(3600))
    source = room.find()
    found = source.current()
    path.unlink()
    with pytest.raises(SetupError, match="nobody is signed in any more"):
        source.renewed(found)


def test_another_account_has_taken_its_place(room: Room) -> None:
    room.keep(room.aged(3600))
    source = room.find()
    found = source.current()
    room.issuer.person = Person(account_id="acc-2")
    room.keep(room.aged(3600))
    with pytest.raises(SetupError, match="your sign-in belongs to another account by now"):
        source.renewed(found)
    assert source.current().account_id == "acc-2"


@pytest.mark.parametrize("is_key_first", [True, False])
def test_a_key_has_taken_the_place_of_an_account_or_the_reverse(
    room: Room, *, is_key_first: bool
) -> None:
    key, account = {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-other"}, room.aged(3600)
    first, second = (key, account) if is_key_first else (account, key)
    room.keep(first)
    source = room.find()
    found = source.current()
    room.keep(second)
    with pytest.raises(SetupError, match="your sign-in belongs to another account by now"):
        source.renewed(found)
    assert room.issuer.requests == []


def test_what_is_refused_is_renewed_where_it_came_from(room: Room) -> None:
    """Although by now a key of the environment would be used."""
    path = room.keep(room.aged(3600))
    room.environ["OPENAI_API_KEY"] = "sk-environment"
    source = room.find()
    found = source.current()
    path.unlink()
    assert source.current().token == "sk-environment"
    with pytest.raises(SetupError, match="nobody is signed in any more"):
        source.renewed(found)


def test_another_account_has_taken_its_place_while_the_lock_was_held(
    room: Room, until: Callable[..., None]
) -> None:
    path = room.keep(room.expired())
    source = room.find()
    errors: list[SetupError] = []

    def ask() -> None:
        try:
            source.current()
        except SetupError as error:
            errors.append(error)

    with places.locked(path.with_name("auth.json.lock")):
        asking = threading.Thread(target=ask)
        asking.start()
        until(renewals)
        room.issuer.person = Person(account_id="acc-2")
        room.keep(room.expired())
    asking.join()
    assert [str(error) for error in errors] == [
        "your sign-in belongs to another account by now. Run the cell again to go on with that one"
    ]
    assert room.issuer.requests == []


def renewals() -> list[threading.Thread]:
    """Those that have read the file, and stand before the lock or behind it."""
    return [thread for thread in threading.enumerate() if thread.name == "codex sign-in"]


def test_codex_knows_no_lock_and_was_faster(room: Room) -> None:
    """Its renewal used our refresh token up; what it wrote is taken instead of an error."""
    old = room.expired()
    room.keep(old, room.codexs)
    hold = room.issuer.hold(TOKEN)
    room.issuer.script(TOKEN, refused("refresh_token_reused"))
    found: list[Credential] = []
    asking = threading.Thread(target=lambda: found.append(room.find().current()))
    asking.start()
    assert hold.reached.wait(20)
    theirs = room.aged(3600)
    room.keep(theirs, room.codexs)
    hold.release()
    asking.join()
    assert [one.token for one in found] == [theirs["tokens"]["access_token"]]


def while_renewing(room: Room, path: Path, meanwhile: Callable[[], object]) -> str:
    """Renew what is in a file, and have `meanwhile` happen; return the token, or the error."""
    room.keep(room.expired(), path)
    hold = room.issuer.hold(TOKEN)
    found: list[str] = []

    def ask() -> None:
        try:
            found.append(room.find().current().token)
        except SetupError as error:
            found.append(error.message)

    asking = threading.Thread(target=ask)
    asking.start()
    assert hold.reached.wait(20)
    meanwhile()
    hold.release()
    asking.join()
    return found[0]


@pytest.mark.parametrize("name", ["ours", "codexs"])
def test_a_sign_out_while_it_is_renewed_stands(room: Room, name: str) -> None:
    path = getattr(room, name)
    said = while_renewing(room, path, path.unlink)
    assert (said.endswith("sign-in is there no more"), path.exists()) == (True, False)
    renewed = [token for token in room.issuer.issued if token.startswith("rt-")][-1]
    assert room.issuer.revoked == [renewed]  # which nobody would know of any more


def test_a_sign_in_of_another_account_while_it_is_renewed_stands(room: Room) -> None:
    def sign_in() -> None:
        room.issuer.person = Person(account_id="acc-2")
        theirs.update(room.aged(3600))
        room.keep(theirs, room.codexs)

    theirs: dict[str, Any] = {}
    said = while_renewing(room, room.codexs, sign_in)
    assert said == "Codex's sign-in belongs to another account by now"
    assert room.kept(room.codexs) == theirs


def test_a_new_sign_in_of_the_same_account_while_it_is_renewed_is_used(room: Room) -> None:
    theirs = room.aged(3600)
    token = while_renewing(room, room.codexs, lambda: room.keep(theirs, room.codexs))
    assert (token, room.kept(room.codexs)) == (theirs["tokens"]["access_token"], theirs)


def test_what_else_is_written_while_it_is_renewed_stays(room: Room) -> None:
    def note() -> None:
        room.keep(room.kept() | {"of_tomorrow": 1})

    token = while_renewing(room, room.ours, note)
    kept = room.kept()
    assert (kept["tokens"]["access_token"], kept["of_tomorrow"]) == (token, 1)


@pytest.mark.parametrize(
    "trouble",
    [
        {"SSL_CERT_FILE": "/nowhere.pem"},
        {"ALL_PROXY": "socks5://127.0.0.1:9"},
        {"HTTPS_PROXY": "carrier://127.0.0.1:9"},
        {"HTTPS_PROXY": "127.0.0.1:port"},
        {"CODEX_REFRESH_TOKEN_URL_OVERRIDE": "http://issuer.test/"},
    ],
)
def test_surroundings_that_are_wrong_do_not_end_a_token_that_is_good(
    room: Room, trouble: dict[str, str]
) -> None:
    kept = room.aged(120)
    room.keep(kept)
    elsewhere = {"CODEX_REFRESH_TOKEN_URL_OVERRIDE": "https://issuer.invalid/"}
    room.environ |= elsewhere | trouble
    source = room.find()
    assert source.current().token == kept["tokens"]["access_token"]
    (notice,) = source.notices
    assert notice.startswith("the sign-in could not be renewed: ")
    room.keep(room.expired())
    with pytest.raises(BackendError, match="the sign-in could not be renewed: "):
        source.current()


# --- clocks --------------------------------------------------------------------------------------


@pytest.mark.parametrize("says_when", [True, False])
@pytest.mark.parametrize("ahead_s", [-8 * 3600, 8 * 3600])
def test_a_clock_that_is_hours_wrong_makes_no_loop(
    room: Room, ahead_s: float, says_when: bool
) -> None:
    room.keep(room.expired())
    room.issuer.ahead_s, room.issuer.issues_moments = ahead_s, says_when
    source = room.find()
    tokens = {source.current().token for _ in range(5)}
    assert (len(tokens), room.issuer.count(TOKEN)) == (1, 1)
    for _ in range(3):  # as other kernels would, which know of each other nothing but the file
        memory.forget(str(room.ours))
        room.find().current()
    assert room.issuer.count(TOKEN) == 1


def test_an_answer_that_gives_nothing_makes_no_loop(room: Room) -> None:
    kept = room.expired()
    room.keep(kept)
    room.issuer.script(TOKEN, Given(200, {}))
    source = room.find()
    assert {source.current().token for _ in range(3)} == {kept["tokens"]["access_token"]}
    assert room.issuer.count(TOKEN) == 1


# --- many at once --------------------------------------------------------------------------------


def test_threads_that_ask_at_once_renew_once(room: Room) -> None:
    room.keep(room.expired())
    source = room.find()
    hold = room.issuer.hold(TOKEN)
    found: list[str] = []
    together = threading.Barrier(20)

    def ask() -> None:
        together.wait()
        found.append(source.current().token)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    assert hold.reached.wait(20)
    hold.release()
    for thread in threads:
        thread.join()
    assert found == [room.kept()["tokens"]["access_token"]] * 20
    assert room.issuer.count(TOKEN) == 1


def test_sources_of_one_process_renew_once(room: Room) -> None:
    room.keep(room.expired())
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(room.find().current().token)) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [room.kept()["tokens"]["access_token"]] * 5
    assert room.issuer.count(TOKEN) == 1


def test_threads_whose_token_is_refused_renew_once(room: Room) -> None:
    room.keep(room.aged(3600))
    source = room.find()
    old = source.current()
    hold = room.issuer.hold(TOKEN)
    found: list[str] = []
    threads = [
        threading.Thread(target=lambda: found.append(source.renewed(old).token)) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    assert hold.reached.wait(20)
    hold.release()
    for thread in threads:
        thread.join()
    assert found == [room.kept()["tokens"]["access_token"]] * 8
    assert room.issuer.count(TOKEN) == 1
