"""Whatever a folder asks Codex to start, and whatever a person has set: nothing runs or changes."""

from __future__ import annotations

from typing import Any

import pytest

from codex_magic.backends.appserver import wire
from codex_magic.policy import SANDBOX_MODES
from codex_magic.testing import call, say

MODES = pytest.mark.parametrize("mode", SANDBOX_MODES)


def plant(stage: Any, folder: str) -> Any:
    """Have a folder's own configuration name a program; return the file it would leave."""
    mark = stage.room / "started"
    words = f'command = "/bin/sh"\nargs = ["-c", "touch {mark}"]\n'
    stage.file(f"{folder}/.codex/config.toml", f"[mcp_servers.planted]\n{words}")
    return mark


def test_a_trusted_folder_would_start_its_server(stage: Any, until: Any) -> None:
    """The control: what the other tests look for does happen with nothing in its way."""
    mark = plant(stage, "workspace")
    stage.file("codex/config.toml", f'[projects."{stage.folder}"]\ntrust_level = "trusted"\n')
    model = stage.model(say("hello"))
    client = stage.client("codex_cli", *wire.tape_provider(model.base_url))
    client.turn(client.start(), "hi")
    until(mark.exists, "the control did not start the server")


@MODES
@pytest.mark.parametrize("config", ['model_reasoning_effort = "low"\n', None])
def test_a_folders_server_is_not_started(stage: Any, mode: str, config: str | None) -> None:
    mark = plant(stage, "workspace")
    path = stage.home / "config.toml"
    if config is not None:
        path.write_text(config)
    kernel = stage.kernel(stage.model(call("shell", command=["true"]), say("done")))
    assert kernel.ask(mode=mode).status == "completed"
    kernel.session.close()
    assert not mark.exists()
    assert (path.read_text() if path.exists() else None) == config


def test_a_trusted_folder_stays_as_it_is_and_starts_nothing(stage: Any, shape: str) -> None:
    mark = plant(stage, "workspace")
    trust = f'[projects."{stage.folder}"]\ntrust_level = "trusted"\n'
    path = stage.file("codex/config.toml", trust)
    kernel = stage.kernel(stage.model(say("done")), shape)
    assert kernel.ask(mode="full-access").status == "completed"
    kernel.session.close()
    assert not mark.exists()
    assert path.read_text() == trust


def test_a_trusted_repository_starts_nothing_for_its_subfolder(stage: Any, shape: str) -> None:
    mark = plant(stage, "repository")
    stage.place("repository/.git")
    stage.file("repository/.git/HEAD", "ref: refs/heads/main\n")
    trust = f'[projects."{stage.room}/repository"]\ntrust_level = "trusted"\n'
    path = stage.file("codex/config.toml", trust)
    kernel = stage.kernel(stage.model(say("done"), say("done")), shape)
    kernel.folder = stage.place("repository/analysis")
    assert kernel.ask().status == "completed"
    # Nor on a later turn that works in another of its folders.
    kernel.folder = stage.place("repository/other")
    assert kernel.ask(new=True).status == "completed"
    kernel.session.close()
    assert not mark.exists()
    assert path.read_text() == trust


def test_a_server_that_appears_while_the_kernel_lives_is_not_started(stage: Any) -> None:
    mark = stage.room / "started"
    kernel = stage.kernel(stage.model(say("one"), say("two")))
    kernel.ask()
    words = f'command = "/bin/sh"\nargs = ["-c", "touch {mark}"]\n'
    config = f"[mcp_servers.later]\n{words}"
    path = stage.file("codex/config.toml", config)
    assert kernel.ask(new=True).status == "completed"
    kernel.session.close()
    assert not mark.exists()
    assert path.read_text() == config


def test_a_taken_up_thread_starts_no_server_either(stage: Any, shape: str) -> None:
    mark = plant(stage, "workspace")
    first = stage.kernel(stage.model(say("one")), shape)
    thread_id = first.ask().thread_id
    first.session.close()
    second = stage.kernel(stage.model(say("two")), shape)
    assert second.ask(resume=thread_id, mode="full-access").final_response == "two"
    second.session.close()
    assert not mark.exists()
    assert not (stage.home / "config.toml").exists()


def test_a_trusted_repository_says_nothing_to_the_model_from_a_subfolder(
    stage: Any, shape: str
) -> None:
    stage.file("workspace/.git/HEAD", "ref: refs/heads/main\n")
    stage.file("workspace/.codex/config.toml", 'developer_instructions = "PLANTED"\n')
    stage.file("codex/config.toml", f'[projects."{stage.folder}"]\ntrust_level = "trusted"\n')
    folder = stage.folder / "analysis"
    folder.mkdir()
    model = stage.model(say("hello"))
    stage.kernel(model, shape).ask(folder=folder)
    assert "PLANTED" not in str(model.requests)
