"""Start-up time of the command line."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from bench.line import Line


def start() -> list[Line]:
    """Measure how long `raycl --help` takes."""
    command = [sys.executable, "-m", "raycl.cli", "--help"]
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        subprocess.run(command, capture_output=True, check=True)
        seconds.append(time.perf_counter() - started)
    return [Line("raycl --help", statistics.median(seconds), "s", "under 0.5")]
