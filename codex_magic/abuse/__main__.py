"""The list as a program: ``python -m codex_magic.abuse [--base DIR] [NUMBERS]``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from codex_magic import abuse


def main(words: list[str]) -> int:
    """Print the report; the exit code says whether anything got through that must not."""
    parser = argparse.ArgumentParser(prog="python -m codex_magic.abuse", description=abuse.__doc__)
    parser.add_argument("--base", type=Path, help="a folder to make the scene in")
    parser.add_argument("numbers", nargs="*", type=int, help="only these cases")
    chosen = parser.parse_args(words)
    return abuse.tell(sys.stdout, chosen.base, chosen.numbers or None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
