"""Which credential is used, and that no host is shown another's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.auth import sources
from codex_magic.auth.credentials import Credential, Kind
from codex_magic.errors import SetupError
from codex_magic.issuer import WHOAMI, Given
from codex_magic.settings import Settings

if TYPE_CHECKING:
    from conftest import Room

STORED = {"auth_mode": "apikey", "OPENAI_API_KEY": "sk-stored"}


def used(room: Room, **settings: Any) -> tuple[str, str, str] | None:
    found = room.find(**settings).current()
    return found and (found.kind, found.token, found.source)


def test_the_order(room: Room) -> None:
    """The strongest goes first, and each one taken away lets the next have its turn."""
    token = room.issuer.personal_token()
    room.environ |= {"CODEX_ACCESS_TOKEN": token, "OPENAI_API_KEY": "sk-environment"}
    ours = room.keep(STORED)
    theirs = room.keep(STORED | {"OPENAI_API_KEY": "sk-codex"}, room.codexs)
    assert used(room, api_key="sk-explicit") == ("apiKey", "sk-explicit", "given explicitly")
    assert used(room) == ("accessToken", token, "from CODEX_ACCESS_TOKEN")
    del room.environ["CODEX_ACCESS_TOKEN"]
    assert used(room) == ("apiKey", "sk-stored", "your sign-in")
    ours.unlink()
    assert used(room) == ("apiKey", "sk-codex", "Codex's sign-in")
    theirs.unlink()
    assert used(room) == ("apiKey", "sk-environment", "from OPENAI_API_KEY")
    del room.environ["OPENAI_API_KEY"]
    assert used(room) is None


def test_a_sign_in_and_a_sign_out_count_at_once(room: Room) -> None:
    room.environ["OPENAI_API_KEY"] = "sk-environment"
    source = room.find()
    seen = [source.current().token]
    path = room.keep(STORED)
    seen.append(source.current().token)
    path.unlink()
    seen.append(source.current().token)
    assert seen == ["sk-environment", "sk-stored", "sk-environment"]


def test_a_personal_token_is_asked_about_once(room: Room) -> None:
    room.environ["CODEX_ACCESS_TOKEN"] = token = room.issuer.personal_token()
    source = room.find()
    expected = Credential(
        kind="accessToken",
        token=token,
        account_id="acc-1",
        email="ada@example.com",
        plan="plus",
        source="from CODEX_ACCESS_TOKEN",
    )
    assert [source.current(), source.current()] == [expected] * 2
    assert room.issuer.count(WHOAMI) == 1
    with pytest.raises(SetupError, match="from CODEX_ACCESS_TOKEN is refused"):
        source.renewed(expected)


def test_a_host_that_calls_somebody_by_their_token_is_not_heard(room: Room) -> None:
    room.environ["CODEX_ACCESS_TOKEN"] = token = "at-opaque"
    said = {"email": f"x {token}", "chatgpt_plan_type": token, "chatgpt_account_id": "a"}
    room.issuer.script(WHOAMI, Given(200, said))
    found = room.find().current()
    assert found == Credential(
        kind="accessToken", token=token, account_id="a", source="from CODEX_ACCESS_TOKEN"
    )


@pytest.mark.parametrize(
    ("token", "said"),
    [("at-nobodys", "the access token is refused"), ("eyAgent", "is not a personal one")],
)
def test_a_token_that_is_none(room: Room, token: str, said: str) -> None:
    room.environ |= {"CODEX_ACCESS_TOKEN": token, "OPENAI_API_KEY": "sk-environment"}
    with pytest.raises(SetupError, match=said):
        room.find().current()


def test_a_stored_personal_token(room: Room) -> None:
    token = room.issuer.personal_token()
    room.keep({"OPENAI_API_KEY": None, "personal_access_token": token})
    found = room.find().current()
    assert (found.kind, found.account_id, found.source) == ("accessToken", "acc-1", "your sign-in")


OTHER = "https://models.test/v1"
LOCAL = "http://127.0.0.1:11434/v1"


@pytest.mark.parametrize("url", [OTHER, LOCAL, "http://models.test/v1"])
def test_no_other_host_is_shown_what_is_openais(room: Room, url: str) -> None:
    room.keep(STORED)
    room.keep(STORED, room.codexs)
    room.environ |= {
        "OPENAI_API_KEY": "sk-environment",
        "CODEX_API_KEY": "sk-codex",
        "CODEX_ACCESS_TOKEN": room.issuer.personal_token(),
    }
    source = room.find(base_url=url, api_key="sk-codex")
    assert (source.current(), source.is_needed) == (None, False)


@pytest.mark.parametrize("url", [OTHER, LOCAL])
def test_another_host_gets_the_key_that_was_named_for_it(room: Room, url: str) -> None:
    room.environ |= {"OPENAI_API_KEY": "sk-environment", "MODELS_KEY": "k"}
    room.keep(STORED)
    named = ("apiKey", "k", "from MODELS_KEY")
    assert used(room, base_url=url, env_key="MODELS_KEY", api_key="sk-explicit") == named
    assert used(room, base_url=url, api_key="mine") == ("apiKey", "mine", "given explicitly")


def test_a_key_does_not_go_over_an_open_line(room: Room) -> None:
    room.environ["MODELS_KEY"] = "k"
    with pytest.raises(SetupError, match=r"must not be sent to models\.test unencrypted"):
        room.find(base_url="http://models.test/v1", env_key="MODELS_KEY")


def test_openais_own_hosts_are_no_other_hosts(room: Room) -> None:
    room.environ["OPENAI_API_KEY"] = "sk-environment"
    source = room.find(base_url="https://eu.api.openai.com/v1")
    assert (source.current().token, source.is_needed) == ("sk-environment", True)


def test_the_named_variable_is_not_set(room: Room) -> None:
    room.environ["OPENAI_API_KEY"] = "sk-environment"
    with pytest.raises(SetupError, match="the key was to come from MODELS_KEY, which is not set"):
        room.find(base_url=OTHER, env_key="MODELS_KEY")


def test_only_some_kinds_may_be_used(room: Room) -> None:
    room.keep(room.expired())
    room.environ["OPENAI_API_KEY"] = "sk-environment"
    source = sources.find(Settings(), room.environ, kinds=frozenset({"apiKey"}))
    assert source.current().token == "sk-environment"
    room.keep({"auth_mode": "agentIdentity", "agent_identity": "x"})
    assert source.current().token == "sk-environment"
    assert room.issuer.requests == []


def test_a_named_account_is_that_one_and_no_other(room: Room) -> None:
    room.environ["OPENAI_API_KEY"] = "sk-environment"
    room.keep(STORED)
    assert used(room, account="work") is None
    room.keep(STORED | {"OPENAI_API_KEY": "sk-c"}, room.codexs.parent / "accounts/work.json")
    assert used(room, account="work") == ("apiKey", "sk-c", "Codex's sign-in work")
    room.keep(STORED | {"OPENAI_API_KEY": "sk-w"}, room.ours.parent / "accounts/work.json")
    assert used(room, account="work") == ("apiKey", "sk-w", "your sign-in work")


def test_a_named_account_is_not_somebody_elses_token(room: Room) -> None:
    room.environ["CODEX_ACCESS_TOKEN"] = room.issuer.personal_token()
    room.keep(STORED, room.ours.parent / "accounts/work.json")
    assert used(room, account="work") == ("apiKey", "sk-stored", "your sign-in work")
    assert used(room, account="home") is None
    assert room.issuer.requests == []


@pytest.mark.parametrize(
    ("other", "named"),
    [
        ({"token_source": "command", "token_command": "x"}, "TOKEN_SOURCE"),
        ({"token_file": "/x/auth.json"}, "TOKEN_FILE"),
    ],
)
def test_two_sign_ins_are_named(room: Room, other: dict[str, str], named: str) -> None:
    said = f"CODEX_MAGIC_ACCOUNT names a sign-in, and CODEX_MAGIC_{named} another one"
    with pytest.raises(SetupError, match=said):
        room.find(account="work", **other)


def test_the_key_of_another_host_is_not_shown_to_openai(room: Room) -> None:
    room.environ |= {"MODELS_KEY": "k", "OPENAI_API_KEY": "sk-environment"}
    with pytest.raises(SetupError, match="the key from MODELS_KEY is another host's"):
        room.find(env_key="MODELS_KEY")
    named = ("apiKey", "sk-environment", "from OPENAI_API_KEY")
    assert used(room, env_key="OPENAI_API_KEY") == named
    url = "https://eu.api.openai.com/v1"
    assert used(room, env_key="MODELS_KEY", base_url=url) == ("apiKey", "k", "from MODELS_KEY")


KEYS = frozenset[Kind](("apiKey",))


def only_keys(room: Room, **settings: Any) -> sources.Chosen:
    return sources.find(Settings(**settings), room.environ, kinds=KEYS)


FOREIGN = {
    "nothing": "",
    "torn": '{"auth_mode": "chat',
    "no object": "[]",
    "empty": "{}",
    "only Codex's": '{"auth_mode": "agentIdentity", "agent_identity": "x"}',
    "another vendor's": '{"bedrock_api_key": "x"}',
}


@pytest.mark.parametrize("case", FOREIGN)
def test_what_cannot_be_used_is_in_no_keys_way(room: Room, case: str) -> None:
    path = room.keep(FOREIGN[case], room.codexs)
    room.environ |= {"OPENAI_API_KEY": "sk-environment", "CODEX_ACCESS_TOKEN": "eyJ.x.y"}
    source = only_keys(room)
    assert source.current().token == "sk-environment"
    if case in ("nothing", "torn", "no object"):
        unread = f"the sign-in in {path} cannot be read: it is cut off, or not JSON"
        instead = "the API key from OPENAI_API_KEY is used instead"
        assert source.notices == (f"{unread}; {instead}",)
        del room.environ["OPENAI_API_KEY"]
        with pytest.raises(SetupError, match="cannot be read"):
            only_keys(room).current()


def test_a_stored_key_behind_what_cannot_be_read(room: Room) -> None:
    room.keep("")
    room.keep(STORED, room.codexs)
    source = only_keys(room)
    assert source.current().source == "Codex's sign-in"
    (notice,) = source.notices
    assert notice.endswith("it is cut off, or not JSON; Codex's sign-in is used instead")


def printing(room: Room, printed: str) -> dict[str, str]:
    path = room.folder / "printed"
    path.write_text(printed)
    return {"token_source": "command", "token_command": f"cat {path}"}


def test_a_key_that_a_program_prints_is_a_key(room: Room) -> None:
    room.environ["OPENAI_API_KEY"] = "sk-environment"
    source = only_keys(room, **printing(room, '{"token": "sk-company"}'))
    assert (source.current().token, source.peek(), source.passed_over()) == (
        "sk-company",
        "apiKey",
        None,
    )


def test_a_sign_in_that_a_program_prints_is_none_where_only_keys_may_be_used(room: Room) -> None:
    source = only_keys(room, **printing(room, '{"token": "opaque", "account_id": "acc"}'))
    assert (source.current(), source.peek(), source.passed_over()) == (None, None, "chatgpt")
    (notice,) = source.notices
    assert notice.startswith("the credential printed by cat is a ChatGPT sign-in, which is not")


def test_looking_asks_nobody_and_changes_nothing(room: Room) -> None:
    """What kind there is, of each place in turn; and what may not be used."""
    token = room.issuer.personal_token()
    room.environ |= {"CODEX_ACCESS_TOKEN": token, "OPENAI_API_KEY": "sk-environment\n"}
    path = room.keep(room.expired())
    path.chmod(0o644)
    before = path.read_bytes()
    seen = [(room.find().peek(), only_keys(room).peek(), only_keys(room).passed_over())]
    for taken in ("CODEX_ACCESS_TOKEN", "file", "OPENAI_API_KEY"):
        if taken == "file":
            assert (path.read_bytes(), path.stat().st_mode & 0o777) == (before, 0o644)
            path.write_text("{")
        else:
            del room.environ[taken]
        seen.append((room.find().peek(), only_keys(room).peek(), only_keys(room).passed_over()))
    assert seen == [
        ("accessToken", "apiKey", "accessToken"),
        ("chatgpt", "apiKey", "chatgpt"),
        ("apiKey", "apiKey", None),
        (None, None, None),
    ]
    assert room.issuer.requests == []


def test_looking_runs_nothing(room: Room) -> None:
    mark = room.folder / "mark"
    room.environ["OPENAI_API_KEY"] = "sk-environment"
    found = room.find(token_source="command", token_command=f"touch {mark}")
    assert (found.peek(), found.is_elsewhere, mark.exists()) == (None, True, False)
    assert (room.find().peek(), room.find().is_elsewhere) == ("apiKey", False)


@pytest.mark.parametrize("name", ["", "a/b", "../x", "a" * 65, "a b", "ä", "a\n"])
def test_what_an_account_cannot_be_called(room: Room, name: str) -> None:
    with pytest.raises(SetupError, match="the name of an account"):
        room.find(account=name)


def test_a_file_of_ones_own(room: Room) -> None:
    room.keep(STORED)
    path = room.keep(STORED | {"OPENAI_API_KEY": "sk-f"}, room.folder / "mine.json")
    assert used(room, token_file=str(path)) == ("apiKey", "sk-f", f"the sign-in in {path}")


def test_a_sign_in_that_only_codex_can_use(room: Room) -> None:
    room.keep({"auth_mode": "agentIdentity", "agent_identity": "x"}, room.codexs)
    room.environ["OPENAI_API_KEY"] = "sk-environment"
    with pytest.raises(SetupError, match="of a kind that only Codex can use"):
        room.find().current()


@pytest.mark.parametrize("key", ["sk-a\n", "sk a", "sk-ä", "sk\x00"])
def test_what_is_no_key(room: Room, key: str) -> None:
    room.environ["OPENAI_API_KEY"] = key
    source = room.find()
    with pytest.raises(SetupError, match="the API key from OPENAI_API_KEY has characters"):
        source.current()
    room.keep(STORED)
    assert source.current().token == "sk-stored"  # a key that nobody uses is in nobody's way


def test_a_refused_key_has_no_successor(room: Room) -> None:
    source = room.find(api_key="sk-explicit")
    with pytest.raises(SetupError, match="the API key given explicitly is refused"):
        source.renewed(source.current())


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"token_source": "tcp"}, "CODEX_MAGIC_TOKEN_SOURCE=command"),
        ({"token_source": "carrier"}, "no source of tokens called 'carrier'"),
        ({"token_source": "http"}, "CODEX_MAGIC_TOKEN_URL does not say from where"),
        ({"token_source": "ssh"}, "CODEX_MAGIC_TOKEN_HOST does not say from where"),
        ({"token_source": "command"}, "CODEX_MAGIC_TOKEN_COMMAND does not say from where"),
        ({"token_source": "command", "token_command": "a 'b"}, "No closing quotation"),
        ({"token_source": "http", "token_url": "http://a.test"}, "from a.test unencrypted"),
    ],
)
def test_settings_that_lead_nowhere(room: Room, settings: dict[str, str], said: str) -> None:
    with pytest.raises(SetupError, match=said):
        room.find(**settings)
