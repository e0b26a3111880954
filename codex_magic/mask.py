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
    (?=sk-|at-|gh[opsur]_|github_|AKIA|xox|AIza|ey[JK])         # quick to look for in long output
    (?:
    # The first two are also the beginnings of words: random text has digits, a name seldom.
      (?<![\w-])sk-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{16,}       # OpenAI, Anthropic
    | (?<![\w-])at-(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{24,}       # personal Codex access tokens
    | \bgh[opsur]_[A-Za-z0-9]{20,} | \bgithub_pat_\w{20,}      # GitHub
    | \bAKIA[0-9A-Z]{16}\b                                     # AWS
    | \bxox[abprs]-[A-Za-z0-9-]{10,}                           # Slack
    | \bAIza[0-9A-Za-z_-]{30,}                                 # Google
    | \bey[JK][A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}(?:\.[A-Za-z0-9_-]*)?   # JSON web tokens
    )
    """,
    re.VERBOSE,
)
_BEARER: Final = re.compile(r"(bearer )[A-Za-z0-9._~+/=-]{16,}", re.IGNORECASE)

SECRET_NAME: Final = re.compile(r"KEY|TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL", re.IGNORECASE)
NAMED: Final = "CODEX_MAGIC_ENV_KEY"
"""Its value is the name of one more such variable; see `Settings.env_key`."""

_SHORTEST: Final = 8  # shorter values (a "1", a user name) stand in ordinary text by chance


def is_secret(name: str, environ: Mapping[str, str]) -> bool:
    """Whether the variable `name` holds a secret, by its name or because it is named as a key's."""
    return bool(SECRET_NAME.search(name)) or name == environ.get(NAMED)


def known_secrets(environ: Mapping[str, str] | None = None) -> frozenset[str]:
    """Return the values of the variables that hold secrets."""
    environ = os.environ if environ is None else environ
    return frozenset(
        value
        for name, value in environ.items()
        if is_secret(name, environ) and len(value) >= _SHORTEST and not value.startswith("/")
    )


def mask(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` with everything that looks like a credential, and all `secrets`, masked."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return _BEARER.sub(rf"\1{MASK}", _SHAPES.sub(MASK, text))
