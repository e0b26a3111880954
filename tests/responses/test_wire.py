"""What is sent to the Responses API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec import json as msgjson

from codex_magic.auth.credentials import Credential
from codex_magic.backends.base import TurnInput
from codex_magic.backends.responses import wire
from codex_magic.errors import CellError
from codex_magic.policy import SandboxPolicy
from codex_magic.turn import Image, TurnRequest

Json = dict[str, Any]

TOOL = {"type": "function", "name": "shell"}
ASKING = wire.Asking(
    model="m",
    instructions="Be kind.",
    tools=[TOOL],
    effort="high",
    summary="auto",
    thread_id="t",
)
HELLO = wire.text_item("user", "hello")


def request(prompt: str = "hi", **options: Any) -> TurnRequest:
    return TurnRequest(prompt=prompt, policy=SandboxPolicy(workspace=Path("/w")), **options)


def test_a_whole_body() -> None:
    assert wire.body(ASKING, [HELLO]) == {
        "model": "m",
        "instructions": "Be kind.",
        "tools": [TOOL],
        "tool_choice": "auto",
        "parallel_tool_calls": True,
        "reasoning": {"effort": "high", "summary": "auto"},
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "hello"}],
            }
        ],
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "t",
        "store": False,
        "stream": True,
    }


def test_the_beginning_of_a_body_stays_the_same_to_the_byte() -> None:
    one = msgjson.encode(wire.body(ASKING, [HELLO]))
    two = msgjson.encode(wire.body(ASKING, [HELLO, wire.text_item("assistant", "hi")]))
    begins = one[: one.index(b"hello")]
    assert two.startswith(begins)


CHANGES: list[tuple[Json, Any, Json]] = [
    ({"effort": None, "summary": None}, frozenset(), {"reasoning": None}),
    ({"effort": "none", "summary": "none"}, frozenset(), {"reasoning": {"effort": "none"}}),
    ({"tools": ()}, frozenset(), {"tools": None, "tool_choice": None, "parallel_tool_calls": None}),
    (
        {},
        frozenset({"include", "reasoning.summary"}),
        {"include": None, "reasoning": {"effort": "high"}},
    ),
    (
        {"schema": {"type": "object"}},
        frozenset(),
        {
            "text": {
                "format": {
                    "type": "json_schema",
                    "name": "codex_output_schema",
                    "schema": {"type": "object"},
                    "strict": True,
                }
            }
        },
    ),
]


@pytest.mark.parametrize(("asked", "without", "changes"), CHANGES)
def test_what_changes_a_body(asked: Json, without: Any, changes: Json) -> None:
    from dataclasses import replace

    usual = wire.body(ASKING, [HELLO])
    body = wire.body(replace(ASKING, **asked), [HELLO], without=without)
    wanted = {**usual, **changes}
    assert body == {key: value for key, value in wanted.items() if value is not None}


REFUSALS = [
    ("Unsupported parameter: include", "include"),
    (
        "Unsupported parameter: 'reasoning.summary' is not supported with this model",
        "reasoning.summary",
    ),
    ("Unknown parameter: 'prompt_cache_key'.", "prompt_cache_key"),
    ('unrecognized field "store"', "store"),
    ("Unsupported parameter: model", ""),
    ("Unsupported parameter: input", ""),
    ("Unsupported value: 'ultra'", ""),
    ("Unsupported value: 'reasoning.effort' does not support 'minimal' with this model.", ""),
    ("Encrypted content is not supported with this model.", "include"),
    ("The 'x' model is not supported when using Codex with a ChatGPT account.", ""),
    ("", ""),
]


@pytest.mark.parametrize(("message", "part"), REFUSALS)
def test_which_part_a_host_does_not_know(message: str, part: str) -> None:
    assert wire.refused(message) == part


TOLD = TurnInput(request(), {"notebook": "here"}, {"project_instructions": "say please"})


def texts(items: Any) -> list[tuple[str, str]]:
    return [(item["role"], item["content"][-1]["text"]) for item in items]


def test_how_a_turn_begins() -> None:
    assert texts(wire.opening(TOLD, [])) == [
        ("developer", "<notebook>\nhere\n</notebook>"),
        (
            "user",
            "<external_project_instructions>\nsay please\n</external_project_instructions>",
        ),
        ("user", "hi"),
    ]


def test_a_note_comes_again_only_when_it_says_something_new() -> None:
    first = wire.opening(TurnInput(request(), {"notebook": "here"}), [])
    same = wire.opening(TurnInput(request(), {"notebook": "here"}), first)
    other = wire.opening(TurnInput(request(), {"notebook": "there"}), [*first, *same])
    assert [len(first), len(same), len(other)] == [2, 1, 2]


def test_a_note_on_images_comes_with_each_of_their_turns() -> None:
    told = TurnInput(request(), {"images": "1: a.png"})
    first = wire.opening(told, [])
    assert wire.opening(told, first) == first


DATA = Image('a "b".png', "data:image/png;base64,AA")
FAR = Image("far", "https://x.org/a.png")


def test_images_stand_before_the_prompt() -> None:
    (prompt,) = wire.opening(TurnInput(request(images=(DATA, FAR))), [])
    assert prompt["content"] == [
        {"type": "input_image", "image_url": DATA.url, "detail": "auto"},
        {"type": "input_image", "image_url": FAR.url, "detail": "auto"},
        {"type": "input_text", "text": "hi"},
    ]


def test_a_sign_in_fetches_no_image() -> None:
    wire.check_images(request(images=(DATA, FAR)), wire.API)
    wire.check_images(request(images=(DATA,)), wire.CHATGPT)
    with pytest.raises(CellError, match="far is an address") as caught:
        wire.check_images(request(images=(DATA, FAR)), wire.CHATGPT)
    assert "file" in caught.value.hint


def test_images_can_be_taken_back() -> None:
    (prompt,) = wire.opening(TurnInput(request(images=(DATA, FAR))), [])
    assert wire.has_images([prompt])
    plain = wire.without_images(prompt)
    assert plain == wire.text_item("user", "hi")
    assert not wire.has_images([plain, {"type": "reasoning"}])


def test_a_projects_text_comes_again_only_when_it_is_another() -> None:
    first = wire.opening(TOLD, [])
    assert texts(wire.opening(TOLD, first)) == [("user", "hi")]
    other = TurnInput(request(), {}, {"project_instructions": "say thanks"})
    assert len(wire.opening(other, first)) == 2


TOKEN = "secret-token"
DRESSES = [
    (None, {}),
    (Credential("apiKey", TOKEN), {"authorization": f"Bearer {TOKEN}"}),
    (
        Credential("chatgpt", TOKEN, "acc", residency="eu", is_fedramp=True),
        {
            "authorization": f"Bearer {TOKEN}",
            "chatgpt-account-id": "acc",
            "x-openai-internal-codex-residency": "eu",
            "x-openai-fedramp": "true",
        },
    ),
]


@pytest.mark.parametrize(("credential", "headers"), DRESSES)
def test_what_shows_a_credential(credential: Credential | None, headers: dict[str, str]) -> None:
    who = {"originator": "codex_magic", "user-agent": "codex_magic/1.2"}
    assert wire.dress(credential, "1.2") == who | headers


@pytest.mark.parametrize(
    ("kind", "takes"),
    [("chatgpt", wire.CHATGPT), ("accessToken", wire.CHATGPT), ("apiKey", wire.API)],
)
def test_the_credential_says_which_host(kind: Any, takes: wire.Profile) -> None:
    assert wire.profile(Credential(kind, TOKEN)) is takes
    assert wire.profile(None) is wire.API


def test_a_thread_keeps_to_one_road() -> None:
    same = {"session-id": "t", "thread-id": "t", "x-client-request-id": "t"}
    assert wire.of_thread("t") == same
    assert wire.of_thread("t", "s") == same | {"x-codex-turn-state": "s"}


def test_what_was_said_is_without_our_notes() -> None:
    opened = wire.opening(TOLD, [])
    items = [*opened, {"type": "reasoning"}, wire.text_item("assistant", "hello")]
    assert wire.said(items) == [("user", "hi"), ("agent", "hello")]
