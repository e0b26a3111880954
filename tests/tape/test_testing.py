from __future__ import annotations

import json
import time
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


def test_an_event_may_be_wrong_on_purpose(client: Connect) -> None:
    item = {"type": "shell_call", "id": "sh_1", "action": {"commands": ["ls"]}}
    done = {"type": "response.output_item.done", "output_index": 0, "item": item}
    with t.FakeModel([t.raw(done), t.raw({**done, "sequence_number": 0})]) as model:
        _, events = client(model.base_url).ask()
    assert events[2:4] == [{**done, "sequence_number": 2}, {**done, "sequence_number": 0}]
    assert events[-1]["response"]["output"] == [item, item]


def test_calls_of_one_response_are_items_of_their_own(client: Connect) -> None:
    with t.FakeModel([t.call("f", a=1), t.call("f", a=1), t.shell_call("ls")]) as model:
        _, events = client(model.base_url).ask()
    done = [e for e in events if e["type"] == "response.output_item.done"]
    assert [e["output_index"] for e in done] == [0, 1, 2]
    assert len({e["item"]["id"] for e in done}) == len({e["item"]["call_id"] for e in done}) == 3


def test_the_outputs_of_every_shell_are_read() -> None:
    ended = {"type": "exit", "exit_code": 0}
    ran = [
        {"stdout": "a\n", "stderr": "b\n", "outcome": ended},
        {"stdout": "c\n", "stderr": "", "outcome": {"type": "timeout"}},
    ]
    history = [
        {"type": "function_call_output", "call_id": "1", "output": "out"},
        {"type": "shell_call_output", "call_id": "2", "output": ran},
        {"type": "local_shell_call_output", "call_id": "3", "output": "text"},
    ]
    assert t.tool_outputs({"input": history}) == ["out", "a\nb\nc\n", "text"]


def test_who_asks_for_no_stream_gets_the_response_alone(client: Connect) -> None:
    script = [t.say("one"), t.pause_at("g"), t.say("two"), t.headers({"x-a": "b"})]
    with t.FakeModel(script, [t.say("half"), t.stream_error("c", "m")], t.cut()) as model:
        model.gate("g").set()
        connection = client(model.base_url)
        whole = connection.send("POST", "/responses", b"{}")
        said = json.loads(whole.read())
        assert (whole.headers["x-a"], said["status"]) == ("b", "completed")
        assert [item["content"][0]["text"] for item in said["output"]] == ["one", "two"]
        status, body = connection.ask(stream=False)
        assert (status, body["error"]["message"]) == (500, "m")
        with pytest.raises(ConnectionError):
            connection.ask(stream=False)


def test_it_is_known_when_the_first_delta_left(client: Connect) -> None:
    script = ([t.think(), t.pause_at("g"), t.say("a b")], t.done_without_output(), t.say("c"))
    with t.FakeModel(*script) as model:
        ask = client(model.base_url).ask
        before = time.perf_counter()
        model.gate("g").set()
        for _ in script:
            ask()
        assert list(model.sent_at) == [0, 2]
        assert before < model.sent_at[0] < model.sent_at[2] < time.perf_counter()


ROWS = [{"slug": "gpt-5.5", "context_window": 272_000}]
LIST = {
    "object": "list",
    "data": [{"id": "gpt-5.5", "object": "model", "created": 0, "owned_by": "openai"}],
}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/backend-api/codex/models?client_version=1", {"models": ROWS}),
        ("/backend-api/codex/models", {"models": ROWS}),
        ("/v1/models?client_version=1", {"models": ROWS}),
        ("/v1/models", LIST),
        ("/backend-api/wham/usage", {"plan_type": "plus"}),
        ("/backend-api/wham/accounts/check", {"accounts": []}),
    ],
)
def test_a_host_knows_more_than_models_say(client: Connect, path: str, expected: Any) -> None:
    knows = {"usage_report": {"plan_type": "plus"}, "accounts_check": {"accounts": []}}
    with t.FakeModel(models=ROWS, **knows) as model:
        response = client(model.base_url.removesuffix("/v1")).send("GET", path)
        assert (response.status, json.loads(response.read())) == (200, expected)
        assert [f"{r.path}?{r.query}".rstrip("?") for r in model.looked_up] == [path]
    with t.FakeModel() as model:
        response = client(model.base_url.removesuffix("/v1")).send("GET", path)
        assert response.status == (200 if "models" in path else 404)


@pytest.mark.parametrize("good", ["good", lambda token: token == "good"])
def test_a_token_is_asked_for(client: Connect, good: Any) -> None:
    with t.FakeModel(t.say("ok"), require_token=good, models=ROWS) as model:
        plain = client(model.base_url.removesuffix("/v1"))
        for path in ("/v1/responses", "/backend-api/codex/responses"):
            assert plain.send("POST", path, b"{}", Authorization="Bearer old").status == 401
        refused = plain.send("GET", "/backend-api/codex/models")
        assert (refused.status, json.loads(refused.read())) == (401, {"detail": "Unauthorized"})
        assert len(model.refused) == 3
        assert model.refused[0].body["error"]["code"] == "invalid_api_key"
        fine = plain.send("POST", "/v1/responses", b"{}", Authorization="Bearer good")
        assert (fine.status, len(model.requests)) == (200, 3)
        model.host.require_token = "newer"
        assert plain.send("GET", "/v1/models", None, Authorization="Bearer good").status == 401


def test_a_strict_host_judges_before_it_answers(client: Connect) -> None:
    with t.FakeModel(t.say("ok"), strict="chatgpt") as model:
        at = client(model.chatgpt_url)
        named = {"Authorization": "Bearer t", "ChatGPT_Account_ID": "a"}
        asked = {"model": "m", "instructions": "i", "input": [], "stream": True}
        refused = at.send("POST", "/responses", json.dumps(asked).encode(), **named)
        detail = {"detail": "Store must be set to false"}
        assert (refused.status, json.loads(refused.read())) == (400, detail)
        asked["store"] = False
        fine = at.send("POST", "/responses", json.dumps(asked).encode(), **named)
        assert b"response.completed" in fine.read()
        assert (len(model.requests), [r.body for r in model.refused]) == (2, [detail])


def test_a_script_can_grow_while_it_is_played(client: Connect) -> None:
    with t.FakeModel() as model:
        model.enqueue(t.call("shell", command=["ls"]))
        _, events = client(model.base_url).ask()
        assert events[-2]["item"]["arguments"] == '{"command": ["ls"]}'
