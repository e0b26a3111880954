"""`AsyncCodex`: the same as `Codex`, to be awaited.

Everything is done by a `Codex`. What waits for a moment does so in a worker of asyncio's; a turn has
an OS thread of its own, which tells the event loop what happens, so that a hundred turns wait for no
worker. A task that is cancelled ends its turn.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self, Unpack

from codex_magic.api.codex import Codex
from codex_magic.api.notifications import Translator
from codex_magic.api.thread import value
from codex_magic.events import TurnStarted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from codex_magic.api.handle import TurnHandle
    from codex_magic.api.inputs import RunInput
    from codex_magic.api.notifications import Notification
    from codex_magic.api.options import ThreadOptions, TurnOptions
    from codex_magic.api.signin import ChatgptLoginHandle, DeviceCodeLoginHandle
    from codex_magic.api.thread import Thread
    from codex_magic.api.types import (
        AccountLoginCompletedNotification,
        CancelLoginAccountResponse,
        GetAccountResponse,
        InitializeResponse,
        ModelListResponse,
        ThreadArchiveResponse,
        ThreadCompactStartResponse,
        ThreadListResponse,
        ThreadReadResponse,
        ThreadSetNameResponse,
        TurnInterruptResponse,
        TurnSteerResponse,
    )
    from codex_magic.events import Event
    from codex_magic.turn import Turn
    from codex_magic.typed import Answered


class AsyncCodex:
    """Codex in an asynchronous program; its parameters are those of `Codex`."""

    def __init__(self, *config: Any, **given: Any) -> None:
        self._codex = Codex(*config, **given)
        self._metadata: InitializeResponse | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End everything that was started; running turns end as interrupted."""
        await asyncio.to_thread(self._codex.close)

    @property
    def metadata(self) -> InitializeResponse:
        """What runs the turns; this waits, for as long as it takes to start."""
        return self._codex.metadata

    async def thread_start(self, **said: Unpack[ThreadOptions]) -> AsyncThread:
        """Start a thread; see `Codex.thread_start`."""
        return AsyncThread(await asyncio.to_thread(self._codex.thread_start, **said))

    async def thread_resume(self, thread_id: str, **said: Unpack[ThreadOptions]) -> AsyncThread:
        """Take up a stored thread; see `Codex.thread_resume`."""
        resumed = await asyncio.to_thread(self._codex.thread_resume, thread_id, **said)
        return AsyncThread(resumed)

    async def thread_fork(self, thread_id: str, **said: Unpack[ThreadOptions]) -> AsyncThread:
        """Go on from another thread; see `Codex.thread_fork`."""
        return AsyncThread(await asyncio.to_thread(self._codex.thread_fork, thread_id, **said))

    async def thread_list(self, **said: Any) -> ThreadListResponse:
        """Return stored threads; see `Codex.thread_list`."""
        return await asyncio.to_thread(self._codex.thread_list, **said)

    async def thread_archive(self, thread_id: str) -> ThreadArchiveResponse:
        """Take a thread off the list; see `Codex.thread_archive`."""
        return await asyncio.to_thread(self._codex.thread_archive, thread_id)

    async def thread_unarchive(self, thread_id: str) -> AsyncThread:
        """Take such a thread up again; see `Codex.thread_unarchive`."""
        return AsyncThread(await asyncio.to_thread(self._codex.thread_unarchive, thread_id))

    async def models(self, *, include_hidden: bool = False) -> ModelListResponse:
        """Return the models that can be asked for."""
        return await asyncio.to_thread(self._codex.models, include_hidden=include_hidden)

    async def account(self, *, refresh_token: bool = False) -> GetAccountResponse:
        """Return who pays for the turns."""
        return await asyncio.to_thread(self._codex.account, refresh_token=refresh_token)

    async def login_api_key(self, api_key: str) -> None:
        """Keep an API key for this program and later ones."""
        await asyncio.to_thread(self._codex.login_api_key, api_key)

    async def login_chatgpt(self) -> AsyncChatgptLoginHandle:
        """Begin to sign a person in, in a browser on this machine."""
        return AsyncChatgptLoginHandle(await asyncio.to_thread(self._codex.login_chatgpt))

    async def login_chatgpt_device_code(self) -> AsyncDeviceCodeLoginHandle:
        """Begin to sign a person in, on any device."""
        begun = await asyncio.to_thread(self._codex.login_chatgpt_device_code)
        return AsyncDeviceCodeLoginHandle(begun)

    async def logout(self) -> None:
        """Revoke and forget what a sign-in brought."""
        await asyncio.to_thread(self._codex.logout)


