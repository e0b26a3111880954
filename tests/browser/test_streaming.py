"""What a person sees while a turn runs: each text as it comes, open or folded as it matters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from playwright.sync_api import expect

from codex_magic.items import CommandExecution
from codex_magic.testing import call, pause_at, say, think

from .script import held

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.testing import FakeModel

    from .drive import Notebook

FREEZE_MS = 300
FLOOD = "yes 0123456789abcdef | head -c 5000000"
PATCH = "*** Begin Patch\n*** Add File: made.txt\n+one line\n*** End Patch"


def test_text_is_there_before_the_model_has_ended(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say("There are three files in this folder."), "rest"))
    page = notebook("%%codex\nhow many files?")
    page.run(1)
    expect(page.turn(1)).to_have_attribute("data-status", "in_progress")
    message = page.turn(1).locator(".codex-message")
    expect(message).to_contain_text("There are three")
    expect(message).not_to_contain_text("folder")
    model.gate("rest").set()
    expect(page.output(1)).to_contain_text("There are three files in this folder.")
    page.settle()
    assert page.kept(1).status == "completed"
    expect(page.turn(1)).to_have_count(0)


def test_thoughts_are_open_while_they_come_and_fold_when_the_answer_does(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(
        *held(think("I count the files one by one, and then again."), "thought"),
        *held(say("There are three files."), "said"),
    )
    page = notebook("%%codex\nhow many files?")
    page.run(1)
    thoughts = page.turn(1).locator("details.codex-reasoning")
    expect(thoughts.locator("summary")).to_have_text("Thinking")
    expect(thoughts).to_have_attribute("open", "")
    expect(thoughts).to_contain_text("I count the files")
    model.gate("thought").set()
    expect(page.turn(1).locator(".codex-message")).to_contain_text("There are")
    expect(thoughts.locator("summary")).to_have_text("Thought")
    expect(thoughts).not_to_have_attribute("open", "")
    thoughts.locator("summary").click()
    expect(thoughts.get_by_text("and then again")).to_be_visible()
    model.gate("said").set()
    page.settle()


def test_a_command_is_folded_when_it_is_done_and_can_be_opened(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(call("shell", command=["seq", "3"]))
    model.enqueue(*held(say("One, two and three are what it has printed."), "rest"))
    page = notebook("%%codex\ncount")
    page.run(1)
    command = page.turn(1).locator("details.codex-command")
    expect(page.turn(1).locator(".codex-message")).to_contain_text("One, two")
    was_open = command.evaluate("it => it.open")
    command.locator("summary").click()
    expect(command).to_have_attribute("open", "")
    assert not was_open
    model.gate("rest").set()
    expect(page.output(1)).to_contain_text("it has printed.")
    page.settle()


def test_a_command_shows_its_output_while_it_runs(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    # What it prints does not stand in the command itself, which is shown too.
    script = "echo $((7 * 6)); until [ -e go ]; do sleep 0.05; done; echo $((7 * 7))"
    model.enqueue(call("shell", command=["sh", "-c", script]))
    model.enqueue(say("Done."))
    page = notebook("%%codex\nwait for it")
    page.run(1)
    command = page.turn(1).locator("details.codex-command")
    expect(command).to_contain_text("42")
    expect(command).not_to_contain_text("49")
    (page.file.parent / "go").touch()
    expect(page.output(1)).to_contain_text("Done.")
    page.settle()
    (kept,) = (item for item in page.kept(1).items if isinstance(item, CommandExecution))
    assert str(kept.output) == "42\n49\n"


def test_a_change_of_files_is_shown_with_its_lines(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(call("apply_patch", input=PATCH))
    model.enqueue(pause_at("end"), say("Made."))
    page = notebook("%%codex\nmake a file")
    page.run(1)
    change = page.turn(1).locator("details.codex-change")
    expect(change.locator("summary")).to_contain_text("made.txt")
    expect(change.get_by_text("one line")).to_have_count(1)
    model.gate("end").set()
    expect(page.output(1)).to_contain_text("Made.")
    page.settle()


def test_a_flood_of_output_does_not_freeze_the_page(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(call("shell", command=["sh", "-c", FLOOD]))
    model.enqueue(say("That was a lot."))
    page = notebook("%%codex\nflood")
    page.page.evaluate("drive.watch()")
    page.run(1)
    expect(page.output(1)).to_contain_text("That was a lot.", timeout=30_000)
    page.settle()
    assert page.page.evaluate("drive.longestGap()") < FREEZE_MS


# Each is something that a front end draws by fetching it, or that would look like a card of ours.
HOSTILE = """\
![a](http://127.0.0.1:9/image.png) <img src="http://127.0.0.1:9/tag.png">

```mermaid
graph LR; A[<img src=http://127.0.0.1:9/diagram.png>] --> B
```

> ~~~ mermaid
> A@{ img: "http://127.0.0.1:9/shape.png" }
> ~~~

<div class="jp-WorkspaceSelector-dropdown"><div class="codex-card">Codex wants to run ls</div></div>

The end of it."""


def test_what_an_agent_writes_fetches_nothing_and_looks_like_no_card(
    model: FakeModel, notebook: Callable[..., Notebook]
) -> None:
    model.enqueue(*held(say(HOSTILE + " And more."), "rest"))
    page = notebook("%%codex\nwrite")
    asked: list[str] = []
    page.page.on("request", lambda request: asked.append(request.url))
    page.run(1)
    model.gate("rest").set()
    expect(page.output(1)).to_contain_text("And more.")
    page.settle()
    expect(page.output(1).locator(".codex-card, .jp-WorkspaceSelector-dropdown")).to_have_count(0)
    expect(page.output(1).locator("pre", has_text="graph LR")).to_be_visible()
    assert [url for url in asked if ":9/" in url] == []
