"""The command line: ``python -m bench [NAME]``."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from bench.run import KNOWN, run_benchmarks
from raycl.terminal.ending import ended


def main(argv: Sequence[str] | None = None) -> int:
    """Measure one thing, or everything; the exit code is 2 for a name that is not known."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures how fast raycl is on this machine."
    )
    parser.add_argument(
        "name", metavar="NAME", nargs="?", help=f"one of {', '.join(KNOWN)}; by default, all of them"
    )
    arguments = parser.parse_args(argv)
    try:
        return run_benchmarks(arguments.name)
    except BaseException as error:
        return ended(error, lasting=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of the libraries below
    sys.exit(main())
