"""Distinction of a user's own files from those of Python, of installed packages and of raycl."""

from __future__ import annotations

import functools
import sys
import sysconfig
from pathlib import Path


def is_own_file(path: Path) -> bool:
    """Return whether a file is a user's own: not of raycl, Python or an installed package."""
    return not any(path.is_relative_to(place) for place in installed())


@functools.cache
def installed() -> tuple[Path, ...]:
    """Return the folders of Python, installed packages and raycl."""
    paths = sysconfig.get_paths()
    found = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    found += [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
    found += [str(Path(__file__).parent)]
    return tuple(dict.fromkeys(place for path in found for place in (Path(path), Path(path).resolve())))
