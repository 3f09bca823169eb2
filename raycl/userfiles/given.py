"""Names and files for classes that a study is given themselves, instead of names such as ``"l2:L2"``.

A class of a file keeps its file. A class that a script or a notebook defines is written into a module of its
own, together with all that it uses and the user's modules that it imports, in a folder that is named after
its content. What is executed, here and on workers, is this module, and its code is in the keys. So a cell
that was edited and executed again has other keys.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raycl.datafolder import data_root
from raycl.errors import UserError, typed_path
from raycl.userfiles import digest
from raycl.userfiles.folders import PREFIX, folder_of, short
from raycl.userfiles.mainsource import MAIN, main_source, modules_of, remedy
from raycl.wholefiles import publish


@dataclass(frozen=True)
class Named:
    """How given classes are found again.

    Attributes:
        folder: Folder of their files; None if they are found on Python's path.
        names: Name of each class, such as ``"l2:L2"``.
    """

    folder: Path | None
    names: dict[Any, str]


def named(kinds: Sequence[type], home: Path | None, beside: Sequence[str] = ()) -> Named:
    """Return the names of a user's own classes, and the folder in which these are looked up.

    Args:
        kinds: The classes.
        home: Folder of the study's file; None if the study is not in a file.
        beside: Modules that the study names in strings, which are then found in the same folder.

    Raises:
        UserError: If the source of a class cannot be had, or they are in two folders.
    """
    for kind in kinds:
        _check(kind)
    if any(kind.__module__ == MAIN for kind in kinds):
        return _written(kinds, beside)
    folders = {folder for kind in kinds if (folder := folder_of(kind.__module__)) is not None} - {home}
    if len(folders | ({home} if home and folders else set())) > 1:
        raise UserError("the classes of this study are in two folders: put their files into one")
    names = {kind: f"{short(kind.__module__)}:{kind.__qualname__}" for kind in kinds}
    return Named(home or next(iter(folders), None) or _root_of(kinds), names)


def _check(kind: type) -> None:
    """Check that a class is found again under its name.

    Raises:
        UserError: If it is not; the message says what to do.
    """
    place = f"class {kind.__qualname__}"
    if "<locals>" in kind.__qualname__:
        inner = kind.__qualname__.rpartition(".")[2]
        raise UserError(f"class {inner} is defined inside a function: move it to the top level of its file")
    module = sys.modules.get(kind.__module__)
    found = getattr(module, kind.__qualname__, None)
    if module is None or found is None:
        raise UserError(f"{place} cannot be found again by its name: {remedy(place)}")
    if found is not kind and kind.__module__ == MAIN:
        raise UserError(
            f"{place} has been defined again since this study was made: execute the study's own cell again"
        )


def _root_of(kinds: Sequence[type]) -> Path | None:
    """Return the folder on Python's path from which the files of all these classes were imported."""
    roots = set()
    for kind in kinds:
        file = getattr(sys.modules[kind.__module__], "__file__", None)
        if file is not None:
            depth = kind.__module__.count(".") + (Path(file).name == "__init__.py")
            roots.add(Path(file).absolute().parents[depth])
    return roots.pop() if len(roots) == 1 else None


def _written(kinds: Sequence[type], beside: Sequence[str]) -> Named:
    """Write the classes of ``__main__``, and what they need, into a folder."""
    mine = [kind for kind in kinds if kind.__module__ == MAIN]
    place = f"class {mine[0].__qualname__}"
    source = main_source(place)
    if missing := [kind for kind in mine if kind.__qualname__ not in source.binds]:
        place = f"class {missing[0].__qualname__}"
        raise UserError(f"the source of {place} is not in this script or notebook: {remedy(place)}")
    chosen = source.reached([kind.__qualname__ for kind in mine], place)
    text = source.text(chosen)
    imported = list(modules_of([source.statements[index][1] for index in chosen]))
    if any(level for _, level in imported):
        raise UserError(f"{place} uses a relative import, which a script cannot have: import by full name")
    others = [kind.__module__ for kind in kinds if kind.__module__ != MAIN]
    files = {f"{source.name}.py": text.encode()}
    for path, content in _needed([*others, *beside, *(name for name, _ in imported)]).items():
        if path in files:
            raise UserError(f"a module {path} is imported that is called like the script: rename one of them")
        files[path] = content
    names = {
        kind: f"{source.name if kind.__module__ == MAIN else short(kind.__module__)}:{kind.__qualname__}"
        for kind in kinds
    }
    return Named(_folder_with(files), names)


def _needed(modules: Iterable[str]) -> dict[str, bytes]:
    """Return the files of a user's modules, and of those that these import, by path in the new folder."""
    files: dict[str, bytes] = {}
    todo, seen = [*modules], set()
    while todo:
        name = todo.pop()
        if name in seen or not name:
            continue
        seen.add(name)
        if (parent := name.rpartition(".")[0]) and not name.startswith(f"{PREFIX}."):
            todo.append(parent)  # Python imports a package before its modules.
        source = digest.source_of_module(name)
        if source is None:
            continue
        path = short(name).replace(".", "/")
        files[f"{path}/__init__.py" if _is_package(name) else f"{path}.py"] = source
        with contextlib.suppress(SyntaxError, ValueError, RecursionError, MemoryError):
            for module, level in modules_of(ast.parse(source).body):
                todo.append(digest.resolved(name, digest.Import(module, "", level)))
    return files


def _is_package(name: str) -> bool:
    module = sys.modules.get(name)
    if module is None:
        with contextlib.suppress(Exception):
            import importlib.util

            spec = importlib.util.find_spec(name)
            return spec is not None and bool(spec.submodule_search_locations)
    return hasattr(module, "__path__")


def _folder_with(files: dict[str, bytes]) -> Path:
    """Return a folder in the data folder that contains these files, and whose name is their digest.

    Raises:
        UserError: If it cannot be written.
    """
    seen = hashlib.sha256()
    for path, content in sorted(files.items()):
        seen.update(f"{path}\0{len(content)}\0".encode() + content)
    folder = data_root() / "classes" / seen.hexdigest()[:16]
    try:
        for path, content in files.items():
            place = folder / path
            if not (place.is_file() and place.read_bytes() == content):
                publish(place, content, synced=False)
    except OSError as error:
        raise UserError(
            f"the source of your classes cannot be written to {typed_path(folder)} "
            f"({error.strerror or error}); name another folder in RAYCL_DATA"
        ) from None
    return folder
