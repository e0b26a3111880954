"""Which credential is used: one order, and no host is shown another's.

An explicit key, a personal access token from the environment, the stored sign-in, a key from the
environment. Another host than OpenAI gets the key that was named for it, or none.
"""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

from codex_magic.auth import command, homes, hosts, remote, ssh
from codex_magic.auth.credentials import Credential, Kind, Source, have_one_payer
from codex_magic.auth.document import PERSONAL
from codex_magic.auth.fetched import FetchedSource
from codex_magic.auth.keyring import KeyringPlace
from codex_magic.auth.notices import Notices
from codex_magic.auth.personal import Personal
from codex_magic.auth.places import FilePlace, UnreadableError
from codex_magic.auth.stored import StoredSource
from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from codex_magic.auth.places import Place
    from codex_magic.settings import Settings

KINDS: Final[frozenset[Kind]] = frozenset(("chatgpt", "apiKey", "accessToken"))
EXPLICIT: Final = "given explicitly"
ACCESS_TOKEN: Final = "CODEX_ACCESS_TOKEN"  # noqa: S105 - the name of a variable
API_KEY: Final = "OPENAI_API_KEY"
LOCAL: Final = "local"

REMEMBERED: Final = 8
"""Credentials of which is known where they came from: one may be refused after others were given."""

_HERE: Final = "type %codex login"
_THERE: Final = "type `codex login` in a terminal"


def find(
    settings: Settings, environ: Mapping[str, str], *, kinds: frozenset[Kind] = KINDS
) -> Chosen:
    """Return where the credential comes from; nothing is read or asked before its first use.

    Parameters
    ----------
    kinds
        Which credentials may be used. A stored sign-in of another kind is passed over.

    Raises
    ------
    SetupError
        The settings contradict themselves, or name a source that does not exist.
    """
    if settings.base_url is not None and not hosts.is_openai(settings.base_url):
        return Chosen(_of_another_host(settings, environ), Notices(), kinds, is_needed=False)
    _check(settings)
    notices = Notices()
    if settings.api_key is not None:
        return Chosen([_explicit(settings, environ)], notices, kinds)
    if settings.env_key is not None:
        return Chosen([_named_key(settings.env_key, environ)], notices, kinds)
    found: list[Kept] = []
    # Who names an account means that one: another in its place would send the bill elsewhere.
    if settings.account is None and (token := environ.get(ACCESS_TOKEN)):
        found.append(TokenSource(token, environ, kinds))
    found.append(_stored(settings, environ, notices, kinds))
    if "apiKey" in kinds and settings.account is None and (key := environ.get(API_KEY)):
        found.append(KeySource(key, f"from {API_KEY}"))
    return Chosen(found, notices, kinds)


class Kept(Source, Protocol):
    """A source that says of what kind its credential is without asking anybody for it."""

    is_elsewhere: bool
    """Whether its credential has to be fetched, so that nothing is known of it before."""

    def peek(self, kinds: frozenset[Kind]) -> Kind | None:
        """Return the kind of its credential, where that is one of these and can be known."""
        ...


