"""What a model can call: our tools, and of Codex's own those that touch nothing here."""

from __future__ import annotations

from typing import Any

from codex_magic.backends.appserver import wire
from codex_magic.session import Session
from codex_magic.testing import call, js, offered_tools, say, tool_outputs

OFFERED = {
    "gpt-5.5": (
        (
            "apply_patch",
            "ask_user",
            "edit_cell",
            "propose_cells",
            "read_cells",
            "request_user_input",
            "shell",
        ),
        (),
    ),
    "gpt-6.1-sol": (
        ("exec", "request_user_input", "request_user_input_async", "wait"),
        (
            "apply_patch",
            "ask_user",
            "clock__curr_time",
            "edit_cell",
            "list_mcp_resource_templates",
            "list_mcp_resources",
            "propose_cells",
            "read_cells",
            "read_mcp_resource",
            "shell",
        ),
    ),
}


def offered(body: dict[str, Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    direct, nested = offered_tools(body)
    return tuple(sorted(direct)), tuple(sorted(nested))


def test_a_model_is_offered_exactly_these_tools(stage: Any, shape: str) -> None:
    model = stage.model(say("hello"), say("again"))
    kernel = stage.kernel(model, shape, tools=Session().tools())
    kernel.ask()
    kernel.ask()
    assert [offered(body) for body in model.requests] == [OFFERED[shape]] * 2


def test_a_person_can_have_the_host_search(stage: Any) -> None:
    model = stage.model(say("hello"))
    kernel = stage.kernel(model, overrides=wire.SEARCHING)
    assert kernel.ask().status == "completed"
    (search,) = [tool for tool in model.requests[0]["tools"] if tool["type"] == "web_search"]
    assert search["external_web_access"] is True


def test_the_persons_servers_and_hooks_offer_and_run_nothing(stage: Any, shape: str) -> None:
    mark = stage.room / "ran"
    touch = f'command = "/bin/sh"\nargs = ["-c", "touch {mark}"]\n'
    stage.file(
        "codex/config.toml",
        f'notify = ["/bin/sh", "-c", "touch {mark}"]\n'
        'web_search = "live"\n'
        "[features]\nhooks = true\nshell_tool = true\nunified_exec = true\ngoals = true\n"
        "[agents]\nenabled = true\n"
        f'[mcp_servers.mine]\n{touch}[mcp_servers."od.d name"]\n{touch}'
        f'[[hooks.SessionStart]]\nhooks = [{{type = "command", command = "touch {mark}"}}]\n'
        f'[[hooks.UserPromptSubmit]]\nhooks = [{{type = "command", command = "touch {mark}"}}]\n'
        f'[[hooks.Stop]]\nhooks = [{{type = "command", command = "touch {mark}"}}]\n',
    )
    model = stage.model(say("hello"))
    kernel = stage.kernel(model, shape, tools=Session().tools())
    assert kernel.ask().status == "completed"
    kernel.session.close()
    assert offered(model.requests[0]) == OFFERED[shape]
    assert not mark.exists()


def test_a_tool_that_was_not_offered_runs_nothing(stage: Any, shape: str) -> None:
    wanted = ("exec_command", "apply_patch", "nonesuch")
    calls = [call(tool, cmd=f"touch {stage.room}/ran", input="x") for tool in wanted]
    model = stage.model(*calls, say("then not"))
    turn = stage.kernel(model, shape).ask()
    assert turn.final_response == "then not"
    told = tool_outputs(model.requests[-1])
    refused = "unsupported call: {}" if shape == "gpt-5.5" else "tools.{} is not a function"
    assert [refused.format(tool) in text for tool, text in zip(wanted, told, strict=True)] == [
        True,
        True,
        True,
    ], told
    assert not (stage.room / "ran").exists()


def test_a_script_has_no_other_way_out(stage: Any) -> None:
    tries = (
        'text(await import("node:fs"))',
        'text(await fetch("http://127.0.0.1/"))',
        'require("fs")',
        "process.exit()",
    )
    model = stage.model(*(js(source) for source in tries), say("none"))
    stage.kernel(model, "gpt-6.1-sol").ask()
    told = tool_outputs(model.requests[-1])
    assert [text.startswith("Script error:") for text in told] == [True] * len(tries), told
