"""Processes of their own, in which something is measured."""

from __future__ import annotations

import os
from pathlib import Path

_HOME = Path(__file__).parent.parent


def environment() -> dict[str, str]:
    """This process's environment, with the folder of `bench` on Python's path."""
    places = [str(_HOME), os.environ.get("PYTHONPATH", "")]
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, places))}
