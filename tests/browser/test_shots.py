"""Pictures of each stage of a turn in both themes, for looking at: ``tests/browser/shots``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from codex_magic.testing import call, say, status, think

from .script import held

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_magic.testing import FakeModel

    from .drive import Notebook, Theme

PROMPT = "%%codex\nWhich species are in `penguins.csv`, and how many of each?"
RUNS = "echo counting; until [ -e go ]; do sleep 0.05; done; echo '152 Adelie'"
ANSWER = """\
There are **344** penguins of three species:

| species | penguins |
|---|---:|
| Adelie | 152 |
| Gentoo | 124 |
| Chinstrap | 68 |

```python
penguins.groupby("species").size()
```
"""
THOUGHT = "**Counting rows**\n\nThe file has a header line, so there is one row less than lines."


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_each_stage_of_a_turn(
    model: FakeModel, notebook: Callable[..., Notebook], theme: Theme
) -> None:
    model.enqueue(
        *held(think(THOUGHT), "thought"),
        say("I count the lines of the file.", "commentary"),
        call("shell", command=["sh", "-c", RUNS]),
    )
    asked = {"network": True, "justification": "To compare with the published counts."}
    model.enqueue(call("shell", command=["curl", "-s", "https://example.org/penguins"], **asked))
    model.enqueue(say(ANSWER, "final_answer"))
    model.enqueue(status(400, {"error": {"message": "the model is not there", "type": "invalid"}}))
    model.enqueue(*held(say("I begin with the first of the islands, and then"), "never"))
    page = notebook(PROMPT, "%%codex\nAnd on the moon?", "%%codex\nTell me of each island.")
    page.theme(theme)
    page.run(1)
    expect(page.output(1)).to_contain_text("The file has a")
    page.shot(f"turn-1-thinking-{theme}")
    model.gate("thought").set()
    expect(page.output(1)).to_contain_text("counting")
    page.shot(f"turn-2-command-{theme}")
    (page.file.parent / "go").touch()
    expect(page.button(1, "Allow once")).to_be_enabled()
    page.shot(f"turn-3-approval-{theme}")
    page.button(1, "Decline").click()
    expect(page.output(1)).to_contain_text("There are 344")
    page.settle()
    page.shot(f"turn-4-done-{theme}")
    page.run(2)
    expect(page.output(2)).to_contain_text("the model is not there")
    page.settle()
    page.shot(f"turn-5-failed-{theme}")
    page.run(3)
    expect(page.output(3)).to_contain_text("I begin with")
    page.shot(f"turn-6-steering-{theme}")
    page.button(3, "Stop").click()
    page.settle()
    page.shot(f"turn-7-interrupted-{theme}")
