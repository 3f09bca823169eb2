"""Folders of prepared arrays: written once, mapped ever after.

An array is a `.npy` file whose name carries its checksum; `manifest.json` says what belongs together and is
written last. Every process maps the same files, so a node holds one copy in its page cache; the maps are
copy-on-write, so an accidental write stays in its process.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from raycl.errors import UserError

FORMAT = 1  # of the manifest; raised when older folders can no longer be read
Arrays: TypeAlias = dict[str, NDArray[Any]]
Status: TypeAlias = Literal["present", "partial", "absent"]


def data_root() -> Path:
    """The data folder: RAYCL_DATA, or ~/.cache/raycl; absolute."""
    return Path(os.environ.get("RAYCL_DATA") or "~/.cache/raycl").expanduser().absolute()


def shown(path: Path) -> str:
    """A path as a user would write it."""
    home = Path.home()
    return f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path)


class Contents(NamedTuple):
    """What is to be stored: arrays by name, and why they are not the published data set, or ""."""

    arrays: Arrays
    subset: str = ""


@dataclass(frozen=True)
class Folder:
    """A folder of prepared arrays, which need not exist yet.

    Attributes:
        title: what it holds, for messages.
        remedy: what a user can do about a damaged folder.
    """

    path: Path
    title: str
    remedy: str

    def status(self) -> Status:
        """Whether all is there, some, or nothing; sizes are compared, contents are not."""
        if not self.problems():
            return "present"
        begun = self.path.is_dir() and any(self.path.glob("*.npy"))
        return "partial" if begun or self.begun else "absent"

    @property
    def begun(self) -> bool:
        """Whether there is a manifest, which is written last."""
        return (self.path / "manifest.json").exists()

    @property
    def subset(self) -> str:
        """Why the data are not the published set, or ""; "" too where nothing is prepared."""
        return str(self._manifest().get("subset", ""))

    def problems(self, deep: bool = False) -> list[str]:
        """What is wrong, a line each; with `deep` every file is read and its checksum compared."""
        manifest = self._manifest()
        if manifest.get("format") != FORMAT:
            wrong = "cannot be read" if self.begun else "is missing"
            return [f"{self.title}: {shown(self.path / 'manifest.json')} {wrong}"]
        found = []
        for entry in manifest["arrays"].values():
            file = self.path / entry["file"]
            size = file.stat().st_size if file.exists() else -1
            if size != entry["bytes"]:
                wrong = f"holds {size} bytes instead of {entry['bytes']}" if size >= 0 else "is missing"
                found.append(f"{self.title}: {shown(file)} {wrong}")
            elif deep and _sha256(file) != entry["sha256"]:
                found.append(f"{self.title}: {shown(file)} has changed since it was written")
        return found

    def open(self) -> Arrays:
        """The arrays, mapped.

        Raises:
            UserError: a file is missing, truncated or unreadable.
        """
        problems = self.problems()
        if problems:
            raise UserError(f"{problems[0]}; {self.remedy}")
        arrays: Arrays = {}
        for name, entry in self._manifest()["arrays"].items():
            file = self.path / entry["file"]
            try:
                arrays[name] = np.load(file, mmap_mode="c", allow_pickle=False)
            except (ValueError, OSError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"{self.title}: {shown(file)} is damaged ({reason}); {self.remedy}") from None
            if (list(arrays[name].shape), str(arrays[name].dtype)) != (entry["shape"], entry["dtype"]):
                raise UserError(f"{self.title}: {shown(file)} is not what was written; {self.remedy}")
        return arrays

    def fill(self, read: Callable[[], Contents], size: int, licence: str = "") -> None:
        """Write what `read` returns, unless it is here unharmed; of many processes one does the work.

        Args:
            size: bytes it will take, for the check of the disk.

        Raises:
            UserError: the folder cannot be written, or the disk is too full.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path / ".lock"):
                if not self.problems(deep=True):
                    return
                for stale in self.path.glob(".*.tmp"):  # of a process that was killed: we hold the lock
                    stale.unlink()
                self._check_space(size)
                self._write(read(), licence)
        except OSError as error:
            reason = error.strerror or error
            raise UserError(
                f"cannot write data folder {shown(self.path)}: {reason}; set RAYCL_DATA"
            ) from None

    def _check_space(self, size: int) -> None:
        free = shutil.disk_usage(self.path).free
        if free < size:
            raise UserError(
                f"{self.title} needs {size / 1e6:.0f} MB, {shown(self.path)} has {free / 1e6:.0f} MB left: "
                "make room or set RAYCL_DATA to another disk"
            )

    def _write(self, contents: Contents, licence: str) -> None:
        entries = {name: self._store(name, array) for name, array in contents.arrays.items()}
        manifest = {"format": FORMAT, "licence": licence, "subset": contents.subset, "arrays": entries}
        draft = self.path / ".manifest.tmp"
        with open(draft, "w", encoding="utf-8") as file:
            json.dump(manifest, file, indent=1)
            _settle(file)
        os.replace(draft, self.path / "manifest.json")

    def _store(self, name: str, array: NDArray[Any]) -> dict[str, Any]:
        draft = self.path / f".{name}.tmp"
        with open(draft, "wb") as file:
            np.save(file, np.ascontiguousarray(array), allow_pickle=False)
            _settle(file)
        sha256, size = _sha256(draft), draft.stat().st_size
        final = f"{name}-{sha256[:16]}.npy"
        os.replace(draft, self.path / final)
        shape, dtype = list(array.shape), str(array.dtype)
        return {"file": final, "shape": shape, "dtype": dtype, "sha256": sha256, "bytes": size}

    def _manifest(self) -> dict[str, Any]:
        try:
            found = json.loads((self.path / "manifest.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _settle(file: Any) -> None:
    file.flush()
    os.fsync(file.fileno())


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
