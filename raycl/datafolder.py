"""The folder of prepared data: where it is, and what state its parts are in."""

from __future__ import annotations

import os
from pathlib import Path

_OWN_NOTES = ("stamps.json", ".lock")  # Files that looking at the data writes.


def data_root() -> Path:
    """Return the absolute path of the data folder: RAYCL_DATA, or ~/.cache/raycl."""
    return Path(os.environ.get("RAYCL_DATA") or "~/.cache/raycl").expanduser().absolute()


def state_of(name: str) -> list[list[object]]:
    """Return the name, size and time of each file of a prepared source; [] if there is none.

    The state differs whenever the source was prepared, changed or removed in between.
    """
    found = []
    for folder, _, files in os.walk(data_root() / name):
        for file in files:
            if file not in _OWN_NOTES:
                status = os.stat(os.path.join(folder, file))
                found.append([os.path.join(folder, file), status.st_size, status.st_mtime_ns])
    return sorted(found, key=lambda entry: str(entry[0]))
