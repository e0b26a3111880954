"""Secrets are masked where text is written: logs, lessons, what a notebook saves.

Not a boundary: a sandboxed command cannot read the person's credentials in the first place. This
is for what people paste, print, or keep in variables of the environment.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MASK: Final = "***masked***"

_SHAPES: Final = re.compile(
    r"""
      \bsk-[A-Za-z0-9_-]{16,}                                  # OpenAI, Anthropic
    | \bat-[A-Za-z0-9_-]{24,}                                  # personal Codex access tokens
    | \bgh[opsur]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,}      # GitHub
    | \bAKIA[0-9A-Z]{16}\b                                     # AWS
    | \bxox[abprs]-[A-Za-z0-9-]{10,}                           # Slack
    | \bAIza[0-9A-Za-z_-]{30,}                                 # Google
    | \bey[JK][A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?   # JSON web tokens
    | (?i:(?<=bearer\ )[A-Za-z0-9._~+/=-]{16,})
    """,
    re.VERBOSE,
)

SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL", re.IGNORECASE)
_SHORTEST: Final = 8  # shorter values (a "1", a user name) stand in ordinary text by chance


def known_secrets(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return the values of the variables whose names say that they are secret."""
    environ = os.environ if environ is None else environ
    return frozenset(
        value
        for name, value in environ.items()
        if SECRET_NAME.search(name) and len(value) >= _SHORTEST and not value.startswith("/")
    )


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` with everything that looks like a credential, and all `secrets`, masked."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _SHAPES.sub(MASK, text)
