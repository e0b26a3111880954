"""A sign-in that is kept on this machine, and kept fresh.

The document is read anew each time, so that a sign-in, or another process's renewal, counts at
once. A renewal happens in the order that loses nothing: lock, read again, take what another one has
renewed meanwhile, else ask, write, unlock.
"""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from codex_magic.auth import document, exchange, memory
from codex_magic.auth.credentials import have_one_payer
from codex_magic.auth.flight import Flight
from codex_magic.auth.memory import Unsaved
from codex_magic.auth.personal import Personal
from codex_magic.auth.places import UnreadableError
from codex_magic.auth.refresh import REUSED, NotNowError, RefusedError, refresh
from codex_magic.errors import CodexMagicError, SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_magic.auth.credentials import Credential, Kind
    from codex_magic.auth.notices import Notices
    from codex_magic.auth.places import Place

PAUSE_S: Final = 0.05
PAUSES: Final = 10
"""How often a document that is not whole is read again: others do not write theirs at one stroke."""

QUIET_S: Final = 30.0
"""Seconds in which an issuer that did not answer is not asked again while the token is good."""

NEW_S: Final = 60.0
"""A token that is refused so soon after it came will not be followed by a better one."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A sign-in as it was read; its `repr` shows where, not what."""

    place: Place
    raw: bytes = field(repr=False)
    document: document.Json = field(repr=False)

    def credential(self) -> Credential:
        """Return the credential in it; only for a document that has one."""
        found = document.credential(self.document, self.place.words)
        assert found is not None  # noqa: S101 - `StoredSource` keeps no other document
        return found


