"""A model's server that refuses, breaks off or is not there: one readable line, and the text kept."""

from __future__ import annotations

import socket
from typing import Any

import pytest

from codex_magic.backends.hints import AGAIN, HINTS, hint
from codex_magic.testing import cut, failed, raw, say, status

HALF = "A first half"
ITEM: dict[str, Any] = {"type": "message", "id": "msg_half", "role": "assistant", "content": []}
AT = {"item_id": "msg_half", "output_index": 0, "content_index": 0}


def half() -> list[Any]:
    """Return a message that has begun, and no more of it."""
    added = {"type": "response.output_item.added", "output_index": 0, "item": ITEM}
    return [raw(added), raw({"type": "response.output_text.delta", **AT, "delta": HALF})]


def body(message: str, **more: str) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


CASES: dict[str, tuple[Any, str, str, str]] = {
    "401": (
        status(401, body("Incorrect API key provided: sk-12***89.", code="invalid_api_key")),
        "unexpected status 401 Unauthorized: Incorrect API key provided: sk-12***89.",
        HINTS["unauthorized"],
        "",
    ),
    "429 with the limit used up": (
        status(429, body("The limit", type="usage_limit_reached", plan_type="plus")),
        "You\u2019ve hit your usage limit.",
        HINTS["usageLimitExceeded"],
        "",
    ),
    "429": (
        status(429, body("Rate limit reached for requests")),
        "exceeded retry limit, last status: 429 Too Many Requests",
        HINTS["rateLimitExceeded"],
        "",
    ),
    "500": (
        status(500, body("The server had an error")),
        "We\u2019re currently experiencing high demand, which may cause temporary errors.",
        AGAIN,
        "",
    ),
    "503": (
        status(503, body("overloaded")),
        "unexpected status 503 Service Unavailable: overloaded",
        AGAIN,
        "",
    ),
    "400": (
        status(400, body("The model `x` does not exist", code="model_not_found")),
        "The model `x` does not exist",
        HINTS["badRequest"],
        "",
    ),
    "400 with a detail": (
        status(400, {"detail": "Unsupported parameter"}),
        "Unsupported parameter",
        HINTS["badRequest"],
        "",
    ),
    "404": (
        status(404, body("nothing here")),
        "unexpected status 404 Not Found: nothing here",
        AGAIN,
        "",
    ),
    "a stream that is cut": (
        [*half(), cut()],
        "stream disconnected before completion: ",
        AGAIN,
        HALF,
    ),
    "a response that fails": (
        [*half(), failed("server_error", "The model crashed")],
        "stream disconnected before completion: The model crashed",
        AGAIN,
        HALF,
    ),
    "a full context": (
        [failed("context_length_exceeded", "Your input exceeds the context window")],
        "Codex ran out of room in the model's context window.",
        HINTS["contextWindowExceeded"],
        "",
    ),
    "a rate limit in the stream": (
        [failed("rate_limit_exceeded", "Rate limit reached, try again in 0.1s")],
        "rate limit exceeded: Rate limit reached, try again in 0.1s",
        HINTS["rateLimitExceeded"],
        "",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_failure_is_one_line_and_the_way_on(stage: Any, shape: str, case: str) -> None:
    response, said, way_on, kept = CASES[case]
    model = stage.model(response, say("better"))
    kernel = stage.kernel(model, shape)
    turn = kernel.ask()
    assert turn.status == "failed"
    assert turn.error.message.startswith(said)
    assert [mark for mark in ("\n", '{"', "http://127") if mark in turn.error.message] == []
    assert hint(turn.error) == way_on
    assert turn.final_response == kept
    assert (kernel.page.kept, kernel.session.last) == (turn, turn)
    # A full thread would first be summarised; a new one is what the hint says.
    after = kernel.ask(new=case == "a full context")
    assert (after.status, after.final_response, after.error) == ("completed", "better", None)


def test_nobody_listens(stage: Any, shape: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    turn = stage.kernel(f"http://127.0.0.1:{port}/v1", shape).ask()
    assert (turn.status, turn.error.message, hint(turn.error)) == (
        "failed",
        "Connection failed: error sending request",
        AGAIN,
    )


def test_codex_says_that_it_tries_again(stage: Any, shape: str) -> None:
    retry = ("model_providers.tape.stream_max_retries=2",)
    model = stage.model([*half(), cut()], say("whole"))
    turn = stage.kernel(model, shape, overrides=retry).ask()
    assert (turn.status, turn.final_response) == ("completed", "whole")
    (notice,) = turn.notices
    assert (notice.level, notice.text.startswith("Reconnecting... 1/2")) == ("warning", True)
    assert HALF in [str(getattr(item, "text", "")) + str(item.draft) for item in turn.items]
