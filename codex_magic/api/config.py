"""How a `Codex` is set up: by keywords, or by the SDK's `CodexConfig`.

Codex's own configuration is not written from here and its switches are not passed on: what Codex
may do by itself on this machine is decided elsewhere. Keys that are options here are taken as such.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from codex_magic import binary
from codex_magic import settings as st
from codex_magic.api import options
from codex_magic.api.failures import OptionError

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME: Final = "codex_python_sdk"
_LEFT_OUT: Final = ("launch_args_override", "client_name", "client_title", "client_version")


@dataclass(slots=True)
class CodexConfig:
    """The SDK's way to set a `Codex` up.

    Parameters
    ----------
    codex_bin
        The Codex program.
    config_overrides
        ``key=value`` in TOML; those that are options here hold, others are left out.
    cwd
        The folder that threads work in.
    env
        Variables over those of this process.
    launch_args_override, client_name, client_title, client_version, experimental_api
        Mean nothing here.
    """

    codex_bin: str | Path | None = None
    launch_args_override: tuple[str, ...] | None = None
    config_overrides: tuple[str, ...] = ()
    cwd: str | Path | None = None
    env: Mapping[str, str] | None = None
    client_name: str = _NAME
    client_title: str = ""
    client_version: str = ""
    experimental_api: bool = True


@dataclass(frozen=True, slots=True)
class Setup:
    """What a `Codex` runs with.

    Parameters
    ----------
    values
        The options of every thread that says nothing else.
    news
        What there is to tell about all that.
    """

    settings: st.Settings
    environ: Mapping[str, str] = field(repr=False)
    values: Mapping[str, Any]
    news: tuple[str, ...]


def setup(
    config: CodexConfig,
    given: Mapping[str, str | None],
    *,
    codex_home: str | Path | None,
    env: Mapping[str, str] | None,
) -> Setup:
    """Return what `config` and the keywords say, the keywords first, then the environment.

    Raises
    ------
    CellError
        A value is none of its choices.
    """
    environ = {**os.environ, **(config.env or {}), **(env or {})}
    if codex_home is not None:
        environ["CODEX_HOME"] = str(Path(codex_home).expanduser())
    if config.codex_bin is not None:
        environ[binary.SETTING] = str(config.codex_bin)
    left_out = [
        f"{name} means nothing here: {options.MEANINGLESS['service_name']}"
        for name in _LEFT_OUT
        if getattr(config, name) not in (None, "", _NAME)
    ]
    overrides = _read(config.config_overrides)
    chosen = _host(overrides) | {name: value for name, value in given.items() if value is not None}
    found = options.read({"cwd": config.cwd, "config": overrides}, "thread")
    settings = st.changed(st.from_environment(environ), chosen)
    return Setup(settings, environ, found.values, (*left_out, *found.news))


def _read(overrides: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for override in overrides:
        key, is_set, raw = override.partition("=")
        if not is_set:
            raise OptionError(
                f"the override {override!r} has no value", hint="Write it as key=value"
            )
        try:
            found[key.strip()] = tomllib.loads(f"value = {raw}")["value"]
        except tomllib.TOMLDecodeError:
            found[key.strip()] = raw.strip()  # as Codex does: a bare word is a text
    return found


def _host(overrides: dict[str, Any]) -> dict[str, Any]:
    """Take out of `overrides` which host the model is on, and return it as settings."""
    host: dict[str, Any] = {}
    if (url := overrides.pop("openai_base_url", None)) is not None:
        host["base_url"] = url
    provider = overrides.get("model_provider")
    stem = f"model_providers.{provider}."
    if f"{stem}base_url" in overrides:
        host["base_url"] = overrides[f"{stem}base_url"]
        if env_key := overrides.get(f"{stem}env_key"):
            host["env_key"] = env_key
        for key in [key for key in overrides if key == "model_provider" or key.startswith(stem)]:
            del overrides[key]
    return host
