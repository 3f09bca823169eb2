"""Which tests are quick, and the order of the files of tests, both from measured times.

`durations.json` holds the seconds of each file of tests, and of each test that takes longer than `LONG`. A
run without names of files counts those tests as slow, so that `make test` leaves them to `make test-slow`; a
run that names files executes them as any other. Files that take longest come first, because the processes of
pytest take one file after another from the list. ``RAYCL_DURATIONS=1`` makes a run of pytest write the
seconds of its tests there.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

DURATIONS = Path(__file__).parents[1] / "durations.json"
LEAST = 1.0  # seconds; shorter files may come in any order
LONG = 0.35  # seconds; "a third of a second" in CONTRIBUTING


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put files in descending order of their seconds, and mark long tests as slow unless files are named."""
    known = json.loads(DURATIONS.read_text())
    items.sort(key=lambda item: -known["files"].get(item.nodeid.partition("::")[0], 0.0))
    if config.option.file_or_dir:
        return
    for item in items:
        if item.nodeid in known["long"]:
            item.add_marker(pytest.mark.slow)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Write the seconds of each file and of each long test, if that was asked for."""
    if not os.environ.get("RAYCL_DURATIONS"):
        return
    tests: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                tests[report.nodeid] += report.duration
    DURATIONS.write_text(json.dumps(noted(json.loads(DURATIONS.read_text()), tests), indent=1) + "\n")


def noted(known: dict[str, Any], tests: dict[str, float]) -> dict[str, Any]:
    """Return what is known with the seconds of some tests.

    The seconds of a file are those of its tests that were executed now, with those of its other long tests.
    """
    long = {test: seconds for test, seconds in known["long"].items() if test not in tests}
    executed = {test.partition("::")[0] for test in tests}
    files: Counter[str] = Counter({file: s for file, s in known["files"].items() if file not in executed})
    for test, seconds in [*long.items(), *tests.items()]:
        if (file := test.partition("::")[0]) in executed:
            files[file] += seconds
    long |= {test: seconds for test, seconds in tests.items() if seconds >= LONG}
    return {
        "files": {file: round(seconds, 1) for file, seconds in sorted(files.items()) if seconds >= LEAST},
        "long": {test: round(seconds, 1) for test, seconds in sorted(long.items())},
    }
