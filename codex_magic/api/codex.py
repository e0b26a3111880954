"""`Codex`: threads and turns in plain Python, over the same sessions as a notebook's.

It gives threads lanes to run on and asks a backend what concerns no thread. How a turn runs is the
session's business, how options are spelt that of `codex_magic.api.options`.
"""

from __future__ import annotations

import itertools
import threading
import warnings
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self, Unpack

from codex_magic.api import options
from codex_magic.api.config import CodexConfig, setup
from codex_magic.api.failures import OptionError
from codex_magic.api.lanes import Lanes
from codex_magic.api.signin import ChatgptLoginHandle, DeviceCodeLoginHandle
from codex_magic.api.thread import Thread
from codex_magic.api.types import (
    GetAccountResponse,
    InitializeResponse,
    Model,
    ModelListResponse,
    ServerInfo,
    StoredThread,
    ThreadArchiveResponse,
    ThreadListResponse,
)
from codex_magic.backends.base import Start
from codex_magic.errors import CellError, with_article

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

    from codex_magic.api.approvers import ApproverLike
    from codex_magic.api.options import ThreadOptions
    from codex_magic.backends.base import Backend
    from codex_magic.session import Session
    from codex_magic.tools.base import Tool

LISTED: Final = 20

_ALL: Final = "means nothing here: what is stored is listed, the latest used first"
LIST_OPTIONS: Final = {
    name: f"{name} {_ALL}"
    for name in (
        *("cursor", "model_providers", "search_term", "section_id", "sort_direction"),
        *("sort_key", "source_kinds", "use_state_db_only"),
    )
}
"""Options of the SDK's list, and what there is to tell of them."""


class OptionWarning(UserWarning):
    """An option of the SDK that means less here, or nothing."""


