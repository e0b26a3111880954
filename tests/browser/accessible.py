"""What axe finds in a part of a page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

COUNTS = ("serious", "critical")


def violations(page: Page, selector: str) -> list[str]:
    """Return the serious and the critical violations inside of what `selector` names."""
    found = Axe().run(page, context=selector).response["violations"]
    return [_told(one) for one in found if one["impact"] in COUNTS]


def _told(violation: dict[str, Any]) -> str:
    where = [f"{node['target']}: {node['failureSummary']}" for node in violation["nodes"]]
    return "\n".join([f"{violation['id']} ({violation['impact']})", *where])
