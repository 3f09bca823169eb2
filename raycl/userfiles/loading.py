"""Loads modules of users' files, and reads them again where they have changed."""

from __future__ import annotations

import collections
import importlib
import sys
import time
from pathlib import Path
from types import ModuleType

from raycl.errors import UserError
from raycl.installed import is_own_file
from raycl.userfiles import changes
from raycl.userfiles.blame import fault, first_line, import_fault, shown
from raycl.userfiles.finder import SOURCES, package_of
from raycl.userfiles.folders import FOLDERS, TAKEN, file_of, has_beside, home

_STARTED = time.time()
_LEFT: dict[str, list[str]] = collections.defaultdict(list)  # by package: what imports left behind


def load(folder: Path, name: str) -> ModuleType:
    """Load the module `name` of a folder, or return it where it is loaded already.

    Args:
        folder: where ``name.py``, or the package ``name``, lies.
        name: dotted for a module of a package; any file's stem otherwise.

    Raises:
        UserError: it cannot be imported; names the file and the line.
    """
    full = f"{package_of(folder)}.{name}"
    known = sys.modules.get(full)
    if known is not None:
        return known
    from raycl import process  # Imported where it is needed: it loads torch, which takes two seconds.

    try:
        with (
            process.untouched(shown(file_of(folder, name)), _LEFT[package_of(folder)].append),
            changes.overseen(SOURCES.keys()),
        ):
            return importlib.import_module(full)
    except UserError:
        raise
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # a file that calls sys.exit must not end the program in silence
        raise UserError(import_fault(error, folder, name)) from None


def find(name: str) -> ModuleType:
    """The module that the text ``"name:Class"`` means: beside the study, or else on Python's path.

    A user's file on Python's path is loaded as one beside a study is, unless this process imported it before
    raycl was asked for it, and it has not changed since.

    Raises:
        ModuleNotFoundError: there is none.
        UserError: it cannot be imported.
    """
    folder = home()
    if folder is not None and has_beside(folder, name):
        return load(folder, name)
    known = sys.modules.get(name)
    if known is not None and not _changed(known):
        return known
    if not name.startswith("raycl.") and (root := _root_of(name)) is not None:
        return load(root, name)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and name.split(".")[0] == error.name.split(".")[0]:
            raise
        raise UserError(f"{name}: {type(error).__name__}: {error}") from None
    except Exception as error:
        raise UserError(fault(error) or f"{name}: {type(error).__name__}: {first_line(error)}") from None


def refresh() -> None:
    """Forget all files of a folder in which one has changed, so that they are read again."""
    for package in list(FOLDERS):
        names = [name for name in sys.modules if name.startswith(f"{package}.")]
        if any(_stale(name) for name in names if name in SOURCES):
            for name in names:
                del sys.modules[name]
                SOURCES.pop(name, None)
                changes.forget(name)
            _LEFT.pop(package, None)
            importlib.invalidate_caches()


def left_by(folder: Path | None) -> tuple[str, ...]:
    """What importing the files of a folder changed of this process, and what was put back; a line each."""
    return tuple(dict.fromkeys(_LEFT[package_of(folder)])) if folder is not None else ()


def _root_of(name: str) -> Path | None:
    """The folder of Python's path that holds a user's module; None of an installed one, or where none is."""
    top = name.partition(".")[0]
    if top in TAKEN or top in sys.stdlib_module_names:
        return None
    for entry in sys.path:
        place = Path(entry or ".").absolute()
        if has_beside(place, name) and is_own_file(place / top):
            return place
    return None


def _changed(module: ModuleType) -> bool:
    """Whether the file of a module that Python loaded may have changed since."""
    try:
        return Path(str(module.__file__)).stat().st_mtime > _STARTED and _is_own_module(module)
    except (OSError, AttributeError, TypeError):
        return False


def _is_own_module(module: ModuleType) -> bool:
    return module.__name__.partition(".")[0] != "raycl" and is_own_file(Path(str(module.__file__)))


def _stale(name: str) -> bool:
    try:
        return Path(str(sys.modules[name].__file__)).read_bytes() != SOURCES[name]
    except OSError:
        return True
