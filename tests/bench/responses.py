"""What the Responses API costs: ``python tests/bench/responses.py``.

Prints; asserts nothing. Times are medians, each beside a bare control of the same run. The host is a
process of its own, which writes one delta at a time and puts the time into it.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
from measure import report

from codex_magic.backends.responses.client import Client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

US = 1_000_000.0
DELTAS = 5_000

HOST = """
import json, socket, sys, time
count, gap = int(sys.argv[1]), float(sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)

def chunk(event):
    raw = f"event: {event['type']}\\ndata: {json.dumps(event)}\\n\\n".encode()
    return b"%x\\r\\n%b\\r\\n" % (len(raw), raw)

while True:
    sock, _ = listener.accept()
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b""
    while not data.endswith(b"}"):
        data += sock.recv(65536)
    sock.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\n"
                 b"transfer-encoding: chunked\\r\\n\\r\\n")
    delta = {"type": "response.output_text.delta", "sequence_number": 0, "item_id": "msg_" + "0" * 48,
             "output_index": 1, "content_index": 0, "delta": " word", "logprobs": [],
             "obfuscation": "0" * 11}
    for number in range(count):
        until = time.monotonic() + gap
        while time.monotonic() < until:
            pass
        sock.sendall(chunk({**delta, "sequence_number": number, "at": time.monotonic_ns()}))
    sock.sendall(chunk({"type": "response.completed", "response": {}}) + b"0\\r\\n\\r\\n")
    sock.close()
"""

Reading = tuple[float, float]


@contextmanager
def host(gap_s: float) -> Iterator[int]:
    """A host that writes a delta every `gap_s`; gives its port."""
    command = [sys.executable, "-c", HOST, str(DELTAS), str(gap_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


def measured(ats: Iterator[int]) -> Reading:
    """Return microseconds from written to read, and of processor time, for one delta."""
    begin = time.thread_time()
    late = [time.monotonic_ns() - at for at in ats]
    spent = time.thread_time() - begin
    return statistics.median(late) / 1000, US * spent / len(late)


def ours(port: int) -> Reading:
    def ats() -> Iterator[int]:
        with (
            Client(f"http://127.0.0.1:{port}/v1", None, lambda _: {}, environ={}) as client,
            client.stream({"model": "m"}) as stream,
        ):
            for event in stream:
                if event["type"] == "response.output_text.delta":
                    yield event["at"]

    return measured(ats())


def bare(port: int) -> Reading:
    """Read a socket and decode what stands between two braces at the ends of a line."""
    decode = msgspec.json.Decoder().decode

    def ats() -> Iterator[int]:
        body = json.dumps({"model": "m"}).encode()
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.settimeout(60)
            sock.sendall(b"POST / HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            data = b""
            while not data.endswith(b"0\r\n\r\n"):
                data += sock.recv(65536)
                while (end := data.find(b"\n\n")) >= 0:
                    event = decode(data[data.index(b"data: ") + 6 : end])
                    data = data[end + 2 :]
                    if "at" in event:
                        yield event["at"]

    return measured(ats())


def in_turns(works: dict[str, Callable[[int], Reading]], port: int) -> dict[str, Reading]:
    took: dict[str, list[Reading]] = {name: [] for name in works}
    for _ in range(5):
        for name, work in works.items():
            took[name].append(work(port))
    return {
        name: (statistics.median(a for a, _ in found), statistics.median(b for _, b in found))
        for name, found in took.items()
    }


def delta() -> None:
    """One delta from a host's write to the decoded event, slowly and as fast as can be."""
    for what, gap_s in (("every 0.5 ms", 0.0005), ("in a burst", 0.0)):
        with host(gap_s) as port:
            took = in_turns({"ours": ours, "bare": bare}, port)
        (late, spent), (bare_late, bare_spent) = took["ours"], took["bare"]
        of = "recv, decode"
        if gap_s:
            report(f"written to event, a delta {what}", late, bare_late, of, "60 us")
        report(f"processor, a delta {what}", spent, bare_spent, of, "60 us")


IMPORT = """
import time
{before}
begin = time.perf_counter()
from codex_magic.backends.responses import client, exchange
print(1000 * (time.perf_counter() - begin))
"""


def first_use() -> None:
    """Importing all that a first request needs, in fresh processes, against importing httpx2."""
    for what, before in (
        ("in a kernel", "import ipykernel.kernelapp, IPython, ipywidgets, codex_magic.session"),
        ("in an empty process", ""),
    ):
        code = IMPORT.format(before=before)
        control = code.replace(
            "from codex_magic.backends.responses import client, exchange",
            "import httpx2, httpcore2",
        )
        took: list[list[float]] = [[], []]
        for _ in range(9):
            for found, text in zip(took, (code, control), strict=True):
                ran = subprocess.run([sys.executable, "-c", text], capture_output=True, check=True)
                found.append(float(ran.stdout))
        mine, theirs = map(statistics.median, took)
        report(f"import at first use, {what}", mine, theirs, "httpx2 alone", "150 ms")


ALL = {work.__name__: work for work in (first_use, delta)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or ALL:
        ALL[chosen]()
