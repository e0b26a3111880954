"""The configuration of scorpiox code's Codex provider, turned into settings of ours.

Pure: it reads no file and no environment, only what it is given of them. Nothing else here knows
these keys. Names that many programs use, such as ``MODEL``, count in the environment only where
something else there says that they are meant for this.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from codex_magic.errors import CellError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LONGEST_KEY: Final = 64
LONGEST_VALUE: Final = 512

ALIASES: Final = (
    ("opus", "gpt-5.6-terra"),
    ("sonnet", "gpt-5.6-luna"),
    ("haiku", "gpt-5.4-mini"),
)

_SOURCES: Final = {"local": "local", "remote": "http", "http": "http", "ssh": "ssh"}
_EFFORTS: Final = ("CODEX_REASONING_EFFORT", "REASONING_EFFORT", "OPENAI_REASONING_EFFORT")
_PLAIN: Final = {
    "MODEL": "model",
    "CODEX_CREDENTIALS_FILE": "token_file",
    "CODEX_REMOTE_URL": "token_url",
    "TOKEN_HTTP_API_KEY": "token_key",
    "CODEX_SSH_PASS": "token_password",
}
"""Keys that are settings of ours by another name."""

_SSH: Final = ("CODEX_SSH_HOST", "CODEX_SSH_USER", "CODEX_SSH_PORT")
_TCP: Final = ("TCP_HOST", "TCP_PORT", "TCP_API_KEY", "TCP_UPSTREAM")
_KEYS: Final = {
    "PROVIDER",
    "CODEX_TOKEN_SOURCE",
    "THINKING",
    "TOOLS",
    *_EFFORTS,
    *_PLAIN,
    *_SSH,
    *_TCP,
}
_OWN: Final = "CODEX_"
"""How the keys begin that no other program would use."""
_OURS: Final = "CODEX_MAGIC_TOKEN_SOURCE"
_SWITCH: Final = {"1": True, "0": False}


def read(environ: Mapping[str, str], files: Sequence[str]) -> dict[str, Any]:
    """Return the settings that the keys in `environ` and in the text of `files` come to.

    Parameters
    ----------
    files
        The weakest first; the environment is stronger than all of them.

    Raises
    ------
    CellError
        A line or a value cannot be understood, or asks for what is not done here.
    """
    filed: dict[str, str] = {}
    for text in files:
        filed |= _parsed(text)
    outside = {key: value for key in _KEYS if (value := environ.get(key, "").strip())}
    both = filed | outside
    is_meant = both.get("PROVIDER", "").lower() == "codex" or "CODEX_TOKEN_SOURCE" in both
    if not is_meant:
        outside = {key: value for key, value in outside.items() if key.startswith(_OWN)}
    keys = {key: value for key, value in (filed | outside).items() if key in _KEYS and value}
    if not keys:
        return {}
    provider = keys.get("PROVIDER", "codex")
    if provider.lower() != "codex":
        raise CellError(
            f"PROVIDER is {provider!r}, and only codex runs here", hint="Set PROVIDER=codex"
        )
    found: dict[str, Any] = {name: keys[key] for key, name in _PLAIN.items() if key in keys}
    found["token_source"] = "" if environ.get(_OURS) else _source(keys)
    found["token_host"] = _host(keys)
    found["effort"] = _effort(keys)
    found = {name: value for name, value in found.items() if value}
    if "TOOLS" in keys:
        found["tools"] = _switch("TOOLS", keys["TOOLS"])
    if filed or is_meant:
        found["aliases"] = ALIASES
    # Whoever chooses this provider chooses a ChatGPT sign-in without the Codex program.
    return found | ({"backend": "responses", "chatgpt": True} if is_meant else {})


def _parsed(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        key, has_value, value = (part.strip() for part in line.partition("="))
        # A value may be a secret, so none is shown.
        if not has_value or not key:
            raise CellError(f"line {number} of the env file is not KEY=VALUE")
        if len(key) > LONGEST_KEY or len(value) > LONGEST_VALUE:
            raise CellError(
                f"line {number} of the env file is too long",
                hint=f"A key has at most {LONGEST_KEY} characters, a value {LONGEST_VALUE}",
            )
        found[key] = value
    return found


def _source(keys: Mapping[str, str]) -> str:
    chosen = keys.get("CODEX_TOKEN_SOURCE", "").lower()
    if chosen == "tcp" or (not chosen and any(key in keys for key in _TCP)):
        raise CellError(
            "tokens over TCP cannot be had here: that protocol is scorpiox's own",
            hint=f"Set {_OURS}=command, and CODEX_MAGIC_TOKEN_COMMAND to a program"
            " that prints the token",
        )
    if chosen and chosen not in _SOURCES:
        known = ", ".join(_SOURCES)
        raise CellError(f"CODEX_TOKEN_SOURCE is {chosen!r}: it must be one of {known}")
    return _SOURCES.get(chosen, "")


def _host(keys: Mapping[str, str]) -> str:
    host, user, port = (keys.get(key, "") for key in _SSH)
    if port and not (port.isascii() and port.isdecimal()):
        raise CellError(f"CODEX_SSH_PORT is {port!r}: it must be a number")
    if not host:
        return ""
    return (f"{user}@" if user else "") + host + (f":{port}" if port else "")


def _effort(keys: Mapping[str, str]) -> str:
    chosen = next((keys[key].lower() for key in _EFFORTS if key in keys), "")
    if not chosen and keys.get("THINKING") == "1":
        return "high"
    return "none" if chosen == "off" else chosen


def _switch(key: str, value: str) -> bool:
    if value not in _SWITCH:
        raise CellError(f"{key} is {value!r}: it must be 1 or 0")
    return _SWITCH[value]
