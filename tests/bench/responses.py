"""What the Responses API costs: ``python tests/bench/responses.py [NAMES]``.

Prints; asserts nothing. Times are medians, each beside a bare control of the same run. But for
`first_text` the host is a process of its own, which writes one delta at a time as it is told to.
"""

from __future__ import annotations

import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
from measure import MS, report, workspace

from codex_magic import events as ev
from codex_magic.approval import NobodyApprover
from codex_magic.backends.base import Start, TurnInput
from codex_magic.backends.responses.backend import ResponsesBackend
from codex_magic.backends.responses.client import Client
from codex_magic.policy import SandboxPolicy
from codex_magic.session import Session
from codex_magic.settings import Settings
from codex_magic.testing import FakeModel, pause_at, say
from codex_magic.turn import Turn, TurnRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

US = 1_000_000.0
MIB = 1024.0
DELTAS = 5_000
MANY = (1, 10, 100)
EACH = 1_000
WORD = " word"

HOST = """
import json, socket, sys, threading, time
count, gap = int(sys.argv[1]), float(sys.argv[2])
listener = socket.create_server(("127.0.0.1", 0), backlog=256)
print(listener.getsockname()[1], flush=True)

def chunk(event):
    raw = f"event: {event['type']}\\ndata: {json.dumps(event)}\\n\\n".encode()
    return b"%x\\r\\n%b\\r\\n" % (len(raw), raw)

delta = {"type": "response.output_text.delta", "sequence_number": 0, "item_id": "msg_" + "0" * 48,
         "output_index": 0, "content_index": 0, "delta": " word", "logprobs": [],
         "obfuscation": "0" * 11}
said = {"type": "output_text", "text": " word" * count, "annotations": []}
item = {"type": "message", "role": "assistant", "status": "completed", "content": [said]}
ends = ({"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": {}})

def serve(sock):
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    data = b""
    while not data.endswith((b"}", b"\\r\\n\\r\\n")) or data.startswith(b"POST") and data[-1:] != b"}":
        data += sock.recv(65536)
    if data.startswith(b"GET"):
        sock.sendall(b"HTTP/1.1 404 Not Found\\r\\ncontent-length: 0\\r\\nconnection: close\\r\\n\\r\\n")
        sock.close()
        return
    sock.sendall(b"HTTP/1.1 200 OK\\r\\ncontent-type: text/event-stream\\r\\n"
                 b"transfer-encoding: chunked\\r\\n\\r\\n")
    for number in range(count):
        until = time.monotonic() + gap
        while time.monotonic() < until:
            pass
        sock.sendall(chunk({**delta, "sequence_number": number, "at": time.monotonic_ns()}))
    sock.sendall(b"".join(map(chunk, ends)) + b"0\\r\\n\\r\\n")
    sock.close()

while True:
    threading.Thread(target=serve, args=listener.accept()[:1], daemon=True).start()
"""

Reading = tuple[float, float]