class Chosen:
    """The first of several sources that has a credential.

    Parameters
    ----------
    kinds
        Which credentials may be used.
    is_needed
        Whether the host wants a credential at all; without one, None is then no fault.
    """

    def __init__(
        self,
        sources: Sequence[Kept],
        notices: Notices,
        kinds: frozenset[Kind] = KINDS,
        *,
        is_needed: bool = True,
    ) -> None:
        self.is_needed = is_needed
        self._kinds = kinds
        self._sources = sources
        self._notices = notices
        self._gave: deque[tuple[Credential, Kept]] = deque(maxlen=REMEMBERED)

    @property
    def notices(self) -> tuple[str, ...]:
        """What a person should hear, each sentence once, in the order they came."""
        return self._notices.all

    @property
    def is_elsewhere(self) -> bool:
        """Whether a credential is to be fetched, from a host or a program that the settings name."""
        return any(source.is_elsewhere for source in self._sources)

    def peek(self) -> Kind | None:
        """Return the kind of credential that would be used, as far as that can be known by looking.

        Files and the environment are looked at, and not changed; nobody is asked and nothing is
        run. So it is None also where the credential has to be fetched first.
        """
        for source in self._sources:
            if (kind := source.peek(self._kinds)) is not None or source.is_elsewhere:
                return kind
        return None

    def passed_over(self) -> Kind | None:
        """Return the kind of a credential that is there and may not be used; likewise."""
        kinds = (source.peek(KINDS - self._kinds) for source in self._sources)
        return next(filter(None, kinds), None)

    def current(self) -> Credential | None:
        """Return the credential to use now; None where nobody is signed in.

        A source that fails is not passed over: that would change, unasked, who pays. One that
        cannot be understood is, where only keys may be used: it is hardly one.
        """
        unread: UnreadableError | None = None
        for source in self._sources:
            try:
                found = source.current()
            except UnreadableError as error:
                if "chatgpt" in self._kinds:
                    raise
                unread = error
                continue
            if found is None:
                continue
            if unread is not None:
                self._notices.say(f"{unread.message}; the API key {found.source} is used instead")
            self._note(found, source)
            return found
        if unread is not None:
            raise unread
        return None

    def renewed(self, refused: Credential) -> Credential:
        """Return another credential than `refused`, from where that came from, for who pays it."""
        source = next((source for gave, source in self._gave if gave.token == refused.token), None)
        if source is None:
            raise SetupError("nobody is signed in any more", hint=f"Sign in: {_HERE}")
        found = source.renewed(refused)
        if not have_one_payer(refused, found):
            raise SetupError(
                f"what comes {found.source} belongs to another account by now",
                hint="Run the cell again to go on with that one",
            )
        self._note(found, source)
        return found

    def _note(self, found: Credential, source: Kept) -> None:
        if (found, source) not in self._gave:
            self._gave.appendleft((found, source))


class KeySource:
    """An API key: as it is, or not at all."""

    is_elsewhere = False

    def __init__(self, key: str, words: str) -> None:
        self._credential = Credential(kind="apiKey", token=key, source=words)

    def peek(self, kinds: frozenset[Kind]) -> Kind | None:
        """Return what it is, if that is wanted."""
        return "apiKey" if "apiKey" in kinds else None

    def current(self) -> Credential:
        """Return the key.

        Raises
        ------
        SetupError
            It cannot be one.
        """
        key = self._credential.token
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise SetupError(
                f"the API key {self._credential.source} has characters that no key has",
                hint="Copy it anew, without spaces or line ends",
            )
        return self._credential

    def renewed(self, refused: Credential) -> Credential:  # noqa: ARG002 - as `Source` has it
        """Refuse: a key has no successor."""
        raise SetupError(
            f"the API key {self._credential.source} is refused",
            hint="Check it where it was made, and set it anew",
        )


class TokenSource:
    """A personal access token from the environment."""

    is_elsewhere = False

    def __init__(self, token: str, environ: Mapping[str, str], kinds: frozenset[Kind]) -> None:
        self._token = token
        self._kinds = kinds
        self._personal = Personal(environ)

    def peek(self, kinds: frozenset[Kind]) -> Kind | None:
        """Return what it is, if that is wanted, and by its looks."""
        is_one = self._token.startswith(PERSONAL)
        return "accessToken" if is_one and "accessToken" in kinds else None

    def current(self) -> Credential | None:
        """Return the token and whose it is; None where such tokens may not be used."""
        if "accessToken" not in self._kinds:
            return None
        return self._personal.credential(self._token, f"from {ACCESS_TOKEN}")

    def renewed(self, refused: Credential) -> Credential:  # noqa: ARG002 - as `Source` has it
        """Refuse: such a token is good until it is taken back."""
        raise SetupError(
            f"the access token from {ACCESS_TOKEN} is refused",
            hint="Make a new one in ChatGPT's settings, or unset the variable",
        )


def _explicit(settings: Settings, environ: Mapping[str, str]) -> KeySource:
    key = settings.api_key or ""
    is_codexs = key == environ.get("CODEX_API_KEY")
    return KeySource(key, "from CODEX_API_KEY" if is_codexs else EXPLICIT)


def _named_key(name: str, environ: Mapping[str, str]) -> KeySource:
    if not (key := environ.get(name)):
        raise SetupError(
            f"the key was to come from {name}, which is not set",
            hint="Set it and restart the kernel, or correct CODEX_MAGIC_ENV_KEY",
        )
    return KeySource(key, f"from {name}")


