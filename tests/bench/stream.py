"""What a running turn costs on its way into a page, each figure beside a bare control.

``python tests/bench/stream.py [NAMES]``. A real JupyterLab in headless Chromium, all of it on this
machine; nothing but loopback is used, unless pip has to fetch an older ipykernel for `click`.
Prints; asserts nothing. Page and kernel share the wall's clock, so a time from one to the other is
good to a millisecond. What a kernel publishes is counted at its own socket, beside the server.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import zmq
from playwright.sync_api import Error, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1]))

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from browser.drive import Desk, Notebook
    from playwright.sync_api import BrowserContext

COUNT, RATE = 20_000, 4_000
NAIVE_COUNT = 4_000
PIECE = 4
SLOW_RATE = 50
REPEATS = 9
STOPS = 5
REST_S = 0.5
"""Seconds from a turn's last text to its end, so that its last text is seen before it is replaced."""

PATIENCE_S = 15.0
LONGEST_S = 120.0
QUIET_MS = 400
OLDER = "6.29.5"
TOKEN = "tok"
KB, MB, MS = 1e3, 1e6, 1e3

WATCH = """
window.bench = (() => {
  const MARK = /mark-\\d+\\./g;
  const SAVED = '.jp-RenderedMarkdown';
  const LIVE = '.codex-turn';
  let seen, saved, clicks, gaps;
  let last = performance.now();
  const isSaved = node => {
    const near = node instanceof Element ? node : node.parentElement;
    if (near?.closest(LIVE) || near?.querySelector(LIVE)) return false;
    return Boolean(near?.closest(SAVED) ?? near?.querySelector(SAVED));
  };
  const look = (node, now) => {
    for (const [mark] of (node.textContent ?? '').matchAll(MARK)) {
      seen[mark] ??= now;
      if (isSaved(node)) saved[mark] ??= now;
    }
  };
  const reset = () => {
    seen = {};
    saved = {};
    clicks = [];
    gaps = [];
  };
  reset();
  new MutationObserver(records => {
    const now = Date.now();
    for (const { type, target, addedNodes } of records)
      for (const node of type === 'characterData' ? [target] : addedNodes) look(node, now);
  }).observe(document.body, { subtree: true, childList: true, characterData: true });
  document.addEventListener('click', event => {
    if (event.target instanceof HTMLButtonElement) clicks.push(Date.now());
  }, true);
  setInterval(() => {
    const now = performance.now();
    gaps.push([Date.now(), now - last]);
    last = now;
  }, 20);
  return { reset, found: () => ({ seen, saved, clicks, gaps }), has: mark => mark in seen };
})();
"""


# --- what has been measured -----------------------------------------------------------------------


@dataclass(frozen=True)
class Beside:
    """What a figure is compared with."""

    figure: float
    of: str


def row(what: str, figure: float, unit: str, beside: Beside | None = None, goal: str = "") -> None:
    compared = ""
    if beside is not None:
        ratio = f"{figure / beside.figure:8.1f}x" if beside.figure else f"{'-':>9}"
        compared = f"{ratio} of {beside.of} ({beside.figure:.2f} {unit})"
    wanted = f"; goal {goal}" if goal else ""
    print(f"{what:<52} {figure:9.2f} {unit:<4}{compared}{wanted}", flush=True)


@dataclass(frozen=True)
class Ran:
    """One cell that has run: what kernel, page and socket say of it. Times are of the wall's clock."""

    notes: dict[str, list[dict[str, Any]]]
    seen: dict[str, float]
    saved: dict[str, float]
    clicks: list[float]
    gaps: list[tuple[float, float]]
    sent: list[tuple[float, int]]

    def at(self, what: str) -> float:
        return float(self.notes[what][-1]["at"])

    @property
    def last(self) -> float:
        return self.at("last")

    @property
    def mark(self) -> str:
        return str(self.notes["last"][-1]["mark"])

    @property
    def cpu_s(self) -> float:
        return float(self.notes["end"][-1]["cost"])

    @property
    def cpu_until_last_s(self) -> float:
        return float(self.notes["last"][-1]["cpu"] - self.notes["begin"][-1]["cpu"])

    def sent_until(self, end: float) -> tuple[int, int]:
        """Return how many messages and how many bytes were published from the cell's begin on."""
        begin = self.at("begin")
        sizes = [size for at, size in self.sent if begin <= at <= end]
        return len(sizes), sum(sizes)

    def gap_ms(self, begin: float, end: float) -> float:
        """Return the longest time in which the page did nothing else."""
        return max((gap for at, gap in self.gaps if begin <= at <= end + 0.02), default=0.0)

    def shown_ms(self) -> list[float]:
        """Return how long each word took from its being said to its being seen."""
        words = self.notes["word"]
        return [
            MS * (self.seen[word["mark"]] - word["at"])
            for word in words
            if word["mark"] in self.seen
        ]

    def from_click_ms(self, what: str) -> list[float]:
        times = [float(noted["at"]) for noted in self.notes[what]]
        return [MS * (at - click) for click, at in zip(self.clicks, times, strict=True)]