class StoredSource:
    """The sign-in in the first of some places that has one.

    Parameters
    ----------
    kinds
        Which credentials may be used; a sign-in of another kind counts as none.
    """

    is_elsewhere = False

    def __init__(
        self,
        places: Sequence[Place],
        environ: Mapping[str, str],
        notices: Notices,
        kinds: frozenset[Kind],
    ) -> None:
        self._places = places
        self._environ = environ
        self._notices = notices
        self._kinds = kinds
        self._personal = Personal(environ)
        self._guard = threading.Lock()
        self._flight: Flight[Credential] | None = None

    def current(self) -> Credential | None:
        """Return the credential to use now, renewed where it is about to expire."""
        self._save_again()
        if (kept := self._kept()) is None:
            return None
        if document.refresh_token(kept.document) and self._is_due(kept):
            return self._renewal(kept, "").result()
        return self._known(kept)

    def renewed(self, refused: Credential) -> Credential:
        """Return another credential than `refused`: what is stored by now, or a renewed one."""
        if (kept := self._kept()) is None:
            raise SetupError("nobody is signed in any more", hint="Sign in: type %codex login")
        known = self._known(kept)
        _check_payer(kept.place, refused, known)
        if known.token != refused.token:
            return known
        token, came_at = memory.of(kept.place.key).came
        is_new = token == refused.token and time.monotonic() - came_at < NEW_S
        if is_new or not document.refresh_token(kept.document):
            why = "although it is new" if is_new else "and it cannot be renewed"
            raise SetupError(
                f"the host refuses {kept.place.words}, {why}",
                hint=f"Sign in again: {kept.place.again}",
            )
        flight = self._renewal(kept, refused.token)
        found = flight.result()
        if found.token == refused.token:
            # It was on its way before anybody knew that the token is refused.
            found = self._renewal(kept, refused.token).result()
        return found

    def peek(self, kinds: frozenset[Kind]) -> Kind | None:
        """Return the kind of the first sign-in that is one of these; places are only looked at."""
        for place in self._places:
            with contextlib.suppress(ValueError):
                kind = document.mode(document.parse(place.look() or b"{}"))
                if kind in ("chatgpt", "apiKey", "accessToken") and kind in kinds:
                    return kind
        return None

    def _kept(self) -> Kept | None:
        unread: UnreadableError | None = None
        for place in self._places:
            try:
                kept = self._read(place)
            except UnreadableError as error:
                if "chatgpt" in self._kinds:
                    raise
                unread = unread or error  # where only keys may be used, it is hardly one
                continue
            if kept is None:
                continue
            kind = document.mode(kept.document)
            if kind == "other" and "chatgpt" in self._kinds:
                raise SetupError(
                    f"the sign-in in {place} is of a kind that only Codex can use",
                    hint="Use the app-server, or sign in here too: type %codex login",
                )
            if kind and kind in self._kinds:
                if unread is not None:
                    self._notices.say(f"{unread.message}; {place.words} is used instead")
                return kept
        if unread is not None:
            raise unread
        return None

    def _read(self, place: Place, *, afresh: bool = False) -> Kept | None:
        raw, unsaved = b"", memory.of(place.key).unsaved
        for _ in range(PAUSES):
            if (found := place.read(afresh=afresh)) is None:
                return None
            raw = found
            if unsaved is not None and unsaved.instead_of == raw:
                return Kept(place, raw, unsaved.document)
            try:
                return Kept(place, raw, document.parse(raw))
            except ValueError:
                time.sleep(PAUSE_S)
        if unsaved is not None:  # whoever tore it has left nothing better
            return Kept(place, raw, unsaved.document)
        raise UnreadableError(
            f"the sign-in in {place} cannot be read: it is cut off, or not JSON",
            hint=f"Sign in again: {place.again}",
        )

    def _known(self, kept: Kept) -> Credential:
        found = kept.credential()
        if found.kind == "accessToken":
            return self._personal.credential(found.token, found.source)
        return found

    def _is_due(self, kept: Kept) -> bool:
        token = document.access_token(kept.document)
        is_odd = token == memory.of(kept.place.key).odd
        return not is_odd and document.is_due(kept.document, time.time())

    def _renewal(self, kept: Kept, refused: str) -> Flight[Credential]:
        """Return the renewal that is on its way, or a new one."""
        with self._guard:
            if self._flight is None or self._flight.is_over:
                self._flight = Flight(lambda: self._renew(kept, refused), "codex sign-in")
            return self._flight

    def _renew(self, kept: Kept, refused: str) -> Credential:
        with kept.place.locked():
            latest = self._read(kept.place)
            if latest is None or document.mode(latest.document) != "chatgpt":
                raise _gone(kept.place)
            _check_payer(kept.place, kept.credential(), latest.credential())
            if latest.credential().token != refused and not self._is_due(latest):
                return latest.credential()
            return self._asked(latest, refused)

    def _asked(self, kept: Kept, refused: str) -> Credential:
        old, known = kept.credential(), memory.of(kept.place.key)
        is_good = old.token != refused and (old.expires_at or time.time() + 1) > time.time()
        key = document.refresh_token(kept.document)
        if known.over is not None and known.over[0] == key:
            raise known.over[1].with_traceback(None)
        if is_good and time.monotonic() < known.quiet_until:
            return old
        try:
            answer = refresh(key, self._environ, kept.place.again)
        except RefusedError as error:
            if error.code == REUSED and (other := self._of_another(kept)) is not None:
                return other
            known.over = (key, error)
            raise
        except NotNowError as error:
            known.quiet_until = time.monotonic() + QUIET_S
            if not is_good:
                raise
            self._notices.say(f"{error.message}; the token is good for a while yet")
            return old
        return self._taken(kept, answer)

    def _of_another(self, kept: Kept) -> Credential | None:
        """Return what another program, which knows no lock, has renewed just now."""
        for _ in range(PAUSES):
            latest = self._read(kept.place)
            if latest is None or document.mode(latest.document) != "chatgpt":
                return None
            if latest.raw != kept.raw:
                _check_payer(kept.place, kept.credential(), latest.credential())
                return latest.credential()
            time.sleep(PAUSE_S)
        return None

    def _taken(self, kept: Kept, answer: Mapping[str, Any]) -> Credential:
        """Keep what the issuer gave, unless somebody has signed in or out while it was asked."""
        latest = self._reread(kept)
        if latest is None or document.mode(latest.document) != "chatgpt":
            # Nobody would know of this one any more, and it would go on being good.
            exchange.revoke(document.renewed(kept.document, answer, time.time()), self._environ)
            raise _gone(kept.place)
        if document.refresh_token(latest.document) != document.refresh_token(kept.document):
            _check_payer(kept.place, kept.credential(), latest.credential())
            return latest.credential()
        new = document.renewed(latest.document, answer, time.time())
        token, known = document.access_token(new), memory.of(kept.place.key)
        known.came = (token, time.monotonic())
        # Too old at its birth, by a clock of which nothing else is known: the host will say when.
        known.odd = token if document.is_due(new, time.time()) else ""
        known.unsaved = Unsaved(latest.raw, new)
        known.again_at = time.monotonic() + QUIET_S
        self._save(kept.place, known.unsaved)
        return Kept(kept.place, latest.raw, new).credential()

    def _reread(self, kept: Kept) -> Kept | None:
        try:
            return self._read(kept.place, afresh=True)
        except SetupError:
            return kept  # torn, or not to be read just now: it was good a moment ago

    def _save_again(self) -> None:
        for place in self._places:
            known = memory.of(place.key)
            if known.unsaved is not None and time.monotonic() >= known.again_at:
                known.again_at = time.monotonic() + QUIET_S
                # Whatever is in the way, what is in memory is still good.
                with contextlib.suppress(CodexMagicError), place.locked():
                    self._write_down(place, known)

    def _write_down(self, place: Place, known: memory.Memory) -> None:
        found = self._read(place, afresh=True)
        if known.unsaved is None:
            return  # another OS thread was faster
        if found is not None and found.document is known.unsaved.document:
            self._save(place, known.unsaved)
        else:
            known.unsaved = None  # somebody has signed in or out since

    def _save(self, place: Place, unsaved: Unsaved) -> None:
        try:
            place.write(document.written(unsaved.document))
        except OSError as error:
            self._notices.say(
                f"the renewed sign-in cannot be written to {place}"
                f" ({error.strerror or error}); it is kept until this kernel ends"
            )
        else:
            memory.of(place.key).unsaved = None


def _gone(place: Place) -> SetupError:
    return SetupError(f"{place.words} is there no more", hint="Sign in: type %codex login")


def _check_payer(place: Place, before: Credential, now: Credential) -> None:
    if not have_one_payer(before, now):
        raise SetupError(
            f"{place.words} belongs to another account by now",
            hint="Run the cell again to go on with that one",
        )
