"""What a line of the log says: its values, and how they are masked and cut to be written.

A line's place in the chain and in the file is not known here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shlex
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_magic.items import Value
from codex_magic.mask import mask

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_magic.policy import SandboxPolicy

UNKNOWN: Final = "unknown"
COMMAND_CHARS: Final = 16_000
TEXT_CHARS: Final = 1_000
MARGIN_CHARS: Final = 64 * 1024
LISTED: Final = 100


class Stream(Value, frozen=True, kw_only=True):
    """What a command wrote on one stream; of `excerpt` the log keeps the head and the tail."""

    bytes: int = 0
    sha256: str = ""
    excerpt: str = ""


class Started(Value, frozen=True, kw_only=True):
    """What is known before a command starts; `policy` is what `policy_fields` returns."""

    call_id: str = ""
    tool: str = ""
    command: str | tuple[str, ...]
    cwd: str
    env_names: tuple[str, ...] = ()
    policy: dict[str, Any] = {}
    level: str = ""
    mechanism: str = ""
    decision: str = ""
    decided_by: str = ""


class Finished(Value, frozen=True, kw_only=True):
    """What is known after it; `findings` are the protected paths that it touched."""

    outcome: str
    exit_code: int | None = None
    message: str = ""
    duration_s: float = 0.0
    cpu_s: float = 0.0
    peak_memory_bytes: int = 0
    stdout: Stream = Stream()
    stderr: Stream = Stream()
    findings: tuple[str, ...] = ()


class Start(Started, frozen=True, kw_only=True, tag_field="kind", tag="start"):
    """A line before a command: who wrote it (`born` in ticks after the boot `boot`), and when."""

    id: str
    at: str
    policy_hash: str = ""
    pid: int
    born: str = ""
    boot: str = ""


class End(Finished, frozen=True, kw_only=True, tag_field="kind", tag="end"):
    """A line after a command; `start_missing`: its start had been taken out meanwhile."""

    id: str
    at: str
    start_missing: bool = False


def policy_fields(policy: SandboxPolicy) -> dict[str, Any]:
    """Return the fields of `policy` by their names, as JSON knows them."""
    names = (field.name for field in dataclasses.fields(policy))
    return {name: _plain(getattr(policy, name)) for name in names}


def policy_hash(policy: SandboxPolicy) -> str:
    """Return the beginning of the SHA-256 of a policy; equal policies have equal ones."""
    return _hash(policy_fields(policy))


def started(entry: Started, secrets: frozenset[str]) -> dict[str, Any]:
    """Return what a line before a command says, with `secrets` masked and long values cut."""
    said: dict[str, Any] = _bounded({**msgspec.to_builtins(entry), "command": ""}, secrets)
    return said | {"command": _command(entry.command, secrets), "policy_hash": _hash(entry.policy)}


def finished(entry: Finished, secrets: frozenset[str]) -> dict[str, Any]:
    """Return what a line after a command says, with `secrets` masked and long values cut."""
    said: dict[str, Any] = _bounded(msgspec.to_builtins(entry), secrets)
    return said


def loaded(raw: bytes) -> Any:
    """Return the JSON in `raw`, or None where there is none."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


def parsed(raw: bytes) -> Start | End | None:
    """Return what a line says, or None where it is no line of this log."""
    try:
        return msgspec.convert(loaded(raw), Start | End)
    except msgspec.ValidationError:
        return None


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(part) for part in value]
    return value if isinstance(value, (bool, str)) else str(value)


def _hash(fields: Mapping[str, Any]) -> str:
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def _bounded(value: Any, secrets: frozenset[str]) -> Any:
    """Return `value` with its texts masked, and neither long texts nor long lists."""
    if isinstance(value, str):
        return _excerpt(value, TEXT_CHARS, secrets)
    if isinstance(value, dict):
        return {name: _bounded(part, secrets) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        more = [f"[{len(value) - LISTED:,} more]"] if len(value) > LISTED else []
        return [*(_bounded(part, secrets) for part in value[:LISTED]), *more]
    return value


def _command(command: str | tuple[str, ...], secrets: frozenset[str]) -> str | list[str]:
    """Return a command masked; one that is too long as a text, with its middle left out."""
    if isinstance(command, str):
        return _excerpt(command, COMMAND_CHARS, secrets)
    if sum(map(len, command)) + len(command) > COMMAND_CHARS:
        return _excerpt(shlex.join(command), COMMAND_CHARS, secrets)
    return [mask(word, secrets) for word in command]


def _excerpt(text: str, limit_chars: int, secrets: frozenset[str]) -> str:
    """Return `text` masked, less its middle where it is longer than `limit_chars`.

    It is masked before it is cut: half a secret looks like nothing. Of a very long text only the
    two ends are masked, well beyond what is kept of them: a megabyte would take 40 ms.
    """
    window, half = limit_chars + MARGIN_CHARS, limit_chars // 2
    unseen = max(0, len(text) - 2 * window)
    parts = (text[:window], text[-window:]) if unseen else (text,)
    masked = "".join(mask(part, secrets) for part in parts)
    left_out = unseen + len(masked) - 2 * half
    if left_out <= 0:
        return masked
    return f"{masked[:half]}\n[{left_out:,} characters left out]\n{masked[-half:]}"
