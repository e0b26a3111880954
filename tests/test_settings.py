from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_magic import cell, magics
from codex_magic.errors import CellError
from codex_magic.policy import Allowance
from codex_magic.settings import SECRET, Settings, allowance, allowed, changed, from_environment

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

KEY = "sk-not-to-be-seen-0123456789"

ENVIRONMENTS: list[tuple[dict[str, str], Settings]] = [
    ({}, Settings()),
    ({"CODEX_MAGIC_MODEL": "m"}, Settings(model="m")),
    ({"CODEX_MAGIC_MODEL": ""}, Settings()),
    ({"CODEX_MAGIC_SANDBOX": ""}, Settings()),
    ({"CODEX_MAGIC_SANDBOX": "danger-full-access"}, Settings(sandbox="full-access")),
    ({"CODEX_MAGIC_APPROVAL": "never"}, Settings(approval="never")),
    ({"CODEX_MAGIC_TIMEOUT_S": "1e3"}, Settings(timeout_s=1000.0)),
    ({"CODEX_MAGIC_AGENTS_MD": "No"}, Settings(agents_md=False)),
    ({"CODEX_MAGIC_TAPE": "first-turn"}, Settings(tape="first-turn")),
    ({"CODEX_API_KEY": KEY}, Settings(api_key=KEY)),
    ({"CODEX_API_KEY": "other", "CODEX_MAGIC_API_KEY": KEY}, Settings(api_key=KEY)),
    ({"OPENAI_API_KEY": KEY}, Settings()),
    ({"CODEX_MAGIC_COLOUR": "red"}, Settings()),
]


@pytest.mark.parametrize(("environ", "expected"), ENVIRONMENTS)
def test_the_environment_changes_the_defaults(environ: dict[str, str], expected: Settings) -> None:
    assert from_environment(environ) == expected


WRONG = {
    "CODEX_MAGIC_SANDBOX": (
        "x",
        "is 'x': it must be one of read-only, workspace-write, full-access, external",
    ),
    "CODEX_MAGIC_APPROVAL": ("x", "is 'x': it must be one of untrusted, on-request, never"),
    "CODEX_MAGIC_TIMEOUT_S": ("-1", "is '-1': it must be a number of seconds above 0"),
    "CODEX_MAGIC_AGENTS_MD": ("maybe", "is 'maybe': it must be 1 or 0"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_names_its_variable_and_the_choices(name: str) -> None:
    value, said = WRONG[name]
    with pytest.raises(CellError) as error:
        from_environment({name: value})
    assert str(error.value) == f"{name} {said}"


def test_what_is_allowed_beforehand_comes_from_the_environment_alone(
    tmp_path: Path, shell: InteractiveShell
) -> None:
    assert allowed({}) == Allowance()
    said = {"CODEX_MAGIC_ALLOW": f"network:{tmp_path}"}
    assert allowed(said) == Allowance(kinds=frozenset({"network"}), folders=(tmp_path,))
    # No field, so there is no trait either that a notebook could set.
    assert "allow" not in {field.name for field in fields(Settings)}
    assert not magics.CodexMagics(shell=shell).has_trait("allow")


def test_an_unknown_kind_names_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(CellError) as error:
        allowed({"CODEX_MAGIC_ALLOW": "everything"})
    known = "'everything' is none of network, rules, unsandboxed, and no folder"
    assert str(error.value).startswith(f"CODEX_MAGIC_ALLOW: {known}: there is no folder ")
    (tmp_path / "network").mkdir()
    found = allowance(["./network", "rules"], tmp_path)
    assert found == Allowance(kinds=frozenset({"rules"}), folders=(tmp_path / "network",))


def test_a_wrong_trait_names_itself() -> None:
    with pytest.raises(
        CellError, match=r"CodexMagics\.sandbox is 'x': it must be one of read-only"
    ):
        changed(Settings(), {"sandbox": "x"}, origin="CodexMagics.")


PRECEDENCE: list[tuple[str | None, str | None, str, str]] = [
    (None, None, "", "workspace-write"),
    ("read-only", None, "", "read-only"),
    ("read-only", "external", "", "external"),
    ("read-only", "external", "-s full-access", "full-access"),
    (None, "external", "", "external"),
    (None, None, "-s read-only", "read-only"),
]


@pytest.mark.parametrize("case", PRECEDENCE)
def test_default_then_environment_then_traits_then_line(
    case: tuple[str | None, str | None, str, str],
    shell: InteractiveShell,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variable, trait, line, expected = case
    monkeypatch.delenv("CODEX_MAGIC_SANDBOX", raising=False)
    if variable:
        monkeypatch.setenv("CODEX_MAGIC_SANDBOX", variable)
    shell.run_line_magic("load_ext", "codex_magic")
    if trait:
        shell.run_line_magic("config", f"CodexMagics.sandbox = {trait!r}")
    loaded = shell.magics_manager.registry["CodexMagics"]
    assert isinstance(loaded, magics.CodexMagics)
    request = cell.parse(line, "go", settings=loaded.session().settings, cwd=Path.cwd())
    assert request.policy.mode == expected


def test_every_trait_is_a_setting() -> None:
    traits = set(magics.CodexMagics.class_own_traits(config=True))
    assert traits == {field.name for field in fields(Settings)} - {"tape", *SECRET}


def test_a_key_is_not_shown() -> None:
    settings: Any = Settings(model="m", **dict.fromkeys(SECRET, KEY))
    assert KEY not in f"{settings} {settings!r}"
    assert repr(settings).startswith("Settings(backend='auto', model='m', effort=None, ")
    assert not any(name in repr(settings) for name in SECRET)


def test_nothing_secret_is_shown_of_an_address_or_a_command() -> None:
    environ = {
        "CODEX_MAGIC_BASE_URL": "https://ada:hidden@models.test:8443/v1?key=hidden",
        "CODEX_MAGIC_TOKEN_URL": "https://tokens.test/hidden?key=hidden#hidden",
        "CODEX_MAGIC_TOKEN_COMMAND": "gen-token --key hidden",
    }
    shown = repr(from_environment(environ))
    assert "hidden" not in shown
    for part in ("'https://models.test:8443'", "'https://tokens.test'", "'gen-token'"):
        assert part in shown


def test_an_address_that_is_none_is_not_repeated() -> None:
    with pytest.raises(CellError) as caught:
        from_environment({"CODEX_MAGIC_BASE_URL": "ada:hidden@models.test"})
    assert str(caught.value) == (
        "CODEX_MAGIC_BASE_URL cannot be used: it must begin with https:// or http://"
    )
