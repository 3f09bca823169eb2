"""A user's own pictures: a folder for each class."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import numpy as np

from raycl.benchmarks.base import Recipe, within
from raycl.benchmarks.families import split_tasks
from raycl.benchmarks.pools import Part, Pool, statistics, stratified
from raycl.benchmarks.prepared import Contents, Folder, data_root, shown
from raycl.benchmarks.sources.base import decoded, images_of
from raycl.benchmarks.sources.image_folders import Listing, listed
from raycl.errors import UserError
from raycl.tasks import Benchmark

_PARTS = ("train", "test")


@dataclass(frozen=True, kw_only=True)
class OwnFolder(Recipe):
    """A user's own pictures, split into tasks by class in the order of the folders' names.

    PATH/train/<class>/* and PATH/test/<class>/*, or PATH/<class>/*, of which a share is then held out for the
    test. Pictures become RGB; their shorter side is resized to `size` pixels and the middle cut out. They are
    normalised by mean and standard deviation of the training images. They are read into the data folder once.

    Fields:
        test: share of each class to test on, where there is no test folder.
        val: share of each class's training images that is held out.
    """

    id: ClassVar[str] = "folder"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "your own pictures, a folder a class, split by class"

    path: str = ""
    size: int = 32
    tasks: int = 5
    val: float = 0.1
    test: float = 0.2
    data_seed: int = 0

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path is missing: name the folder of pictures, as in folder(path='mine')")
        within("size", self.size, 8, 1024)
        within("tasks", self.tasks, 1, 100_000)
        within("val", self.val, 0, 0.9)
        within("test", self.test, 0.01, 0.9)
        within("data_seed", self.data_seed, 0, 2**32 - 1)
        # Workers have another current folder.
        object.__setattr__(self, "path", str(Path(self.path).expanduser().absolute()))

    def identity(self) -> dict[str, str]:
        """The checksum of the pictures and their names.

        Raises:
            UserError: there is no such folder, or it does not hold folders of pictures.
        """
        return {"sha256": _checksum(self.path, _stamp(self._listings()), str(data_root()))}

    def build(self, seed: int) -> Benchmark:
        checksum = self.identity()["sha256"]
        place = data_root() / "folder" / f"{checksum[:16]}-{self.size}"
        folder = Folder(place, Path(self.path).name, f"delete {shown(place)}, it will be written again")
        if not folder.begun:
            folder.fill(self._read, size=0)
        arrays, names = folder.open(), tuple(folder.facts["class_names"])
        images, labels = arrays["train_images"], arrays["train_labels"]
        tested = [arrays.get(f"test_{what}", held) for what, held in (("images", images), ("labels", labels))]
        rest, rows = np.arange(len(labels)), np.arange(len(tested[1]))
        if "test_images" not in arrays:
            rest, _, rows = stratified(labels, 0.0, self.test, self.data_seed, crc32(b"test"))
        train, val, _ = stratified(labels[rest], self.val, 0.0, self.data_seed, crc32(b"val"))
        self._check(names, labels[rest[train]], tested[1][rows])
        pool = Pool(
            Part(images, labels, rest[train]),
            Part(images, labels, rest[val]),
            Part(tested[0], tested[1], rows),
            *statistics(images, rest),
            names=names,
        )
        made = split_tasks(pool, self.tasks, self.id)
        return Benchmark(str(self), tuple(made), (3, self.size, self.size), similar=self.similar)

    def _check(self, names: tuple[str, ...], *parts: Any) -> None:
        for part, labels in zip(_PARTS, parts, strict=True):
            rare = sorted(set(range(len(names))) - set(labels.tolist()))
            if rare:
                raise UserError(
                    f"benchmark folder: {shown(Path(self.path))}: class {names[rare[0]]} has too few images, "
                    f"none is left for {part}; set val and test to smaller shares, or add some"
                )
        if self.tasks > (most := len(names) // 2):
            raise UserError(
                f"benchmark folder: tasks = {self.tasks}: {len(names)} classes make 1..{most} tasks"
            )

    def _listings(self) -> dict[str, Listing]:
        """Files of train and, where there is one, of test."""
        root = Path(self.path)
        try:
            if all((root / part).is_dir() for part in _PARTS):
                found = {part: listed(root / part) for part in _PARTS}
            else:
                found = {"train": listed(root)}
        except OSError as error:
            reason = error.strerror or error
            raise UserError(f"benchmark folder: cannot read {shown(root)}: {reason}") from None
        except UserError as error:
            raise UserError(f"benchmark folder: {error}") from None
        kinds = [listing.classes for listing in found.values()]
        if kinds[0] != kinds[-1]:
            odd = sorted(set(kinds[0]) ^ set(kinds[-1]))[0]
            raise UserError(
                f"benchmark folder: {shown(root)}: class {odd} is in only one of train/ and test/"
            )
        return found

    def _read(self) -> Contents:
        arrays: dict[str, Any] = {}
        listings = self._listings()
        for part, listing in listings.items():
            arrays[f"{part}_images"] = images_of(
                listing.files,
                (3, self.size, self.size),
                lambda file: decoded(file, shown(file), side=self.size, square=False),
            )
            arrays[f"{part}_labels"] = listing.labels
        return Contents(arrays, facts={"class_names": listings["train"].classes})


def _stamp(listings: dict[str, Listing]) -> tuple[tuple[str, str, int, int], ...]:
    """Part, path, size and time of change of each file: what tells that pictures have changed."""
    found = []
    for part, listing in listings.items():
        for file in listing.files:
            facts = file.stat()
            found.append((part, str(file), facts.st_size, facts.st_mtime_ns))
    return tuple(found)


@functools.lru_cache(maxsize=16)
def _checksum(path: str, stamp: tuple[tuple[str, str, int, int], ...], root: str) -> str:
    """SHA-256 of names and bytes, noted in the data folder: other processes need not read them again."""
    seen = hashlib.sha256(repr(stamp).encode()).hexdigest()
    note = Path(root) / "folder" / f"{seen[:32]}.sha256"
    with contextlib.suppress(OSError):
        if len(known := note.read_text(encoding="utf-8", errors="replace")) == 64:
            return known
    total = hashlib.sha256()
    for part, name, _, _ in stamp:
        with open(name, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(f"{part}/{os.path.relpath(name, path)}\0{content}\n".encode())
    with contextlib.suppress(OSError):  # it only saves time, and the data folder may be read-only
        note.parent.mkdir(parents=True, exist_ok=True)
        draft = note.with_name(f".{note.name}-{os.getpid()}")
        draft.write_text(total.hexdigest(), encoding="utf-8")
        os.replace(draft, note)
    return total.hexdigest()
