"""This module defines `npz`, a benchmark made from a user's own file of arrays."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np

from raycl.benchmarks.arrays import NAMES, as_arrays, pool_of, split
from raycl.benchmarks.checks import compared, digests, same_pixels
from raycl.benchmarks.files import Stamp, checked
from raycl.benchmarks.npzfile import arrays_of
from raycl.benchmarks.own import OwnData
from raycl.benchmarks.pools import statistics
from raycl.benchmarks.prepared import Contents, shown
from raycl.errors import UserError
from raycl.tasks import Benchmark


@dataclass(frozen=True, kw_only=True)
class Npz(OwnData):
    """A user's own file of x_train, y_train, x_test and y_test, whose classes are split into tasks.

    The arrays may have any form that `split_by_class` accepts: floats must lie in [0, 1] and are rounded to
    255ths. The file is unpacked into the data folder once and mapped from there. Its results are stored under
    its checksum, so they are found wherever the file is.
    """

    id: ClassVar[str] = "npz"
    summary: ClassVar[str] = "your own .npz file of x_train, y_train, x_test, y_test, split by class"
    example: ClassVar[str] = "npz(path='mine.npz')"

    def checksum(self) -> str:
        return _checksum(self.path, checked(self.path))

    def made(self) -> Benchmark:
        mapped = self.folder.open()
        given = [mapped[name] for name in NAMES]
        try:
            mean, std = mapped["mean"].tolist(), mapped["std"].tolist()
            pool = pool_of(given, self.val, self.data_seed, mean, std)
            made = split(str(self), pool, self.tasks)
        except ValueError as error:
            raise UserError(f"benchmark npz: {self.name}: {error}") from None
        if "test_digests" not in mapped:  # the data were prepared by a version that did not store digests
            notes = compared(pool.train.images, pool.test.images)
        else:
            notes = same_pixels(mapped["train_digests"], mapped["test_digests"])
        return Benchmark(made.name, made.tasks, made.input_shape, similar=made.similar, notes=notes)

    def read(self) -> Contents:
        file = Path(self.path)
        found = arrays_of(file, NAMES)
        try:
            arrays = dict(zip(NAMES, as_arrays([found.pop(name) for name in NAMES]), strict=True))
        except UserError as error:
            raise UserError(f"{shown(file)}: {error}") from None
        mean, std = statistics(arrays["x_train"])
        seen = {f"{part}_digests": digests(arrays[f"x_{part}"]) for part in ("train", "test")}
        return Contents(arrays | seen | {"mean": np.array(mean), "std": np.array(std)})


@functools.lru_cache(maxsize=64)
def _checksum(path: str, stamp: Stamp) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
