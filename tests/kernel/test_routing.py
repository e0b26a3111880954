"""Messages of a page while the cell runs, in kernels of several versions, without a browser.

The test is the front end: it sends what a page would send, over the kernel's own sockets.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic.items import FileChange
from codex_magic.turn import MIME, Turn, from_json
from codex_magic.widget.page import WIDGET

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

INSTALLED = "installed"
VERSIONS = (INSTALLED, "6.17.1", "6.29.5", "7.0.1", "7.3.0")
PATIENCE_S = 20.0


class Front:
    """A front end that has widgets, as far as one turn needs it."""

    def __init__(self, kernel: Any) -> None:
        self.kernel = kernel
        self.client = kernel.client
        self.seen: list[dict[str, Any]] = []
        self.widget = ""

    def run(self, code: str, **metadata: Any) -> str:
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}}
        content |= {"allow_stdin": True, "stop_on_error": True}
        message = self.client.session.msg("execute_request", content, metadata=metadata)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def send(self, comm_id: str | None = None, **content: Any) -> str:
        data = {"method": "custom", "content": content}
        body = {"comm_id": comm_id or self.widget, "data": data}
        message = self.client.session.msg("comm_msg", body)
        self.client.shell_channel.send(message)
        return str(message["header"]["msg_id"])

    def until(self, wanted: Callable[[dict[str, Any]], Any]) -> Any:
        """Read what the kernel publishes until something is wanted; return that."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            message = self.client.get_iopub_msg(timeout=PATIENCE_S)
            self.seen.append(message)
            if found := wanted(message):
                return found
        raise AssertionError("it did not come")

    def greet(self, **more: Any) -> None:
        """Wait for the widget and say hello."""
        self.widget = self.until(
            lambda message: (
                message["content"].get("data", {}).get(WIDGET, {}).get("model_id")
                if message["msg_type"] == "display_data"
                else None
            )
        )
        self.send(k="hello", markdown=True, **more)

    def errand(self) -> dict[str, Any]:
        """Wait until the page is to read or change cells; return what."""
        found: dict[str, Any] = self.until(
            lambda message: next((one[1] for one in operations(message) if one[0] == "cells"), None)
        )
        return found

    def card(self) -> dict[str, Any]:
        found: dict[str, Any] = self.until(lambda message: card_of(operations(message)))
        return found

    def turn(self) -> Turn:
        data = self.until(
            lambda message: (
                message["content"].get("data", {}).get(MIME)
                if message["msg_type"] == "update_display_data"
                else None
            )
        )
        return from_json(data)

    def idle(self, message_id: str) -> None:
        self.until(lambda message: is_idle(message, message_id))

    def reply(self, message_id: str) -> dict[str, Any]:
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE_S)
            if reply["parent_header"].get("msg_id") == message_id:
                return dict(reply["content"])

    def end(self, message_id: str) -> dict[str, Any]:
        """Wait until a cell has ended, its reply included, and return that.

        ipykernel 7.0 to 7.3 may never read a request that comes in while it sends a reply; 7.4 does.
        """
        reply = self.reply(message_id)
        self.idle(message_id)
        return reply


def is_idle(message: dict[str, Any], message_id: str) -> bool:
    said = message["content"].get("execution_state") == "idle"
    return said and message["parent_header"].get("msg_id") == message_id


def operations(message: dict[str, Any]) -> list[Any]:
    if message["msg_type"] != "comm_msg":
        return []
    content = message["content"]["data"].get("content") or {}
    return list(content.get("all") or content.get("ops") or ())


def card_of(found: list[Any]) -> dict[str, Any] | None:
    return next((own["card"] for name, own, *_ in found if name == "page" and own["card"]), None)


@pytest.fixture(params=VERSIONS)
def kernel(
    request: Any, tmp_path: Path, ipykernels: Callable[[str], str], start: Callable[..., Any]
) -> Iterator[Any]:
    path = "" if request.param == INSTALLED else ipykernels(request.param)
    running = start(tmp_path, path)
    yield running
    running.close()