def _check(settings: Settings) -> None:
    """Pass settings of which no two name different credentials."""
    if settings.env_key not in (None, API_KEY) and settings.base_url is None:
        raise SetupError(
            f"the key from {settings.env_key} is another host's, and no host is named for it",
            hint="Set CODEX_MAGIC_BASE_URL to that host, or unset CODEX_MAGIC_ENV_KEY",
        )
    if settings.account is None:
        return
    homes.check(settings.account)
    other = next((name for name, is_set in _beside_accounts(settings) if is_set), None)
    if other is not None:
        raise SetupError(
            f"CODEX_MAGIC_ACCOUNT names a sign-in, and CODEX_MAGIC_{other} another one",
            hint="Unset one of the two",
        )


def _beside_accounts(settings: Settings) -> Sequence[tuple[str, bool]]:
    return (
        ("TOKEN_SOURCE", settings.token_source != LOCAL),
        ("TOKEN_FILE", settings.token_file is not None),
    )


def _of_another_host(settings: Settings, environ: Mapping[str, str]) -> list[Kept]:
    url = settings.base_url or ""
    found: list[Kept] = []
    if settings.env_key is not None:
        found = [_named_key(settings.env_key, environ)]
    elif settings.api_key is not None and settings.api_key != environ.get("CODEX_API_KEY"):
        found = [_explicit(settings, environ)]
    if found and not hosts.is_safe(url):
        raise SetupError(
            f"a key must not be sent to {hosts.shown(url)} unencrypted",
            hint="Let CODEX_MAGIC_BASE_URL begin with https://",
        )
    return found


def _stored(
    settings: Settings, environ: Mapping[str, str], notices: Notices, kinds: frozenset[Kind]
) -> Kept:
    match settings.token_source:
        case "local":
            return StoredSource(_places(settings, environ, notices), environ, notices, kinds)
        case "http" | "remote":
            url = _wanted(settings.token_url, "TOKEN_URL", "http")
            if not hosts.is_safe(url):
                raise SetupError(
                    f"a credential must not come from {hosts.shown(url)} unencrypted",
                    hint="Let CODEX_MAGIC_TOKEN_URL begin with https://",
                )
            where = f"from {hosts.shown(url)}"

            def fetch() -> bytes:
                return remote.fetch(url, settings.token_key, environ)

        case "ssh":
            host = _wanted(settings.token_host, "TOKEN_HOST", "ssh")
            where = f"from {ssh.remote(host).target} by ssh"

            def fetch() -> bytes:
                return ssh.fetch(host, settings.token_file, settings.token_password, environ)

        case "command":
            line = _wanted(settings.token_command, "TOKEN_COMMAND", "command")
            where = f"printed by {Path(command.words(line)[0]).name}"

            def fetch() -> bytes:
                return command.fetch(line, environ)

        case "tcp":
            raise SetupError(
                "tokens over bare tcp are another program's own protocol, unencrypted",
                hint="Let that program print the token, and set CODEX_MAGIC_TOKEN_SOURCE=command",
            )
        case other:
            raise SetupError(
                f"there is no source of tokens called {other!r}",
                hint="Set CODEX_MAGIC_TOKEN_SOURCE to local, http, ssh or command",
            )
    return FetchedSource(fetch, where, environ, notices, kinds)


def _wanted(value: str | None, name: str, source: str) -> str:
    if not value:
        raise SetupError(
            f"tokens are to come by {source}, and CODEX_MAGIC_{name} does not say from where",
            hint="Set it and restart the kernel",
        )
    return value


def _places(settings: Settings, environ: Mapping[str, str], notices: Notices) -> list[Place]:
    if settings.token_file:
        path = Path(settings.token_file).expanduser()
        return [FilePlace(path, f"the sign-in in {path}", _THERE, notices)]
    account = settings.account
    named = f" {account}" if account else ""
    found: list[Place] = [
        FilePlace(homes.ours(environ, account), f"your sign-in{named}", _HERE, notices),
        FilePlace(homes.codexs(environ, account), f"Codex's sign-in{named}", _THERE, notices),
    ]
    return found if account else [*found, KeyringPlace(homes.codex(environ))]
