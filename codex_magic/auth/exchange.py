"""What follows when a person has let us in: a code becomes tokens, and these become a file."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from codex_magic.auth import document, homes, hosts, memory, places, web
from codex_magic.errors import CodexMagicError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

_OK: Final = 200
UNWANTED_S: Final = 2.0
"""Seconds that taking back a sign-in may last which nobody waits for any more."""
NOT_ALLOWED: Final = "missing_codex_entitlement"


def exchange(form: Mapping[str, str], environ: Mapping[str, str], line: web.Line) -> document.Json:
    """Return the sign-in that a code of the issuer stands for; `line` cut, it is given up.

    Raises
    ------
    SetupError
        The issuer refuses the code.
    BackendError
        It cannot be asked.
    """
    where = hosts.hosts(environ)
    body = {"grant_type": "authorization_code", "client_id": where.client_id, **form}
    reply = web.ask(web.Ask("POST", f"{where.issuer}/oauth/token", form=body), environ, line)
    answer = reply.json()
    if reply.status != _OK or answer is None:
        host, code = hosts.shown(where.issuer), reply.code()
        raise SetupError(
            f"{host} does not complete the sign-in (HTTP {reply.status} {code})".replace(" )", ")"),
            hint="Type %codex login once more",
        )
    try:
        return document.signed_in(answer, time.time())
    except ValueError:
        raise SetupError(
            f"{hosts.shown(where.issuer)} gave no token", hint="Type %codex login once more"
        ) from None


def keep(found: document.Json, environ: Mapping[str, str], account: str | None) -> None:
    """Write a sign-in into our own file, in the place of the one before.

    Raises
    ------
    SetupError
        It cannot be written.
    """
    path = homes.made(environ, account)
    try:
        with places.locked(places.lock(path)):
            places.replace(path, document.written(found))
            memory.forget(str(path.resolve()))
    except OSError as error:
        raise SetupError(
            f"the sign-in cannot be written to {path}: {error.strerror or error}",
            hint="Make room there, or set JUPYTER_DATA_DIR to a folder of yours",
        ) from None


def whose(found: document.Json) -> str:
    """Return whose a sign-in is, in words."""
    credential = document.credential(found, "")
    if credential is None:
        return "somebody"
    plan = f" ({credential.plan})" if credential.plan else ""
    return f"{credential.email or 'a ChatGPT account'}{plan}"


def refusal(code: str, description: str) -> SetupError:
    """Return why an issuer lets somebody not in, in words."""
    if NOT_ALLOWED in (code, description) or NOT_ALLOWED in description:
        return SetupError(
            "this ChatGPT workspace has not switched Codex on",
            hint="Ask its administrator, or choose another workspace when you sign in",
        )
    if code == "access_denied":
        return SetupError("the sign-in was declined", hint="Type %codex login to try again")
    said = " ".join(f"{code} {description}".split())[:200]
    shown = "".join(char for char in said if char.isprintable())
    return SetupError(f"the sign-in failed: {shown}", hint="Type %codex login to try again")


def revoke(
    found: document.Json, environ: Mapping[str, str], timeout_s: float = web.TIMEOUT_S
) -> bool:
    """Ask the issuer to take a sign-in back; return whether it says so."""
    try:
        return _revoked(found, environ, timeout_s)
    except CodexMagicError:
        return False


def _revoked(found: document.Json, environ: Mapping[str, str], timeout_s: float) -> bool:
    where = hosts.hosts(environ)
    if token := document.refresh_token(found):
        body = {
            "token": token,
            "token_type_hint": "refresh_token",
            "client_id": where.client_id,
        }
    elif document.mode(found) == "chatgpt":
        body = {"token": document.access_token(found), "token_type_hint": "access_token"}
    else:
        return False  # a key is made and taken back elsewhere
    asked = web.Ask("POST", where.revoke, json=body, timeout_s=timeout_s)
    return web.ask(asked, environ).status == _OK