# --- what is measured -----------------------------------------------------------------------------


@dataclass
class Lab:
    """A running server of JupyterLab."""

    url: str
    root: Path
    own: Path
    path: tuple[str, ...]

    def page_of(self, notebook: str, front: str = "lab") -> str:
        return f"{self.url}/lab/tree/{notebook}?reset&token={TOKEN}"

    def empty_page(self) -> str:
        return f"{self.url}/lab?reset&token={TOKEN}"

    def ask(self, path: str, method: str = "GET") -> bytes:
        request = urllib.request.Request(f"{self.url}{path}?token={TOKEN}", method=method)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return bytes(answer.read())

    def await_start(self, server: subprocess.Popen[bytes]) -> None:
        for _ in range(600):
            if server.poll() is not None:
                sys.exit((self.own / "lab.log").read_text())
            with contextlib.suppress(OSError):
                self.ask("/api/status")
                return
            time.sleep(0.1)
        sys.exit("JupyterLab did not answer")

    def end_kernels(self) -> None:
        with contextlib.suppress(OSError):
            for session in json.loads(self.ask("/api/sessions")):
                self.ask(f"/api/sessions/{session['id']}", "DELETE")


@contextmanager
def served(folder: Path, *, is_unlimited: bool) -> Iterator[Lab]:
    """Start a server; without limits it passes on whatever a kernel publishes."""
    own = folder / "own"
    settle(own / "JUPYTERLAB_SETTINGS_DIR" / "@jupyterlab")
    helpers = folder / "path"
    helpers.mkdir()
    shutil.copy(Path(__file__).with_name("stream_kernel.py"), helpers)
    path = tuple(filter(None, (str(helpers), os.environ.get("PYTHONPATH"))))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    lab = Lab(f"http://127.0.0.1:{port}", folder / "notebooks", own, path)
    lab.root.mkdir()
    with (own / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            command(lab, port, is_unlimited=is_unlimited),
            env=environment(lab),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            lab.await_start(server)
            yield lab
        finally:
            lab.end_kernels()
            end(server)


def settle(settings: Path) -> None:
    chosen: dict[str, dict[str, object]] = {
        "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }
    for name, values in chosen.items():
        path = settings / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(values))


def command(lab: Lab, port: int, *, is_unlimited: bool) -> list[str]:
    connection = "--ZMQChannelsWebsocketConnection"
    limits = [f"{connection}.iopub_{kind}_rate_limit=1e12" for kind in ("msg", "data")]
    return [
        *(sys.executable, "-m", "jupyterlab", "--allow-root", "--no-browser"),
        *("--ip=127.0.0.1", f"--port={port}", "--ServerApp.port_retries=0"),
        *(f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={lab.root}"),
        *("--LabApp.expose_app_in_browser=True", "--LabApp.news_url=None"),
        *(limits if is_unlimited else ()),
    ]


def environment(lab: Lab) -> dict[str, str]:
    names = ("CONFIG_DIR", "RUNTIME_DIR", "DATA_DIR")
    own = {f"JUPYTER_{name}": str(lab.own / name) for name in names}
    own["IPYTHONDIR"] = str(lab.own / "ipython")
    own["JUPYTERLAB_SETTINGS_DIR"] = str(lab.own / "JUPYTERLAB_SETTINGS_DIR")
    return os.environ | own | {"PYTHONPATH": os.pathsep.join(lab.path)}


def end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def windowed() -> Iterator[BrowserContext]:
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("Chromium is missing: apt-get install chromium")
    flags = [
        *("--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        "--disable-component-update",
        "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
    ]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        try:
            yield browser.new_context(viewport={"width": 1080, "height": 1100})
        finally:
            browser.close()


class Tap:
    """Everything that a kernel publishes, counted where it leaves the kernel."""

    def __init__(self, connection: Path) -> None:
        facts = json.loads(connection.read_text())
        self._heard: list[tuple[bytes, int]] = []
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._socket.setsockopt(zmq.RCVHWM, 0)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.subscribe(b"")
        self._socket.connect(f"{facts['transport']}://{facts['ip']}:{facts['iopub_port']}")
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._over.is_set():
            if self._socket.poll(100):
                frames = self._socket.recv_multipart()
                header = frames[frames.index(b"<IDS|MSG>") + 2] if b"<IDS|MSG>" in frames else b""
                self._heard.append((header, sum(map(len, frames))))

    def heard(self) -> list[tuple[float, int]]:
        """Return when each message was made, and its bytes, since the last time."""
        heard, self._heard = self._heard, []
        return [(_date(header), size) for header, size in heard if header]

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._context.destroy()


def _date(header: bytes) -> float:
    return datetime.fromisoformat(json.loads(header)["date"]).timestamp()


class Stage:
    """A notebook whose cell 1 is changed and run, and all that there is to know of it."""

    def __init__(self, desk: Desk, lab: Lab, kernel: str) -> None:
        self._notes = lab.root / f"notes-{time.monotonic_ns()}.jsonl"
        first = f"import stream_kernel\nstream_kernel.use({str(self._notes)!r})"
        self.book: Notebook = desk.open([first, "", "0"], kernel=kernel)
        self.book.run(0)
        self.book.settle()
        if self.book.outputs(0):
            sys.exit(f"the kernel is not ready: {self.book.outputs(0)}")
        self.book.page.evaluate(f"window.bench ?? ({WATCH.strip().removesuffix(';')})")
        kernel_id = self.book.page.evaluate("path => drive.kernel(path).id", self.book.path)
        self._tap = Tap(lab.own / "RUNTIME_DIR" / f"kernel-{kernel_id}.json")

    def start(self, source: str) -> None:
        """Run a cell; its figures begin here."""
        self.book.change(1, source)
        self.book.page.wait_for_timeout(QUIET_MS)
        self._notes.write_text("")
        self._tap.heard()
        self.book.page.evaluate("bench.reset()")
        self.book.run(1)

    def noted(self, what: str) -> list[dict[str, Any]]:
        lines = self._notes.read_text().splitlines()
        return [found for line in lines if (found := json.loads(line))["what"] == what]

    def await_note(self, what: str, count: int = 1) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while len(self.noted(what)) < count and time.monotonic() < deadline:
            self.book.page.wait_for_timeout(5)

    def ended(self, patience_s: float = LONGEST_S) -> Ran:
        """Wait until the cell has ended and the page is quiet."""
        self.book.settle(patience_s)
        self.book.page.wait_for_timeout(QUIET_MS)
        return self._result()

    def ran(self, source: str) -> Ran:
        self.start(source)
        return self.ended()

    def streamed(self, source: str) -> Ran:
        """Run a cell whose last word may come late, or never."""
        self.start(source)
        self.await_note("end")
        mark = self.noted("last")[-1]["mark"]
        with contextlib.suppress(Error):
            self.book.page.wait_for_function(
                "mark => bench.has(mark)", arg=mark, timeout=MS * PATIENCE_S, polling=100
            )
        return self._result()

    def idle_gap_ms(self, seconds: float) -> float:
        """Return the longest gap of a page in which nothing happens."""
        self.book.page.evaluate("bench.reset()")
        self.book.page.wait_for_timeout(MS * seconds)
        found = self.book.page.evaluate("bench.found()")
        return max(float(gap) for _, gap in found["gaps"])

    def _result(self) -> Ran:
        found = self.book.page.evaluate("bench.found()")
        notes: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in self._notes.read_text().splitlines():
            noted = json.loads(line)
            notes[noted["what"]].append(noted)
        return Ran(
            notes,
            {mark: at / MS for mark, at in found["seen"].items()},
            {mark: at / MS for mark, at in found["saved"].items()},
            [at / MS for at in found["clicks"]],
            [(at / MS, gap) for at, gap in found["gaps"]],
            self._tap.heard(),
        )

    def close(self) -> None:
        self._tap.close()
        self.book.close()


class Bench:
    """One server and one window; a notebook at a time."""

    def __init__(self, desk: Desk, lab: Lab, room: Path) -> None:
        self._desk = desk
        self._lab = lab
        self._room = room

    @contextmanager
    def stage(self, kernel: str = "python3") -> Iterator[Stage]:
        stage = Stage(self._desk, self._lab, kernel)
        try:
            stage.ran("%%codex\nstream 40 400")  # what a first turn loads is not measured here
            yield stage
        finally:
            stage.close()

    def kernel(self, version: str) -> str:
        """Return the name of a kernel that runs this version of ipykernel, installed for it."""
        from browser import kernels

        data = self._lab.own / "DATA_DIR"
        return str(kernels.make(version, data=data, room=self._room, path=self._lab.path))


@contextmanager
def opened(*, is_unlimited: bool = False) -> Iterator[Bench]:
    from browser.drive import Desk

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as made:
        room = Path(made)
        with served(room, is_unlimited=is_unlimited) as lab, windowed() as window:
            yield Bench(Desk(window, lab), lab, room)


# --- the benchmarks -------------------------------------------------------------------------------


def widget(bench: Bench) -> None:
    """A turn of 80 KB at 4,000 pieces a second, through the whole magic."""
    with bench.stage() as stage:
        control = stage.ran(f"stream_kernel.drained({COUNT}, {RATE})")
        idle = Beside(stage.idle_gap_ms(3), "an idle page")
        ran = stage.ran(f"%%codex\nstream {COUNT} {RATE} {REST_S}")
        abrupt = stage.ran(f"%%codex\nstream {COUNT} {RATE}")
    name = f"widget, {COUNT * PIECE / KB:.0f} KB:"
    text = Beside(COUNT * PIECE / MB, "the text")
    _, whole = ran.sent_until(ran.at("end") + 1)
    _published(name, ran, text, "0.25 MB")
    row(f"{name} iopub in all", whole / MB, "MB", text, "5x")
    _cpu(name, ran, control, "0.3 s")
    row(f"{name} kernel CPU after the last text", ran.cpu_s - ran.cpu_until_last_s, "s")
    if (visible := _visible(name, ran, idle, goals=("60 ms", "60 ms"))) is None:
        return
    _saved(name, ran, visible, idle)
    late = abrupt.seen.get(abrupt.mark)
    if late is not None:
        row(f"{name} last text of a turn that ends with it", MS * (late - abrupt.last), "ms")


def _published(name: str, ran: Ran, text: Beside, goal: str = "") -> None:
    count, size = ran.sent_until(ran.last)
    seconds = ran.last - ran.at("first")
    row(f"{name} iopub until the last text", size / MB, "MB", text, goal)
    row(f"{name} iopub messages", count / seconds, "/s")


def _cpu(name: str, ran: Ran, control: Ran, goal: str = "") -> None:
    pacing = Beside(control.cpu_s, "pacing alone")
    row(f"{name} kernel CPU over pacing", ran.cpu_s - control.cpu_s, "s", pacing, goal)


def _visible(name: str, ran: Ran, idle: Beside, goals: Sequence[str] = ("", "")) -> float | None:
    """Print what a person sees of a stream, and return when its last text was seen."""
    visible = ran.seen.get(ran.mark)
    if visible is None:
        print(f"{name} the last text was never seen, in {PATIENCE_S:.0f} s", flush=True)
        row(f"{name} longest stall", max(gap for _, gap in ran.gaps), "ms", idle)
        return None
    row(f"{name} last text behind the stream's end", MS * (visible - ran.last), "ms", goal=goals[0])
    stall = ran.gap_ms(ran.at("first"), visible)
    row(f"{name} longest stall until then", stall, "ms", idle, goals[1])
    return visible


def _saved(name: str, ran: Ran, visible: float, idle: Beside) -> None:
    if (saved := ran.saved.get(ran.mark)) is None:
        print(f"{name} the saved form was never seen", flush=True)
        return
    row(f"{name} saved form behind the turn's end", MS * (saved - ran.at("over")), "ms")
    row(f"{name} longest stall while it is put there", ran.gap_ms(visible, saved + 0.3), "ms", idle)


def naive(bench: Bench) -> None:
    """What a notebook's author writes first: all there is, for each piece."""
    text = Beside(NAIVE_COUNT * PIECE / MB, "the text")
    for work, title in (("html", "HTML.value"), ("markdown", "update_display")):
        with bench.stage() as stage:
            control = stage.ran(f"stream_kernel.drained({NAIVE_COUNT}, {RATE})")
            idle = Beside(stage.idle_gap_ms(1), "an idle page")
            ran = stage.streamed(f"stream_kernel.{work}({NAIVE_COUNT}, {RATE})")
        name = f"{title}, {NAIVE_COUNT * PIECE / KB:.0f} KB:"
        _published(name, ran, text)
        _cpu(name, ran, control)
        _visible(name, ran, idle)


def minute(bench: Bench) -> None:
    """A slow turn of a minute, and its first quarter: what it publishes grows with it, no faster."""
    with bench.stage() as stage:
        ran = stage.ran(f"%%codex\nstream {60 * SLOW_RATE} {SLOW_RATE} {REST_S}")
    before, opening = ran.sent_until(ran.at("first"))
    for seconds in (15, 60):
        count, size = ran.sent_until(ran.at("first") + seconds)
        name = f"{seconds} s at {SLOW_RATE}/s:"
        text = Beside(seconds * SLOW_RATE * PIECE / KB, "the text")
        row(f"{name} iopub until then", size / KB, "KB", text)
        row(f"{name} iopub messages", (count - before) / seconds, "/s")
        row(f"{name} a second, without its opening", (size - opening) / KB / seconds, "KB")


def first(bench: Bench) -> None:
    """From a model's first token to its being in the page, where the widget is there already."""
    with bench.stage() as stage:
        bare = stage.ran(f"stream_kernel.words({REPEATS})").shown_ms()
        ours = stage.ran(f"%%codex\nfirsts {REPEATS}").shown_ms()
    control = Beside(statistics.median(bare), "a bare display")
    row(f"first token to first text, {len(ours)}x", statistics.median(ours), "ms", control, "50 ms")


def click(bench: Bench) -> None:
    """From the click on a card to the loop that runs the turn."""
    for version, kernel in (("installed", "python3"), (OLDER, bench.kernel(OLDER))):
        with bench.stage(kernel) as stage:
            control = Beside(_hop_ms(stage), "a request of an idle kernel")
            stage.start(f"%%codex\nask {REPEATS}")
            for i in range(REPEATS):
                stage.book.button(1, "Allow once").click()
                stage.await_note("decided", i + 1)
            took = stage.ended().from_click_ms("decided")
        what = f"click to decision, ipykernel {version}, {len(took)}x"
        row(what, statistics.median(took), "ms", control, "50 ms")


def _hop_ms(stage: Stage) -> float:
    """From the page to an idle kernel by a request to run something; the median."""
    ask = """([path, code]) => {
        drive.kernel(path).requestExecute({ code, silent: true, store_history: false });
        return Date.now();
    }"""
    code = "stream_kernel.note('hop')"
    stage.start("0")
    stage.ended()
    asked: list[float] = []
    for i in range(REPEATS):
        asked.append(stage.book.page.evaluate(ask, [stage.book.path, code]) / MS)
        stage.await_note("hop", i + 1)
    heard = [float(noted["at"]) for noted in stage.noted("hop")]
    return MS * statistics.median(b - a for a, b in zip(asked, heard, strict=True))


def stop(bench: Bench) -> None:
    """From Stop, or from the kernel's interrupt, to the end of a cell that would go on for ever."""
    endless = "%%codex\nstream 1000000 200"
    with bench.stage() as stage:
        bare = [_interrupted_ms(stage, "stream_kernel.wait()", "waiting") for _ in range(STOPS)]
        hop = Beside(_hop_ms(stage), "a request of an idle kernel")
        stopped = [_stopped_ms(stage, endless) for _ in range(STOPS)]
        interrupted = [_interrupted_ms(stage, endless, "first") for _ in range(STOPS)]
    row(f"Stop to idle, {STOPS}x", statistics.median(stopped), "ms", hop, "250 ms")
    control = Beside(statistics.median(bare), "a sleeping cell")
    row(f"interrupt to idle, {STOPS}x", statistics.median(interrupted), "ms", control, "250 ms")


def _stopped_ms(stage: Stage, source: str) -> float:
    stage.start(source)
    stage.await_note("first")
    stage.book.page.wait_for_timeout(QUIET_MS)
    stage.book.button(1, "Stop").click()
    return stage.ended().from_click_ms("end")[0]


def _interrupted_ms(stage: Stage, source: str, begun: str) -> float:
    stage.start(source)
    stage.await_note(begun)
    stage.book.page.wait_for_timeout(QUIET_MS)
    press = "path => { const now = Date.now(); drive.kernel(path).interrupt(); return now; }"
    pressed: float = stage.book.page.evaluate(press, stage.book.path) / MS
    return MS * (stage.ended().at("end") - pressed)


ALL: dict[str, Callable[[Bench], None]] = {
    work.__name__: work for work in (widget, minute, first, click, stop, naive)
}
UNLIMITED = {"naive"}


def main(names: Sequence[str]) -> None:
    if unknown := [name for name in names if name not in ALL]:
        sys.exit(f"there is no {', '.join(unknown)}; there are: {', '.join(ALL)}")
    # Ended from outside, it still ends what it has started.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    for is_unlimited in (False, True):
        chosen = [name for name in names if (name in UNLIMITED) is is_unlimited]
        if not chosen:
            continue
        with opened(is_unlimited=is_unlimited) as bench:
            for name in chosen:
                ALL[name](bench)


if __name__ == "__main__":
    main(sys.argv[1:] or list(ALL))
