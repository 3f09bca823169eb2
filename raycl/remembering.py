"""Answers that are expensive to compute, kept for later processes in a folder of the user's own.

What plans and reports ask of raycl's own methods, networks and benchmarks depends on nothing but the files of
raycl and the versions of its libraries. An answer is therefore kept under a stamp of these, and no longer
found once any of them changes. Nothing that a user's own code says is kept. The folder is RAYCL_CACHE, or
~/.cache/raycl-plans; with an empty RAYCL_CACHE nothing is kept. Whoever deletes it loses some seconds.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from raycl.wholefiles import publish

LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "scikit-learn",
    "pillow",
    "matplotlib",
    "jinja2",
    "mlflow",
)
STAMPS = 4  # Number of stamps whose answers are kept; older ones are removed.
LARGEST = 2**23  # Bytes of a table of answers that is still read and added to.
MOST = 500  # Number of files under a stamp; beyond it, no further ones are kept.
MOST_NEW = 20_000  # Number of answers of a table that wait to be saved.


def recall(name: str, key: str) -> bytes | None:
    """Return the bytes that `keep` was given under this name and key, or None."""
    folder = _folder()
    if folder is None:
        return None
    try:
        return _file(folder, name, key).read_bytes()
    except OSError:
        return None


def keep(name: str, key: str, content: bytes) -> None:
    """Keep bytes for later processes; where that is impossible, nothing happens."""
    folder = _folder()
    if folder is None or not _unchanged():
        return
    with contextlib.suppress(OSError):
        _prepare(folder)
        if sum(1 for _ in folder.iterdir()) < MOST:
            publish(_file(folder, name, key), content, mode=0o600, synced=False)


def answer(name: str, key: str) -> Any:
    """Return the plain values that `add` was given under this name and key, or None."""
    folder = _folder()
    return None if folder is None else _table(folder, name).get(key)


def add(name: str, key: str, plain: Any) -> None:
    """Add a small answer of plain values to the table `name`; `save` keeps it for later processes."""
    table = _added().setdefault(name, {})
    if len(table) < MOST_NEW:
        table[key] = plain


def save() -> None:
    """Keep the answers that were added since the last call; where that is impossible, nothing happens."""
    folder = _folder() if _added() else None
    if folder is not None and _unchanged():
        for name, table in _added().items():
            _append(folder, name, table)
    _added().clear()


@functools.cache
def _added() -> dict[str, dict[str, Any]]:
    """Return the answers that wait to be saved, by table.

    They are no attribute of this module, because changes of those by a run are undone (`raycl.process`).
    """
    return {}


def _append(folder: Path, name: str, table: dict[str, Any]) -> None:
    place, known = folder / f"{name}.jsonl", _table(folder, name)
    with contextlib.suppress(OSError, ValueError, TypeError):
        fresh = {key: plain for key, plain in table.items() if key not in known}
        lines = "".join(f"{json.dumps([key, plain])}\n" for key, plain in fresh.items()).encode()
        _prepare(folder)
        if fresh and (place.stat().st_size if place.exists() else 0) + len(lines) < LARGEST:
            handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "wb", buffering=0) as file:
                file.write(lines)  # one write, so that lines of two processes do not mix
            known |= fresh


@functools.cache
def stamp() -> str:
    """Return 32 hexadecimal digits that stand for the files of raycl and the versions of its libraries."""
    found = hashlib.sha256(f"{sys.version} {sys.platform}".encode())
    for library in LIBRARIES:
        found.update(f"{library} {_version(library)}\n".encode())
    found.update(_of_files(Path(__file__).parent))
    return found.hexdigest()[:32]


def _of_files(home: Path) -> bytes:
    """Return a digest of the names and contents of all files of a folder, apart from compiled ones."""
    found = hashlib.sha256()
    for folder, inner, files in os.walk(home):
        inner[:] = sorted(name for name in inner if name != "__pycache__")
        for name in sorted(files):
            path = Path(folder, name)
            content = path.read_bytes()
            found.update(f"{path.relative_to(home).as_posix()}\0{len(content)}\0".encode() + content)
    return found.digest()


def _unchanged() -> bool:
    """Return whether raycl's files are still those of the stamp; code loaded meanwhile may be newer."""
    try:
        return _sizes_and_times() == _first_seen()
    except OSError:
        return False


@functools.cache
def _first_seen() -> tuple[tuple[str, int, int], ...]:
    return _sizes_and_times()


def _sizes_and_times() -> tuple[tuple[str, int, int], ...]:
    """Return the names, sizes and times of raycl's files."""
    found = []
    for folder, inner, files in os.walk(Path(__file__).parent):
        inner[:] = [name for name in inner if name != "__pycache__"]
        for name in files:
            status = os.stat(os.path.join(folder, name))
            found.append((os.path.join(folder, name), status.st_size, status.st_mtime_ns))
    return tuple(sorted(found))


def _version(library: str) -> str:
    try:
        return metadata.version(library)
    except metadata.PackageNotFoundError:
        return ""


def _folder() -> Path | None:
    """Return the folder of the current stamp; None if nothing is to be kept.

    A folder of another user is not used, because it may hold anything.
    """
    given = os.environ.get("RAYCL_CACHE")
    if given == "":
        return None
    try:
        root = Path(given or "~/.cache/raycl-plans").expanduser().absolute()
        if root.exists() and root.stat().st_uid != os.getuid():
            return None
        _first_seen()  # before the contents are read
        return root / stamp()
    except (OSError, RuntimeError):  # There is no home, or raycl's files cannot be read.
        return None


def _prepare(folder: Path) -> None:
    """Create the folder of a stamp, and remove those of the oldest stamps."""
    if folder.is_dir():
        return
    folder.mkdir(mode=0o700, parents=True)
    others = sorted((p for p in folder.parent.iterdir() if p.is_dir()), key=lambda p: p.stat().st_mtime_ns)
    for old in others[:-STAMPS]:
        shutil.rmtree(old, ignore_errors=True)


def _file(folder: Path, name: str, key: str) -> Path:
    return folder / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


@functools.cache
def _table(folder: Path, name: str) -> dict[str, Any]:
    """Return a table of answers by key, as far as its file can be read."""
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError):
        place = folder / f"{name}.jsonl"
        if place.stat().st_size <= LARGEST:
            for line in place.read_text(encoding="utf-8", errors="replace").splitlines():
                with contextlib.suppress(ValueError, TypeError):
                    key, plain = json.loads(line)
                    found[key] = plain
    return found
