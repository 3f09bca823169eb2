"""The processes that measurements start, and their environment."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

_HOME = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """Return the environment of this process, with the parent folder of `bench` added to PYTHONPATH."""
    places = [str(_HOME), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}


def told(program: str, folder: Path, *words: str) -> dict[str, float]:
    """Run a program in a process of its own, and return the numbers that it prints in its last line.

    Args:
        program: The text of the program, which prints JSON.
        folder: The folder in which it runs.
        words: Its arguments.
    """
    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        encoding="utf-8",
        check=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found
