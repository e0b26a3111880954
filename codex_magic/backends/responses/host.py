"""The host of the models: where it is, what it takes, which models it has, what it says of limits.

One for a backend and a credential's kind; it lives as long as both. What is learned of a host while
turns run (a key it does not know, how much of a limit is used) is kept here.
"""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from codex_magic.auth.credentials import like
from codex_magic.backends.responses import catalogue, quota, routing, wire
from codex_magic.backends.responses.client import Client
from codex_magic.backends.responses.failures import Failure
from codex_magic.errors import BackendError, CodexMagicError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_magic.auth.credentials import Source
    from codex_magic.backends.base import Model, Quota
    from codex_magic.backends.responses.retry import Patience

MODELS_S: Final = 5.0
"""Seconds that a host has to name its models; without them the bundled list serves."""

AGAIN_S: Final = 30.0
"""Seconds until a host that could not be asked for its models is asked again."""

NO_LIST: Final = frozenset({404, 405, 501})
"""Statuses of a host that has no list of models."""


class Host:
    """A host of the Responses API.

    Parameters
    ----------
    takes
        What kind of host it is.
    base_url
        Where it is.
    source
        Who has the credential; None where the host wants none.
    is_other
        Whether it is somebody else's than OpenAI's: then our list says nothing of its models.
    """

    def __init__(  # noqa: PLR0913 - all by their names
        self,
        *,
        takes: wire.Profile,
        base_url: str,
        source: Source | None,
        version: str,
        patience: Patience,
        environ: Mapping[str, str],
        is_other: bool = False,
    ) -> None:
        self.takes = takes
        self.base_url = base_url
        self.patience = patience
        self._without: dict[str, frozenset[str]] = {}
        self.is_other = is_other
        self._models: tuple[Model, ...] | None = None
        self._asking = threading.Lock()
        self._trouble: CodexMagicError | None = None
        self._ask_again_at = 0.0
        self._headers: Mapping[str, str] = {}
        self._has_answered = False
        self._route = routing.Route()
        credential = source.current() if source is not None else None
        self.takes_credential = like(credential)

        def client(url: str) -> Client:
            return Client(
                url,
                source,
                lambda credential: wire.dress(credential, version) | self._route.headers,
                patience=patience,
                environ=environ,
                accept=self.takes_credential,
            )

        self.client = client(base_url)
        is_usual = base_url == wire.CHATGPT.base_url  # a person who names a host means that one
        if is_usual and credential and credential.plan not in routing.PERSONAL:
            self._route = self._asked_route(credential.account_id)
            if self._route.host:
                self.client.close()
                self.base_url = self._route.url(base_url)
                self.client = client(self.base_url)

    def _asked_route(self, account_id: str) -> routing.Route:
        """Return where a workspace is to ask; most need no other place, and an answer is no must."""
        try:
            return routing.read(self._wham("accounts/check"), account_id)
        except CodexMagicError:
            return routing.Route()

    def _wham(self, path: str) -> Any:
        return self.client.get_url(f"{self.base_url.removesuffix('/codex')}/wham/{path}")

    def left_out(self, model: str) -> frozenset[str]:
        """Return what a request to a model is sent without, because it is not known there."""
        return self.takes.refuses | self._without.get(model, frozenset())

    def leave_out(self, model: str, part: str) -> None:
        """Keep in mind that a part of a body is not known."""
        self._without[model] = self._without.get(model, frozenset()) | {part}

    def models(self) -> tuple[Model, ...]:
        """Return its models, as it names them; our own list where it names none."""
        with self._asking:
            if self._models is None and time.monotonic() >= self._ask_again_at:
                self._ask_for_models()
            if self._models or self.is_other:
                return self._models or ()
            return catalogue.bundled()

    def named(self) -> tuple[Model, ...]:
        """Ask it for its models now, whatever was said before, and return those that it names.

        Raises
        ------
        CodexMagicError
            It could not be asked.
        """
        with self._asking:
            self._ask_for_models()
            if self._trouble is not None:
                raise self._trouble
            return self._models or ()

    def _ask_for_models(self) -> None:
        self._trouble = None
        try:
            params = {"client_version": wire.MODELS_VERSION}
            found = catalogue.read(self.client.get("/models", params, within_s=MODELS_S))
            # Of several, somebody else's host has none that is asked unless a person names it.
            is_told = not self.is_other or len(found) == 1
            self._models = found if is_told else tuple(replace(m, is_default=False) for m in found)
        except Failure as failure:
            if failure.status in NO_LIST:
                self._models = ()
            else:
                self._trouble, self._ask_again_at = failure, time.monotonic() + AGAIN_S
        except CodexMagicError as error:
            self._trouble, self._ask_again_at = error, time.monotonic() + AGAIN_S

    def default_model(self) -> str:
        """Return the model to ask where nobody has named one.

        Raises
        ------
        BackendError
            It has several, and none of them is known to be the one.
        CodexMagicError
            It could not be asked.
        """
        models = self.models()
        if not self.is_other and (found := catalogue.default(models)):
            return found
        if len(models) == 1:
            return models[0].id
        if not models and self._trouble is not None:
            raise self._trouble
        named = ", ".join(model.id for model in models[:8])
        raise BackendError(
            f"{self.base_url} has the models {named}"
            if named
            else f"{self.base_url} names no models",
            hint="Say which: %%codex -m MODEL, or %config CodexMagics.model = 'MODEL'",
        )

    def context_tokens(self, model: str) -> int:
        """Return how much a model can read; 0 where nobody says."""
        return catalogue.context_tokens(model, self.models())

    # --- limits -------------------------------------------------------------------------------

    def told(self, headers: Mapping[str, str]) -> None:
        """Keep what the headers of an answer say of limits."""
        self._has_answered = True
        if any(name.startswith(quota.PREFIXES) for name in headers):
            self._headers = dict(headers)

    def quota(self) -> Quota:
        """Return how much of the account's limits is used.

        Raises
        ------
        BackendError
            It cannot be asked, and has not said so by itself.
        """
        if self.takes is wire.CHATGPT:
            return quota.read(self._wham("usage"))
        if self._headers:
            return quota.of_headers(self._headers)
        if self._has_answered or self.is_other:
            raise BackendError(f"{self.base_url} tells of no limits")
        raise BackendError(
            "this host tells of its limits with an answer, and there was none yet",
            hint="Run a turn first",
        )

    def close(self) -> None:
        """Close its connections."""
        self.client.close()
