"""What a person is told of an account, its models and its limits."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.account import signing, words
from codex_magic.backends.appserver import account_wire
from codex_magic.backends.base import Account, Model, Quota, Window
from codex_magic.errors import BackendError, CellError, SetupError
from codex_magic.render.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = 1_800_000_000.0


# --- who -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "who", "facts"),
    [
        (Account(), "", {"account": "nobody is signed in"}),
        (Account(needed=False), "", {"account": "none needed"}),
        (Account("apiKey", source="X"), "an API key", {"account": "an API key", "source": "X"}),
        (Account("someNewKind"), "someNewKind", {"account": "someNewKind"}),
        (
            Account("chatgpt", "a@b.c", plan="plus", source="a file", expires_at=NOW + 9.5 * 86400),
            "a@b.c (plus)",
            {
                "account": "ChatGPT, a@b.c",
                "plan": "plus",
                "expires": "in 9 days",
                "source": "a file",
            },
        ),
    ],
)
def test_an_account_in_words(account: Account, who: str, facts: dict[str, str]) -> None:
    assert (words.who(account), words.facts(account, NOW)) == (who, facts)


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "now"),
        (59, "now"),
        (60, "in 1 minute"),
        (3599, "in 59 minutes"),
        (3600, "in 1 hour"),
        (47 * 3600, "in 1 day"),
        (9 * 86400, "in 9 days"),
        (-120, "2 minutes ago"),
        (-90000, "1 day ago"),
    ],
)
def test_how_far_away_a_time_is(seconds: int, said: str) -> None:
    assert words.when(NOW + seconds, NOW) == said


@pytest.mark.parametrize(
    ("minutes", "name"),
    [
        (300, "5 h"),
        (10080, "week"),
        (60, "1 h"),
        (1440, "day"),
        (4320, "3 days"),
        (43200, "30 days"),
        (90, "90 min"),
        (299, "299 min"),
        (10079, "168 h"),
        (0, ""),
    ],
)
def test_a_limit_is_called_by_its_length(minutes: int, name: str) -> None:
    assert words.length(60 * minutes) == name


@given(st.integers(1, 10**9))
def test_every_length_has_a_name(seconds: int) -> None:
    assert words.length(seconds)


# --- models ----------------------------------------------------------------------------------

MODELS = (
    Model("old", efforts=("low", "medium"), default_effort="medium", context_tokens=272_000),
    Model("secret", hidden=True, sees_images=False),
    Model("new", efforts=("low", "high"), default_effort="low", is_default=True),
)
ASKS = "The next turn asks the one marked *."
NAME_ONE = "name one with -m, or in the setting model."
ALIASES = (("fast", "new"), ("cheap", "old"), ("quick", "new"))


def test_the_models_as_a_table() -> None:
    shown = words.models(MODELS, None, ALIASES)
    assert repr(shown).split("\n") == [
        "now  model   efforts                reads        images  remarks",
        "     old     low, medium (default)  272k tokens  yes     also called cheap",
        "*    new     low (default), high                 yes     also called fast, quick",
        "     secret                                      no      hidden",
        "The next turn asks the one marked *.",
    ]
    drawn = shown._repr_markdown_().split("\n")
    assert drawn[0] == "| now | model | efforts | reads | images | remarks |"
    assert drawn[1] == "| --- | --- | --- | --- | --- | --- |"
    assert drawn[-1] == "The next turn asks the one marked &#42;."


@pytest.mark.parametrize(
    ("asked", "marked", "remark"),
    [
        (None, "new", "The next turn asks the one marked *."),
        ("old", "old", "The next turn asks the one marked *."),
        ("cheap", "old", "The next turn asks the one marked *."),
        ("gone", "", "The next turn asks for gone, which is not among them."),
    ],
)
def test_the_model_of_the_next_turn_is_marked(asked: str | None, marked: str, remark: str) -> None:
    shown = words.models(MODELS, asked, ALIASES)
    at = shown.columns.index("model")
    found = "".join(row[at] for row in shown.rows if row[0] == "*")
    assert (found, shown.remarks) == (marked, (remark,))


def test_what_nobody_says_has_no_column() -> None:
    shown = words.models([Model("m"), Model("n")], None, ())
    assert (shown.columns, shown.rows) == (("model", "images"), (("m", "yes"), ("n", "yes")))


@pytest.mark.parametrize(
    ("found", "asked", "own", "now", "remark"),
    [
        (MODELS, None, "old", "old", f"{ASKS} This thread goes on with it."),
        (MODELS, "new", "old", "new", ASKS),
        (MODELS, None, "gone", "", "The next turn asks for gone, which is not among them."),
        (MODELS[:2], None, "", "", f"None of them is asked by itself: {NAME_ONE}"),
        ((), "gone", "", "", "The next turn asks for gone; the host lists none."),
        ((), None, "", "", f"The host lists no models: {NAME_ONE}"),
    ],
)
def test_what_the_next_turn_asks_is_said_of_any_list(
    found: Sequence[Model], asked: str | None, own: str, now: str, remark: str
) -> None:
    shown = words.models(found, asked, (), own=own)
    marked = [row[1] for row in shown.rows if row[0] == "*"]
    assert (marked, shown.remarks) == ([now] if now else [], (remark,))


def test_of_a_model_that_nobody_knows_it_is_not_said_what_it_sees() -> None:
    found = [Model(name, sees_images=sees) for name, sees in (("a", True), ("b", None))]
    assert words.models(found, None, ()).rows == (("a", "yes"), ("b", "?"))


# --- limits ----------------------------------------------------------------------------------


def test_the_limits_as_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    windows = (
        Window(42.4, 18_000, NOW + 3700),
        Window(0.5, 604_800, NOW + 3 * 86400),
        Window(100, 18_000, None, "fast models"),
    )
    quota = Quota("plus", windows, credits="12.5", reached="the limit is reached")
    shown = repr(words.usage(quota, NOW)).split("\n")
    monkeypatch.undo()
    time.tzset()
    assert shown == [
        "limit               used              resets",
        "5 h                 ████░░░░░░ 42 %   in 1 hour (09:01)",
        "week                █░░░░░░░░░ 0 %    in 3 days (18 Jan 08:00)",
        "5 h of fast models  ██████████ 100 %",
        "The limit is reached.",
        "Plan: plus; Credits: 12.5",
    ]


def test_a_clock_keeps_its_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    at = [1_799_971_200 + more for more in (0, 300, 2 * 86400)]
    shown = [words.usage(Quota("", (Window(1, 18_000, one),)), at[0] - 60) for one in at]
    monkeypatch.undo()
    time.tzset()
    assert [table.rows[0][2].partition("(")[2] for table in shown] == [
        "00:00)",
        "00:05)",
        "17 Jan 00:00)",
    ]


def test_an_account_without_limits() -> None:
    shown = words.usage(Quota(), NOW)
    assert repr(shown) == "No limit is told of this account."
    assert shown._repr_markdown_() == "No limit is told of this account."


# --- tables ----------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.text(), st.text()), min_size=1, max_size=4))
def test_nothing_in_a_table_is_markup_or_moves_the_cursor(rows: list[tuple[str, str]]) -> None:
    shown = table(("a", "b"), rows)
    lines = shown._repr_markdown_().split("\n")
    if shown.columns:
        assert len(lines) == 2 + len(rows)
        assert {line.count("|") for line in lines} == {1 + len(shown.columns)}
    assert set("<>`*[]_\x1b\r\x07").isdisjoint("".join(lines[2:]))
    assert set("\x1b\r\x07").isdisjoint(repr(shown))


# --- what the app-server says ------------------------------------------------------------------


def test_limits_of_several_kinds_are_told_apart() -> None:
    week = {"usedPercent": 9, "windowDurationMins": 10080, "resetsAt": 7}
    spending = {"limit": "50", "used": "10", "remainingPercent": 80, "resetsAt": 8}
    main = {
        "limitId": "codex",
        "primary": week,
        "planType": "team",
        "credits": {"hasCredits": False, "unlimited": False, "balance": None},
        "individualLimit": spending,
        "rateLimitReachedType": "workspace_member_credits_depleted",
    }
    other = {"limitId": "luna", "limitName": "Luna", "primary": None, "secondary": week}
    answer = {"rateLimits": main, "rateLimitsByLimitId": {"codex": main, "luna": other}}
    assert account_wire.quota(answer) == Quota(
        "team",
        (
            Window(9.0, 604_800, 7),
            Window(20.0, 0, 8, "your spending limit"),
            Window(9.0, 604_800, 7, "Luna"),
        ),
        credits="none",
        reached="you have used up your credits of the workspace",
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (None, "the sign-in was given up; another one may have taken its place"),
        (
            "Login server error: Login was not completed",
            "the sign-in was given up; another one may have taken its place",
        ),
        ("Login server error: State mismatch.", "the sign-in failed: State mismatch"),
        (
            "device auth failed with status 403 Forbidden",
            "the sign-in was refused, or its code was too old",
        ),
        ('oops: {"error": {"message": "no\\nluck"}}', "the sign-in failed: oops: no luck"),
    ],
)
def test_why_a_sign_in_came_to_nothing(error: str | None, said: str) -> None:
    assert account_wire.why_not(error) == said


# --- signing in ------------------------------------------------------------------------------


class Waiting:
    """A sign-in that ends when it has been looked at often enough, and stays as it is then."""

    def __init__(self, ends: Sequence[bool | BaseException], url: str, code: str, who: str) -> None:
        self.url, self.code, self.who = url, code, who
        self.cancelled = 0
        self._ends = list(ends)

    def wait(self, timeout_s: float) -> bool:
        end = self._ends[0] if len(self._ends) == 1 else self._ends.pop(0)
        if isinstance(end, BaseException):
            raise end
        return end

    def cancel(self) -> None:
        self.cancelled += 1


class Signs:
    """A backend, as far as signing in goes."""

    name = "scripted"

    def __init__(
        self,
        *ends: bool | BaseException,
        url: str = "http://127.0.0.1:1/d",
        who: str = "",
        accounts: Sequence[Account | SetupError] = (),
        is_ended: bool = True,
    ) -> None:
        self.started: list[Waiting] = []
        self.keys: list[str] = []
        self._how = ends, url, who
        self._accounts = list(accounts)
        self._is_ended = is_ended

    def sign_in(self, way: str) -> Waiting:
        ends, url, who = self._how
        self.started.append(Waiting(ends, url, "AB-12" if way == "device" else "", who))
        return self.started[-1]

    def sign_out(self) -> bool:
        return self._is_ended

    def sign_in_with_key(self, key: str) -> None:
        self.keys.append(key)

    def account(self) -> Account:
        """Return one after the other; the last of them stays."""
        if not self._accounts:
            return Account("chatgpt", "a@b.c", plan="plus", source="your sign-in")
        found = self._accounts[0] if len(self._accounts) == 1 else self._accounts.pop(0)
        if isinstance(found, SetupError):
            raise found
        return found


def door(told: list[signing.Said], *, has_person: bool = True, secret: str = "") -> signing.Door:
    return signing.Door(
        show=told.append,
        has_person=has_person,
        ask=lambda _prompt: secret,
        again="%codex login",
        stop="press Ctrl-C",
    )


def test_a_sign_in_waits_for_the_person() -> None:
    told: list[signing.Said] = []
    on: Any = Signs(False, False, True)
    signing.sign_in(on, "device", door(told))
    waiting, done = told
    assert waiting.markdown.split("\n") == [
        "To sign in:",
        "",
        "1. Open <http://127.0.0.1:1/d>",
        "2. Type the code **AB&#45;12**",
        "",
        "*Waiting for you. To give it up, press Ctrl-C.*",
    ]
    assert done == signing.Said(
        "Signed in as a@b.c (plus).", "Signed in as a&#64;b.c &#40;plus&#41;."
    )
    assert on.started[0].cancelled == 0


def test_an_interrupted_one_is_cancelled() -> None:
    told: list[signing.Said] = []
    on: Any = Signs(False, KeyboardInterrupt(), SetupError("given up"))
    with pytest.raises(signing.SignInCancelled) as caught:
        signing.sign_in(on, "device", door(told))
    assert isinstance(caught.value, KeyboardInterrupt)
    assert caught.value._render_traceback_() == [
        "SignInCancelled: the sign-in was cancelled; nothing has changed"
    ]
    assert (on.started[0].cancelled, told[-1].text) == (1, "The sign-in was cancelled.")


@pytest.mark.parametrize(
    ("error", "hint"),
    [
        (SetupError("no"), "To try again, type: %codex login"),
        (BackendError("no", hint="Wait"), "Wait"),
    ],
)
def test_a_failed_one_says_what_to_type(error: Any, hint: str) -> None:
    told: list[signing.Said] = []
    on: Any = Signs(error)
    with pytest.raises(type(error)) as caught:
        signing.sign_in(on, "device", door(told))
    assert (caught.value.hint, told[-1].text) == (hint, "Nobody was signed in.")
    assert on.started[0].cancelled == 1


def test_without_a_person_nothing_begins() -> None:
    on: Any = Signs(True)
    with pytest.raises(SetupError, match="signing in needs a person"):
        signing.sign_in(on, "device", door([], has_person=False))
    with pytest.raises(SetupError, match="a key is typed by a person"):
        signing.sign_in_with_key(on, door([], has_person=False, secret="sk-1"))
    assert (on.started, on.keys) == ([], [])


@pytest.mark.parametrize(
    ("name", "typed"),
    [("app-server", "codex-magic auth login`"), ("responses", "codex-magic auth login --api-key`")],
)
def test_who_signs_in_beforehand_is_told_what_works(name: str, typed: str) -> None:
    on = Signs()
    on.name = name
    with pytest.raises(SetupError, match=typed):
        signing.sign_in(on, "device", door([], has_person=False))


@pytest.mark.parametrize("environ", [{}, {"DISPLAY": ":0", "JUPYTERHUB_API_TOKEN": "x"}])
def test_without_a_browser_a_code_serves(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER", "JUPYTERHUB_API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    told: list[signing.Said] = []
    on: Any = Signs(True)
    signing.sign_in(on, "browser", door(told))
    assert [started.code for started in on.started] == ["AB-12"]
    assert told[0].text.startswith("No browser can be opened on this machine")


def test_what_an_issuer_says_is_no_markup() -> None:
    told: list[signing.Said] = []
    on: Any = Signs(True, url="javascript:alert(1)<b>\x1b[2J")
    signing.sign_in(on, "device", door(told))
    assert "\x1b" not in told[0].text
    assert "1. Open javascript&#58;alert&#40;1&#41;&#60;b&#62;" in told[0].markdown


def test_who_does_not_want_to_type_a_key_is_not_signed_in() -> None:
    def ask(_prompt: str) -> str:
        raise KeyboardInterrupt

    on: Any = Signs()
    with pytest.raises(signing.SignInCancelled, match="nothing has changed"):
        signing.sign_in_with_key(on, dataclasses.replace(door([]), ask=ask))
    assert on.keys == []


@pytest.mark.parametrize("typed", ["", "  \n", "sk 1", "sk-\x00", "schlüssel"])
def test_what_is_no_key_is_not_taken(typed: str) -> None:
    on: Any = Signs()
    with pytest.raises(CellError) as caught:
        signing.sign_in_with_key(on, door([], secret=typed))
    assert typed.strip() == "" or typed.strip() not in str(caught.value)
    assert on.keys == []


def test_a_key_is_kept_without_being_shown() -> None:
    told: list[signing.Said] = []
    on: Any = Signs()
    signing.sign_in_with_key(on, door(told, secret=" sk-abc \n"))
    assert (on.keys, [said.text for said in told]) == (
        ["sk-abc"],
        ["Signed in with an API key; it is kept for later kernels too."],
    )


def test_an_interrupt_that_comes_too_late_says_so() -> None:
    told: list[signing.Said] = []
    on: Any = Signs(False, KeyboardInterrupt(), True, who="ada@b.c (plus)")
    with pytest.raises(signing.SignInCancelled) as caught:
        signing.sign_in(on, "device", door(told))
    (line,) = caught.value._render_traceback_()
    late = "the sign-in was complete by then, and stands; to end it, type: %codex logout"
    assert line == f"SignInCancelled: {late}"
    assert told[-1].text == "Signed in as ada@b.c (plus)."


# --- on what turns run then, and after signing out ---------------------------------------------

OURS = Account("chatgpt", "ada@b.c", plan="plus", source="your sign-in")
TOKEN = Account("accessToken", "bob@b.c", source="from CODEX_ACCESS_TOKEN")
OTHER_KEY = Account("apiKey", source="from OPENAI_API_KEY")
NOWHERE = Account(needed=False)
NOBODY = Account()
BROKEN = SetupError("the sign-in is over")

STILL = {
    "it": (OURS, ""),
    "it, by a name": (dataclasses.replace(OURS, source="your sign-in work"), ""),
    "Codex's": (dataclasses.replace(OURS, source="Codex's own sign-in"), ""),
    "nobody knows": (BROKEN, ""),
    "a token": (
        TOKEN,
        " Turns still run on bob@b.c, from CODEX_ACCESS_TOKEN, because that goes before it.",
    ),
    "another host": (
        NOWHERE,
        " Turns still run without it, because the host that is set for them is another one.",
    ),
    "not allowed": (
        NOBODY,
        (
            " Turns do not run on it, because what is of ChatGPT is not used here"
            " unless CODEX_MAGIC_CHATGPT is 1."
        ),
    ),
}


@pytest.mark.parametrize("case", STILL)
def test_who_has_signed_in_and_on_what_turns_run(case: str) -> None:
    account, still = STILL[case]
    told: list[signing.Said] = []
    on: Any = Signs(True, who="ada@b.c (plus)", accounts=[account])
    signing.sign_in(on, "device", door(told))
    assert told[-1].text == f"Signed in as ada@b.c (plus).{still}"
    for key, what in (("sk-x", "an API key"), ("at-x", "an access token")):
        signing.sign_in_with_key(on, door(told, secret=key))
        kept = f"Signed in with {what}; it is kept for later kernels too."
        assert told[-1].text == f"{kept}{still}"


ON_A_KEY = "Turns run on an API key, from OPENAI_API_KEY."
OUT = {
    "the one in use": (OURS, True, NOBODY, "Signed out; it was ada@b.c (plus)."),
    "a key takes its place": (OURS, True, OTHER_KEY, f"Signed out. {ON_A_KEY}"),
    "a key went before it": (OTHER_KEY, True, OTHER_KEY, f"Signed out. {ON_A_KEY}"),
    "another host": (NOWHERE, True, NOWHERE, "Signed out."),
    "not allowed": (NOBODY, True, NOBODY, "Signed out."),
    "over": (BROKEN, True, NOBODY, "Signed out."),
    "then trouble": (OURS, True, BROKEN, "Signed out; it was ada@b.c (plus)."),
    "none": (NOBODY, False, NOBODY, "Nobody was signed in."),
    "none but a key": (OTHER_KEY, False, OTHER_KEY, f"There was no sign-in to end. {ON_A_KEY}"),
}


@pytest.mark.parametrize("case", OUT)
def test_what_is_said_of_signing_out(case: str) -> None:
    before, is_ended, after, said = OUT[case]
    told: list[signing.Said] = []
    on: Any = Signs(accounts=[before, after], is_ended=is_ended)
    signing.sign_out(on, door(told))
    assert [one.text for one in told] == [said]
