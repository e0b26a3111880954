"""What to do about a turn that failed, in words, by the kind of its error.

The kinds are those of Codex; a backend that learns of a failure by itself calls it by the same word.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_magic.events import TurnError

AGAIN: Final = "Run the cell again; if it stays, type %codex doctor"

_OTHERWISE: Final = (
    "or set OPENAI_API_KEY where Jupyter is started; "
    "or see it work without an account: type `codex-magic demo` in a terminal"
)

SIGN_IN: Final = f"Three ways: type %codex login; {_OTHERWISE}"

WITH_A_KEY: Final = (
    f"Three ways: type %codex login --api-key; {_OTHERWISE}. A ChatGPT sign-in is unofficial "
    "without the Codex program: to use one, type %config CodexMagics.chatgpt = True first"
)
"""The same for who has not allowed a ChatGPT sign-in there."""


def sign_in(*, chatgpt: bool) -> str:
    """Return how to sign in where turns run without the Codex program."""
    return SIGN_IN if chatgpt else WITH_A_KEY


ADVISED: Final = "advised"
"""The kind of an error whose message says already what to do."""

HINTS: Final[Mapping[str, str]] = {
    ADVISED: "",
    "unauthorized": "Sign in again: type %codex login",
    "signInChanged": "Run the cell again to go on with the sign-in that is there now",
    "keyMissing": (
        "Set env_key (CODEX_MAGIC_ENV_KEY, or %config CodexMagics.env_key) "
        "to the name of the variable that holds this host's key"
    ),
    "forbidden": (
        "Type %codex status to see which account is in use; "
        "a company's network or a VPN can also be the reason"
    ),
    "usageLimitExceeded": "Wait until your limit resets, or choose another model with -m",
    "usageNotIncluded": "Sign in with another account, or set OPENAI_API_KEY where Jupyter is started",
    "insufficientQuota": "Add credit to the account or raise its budget, then run the cell again",
    "rateLimitExceeded": "Wait a little, then run the cell again",
    "serverOverloaded": "Wait a few minutes, then run the cell again",
    "contextWindowExceeded": "Start afresh with %%codex --new",
    "badRequest": "Check the options of the cell, the model's name first",
    "notFound": "Check the address: CODEX_MAGIC_BASE_URL, where you have set it, usually ends in /v1",
    "redirected": "Put the address it sends you to into CODEX_MAGIC_BASE_URL, if you trust that host",
    "badStream": (
        "Check the address: CODEX_MAGIC_BASE_URL, where you have set it, "
        "must lead to a host of the Responses API"
    ),
    "certificate": (
        "Where a company's proxy has a certificate of its own, "
        "set SSL_CERT_FILE to its file where Jupyter is started"
    ),
    "proxy": "Check HTTPS_PROXY and NO_PROXY where Jupyter is started",
    "unreachable": "Check the network and the address, then run the cell again",
    "connectionLost": "Run the cell again: the thread goes on where it was",
    "cyberPolicy": "Say in the prompt what the work is for, or ask for something else",
    "contentFilter": "Ask for it in other words",
    "maxOutputTokens": "Ask the agent to go on, or for less at once",
}


def hint(error: TurnError) -> str:
    """Return what to do about a failed turn."""
    return HINTS.get(kind(error), AGAIN)


def kind(error: TurnError) -> str:
    """Return the kind of an error, as `HINTS` has it."""
    if error.kind.endswith(" 401"):
        return "unauthorized"
    if error.kind.endswith(" 429"):
        return "rateLimitExceeded"
    return error.kind.split(" ")[0]
