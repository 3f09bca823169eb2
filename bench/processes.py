"""The environment of the processes that measurements start."""

from __future__ import annotations

import os
from pathlib import Path

_HOME = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """Return the environment of this process, with the parent folder of `bench` added to PYTHONPATH."""
    places = [str(_HOME), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