class AsyncThread:
    """A thread whose turns are awaited; see `Thread`."""

    def __init__(self, thread: Thread) -> None:
        self._thread = thread

    def __repr__(self) -> str:
        return f"AsyncThread(id={self.id!r})"

    @property
    def id(self) -> str:
        """What it is taken up by."""
        return self._thread.id

    @property
    def last(self) -> Turn | None:
        """What came of its last turn here."""
        return self._thread.last

    async def run(self, prompt: RunInput, **said: Unpack[TurnOptions]) -> Turn:
        """Run a turn to its end and return what came of it; see `Thread.run`."""
        return await (await self.turn(prompt, **said)).run()

    async def answer(self, prompt: RunInput, schema: Any, /, **said: Unpack[TurnOptions]) -> Any:
        """Run a turn whose answer fits `schema`, and return the value; see `Thread.answer`."""
        told = _Told(asyncio.get_running_loop())
        kept: list[Answered] = []
        given = {**said, "schema": schema}
        begun = self._thread.begin(prompt, given, told.put, kept.append)
        await AsyncTurnHandle(begun, told).run()
        return value(kept[0])

    async def stream(self, prompt: RunInput, **said: Unpack[TurnOptions]) -> AsyncIterator[Event]:
        """Run a turn and yield its events; see `Thread.stream`."""
        handle = await self.turn(prompt, **said)
        try:
            async for event in handle.events():
                yield event
        finally:
            await handle.leave()

    async def turn(self, prompt: RunInput, **said: Unpack[TurnOptions]) -> AsyncTurnHandle:
        """Start a turn, and return what can be done with it meanwhile; see `Thread.turn`."""
        told = _Told(asyncio.get_running_loop())
        handle = AsyncTurnHandle(self._thread.begin(prompt, said, told.put), told)
        await handle.begun()
        return handle

    async def read(self, *, include_turns: bool = False) -> ThreadReadResponse:
        """Return what is stored of it."""
        return await asyncio.to_thread(self._thread.read, include_turns=include_turns)

    async def set_name(self, name: str) -> ThreadSetNameResponse:
        """Call it something in the list of threads."""
        return await asyncio.to_thread(self._thread.set_name, name)

    async def compact(self) -> ThreadCompactStartResponse:
        """Have what was said so far made shorter; see `Thread.compact`."""
        return await asyncio.to_thread(self._thread.compact)


class _Told:
    """What a turn's own OS thread tells the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.events: asyncio.Queue[Event | None] = asyncio.Queue()
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    def put(self, event: Event | None) -> None:
        """Take an event, from any OS thread; None says that there are no more."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
            self._loop.call_soon_threadsafe(self._take, event)

    def _take(self, event: Event | None) -> None:
        self.events.put_nowait(event)
        if event is None or isinstance(event, TurnStarted):
            self.begun.set()
        if event is None:
            self.ended.set()


class AsyncTurnHandle:
    """A running turn; see `TurnHandle`."""

    def __init__(self, handle: TurnHandle, told: _Told) -> None:
        self._handle = handle
        self._told = told

    @property
    def id(self) -> str:
        """The turn's."""
        return self._handle.id

    @property
    def thread_id(self) -> str:
        """Its thread's."""
        return self._handle.thread_id

    @property
    def turn(self) -> Turn | None:
        """All that came of it, once it is over."""
        return self._handle.turn

    async def begun(self) -> None:
        """Wait until it has begun; raise what kept it from that."""
        await self._unless_cancelled(self._told.begun)
        self._handle.check_begun()

    async def events(self) -> AsyncIterator[Event]:
        """Yield its events as they come, each once; see `TurnHandle.events`."""
        while (event := await self._told.events.get()) is not None:
            yield event
        self._told.put(None)  # for whoever asks again
        self._handle.check()

    async def stream(self) -> AsyncIterator[Notification]:
        """Yield the same in the SDK's shape."""
        translator = Translator(self.thread_id)
        async for event in self.events():
            yield translator.notification(event)

    async def run(self) -> Turn:
        """Wait for the end and return what came of it; see `TurnHandle.run`."""
        await self._unless_cancelled(self._told.ended)
        return self._handle.result()

    async def steer(self, given: RunInput) -> TurnSteerResponse:
        """Add words to the turn."""
        return self._handle.steer(given)

    async def interrupt(self) -> TurnInterruptResponse:
        """Ask the turn to stop."""
        return self._handle.interrupt()

    async def leave(self) -> None:
        """Have it stopped where it still runs, and wait for that."""
        if not self._told.ended.is_set():
            self._handle.interrupt()
            await self._told.ended.wait()

    async def _unless_cancelled(self, event: asyncio.Event) -> None:
        try:
            await event.wait()
        except asyncio.CancelledError:
            self._handle.interrupt()
            raise


class _AsyncLogin:
    def __init__(self, handle: ChatgptLoginHandle | DeviceCodeLoginHandle) -> None:
        self._handle = handle
        self.login_id = handle.login_id

    async def wait(self) -> AccountLoginCompletedNotification:
        """Wait for the person; see `LoginHandle.wait`."""
        try:
            return await asyncio.to_thread(self._handle.wait)
        except asyncio.CancelledError:
            self._handle.cancel()
            raise

    async def cancel(self) -> CancelLoginAccountResponse:
        """Give it up."""
        return await asyncio.to_thread(self._handle.cancel)


class AsyncChatgptLoginHandle(_AsyncLogin):
    """A sign-in in a browser on this machine."""

    def __init__(self, handle: ChatgptLoginHandle) -> None:
        super().__init__(handle)
        self.auth_url = handle.auth_url


class AsyncDeviceCodeLoginHandle(_AsyncLogin):
    """A sign-in on any device, with a code."""

    def __init__(self, handle: DeviceCodeLoginHandle) -> None:
        super().__init__(handle)
        self.verification_url = handle.verification_url
        self.user_code = handle.user_code
