"""Messages of our own widgets while the cell that shows them is still running.

A kernel puts what a front end sends behind the running cell, also a click on the button that the
cell waits for; which versions and settings let it through differs (in ipykernel 7.4 none does). So
for as long as a turn runs, what arrives for one of our widgets is taken off before the kernel
queues it. All else passes on untouched and in its order, and afterwards the kernel has its own
receiver back.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import zmq

from codex_magic.interrupts import interrupts_held

log = logging.getLogger("codex_magic")

Receive = Callable[[Any, Any], None]
"""Takes the content of a message and the time at which its sender sent it; may only enqueue."""

SWAP_S: Final = 2.0
"""Seconds for another OS thread to change a receiver; it takes less than a millisecond."""

PUMP_S: Final = 0.01
"""Seconds between two looks at the socket where nobody else reads it."""


class Door(Protocol):
    """What a page needs of a kernel: its messages in, its own messages out."""

    def open(self, comm_id: str, receive: Receive) -> None:
        """Pass what arrives for `comm_id` to `receive`, from whatever OS thread reads it."""
        ...

    def pump(self) -> None:
        """Look for what has arrived; called often, on the main thread."""
        ...

    def send(self, comm_id: str, content: dict[str, Any]) -> None:
        """Send a widget's custom message."""
        ...

    def close(self) -> None:
        """Take nothing off any more."""
        ...


class KernelDoor:
    """The door of an ipykernel, 6.17 or newer.

    Parameters
    ----------
    kernel
        The running ipykernel.
    """

    def __init__(self, kernel: Any) -> None:
        self._kernel = kernel
        self._stream = kernel.shell_stream
        # Since ipykernel 7 an OS thread of its own reads the shell channel.
        self._reader = getattr(kernel, "shell_channel_thread", None)
        self._original: Callable[[list[Any]], Any] | None = None
        self._comm_id = ""
        self._receive: Receive | None = None
        self._taken: list[dict[str, Any]] = []
        self._pumped = 0.0

    def open(self, comm_id: str, receive: Receive) -> None:
        """Take messages for `comm_id` off from now on; see `Door.open`."""
        self._comm_id, self._receive = comm_id, receive
        if self._original is None:
            original = self._original = self._stream._recv_callback  # noqa: SLF001 - no other way to put it back
            self._swap(lambda message: self._hook(message, original))

    def close(self) -> None:
        """Give the kernel its own receiver back."""
        self._receive = None
        if self._original is not None:
            self._swap(self._original)
            self._original = None  # last: an interrupt in between begins this again
        self._acknowledge()

    def pump(self) -> None:
        """Read the socket where no other OS thread does, and tell senders that they were heard."""
        now = time.monotonic()
        if now - self._pumped < PUMP_S:
            return
        self._pumped = now
        if self._reader is None:
            with interrupts_held():  # what has been read must reach the kernel's queue
                self._stream.flush(zmq.POLLIN, 20)
        self._acknowledge()

    def send(self, comm_id: str, content: dict[str, Any]) -> None:
        """Send a widget's custom message.

        Without the header of the cell's request and without a topic, which widgets do not look at:
        they would be half of a short message.
        """
        self._kernel.session.send(
            self._kernel.iopub_socket,
            "comm_msg",
            {"comm_id": comm_id, "data": {"method": "custom", "content": content}},
        )

    # --- receiving ----------------------------------------------------------------------------

    def _swap(self, receiver: Callable[[list[Any]], Any]) -> None:
        def change() -> None:
            self._stream.on_recv(receiver, copy=False)
            done.set()

        done = threading.Event()
        if self._reader is None:
            change()
            return
        self._reader.io_loop.add_callback(change)
        if not done.wait(SWAP_S):
            log.warning("the kernel does not let its messages be routed")

    def _hook(self, message: list[Any], original: Callable[[list[Any]], Any]) -> Any:
        try:
            taken = self._take(message)
        except Exception:  # whatever it is, it is not for us
            log.debug("a message could not be read", exc_info=True)
            taken = False
        return None if taken else original(message)

    def _take(self, message: list[Any]) -> bool:
        """Take `message` off if it is for our widget; only then is its signature looked at.

        A signature counts once: the kernel could not check what passes on a second time.
        """
        receive, session = self._receive, self._kernel.session
        _, parts = session.feed_identities(message, copy=False)
        if receive is None or session.unpack(_bytes(parts[1]))["msg_type"] != "comm_msg":
            return False
        content = session.unpack(_bytes(parts[4]))
        if content["comm_id"] != self._comm_id or content["data"].get("method") != "custom":
            return False
        whole = session.deserialize(parts, content=True, copy=False)
        self._taken.append(whole)
        try:
            receive(whole["content"]["data"].get("content"), whole["header"].get("date"))
        except Exception:  # it is taken all the same: the kernel could do nothing with it
            log.exception("a message of a page could not be read")
        return True

    def _acknowledge(self) -> None:
        """Tell a front end, which waits for it, that its message has been dealt with.

        The last word is that the kernel is busy, because it is: the cell is running.
        """
        while self._taken:
            message = self._taken.pop(0)
            for state in ("busy", "idle", "busy"):
                self._kernel.session.send(
                    self._kernel.iopub_socket,
                    "status",
                    {"execution_state": state},
                    parent=message,
                    ident=b"kernel.status",
                )


def _bytes(part: Any) -> bytes:
    return bytes(part.bytes if hasattr(part, "bytes") else part)
