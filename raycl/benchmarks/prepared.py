"""This module writes folders of prepared arrays, which are written once and memory-mapped afterwards.

An array is a `.npy` file whose name contains its checksum; `manifest.json` lists the files that belong
together and is written last. Every process maps the same files, so a node holds one copy in its page cache;
the maps are copy-on-write, so an accidental write stays in its process. `stamps.json` records the size, time
and inode of each file when its checksum was last verified; a file that has another stamp is read again before
it is trusted.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, TypeAlias

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from raycl.datafolder import data_root as data_root
from raycl.errors import UserError
from raycl.wholefiles import publish, settle

FORMAT = 1  # version of the manifest; increased when older folders can no longer be read
BLOCK_BYTES = 2**26  # how much of a large array is made between two records of the progress
Arrays: TypeAlias = dict[str, NDArray[Any]]
Status: TypeAlias = Literal["present", "partial", "absent"]
Progress: TypeAlias = Callable[[str, int, int], None]
"""A callback that receives what is being done, how much of it is done, and how much there is to do."""


def no_progress(what: str, done: int, of: int) -> None:
    """Ignore the progress, for callers that do not display it."""


def shown(path: Path) -> str:
    """Return a path as a user would write it, on one line that any terminal can print."""
    home = Path.home()
    return printable(f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path))


def printable(text: str) -> str:
    r"""Return the string with line breaks and bytes that are not UTF-8 written as ``\n`` and ``\xe9``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # a byte of a file name that is not UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


@dataclass(frozen=True)
class Blocks:
    """An array that is made in pieces, because it is large or slow to make.

    Attributes:
        shape: The shape of the whole array.
        dtype: The type of the whole array.
        make: A function that returns rows [start, stop); it is called in ascending order.
        token: A string that identifies the inputs of the array; interrupted work is resumed only under the
            same token.
    """

    shape: tuple[int, ...]
    dtype: Any
    make: Callable[[int, int], NDArray[Any]]
    token: str

    @property
    def nbytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) * int(np.dtype(self.dtype).itemsize)


