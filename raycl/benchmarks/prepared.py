"""Folders of prepared arrays: written once, mapped ever after.

An array is a `.npy` file whose name carries its checksum; `manifest.json` says what belongs together and is
written last. Every process maps the same files, so a node holds one copy in its page cache; the maps are
copy-on-write, so an accidental write stays in its process. `stamps.json` says how each file looked when its
checksum was last found right: a file that looks different since is read again before it is trusted.
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

from raycl.errors import UserError
from raycl.wholefiles import publish, settle

FORMAT = 1  # of the manifest; raised when older folders can no longer be read
BLOCK_BYTES = 2**26  # what is made between two notes of how far a large array has come
Arrays: TypeAlias = dict[str, NDArray[Any]]
Status: TypeAlias = Literal["present", "partial", "absent"]
Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""


def no_progress(what: str, done: int, of: int) -> None:
    """For those who do not watch."""


def data_root() -> Path:
    """The data folder: RAYCL_DATA, or ~/.cache/raycl; absolute."""
    return Path(os.environ.get("RAYCL_DATA") or "~/.cache/raycl").expanduser().absolute()


def shown(path: Path) -> str:
    """A path as a user would write it, on one line that any terminal can print."""
    home = Path.home()
    return printable(f"~/{path.relative_to(home)}" if path.is_relative_to(home) else str(path))


def printable(text: str) -> str:
    """The text, a line break or a byte that is no UTF-8 written as ``\\n`` or ``\\xe9``."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(letter: str) -> str:
    if "\udc80" <= letter <= "\udcff":  # a byte of a file's name that is no UTF-8
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