@pytest.fixture
def front(kernel: Any, lesson: Callable[..., str]) -> Front:
    asked = {"prompt": "go", "chunks": [[0, "shell", {"command": ["touch", "x"], "network": True}]]}
    done = {"prompt": "go", "chunks": [[0, "answer", "All done."]]}
    cells = [{"type": "code", "source": "n = 1"}, {"type": "markdown", "source": "# N"}]
    proposes = [0, "call", {"tool": "propose_cells", "arguments": {"cells": cells}}]
    asked_cells = {"prompt": "cells", "chunks": [proposes]}
    done_cells = {"prompt": "cells", "chunks": [[0, "answer", "Two cells."]]}
    long = {"prompt": "long", "chunks": [[0, "answer", "word "], [30, "answer", "late"]]}
    kernel.run(lesson(asked, done, long, asked_cells, done_cells))
    return Front(kernel)


def receiver(kernel: Any) -> str:
    """What the kernel's stream hands messages to."""
    return str(kernel.run("print(get_ipython().kernel.shell_stream._recv_callback)").printed)


def test_a_click_is_heard_while_the_cell_runs_and_only_on_its_own_card(front: Front) -> None:
    before = receiver(front.kernel)
    cell = front.run("%%codex\ngo")
    front.greet()
    card = front.card()
    answers = {"k": "decide", "key": card["key"], "decision": "accept"}
    front.send("0" * 32, **answers)  # forged: another comm
    front.send(**answers | {"key": "0" * 32})  # forged: another card
    front.send(**answers | {"decision": "decline", "reason": "no"})
    front.send(**answers)  # too late
    turn = front.turn()
    assert [item.status for item in turn.items[1:]] == ["declined", "completed"]
    assert not (front.kernel.cwd / "x").exists()
    assert front.end(cell)["status"] == "ok"
    assert receiver(front.kernel) == before


def test_a_page_is_told_that_it_was_heard_and_that_the_kernel_is_busy(front: Front) -> None:
    front.run("%%codex\nlong")
    front.greet()
    front.until(lambda message: "word" in str(operations(message)))
    front.idle(front.send(k="hello", markdown=True))
    state = front.until(lambda message: message["content"].get("execution_state"))
    assert state == "busy"
    front.send(k="stop")
    assert front.turn().status == "interrupted"


def test_a_stop_keeps_what_there_is_and_lets_the_next_cell_run(front: Front) -> None:
    cell = front.run("%%codex\nlong")
    behind = front.run("after = 'ran'")
    front.greet()
    front.until(lambda message: "word" in str(operations(message)))
    began = time.monotonic()
    front.send(k="stop")
    turn = front.turn()
    assert time.monotonic() - began < 1  # the benchmark has the figure
    assert (turn.status, turn.final_response.strip()) == ("interrupted", "word")
    assert [front.reply(cell)["status"], front.reply(behind)["status"]] == ["ok", "ok"]


def test_cells_that_are_dropped_do_not_run_and_the_others_do_in_order(front: Front) -> None:
    cells = [
        front.run("%%codex\nlong", cellId="one"),
        front.run("order = [1]", cellId="plain"),
        front.run("%%codex\ngo", cellId="two"),
        front.run("order.append(2)", cellId="plain too"),
    ]
    front.greet()
    front.until(lambda message: "word" in str(operations(message)))
    front.send(k="stop", drop=["two"])
    front.until(lambda message: "Dropped" in message["content"].get("text", ""))
    assert [front.reply(message)["status"] for message in cells] == ["ok"] * 4
    assert front.kernel.run("print(order)").printed == "[1, 2]\n"


def test_a_dropped_cell_runs_when_it_is_run_again(front: Front) -> None:
    first, waiting = (front.run(f"%%codex\n{text}", cellId=text) for text in ("long", "go"))
    front.greet()
    front.until(lambda message: "word" in str(operations(message)))
    front.send(k="stop", drop=["go"])
    assert [front.reply(message)["status"] for message in (first, waiting)] == ["ok", "ok"]
    front.idle(waiting)
    front.run("%%codex\ngo", cellId="go")
    front.greet()
    front.send(k="decide", key=front.card()["key"], decision="accept")
    assert front.turn().final_response == "All done."


