"""Facts about a machine: packages, devices, memory and data.

The functions are sent to nodes by value. Another raycl may be installed there, or none, so they use the
standard library alone. What they examine is imported inside them, because the import may fail.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raycl.datafolder import data_root

PACKAGES = ("torch", "torchvision", "numpy", "scikit-learn", "ray", "optuna", "mlflow")


@dataclass(frozen=True)
class Facts:
    """Facts about a machine, as a worker process there sees them.

    Attributes:
        packages: Version of each of `PACKAGES` that is installed; for torch, the version that torch reports.
        raycl: Version of raycl; "" if it cannot be imported, and then `raycl_error` says why.
        source: Digest of each of raycl's files, by path.
        torch_error: Why torch cannot be imported, or "".
        devices: Number of GPUs that torch sees; None if they are hidden from the process that looked.
        memory, memory_free, disk_free: Bytes; the disk is that of the data folder.
        data: For each prepared data set, "mark" (a digest that changes with any array), "bytes", and "whole"
            (whether all files are there).
    """

    host: str
    python: str
    executable: str
    packages: Mapping[str, str]
    raycl: str
    raycl_error: str
    source: Mapping[str, str]
    torch_error: str
    devices: int | None
    cores: int
    memory: int
    memory_free: int
    disk_free: int
    data_writable: bool
    data: Mapping[str, Mapping[str, Any]]

    @property
    def fingerprint(self) -> str:
        """A digest of 8 hexadecimal digits that changes with any of raycl's files."""
        return hashlib.sha256(json.dumps(dict(self.source), sort_keys=True).encode()).hexdigest()[:8]


def look(data: str) -> dict[str, Any]:
    """Return the fields of `Facts` for the machine and the process in which this runs.

    Args:
        data: The data folder.
    """
    packages, torch_error, devices = _packages()
    version, why, source = _raycl()
    memory, memory_free = _memory()
    disk = _existing(data)
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "executable": sys.executable,
        "packages": packages,
        "raycl": version,
        "raycl_error": why,
        "source": source,
        "torch_error": torch_error,
        "devices": devices,
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "memory": memory,
        "memory_free": memory_free,
        "disk_free": shutil.disk_usage(disk).free,
        "data_writable": os.access(disk, os.W_OK | os.X_OK),
        "data": _data_sets(data),
    }


def _packages() -> tuple[dict[str, str], str, int | None]:
    found = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    try:
        import torch

        found["torch"] = str(torch.__version__)
        # Older versions of Ray hide the GPUs from a task that did not request any.
        hidden = os.environ.get("CUDA_VISIBLE_DEVICES") == ""
        return found, "", None if hidden else torch.accelerator.device_count()
    except Exception as error:
        return found, (str(error).splitlines() or [type(error).__name__])[0], None


def _raycl() -> tuple[str, str, dict[str, str]]:
    """Return raycl's version, the reason if it cannot be imported, and the digests of its files."""
    try:
        import raycl

        home = Path(str(raycl.__file__)).parent
        version = str(raycl.__version__)
    except Exception as error:  # anything may be called raycl there
        return "", (str(error).splitlines() or [type(error).__name__])[0], {}
    files = {path.relative_to(home).as_posix(): path for path in sorted(home.rglob("*.py"))}
    digests = {name: hashlib.sha256(path.read_bytes()).hexdigest()[:16] for name, path in files.items()}
    return version, "", digests


def _memory() -> tuple[int, int]:
    """Return total and free bytes of memory, of the machine or of the container's share."""
    total = free = 0
    with contextlib.suppress(OSError, ValueError):
        rows = dict(
            line.split(":", 1) for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
        )
        total, free = (int(rows[name].split()[0]) * 1024 for name in ("MemTotal", "MemAvailable"))
    group = Path("/sys/fs/cgroup")
    with contextlib.suppress(OSError, ValueError):
        limit = int((group / "memory.max").read_text(encoding="utf-8"))
        used = int((group / "memory.current").read_text(encoding="utf-8"))
        total, free = min(total or limit, limit), min(free, max(0, limit - used))
    return total, free


def _existing(path: str) -> Path:
    """Return the folder, or the nearest one above it that exists."""
    here = Path(path)
    while not here.is_dir() and here != here.parent:
        here = here.parent
    return here


def _data_sets(data: str) -> dict[str, dict[str, Any]]:
    """Return the prepared data sets below the data folder, as their manifests describe them."""
    found = {}
    for manifest in sorted(Path(data).glob("*/manifest.json")):
        try:
            arrays = json.loads(manifest.read_text(encoding="utf-8"))["arrays"].values()
            sizes = {str(entry["file"]): int(entry["bytes"]) for entry in arrays}
            files = [manifest.parent / name for name in sizes]
            found[manifest.parent.name] = {
                "mark": hashlib.sha256(json.dumps(sizes, sort_keys=True).encode()).hexdigest()[:16],
                "bytes": sum(sizes.values()),
                "whole": all(
                    file.is_file() and file.stat().st_size == sizes[file.name] for file in files
                ),
            }  # fmt: skip
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def answer(data: str, store: str, folder: str, nonce: str, name: str, patience: float) -> dict[str, Any]:
    """Return the facts, what is wrong with the store ("" if nothing), and at last this machine's time."""
    _stand_somewhere()
    facts = look(data)
    wrong = _read_and_write(Path(store), folder, nonce, name, patience) if store else ""
    return {"facts": facts, "store": wrong, "time": time.time()}


def _stand_somewhere() -> None:
    """Enter the current folder again if it has been replaced since this process started in it.

    A worker starts in the folder of shipped files. Ray nodes of one machine may share that folder, and each
    of them deletes and unpacks it when it needs it first. Without a current folder torch cannot be imported.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        started = os.environ.get("PWD", "")  # set by the shell that started the worker
        os.chdir(started if os.path.isdir(started) else "/")


def _read_and_write(store: Path, folder: str, nonce: str, name: str, patience: float) -> str:
    """Read the driver's note in the store and leave one of this node; return what is wrong, or ""."""
    if not store.is_dir():
        return "sees no such folder"
    note, until = store / folder / "driver", time.monotonic() + patience
    while True:
        with contextlib.suppress(OSError):
            if note.read_text(encoding="utf-8", errors="replace") == nonce:
                break
        if time.monotonic() > until:
            return "has another folder of that name"
        time.sleep(0.1)
    return write_back(store / folder, f"{nonce} {name}", name)


def write_back(folder: Path, text: str, name: str) -> str:
    """Write, sync and rename a file, as results are published; return what went wrong, or "".

    This does not use `raycl.wholefiles`, because it runs on nodes that may not have it.
    """
    draft = folder / f".{name}"
    try:
        with open(draft, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, folder / name)
    except OSError as error:
        return f"cannot write there ({error.strerror or error})"
    return ""


def here() -> Facts:
    """Return the facts about this machine."""
    return Facts(**look(str(data_root())))
