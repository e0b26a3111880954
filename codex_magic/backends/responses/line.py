"""What one request holds of the network, so that any OS thread can end it.

It knows no protocol. Whoever waits on the network says here for what; `cut` ends that wait at once,
whether it is for a name, a connection, a handshake or the next byte.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Line:
    """The line of one request.

    Attributes
    ----------
    is_cut
        Whether somebody has ended it.
    """

    def __init__(self) -> None:
        self.is_cut = False
        self._guard = threading.Lock()
        self._socket: socket.socket | None = None
        self._wake: Callable[[], object] | None = None
        self._until: float | None = None

    def cut(self) -> None:
        """End what is waited for, now and later."""
        with self._guard:
            self.is_cut = True
            self._shut()
            if self._wake is not None:
                self._wake()

    def hold(self, sock: socket.socket) -> None:
        """Let this be the connection that `cut` breaks."""
        with self._guard:
            self._socket = sock
            if self.is_cut:
                self._shut()

    def let_go(self, sock: socket.socket | None = None) -> None:
        """Hold `sock` no more, by default whatever is held: it may serve another request now."""
        with self._guard:
            if sock is None or sock is self._socket:
                self._socket = None

    @contextmanager
    def waking(self, wake: Callable[[], object]) -> Iterator[None]:
        """Let `cut` call `wake`, at once if it has been called already."""
        with self._guard:
            self._wake = wake
            if self.is_cut:
                wake()
        try:
            yield
        finally:
            with self._guard:
                self._wake = None

    def allow(self, seconds: float) -> None:
        """Wait that long from now, and no longer."""
        self._until = time.monotonic() + seconds

    def seconds_left(self) -> float | None:
        """Return how long may still be waited; None where nobody has said."""
        return None if self._until is None else self._until - time.monotonic()

    def _shut(self) -> None:
        if self._socket is not None:
            # A TLS socket's own method would take its state away under a reader's feet.
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
