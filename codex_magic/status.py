"""What the next turn would run on, in lines for a person."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from codex_magic import binary, folder, sandbox
from codex_magic.account.words import facts
from codex_magic.approval import granted
from codex_magic.errors import CodexMagicError
from codex_magic.policy import Limits
from codex_magic.render import words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codex_magic.session import Session


def lines(session: Session) -> Iterator[str]:
    """Yield the session's state, a line for each thing.

    Codex is started, to ask who is signed in; no model is called.
    """
    settings = session.settings
    probe = sandbox.probe()
    account = _account(session)  # first: only a started backend knows its version
    yield f"backend:  {_backend(session)}"
    for label, text in account.items():
        yield f"{label + ':':<9} {text}"
    yield f"model:    {_model(session)}"
    yield f"sandbox:  {settings.sandbox}; enforced here: {probe.level} ({probe.mechanism or probe.reason})"
    if not settings.tools:
        yield "tools:    none"
    yield f"approval: {settings.approval}"
    for grant in session.grants:
        yield f"allowed:  {granted(grant)}"
    others = [name for name in session.threads if name != session.current]
    yield f"thread:   {_line(', '.join((session.current, *others)))}"
    if session.tape is not None:
        yield f"tape:     {_line(session.tape.name)}; no model is called"
    if session.last is not None:
        yield f"last:     {session.last.status}, {_line(session.last.model)}"


def sandbox_lines(session: Session) -> Iterator[str]:
    """Yield what commands are kept from on this machine, and what not; found out by trying it."""
    probe = sandbox.probe()
    settings = session.settings
    yield f"sandbox:  {settings.sandbox}; enforced here: {probe.level}"
    yield f"by:       {probe.mechanism or 'nothing'}"
    if probe.reason:
        yield f"because:  {_line(probe.reason)}"
    yield from (f"  + {line}" for line in probe.enforced)
    yield from (f"  - not: {line}" for line in probe.missing)
    limits = Limits()
    yield (
        f"limits:   {settings.timeout_s:g} s, {limits.cpu_s} s of processor time a process, "
        f"{limits.memory_bytes >> 30} GiB of memory, {limits.processes} processes, "
        f"{limits.disk_bytes >> 30} GiB to disks, {limits.file_bytes >> 30} GiB a file"
    )
    yield f"rules:    {_rules(session)}"
    log = folder.data() / folder.AUDIT
    yield f"audit:    {log if settings.audit else 'off'}"


def _rules(session: Session) -> str:
    try:
        return _line(session.rules())
    except CodexMagicError as error:
        return f"none can be applied, so no turn starts: {_line(str(error))}"


def _line(text: str) -> str:
    """Return somebody else's words on one line that moves no cursor."""
    return " ".join(words.clean(text).split())


def _backend(session: Session) -> str:
    try:
        backend = session.backend
    except CodexMagicError as error:
        return f"none: {_line(error.message)}"
    known = getattr(backend, "version", None)
    try:
        where = _line(getattr(backend, "address", ""))
    except CodexMagicError:  # of the credential, as another line says
        where = ""
    more = f"Codex {binary.spoken(known)}" if known else where
    return ", ".join(filter(None, (backend.name, more)))


def _model(session: Session) -> str:
    if session.settings.model:
        return _line(session.settings.model)
    try:
        own = session.own_model
    except CodexMagicError:  # there is no backend, as another line says
        own = ""
    return f"{_line(own)}, this thread's own" if own else "the one the backend chooses"


def _account(session: Session) -> dict[str, str]:
    if session.tape is not None:
        return {"account": "none needed"}
    try:
        return facts(session.backend.account(), time.time())
    except CodexMagicError as error:
        return {"account": _line(str(error))}
