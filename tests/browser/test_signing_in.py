"""A person signs in from a cell in JupyterLab, at an issuer on this machine, with the real Codex."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect

from codex_magic.issuer import DEVICE_TOKEN, Given
from codex_magic.testing import FakeIssuer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .drive import Notebook, Theme

LOGIN = "%codex login"
WHO = "print(get_ipython().magics_manager.registry['CodexMagics'].session().backend.account())"
CODE = re.compile(r"FAKE-[0-9A-F]{6}")
HOUR = int(time.time()) + 3700
LIMITS = {
    "plan_type": "plus",
    "rate_limit": {
        "allowed": True,
        "limit_reached": False,
        **{
            name: {
                "used_percent": used,
                "limit_window_seconds": length,
                "reset_after_seconds": 3700,
                "reset_at": HOUR,
            }
            for name, used, length in (
                ("primary_window", 42, 18_000),
                ("secondary_window", 9, 604_800),
            )
        },
    },
    "credits": {"has_credits": True, "unlimited": False, "balance": "12.5"},
}
IN = "Signed in as ada@example.com (plus)."


@pytest.fixture
def issuer() -> Iterator[FakeIssuer]:
    with FakeIssuer() as made:
        yield made


@pytest.fixture
def signing(notebook: Callable[..., Notebook], issuer: FakeIssuer) -> Callable[..., Notebook]:
    """Open a notebook whose Codex signs in at `issuer`; its cell 0 has been run."""

    def open_(*cells: str) -> Notebook:
        first = f"import scripted\nscripted.signs_in_at({issuer.environ!r}, {issuer.chatgpt_base_url!r})"
        page = notebook(*cells, set_up=False)
        page.change(0, first)
        page.run(0)
        page.settle()
        assert page.outputs(0) == []
        return page

    return open_


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_link_and_the_code_are_there_until_the_person_is(
    issuer: FakeIssuer, signing: Callable[..., Notebook], theme: Theme
) -> None:
    issuer.script("/backend-api/wham/usage", Given(200, LIMITS))
    page = signing(LOGIN, "%codex models", "%codex status", "%codex usage")
    page.theme(theme)
    page.run(1)
    output = page.output(1)
    expect(output).to_contain_text(CODE)
    link = output.get_by_role("link")
    expect(link).to_have_attribute("href", f"{issuer.url}/codex/device")
    expect(output.locator("strong")).to_have_text(CODE)
    page.shot(f"sign-in-1-waiting-{theme}")
    issuer.approve()
    expect(output).to_contain_text(IN)
    page.settle()
    # The code is good for nothing any more, and is not kept.
    assert (page.errors(1), [CODE.search(str(page.outputs(1)))]) == ([], [None])
    page.run(2, 3, 4)
    page.settle()
    expect(page.output(2).locator("th")).to_contain_text(["model", "efforts", "reads"])
    assert "account:  ChatGPT, ada@example.com\nplan:     plus\n" in page.printed(3)
    expect(page.output(4).locator("td")).to_contain_text(["5 h", "42 %", "week", "9 %"])
    page.shot(f"sign-in-2-done-{theme}")


def test_an_interrupt_gives_it_up(issuer: FakeIssuer, signing: Callable[..., Notebook]) -> None:
    page = signing(LOGIN, WHO, LOGIN)
    page.run(1)
    expect(page.output(1)).to_contain_text(CODE)
    page.interrupt()
    page.settle()
    expect(page.output(1)).to_contain_text("The sign-in was cancelled.")
    assert page.errors(1) == ["SignInCancelled"]
    assert CODE.search(str(page.outputs(1))) is None
    issuer.approve()
    page.run(2)
    page.settle()
    assert "kind=''" in page.printed(2)
    page.run(3)
    expect(page.output(3)).to_contain_text(IN)
    page.settle()
    codes = [asked.body["user_code"] for asked in issuer.requests if asked.path == DEVICE_TOKEN]
    assert len(set(codes)) <= 2


def test_a_key_is_typed_unseen(signing: Callable[..., Notebook]) -> None:
    page = signing("%codex login --api-key", "%codex status")
    page.run(1)
    field = page.output(1).locator("input[type=password]")
    field.fill("sk-test-TYPED-0123456789")
    page.shot("sign-in-3-key")
    field.press("Enter")
    expect(page.output(1)).to_contain_text("Signed in with an API key")
    page.run(2)
    page.settle()
    assert "account:  an API key\nsource:   Codex's own sign-in\n" in page.printed(2)
    assert "TYPED" not in str(page.save())
