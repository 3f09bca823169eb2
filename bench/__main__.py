"""The command line of the speed measurements, ``python -m bench [NAME]``."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Sequence

from bench.run import KNOWN, run_benchmarks
from raycl.terminal.ending import ended


def main(argv: Sequence[str] | None = None) -> int:
    """Run one measurement or all of them, and return the exit code, which is 2 for an unknown name."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure how fast raycl is on this machine."
    )
    parser.add_argument(
        "name",
        metavar="NAME",
        nargs="?",
        help=f"what to measure, one of {', '.join(KNOWN)} (default: all but growth and pruning)",
    )
    arguments = parser.parse_args(argv)
    try:
        return run_benchmarks(arguments.name)
    except BaseException as error:
        return ended(error, lasting=True)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # warnings come from the libraries that raycl uses
    sys.exit(main())
