"""A notebook executed from end to end without a person, and told of while that happens.

It starts a kernel, sends it the cells and ends it, whatever comes: an error, a cell that hangs,
a kernel that dies, an interrupt. It looks at no turn and writes no file; the notebook that it is
given has the outputs afterwards.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from jupyter_client.kernelspec import NATIVE_KERNEL_NAME, KernelSpecManager, NoSuchKernel
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError

from codex_magic.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Mapping

GRACE_S: Final = 10.0
"""Seconds that an interrupted cell has to end before the kernel is killed."""

TICK_S: Final = 0.25
"""Seconds between two looks at the clock for whoever watches."""

OUTPUTS_S: Final = 60
"""Seconds that outputs may arrive after the cell they belong to has ended."""

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

# nbclient tells on the log what is told here by the ending.
log = logging.getLogger("codex_magic.notebook")
log.addHandler(logging.NullHandler())
log.propagate = False


def is_run(cell: Any) -> bool:
    """Return whether nbclient sends a cell to the kernel."""
    skipped = "skip-execution" in cell.metadata.get("tags", ())
    return cell.cell_type == "code" and bool(cell.source.strip()) and not skipped


class Watcher(Protocol):
    """Somebody who is told what happens while it does."""

    def begins(self, number: int, cell: Any) -> None:
        """Hear that the cell is sent to the kernel; `number` counts those that are, from 1."""
        ...

    def shows(self, data: Mapping[str, Any]) -> None:
        """Hear that the running cell shows this, beside what it did or instead of it."""
        ...

    def prints(self, text: str) -> None:
        """Hear that the running cell prints this."""
        ...

    def ends(self, number: int, cell: Any) -> None:
        """Hear that the cell has ended, well or not."""
        ...

    def ticks(self) -> None:
        """Hear that some time has passed."""
        ...


@dataclass(slots=True)
class Ending:
    """How it ended.

    Parameters
    ----------
    how
        ``done``: every cell was run. ``failed``: a cell did. ``timeout``: one took too long.
        ``died``: the kernel did. ``unstarted``: there was none. ``stopped``: a signal came.
    said
        The same for a person, in words that are partly the notebook's own.
    executed
        The indices of the cells whose outputs are of this run.
    signum
        The signal that stopped it.
    """

    how: Literal["done", "failed", "timeout", "died", "unstarted", "stopped"] = "done"
    said: str = ""
    executed: list[int] = field(default_factory=list)
    signum: int = 0


def execute(  # noqa: PLR0913 - all of it is the caller's to say
    notebook: Any,
    *,
    folder: Path,
    watcher: Watcher,
    timeout_s: float | None = None,
    kernel: str = "",
    environ: Mapping[str, str] | None = None,
) -> Ending:
    """Run every cell of `notebook`, in place, and return how that ended.

    Parameters
    ----------
    folder
        Where the kernel works.
    timeout_s
        Seconds each cell may take; None sets no limit.
    kernel
        The name of the kernel to run; the one of this very environment if empty.
    environ
        Further variables for the kernel.

    Raises
    ------
    SetupError
        There is no such kernel.
    """
    manager = _manager(kernel)
    # A kernel keeps a profile and a history; a run leaves none among the person's own.
    with tempfile.TemporaryDirectory(prefix="codex-magic-", ignore_cleanup_errors=True) as own:
        client = _Client(
            notebook,
            km=manager,
            timeout=None,
            iopub_timeout=OUTPUTS_S,
            raise_on_iopub_timeout=True,
            resources={"metadata": {"path": str(folder)}},
            # Nothing of ours makes widgets; the state of any would be dead weight in the file.
            store_widget_state=False,
            # What is shown again unchanged must leave the file unchanged.
            record_timing=False,
            # A kernel's own warnings are not part of what a person came to see.
            extra_arguments=["--log-level=40"],
            log=log,
        )
        client.prepare(watcher, timeout_s)
        return client.to_its_end(_environment(own, environ or {}), Path(own, "kernel.log"))


def _manager(kernel: str) -> AsyncKernelManager:
    # Without folders to look in, the only kernel there is runs in this very environment: a
    # person's own "python3" may be another one, without this package.
    specs = KernelSpecManager(log=log) if kernel else KernelSpecManager(kernel_dirs=[], log=log)
    name = kernel or NATIVE_KERNEL_NAME
    try:
        specs.get_kernel_spec(name)
    except NoSuchKernel:
        known = ", ".join(sorted(specs.find_kernel_specs()))
        raise SetupError(f"there is no kernel {name!r}", hint=f"There are: {known}") from None
    return AsyncKernelManager(kernel_name=name, kernel_spec_manager=specs, log=log)


def _environment(own: str, further: Mapping[str, str]) -> dict[str, str]:
    inherited = dict(os.environ)
    # Of the notebook, if any, from whose kernel or terminal this was started.
    inherited.pop("JPY_SESSION_NAME", None)
    return {**inherited, "IPYTHONDIR": own, **further}


class _Client(NotebookClient):
    """A notebook client that tells what happens, and ends what a signal or the clock stops."""

    def prepare(self, watcher: Watcher, timeout_s: float | None) -> None:
        self.ending = Ending()
        self._watcher = watcher
        self._timeout_s = timeout_s
        self._number = 0
        self._clock: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.on_cell_start = self._starts
        self.on_cell_execute = self._begins
        self.on_cell_executed = self._ends

    def to_its_end(self, environ: dict[str, str], errors: Path) -> Ending:
        how: Any = "done"
        said = ""
        with errors.open("wb") as file:
            try:
                # What the kernel's process itself writes must not reach a terminal.
                _alone(lambda: self.async_execute(env=environ, stdout=file, stderr=file))
            except CellExecutionError as error:
                how, said = "failed", f"cell {self._number} failed: {error.ename}: {error.evalue}"
            except (DeadKernelError, asyncio.CancelledError):
                how, said = "died", f"the kernel died in cell {self._number}"
            except _StoppedError:
                pass  # and the ending says why
            except Exception as error:  # noqa: BLE001 - what a kernel sends may be anything
                how, said = "died", f"the kernel cannot be followed: {error!r}"
        ending = self.ending
        if ending.how == "done":
            if not self._number and how == "died":
                how, said = "unstarted", "the kernel did not start"
            if how in ("died", "unstarted"):
                said += _last_line(errors)
            ending.how, ending.said = how, said
        return ending

    @asynccontextmanager
    async def async_setup_kernel(self, **kwargs: Any) -> AsyncIterator[None]:
        """Start the kernel and end it; nbclient's own would end it at the first signal."""
        loop = asyncio.get_running_loop()
        for signum in _SIGNALS:
            # Only the main thread can, and only where there are signals.
            with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
                loop.add_signal_handler(signum, self._signalled, signum)
        self._whole = asyncio.current_task()
        self._spawn(self._tick())
        try:
            await self.async_start_new_kernel(**kwargs)
            await self.async_start_new_kernel_client()
            yield
        finally:
            self._stop_clock()
            if self.km is not None:
                await self._async_cleanup_kernel()
            for task in self._tasks:
                task.cancel()
            for signum in _SIGNALS:
                with contextlib.suppress(RuntimeError, ValueError, NotImplementedError):
                    loop.remove_signal_handler(signum)

    def process_message(self, msg: dict[str, Any], cell: Any, cell_index: int) -> Any:
        kind, content = msg["msg_type"], msg["content"]
        if kind in ("display_data", "update_display_data"):
            self._watcher.shows(content["data"])
        elif kind == "stream":
            self._watcher.prints(content["text"])
        elif kind == "execute_input" and self.ending.how != "done":
            # The interrupt came before the kernel had begun with this cell, and did nothing.
            self._spawn(self._interrupt())
        return super().process_message(msg, cell, cell_index)

    # --- cells --------------------------------------------------------------------------------

    def _starts(self, cell: Any, cell_index: int) -> None:
        del cell, cell_index
        if self.ending.how != "done":
            raise _StoppedError  # the cell before has taken the interrupt for something else

    def _begins(self, cell: Any, cell_index: int) -> None:
        self._number += 1
        self.ending.executed.append(cell_index)
        self._watcher.begins(self._number, cell)
        if self._timeout_s is not None:
            loop = asyncio.get_running_loop()
            self._clock = loop.call_later(self._timeout_s, self._timed_out)

    def _ends(self, cell: Any, cell_index: int, execute_reply: Any) -> None:
        del cell_index, execute_reply
        self._stop_clock()
        self._watcher.ends(self._number, cell)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()

    # --- the end before the end ---------------------------------------------------------------

    def _timed_out(self) -> None:
        self._end(Ending("timeout", f"cell {self._number} took more than {self._timeout_s:g} s"))

    def _signalled(self, signum: int) -> None:
        if self.ending.how == "stopped":
            self._spawn(self._kill())
        else:
            where = f" in cell {self._number}" if self._number else ""
            self._end(Ending("stopped", f"stopped{where}", signum=signum))

    def _end(self, ending: Ending) -> None:
        """Interrupt the cell, so that a turn in it ends well; kill what does not obey."""
        ending.executed = self.ending.executed
        self.ending = ending
        self._spawn(self._interrupt())
        self._stop_clock()
        self._clock = asyncio.get_running_loop().call_later(
            GRACE_S, lambda: self._spawn(self._kill())
        )

    async def _interrupt(self) -> None:
        manager: Any = self.km
        if self._number and manager is not None and manager.has_kernel:
            await manager.interrupt_kernel()

    async def _kill(self) -> None:
        manager: Any = self.km
        if manager is not None and manager.has_kernel:
            await manager.signal_kernel(signal.SIGKILL)
        if self._whole is not None:
            self._whole.cancel()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            self._watcher.ticks()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _StoppedError(Exception):
    """A signal or the clock has stopped the run, and the cell that ran has ended."""


def _alone(work: Callable[[], Coroutine[Any, Any, Any]]) -> None:
    """Run `work` in a loop of its own; in an OS thread of its own where a loop runs in this one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        asyncio.run(work())
        return
    with ThreadPoolExecutor(1, "codex run") as pool:
        pool.submit(lambda: asyncio.run(work())).result()


def _last_line(errors: Path) -> str:
    """Return the last words of a kernel, for want of a better reason."""
    lines = errors.read_bytes()[-4000:].decode(errors="replace").split("\n")
    last = next((line for line in reversed(lines) if line.strip()), "")
    return f": {last.strip()}" if last else ""