@contextmanager
def host(count: int, gap_s: float) -> Iterator[int]:
    """A host that writes `count` deltas, one every `gap_s`; gives its port."""
    command = [sys.executable, "-c", HOST, str(count), str(gap_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.kill()


@contextmanager
def backends(count: int, port: int) -> Iterator[list[ResponsesBackend]]:
    settings = Settings(base_url=f"http://127.0.0.1:{port}/v1")
    with workspace() as folder:
        environ = {"HOME": str(folder), "JUPYTER_DATA_DIR": str(folder)}
        made = [ResponsesBackend(settings, environ=environ) for _ in range(count)]
        try:
            yield made
        finally:
            for one in made:
                one.close()


def start(backend: ResponsesBackend, mailbox: Any) -> None:
    policy = SandboxPolicy(workspace=Path("/"))
    request = TurnRequest(prompt="go", model="m", policy=policy)
    backend.start_turn(backend.seat(request, Start()), TurnInput(request, {}, {}), mailbox)


def bare(port: int) -> Iterator[dict[str, Any]]:
    """Read a socket and decode what stands between two braces at the ends of a line."""
    decode = msgspec.json.Decoder().decode
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
                    yield event


# --- the first text -------------------------------------------------------------------------------


class Clocked:
    """A page that notes when it was first shown what the model says, and lets that go on."""

    def __init__(self, let_go_on: Callable[[], object]) -> None:
        self.at = 0.0
        self._let_go_on = let_go_on

    def open(self, report: Callable[[ev.Event], None]) -> None:
        pass

    def show(self, turn: Turn) -> None:
        if not self.at and turn.final_response:
            self.at = time.perf_counter()
            self._let_go_on()

    def finish(self, turn: Turn) -> None:
        pass


def heard(model: FakeModel, let_go_on: Callable[[], object]) -> float:
    """Return when a bare socket has the first delta of the model's next response."""
    body = b'{"model": "m", "stream": true, "input": []}'
    port = int(model.base_url.rpartition(":")[2].partition("/")[0])
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(
            b"POST /v1/responses HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"connection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        data = b""
        while b"output_text.delta" not in data:
            data += sock.recv(65536)
        at = time.perf_counter()
        let_go_on()
        while sock.recv(65536):
            pass
    return at


def first_text() -> None:
    """From a model's first token to the page, warm, against a socket that waits for the same."""
    took: dict[str, list[float]] = {"ours": [], "bare": []}
    with FakeModel() as model, workspace() as folder:
        environ = os.environ | {"JUPYTER_DATA_DIR": str(folder), "NO_PROXY": "127.0.0.1"}
        settings = replace(Settings(), backend="responses", base_url=model.base_url)
        request = TurnRequest(prompt="go", model="m", policy=SandboxPolicy(workspace=folder))
        session = Session(settings, environ=environ)
        for i in range(31):
            for name, found in took.items():
                gate, number = model.gate(f"{name} {i}"), len(model.requests)
                model.enqueue(say("word"), pause_at(f"{name} {i}"))
                if name == "ours":
                    page = Clocked(gate.set)
                    session.run(request, page=page, approver=NobodyApprover())
                    at = page.at
                else:
                    at = heard(model, gate.set)
                found.append(MS * (at - model.sent_at[number]))
        session.close()
    mine, control = (statistics.median(found[1:]) for found in took.values())
    report("a first token to the page", mine, control, "a waiting socket", "25 ms")


# --- one delta ------------------------------------------------------------------------------------


def measured(ats: Iterator[int]) -> Reading:
    """Return microseconds from written to read, and of processor time, for one delta."""
    begin = time.thread_time()
    late = [time.monotonic_ns() - at for at in ats]
    spent = time.thread_time() - begin
    return statistics.median(late) / 1000, US * spent / len(late)


def by_client(port: int) -> Reading:
    def ats() -> Iterator[int]:
        with (
            Client(f"http://127.0.0.1:{port}/v1", None, lambda _: {}, environ={}) as client,
            client.stream({"model": "m"}) as stream,
        ):
            for event in stream:
                if event["type"] == "response.output_text.delta":
                    yield event["at"]

    return measured(ats())


def by_socket(port: int) -> Reading:
    return measured(event["at"] for event in bare(port))


class Timed:
    """A mailbox that asks what its writer's OS thread has spent between first and last delta."""

    def __init__(self) -> None:
        self.count = 0
        self.begun = self.ended = 0.0
        self.is_over = threading.Event()

    def put(self, event: ev.Event) -> None:
        if isinstance(event, ev.ItemDelta):
            self.count += 1
            if self.count == 1:
                self.begun = time.thread_time()
        elif isinstance(event, ev.ItemCompleted) and self.count:
            self.ended = time.thread_time()
        elif isinstance(event, ev.TurnCompleted):
            self.is_over.set()


def by_turn(port: int) -> Reading:
    mailbox = Timed()
    with backends(1, port) as (backend,):
        start(backend, mailbox)
        mailbox.is_over.wait()
    assert mailbox.count == DELTAS
    return 0.0, US * (mailbox.ended - mailbox.begun) / mailbox.count


def in_turns(works: Mapping[str, Callable[[int], Reading]], port: int) -> dict[str, Reading]:
    took: dict[str, list[Reading]] = {name: [] for name in works}
    for _ in range(5):
        for name, work in works.items():
            took[name].append(work(port))
    return {
        name: (statistics.median(a for a, _ in found), statistics.median(b for _, b in found))
        for name, found in took.items()
    }


def delta() -> None:
    """One delta from a host's write to the decoded event and into the mailbox of a turn."""
    for what, gap_s in (("every 0.5 ms", 0.0005), ("in a burst", 0.0)):
        with host(DELTAS, gap_s) as port:
            took = in_turns({"client": by_client, "turn": by_turn, "bare": by_socket}, port)
        (late, spent), (bare_late, bare_spent) = took["client"], took["bare"]
        of = "recv, decode"
        if gap_s:
            report(f"written to decoded, a delta {what}", late, bare_late, of, "60 us")
        report(f"processor to decoded, a delta {what}", spent, bare_spent, of, "60 us")
        report(f"processor to mailbox, a delta {what}", took["turn"][1], bare_spent, of, "60 us")


# --- many turns -----------------------------------------------------------------------------------


class Tally:
    """A mailbox that keeps what a page would keep of a turn."""

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self.whole = ""
        self.is_over = threading.Event()

    @property
    def is_complete(self) -> bool:
        return len(self.pieces) == EACH and "".join(self.pieces) == self.whole == WORD * EACH

    def put(self, event: ev.Event) -> None:
        match event:
            case ev.ItemDelta():
                self.pieces.append(event.text)
            case ev.ItemCompleted():
                self.whole = str(getattr(event.item, "text", ""))
            case ev.TurnCompleted():
                self.is_over.set()


@dataclass(frozen=True)
class Ran:
    """What so many turns at once took: seconds, MiB, and turns of which something was lost."""

    wall_s: float
    cpu_s: float
    memory_mib: float
    lost: int


def memory_kb(what: str) -> int:
    found = re.search(rf"^{what}:\s+(\d+)", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) if found else 0


def watched(work: Callable[[int, int], int], count: int, port: int) -> Ran:
    work(1, port)  # what is imported then is imported
    Path("/proc/self/clear_refs").write_text("5")  # so that the highest use is of what follows
    before, cpu, begin = memory_kb("VmRSS"), time.process_time(), time.perf_counter()
    lost = work(count, port)
    wall_s, cpu_s = time.perf_counter() - begin, time.process_time() - cpu
    return Ran(wall_s, cpu_s, (memory_kb("VmHWM") - before) / MIB, lost)


def turns(count: int, port: int) -> int:
    """Run so many turns at once; return of how many something was lost."""
    with backends(count, port) as made:
        tallies = [Tally() for _ in made]
        for backend, tally in zip(made, tallies, strict=True):
            start(backend, tally)
        for tally in tallies:
            tally.is_over.wait()
    return sum(not tally.is_complete for tally in tallies)


def sockets(count: int, port: int) -> int:
    """Read as many bare sockets at once."""
    pieces: list[list[str]] = [[] for _ in range(count)]

    def read(into: list[str]) -> None:
        into.extend(event["delta"] for event in bare(port))

    threads = [threading.Thread(target=read, args=(into,)) for into in pieces]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(len(into) != EACH for into in pieces)


def many() -> None:
    """Turns at once, each number in a fresh process, against as many OS threads that only read."""
    with host(EACH, 0.0) as port:
        for count in MANY:
            with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as fresh:
                ours = fresh.submit(watched, turns, count, port).result()
            with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as fresh:
                bare_ones = fresh.submit(watched, sockets, count, port).result()
            what = f"{count} turns of {EACH} deltas at once"
            print(f"{what}: {ours.lost} with a lost event", flush=True)
            of = "bare sockets"
            report(f"{what}, wall", MS * ours.wall_s, MS * bare_ones.wall_s, of, "none in ms")
            per, bare_per = (US * ran.cpu_s / count / EACH for ran in (ours, bare_ones))
            report(f"{what}, processor, a delta", per, bare_per, of, "60 us")
            each, bare_each = (ran.memory_mib / count for ran in (ours, bare_ones))
            report(f"{what}, memory of each", each, bare_each, of, "linear in MiB")


# --- the import -----------------------------------------------------------------------------------

BACKEND = "codex_magic.backends.responses"
USE = f"from {BACKEND} import backend, exchange"
TAKEN = """
import time
{before}
begin = time.perf_counter()
{use}
print(1000 * (time.perf_counter() - begin))
"""
KERNEL = "import ipykernel.kernelapp, ipywidgets"
OURS = "import codex_magic.session, codex_magic.magics"


def first_use() -> None:
    """Importing all that a first request needs, in fresh processes, and what takes the most of it."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "empty_package.py").write_text("")
        # Installing compiles a package; so it is measured compiled.
        environ = os.environ | {"PYTHONPATH": folder, "PYTHONPYCACHEPREFIX": f"{folder}/compiled"}
        environ.pop("PYTHONDONTWRITEBYTECODE", None)

        def once(before: str, use: str) -> float:
            return float(fresh(environ, "-c", TAKEN.format(before=before, use=use)).stdout)

        controls = {"httpcore2": "import httpcore2", "an empty package": "import empty_package"}
        for what, before in (("a kernel", f"{KERNEL}\n{OURS}"), ("an empty process", OURS)):
            once(before, USE)
            took: dict[str, list[float]] = {"": [], **{name: [] for name in controls}}
            for _ in range(9):
                for name, use in (("", USE), *controls.items()):
                    took[name].append(once(before, use))
            mine = statistics.median(took.pop(""))
            for name, found in took.items():
                report(f"import in {what}", mine, statistics.median(found), name, "150 ms")
        print(f"    of it: {heaviest(environ)}", flush=True)


def heaviest(environ: Mapping[str, str]) -> str:
    """Return which packages take most of the import, each module at the best of several."""
    best: dict[str, int] = {}
    for _ in range(5):
        words = ("-X", "importtime", "-c", f"{KERNEL}\n{OURS}\nimport empty_package\n{USE}")
        behind = fresh(environ, *words).stderr.partition("empty_package")[2]
        for taken, name in re.findall(r"(\d+) \|\s+\d+ \|\s+(\S+)", behind):
            best[name] = min(int(taken), best.get(name, sys.maxsize))
    packages: Counter[str] = Counter()
    for name, taken in best.items():
        depth = 2 if name.startswith("codex_magic") else 1
        packages[".".join(name.split(".")[:depth])] += taken
    return ", ".join(f"{name} {taken / 1000:.1f} ms" for name, taken in packages.most_common(7))


def fresh(environ: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run Python with `words` in a process of its own."""
    command = [sys.executable, *words]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=True)


ALL = {work.__name__: work for work in (first_use, first_text, delta, many)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or ALL:
        ALL[chosen]()
