"""A real ipykernel and its client, in a folder of its own."""

from __future__ import annotations

import functools
import json
import os
import queue
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jupyter_client.manager import KernelManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jupyter_client.blocking import BlockingKernelClient

PATIENCE_S = 30.0


@dataclass
class Cell:
    """What came of one cell: its reply, and its outputs as a front end would show them."""

    reply: dict[str, Any]
    outputs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def bundles(self) -> list[dict[str, Any]]:
        return [output["data"] for output in self.outputs if "data" in output]

    @property
    def printed(self) -> str:
        return "".join(output["text"] for output in self.outputs if "text" in output)


class Kernel:
    """A running kernel; cells are executed one after another."""

    def __init__(self, cwd: Path, ipython: Path, path: str = "") -> None:
        self.cwd = cwd
        self.manager = KernelManager(kernel_name="python3")
        quiet = ["--log-level=40"]
        self.manager.start_kernel(
            extra_arguments=quiet,
            cwd=str(cwd),
            env=os.environ | {"IPYTHONDIR": str(ipython), "PYTHONPATH": path},
        )
        self.client: BlockingKernelClient = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=PATIENCE_S)

    @property
    def pid(self) -> int:
        return int(self.manager.provisioner.process.pid)

    def start(self, code: str, *, allow_stdin: bool = False) -> str:
        return str(self.client.execute(code, allow_stdin=allow_stdin))

    def finish(
        self,
        message_id: str,
        *,
        answer: str = "",
        on_output: Callable[[dict[str, Any]], None] = lambda _content: None,
    ) -> Cell:
        """Collect a cell's outputs until the kernel is idle, answering questions with `answer`."""
        outputs: dict[str, dict[str, Any]] = {}
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            try:
                message = self.client.get_iopub_msg(timeout=0.05)
            except queue.Empty:
                self._answer(answer)
                continue
            if message["parent_header"].get("msg_id") != message_id:
                continue
            content = message["content"]
            if message["msg_type"] == "status" and content["execution_state"] == "idle":
                reply = self._reply(message_id)
                return Cell(reply, list(outputs.values()))
            self._collect(outputs, message["msg_type"], content)
            on_output(content)
        raise AssertionError("the cell did not end")

    def run(self, code: str, **how: Any) -> Cell:
        allow_stdin = "answer" in how
        return self.finish(self.start(code, allow_stdin=allow_stdin), **how)

    def _reply(self, message_id: str) -> dict[str, Any]:
        while True:
            reply = self.client.get_shell_msg(timeout=PATIENCE_S)
            if reply["parent_header"].get("msg_id") == message_id:
                return dict(reply["content"])

    def _answer(self, answer: str) -> None:
        try:
            self.client.get_stdin_msg(timeout=0.01)
        except queue.Empty:
            return
        self.client.input(answer)

    def _collect(self, outputs: dict[str, dict[str, Any]], kind: str, content: Any) -> None:
        if kind in ("display_data", "update_display_data", "execute_result"):
            key = content.get("transient", {}).get("display_id", f"output {len(outputs)}")
            outputs[key] = content
        elif kind in ("stream", "error"):
            outputs[f"output {len(outputs)}"] = content

    def close(self) -> None:
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def start() -> Callable[..., Kernel]:
    """Start a kernel in a folder of its own."""

    def run(room: Path, path: str = "") -> Kernel:
        # The kernel's own folders stand beside its working folder, never in it: a folder that
        # holds what is hidden from commands is refused as a place to work in.
        work = room / "work"
        work.mkdir()
        return Kernel(work, room / "ipython", path)

    return run


@pytest.fixture
def kernel(tmp_path: Path, start: Callable[..., Kernel]) -> Iterator[Kernel]:
    running = start(tmp_path)
    yield running
    running.close()


@pytest.fixture(scope="session")
def ipykernels(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], str]:
    """Install a version of ipykernel beside the environment, once; return what finds it first."""

    @functools.cache
    def install(version: str) -> str:
        target = tmp_path_factory.mktemp(f"ipykernel-{version}")
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*pip, "--target", target, f"ipykernel=={version}"], check=True)
        return str(target)

    return install


@pytest.fixture
def lesson(kernel: Kernel) -> Callable[..., str]:
    """Write a lesson for the kernel's folder and return what turns it on."""

    def write(*lines: dict[str, Any], model: str = "gpt-6.1-sol") -> str:
        header = {"tape": 1, "name": "test", "title": "test", "model": model, "words_per_s": 500}
        text = "\n".join(json.dumps(line) for line in (header, *lines)) + "\n"
        (kernel.cwd / "test.jsonl").write_text(text)
        return "%load_ext codex_magic\n%codex replay test.jsonl"

    return write


@pytest.fixture
def processes() -> Callable[[str], list[str]]:
    """Return the command lines of running processes that mention a word or work in a folder."""

    def find(word: str) -> list[str]:
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdecimal() or int(folder.name) == os.getpid():
                continue
            try:
                line = (
                    (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                )
                environ = (folder / "environ").read_bytes().decode(errors="replace")
                cwd = str((folder / "cwd").readlink())
            except OSError:
                continue
            if word in line or word in environ or word in cwd:
                found.append(line)
        return found

    return find
