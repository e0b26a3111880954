"""What a model's host answers besides responses: its models, an account, a refused token.

Pure: a request in, an answer out.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codex_magic.tape.steps import Reply
from codex_magic.tape.wire import error

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from codex_magic.tape.request import Request


@dataclass
class Host:
    """What a host knows; a test may change it between two requests.

    Parameters
    ----------
    models
        Rows of the catalogue.
    usage_report
        How much an account has used.
    accounts_check
        Which accounts there are.
    require_token
        The bearer token that is good, or what tells; None for any and none.
    """

    models: Sequence[Mapping[str, Any]] | None = None
    usage_report: Mapping[str, Any] | None = None
    accounts_check: Mapping[str, Any] | None = None
    require_token: str | Callable[[str], bool] | None = None

    def turn_away(self, request: Request) -> Reply | None:
        """Return the refusal of a request without a good token."""
        token = request.token
        good = self.require_token
        if good is None or (token == good if isinstance(good, str) else good(token)):
            return None
        if request.for_chatgpt:
            return Reply(401, {"detail": "Unauthorized"})
        if not token:
            return error(401, None, "Missing bearer or basic authentication in header")
        return error(401, "invalid_api_key", "Incorrect API key provided.")

    def look_up(self, request: Request) -> Reply | None:
        """Return the answer to a question about the host; None if there is no such thing."""
        match request.path:
            case "/backend-api/wham/usage" if self.usage_report is not None:
                return Reply(200, dict(self.usage_report))
            case "/backend-api/wham/accounts/check" if self.accounts_check is not None:
                return Reply(200, dict(self.accounts_check))
            case "/backend-api/codex/models":
                return self._catalogue()
            case path if path.endswith("/models"):
                return self._catalogue() if "client_version=" in request.query else self._list()
        return None

    def _catalogue(self) -> Reply:
        rows = [dict(row) for row in self.models or ()]
        digest = hashlib.sha256(json.dumps(rows).encode()).hexdigest()
        return Reply(200, {"models": rows}, (("ETag", f'W/"{digest[:16]}"'),))

    def _list(self) -> Reply:
        more = {"object": "model", "created": 0, "owned_by": "openai"}
        rows = [{"id": row.get("slug", row.get("id")), **more} for row in self.models or ()]
        return Reply(200, {"object": "list", "data": rows})