def test_messages_of_others_wait_for_the_cell_and_keep_their_order(front: Front) -> None:
    code = (
        "from ipywidgets.comm import create_comm\n"
        "heard = []\n"
        "other = create_comm(target_name='other')\n"
        "other.on_msg(lambda message: heard.append(message['content']['data']['content']['n']))\n"
        "print(other.comm_id)"
    )
    other = front.kernel.run(code).printed.strip().splitlines()[-1]
    cell = front.run("%%codex\nlong")
    front.greet()
    for n in range(5):
        front.send(other, n=n)
    front.until(lambda message: "word" in str(operations(message)))
    front.send(k="stop")
    front.turn()
    front.end(cell)
    assert front.kernel.run("print(heard)").printed.strip() == "[0, 1, 2, 3, 4]"


def test_a_turn_goes_on_where_nobody_answers_as_a_page(front: Front) -> None:
    front.run("%%codex\nlong")
    shown = front.until(
        lambda message: (
            message["msg_type"] == "update_display_data"
            and message["content"]["data"].get("text/markdown")
        )
    )
    assert shown.startswith("word")
    front.kernel.manager.interrupt_kernel()
    assert front.turn().status == "interrupted"


def test_a_page_that_comes_when_the_turn_is_over_gets_what_is_kept(front: Front) -> None:
    cell = front.run("%%codex\ngo")
    front.greet()
    front.send(k="decide", key=front.card()["key"], decision="accept")
    front.turn()
    front.end(cell)
    front.send(k="hello", markdown=True)
    kept = front.until(
        lambda message: (
            message["msg_type"] == "comm_msg"
            and (message["content"]["data"].get("content") or {}).get("kept")
        )
    )
    assert from_json(kept[MIME]).final_response == "All done."


def test_unloading_leaves_the_kernel_as_it_was(front: Front) -> None:
    before = receiver(front.kernel)
    cell = front.run("%%codex\ngo")
    front.greet()
    front.send(k="decide", key=front.card()["key"], decision="accept")
    front.turn()
    front.end(cell)
    front.kernel.run("%unload_ext codex_magic")
    front.kernel.run("import ipywidgets; left = list(ipywidgets.widgets.widget._instances)")
    assert front.kernel.run("print(left)").printed.strip() == "[]"
    assert receiver(front.kernel) == before


def test_cells_are_put_by_the_page_while_the_cell_runs(front: Front) -> None:
    cell = front.run("%%codex\ncells", cellId="here")
    front.greet(page="p1", cells=True)
    errand = front.errand()
    assert (errand["do"], errand["to"], errand["after"]) == ("insert", "p1", ["here"])
    assert [new["type"] for new in errand["cells"]] == ["code", "markdown"]
    front.send(k="cells", key="0" * 32)  # forged
    front.send(k="cells", key=errand["key"])
    turn = front.turn()
    assert [item.status for item in turn.items[1:]] == ["completed", "completed"]
    assert errand["metadata"] == {"codex": {"thread_id": turn.thread_id, "turn_id": turn.id}}
    reply = front.end(cell)
    assert (reply["status"], reply["payload"]) == ("ok", [])


@pytest.mark.parametrize("how", ["stop", "interrupt"])
def test_a_turn_that_waits_for_the_page_ends_at_once(front: Front, how: str) -> None:
    cell = front.run("%%codex\ncells", cellId="here")
    front.greet(page="p1", cells=True)
    errand = front.errand()
    began = time.monotonic()
    if how == "stop":
        front.send(k="stop")
    else:
        front.kernel.manager.interrupt_kernel()
    turn = front.turn()
    assert time.monotonic() - began < 1  # a quarter of that on a machine of one's own
    front.send(k="cells", key=errand["key"])  # too late
    (change,) = (item for item in turn.items if isinstance(item, FileChange))
    assert (turn.status, change.status) == ("interrupted", "interrupted")
    assert [one.diff.split("\n")[1] for one in change.changes] == ["+n = 1", "+# N"]
    front.end(cell)
    front.kernel.run("")  # ipykernel 6.17 also aborts the first cell that comes behind an error
    assert front.kernel.run("print('next')").printed == "next\n"


def test_where_no_page_reaches_cells_they_come_as_the_next_input(front: Front) -> None:
    cell = front.run("%%codex\ncells", cellId="here")
    front.greet()  # as a front end does that does not show its notebook to widgets
    assert front.turn().status == "completed"
    [payload] = front.end(cell)["payload"]
    assert (payload["source"], payload["replace"]) == ("set_next_input", False)
    assert payload["text"] == "# %%\nn = 1\n\n# %% [markdown]\n# # N"
