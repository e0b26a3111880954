"""Where a workspace's requests go."""

from __future__ import annotations

from typing import Any

import pytest

from codex_magic.backends.responses.routing import Route, read


def row(origin: Any = "NO_CONSTRAINT", override: Any = "NO_CONSTRAINT", name: str = "a") -> Any:
    return {
        "id": name,
        "workspace_backend_origin": origin,
        "account_routing_override": override,
    }


CASES: list[tuple[Any, Route]] = [
    ({"accounts": [row()]}, Route()),
    ({"accounts": [row("https://eu.chatgpt.com", "us_cr")]}, Route("eu.chatgpt.com", "us_cr")),
    ({"accounts": [row(override="us"), row("https://x.example", name="b")]}, Route(override="us")),
    ({"accounts": [row("https://x.example"), row()]}, Route()),
    ({"accounts": [row("http://eu.chatgpt.com")]}, Route()),
    ({"accounts": [row("https://chatgpt.com@eu.example")]}, Route()),
    ({"accounts": [row(None, "a\r\nb: c")]}, Route()),
    ({"accounts": [row("https://workspace.example")]}, Route()),
    ({"accounts": "all"}, Route()),
    ({"accounts": [row("https://x.example", name="b")]}, Route()),
    ({}, Route()),
    ([], Route()),
    (None, Route()),
]


@pytest.mark.parametrize(("answer", "route"), CASES)
def test_the_route_of_an_account(answer: Any, route: Route) -> None:
    assert read(answer, "a") == route


def test_a_route_changes_the_host_alone() -> None:
    usual = "https://chatgpt.com/backend-api/codex"
    assert Route("eu.chatgpt.com").url(usual) == "https://eu.chatgpt.com/backend-api/codex"
    assert Route().url(usual) == usual
    assert Route(override="us").headers == {"x-openai-account-routing-override": "us"}
    assert Route().headers == {}
