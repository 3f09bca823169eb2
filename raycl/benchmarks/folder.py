"""This module defines `folder`, a benchmark made from a user's own pictures in one folder per class."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.checks import same_pixels
from raycl.benchmarks.files import checked
from raycl.benchmarks.own import OwnData
from raycl.benchmarks.ownpictures import Digests, found_in, images_and_digests, notes_on
from raycl.benchmarks.owntasks import tasks_of
from raycl.benchmarks.pools import Part, Pool, statistics, stratified
from raycl.benchmarks.prepared import Arrays, Contents, data_root, printable
from raycl.benchmarks.settings import Range
from raycl.benchmarks.sources.image_folders import SUFFIXES, Listing
from raycl.errors import UserError
from raycl.tasks import Benchmark
from raycl.wholefiles import publish

_Stamps = tuple[tuple[str, str, int, int, int, int], ...]


@dataclass(frozen=True, kw_only=True)
class OwnFolder(OwnData):
    """A user's own pictures, split into tasks by class in the order of the folders' names.

    The pictures are in PATH/train/<class>/* and PATH/test/<class>/*; validation pictures are in
    PATH/val/<class>/* (or valid, validation) or are a share of train. Alternatively, they are in
    PATH/<class>/*, of which a share is held out for the test. Pictures become RGB: they are rotated as their
    EXIF data say, transparent parts become white, and 16-bit levels and floats in [0, 1] are scaled. The
    shorter side is resized to `size` pixels and the central square is used. Pictures are normalised by mean
    and standard deviation of the training images. They are read into the data folder once, where they are
    identified by the checksum of their contents and of their names below PATH.

    Attributes:
        size: The length of the shorter side in pixels.
        test: The share of each class that is used for the test if there is no test folder.
        val: The share of each class's training images that is held out if there is no val folder.
    """

    id: ClassVar[str] = "folder"
    version: ClassVar[int] = 2  # 2: levels of more than 8 bits, transparency, EXIF
    summary: ClassVar[str] = "your own pictures in one folder per class, split by class"
    example: ClassVar[str] = "folder(path='mine')"
    layout: ClassVar[tuple[tuple[str, str], ...]] = (
        ("mine/<class>/*", "pictures, of which the share `test` is held out for the test, or"),
        ("mine/train/<class>/*", "pictures for training, and"),
        ("mine/test/<class>/*", "pictures for the test, and perhaps"),
        ("mine/val/<class>/*", "pictures for validation; otherwise the share `val` of train is held out"),
        ("pictures", f"end in {' '.join(SUFFIXES)}"),
    )
    settings_order: ClassVar[tuple[str, ...]] = (
        *("path", "size", "tasks", "val", "test", "data_seed", "name"),
        *("classes", "class_order", "titles", "val_from"),
    )

    size: Annotated[int, Range(8, 1024)] = 32
    test: Annotated[float, Range(0.01, 0.9)] = 0.2

    def checksum(self) -> str:
        return _checksum(self.path, _stamps(found_in(Path(self.path))), str(data_root()))

    def kept(self) -> str:
        return f"{self.identity()['sha256']}-{self.size}-{self.version}"

    def made(self, seed: int) -> Benchmark:
        arrays, facts = self.folder.open(), self.folder.facts
        names = tuple(facts["class_names"])
        pool, notes = self._divided(arrays, names)
        made = tuple(tasks_of(pool, self.wanted, seed, self.data_seed, self.id))
        return Benchmark(str(self), made, (3, self.size, self.size), similar=self.similar, notes=notes)

    def _divided(self, arrays: Arrays, names: tuple[str, ...]) -> tuple[Pool, tuple[str, ...]]:
        """Return train, val and test, given by folders or drawn by shares, and notes about them."""
        all_rows = {
            part: np.arange(len(arrays[f"{part}_labels"]))
            for part in ("train", "val", "test")
            if f"{part}_labels" in arrays
        }
        labels, rest = arrays["train_labels"], all_rows["train"]
        # For each part, the part whose arrays contain its images, and their rows.
        parts = {part: (part, rows) for part, rows in all_rows.items()}
        if "test" not in parts:
            rest, _, rows = stratified(labels, 0.0, self.test, self.data_seed, crc32(b"test"))
            parts["test"] = "train", rows
        train = rest
        if "val" not in parts:
            words, last = (self.data_seed, crc32(b"val")), self.val_from == "last"
            chosen, held, _ = stratified(labels[rest], self.val, 0.0, *words, last=last)
            train, parts["val"] = rest[chosen], ("train", rest[held])
        parts["train"] = "train", train
        whole: dict[str, Part] = {}
        for part, (of, rows) in parts.items():
            whole[part] = Part(arrays[f"{of}_images"], arrays[f"{of}_labels"], rows)
            if part != "val":
                self._check(names, part, whole[part].labels[rows])
        seen = {part: arrays[f"{of}_digests"][rows] for part, (of, rows) in parts.items() if part != "val"}
        learnt = seen["train"] if "val" in all_rows else arrays["train_digests"][rest]
        notes = same_pixels(learnt, seen["test"])
        mean, std = statistics(arrays["train_images"], rest)
        return Pool(whole["train"], whole["val"], whole["test"], mean, std, names=names), notes

    def _check(self, names: tuple[str, ...], part: str, labels: NDArray[np.int64]) -> None:
        rare = np.setdiff1d(np.arange(len(names)), labels)
        if len(rare):
            raise UserError(
                f"class {names[rare[0]]} has too few images, so none is left for {part}; set val and test to "
                "smaller shares, or add images"
            )

    def read(self) -> Contents:
        arrays: dict[str, Any] = {}
        listings = found_in(Path(self.path))
        for part, listing in listings.items():
            digests = Digests(len(listing.files))
            arrays[f"{part}_images"], arrays[f"{part}_digests"] = images_and_digests(
                listing.files, self.size, digests
            )
            arrays[f"{part}_labels"] = listing.labels
        classes = [printable(name) for name in listings["train"].classes]
        facts = {"class_names": classes, "notes": notes_on(Path(self.path), listings)}
        return Contents(arrays, facts=facts)


def _stamps(listings: dict[str, Listing]) -> _Stamps:
    """Return part, path and stamp of each file, which differ if pictures have changed."""
    return tuple(
        (part, str(file), *checked(file)) for part, listing in listings.items() for file in listing.files
    )


@functools.lru_cache(maxsize=16)
def _checksum(path: str, stamps: _Stamps, root: str) -> str:
    """Return the SHA-256 of names and contents.

    The result is recorded in the data folder, so that other processes need not read the files again.
    """
    seen = hashlib.sha256(repr(stamps).encode()).hexdigest()
    note = Path(root) / "folder" / f"{seen[:32]}.sha256"
    with contextlib.suppress(OSError):
        if len(known := note.read_text(encoding="utf-8", errors="replace")) == 64:
            return known
    total = hashlib.sha256()
    for part, name, *_ in stamps:
        with open(name, "rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        total.update(os.fsencode(f"{part}/{os.path.relpath(name, path)}\0{content}\n"))
    with contextlib.suppress(OSError):  # the record only saves time, and the data folder may be read-only
        publish(note, total.hexdigest(), mode=None, synced=False)
    return total.hexdigest()
