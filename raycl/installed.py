"""Which files belong to Python, to installed packages or to raycl, and which are a user's own."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path


def is_own_file(path: Path) -> bool:
    """Whether a file belongs to a user: to neither raycl, nor Python, nor an installed package."""
    return not any(path.is_relative_to(place) for place in installed())


def installed() -> tuple[Path, ...]:
    """Where Python, installed packages and raycl lie."""
    if not _PLACES:
        paths = sysconfig.get_paths()
        found = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
        found += [entry for entry in sys.path if Path(entry).name in ("site-packages", "dist-packages")]
        found += [str(Path(__file__).parent)]
        _PLACES.extend(dict.fromkeys(place for path in found for place in (Path(path), Path(path).resolve())))
    return tuple(_PLACES)


_PLACES: list[Path] = []
