"""The list as a program: ``python -m codex_magic.abuse [--base DIR] [NUMBERS]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from codex_magic import abuse
from codex_magic.sandbox import probe

if TYPE_CHECKING:
    from collections.abc import Iterator


def main(words: list[str]) -> int:
    """Print the report; the exit code says whether anything got through that must not."""
    parser = argparse.ArgumentParser(prog="python -m codex_magic.abuse", description=abuse.__doc__)
    parser.add_argument("--base", type=Path, help="a folder to make the scene in")
    parser.add_argument("numbers", nargs="*", type=int, help="only these cases")
    chosen = parser.parse_args(words)
    found = probe()
    if found.level == "none":
        sys.stdout.write(f"no sandbox works here, so every command is refused: {found.reason}\n")
        return 1
    rows: list[abuse.Row] = []

    def kept() -> Iterator[abuse.Row]:
        for row in abuse.run(chosen.base or abuse.place(), only=chosen.numbers or None):
            rows.append(row)
            yield row

    sys.stdout.write(f"level {found.level}, by {found.mechanism}\n")
    for line in abuse.lines(kept()):
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()
    return 0 if abuse.good(rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
