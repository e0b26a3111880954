"""Sign-ins that wait for a person, with the SDK's names."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

from codex_magic.api.types import (
    AccountLoginCompletedNotification,
    CancelLoginAccountResponse,
    CancelLoginAccountStatus,
)
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from codex_magic.backends.base import SignIn

LOOK_S: Final = 0.5
"""Seconds between two looks whether the sign-in was given up."""


class LoginHandle:
    """A sign-in that waits for a person.

    Parameters
    ----------
    waiting
        The backend's side of it.

    Attributes
    ----------
    login_id
        A name for this attempt.
    """

    def __init__(self, waiting: SignIn) -> None:
        self.login_id = secrets.token_hex(8)
        self._waiting = waiting
        self._ended: AccountLoginCompletedNotification | None = None

    def wait(self) -> AccountLoginCompletedNotification:
        """Wait until the person has signed in, has refused, or the sign-in was given up.

        An interrupt gives it up.
        """
        try:
            while self._ended is None:
                try:
                    if self._waiting.wait(LOOK_S):
                        self._end(success=True)
                except SetupError as error:
                    self._end(success=False, error=str(error))
        except BaseException:
            self.cancel()
            raise
        return self._ended

    def cancel(self) -> CancelLoginAccountResponse:
        """Give it up; nothing is left running."""
        if self._ended is not None:
            return CancelLoginAccountResponse(CancelLoginAccountStatus.not_found)
        self._end(success=False, error="the sign-in was given up")
        self._waiting.cancel()
        return CancelLoginAccountResponse(CancelLoginAccountStatus.canceled)

    def _end(self, *, success: bool, error: str | None = None) -> None:
        if self._ended is None:
            self._ended = AccountLoginCompletedNotification(success, error, self.login_id)


class ChatgptLoginHandle(LoginHandle):
    """A sign-in in a browser on this machine.

    Attributes
    ----------
    auth_url
        Where the person signs in.
    """

    def __init__(self, waiting: SignIn) -> None:
        super().__init__(waiting)
        self.auth_url = waiting.url


class DeviceCodeLoginHandle(LoginHandle):
    """A sign-in on any device, with a code.

    Attributes
    ----------
    verification_url, user_code
        Where the person signs in, and what is typed in there.
    """

    def __init__(self, waiting: SignIn) -> None:
        super().__init__(waiting)
        self.verification_url = waiting.url
        self.user_code = waiting.code
