"""What hosts answer when they refuse, fail or stop, and what is made of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_magic.backends.hints import AGAIN, HINTS
from codex_magic.backends.responses import failures
from codex_magic.backends.responses.failures import Failure, of_event, of_status

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_777_922_696.0  # 2026-05-04 19:24:56 UTC


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def short(failure: Failure) -> tuple[str, bool, float | None, str]:
    return failure.kind, failure.retries, failure.after_s, failure.message


def error(**fields: Any) -> bytes:
    return json.dumps({"error": fields}).encode()


def detail(text: str) -> bytes:
    return json.dumps({"detail": text}).encode()


LIMIT = {
    "type": "usage_limit_reached",
    "message": "The usage limit has been reached",
    "plan_type": "plus",
    "resets_at": 1777936568,
    "eligible_promo": None,
    "resets_in_seconds": 13872,
}
REFUSED = "the model's host refused the request"
BUSY = "the model's host gets more requests from this account than it allows"
FAILED = "the model's host failed"
SIGN_IN = "the model's host does not accept the sign-in"
TOO_LONG = "the thread has become longer than the model can read"
RESETS = "the usage limit of your plus plan is reached; it resets at 23:16, in 3 h 51 min"
GONE = "The 'gpt-4' model is not supported when using Codex with a ChatGPT account."

STATUSES: dict[str, tuple[int, dict[str, str], bytes, tuple[str, bool, float | None, str]]] = {
    "a parameter": (
        400,
        {},
        detail("Unsupported parameter: max_output_tokens"),
        ("badRequest", False, None, f"{REFUSED} (400): Unsupported parameter: max_output_tokens"),
    ),
    "store": (
        400,
        {},
        detail("Store must be set to false"),
        ("badRequest", False, None, f"{REFUSED} (400): Store must be set to false"),
    ),
    "instructions": (
        400,
        {},
        detail("Instructions are required"),
        ("badRequest", False, None, f"{REFUSED} (400): Instructions are required"),
    ),
    "a retired model": (
        400,
        {},
        detail(GONE),
        ("badRequest", False, None, f"{REFUSED} (400): {GONE[:-1]}"),
    ),
    "the same as an event": (
        400,
        {},
        json.dumps({"type": "error", "status": 400, "error": {"message": GONE}}).encode(),
        ("badRequest", False, None, f"{REFUSED} (400): {GONE[:-1]}"),
    ),
    "a tool": (
        400,
        {},
        error(code="unsupported_value", param="tools", message="only supports function tools."),
        ("badRequest", False, None, f"{REFUSED} (400): only supports function tools"),
    ),
    "a validator": (
        422,
        {},
        json.dumps({"detail": [{"loc": ["body"], "msg": "field required"}]}).encode(),
        ("badRequest", False, None, f"{REFUSED} (422): field required"),
    ),
    "a model it does not know": (
        404,
        {},
        error(code="model_not_found", message="The model `x` does not exist"),
        ("badRequest", False, None, f"{REFUSED} (404): The model `x` does not exist"),
    ),
    "an address it does not know": (
        404,
        {"Content-Type": "text/plain"},
        b"404 page not found",
        (
            "notFound",
            False,
            None,
            "the model's host has nothing at this address (404): 404 page not found",
        ),
    ),
    "a long thread": (
        400,
        {},
        error(code="context_length_exceeded", message="Your input exceeds the context window"),
        (
            "contextWindowExceeded",
            False,
            None,
            f"{TOO_LONG} (400): Your input exceeds the context window",
        ),
    ),
    "a long thread, in words": (
        400,
        {},
        error(type="BadRequestError", message="This model's maximum context length is 4096 tokens"),
        (
            "contextWindowExceeded",
            False,
            None,
            f"{TOO_LONG} (400): This model's maximum context length is 4096 tokens",
        ),
    ),
    "a wrong key": (
        401,
        {},
        error(
            type="invalid_request_error",
            code="invalid_api_key",
            message="Incorrect API key provided: sk-12***89.",
        ),
        ("unauthorized", False, None, f"{SIGN_IN} (401): Incorrect API key provided: sk-12***89"),
    ),
    "no key": (
        401,
        {},
        error(type="invalid_request_error", message="You didn't provide an API key."),
        ("unauthorized", False, None, f"{SIGN_IN} (401): You didn't provide an API key"),
    ),
    "a region": (
        401,
        {},
        detail("Workspace is not authorized in this region."),
        (
            "unauthorized",
            False,
            None,
            f"{SIGN_IN} (401): Workspace is not authorized in this region",
        ),
    ),
    "a plan": (
        429,
        {},
        error(type="usage_not_included", message="Not included"),
        (
            "usageNotIncluded",
            False,
            None,
            "this account's plan does not include Codex (429): Not included",
        ),
    ),
    "a challenge": (
        403,
        {"Content-Type": "text/html; charset=UTF-8"},
        b"<!DOCTYPE html><html><head><title>Just\n a moment...</title></head></html>",
        (
            "forbidden",
            False,
            None,
            "the model's host refuses access (403): it sent a web page, “Just a moment...”",
        ),
    ),
    "a limit": (429, {}, error(**LIMIT), ("usageLimitExceeded", False, 13872.0, RESETS)),
    "a limit that says only when": (
        429,
        {},
        error(**{**LIMIT, "resets_in_seconds": None}),
        ("usageLimitExceeded", False, 13872.0, RESETS),
    ),
    "a limit for days": (
        429,
        {},
        error(**{**LIMIT, "resets_in_seconds": 200_000, "plan_type": "<b>plus</b>"}),
        (
            "usageLimitExceeded",
            False,
            200_000.0,
            "the usage limit of your account is reached; it resets on Thu 07 May at 02:58, in 2 d 7 h",
        ),
    ),
    "a limit that says nothing": (
        429,
        {},
        error(type="usage_limit_reached"),
        ("usageLimitExceeded", False, None, "the usage limit of your account is reached"),
    ),
    "a limit with nonsense": (
        429,
        {},
        error(type="usage_limit_reached", plan_type=[1], resets_at="soon", resets_in_seconds=-5),
        ("usageLimitExceeded", False, None, "the usage limit of your account is reached"),
    ),
    "a limit that is over": (
        429,
        {},
        error(type="usage_limit_reached", resets_at=5),
        (
            "usageLimitExceeded",
            False,
            0.0,
            "the usage limit of your account is reached; it resets at 19:24, in less than a minute",
        ),
    ),
    "a quota": (
        429,
        {},
        error(type="insufficient_quota", code="insufficient_quota", message="You exceeded it."),
        (
            "insufficientQuota",
            False,
            None,
            "the account's credit or budget is used up (429): You exceeded it",
        ),
    ),
    "a rate": (429, {}, b"", ("rateLimitExceeded", True, None, f"{BUSY} (429)")),
    "a rate with seconds": (
        429,
        {"Retry-After": "2"},
        error(type="requests", code="rate_limit_exceeded", message="Slow down"),
        ("rateLimitExceeded", True, 2.0, f"{BUSY} (429): Slow down"),
    ),
    "a rate with minutes": (
        429,
        {"Retry-After": "300"},
        b"",
        ("rateLimitExceeded", True, 300.0, f"{BUSY} (429); it wants to be asked again in 5 min"),
    ),
    "a rate with milliseconds": (
        429,
        {"retry-after": "2", "retry-after-ms": "1500"},
        b"",
        ("rateLimitExceeded", True, 1.5, f"{BUSY} (429)"),
    ),
    "a rate with a date": (
        429,
        {"Retry-After": "Mon, 04 May 2026 19:25:56 GMT"},
        b"",
        ("rateLimitExceeded", True, 60.0, f"{BUSY} (429)"),
    ),
    "a rate with a date, and a clock that is wrong": (
        429,
        {
            "Retry-After": "Mon, 04 May 2026 12:00:30 GMT",
            "Date": "Mon, 04 May 2026 12:00:00 GMT",
        },
        b"",
        ("rateLimitExceeded", True, 30.0, f"{BUSY} (429)"),
    ),
    "a rate with nonsense": (
        429,
        {"Retry-After": "soon", "retry-after-ms": "nan"},
        b"",
        ("rateLimitExceeded", True, None, f"{BUSY} (429)"),
    ),
    "a rate with a word against it": (
        429,
        {"x-should-retry": "false"},
        b"",
        ("rateLimitExceeded", False, None, f"{BUSY} (429)"),
    ),
    "a failure": (
        500,
        {},
        error(type="server_error", message="The server had an error"),
        ("internalServerError", True, None, f"{FAILED} (500): The server had an error"),
    ),
    "a gateway": (
        502,
        {"content-type": "text/html"},
        b"<html><h1>502</h1></html>",
        ("internalServerError", True, None, f"{FAILED} (502): it sent a web page"),
    ),
    "no service": (
        503,
        {},
        b"upstream connect error",
        (
            "serverOverloaded",
            True,
            None,
            "the model's host is overloaded (503): upstream connect error",
        ),
    ),
    "overloaded, and certain of it": (
        503,
        {},
        error(code="server_is_overloaded", message="Later"),
        ("serverOverloaded", False, None, "the model's host is overloaded (503): Later"),
    ),
    "elsewhere": (
        307,
        {"Location": "https://elsewhere.example/?token=abc"},
        b"",
        (
            "redirected",
            False,
            None,
            "the model's host sends the request elsewhere (307): to elsewhere.example",
        ),
    ),
    "a proxy": (
        407,
        {},
        b"",
        ("proxy", False, None, "the proxy on the way to the model's host wants a sign-in (407)"),
    ),
    "an error as if it were none": (
        200,
        {"content-type": "application/json"},
        error(type="invalid_request_error", message="No"),
        ("badRequest", False, None, f"{REFUSED}: No"),
    ),
    "a page as if it were an answer": (
        200,
        {"content-type": "text/html"},
        b"<title>Welcome</title>",
        (
            "badStream",
            False,
            None,
            (
                "the model's host does not answer as the Responses API does: "
                "it sent a web page, “Welcome”"
            ),
        ),
    ),
    "another charset": (
        500,
        {"content-type": "text/plain; charset=latin-1"},
        "schön".encode("latin-1"),
        ("internalServerError", True, None, f"{FAILED} (500): schön"),
    ),
    "a charset that nobody knows": (
        500,
        {"content-type": "text/plain; charset=x-none"},
        "sch\xf6n\x00\x1b[1m".encode("latin-1"),
        ("internalServerError", True, None, f"{FAILED} (500): sch\ufffdn [1m"),
    ),
    "a great deal": (
        500,
        {},
        b"x" * 1_000_000,
        ("internalServerError", True, None, f"{FAILED} (500): {'x' * 299}…"),
    ),
    "JSON that is no object": (
        500,
        {},
        b"[1]",
        ("internalServerError", True, None, f"{FAILED} (500): [1]"),
    ),
    "an error in a word": (
        500,
        {},
        b'{"error": "model runner has stopped"}',
        ("internalServerError", True, None, f"{FAILED} (500): model runner has stopped"),
    ),
}


@pytest.mark.parametrize("case", STATUSES)
def test_of_a_status(case: str) -> None:
    status, headers, body, expected = STATUSES[case]
    assert short(of_status(status, headers, body, now=NOW)) == expected


def broke(code: str | None, message: str, **more: Any) -> dict[str, Any]:
    error = {"code": code, "message": message}
    return {"type": "response.failed", "response": {"error": error, **more}}


def stopped(reason: Any) -> dict[str, Any]:
    return {"type": "response.incomplete", "response": {"incomplete_details": reason}}


EVENTS: dict[str, tuple[dict[str, Any], tuple[str, bool, float | None, str]]] = {
    "a rate": (
        broke("rate_limit_exceeded", "Rate limit reached. Please try again in 1.5s."),
        (
            "rateLimitExceeded",
            True,
            1.5,
            f"{BUSY}: Rate limit reached. Please try again in 1.5s",
        ),
    ),
    "a long thread": (
        broke("context_length_exceeded", "Your input exceeds the context window."),
        (
            "contextWindowExceeded",
            False,
            None,
            f"{TOO_LONG}: Your input exceeds the context window",
        ),
    ),
    "a quota": (
        broke("insufficient_quota", "You exceeded it."),
        (
            "insufficientQuota",
            False,
            None,
            "the account's credit or budget is used up: You exceeded it",
        ),
    ),
    "overloaded": (
        broke("server_is_overloaded", ""),
        ("serverOverloaded", False, None, "the model's host is overloaded"),
    ),
    "slow down": (
        broke("slow_down", ""),
        ("serverOverloaded", False, None, "the model's host is overloaded"),
    ),
    "a prompt": (
        broke("invalid_prompt", "No."),
        ("badRequest", False, None, f"{REFUSED}: No"),
    ),
    "an image": (
        broke("image_parse_error", "No."),
        ("badRequest", False, None, f"{REFUSED}: No"),
    ),
    "a policy": (
        broke("cyber_policy", ""),
        (
            "cyberPolicy",
            False,
            None,
            "the model's host declined this under its policy for security work",
        ),
    ),
    "another": (
        broke("server_error", "The model crashed"),
        ("internalServerError", True, None, f"{FAILED}: The model crashed"),
    ),
    "without a word": (
        {"type": "response.failed"},
        ("internalServerError", True, None, FAILED),
    ),
    "with nonsense": (
        {"type": "response.failed", "response": {"error": [[1]]}},
        ("internalServerError", True, None, FAILED),
    ),
    "the longest answer": (
        stopped({"reason": "max_output_tokens"}),
        (
            "maxOutputTokens",
            False,
            None,
            "the answer reached the most that the model may write at once",
        ),
    ),
    "a filter": (
        stopped({"reason": "content_filter"}),
        ("contentFilter", False, None, "the host's content filter stopped the answer"),
    ),
    "another end": (
        stopped({"reason": "max_messages"}),
        ("incomplete", False, None, "the model's answer is incomplete: max_messages"),
    ),
    "no reason": (stopped(None), ("incomplete", False, None, "the model's answer is incomplete")),
    "flat": (
        {"type": "error", "code": "slow_down", "message": "Later", "param": None},
        ("serverOverloaded", False, None, "the model's host is overloaded: Later"),
    ),
    "flat, unknown": (
        {"type": "error", "code": None, "message": "Later", "param": None},
        ("internalServerError", True, None, f"{FAILED}: Later"),
    ),
    "nested": (
        {"type": "error", "status": 400, "error": {"type": "x", "message": GONE}},
        ("badRequest", False, None, f"{REFUSED} (400): {GONE[:-1]}"),
    ),
    "nested, with when": (
        {"type": "error", "status": 429, "error": LIMIT, "headers": {"x": 1}},
        ("usageLimitExceeded", False, 13872.0, RESETS),
    ),
    "nested, with headers": (
        {"type": "error", "status": 429, "error": {}, "headers": {"Retry-After": "3"}},
        ("rateLimitExceeded", True, 3.0, f"{BUSY} (429)"),
    ),
}


@pytest.mark.parametrize("case", EVENTS)
def test_of_an_event(case: str) -> None:
    event, expected = EVENTS[case]
    assert short(of_event(event, now=NOW)) == expected


WAITS = {
    "try again in 1.5s": 1.5,
    "Please try again in 28ms. Visit": 0.028,
    "try again in 20 seconds": 20.0,
    "try again in 6m0s": 360.0,
    "retry after 2 minutes": 120.0,
    "try again in 1 hour and 5 minutes": 3900.0,
    "try again in 1.5 apples": None,
    "try again later": None,
}


@pytest.mark.parametrize("words", WAITS)
def test_when_to_come_again_stands_in_words(words: str) -> None:
    assert of_event(broke("rate_limit_exceeded", words)).after_s == pytest.approx(WAITS[words])


TOKEN = "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJl"
SECRETS = {
    f"bad token {TOKEN} here": "bad token ***masked*** here",
    "Authorization: Bearer abcdefghijklmnopqrstuvwxyz": "Authorization: Bearer ***masked***",
    "key opaque-and-short is wrong": "key ***masked*** is wrong",
    "see https://a.example/b?key=hidden&c=d#e, please": "see https://a.example/b please",
    "at http://ada:secret@a.example/b": "at http://a.example/b",
}


@pytest.mark.parametrize("words", SECRETS)
def test_a_host_that_repeats_a_secret_is_not_repeated(words: str) -> None:
    found = of_status(500, {}, error(message=words), secrets=("opaque-and-short", ""))
    assert found.message == f"{FAILED} (500): {SECRETS[words]}"


KINDS = {
    *(kind for kind, _ in failures.CODES.values()),
    *(kind for kind, _ in failures.TYPES.values()),
    *(kind for kind, _ in failures.STATUSES.values()),
    *failures.REASONS.values(),
}


def test_each_kind_has_its_sentence_and_its_way_on() -> None:
    assert KINDS - set(failures.SENTENCES) == {"usageLimitExceeded"}  # it makes its own
    assert KINDS - set(HINTS) == {"internalServerError"}  # nothing but another try
    found = of_status(500, {}, b"")
    assert (found.hint, str(found)) == (AGAIN, f"{FAILED} (500). {AGAIN}")


words = st.text(max_size=3) | st.sampled_from(
    [
        "error",
        "detail",
        "code",
        "type",
        "message",
        "status",
        "resets_at",
        "resets_in_seconds",
        "response",
        "incomplete_details",
        "reason",
        "headers",
        "plan_type",
    ]
)
jsons = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=4),
    max_leaves=12,
)


@given(
    st.integers(200, 599),
    st.dictionaries(st.sampled_from(["retry-after", "date", "content-type"]), st.text()),
    st.binary() | jsons.map(lambda found: json.dumps(found).encode()),
)
def test_no_answer_is_an_accident(status: int, headers: dict[str, str], body: bytes) -> None:
    assert of_status(status, headers, body).message.startswith(("the ", "this "))


@given(
    st.sampled_from(["response.failed", "response.incomplete", "error", "x"]),
    st.dictionaries(words, jsons),
)
def test_no_event_is_an_accident(kind: str, event: dict[str, Any]) -> None:
    assert of_event({**event, "type": kind}).message.startswith(("the ", "this "))
