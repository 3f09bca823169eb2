"""Folders of users, the packages that stand for them, and what they hold.

A file is loaded under a name that is made of its own folder, ``raycl_files.f3a9….mine``, in the driver, on
workers and in checkpoints alike. So files of one name in two folders never meet, and since a folder never
joins Python's path, a file called ``ray.py`` beside a study shadows nothing.
"""

from __future__ import annotations

import contextlib
import contextvars
import sys
from collections.abc import Iterator
from pathlib import Path

PREFIX = "raycl_files"
TAKEN = frozenset(
    {
        *("raycl", "torch", "torchvision", "numpy", "scipy", "sklearn", "pandas", "PIL", "matplotlib"),
        *("jinja2", "rich", "filelock", "ray", "optuna", "mlflow", "pytest"),
    }
)
"""Packages that a file beside a study must not stand in for, since raycl itself uses them."""

FOLDERS: dict[str, Path] = {}
"""Packages by name, and the folders that they stand for."""

_HOME: contextvars.ContextVar[Path | None] = contextvars.ContextVar("home", default=None)


@contextlib.contextmanager
def importing_from(folder: Path | str | None) -> Iterator[None]:
    """Let ``"mine:Mine"`` mean the class in ``mine.py`` of this folder; None: of Python's path alone."""
    token = _HOME.set(Path(folder) if folder is not None else None)
    try:
        yield
    finally:
        _HOME.reset(token)


def home() -> Path | None:
    """The folder beside whose files names are looked up at present."""
    return _HOME.get()


def short(module: str) -> str:
    """The name of a module as a user knows it: without the folder that it was loaded from."""
    parts = module.split(".", 2)
    return parts[2] if parts[0] == PREFIX and len(parts) == 3 else module


def folder_of(module: str) -> Path | None:
    """The folder that a user's module was loaded from; None of any other module."""
    return FOLDERS.get(".".join(module.split(".", 2)[:2]))


def holds(folder: Path, name: str) -> bool:
    """Whether a folder has a file or a package that ``import name`` may mean in its files."""
    top = name.partition(".")[0]
    if top in TAKEN or top in sys.stdlib_module_names:
        return False
    place = folder / top
    return place.with_name(f"{top}.py").is_file() or _is_package(place)


def has_beside(folder: Path, name: str) -> bool:
    """Whether a text ``"name:Class"`` means a file of the folder: there even a taken name is the user's."""
    top = folder / name.partition(".")[0]
    return name.partition(".")[0] != "raycl" and (
        top.with_name(f"{top.name}.py").is_file() or _is_package(top)
    )


def _is_package(place: Path) -> bool:
    try:
        return place.is_dir() and any(entry.suffix == ".py" for entry in place.iterdir())
    except OSError:  # a folder that nobody may look into
        return False


def file_of(folder: Path, name: str) -> Path:
    """Where the module `name` of a folder is read from, whether it is there or not."""
    place = folder.joinpath(*name.split("."))
    return place / "__init__.py" if place.is_dir() else place.with_name(f"{place.name}.py")
