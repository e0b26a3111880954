"""Requests to a host that answers badly, late, or not at all."""

from __future__ import annotations

import dataclasses
import gzip
import itertools
import json
import logging
import queue
import socket
import subprocess
import sys
import threading
import traceback
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.auth.credentials import Credential, like
from codex_magic.backends.responses import client as client_module
from codex_magic.backends.responses.client import AbortedError, Client
from codex_magic.backends.responses.failures import Failure
from codex_magic.backends.responses.retry import Patience
from codex_magic.errors import CodexMagicError, SetupError

from .faults import (
    COMMENTS,
    CUT,
    EVENT_STREAM,
    LAST_CHUNK,
    RESET,
    SILENCE,
    Act,
    Asked,
    FaultServer,
    Gate,
    answer,
    chunk,
    head,
    nobody_accepts,
    sized,
    sse,
    streamed,
    streaming,
    zipped,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from codex_magic.backends.responses.stream import Stream

    from .conftest import Certificate

SOON_S = 30.0
"""Longer than anything here takes; what hangs fails then."""

CREATED: dict[str, Any] = {"type": "response.created", "response": {"id": "resp_1"}}
DELTA: dict[str, Any] = {"type": "response.output_text.delta", "item_id": "m", "delta": "grün"}
COMPLETED: dict[str, Any] = {"type": "response.completed", "response": {"output": []}}
WHOLE = [CREATED, DELTA, COMPLETED]
BODY: dict[str, Any] = {"model": "gpt-5.5", "input": [], "stream": True}

Outcome = tuple[list[Any], str, bool]


class Keys:
    """A source that has these keys, one after the other."""

    def __init__(self, *tokens: str | CodexMagicError, kind: Any = "apiKey") -> None:
        self._tokens = list(tokens)
        self._kind = kind
        self.refused: list[str] = []

    def _next(self) -> Credential:
        token = self._tokens.pop(0)
        if isinstance(token, CodexMagicError):
            raise token
        return Credential(self._kind, token)

    def current(self) -> Credential:
        return self._next()

    def renewed(self, refused: Credential) -> Credential:
        self.refused.append(refused.token)
        return self._next()


def dress(credential: Credential | None) -> Mapping[str, str]:
    found = {"originator": "test"}
    return found if credential is None else {**found, "Authorization": f"Bearer {credential.token}"}


@contextmanager
def connected(server: FaultServer, source: Keys | None = None, **settings: Any) -> Iterator[Client]:
    patience = Patience(**{"idle_s": SOON_S, **settings.pop("patience", {})})
    with Client(
        server.base_url, source, dress, patience=patience, environ=settings.pop("environ", {})
    ) as made:
        yield made


def read(stream: Stream) -> Outcome:
    """Return the events of a stream, and how it failed."""
    events = []
    try:
        with stream:
            events.extend(iter(stream))  # what came before a failure is kept
    except (Failure, AbortedError) as failure:
        return events, failure.message, getattr(failure, "retries", False)
    return events, "", False


def lost(server: FaultServer, events: list[Any], words: str) -> Outcome:
    return events, words.format(f"127.0.0.1:{server.port}"), True


BROKE = "the connection to {} broke in the middle of the answer"
NEVER = "the connection to {} broke before it answered"
WITHIN = "the model's answer broke off in the middle of an event"


# --- what is sent and what comes ---------------------------------------------------------------


def test_a_request_and_its_answer() -> None:
    with (
        FaultServer(streamed(*WHOLE, x_codex_turn_state="sticky", X_Twice="1")) as server,
        connected(server, Keys("key-1")) as client,
    ):
        with client.stream(BODY, headers={"Session-Id": "thread", "Accept": "*/*"}) as stream:
            events = list(stream)
        headers = {
            "content-type": EVENT_STREAM,
            "transfer-encoding": "chunked",
            "x-codex-turn-state": "sticky",
            "x-twice": "1",
        }
        assert (events, stream.headers) == (WHOLE, headers)
        assert server.asked == [
            Asked(
                "POST",
                "/v1/responses",
                {
                    "host": f"127.0.0.1:{server.port}",
                    "accept": "*/*",
                    "accept-encoding": "identity",
                    "originator": "test",
                    "authorization": "Bearer key-1",
                    "session-id": "thread",
                    "content-type": "application/json",
                    "content-length": str(len(server.asked[0].body)),
                },
                json.dumps(BODY, separators=(",", ":")).encode(),
            )
        ]


def test_a_connection_serves_one_request_after_the_other() -> None:
    with (
        FaultServer(streamed(*WHOLE), answer({"a": 1}), streamed(*WHOLE)) as server,
        connected(server) as client,
    ):
        found = [read(client.stream(BODY)), client.get("models"), read(client.stream(BODY))]
        assert found == [(WHOLE, "", False), {"a": 1}, (WHOLE, "", False)]
        assert server.connections == 1


def test_what_nobody_asked_for_answers_nothing() -> None:
    extra = b"".join(streamed({**COMPLETED, "response": {"id": "smuggled"}}))
    scripts = [[b"".join(streamed(*WHOLE)) + extra], streamed(*WHOLE)]
    with FaultServer(*scripts) as server, connected(server) as client:
        assert [read(client.stream(BODY)) for _ in scripts] == [(WHOLE, "", False)] * 2
        assert server.connections == 2


def test_a_host_may_say_first_that_it_goes_on() -> None:
    early = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    scripts = [[early, *streamed(*WHOLE)], [early + b"".join(streamed(*WHOLE))]]
    with FaultServer(*scripts) as server, connected(server) as client:
        assert [read(client.stream(BODY)) for _ in scripts] == [(WHOLE, "", False)] * 2
        assert server.connections == 1


def test_the_end_of_the_connection_is_not_waited_for() -> None:
    script = [streaming(), chunk(sse(*WHOLE)), SILENCE]
    with FaultServer(script, script) as server, connected(server) as client:
        assert [read(client.stream(BODY)), read(client.stream(BODY))] == [(WHOLE, "", False)] * 2
        assert server.connections == 2


def test_half_a_character_in_a_prompt_is_no_accident() -> None:
    with FaultServer(streamed(*WHOLE)) as server, connected(server) as client:
        assert read(client.stream({"input": "a \ud83d b"})) == (WHOLE, "", False)
        assert server.asked[0].json == {"input": "a ? b"}


def test_a_large_event_arrives() -> None:
    big = {"type": "response.output_item.done", "item": {"text": "x" * 1_000_000}}
    with FaultServer(streamed(CREATED, big, COMPLETED)) as server, connected(server) as client:
        assert read(client.stream(BODY)) == ([CREATED, big, COMPLETED], "", False)


def test_any_chunks_are_the_same_stream() -> None:
    raw = sse(*WHOLE)
    cuts = [0, 1, 7, len(raw) // 2, len(raw) - 1, len(raw)]
    chunks = [chunk(raw[a:b]) for a, b in itertools.pairwise(cuts)]
    with FaultServer([streaming(), *chunks, LAST_CHUNK]) as server, connected(server) as client:
        assert read(client.stream(BODY)) == (WHOLE, "", False)


GZIPPED = gzip.compress(sse(CREATED)) + gzip.compress(sse(DELTA, COMPLETED))
ENCODED: dict[str, tuple[str, bytes, tuple[list[Any], str, bool]]] = {
    "gzip": ("gzip", gzip.compress(sse(*WHOLE)), (WHOLE, "", False)),
    "gzip in parts": ("gzip", GZIPPED, (WHOLE, "", False)),
    "none after all": ("identity", sse(*WHOLE), (WHOLE, "", False)),
    "not what it says": (
        "gzip",
        sse(*WHOLE),
        ([], "the model's host says that its answer is compressed, and it is not", True),
    ),
    "another one": (
        "br",
        b"x",
        ([], "the model's host encodes its answer as nobody asked it to", False),
    ),
}


@pytest.mark.parametrize("case", ENCODED)
def test_encodings(case: str) -> None:
    encoding, raw, expected = ENCODED[case]
    pieces = [chunk(raw[at : at + 9]) for at in range(0, len(raw), 9)]
    with (
        FaultServer([streaming(content_encoding=encoding), *pieces, LAST_CHUNK]) as server,
        connected(server) as client,
    ):
        assert read(client.stream(BODY)) == expected


# --- answers that break off --------------------------------------------------------------------

RAW = sse(*WHOLE)
FRAMES = {
    "chunks": streamed(*WHOLE),
    "a length": [head(content_type=EVENT_STREAM, content_length=str(len(RAW))), RAW],
    "the connection's end": [head(content_type=EVENT_STREAM), RAW],
}


def cut_anywhere(frame: str, end: Act) -> Iterator[tuple[int, list[Any], Outcome, FaultServer]]:
    """Yield where an answer was cut, the events that were whole until there, and what was read."""
    raw = b"".join(FRAMES[frame])
    ends = [raw.index(b"\n\n", raw.index(event["type"].encode())) + 2 for event in WHOLE]
    cuts = range(len(raw) + 1)
    with FaultServer(*([raw[:cut], end] for cut in cuts)) as server:
        for cut in cuts:
            with connected(server) as client:
                found = read(client.stream(BODY))
            yield cut, WHOLE[: sum(at <= cut for at in ends)], found, server


@pytest.mark.parametrize("frame", FRAMES)
def test_closed_after_any_byte(frame: str) -> None:
    head = len(FRAMES[frame][0])
    found, expected = [], []
    for cut, events, outcome, server in cut_anywhere(frame, CUT):
        found.append(outcome)
        if events == WHOLE:
            expected.append((WHOLE, "", False))
        elif cut < head:
            expected.append(lost(server, [], NEVER))
        elif frame != "the connection's end":
            expected.append(lost(server, events, BROKE))
        else:
            # Such an answer ends wherever it ends; within an event that can be seen.
            is_within = cut > head + len(sse(*events))
            expected.append((events, WITHIN if is_within else "", is_within))
    assert found == expected


@pytest.mark.parametrize("frame", FRAMES)
def test_reset_after_any_byte(frame: str) -> None:
    """A reset may overtake what was sent before it, but it is never taken for the end."""
    for _, events, outcome, server in cut_anywhere(frame, RESET):
        name = f"127.0.0.1:{server.port}"
        read_so_far, words, retries = outcome
        assert read_so_far == events[: len(read_so_far)]
        if words or events != WHOLE:
            assert (words in (NEVER.format(name), BROKE.format(name)), retries) == (True, True)


IDLE = {
    "before the answer": ([SILENCE], []),
    "within its head": ([b"HTTP/1.1 200 OK\r\ncontent-", SILENCE], []),
    "after its head": ([streaming(), SILENCE], []),
    "after an event": ([streaming(), chunk(sse(CREATED)), SILENCE], [CREATED]),
    "within an event": ([streaming(), chunk(sse(CREATED) + b"data: {"), SILENCE], [CREATED]),
    "but for comments": ([streaming(), chunk(sse(CREATED)), COMMENTS], [CREATED]),
}


@pytest.mark.parametrize("case", IDLE)
def test_silence(case: str) -> None:
    script, events = IDLE[case]
    with FaultServer(script) as server, connected(server, patience={"idle_s": 0.1}) as client:
        assert read(client.stream(BODY)) == lost(server, events, "{} has been silent for 0.1 s")
        assert server.gone.wait(SOON_S)


def test_nobody_listens() -> None:
    with FaultServer() as server:
        pass
    with connected(server) as client:
        assert read(client.stream(BODY)) == lost(
            server, [], "{} cannot be reached: Connection refused"
        )


def test_a_name_that_nobody_has() -> None:
    with Client("http://nobody.invalid/v1", None, dress, environ={}) as client:
        assert read(client.stream(BODY)) == ([], "the name of nobody.invalid cannot be found", True)


# --- answers that are none ---------------------------------------------------------------------

PAGE = b"<!doctype html><title>Sign in</title>"
NOT_THAT = "the model's host does not answer as the Responses API does"
REFUSALS: dict[str, tuple[Any, str, str, bool]] = {
    "a page": (
        sized(PAGE, content_type="text/html"),
        "badStream",
        f"{NOT_THAT}: it sent a web page, “Sign in”",
        False,
    ),
    "a text": (
        sized(b"hello", content_type="text/plain"),
        "badStream",
        f"{NOT_THAT}: hello",
        False,
    ),
    "an error with 200": (
        answer({"error": {"code": "insufficient_quota", "message": "Pay"}}),
        "insufficientQuota",
        "the account's credit or budget is used up: Pay",
        False,
    ),
    "a whole response": (
        answer({"object": "response", "output": []}),
        "badStream",
        NOT_THAT,
        False,
    ),
    "no words": (sized(b"", 500), "internalServerError", "the model's host failed (500)", True),
    "words in gzip": (
        sized(gzip.compress(b"too much work"), 500, content_encoding="gzip"),
        "internalServerError",
        "the model's host failed (500): too much work",
        True,
    ),
    "words that break off": (
        [head(503, content_length="100"), b"half", CUT],
        "serverOverloaded",
        "the model's host is overloaded (503)",
        True,
    ),
    "words without end": (
        [head(400, transfer_encoding="chunked"), *[chunk(b"x" * 65536)] * 50, SILENCE],
        "badRequest",
        f"the model's host refused the request (400): {'x' * 299}…",
        False,
    ),
    "not HTTP": (
        [b"SSH-2.0-OpenSSH_9.2\r\n", CUT],
        "connectionLost",
        "the connection to {} broke before it answered",
        True,
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_an_answer_that_is_no_stream(case: str) -> None:
    script, kind, words, retries = REFUSALS[case]
    with FaultServer(script) as server, connected(server) as client:
        with pytest.raises(Failure) as raised, client.stream(BODY):
            pass
        found = raised.value
        words = words.format(f"127.0.0.1:{server.port}")
        assert (found.kind, found.message, found.retries) == (kind, words, retries)


def test_a_redirection_is_not_followed() -> None:
    with FaultServer() as elsewhere:
        moved = [
            head(307, location=f"{elsewhere.base_url}/responses?token=hidden", content_length="0")
        ]
        with FaultServer(moved) as server, connected(server, Keys("key-1")) as client:
            words = (
                f"the model's host sends the request elsewhere (307): to 127.0.0.1:{elsewhere.port}"
            )
            assert read(client.stream(BODY)) == ([], words, False)
        assert elsewhere.connections == 0


# --- whose name is shown -----------------------------------------------------------------------

REFUSED = "the model's host does not accept the sign-in (401)"
KEYLESS = "the model's host wants a key, and none is named for it (401)"
GONE = SetupError("the sign-in has ended")
CYCLES: dict[str, tuple[list[Any], list[int], list[str], list[str], str]] = {
    # what the source has, what the host answers; what it saw, what was refused, what is raised
    "good": (["a"], [200], ["a"], [], ""),
    "expired": (["a", "b"], [401, 200], ["a", "b"], ["a"], ""),
    "refused": (["a", "b"], [401, 401], ["a", "b"], ["a"], REFUSED),
    "nothing newer": (["a", "a"], [401], ["a"], ["a"], REFUSED),
    "no other": (["a", GONE], [401], ["a"], ["a"], GONE.message),
    "none at all": ([GONE], [], [], [], GONE.message),
    "then something else": (
        ["a", "b"],
        [401, 500],
        ["a", "b"],
        ["a"],
        "the model's host failed (500)",
    ),
}


@pytest.mark.parametrize("ask", ["stream", "get", "post", "get_url"])
@pytest.mark.parametrize("case", CYCLES)
def test_a_refused_credential_is_renewed_once(case: str, ask: str) -> None:
    tokens, statuses, seen, refused, words = CYCLES[case]
    good = streamed(*WHOLE) if ask == "stream" else answer({"a": 1})
    scripts = [good if status == 200 else sized(b"", status) for status in statuses]
    source = Keys(*tokens)
    with FaultServer(*scripts) as server, connected(server, source) as client:
        asks: dict[str, Callable[[], Any]] = {
            "stream": lambda: _all(client.stream(BODY)),
            "get": lambda: client.get("models"),
            "post": lambda: client.post("compact", BODY),
            "get_url": lambda: client.get_url(f"{server.base_url}/usage"),
        }
        message = ""
        try:
            asks[ask]()
        except CodexMagicError as error:
            message = error.message
        shown = [asked.headers["authorization"].removeprefix("Bearer ") for asked in server.asked]
        assert (shown, source.refused, message) == (seen, refused, words)
        assert len(statuses) == len(server.asked)


def _all(stream: Stream) -> list[Any]:
    with stream:
        return list(stream)


FIRST, SECOND = "opaque-first", "opaque-second"
SAYS = f"I know neither {FIRST} nor {SECOND}"
REPEATS = {
    "refused twice": answer({"error": {"message": SAYS}}, 401),
    "refused": answer({"error": {"message": SAYS}}, 403),
    "an error that is none": answer({"error": {"message": SAYS}}),
    "words": answer(SAYS),
    "a text": sized(SAYS.encode(), content_type="text/plain"),
    "a page": sized(f"<title>{SAYS}</title>".encode(), 502, content_type="text/html"),
    "a way elsewhere": sized(b"", 302, location=f"https://{SECOND}.example/{FIRST}"),
    "a plan": answer(
        {"error": {"code": "usage_limit_reached", "plan_type": SECOND.replace("-", "")}}, 429
    ),
    "a wait": answer({"error": {"message": f"{SAYS}, try again in 900 s"}}, 503),
}


REPEATED = [
    (case, ask)
    for case in REPEATS
    for ask in ("stream", "get", "post")
    if ask == "stream" or case != "an error that is none"  # which is JSON, and so an answer
]


@pytest.mark.parametrize(("case", "ask"), REPEATED)
def test_a_host_that_repeats_a_key_is_not_repeated(case: str, ask: str) -> None:
    keys = [FIRST, SECOND.replace("-", "") if case == "a plan" else SECOND]
    with (
        FaultServer(sized(b"", 401), REPEATS[case]) as server,
        connected(server, Keys(*keys)) as client,
    ):
        asks: dict[str, Callable[[], Any]] = {
            "stream": lambda: _all(client.stream(BODY)),
            "get": lambda: client.get("models"),
            "post": lambda: client.post("compact", BODY),
        }
        with pytest.raises(Failure) as raised:
            asks[ask]()
        said = "".join(traceback.format_exception(raised.value))
        assert ([key for key in keys if key in said], "***masked***" in said) == ([], True)


def test_without_a_source_nothing_is_shown() -> None:
    with FaultServer(sized(b"", 401)) as server, connected(server) as client:
        assert read(client.stream(BODY)) == ([], KEYLESS, False)
        assert [asked.headers.get("authorization") for asked in server.asked] == [None]


@pytest.mark.parametrize(
    ("kind", "what"), [("chatgpt", "sign-in"), ("accessToken", "sign-in"), ("apiKey", "key")]
)
def test_a_credential_is_sent_to_nobody_in_the_clear(kind: str, what: str) -> None:
    client = Client("http://host.invalid/v1", Keys("token", kind=kind), dress, environ={})
    with client, pytest.raises(SetupError, match=rf"the {what} would go to host\.invalid"):
        client.get("models")


class Switched:
    """A source of which somebody else has signed in meanwhile."""

    def __init__(self, first: Credential, *then: Credential | None) -> None:
        self._found = [first, *then]

    def current(self) -> Credential | None:
        return self._found.pop(0)

    def renewed(self, refused: Credential) -> Credential:
        found = self._found.pop(0)
        assert found is not None
        return found


ADA = Credential("chatgpt", "ada", account_id="acc-1")
CHANGED = "the sign-in has changed meanwhile, and nothing was asked with the new one"
OTHERS: dict[str, Credential | None] = {
    "a key": Credential("apiKey", "sk-private"),
    "another account": Credential("chatgpt", "bob", account_id="acc-2"),
    "no account": Credential("chatgpt", "carol"),
    "a personal token": Credential("accessToken", "at-x", account_id="acc-1"),
    "nobody": None,
}


@pytest.mark.parametrize("other", OTHERS)
def test_no_other_than_the_first_one_pays(other: str) -> None:
    source: Any = Switched(ADA, OTHERS[other])
    with FaultServer(streamed(*WHOLE), streamed(*WHOLE)) as server:
        with Client(server.base_url, source, dress, environ={}, accept=like(ADA)) as client:
            assert read(client.stream(BODY)) == (WHOLE, "", False)
            with pytest.raises(Failure) as caught:
                client.get("models")
            assert (caught.value.message, caught.value.kind) == (CHANGED, "signInChanged")
            assert caught.value.hint.startswith("Run the cell again")
        assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer ada"]


@pytest.mark.parametrize("other", [other for other in OTHERS if OTHERS[other]])
def test_no_other_pays_in_the_place_of_one_that_is_refused(other: str) -> None:
    source: Any = Switched(ADA, OTHERS[other])
    with FaultServer(sized(b"", 401)) as server:
        with Client(server.base_url, source, dress, environ={}, accept=like(ADA)) as client:
            assert read(client.stream(BODY)) == ([], CHANGED, False)
        assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer ada"]


def test_the_same_account_goes_on_with_a_renewed_token() -> None:
    source: Any = Switched(ADA, dataclasses.replace(ADA, token="newer"))
    with FaultServer(sized(b"", 401), streamed(*WHOLE)) as server:
        with Client(server.base_url, source, dress, environ={}, accept=like(ADA)) as client:
            assert read(client.stream(BODY)) == (WHOLE, "", False)
        seen = [asked.headers["authorization"] for asked in server.asked]
        assert seen == ["Bearer ada", "Bearer newer"]


@pytest.mark.parametrize("token", ["key\nx: y", "key\r", "schl\u00fcssel\u2026", "a\x00"])
def test_a_token_that_can_be_no_header_is_not_repeated(token: str) -> None:
    with FaultServer() as server, connected(server, Keys(f"hidden{token}x")) as client:
        with pytest.raises(SetupError) as raised:
            client.get("models")
        assert "hidden" not in "".join(traceback.format_exception(raised.value))
        assert (raised.value.message, server.connections) == (
            "what was to be sent as 'authorization' cannot be a header",
            0,
        )


def test_nothing_of_a_request_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    scripts = [sized(b"", 401), streamed(DELTA, COMPLETED), sized(b"hidden-answer", 500)]
    with FaultServer(*scripts) as server, connected(server, Keys(*["hidden-key-1"] * 3)) as client:
        for _ in range(2):
            read(client.stream({"input": "hidden-prompt"}))
    with FaultServer(*scripts) as server, connected(server, Keys("hidden-1", "hidden-2")) as client:
        read(client.stream({"input": "hidden-prompt"}))
    assert "hidden" not in caplog.text


# --- giving up ---------------------------------------------------------------------------------


class Reader:
    """Reads a stream in an OS thread of its own."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.events: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.outcome: BaseException | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            with self.stream:
                for event in self.stream:
                    self.events.put(event)
        except BaseException as error:  # noqa: BLE001 - it is what is asked for
            self.outcome = error

    def ended(self) -> BaseException | None:
        self._thread.join(SOON_S)
        assert not self._thread.is_alive()
        return self.outcome


WAITS = {
    "for the answer": ([SILENCE], []),
    "within the head": ([b"HTTP/1.1 ", SILENCE], []),
    "for the first event": ([streaming(), SILENCE], []),
    "for the next event": ([streaming(), chunk(sse(CREATED)), SILENCE], [CREATED]),
    "among comments": ([streaming(), chunk(sse(CREATED)), COMMENTS], [CREATED]),
    "for the words of a refusal": ([head(500, content_length="9"), SILENCE], []),
}


@pytest.mark.parametrize("how", ["abort", "close"])
@pytest.mark.parametrize("is_tls", [False, True], ids=["plain", "TLS"])
@pytest.mark.parametrize("case", WAITS)
def test_whoever_waits_is_woken(
    case: str, is_tls: bool, how: str, request: pytest.FixtureRequest
) -> None:
    script, events = WAITS[case]
    tls, environ = None, {}
    if is_tls:
        certificate: Certificate = request.getfixturevalue("certificate")
        tls, environ = certificate.server, {"SSL_CERT_FILE": str(certificate.path)}
    with FaultServer(script, tls=tls) as server, connected(server, environ=environ) as client:
        reader = Reader(client.stream(BODY))
        assert server.silent.wait(SOON_S)
        assert [reader.events.get(timeout=SOON_S) for _ in events] == events
        reader.stream.abort() if how == "abort" else client.close()
        assert isinstance(reader.ended(), AbortedError)
        assert server.gone.wait(SOON_S)


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_handshake_is_left(how: str) -> None:
    with FaultServer(speaks=False) as server, connected(server) as client:
        reader = Reader(client.stream(BODY))
        assert server.silent.wait(SOON_S)
        reader.stream.abort() if how == "abort" else client.close()
        assert isinstance(reader.ended(), AbortedError)
        assert server.gone.wait(SOON_S)


connecting: queue.SimpleQueue[Any] = queue.SimpleQueue()
"""Where sockets are about to connect to."""


@pytest.fixture(scope="session", autouse=True)
def _listen_for_connects() -> None:
    def note(event: str, args: tuple[Any, ...]) -> None:
        if event == "socket.connect":
            connecting.put(args[1])

    sys.addaudithook(note)


@pytest.mark.parametrize("how", ["abort", "close"])
def test_a_connection_that_does_not_come_about_is_left(how: str) -> None:
    with nobody_accepts() as port:
        url = f"http://127.0.0.1:{port}/v1"
        with Client(url, None, dress, patience=Patience(connect_s=600), environ={}) as client:
            while not connecting.empty():
                connecting.get()
            reader = Reader(client.stream(BODY))
            assert connecting.get(timeout=SOON_S) == ("127.0.0.1", port)
            reader.stream.abort() if how == "abort" else client.close()
            assert isinstance(reader.ended(), AbortedError)


def test_a_host_that_does_not_read_is_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"
        with Client(url, None, dress, environ={}) as client:
            reader = Reader(client.stream({"input": "x" * 30_000_000}))
            accepted, _ = deaf.accept()
            with accepted:
                accepted.recv(1)  # it has begun to write
                reader.stream.abort()
                assert isinstance(reader.ended(), AbortedError)


def read_and_abort(stream: Stream, when: str, seen: list[Any]) -> None:
    if when == "before":
        stream.abort()
    with stream:
        for event in stream:
            seen.append(event)
            if when == "after an event":
                stream.abort()
        stream.abort()
        next(iter(stream))


@pytest.mark.parametrize("when", ["before", "after an event", "after the last event"])
def test_giving_up_between_two_waits(when: str) -> None:
    with FaultServer(*[streamed(*WHOLE)] * 2) as server, connected(server) as client:
        seen: list[Any] = []
        with pytest.raises(AbortedError):
            read_and_abort(client.stream(BODY), when, seen)
        assert seen == {"before": [], "after an event": [CREATED]}.get(when, WHOLE)
        assert read(client.stream(BODY)) == (WHOLE, "", False)


class SlowKeys(Keys):
    """A source that waits for a test before it gives a key, once it has given so many."""

    def __init__(self, *tokens: str, quick: int) -> None:
        super().__init__(*tokens)
        self.gate = Gate()
        self._quick = quick

    def _next(self) -> Credential:
        if self._quick == 0:
            self.gate.reached.release()
            assert self.gate.opened.wait(SOON_S)
        self._quick -= 1
        return super()._next()


@pytest.mark.parametrize("how", ["abort", "close"])
@pytest.mark.parametrize("quick", [0, 1], ids=["the first", "another one"])
def test_a_credential_that_comes_too_late_is_shown_to_nobody(quick: int, how: str) -> None:
    source = SlowKeys("a", "b", quick=quick)
    with FaultServer(sized(b"", 401)) as server, connected(server, source) as client:
        reader = Reader(client.stream(BODY))
        assert source.gate.reached.acquire(timeout=SOON_S)
        reader.stream.abort() if how == "abort" else client.close()
        source.gate.opened.set()
        assert isinstance(reader.ended(), AbortedError)
        shown = [asked.headers["authorization"] for asked in server.asked]
        assert (shown, server.connections) == (["Bearer a"][:quick], quick)


def test_giving_up_what_is_over_disturbs_no_other() -> None:
    gate = Gate()
    with (
        FaultServer(
            streamed(*WHOLE), [streaming(), gate, chunk(sse(*WHOLE)), LAST_CHUNK]
        ) as server,
        connected(server) as client,
    ):
        first = client.stream(BODY)
        read(first)
        reader = Reader(client.stream(BODY))
        assert gate.reached.acquire(timeout=SOON_S)
        first.abort()
        gate.opened.set()
        assert (reader.ended(), server.connections) == (None, 1)
        assert [reader.events.get_nowait() for _ in WHOLE] == WHOLE


def test_a_closed_client_asks_no_more() -> None:
    with FaultServer() as server, connected(server) as client:
        client.close()
        with pytest.raises(AbortedError):
            client.get("models")
        assert (read(client.stream(BODY))[1], server.connections) == ("the request was given up", 0)


# --- many at once ------------------------------------------------------------------------------


def test_a_hundred_streams_at_once() -> None:
    count, deltas = 100, 20
    gate = Gate()

    def own(number: str) -> list[Any]:
        return [*({**DELTA, "delta": f"{number}.{n} "} for n in range(deltas)), COMPLETED]

    def respond(asked: Asked) -> list[Any]:
        # Nobody gets an answer before all have asked.
        return [gate, *streamed(*own(asked.json["input"]))]

    with FaultServer(respond=respond) as server, connected(server) as client:
        readers = [Reader(client.stream({"input": str(n)})) for n in range(count)]
        for _ in readers:
            assert gate.reached.acquire(timeout=SOON_S)
        gate.opened.set()
        assert [reader.ended() for reader in readers] == [None] * count
        found = [[reader.events.get_nowait() for _ in range(deltas + 1)] for reader in readers]
        assert found == [own(str(n)) for n in range(count)]


# --- answers that are no streams ---------------------------------------------------------------


def test_what_stands_at_a_path() -> None:
    scripts = [answer({"models": []}), zipped({"a": "b"}), answer({"id": 1})]
    with FaultServer(*scripts) as server, connected(server) as client:
        found = [
            client.get("/models", {"client_version": "0.163.0", "a b": "c&d"}),
            client.get_url(f"http://127.0.0.1:{server.port}/backend-api/wham/usage?x=1"),
            client.post("responses/compact", {"model": "m"}),
        ]
        assert found == [{"models": []}, {"a": "b"}, {"id": 1}]
        assert [(asked.method, asked.target, asked.body) for asked in server.asked] == [
            ("GET", "/v1/models?client_version=0.163.0&a+b=c%26d", b""),
            ("GET", "/backend-api/wham/usage?x=1", b""),
            ("POST", "/v1/responses/compact", b'{"model":"m"}'),
        ]


NOT_JSON: dict[str, tuple[Any, str]] = {
    "a page": (sized(PAGE, content_type="text/html"), f"{NOT_THAT}: it sent a web page, “Sign in”"),
    "a list": (answer([1]), f"{NOT_THAT}: [1]"),
    "nothing": (sized(b""), NOT_THAT),
    "half of it": ([head(content_length="9"), b"{", CUT], BROKE),
    "far too much": (
        [head(transfer_encoding="chunked"), *[chunk(b" " * 65536)] * 200, LAST_CHUNK],
        "{} sent more than 8 MiB",
    ),
    "nothing for long": ([SILENCE], "{} has been silent for 0.1 s"),
    "little for long": (
        [head(transfer_encoding="chunked"), COMMENTS],
        "{} has been silent for 0.1 s",
    ),
}


@pytest.mark.parametrize("case", NOT_JSON)
def test_an_answer_must_be_json_and_there(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    script, words = NOT_JSON[case]
    if "long" in case:
        monkeypatch.setattr(client_module, "ANSWER_S", 0.1)
    with FaultServer(script) as server, connected(server) as client:
        with pytest.raises(Failure) as raised:
            client.get("models")
        assert raised.value.message == words.format(f"127.0.0.1:{server.port}")


# --- the way there -----------------------------------------------------------------------------


def test_a_proxy_is_asked_by_its_name() -> None:
    with FaultServer(streamed(*WHOLE)) as proxy:
        environ = {"http_proxy": f"http://ada:p%40ss@127.0.0.1:{proxy.port}"}
        with Client("http://host.invalid/v1", None, dress, environ=environ) as client:
            assert read(client.stream(BODY)) == (WHOLE, "", False)
        (asked,) = proxy.asked
        assert (asked.target, asked.headers["host"], asked.headers["proxy-authorization"]) == (
            "http://host.invalid/v1/responses",
            "host.invalid",
            "Basic YWRhOnBAc3M=",
        )


def test_a_proxy_that_wants_a_sign_in() -> None:
    with FaultServer(sized(b"", 407)) as proxy:
        environ = {"HTTPS_PROXY": f"127.0.0.1:{proxy.port}"}
        with Client("https://host.invalid/v1", Keys("k"), dress, environ=environ) as client:
            words = "the proxy did not let the request through to host.invalid: 407 Whatever"
            assert read(client.stream(BODY)) == ([], words, False)
        assert [(asked.method, asked.target) for asked in proxy.asked] == [
            ("CONNECT", "host.invalid:443")
        ]
        assert "authorization" not in proxy.asked[0].headers


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "CODEX_CA_CERTIFICATE"])
def test_a_certificate_can_be_trusted(name: str, certificate: Certificate) -> None:
    environ = {name: str(certificate.path)}
    with FaultServer(streamed(*WHOLE), streamed(*WHOLE), tls=certificate.server) as server:
        with connected(server, Keys("t", "t", kind="chatgpt"), environ=environ) as client:
            assert [read(client.stream(BODY)) for _ in range(2)] == [(WHOLE, "", False)] * 2
        assert server.connections == 1


def test_a_certificate_is_not_trusted_by_itself(certificate: Certificate) -> None:
    with FaultServer(tls=certificate.server) as server, connected(server) as client:
        with pytest.raises(Failure) as raised, client.stream(BODY):
            pass
        words = f"the certificate of 127.0.0.1:{server.port} is not trusted: "
        assert (raised.value.kind, raised.value.message.startswith(words)) == ("certificate", True)


def test_a_host_that_speaks_no_tls() -> None:
    with FaultServer() as server:
        url = server.base_url.replace("http://", "https://")
        with Client(url, None, dress, environ={}) as client:
            assert read(client.stream(BODY))[1:] == (
                f"127.0.0.1:{server.port} does not speak TLS as it should",
                False,
            )


def test_nothing_is_imported_before_something_is_asked() -> None:
    code = (
        "import sys; from codex_magic.backends.responses.client import Client;"
        "Client('http://127.0.0.1/v1', None, lambda c: {}).stream({});"
        "print(sorted({'httpx2', 'httpcore2', 'ssl'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert ran.stdout == "[]\n"
