"""A digest of the raycl source files that a run depends on.

The source files are not listed by hand: they follow from the import statements of the files, including those
inside functions. Imports for type checking alone are left out.
"""

from __future__ import annotations

import ast
import functools
import hashlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import raycl
from raycl import remembering, userfiles
from raycl.userfiles.digest import raycl_imports_of

HOME = Path(raycl.__file__).parent
WORKER = "raycl.runs.execution"  # The module that executes a run in a worker process.
# Packages whose modules are found by file name, so that no import statement refers to them.
ROOMS = ("raycl.methods", "raycl.networks", "raycl.benchmarks", "raycl.benchmarks.sources")
KEPT = "fingerprints"  # The table in which fingerprints are kept, because files are parsed for them.


def roots_of(method: type) -> frozenset[str]:
    """Return the modules of raycl that define a method or are imported by its user's files."""
    roots = {base.__module__ for base in method.__mro__ if not userfiles.is_own(base)}
    if userfiles.is_own(method):
        roots |= raycl_imports_of(method)
    return frozenset(roots)


@functools.lru_cache(maxsize=512)
def fingerprint(roots: frozenset[str]) -> str:
    """Return 16 hexadecimal digits that change with any raycl file that a run of a method may execute.

    A user's own files are not included, since they are part of the run's key (`raycl.userfiles.digest`).

    Args:
        roots: The modules of the method, as `roots_of` returns them.
    """
    key = " ".join(sorted(roots))
    if (known := remembering.answer(KEPT, key)) is not None:
        return str(known)
    found = hashlib.sha256()
    for path in files_of([WORKER, *roots, *_members(*ROOMS[1:])]):
        found.update(path.relative_to(HOME).as_posix().encode() + b"\0" + path.read_bytes())
    remembering.add(KEPT, key, short := found.hexdigest()[:16])
    return short


@functools.cache
def worker_files() -> frozenset[str]:
    """Return all files that any worker may execute, relative to the package; all nodes must agree in them."""
    roots = [WORKER, "raycl.tune.trainable", "raycl.tune.staging", *_members(*ROOMS)]
    return frozenset(path.relative_to(HOME).as_posix() for path in files_of(roots))


def files_of(modules: Iterable[str]) -> list[Path]:
    """Return the files of some raycl modules and of all raycl modules that they import, sorted."""
    seen: set[Path] = set()
    todo = [path for module in modules for path in _paths(module)]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += _imported(path)
    return sorted(seen)


def _members(*packages: str) -> list[str]:
    """Return the modules of packages, by the names of their files."""
    return [
        f"{package}.{path.stem}"
        for package in packages
        for path in (HOME.parent / package.replace(".", "/")).glob("*.py")
    ]


def _paths(module: str) -> Iterator[Path]:
    """Yield the file of a raycl module and those of the packages that contain it, as far as they exist."""
    parts = module.split(".")
    if parts[0] != "raycl":
        return
    for end in range(1, len(parts) + 1):
        place = HOME.joinpath(*parts[1:end])
        if (package := place / "__init__.py").is_file():
            yield package
        elif (file := place.with_suffix(".py")).is_file():
            yield file


@functools.cache
def _imported(path: Path) -> frozenset[Path]:
    """Return the files of raycl that a file imports."""
    return frozenset(found for module in _imports(path) for found in _paths(module))


def _imports(path: Path) -> tuple[str, ...]:
    """Return the names of everything that a file imports, including imports inside functions.

    For ``from package import name`` both the package and ``package.name`` are returned, as the latter may be
    a module.
    """
    found: list[str] = []
    for node in _statements(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(found))


def _statements(tree: ast.Module) -> Iterator[ast.AST]:
    """Yield all statements of a file but those for type checking alone; no expression contains an import."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        yield node
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            todo += getattr(node, "body", ())
        for name in ("orelse", "finalbody", "handlers", "cases"):
            todo += getattr(node, name, ())
