"""This module defines `npz`, a benchmark made from a user's own file of arrays."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.arrays import NAMES, as_arrays, as_images, labels_of, pool_of
from raycl.benchmarks.checks import compared, digests, same_pixels
from raycl.benchmarks.files import Stamp, checked
from raycl.benchmarks.npzfile import arrays_of, names_in
from raycl.benchmarks.own import OwnData
from raycl.benchmarks.owntasks import tasks_of, tasks_of_columns
from raycl.benchmarks.pools import Pool, statistics
from raycl.benchmarks.prepared import Arrays, Contents, shown
from raycl.errors import UserError
from raycl.tasks import Benchmark

FURTHER = ("x_val", "y_val", "t_train", "t_val", "t_test", "mean", "std")
"""Arrays that a file may contain besides `NAMES`."""


@dataclass(frozen=True, kw_only=True)
class Npz(OwnData):
    """A user's own file of arrays, divided into tasks by class or by a column.

    The images are x_train and x_test, in any form that `split_by_class` accepts: floats must lie in [0, 1]
    and are rounded to 255ths. The labels are y_train and y_test. The file may also contain x_val and y_val,
    which are otherwise held out of the training images; the number of each image's task as t_train, t_test
    and t_val; and mean and std for each channel, in units of [0, 1] pixels, which are otherwise measured on
    the training images. The file is unpacked into the data folder once and mapped from there. Its results are
    stored under its checksum, so they are found wherever the file is.
    """

    id: ClassVar[str] = "npz"
    summary: ClassVar[str] = "your own .npz file of x_train, y_train, x_test, y_test, split by class"
    example: ClassVar[str] = "npz(path='mine.npz')"
    layout: ClassVar[tuple[tuple[str, str], ...]] = (
        (
            "x_train, x_test",
            "images [n, h, w], [n, h, w, 1 or 3] or [n, 1 or 3, h, w], or features [n, d]; of type uint8 or "
            "bool, or floats in [0, 1]",
        ),
        ("y_train, y_test", "labels [n], integers from 0 on; the same ones in both"),
        ("x_val, y_val", "may be there: validation, which is otherwise held out of the training images"),
        ("t_train, t_test", "may be there, with t_val if x_val is: the task [n] of each image, an integer"),
        ("mean, std", "may be there: one number per channel, in units of [0, 1] pixels"),
    )

    def checksum(self) -> str:
        return _checksum(self.path, checked(self.path))

    def made(self, seed: int) -> Benchmark:
        mapped = self.folder.open()
        try:
            pool, columns = self._divided(mapped)
        except ValueError as error:
            raise UserError(str(error)) from None
        if columns:
            tasks = tasks_of_columns(pool, columns, self.wanted, str(self))
        else:
            tasks = tasks_of(pool, self.wanted, seed, self.data_seed, str(self))
        if "test_digests" not in mapped:  # the data were prepared by a version that did not store digests
            notes = compared(pool.train.images, pool.test.images)
        else:
            notes = same_pixels(mapped["train_digests"], mapped["test_digests"])
        channels, height, width = pool.train.images.shape[1:]
        shape = (channels, height, width)
        similar = None if columns else self.similar
        return Benchmark(str(self), tuple(tasks), shape, similar=similar, notes=notes)

    def _divided(self, mapped: Arrays) -> tuple[Pool, list[NDArray[np.int64]]]:
        """Return the data in train, val and test, and the columns of tasks of their arrays, if any."""
        validation = (mapped["x_val"], mapped["y_val"]) if "x_val" in mapped else None
        groups, columns = None, []
        if "t_train" in mapped:
            columns = [mapped[name] for name in ("t_train", "t_val" if validation else "t_train", "t_test")]
            pairs = np.stack([mapped["t_train"], mapped["y_train"]])
            groups = np.unique(pairs, axis=1, return_inverse=True)[1].reshape(-1)
        pool = pool_of(
            [mapped[name] for name in NAMES],
            self.val,
            self.data_seed,
            mapped["mean"].tolist(),
            mapped["std"].tolist(),
            validation=validation,
            groups=groups,
            last=self.val_from == "last",
        )
        return pool, columns

    def read(self) -> Contents:
        file = Path(self.path)
        there = names_in(file)
        names = [*NAMES, *(name for name in FURTHER if name in there)]
        found = arrays_of(file, names)
        try:
            arrays = dict(zip(NAMES, as_arrays([found.pop(name) for name in NAMES]), strict=True))
            arrays |= _further(found, arrays)
        except UserError as error:
            raise UserError(f"{shown(file)}: {error}") from None
        if "mean" not in arrays:
            mean, std = statistics(arrays["x_train"])
            arrays |= {"mean": np.array(mean), "std": np.array(std)}
        seen = {f"{part}_digests": digests(arrays[f"x_{part}"]) for part in ("train", "test")}
        return Contents(arrays | seen)


def _further(found: Mapping[str, Any], arrays: Arrays) -> Arrays:
    """Return the further arrays of a file, checked.

    Raises:
        UserError: One of them is wrong, or one that belongs to it is missing.
    """
    pairs = [("x_val", "y_val"), ("t_train", "t_test"), ("mean", "std")]
    pairs += [("t_train", "t_val")] if "x_val" in found else []
    for pair in pairs:
        if sum(name in found for name in pair) == 1:
            here, absent = sorted(pair, key=lambda name: name not in found)
            raise UserError(f"it contains {here} but no {absent}: save both or neither")
    made: dict[str, Any] = {}
    if "x_val" in found:
        made["x_val"] = as_images(found["x_val"], "x_val")
        made["y_val"] = labels_of(found["y_val"], "y_val", len(made["x_val"]))
        _check_validation(made, arrays)
    for part in ("train", "val", "test"):
        if f"t_{part}" in found:
            count = len(made["y_val"] if part == "val" else arrays[f"y_{part}"])
            made[f"t_{part}"] = labels_of(found[f"t_{part}"], f"t_{part}", count)
    for name in ("mean", "std"):
        if name in found:
            made[name] = _numbers(found[name], name, arrays["x_train"].shape[1])
    return made


def _check_validation(made: Arrays, arrays: Arrays) -> None:
    here, there = made["x_val"].shape[1:], arrays["x_train"].shape[1:]
    if here != there:
        raise UserError(f"x_train contains samples of shape {there} and x_val of {here}: they must agree")
    unknown = np.setdiff1d(made["y_val"], arrays["y_train"])
    if len(unknown):
        raise UserError(f"label {unknown[0]} occurs in y_val but not in y_train")


def _numbers(given: Any, name: str, channels: int) -> NDArray[np.float64]:
    found = np.asarray(given, np.float64).reshape(-1)
    within = np.isfinite(found).all() and found.max(initial=0) <= 1 and found.min(initial=1) >= 0
    if len(found) != channels or not within or (name == "std" and found.min() == 0):
        raise UserError(
            f"{name} = {np.asarray(given).tolist()} must be {channels} numbers in [0, 1], one per channel: "
            "pixels are divided by 255 before"
        )
    return found


@functools.lru_cache(maxsize=64)
def _checksum(path: str, stamp: Stamp) -> str:
    """Return the SHA-256 of a file; if it has further arrays, of this digest and of their names.

    Earlier versions did not read further arrays, and stored results under the digest of the file alone.
    """
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    there = names_in(Path(path))
    further = [name for name in FURTHER if name in there]
    return hashlib.sha256(" ".join([digest, *further]).encode()).hexdigest() if further else digest
