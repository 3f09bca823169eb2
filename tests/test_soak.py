"""A few random kill points of the driver; `make soak` has two hundred, and some of them on Ray."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
KILLS = 4


@pytest.mark.slow
@pytest.mark.parametrize("kind", [[], ["--prune"]], ids=["searched", "pruned"])
def test_a_driver_killed_at_random_points_ends_the_same(
    kind: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    words = [
        sys.executable,
        "-m",
        "tests.soak",
        "--kills",
        str(KILLS),
        "--ray",
        "0",
        "--seed",
        "7",
        "--verbose",
        *kind,
    ]
    done = subprocess.run(words, cwd=HOME, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(rf"^{KILLS} kill points .*: {KILLS} times the same table$", done.stdout, re.MULTILINE), (
        done.stdout
    )
    assert not list(tmp_path.glob("raycl-soak-*"))
