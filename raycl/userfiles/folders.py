"""Users' folders, and the packages that represent them.

A file is loaded under a module name that is derived from its folder, ``raycl_files.f3a9….mine``, in the
driver, on workers and in checkpoints. Therefore files of the same name in two folders do not collide. As the
folder is not added to `sys.path`, a file called ``ray.py`` in the folder of a study does not shadow Ray.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Iterator
from pathlib import Path

PREFIX = "raycl_files"
SHIPPED = "raycl_study_files"  # folder of the study's files on the nodes of a cluster
TAKEN = frozenset(
    {
        *("raycl", "torch", "torchvision", "numpy", "scipy", "sklearn", "pandas", "PIL", "matplotlib"),
        *("jinja2", "rich", "filelock", "ray", "optuna", "mlflow", "pytest"),
    }
)
"""Packages that raycl itself uses, so that a file in the folder of a study must not replace them."""

FOLDERS: dict[str, Path] = {}
"""The folder that each package represents, by the package's name."""

_HOME: contextvars.ContextVar[Path | None] = contextvars.ContextVar("home", default=None)


@contextlib.contextmanager
def importing_from(folder: Path | str | None) -> Iterator[None]:
    """Look up names such as ``"mine:Mine"`` in this folder first; with None, only in `sys.path`."""
    token = _HOME.set(Path(folder) if folder is not None else None)
    try:
        yield
    finally:
        _HOME.reset(token)


def home() -> Path | None:
    """Return the folder in which names are currently looked up first, or None."""
    return _HOME.get()


def short(module: str) -> str:
    """Return the name of a module as a user knows it, without the package that represents its folder."""
    parts = module.split(".", 2)
    return parts[2] if parts[0] == PREFIX and len(parts) == 3 else module


def folder_of(module: str) -> Path | None:
    """Return the folder from which a user's module was loaded; None for any other module."""
    return FOLDERS.get(".".join(module.split(".", 2)[:2]))


def holds(folder: Path, name: str) -> bool:
    """Return whether ``import name`` in a file of the folder refers to a file or package of the folder."""
    top = name.partition(".")[0]
    if top in TAKEN or top in sys.stdlib_module_names:
        return False
    place = folder / top
    return place.with_name(f"{top}.py").is_file() or _is_package(place)


def has_beside(folder: Path, name: str) -> bool:
    """Return whether a string ``"name:Class"`` refers to a file or package of the folder.

    Unlike in `holds`, the names in `TAKEN` and of the standard library may be used, except ``raycl``.
    """
    top = folder / name.partition(".")[0]
    return name.partition(".")[0] != "raycl" and (
        top.with_name(f"{top.name}.py").is_file() or _is_package(top)
    )


def _is_package(place: Path) -> bool:
    try:
        return place.is_dir() and any(entry.suffix == ".py" for entry in place.iterdir())
    except OSError:  # Reading the folder may not be permitted.
        return False


def file_of(folder: Path, name: str) -> Path:
    """Return the path from which the module `name` of a folder is read, whether it exists or not."""
    place = folder.joinpath(*name.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")
