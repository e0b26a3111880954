"""What a request shows its host, and who can give it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["chatgpt", "apiKey", "accessToken"]


@dataclass(frozen=True, slots=True)
class Credential:
    """A token and whose it is; its `repr` never shows the token.

    Parameters
    ----------
    kind
        ``chatgpt`` and ``accessToken`` belong to an account of ChatGPT, ``apiKey`` to the API.
    account_id
        The ChatGPT workspace; empty for an API key.
    email, plan
        Whose it is, where the token says so.
    expires_at
        In seconds since the epoch; None where it does not say.
    source
        Where it came from, in words for a person.
    residency, is_fedramp
        What a regional or a government workspace wants to be told.
    """

    kind: Kind
    token: str = field(repr=False)
    account_id: str = ""
    email: str = ""
    plan: str = ""
    expires_at: float | None = None
    source: str = ""
    residency: str = ""
    is_fedramp: bool = False


def have_one_payer(one: Credential | None, other: Credential | None) -> bool:
    """Return whether both are of one kind and one account; two API keys are two accounts."""
    if one is None or other is None:
        return one is other
    if one.kind != other.kind:
        return False
    if one.kind == "apiKey":
        return one.token == other.token
    if one.account_id or other.account_id:
        return one.account_id == other.account_id
    return one.email == other.email


def like(first: Credential | None) -> Callable[[Credential | None], bool]:
    """Return what tells whether a credential is of the same kind and account as `first`."""
    return lambda found: have_one_payer(first, found)


class Source(Protocol):
    """Somebody who has a credential; used from any OS thread."""

    def current(self) -> Credential | None:
        """Return the credential to use now, renewed where it is about to expire; None without one.

        Raises
        ------
        SetupError
            There is one, and it is good for nothing any more: the person must do something.
        BackendError
            It cannot be had just now.
        """
        ...

    def renewed(self, refused: Credential) -> Credential:
        """Return another one than `refused`, which its host answered with 401.

        Raises
        ------
        SetupError, BackendError
            As `current`; also where there is no other one.
        """
        ...
