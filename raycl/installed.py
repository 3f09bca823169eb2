"""What is installed: whether a file is a user's own, and how the packages of an extra are installed."""

from __future__ import annotations

import functools
import re
import sys
import sysconfig
from importlib import metadata
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


def install_command(extra: str) -> str:
    """Return the command that installs the packages of an extra of raycl, such as "tune".

    It names the packages themselves: wherever raycl was installed from, they are in the package index.
    """
    try:
        needs = metadata.requires("raycl") or []
    except metadata.PackageNotFoundError:  # raycl runs from a folder.
        needs = []
    mine = [need.partition(";")[0].strip() for need in needs if re.search(f"extra == .{extra}\\b", need)]
    return f"pip install {' '.join(map(_typed, mine or _KNOWN.get(extra, [extra])))}"


_KNOWN = {"tune": ["ray[tune]", "optuna", "mlflow"], "samplers": ["optuna", "cmaes"], "notebook": ["pandas"]}


def _typed(need: str) -> str:
    return need if re.fullmatch(r"[\w.-]+", need) else f"'{need}'"
