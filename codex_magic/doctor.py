"""What this machine has of what a turn needs: checked by trying it, one line each."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Final

from codex_magic import binary, sandbox
from codex_magic.account.words import facts
from codex_magic.backends.hints import SIGN_IN
from codex_magic.choosing import RESPONSES
from codex_magic.errors import CodexMagicError
from codex_magic.sandbox.probe import NO_BWRAP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from codex_magic.backends.base import Account, Backend
    from codex_magic.session import Session

PACKAGES: Final = ("codex-magic", "ipython", "ipykernel", "openai-codex-cli-bin")
PROXIES: Final = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "CODEX_CA_CERTIFICATE")


INSTALL_BWRAP: Final = (
    "For the whole of it install bubblewrap (apt install bubblewrap, or the like)"
)


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at; `advice` is what to type, to have it good or better."""

    name: str
    good: bool
    found: str
    advice: str = ""

    def __str__(self) -> str:
        line = f"{'ok ' if self.good else 'NOT'} {self.name}: {self.found}"
        return f"{line}. {self.advice}" if self.advice else line


def examine(session: Session) -> Iterator[Check]:
    """Yield every check, each as soon as it is done."""
    yield Check("Python", good=True, found=f"{platform.python_version()}, {platform.platform()}")
    yield _packages()
    yield from _kernel()
    yield _sandbox()
    yield from _backend(session)
    seen = [name for name in PROXIES if name in os.environ or name.lower() in os.environ]
    yield Check("proxy and certificates", good=True, found=", ".join(seen) or "none set")


def _packages() -> Check:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    good = "codex-magic" not in missing
    return Check("packages", good=good, found=", ".join([*found, *(f"no {m}" for m in missing)]))


def _kernel() -> Iterator[Check]:
    """Name a fault of ipykernel 7.0 to 7.3; nothing of ours can mend it, 7.4 has.

    A request that comes in while a reply goes out may stay unread, and all that follow with it.
    """
    try:
        found = version("ipykernel")
    except PackageNotFoundError:
        return
    if found.startswith(("7.0.", "7.1.", "7.2.", "7.3.")):
        advice = "Type: pip install -U ipykernel, and restart the kernel"
        yield Check(
            "kernel",
            good=False,
            found=f"ipykernel {found} can stop reading requests",
            advice=advice,
        )


def _sandbox() -> Check:
    probe = sandbox.probe()
    is_missing = NO_BWRAP in probe.reason
    if probe.level == "none":
        what = "install bubblewrap" if is_missing else "allow user namespaces"
        advice = f"Commands are refused; {what}, or run with -s external in a container"
        return Check("sandbox", good=False, found=probe.reason, advice=advice)
    found = f"{probe.level}, by {probe.mechanism}; for what it does not do type: %codex sandbox"
    return Check("sandbox", good=True, found=found, advice=INSTALL_BWRAP if is_missing else "")


def _backend(session: Session) -> Iterator[Check]:
    try:
        backend = session.backend
        yield from _responses() if backend.name == RESPONSES else _codex(session)
        if session.tape is not None:
            found = f"none needed: tape {session.tape.name} is played"
            yield Check("account", good=True, found=found)
            return
        yield from _account(backend)
    except CodexMagicError as error:
        yield Check("backend", good=False, found=error.message, advice=error.hint)


def _responses() -> Iterator[Check]:
    found = "responses: a host of models is asked directly, without the Codex program"
    yield Check("backend", good=True, found=found)


def _account(backend: Backend) -> Iterator[Check]:
    """Say who is signed in, and what the host says to that where it is asked directly."""
    account = backend.account()
    is_good = bool(account.kind) or not account.needed
    if is_good:
        yield Check("account", good=True, found=_who(account))
    reach: Callable[[], str] | None = getattr(backend, "reach", None)
    if reach is None:
        if not is_good:
            yield Check("account", good=False, found="nobody is signed in", advice=SIGN_IN)
        return
    try:
        yield Check("host", good=True, found=reach())
    except CodexMagicError as error:
        what = "host" if is_good else "account"
        yield Check(what, good=False, found=error.message, advice=error.hint)


def _codex(session: Session) -> Iterator[Check]:
    session.backend.account()  # only a started Codex knows its version
    # What runs may be another than the preferred one, which did not start.
    program = getattr(session.backend, "program", None) or binary.candidates()[0]
    known = getattr(session.backend, "version", None)
    number = binary.spoken(known) if known else "of unknown version"
    yield Check("Codex", good=True, found=f"{number}, {program.path} (from {program.source})")


def _who(account: Account) -> str:
    known = facts(account, 0.0)
    return ", ".join(known[name] for name in ("account", "plan", "source") if name in known)
