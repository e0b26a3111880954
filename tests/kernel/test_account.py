"""Accounts in a real kernel where nobody sits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("how", ["", "--browser", "--api-key"])
def test_without_a_person_a_sign_in_does_not_wait(
    kernel: Any, processes: Callable[[str], list[str]], how: str
) -> None:
    kernel.run("%load_ext codex_magic")
    cell = kernel.run(f"%codex login {how}")
    assert (cell.reply["status"], cell.reply["ename"]) == ("error", "SetupError")
    assert "nobody is here" in cell.reply["evalue"]
    assert [line for line in processes(str(kernel.cwd)) if "app-server" in line] == []
