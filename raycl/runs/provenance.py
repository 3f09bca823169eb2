"""Which of raycl's source files a run depends on, read from their imports, and a digest of them.

Nothing here is listed by hand: what a worker loads follows from the import statements of the files, those
inside functions among them. Imports for type checking alone are left out.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import platform
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import raycl
from raycl import userfiles
from raycl.runs.build import method_of
from raycl.specs import RunSpec
from raycl.userfiles import digest


def provenance(spec: RunSpec, device: str, threads: int, numerics: str) -> dict[str, Any]:
    """Where and with what a run was played."""
    return {
        "raycl": raycl.__version__,
        "commit": _commit(),
        "source": fingerprint(method_of(spec)),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": torch.backends.cpu.get_cpu_capability(),
        "device": torch.cuda.get_device_name() if device.startswith("cuda") else device,
        "threads": threads,
        "numerics": numerics,
    }


@functools.cache
def _commit() -> str:
    """The commit of the working copy that raycl runs from, or ""."""
    here = Path(raycl.__file__).parent.parent
    if not (here / ".git").exists():
        return ""
    try:
        command = ["git", "-C", str(here), "rev-parse", "--short=12", "HEAD"]
        return subprocess.run(
            command, capture_output=True, encoding="utf-8", timeout=10, check=True
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ""


HOME = Path(raycl.__file__).parent


WORKER = "raycl.runs.execution"  # what plays a run in a worker process


ROOMS = ("raycl.methods", "raycl.networks", "raycl.benchmarks", "raycl.benchmarks.sources")  # found by name


def fingerprint(method: type) -> str:
    """16 hexadecimal digits that change with any of raycl's files that a run of a method may execute.

    A user's own files are no part of it: they are in the run's key (`raycl.userfiles.digest`).
    """
    roots = {base.__module__ for base in method.__mro__ if not userfiles.is_own(base)}
    if userfiles.is_own(method):
        roots |= digest.raycl_imports_of(method)
    return _fingerprint(frozenset(roots))


@functools.lru_cache(maxsize=512)
def _fingerprint(roots: frozenset[str]) -> str:
    found = hashlib.sha256()
    for path in files_of([WORKER, *roots, *_members(*ROOMS[1:])]):
        found.update(path.relative_to(HOME).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


@functools.cache
def worker_files() -> frozenset[str]:
    """All files that any worker may execute, below the package's folder; in these, nodes must agree."""
    roots = [WORKER, "raycl.tune.trainable", "raycl.tune.staging", *_members(*ROOMS)]
    return frozenset(path.relative_to(HOME).as_posix() for path in files_of(roots))


def files_of(modules: Iterable[str]) -> list[Path]:
    """The files of some of raycl's modules, and of all that they import of raycl's, sorted."""
    seen: set[Path] = set()
    todo = [path for module in modules for path in _paths(module)]
    while todo:
        path = todo.pop()
        if path not in seen:
            seen.add(path)
            todo += (found for module in _imports(path) for found in _paths(module))
    return sorted(seen)


def _members(*packages: str) -> list[str]:
    """Modules that a package finds by the names of its files."""
    return [
        f"{package}.{path.stem}"
        for package in packages
        for path in (HOME.parent / package.replace(".", "/")).glob("*.py")
    ]


def _paths(module: str) -> Iterator[Path]:
    """The file of a module, and those of the packages that it lies in; nothing where there is none."""
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
def _imports(path: Path) -> tuple[str, ...]:
    """What a file imports, in functions too: a module, or what may be one of a package."""
    tree = ast.parse(path.read_bytes())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for child in node.body
        for inner in ast.walk(child)
    }
    found: list[str] = []
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            module = node.module or ""
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(dict.fromkeys(found))
