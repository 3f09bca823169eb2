"""The order of the files of tests: those that take longest come first.

Two processes of pytest take one file after another from the list, so that they end at about the same time.
The seconds of each file stand in `durations.json`; ``RAYCL_DURATIONS=1`` makes a run of pytest write those of
its files there.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path

import pytest

DURATIONS = Path(__file__).parents[1] / "durations.json"
LEAST = 1.0  # seconds; shorter files may come in any order


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files in descending order of their seconds; tests of a file stay in theirs."""
    seconds = json.loads(DURATIONS.read_text())
    items.sort(key=lambda item: -seconds.get(item.nodeid.partition("::")[0], 0.0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the seconds of each file, if that was asked for."""
    if not os.environ.get("RAYCL_DURATIONS"):
        return
    found: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                found[report.nodeid.partition("::")[0]] += report.duration
    known = json.loads(DURATIONS.read_text()) if DURATIONS.exists() else {}
    known |= {file: round(seconds, 1) for file, seconds in found.items()}
    kept = {file: seconds for file, seconds in sorted(known.items()) if seconds >= LEAST}
    DURATIONS.write_text(json.dumps(kept, indent=1) + "\n")