class Codex:
    """Codex in a program.

    Nothing is started before it is needed; a thread that is started needs its backend. Leaving the
    ``with`` block ends all that was started, running turns included.

    Parameters
    ----------
    config
        The SDK's way to say some of this.
    backend
        ``app-server``: the Codex program; ``responses``: a model's host directly; ``auto``: the first
        of them that can be used here.
    base_url, api_key
        Another host of the Responses API; a key, which is kept in memory only.
    codex_home
        Where Codex keeps its sign-in and its threads.
    env
        Variables over those of this process.
    approver
        Who is asked where a command wants more than its sandbox gives, in threads that say nothing
        else: a function of one argument. Nobody by default: then it is declined.
    connect
        Makes a backend, one for each lane; for one of your own.
    """

    def __init__(  # noqa: PLR0913 - all but one by their names
        self,
        config: CodexConfig | None = None,
        *,
        backend: str = "auto",
        base_url: str | None = None,
        api_key: str | None = None,
        codex_home: str | Path | None = None,
        env: Mapping[str, str] | None = None,
        approver: ApproverLike | None = None,
        connect: Callable[[], Backend] | None = None,
    ) -> None:
        if not isinstance(config, CodexConfig | None):
            raise OptionError(
                f"what comes first is a CodexConfig, and this is {with_article(type(config).__name__)}",
                hint="A folder goes in as CodexConfig(cwd=…), a host as base_url=…, a key as api_key=…",
            )
        given = {
            "backend": None if backend == "auto" else backend,
            "base_url": base_url,
            "api_key": api_key,
        }
        self._setup = setup(config or CodexConfig(), given, codex_home=codex_home, env=env)
        self._values = dict(self._setup.values)
        if approver is not None:
            self._values["approver"] = approver
        self._connect = connect
        self._lanes = Lanes(self._session)
        self._threads: weakref.WeakValueDictionary[str, Thread] = weakref.WeakValueDictionary()
        self._numbers = itertools.count(1)
        self._told: set[str] = set()
        self._telling = threading.Lock()
        self._tell(self._setup.news)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End everything that was started; running turns end as interrupted."""
        self._lanes.close()

    # --- threads ------------------------------------------------------------------------------

    def thread_start(self, **said: Unpack[ThreadOptions]) -> Thread:
        """Start a thread; its `id` is known at once.

        Parameters
        ----------
        **said
            See `ThreadOptions`.

        Raises
        ------
        CellError
            An option cannot be understood.
        SetupError, BackendError
            The backend cannot be used.
        """
        return self._thread(said)

    def thread_resume(self, thread_id: str, **said: Unpack[ThreadOptions]) -> Thread:
        """Take up a stored thread by its id; ``last`` is the newest of the folder.

        One that has other tools than this package's, of the SDK say, is copied, and one that another
        program has open is forked: then `Thread.id` is another.

        Raises
        ------
        CellError
            There is none.
        """
        known = self._threads.get(thread_id)
        if known is not None:
            known.update(said)
            return known
        return self._thread(said, resume=thread_id)

    def thread_fork(self, thread_id: str, **said: Unpack[ThreadOptions]) -> Thread:
        """Start a thread that goes on from the last turn of another one, which stays as it is.

        Raises
        ------
        CellError
            There is no such thread, or it has had no turn.
        """
        turns = self._lanes.home(thread_id).backend.turns(thread_id)
        if not turns:
            raise CellError(
                f"thread {thread_id} has had no turn yet", hint="Start one: thread_start()"
            )
        last = turns[-1]
        return self._thread(said, start=Start(last.thread_id, branch=last.turn_id))

    def thread_archive(self, thread_id: str) -> ThreadArchiveResponse:
        """Take a thread off the list; its id takes it up again.

        Raises
        ------
        CellError
            There is no such thread.
        """
        lane = self._lanes.home(thread_id)
        with lane.is_taken:
            lane.backend.archive(thread_id)
        return ThreadArchiveResponse()

    def thread_unarchive(self, thread_id: str) -> Thread:
        """Take up a thread that was taken off the list; likewise."""
        return self.thread_resume(thread_id)

    def thread_list(
        self,
        *,
        cwd: str | Path | None = None,
        limit: int | None = None,
        archived: bool | None = None,
        **said: Any,
    ) -> ThreadListResponse:
        """Return the stored threads of a folder, or of all, the latest used first.

        Parameters
        ----------
        archived
            Return those that were archived instead.

        Raises
        ------
        BackendError, SetupError
            The backend cannot be used.
        """
        for name in said:
            if name not in LIST_OPTIONS:
                raise OptionError(
                    f"thread_list has no option {name!r}", hint="There are: cwd, limit, archived"
                )
        self._tell([LIST_OPTIONS[name] for name, value in said.items() if value is not None])
        backend = self._backend()
        folder = None if cwd is None else str(Path(cwd).expanduser().resolve())
        wanted = LISTED if limit is None else limit
        found = backend.threads(folder, wanted, archived=bool(archived))
        return ThreadListResponse(map(StoredThread.of, found))

    def _thread(
        self, said: Mapping[str, Any], start: Start | None = None, resume: str | None = None
    ) -> Thread:
        cwd = _here()
        given = options.read(said, "thread", base=cwd)
        news = self._tell(given.news)
        thread = Thread(
            self._lanes,
            f"thread {next(self._numbers)}",
            home=resume or "",
            settings=self._setup.settings,
            cwd=cwd,
            values={**self._values, **given.values},
            tell=self._tell,
            moved=self._keep,
        )
        thread.open(start or Start(), resume, news)
        return thread

    def _keep(self, thread: Thread) -> None:
        self._threads[thread.id] = thread

    # --- what concerns no thread --------------------------------------------------------------

    @property
    def metadata(self) -> InitializeResponse:
        """What runs the turns."""
        from importlib.metadata import version  # noqa: PLC0415 - reads the disk: only when asked

        backend = self._backend()
        backend.account()  # it is running then, and knows its version
        known: tuple[int, ...] | None = getattr(backend, "version", None)
        spoken = ".".join(map(str, known)) if known else version("codex-magic")
        return InitializeResponse(ServerInfo(backend.name, spoken))

    def models(self, *, include_hidden: bool = False) -> ModelListResponse:
        """Return the models that can be asked for."""
        found = (Model.of(model) for model in self._backend().models())
        return ModelListResponse(model for model in found if include_hidden or not model.hidden)

    def account(self, *, refresh_token: bool = False) -> GetAccountResponse:  # noqa: ARG002 - the SDK's
        """Return who pays for the turns; what is about to expire is renewed without being asked."""
        return GetAccountResponse.of(self._backend().account())

    def login_api_key(self, api_key: str) -> None:
        """Keep an API key for this program and later ones."""
        self._backend().sign_in_with_key(api_key)

    def login_chatgpt(self) -> ChatgptLoginHandle:
        """Begin to sign a person in, in a browser on this machine.

        Raises
        ------
        SetupError
            It cannot be done here.
        """
        return ChatgptLoginHandle(self._backend().sign_in("browser"))

    def login_chatgpt_device_code(self) -> DeviceCodeLoginHandle:
        """Begin to sign a person in, on any device; likewise."""
        return DeviceCodeLoginHandle(self._backend().sign_in("device"))

    def logout(self) -> None:
        """Revoke and forget what a sign-in brought; without one this does nothing."""
        self._backend().sign_out()

    # --- how it is made -----------------------------------------------------------------------

    def _backend(self) -> Backend:
        return self._lanes.any().backend

    def _session(self, tools: Sequence[Tool]) -> Session:
        from codex_magic.session import Session  # noqa: PLC0415 - takes long, and not each program needs it

        return Session(
            self._setup.settings,
            environ=self._setup.environ,
            beside=tools,
            connect=self._connect,
        )

    def _tell(self, news: Sequence[str]) -> list[str]:
        """Warn of what was not said before, and return it: a turn tells it as well."""
        with self._telling:
            fresh = [text for text in dict.fromkeys(news) if text not in self._told]
            self._told.update(fresh)
        for text in fresh:
            warnings.warn(text, OptionWarning, stacklevel=4)
        return fresh


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError:
        raise CellError("the folder that this program runs in is gone") from None
