"""Put one fault at a time into a copy of the package, and count those that the quick tests notice.

    python -m tests.faults_in_code
    python -m tests.faults_in_code --tree ../other --only 3,17

The faults are listed in `tests/helpers/code_faults.py`. A fault is killed if a test of its file fails, or if
the tests take far longer than without it. It survives if all of them pass, and then a test is missing. The
exit code is 1 if any survives, and 2 if a line of the list no longer stands in its file.
"""
# ruff: noqa: T201 -- what it prints is what it is for

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.helpers.code_faults import FAULTS, CodeFault

HOME = Path(__file__).parents[1]
LIMIT = 600.0  # seconds that the tests of a fault may take on a busy machine
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "__pycache__", "results", ".*_cache")


def place_of(tree: Path, fault: CodeFault) -> Path | None:
    """Return the file of a fault, or None if its line does not stand there once."""
    path = tree / "raycl" / fault.file
    return path if path.is_file() and path.read_text().count(fault.right) == 1 else None


def tried(tree: Path, fault: CodeFault, scratch: Path) -> str:
    """Return "killed" or "survived" for one fault, which is in the tree only meanwhile; else "stale"."""
    path = place_of(tree, fault)
    if path is None:
        return "stale"
    tests = [word for word in fault.tests.split() if (tree / word).exists()]
    words = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--basetemp={scratch}"]
    right = path.read_text()
    path.write_text(right.replace(fault.right, fault.wrong))
    environment = os.environ | {"PYTHONPATH": str(tree)}
    try:
        done = subprocess.run(
            [*words, *tests], cwd=tree, env=environment, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return "killed"
    finally:
        path.write_text(right)
    if done.returncode not in (0, 1):
        return "killed" if "rror" in done.stdout else f"pytest ended with {done.returncode}"
    return "killed" if done.returncode else "survived"


def main(argv: Sequence[str] | None = None) -> int:
    """Try the faults, print a line for each and the counts, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults_in_code", description=__doc__)
    parser.add_argument(
        "--tree", type=Path, default=HOME, help="the working tree to copy (default: this one)"
    )
    parser.add_argument("--only", default="", help="numbers of faults, separated by commas")
    arguments = parser.parse_args(argv)
    numbers = {str(number) for number in range(1, len(FAULTS) + 1)}
    if unknown := sorted(set(filter(None, arguments.only.split(","))) - numbers):
        parser.error(f"--only {arguments.only}: there is no fault {unknown[0]!r} (known: 1 to {len(FAULTS)})")
    only = {int(number) for number in arguments.only.split(",") if number}
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="raycl-faults-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(arguments.tree.resolve(), tree, ignore=LEFT_OUT)
        for number, fault in enumerate(FAULTS, 1):
            if only and number not in only:
                continue
            began = time.monotonic()
            outcome = tried(tree, fault, Path(folder) / "tmp")
            counts[outcome] += 1
            seconds = time.monotonic() - began
            print(f"{number:3} {outcome:9} {seconds:4.0f} s  {fault.file}: {fault.wrong}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())))
    return 2 if counts["stale"] else int(bool(counts["survived"]))


if __name__ == "__main__":
    sys.exit(main())
