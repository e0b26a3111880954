"""What the sandbox costs, each beside a bare control of the same run.

``python tests/bench/sandbox.py [NAMES]``. Prints; asserts nothing. Times are medians of runs taken in
turns, so that what disturbs the machine disturbs ours and the control alike.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from measure import MS, once, report, together, workspace

from codex_magic import binary
from codex_magic.policy import MIB, Limits, SandboxPolicy
from codex_magic.sandbox import Occasion, machine, probe, run
from codex_magic.sandbox.asked import Asked
from codex_magic.sandbox.audit import Log
from codex_magic.sandbox.bwrap import arguments
from codex_magic.sandbox.environment import confined
from codex_magic.sandbox.probe import examine
from codex_magic.sandbox.runner import execute

TRUE = ["/usr/bin/true"]
PIPELINE = ["bash", "-c", "ls -la /usr/bin | wc -l"]


def bare(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, check=True, stdin=subprocess.DEVNULL)


def bwrap_alone(policy: SandboxPolicy, command: list[str]) -> list[str]:
    """The bundled bwrap with our mounts, and nothing of ours around it."""
    facts = machine.gather(policy)
    env = confined(facts.home, {})
    words = arguments(policy, facts, command, policy.workspace, env, Limits())
    return [str(probe().bwrap), *words]


def codex_sandbox(home: str, command: list[str]) -> list[str]:
    """Codex's own sandbox; its home must not be a temporary folder."""
    program = str(binary.candidates()[0].path)
    return ["env", f"CODEX_HOME={home}", program, "sandbox", "-P", ":workspace", "--", *command]


def command() -> None:
    """``true`` and a short pipeline."""
    cache = Path.home() / ".cache"
    cache.mkdir(exist_ok=True)
    with workspace() as folder, tempfile.TemporaryDirectory(dir=cache) as home:
        policy = SandboxPolicy(workspace=folder)
        run(TRUE, policy=policy)
        log = Log(folder.parent / f"{folder.name}.jsonl")
        logged = Occasion(log=log)
        for name, argv, goal in (("true", TRUE, "10 ms"), ("a pipeline", PIPELINE, "1.6x, ms")):
            took = together(
                {
                    "bare": lambda argv=argv: bare(argv),
                    "ours": lambda argv=argv: run(argv, policy=policy),
                    "logged": lambda argv=argv: run(argv, policy=policy, occasion=logged),
                    "bwrap": lambda argv=argv: bare(bwrap_alone(policy, argv)),
                    "codex": lambda argv=argv: bare(codex_sandbox(home, argv)),
                },
                40,
            )
            report(f"{name} in the sandbox", took["ours"], took["bare"], name, f"15x, {goal}")
            report("  and in the log", took["logged"], took["bare"], name, "-")
            report("  bundled bwrap alone", took["bwrap"], took["bare"], name, "-")
            report("  codex sandbox", took["codex"], took["bare"], name, "-")
        log.path.unlink()


def heavy() -> None:
    """``true`` from a kernel that holds 1 GiB, against one that holds nothing."""
    with workspace() as folder:
        policy = SandboxPolicy(workspace=folder)
        run(TRUE, policy=policy)
        light = together({"ours": lambda: run(TRUE, policy=policy)}, 40)["ours"]
        held = bytearray(1 << 30)
        held[:: os.sysconf("SC_PAGE_SIZE")] = bytes([1]) * len(held[:: os.sysconf("SC_PAGE_SIZE")])
        full = together({"ours": lambda: run(TRUE, policy=policy)}, 40)["ours"]
        del held
    report("true from a kernel of 1 GiB", full, light, "the same from a small one", "1.2x, ms")


def fallback() -> None:
    """``true`` where no namespaces can be made, against ``true``."""
    found = examine([])
    with workspace() as folder:
        asked = Asked(TRUE, SandboxPolicy(workspace=folder))
        took = together(
            {
                "bare": lambda: bare(TRUE),
                "python": lambda: bare([sys.executable, "-I", "-S", "-c", "pass"]),
                "ours": lambda: execute(asked, on_output=None, stop=None, probed=lambda: found),
            },
            30,
        )
    report("true by Landlock", took["ours"], took["bare"], "true", "15 ms")
    report("  python -I -S alone", took["python"], took["bare"], "true", "-")


def ending() -> None:
    """How late a timeout is, and how long 100 processes take to die."""
    with workspace() as folder:
        policy = SandboxPolicy(workspace=folder)
        limits = Limits(wall_s=0.5)
        late = [once(lambda: run(["sleep", "9"], policy=policy, limits=limits)) for _ in range(5)]
        report("lateness of a timeout", max(late) - 500, 500, "the time", "100 ms")
        took = []
        many = "for i in $(seq 99); do sleep 99 & done; echo ready; wait"
        for _ in range(5):
            stop, at = threading.Event(), []

            def kill(
                _stream: str,
                _text: str,
                stop: threading.Event = stop,
                at: list[float] = at,
            ) -> None:
                at.append(time.perf_counter())
                stop.set()

            run(many, policy=policy, on_output=kill, stop=stop)
            took.append(MS * (time.perf_counter() - at[0]))
        report("100 processes dead", max(took), 0, "", "100 ms")


def flood() -> None:
    """What 5 GB of output cost the runner: its memory, and the time against ``cat``."""
    with workspace() as folder:
        policy = SandboxPolicy(workspace=folder)
        run(TRUE, policy=policy)
        # In a process of its own, because a peak of memory never falls again.
        code = (
            "import sys; sys.path[:0] = sys.argv[2:]\n"
            "from bench_flood import main; main(sys.argv[1])"
        )
        words = [sys.executable, "-c", code, str(folder), str(Path(__file__).parent)]
        took = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    report(
        "runner's memory under 5 GB of output", float(took[1]), float(took[0]), "before", "32 MiB"
    )


def bomb() -> None:
    """The most memory that eight processes of 300 MiB held under a limit of 512 MiB."""
    code = (
        "import os, time\n"
        "for _ in range(8):\n"
        "    if os.fork() == 0:\n"
        "        held = bytearray(300 << 20)\n"
        "        for at in range(0, len(held), 4096): held[at] = 1\n"
        "        time.sleep(9); os._exit(0)\n"
        "time.sleep(9)"
    )
    with workspace() as folder:
        policy = SandboxPolicy(workspace=folder)
        limits = Limits(memory_bytes=512 * MIB)
        peaks = [
            run(
                [sys.executable, "-I", "-S", "-c", code], policy=policy, limits=limits
            ).receipt.peak_memory_bytes
            for _ in range(5)
        ]
    report("memory of a bomb when it was killed", max(peaks) / MIB, 512, "its limit", "600 MiB")


ALL = {work.__name__: work for work in (command, heavy, fallback, ending, flood, bomb)}

if __name__ == "__main__":
    for chosen in sys.argv[1:] or ALL:
        ALL[chosen]()
