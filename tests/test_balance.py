"""Measured times decide which tests are quick and in which order files come."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.balance import DURATIONS, LONG, noted

ROOT = Path(__file__).parents[1]


def test_times_of_a_part_of_a_file_replace_theirs_alone() -> None:
    known = {
        "files": {"tests/a.py": 9.0, "tests/b.py": 4.0},
        "long": {"tests/a.py::one": 5.0, "tests/a.py::two": 4.0, "tests/b.py::three": 4.0},
    }
    less = LONG - 0.01
    found = noted(known, {"tests/a.py::one": less, "tests/a.py::new": 2.0, "tests/c.py::short": less})
    assert found == {
        "files": {"tests/a.py": round(4.0 + less + 2.0, 1), "tests/b.py": 4.0},
        "long": {"tests/a.py::new": 2.0, "tests/a.py::two": 4.0, "tests/b.py::three": 4.0},
    }


def test_a_long_test_is_slow_unless_its_file_is_named() -> None:
    long = json.loads(DURATIONS.read_text())["long"]
    file = "tests/test_cli.py"
    marked = "::test_ctrl_c_"  # slow by its mark, so that it is left out unless it is asked for
    mine = {test for test in long if test.startswith(f"{file}::") and marked not in test}
    assert mine

    def collected(*words: str) -> set[str]:
        typed = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *words]
        done = subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, check=True)
        return {line for line in done.stdout.splitlines() if line.startswith(f"{file}::")}

    assert mine <= collected(file)
    everything = ["-o", f"testpaths={file}"]
    quick, slow = collected(*everything), collected(*everything, "-m", "slow and not release")
    assert quick and slow >= mine and not quick & slow and quick | slow >= collected(file)
