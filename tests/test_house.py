"""Rules of the house: what importing costs, and what no file of the package may say."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import codex_magic
from codex_magic.mask import mask

PACKAGE = Path(codex_magic.__file__).parent
PROJECT = Path(__file__).parents[1]
MODULES = sorted(
    found.name for found in pkgutil.walk_packages([str(PACKAGE)], prefix="codex_magic.")
)
WRITTEN = sorted(
    path.relative_to(PACKAGE).as_posix()
    for path in PACKAGE.rglob("*")
    # The data's own page says where the data come from.
    if path.is_file() and path.suffix != ".pyc" and path.parent.name != "data"
)


@pytest.mark.parametrize("name", ["codex_magic", *MODULES])
def test_every_public_name_is_there(name: str) -> None:
    module = importlib.import_module(name)
    public = getattr(module, "__all__", [])
    assert [found for found in public if not hasattr(module, found)] == []
    assert list(public) == sorted(public)


@pytest.mark.parametrize("name", ["codex_magic", *MODULES])
def test_every_module_opens_with_what_it_is(name: str) -> None:
    first = (importlib.import_module(name).__doc__ or "").split("\n")[0]
    assert first.endswith((".", "::"))


def imported_by(code: str) -> set[str]:
    """The modules that `code` brings into a new interpreter, beside those it starts with."""
    count = f"import sys; old = set(sys.modules); {code}; print(*sorted(set(sys.modules) - old))"
    ran = subprocess.run(
        [sys.executable, "-c", count],
        check=True,
        capture_output=True,
        text=True,
        cwd=PROJECT,
    )
    return set(ran.stdout.split())


def test_importing_the_package_imports_nothing_else() -> None:
    assert imported_by("import codex_magic") <= {"codex_magic", "typing", "__future__", *LIGHT}


LIGHT = {"abc", "collections", "functools", "re", "contextlib", "copyreg", "enum", "warnings"} | {
    *("_collections", "_functools", "_operator", "collections.abc", "itertools", "keyword"),
    *("operator", "re._casefix", "re._compiler", "re._constants", "re._parser", "reprlib", "types"),
    *("_sre", "_typing", "typing.io", "typing.re"),
}

VALUES = ["errors", "policy", "items", "events", "turn", "settings", "mask", "cell", "context"]
VALUES += ["render"]
HEAVY = {"IPython", "ipykernel", "ipywidgets", "anywidget", "tornado", "nbclient", "nbformat"} | {
    *("httpx2", "asyncio", "subprocess", "threading", "socket"),
}


@pytest.mark.parametrize("name", VALUES)
def test_values_and_views_know_no_notebook_network_process_or_os_thread(name: str) -> None:
    # What msgspec brings is its own business.
    control = imported_by("import msgspec, argparse, shlex, json, pathlib, dataclasses")
    assert (imported_by(f"import codex_magic.{name}") - control) & HEAVY == set()


def test_a_version_is_read_only_when_asked() -> None:
    assert "importlib.metadata" not in imported_by("import codex_magic")
    assert re.fullmatch(r"\d+\.\d+\.\d+.*", codex_magic.__version__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = codex_magic.nothing


# --- what the model reads --------------------------------------------------------------------

INSTRUCTIONS = PACKAGE / "instructions.md"


def test_the_instructions_are_short() -> None:
    """A word is seldom more than 1.4 tokens; what is no word is counted by itself."""
    text = INSTRUCTIONS.read_text(encoding="utf-8")
    assert len(re.findall(r"\w+|[^\w\s]", text)) * 1.4 <= 1200


def test_the_instructions_are_the_same_bytes_everywhere() -> None:
    raw = INSTRUCTIONS.read_bytes()
    text = raw.decode("utf-8")
    assert b"\r" not in raw
    assert (text[0].isspace(), text.endswith("\n"), text.endswith("\n\n")) == (False, True, False)
    assert [line for line in text.splitlines() if line != line.rstrip()] == []
    assert set(re.findall(r"[^\x00-\x7f]", text)) <= {"…"}


def test_the_instructions_say_that_the_model_lives_in_a_notebook() -> None:
    text = INSTRUCTIONS.read_text(encoding="utf-8")
    assert "Jupyter notebook" in text
    assert re.search(r"codex cli|terminal|command.line interface", text, re.IGNORECASE) is None


# --- what no file may say --------------------------------------------------------------------

FORBIDDEN = {
    "a path of one machine": r"(?<![\w.*~$}])/(?:home|Users|work|root|opt)/\w",
    "an address other than this machine's": r"https?://(?!127\.0\.0\.1|localhost)[\w.-]+",
    "a package index": r"(?i)index-url|pypi\.|/simple\b",
}


@pytest.mark.parametrize("path", WRITTEN)
def test_a_file_says_nothing_that_holds_on_one_machine_only(path: str) -> None:
    text = (PACKAGE / path).read_text(encoding="utf-8")
    found = {rule: re.findall(pattern, text) for rule, pattern in FORBIDDEN.items()}
    assert found == {rule: [] for rule in FORBIDDEN}
    assert mask(text) == text


def test_what_changed_is_told() -> None:
    changelog = PROJECT / "CHANGELOG.md"
    assert changelog.read_text(encoding="utf-8").startswith("# Changelog\n")
