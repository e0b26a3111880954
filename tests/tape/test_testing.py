from __future__ import annotations

from collections.abc import Callable
from http.client import IncompleteRead
from typing import Any

import pytest

from codex_magic import testing as t

Connect = Callable[[str], Any]

ORDINARY = {
    "tools": [{"type": "function", "name": "shell"}, {"type": "web_search"}],
    "input": [
        {"type": "message", "role": "developer", "content": [{"text": "be brief"}]},
        {"type": "message", "role": "user", "content": "hi"},
        {"type": "function_call", "call_id": "1", "name": "shell"},
        {"type": "function_call_output", "call_id": "1", "output": "out"},
    ],
}
HEAD = "Script completed\nWall time 0.0 seconds\nOutput:\n"
CODE = {
    "input": [
        {
            "type": "additional_tools",
            "role": "developer",
            "tools": [
                {
                    "type": "namespace",
                    "name": "functions",
                    "tools": [
                        {"name": "exec", "description": "Run.\n\n### `shell`\nx\n### `f`\ny"},
                        {"name": "wait"},
                    ],
                },
                {"type": "namespace", "name": "clock", "tools": [{"name": "sleep"}]},
            ],
        },
        {"type": "custom_tool_call_output", "call_id": "1", "output": HEAD + "a"},
        {
            "type": "custom_tool_call_output",
            "call_id": "2",
            "output": [{"type": "input_text", "text": HEAD}, {"type": "input_text", "text": "b"}],
        },
    ]
}


def test_a_request_is_read_in_the_ordinary_shape() -> None:
    assert t.offered_tools(ORDINARY) == (("shell", "web_search"), ())
    assert t.tool_outputs(ORDINARY) == ["out"]
    assert t.user_texts(ORDINARY) == ["hi"]
    assert t.developer_texts(ORDINARY) == ["be brief"]


def test_a_request_is_read_in_code_mode() -> None:
    assert t.offered_tools(CODE) == (("exec", "wait", "clock.sleep"), ("shell", "f"))
    assert t.tool_outputs(CODE) == ["a", "b"]
    assert t.user_texts({}) == []


def test_the_script_is_played_in_order_and_then_is_over(client: Connect) -> None:
    with t.FakeModel(t.say("one"), [t.think("hm"), t.say("two", "commentary")]) as model:
        ask = client(model.base_url).ask
        for expected in ("one", "two"):
            status, events = ask(n=expected)
            assert status == 200
            assert events[-2]["item"]["content"][0]["text"] == expected
        status, body = ask()
        assert (status, body["error"]["message"]) == (500, "the script is over: this is request 3")
        assert [r.get("n") for r in model.requests] == ["one", "two", None]
        assert model.headers[0]["host"] in model.base_url


def test_a_response_can_be_a_status(client: Connect) -> None:
    with t.FakeModel(t.status(429, {"a": 1}, {"retry-after": "3"})) as model:
        response = client(model.base_url).send("POST", "/responses", b"{}")
        assert (response.status, response.headers["retry-after"]) == (429, "3")
        with pytest.raises(ValueError, match="stands alone"):
            model.enqueue(t.say("a"), t.status(500))


def test_a_response_can_break(client: Connect) -> None:
    with t.FakeModel([t.say("half"), t.cut()], [t.say("half"), t.failed("c", "m")]) as model:
        ask = client(model.base_url).ask
        with pytest.raises(IncompleteRead):
            ask()
        assert ask()[1][-1]["response"]["error"] == {"code": "c", "message": "m"}


def test_raw_events_and_scripts_go_out_as_they_are(client: Connect) -> None:
    with t.FakeModel([t.raw({"type": "x.y", "z": 1}), t.js("text(1)")]) as model:
        _, events = client(model.base_url).ask()
        assert events[2] == {"type": "x.y", "z": 1, "sequence_number": 2}
        assert events[-2]["item"]["input"] == "text(1)"


def test_a_script_can_grow_while_it_is_played(client: Connect) -> None:
    with t.FakeModel() as model:
        model.enqueue(t.call("shell", command=["ls"]))
        _, events = client(model.base_url).ask()
        assert events[-2]["item"]["arguments"] == '{"command": ["ls"]}'