@dataclass(frozen=True)
class Contents:
    """The arrays and facts that are to be stored in a folder.

    Attributes:
        arrays: The arrays by name.
        subset: The reason why the arrays are not the published data set, or "".
        facts: Plain JSON that benchmarks need, such as the names of the classes and how images were resized.
    """

    arrays: Mapping[str, NDArray[Any] | Blocks]
    subset: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Folder:
    """A folder of prepared arrays, which need not exist yet.

    Attributes:
        path: The folder.
        title: The name of the data, for messages.
        remedy: What a user can do about a damaged folder, for messages.
    """

    path: Path
    title: str
    remedy: str

    def status(self) -> Status:
        """Return whether all, some or none of the arrays are present.

        The contents of a file are compared only if its stamp has changed.
        """
        if not self.problems():
            return "present"
        begun = self.path.is_dir() and any(f.suffix in (".npy", ".tmp") for f in self.path.iterdir())
        return "partial" if begun or self.begun else "absent"

    @property
    def begun(self) -> bool:
        """Whether there is a manifest, which is written last."""
        return (self.path / "manifest.json").exists()

    @property
    def subset(self) -> str:
        """The reason why the data are not the published set; "" if they are, or if nothing is prepared."""
        return str(self._manifest().get("subset", ""))

    @property
    def facts(self) -> dict[str, Any]:
        """The facts that were stored with the arrays."""
        return dict(self._manifest().get("facts", {}))

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that change with any array; "" if nothing is prepared."""
        entries = self._manifest().get("arrays", {})
        text = json.dumps({name: entry["sha256"] for name, entry in entries.items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12] if entries else ""

    @property
    def nbytes(self) -> int:
        """The size of all arrays in bytes."""
        return sum(entry["bytes"] for entry in self._manifest().get("arrays", {}).values())

    def problems(self, deep: bool = False, progress: Progress = no_progress) -> list[str]:
        """Return what is wrong with the folder, one line for each problem.

        Args:
            deep: Read every file; otherwise only files whose stamp has changed are read.
            progress: A callback that receives the progress of the check.
        """
        manifest = self._manifest()
        if manifest.get("format") != FORMAT:
            wrong = "cannot be read" if self.begun else "is missing"
            return [f"{self.title}: {shown(self.path / 'manifest.json')} {wrong}"]
        stamps, found, good = self._stamps(), [], {}
        for done, entry in enumerate(manifest["arrays"].values()):
            progress(f"checking {self.title}", done, len(manifest["arrays"]))
            file = self.path / entry["file"]
            stamp = _stamp(file)
            if stamp is None or stamp[0] != entry["bytes"]:
                wrong = f"has {stamp[0]} bytes instead of {entry['bytes']}" if stamp else "is missing"
                found.append(f"{self.title}: {shown(file)} {wrong}")
            elif stamps.get(entry["file"]) == stamp and not deep:
                good[entry["file"]] = stamp
            elif (_sha256(file) if deep else _sha256_once(file, tuple(stamp))) != entry["sha256"]:
                found.append(f"{self.title}: {shown(file)} has changed since it was written")
            else:
                good[entry["file"]] = stamp
        progress(f"checking {self.title}", len(manifest["arrays"]), len(manifest["arrays"]))
        if good != stamps:
            self._write_json("stamps", good, must=False)
        return found

    def open(self) -> Arrays:
        """Return the arrays, memory-mapped.

        Raises:
            UserError: A file is missing, truncated, changed or unreadable.
        """
        problems = self.problems()
        if problems:
            raise UserError(f"{problems[0]}; {self.remedy}")
        arrays: Arrays = {}
        for name, entry in self._manifest()["arrays"].items():
            file = self.path / entry["file"]
            try:
                # The plain view is used because taking rows from an `np.memmap` is slow.
                arrays[name] = np.asarray(np.load(file, mmap_mode="c", allow_pickle=False))
            except (ValueError, OSError) as error:
                reason = str(error).splitlines()[0]
                raise UserError(f"{self.title}: {shown(file)} is damaged ({reason}); {self.remedy}") from None
            if (list(arrays[name].shape), str(arrays[name].dtype)) != (entry["shape"], entry["dtype"]):
                raise UserError(f"{self.title}: {shown(file)} is not what was written; {self.remedy}")
        return arrays

    def fill(
        self,
        read: Callable[[], Contents],
        size: int = 0,
        licence: str = "",
        progress: Progress = no_progress,
    ) -> None:
        """Write the contents that `read` returns, unless they are already present and undamaged.

        If several processes call this, one of them does the work. A process that is killed leaves the
        finished part of a large array, and the next process resumes from it.

        Args:
            read: A function that returns the contents.
            size: The number of bytes that `read` itself needs on the disk besides the stored arrays.
            licence: The licence of the data, which is stored in the manifest.
            progress: A callback that receives the progress.

        Raises:
            UserError: The folder cannot be written, or the disk is too full.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path / ".lock"):
                if not self.problems(deep=True):
                    return
                self._check_space(size)
                contents = read()
                self._check_space(
                    sum(array.nbytes for array in contents.arrays.values()) - self._begun_bytes()
                )
                self._write(contents, licence, progress)
        except OSError as error:
            if not self.problems(deep=True):
                return  # the folder is read-only, but complete
            reason = error.strerror or error
            if error.filename and not Path(os.fsdecode(error.filename)).is_relative_to(data_root()):
                raise UserError(f"{os.fsdecode(error.filename)} cannot be read: {reason}") from None
            raise UserError(
                f"cannot write data folder {shown(self.path)}: {reason}; free some space, or set RAYCL_DATA "
                "to a folder on another disk"
            ) from None

    def _begun_bytes(self) -> int:
        """Return the size of what a killed process has left to resume from."""
        drafts = [*self.path.glob(".*.tmp")]
        finished = [
            _read_json(notes).get("entry", {}).get("file", "") for notes in self.path.glob(".*.progress")
        ]
        stamps = [_stamp(file) for file in [*drafts, *(self.path / name for name in finished if name)]]
        return sum(stamp[0] for stamp in stamps if stamp)

    def _check_space(self, size: int) -> None:
        free = shutil.disk_usage(self.path).free
        if free < size:
            raise UserError(
                f"{self.title} needs {size / 1e6:.0f} MB, but {shown(self.path)} has {free / 1e6:.0f} MB "
                "left: free some space, or set RAYCL_DATA to a folder on another disk"
            )

    def _write(self, contents: Contents, licence: str, progress: Progress) -> None:
        entries = {name: self._store(name, array, progress) for name, array in contents.arrays.items()}
        manifest = {
            "format": FORMAT,
            "licence": licence,
            "subset": contents.subset,
            "facts": dict(contents.facts),
            "arrays": entries,
        }
        self._write_json("manifest", manifest)
        current = {entry["file"] for entry in entries.values()}
        patterns = ("*.npy", ".*.tmp", ".*.progress", ".*.json-*")  # the last are drafts of `publish`
        for stale in [path for pattern in patterns for path in self.path.glob(pattern)]:
            if stale.name not in current:  # left by an earlier preparation or by a killed process
                stale.unlink(missing_ok=True)
        self._write_json("stamps", {name: _stamp(self.path / name) for name in sorted(current)}, must=False)

    def _store(self, name: str, array: NDArray[Any] | Blocks, progress: Progress) -> dict[str, Any]:
        blocks = array if isinstance(array, Blocks) else _whole(array)
        draft, notes = self.path / f".{name}.tmp", self.path / f".{name}.progress"
        if finished := self._finished(blocks, notes):
            return finished
        # `publish` is not used here: all processes share one draft, so that the next one can resume it after
        # a process was killed, and its final name is known only when the draft is complete.
        with open(draft, "r+b" if draft.exists() else "w+b") as file:
            done, digest = _resumed(file, blocks, notes)
            step = max(1, BLOCK_BYTES // max(1, blocks.nbytes // max(1, blocks.shape[0])))
            for start in range(done, blocks.shape[0], step):
                progress(name, start, blocks.shape[0])
                stop = min(start + step, blocks.shape[0])
                rows = np.ascontiguousarray(blocks.make(start, stop), blocks.dtype)
                assert rows.shape == (stop - start, *blocks.shape[1:]), f"{name}: {rows.shape}"
                # The draft is written and never mapped, so that a full disk is an error and not a signal.
                raw = rows.reshape(-1).view(np.uint8).data
                file.write(raw)
                digest.update(raw)
                if blocks.token and stop < blocks.shape[0]:
                    settle(file)
                    notes.write_text(json.dumps({"token": blocks.token, "rows": stop}), encoding="utf-8")
            progress(name, blocks.shape[0], blocks.shape[0])
            settle(file)
            size = file.tell()
        sha256 = digest.hexdigest()
        final = f"{name}-{sha256[:16]}.npy"
        os.replace(draft, self.path / final)
        shape, dtype = list(blocks.shape), str(np.dtype(blocks.dtype))
        entry = {"file": final, "shape": shape, "dtype": dtype, "sha256": sha256, "bytes": size}
        if blocks.token:  # the record is needed until there is a manifest
            notes.write_text(json.dumps({"token": blocks.token, "entry": entry}), encoding="utf-8")
        return entry

    def _finished(self, blocks: Blocks, notes: Path) -> dict[str, Any]:
        """Return the manifest entry of an array that was finished by a process killed later, or {}."""
        known = _read_json(notes)
        entry: dict[str, Any] = known.get("entry", {}) if known.get("token") == blocks.token else {}
        file = self.path / str(entry.get("file"))
        return entry if entry and file.is_file() and _sha256(file) == entry["sha256"] else {}

    def _write_json(self, name: str, value: Any, must: bool = True) -> None:
        try:
            publish(self.path / f"{name}.json", json.dumps(value, indent=1), mode=None)
        except OSError:  # stamps only save time, and the data folder may be read-only
            if must:
                raise

    def _manifest(self) -> dict[str, Any]:
        return _read_json(self.path / "manifest.json")

    def _stamps(self) -> dict[str, list[int]]:
        return _read_json(self.path / "stamps.json")


def _whole(array: NDArray[Any]) -> Blocks:
    rows = np.ascontiguousarray(array) if array.ndim else array.reshape(1)
    return Blocks(rows.shape, rows.dtype, lambda start, stop: rows[start:stop], "")


def _resumed(file: BinaryIO, blocks: Blocks, notes: Path) -> tuple[int, Any]:
    """Return from where to resume a draft: the number of rows that it contains, and their checksum."""
    described = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(blocks.dtype)),
        "fortran_order": False,
        "shape": blocks.shape,
    }
    known = _read_json(notes)
    rows = int(known.get("rows", 0)) if blocks.token and known.get("token") == blocks.token else 0
    if not rows:
        file.truncate(0)
    file.seek(0)
    if not rows:
        np.lib.format.write_array_header_1_0(file, described)
    else:
        np.lib.format.read_magic(file)
        np.lib.format.read_array_header_1_0(file)
        file.seek(file.tell() + rows * (blocks.nbytes // blocks.shape[0]))
    file.truncate(end := file.tell())
    file.seek(0)
    digest = hashlib.sha256()
    while file.tell() < end:
        digest.update(file.read(min(2**20, end - file.tell())))
    return rows, digest


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _stamp(path: Path) -> list[int] | None:
    """Return size, modification time and inode of a file, which change when somebody writes to it.

    The inode's change time is not included: it changes when a data folder is made read-only, where no new
    stamp can be written.
    """
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns, facts.st_ino]


@functools.lru_cache(maxsize=1024)
def _sha256_once(path: Path, stamp: tuple[int, ...]) -> str:
    """Return the checksum; a process reads the file only once, even where no stamp can be written."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
