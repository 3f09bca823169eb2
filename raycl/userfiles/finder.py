"""Import of users' modules, as submodules of packages that represent their folders.

Code is compiled from source bytes that are kept in memory, never from a cached ``.pyc`` file.
`raycl.userfiles.digest` reads the same bytes, so that a key describes exactly what was executed.
"""

from __future__ import annotations

import builtins
import hashlib
import importlib.abc
import importlib.machinery
import os
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from raycl.userfiles import changes
from raycl.userfiles.folders import FOLDERS, PREFIX, holds

SOURCES: dict[str, bytes] = {}
"""The source bytes that were executed, by module name."""


def source_of(module: ModuleType) -> bytes:
    """Return the source that was executed when a module was loaded.

    For a module that Python loaded itself, these are the current bytes of its file; b"" if there is none.
    """
    if module.__name__ in SOURCES:
        return SOURCES[module.__name__]
    try:
        return Path(str(getattr(module, "__file__", ""))).read_bytes()
    except OSError:
        return b""


def package_of(folder: Path) -> str:
    """Return the name of the package that represents a folder; the package is created at the first call."""
    folder = folder.resolve()
    name = f"{PREFIX}.f{hashlib.sha256(os.fsencode(folder)).hexdigest()[:12]}"
    if name not in sys.modules:
        FOLDERS[name] = folder
        top = sys.modules.setdefault(PREFIX, types.ModuleType(PREFIX))
        top.__path__ = []
        made = types.ModuleType(name)
        made.__path__ = [str(folder)]
        made.__package__ = name
        sys.modules[name] = made
        setattr(top, name.partition(".")[2], made)
        if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
            sys.meta_path.insert(0, _Finder())
    return name


class _Finder(importlib.abc.MetaPathFinder):
    """Finder of modules in the packages that represent folders; it follows Python's own rules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if not fullname.startswith(f"{PREFIX}.") or path is None:
            return None
        name = fullname.rpartition(".")[2]
        for place in map(Path, path):
            package = place / name / "__init__.py"
            if package.is_file():
                return _spec(fullname, package, [str(package.parent)])
            if (file := place / f"{name}.py").is_file():
                return _spec(fullname, file, None)
            if (place / name).is_dir():
                return _spec(fullname, None, [str(place / name)])
        return None


def _spec(name: str, file: Path | None, inside: list[str] | None) -> importlib.machinery.ModuleSpec:
    loader = _Loader(name, str(file)) if file else None
    spec = importlib.machinery.ModuleSpec(name, loader, origin=str(file) if file else None)
    spec.submodule_search_locations = inside
    spec.has_location = file is not None
    return spec


class _Loader(importlib.machinery.SourceFileLoader):
    """Loader that keeps the source bytes of a file, and that looks for imports in the file's folder first."""

    def get_code(self, fullname: str) -> CodeType:
        source = self.get_data(self.path)
        SOURCES[fullname] = source
        code: CodeType = compile(source, self.path, "exec", dont_inherit=True)
        return code

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = {**vars(builtins), "__import__": _importer(module.__name__)}
        super().exec_module(module)
        changes.ended(module)


def _importer(importing: str) -> Any:
    package = ".".join(importing.split(".", 2)[:2])
    folder = FOLDERS[package]

    def imported(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        if level >= len(str((globals or {}).get("__package__")).split(".")):
            raise ImportError(f"from {'.' * level}{name}: it leads out of the study's folder")
        if level or not holds(folder, name):
            return builtins.__import__(name, globals, locals, fromlist or (), level)
        found = builtins.__import__(f"{package}.{name}", globals, locals, fromlist or ("*",), 0)
        return found if fromlist else sys.modules[f"{package}.{name.partition('.')[0]}"]

    return imported
