"""Copying of the Python files of a folder to where they are used without it."""

from __future__ import annotations

import shutil
from pathlib import Path


def pack(folder: Path, target: Path) -> None:
    """Copy the Python files of a folder and those of its packages to a new folder."""
    target.mkdir()
    for file in folder.glob("*.py"):
        shutil.copy(file, target)
    for package in folder.glob("*/__init__.py"):
        place = package.parent
        hidden = shutil.ignore_patterns(".*", "__pycache__")
        for file in shutil.copytree(place, target / place.name, ignore=hidden).rglob("*"):
            if file.is_file() and file.suffix != ".py":
                file.unlink()