@dataclass(frozen=True)
class Blocks:
    """An array that is made piece by piece, because it is large or slow to make.

    Attributes:
        shape, dtype: of the whole.
        make: rows [start, stop) of it; called in ascending order.
        token: names what it is made from; work that was cut off goes on only under the same token.
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
    """What is to be stored.

    Attributes:
        arrays: by name.
        subset: why they are not the published data set, or "".
        facts: plain JSON that benchmarks want to know: names of classes, how images were resized.
    """

    arrays: Mapping[str, NDArray[Any] | Blocks]
    subset: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


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
        """Whether all is there, some, or nothing; contents are compared where a file looks changed."""
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
        """Why the data are not the published set, or ""; "" too where nothing is prepared."""
        return str(self._manifest().get("subset", ""))

    @property
    def facts(self) -> dict[str, Any]:
        """What was noted beside the arrays."""
        return dict(self._manifest().get("facts", {}))

    @property
    def fingerprint(self) -> str:
        """12 hexadecimal digits that change with any array; "" where nothing is prepared."""
        entries = self._manifest().get("arrays", {})
        text = json.dumps({name: entry["sha256"] for name, entry in entries.items()}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12] if entries else ""

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(entry["bytes"] for entry in self._manifest().get("arrays", {}).values())

    def problems(self, deep: bool = False, progress: Progress = no_progress) -> list[str]:
        """What is wrong, a line each; with `deep` every file is read, else those that look changed."""
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
                wrong = f"holds {stamp[0]} bytes instead of {entry['bytes']}" if stamp else "is missing"
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
        """The arrays, mapped.

        Raises:
            UserError: a file is missing, truncated, changed or unreadable.
        """
        problems = self.problems()
        if problems:
            raise UserError(f"{problems[0]}; {self.remedy}")
        arrays: Arrays = {}
        for name, entry in self._manifest()["arrays"].items():
            file = self.path / entry["file"]
            try:
                # Seen as a plain array: `np.memmap` is slow to take rows from.
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
        """Write what `read` returns, unless it is here unharmed; of many processes one does the work.

        One that is killed leaves what it has made of a large array, and the next goes on from there.

        Args:
            size: bytes that `read` itself will need besides what is stored, for the check of the disk.

        Raises:
            UserError: the folder cannot be written, or the disk is too full.
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
                return  # a folder that nobody may write to, and need not
            reason = error.strerror or error
            if error.filename and not Path(os.fsdecode(error.filename)).is_relative_to(data_root()):
                raise UserError(f"{os.fsdecode(error.filename)} cannot be read: {reason}") from None
            raise UserError(
                f"cannot write data folder {shown(self.path)}: {reason}; make room, or set RAYCL_DATA to "
                "another disk"
            ) from None

    def _begun_bytes(self) -> int:
        """What a process that was killed has left to go on from."""
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
                f"{self.title} needs {size / 1e6:.0f} MB, {shown(self.path)} has {free / 1e6:.0f} MB left: "
                "make room or set RAYCL_DATA to another disk"
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
        kept = {entry["file"] for entry in entries.values()}
        left = ("*.npy", ".*.tmp", ".*.progress", ".*.json-*")  # the last are drafts of `publish`
        for stale in [path for pattern in left for path in self.path.glob(pattern)]:
            if stale.name not in kept:  # of an earlier preparation, or of a process that was killed
                stale.unlink(missing_ok=True)
        self._write_json("stamps", {name: _stamp(self.path / name) for name in sorted(kept)}, must=False)

    def _store(self, name: str, array: NDArray[Any] | Blocks, progress: Progress) -> dict[str, Any]:
        blocks = array if isinstance(array, Blocks) else _whole(array)
        draft, notes = self.path / f".{name}.tmp", self.path / f".{name}.progress"
        if finished := self._finished(blocks, notes):
            return finished
        # Not `publish`: one draft for all processes, in which the next goes on where one was killed, and its
        # final name is known when it is complete.
        with open(draft, "r+b" if draft.exists() else "w+b") as file:
            done, digest = _resumed(file, blocks, notes)
            step = max(1, BLOCK_BYTES // max(1, blocks.nbytes // max(1, blocks.shape[0])))
            for start in range(done, blocks.shape[0], step):
                progress(name, start, blocks.shape[0])
                stop = min(start + step, blocks.shape[0])
                rows = np.ascontiguousarray(blocks.make(start, stop), blocks.dtype)
                assert rows.shape == (stop - start, *blocks.shape[1:]), f"{name}: {rows.shape}"
                # Written, never mapped: a disk that fills up must be an error, and not a signal.
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
        if blocks.token:  # until there is a manifest
            notes.write_text(json.dumps({"token": blocks.token, "entry": entry}), encoding="utf-8")
        return entry

    def _finished(self, blocks: Blocks, notes: Path) -> dict[str, Any]:
        """The manifest's entry of an array that a process finished and was then killed, or {}."""
        known = _read_json(notes)
        entry: dict[str, Any] = known.get("entry", {}) if known.get("token") == blocks.token else {}
        file = self.path / str(entry.get("file"))
        return entry if entry and file.is_file() and _sha256(file) == entry["sha256"] else {}

    def _write_json(self, name: str, value: Any, must: bool = True) -> None:
        try:
            publish(self.path / f"{name}.json", json.dumps(value, indent=1), mode=None)
        except OSError:  # stamps only save time, and a data folder may be read-only
            if must:
                raise

    def _manifest(self) -> dict[str, Any]:
        return _read_json(self.path / "manifest.json")

    def _stamps(self) -> dict[str, list[int]]:
        return _read_json(self.path / "stamps.json")


def _whole(array: NDArray[Any]) -> Blocks:
    held = np.ascontiguousarray(array) if array.ndim else array.reshape(1)
    return Blocks(held.shape, held.dtype, lambda start, stop: held[start:stop], "")


def _resumed(file: BinaryIO, blocks: Blocks, notes: Path) -> tuple[int, Any]:
    """Where to go on in a draft: rows that are in it already, and the checksum up to there."""
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
    """Size, time of change and place of a file: what changes when somebody writes to it.

    The time of the inode's change is not looked at: it is new where a data folder was made read-only, and no
    stamp can be written there.
    """
    try:
        facts = path.stat()
    except OSError:
        return None
    return [facts.st_size, facts.st_mtime_ns, facts.st_ino]


@functools.lru_cache(maxsize=1024)
def _sha256_once(path: Path, stamp: tuple[int, ...]) -> str:
    """The checksum, read once in a process where no stamp can be written."""
    return _sha256(path)


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
