"""Loading of users' modules, and reloading of those that have changed."""

from __future__ import annotations

import collections
import contextlib
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
from raycl.userfiles.statements import only_names_values

_STARTED = time.time()
_LEFT: dict[str, list[str]] = collections.defaultdict(list)  # By package: messages of `process.untouched`.


def load(folder: Path, name: str) -> ModuleType:
    """Load the module `name` of a folder, or return it if it is already loaded.

    Args:
        folder: Folder of ``name.py`` or of the package ``name``.
        name: Dotted name of a module in a package, or else the stem of a file.

    Raises:
        UserError: If the module cannot be imported; the message names the file and the line.
    """
    full = f"{package_of(folder)}.{name}"
    known = sys.modules.get(full)
    if known is not None:
        return known
    try:
        with _watched(folder, name), changes.overseen(SOURCES.keys()):
            return importlib.import_module(full)
    except UserError:
        raise
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # A file that calls sys.exit must not end the program silently.
        raise UserError(import_fault(error, folder, name)) from None


def _watched(folder: Path, name: str) -> contextlib.AbstractContextManager[None]:
    """Return the context in which a file is imported, which undoes what the file changes in the process."""
    file = file_of(folder, name)
    if "raycl.process" not in sys.modules and _only_names_values(file):
        return contextlib.nullcontext()
    from raycl import process  # It is imported only when needed, since it loads torch, which takes seconds.

    return process.untouched(shown(file), _LEFT[package_of(folder)].append)


def _only_names_values(file: Path) -> bool:
    try:
        return file.name != "__init__.py" and only_names_values(file.read_bytes())
    except OSError:
        return False


def find(name: str) -> ModuleType:
    """Return the module that a string ``"name:Class"`` names, from the study's folder or from `sys.path`.

    A user's file on `sys.path` is loaded like one in the study's folder, unless this process has already
    imported it by itself and the file has not changed since.

    Raises:
        ModuleNotFoundError: If there is no such module.
        UserError: If the module cannot be imported.
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
        if error.name is None:
            raise UserError(f"{name}: {type(error).__name__}: {error}") from None
        if name.split(".")[0] == error.name.split(".")[0]:
            raise
        raise UserError(
            f"{name} cannot be imported, because it needs the module {error.name!r}, which is not installed: "
            "install it"
        ) from None
    except Exception as error:
        raise UserError(fault(error) or f"{name}: {type(error).__name__}: {first_line(error)}") from None


def refresh() -> None:
    """Unload all modules of each folder in which a file has changed, so that they are loaded again."""
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
    """Return one line for each file of a folder whose import changed the process; the changes are undone."""
    return tuple(dict.fromkeys(_LEFT[package_of(folder)])) if folder is not None else ()


def _root_of(name: str) -> Path | None:
    """Return the folder on `sys.path` with a user's module of this name; None if there is none."""
    top = name.partition(".")[0]
    if top in TAKEN or top in sys.stdlib_module_names:
        return None
    for entry in sys.path:
        place = Path(entry or ".").absolute()
        if has_beside(place, name) and is_own_file(place / top):
            return place
    return None


def _changed(module: ModuleType) -> bool:
    """Return whether the file of a user's module that Python loaded may have changed since."""
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
