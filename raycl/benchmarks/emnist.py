"""This module defines EMNIST's 47 balanced classes as ten tasks of consecutive labels (PRM's EMNIST-10T)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar
from zlib import crc32

import numpy as np

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe
from raycl.benchmarks.families import class_tasks
from raycl.benchmarks.federated import distinct
from raycl.benchmarks.pools import Part, Pool, Rows, shuffled
from raycl.benchmarks.settings import DataSeed
from raycl.errors import UserError
from raycl.tasks import Benchmark

SIZES = (500, 200, 200)  # train, val and test images of a task, divided equally among its classes


@dataclass(frozen=True, kw_only=True)
class EmnistTen(Recipe):
    """Seven tasks of five classes and three of four; 500 + 200 + 200 images are drawn for each task (PRM).

    Training and validation images come from the official training part, test images from the test part. If
    the prepared data are smaller, all counts are reduced by the same factor.
    """

    id: ClassVar[str] = "emnist_10"
    source: ClassVar[str] = "emnist_balanced"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "EMNIST balanced, 10 tasks of 5 or 4 classes"
    counted_by: ClassVar[str] = "PRM's Table 1"

    data_seed: DataSeed = 0

    def counts(self) -> tuple[int, int, int] | None:
        return SIZES

    def build(self, seed: int) -> Benchmark:
        arrays = sources.arrays(self.source, self.id)
        facts: dict[str, Any] = sources.facts(self.source)
        trained, tested = ((arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test"))
        classes = range(len(facts["class_names"]))
        blocks = [block.tolist() for block in np.array_split(classes, 10)]
        # If both parts contain the same pixels, the test image is used and the training image is not.
        tests, trains = distinct(*((images, np.arange(len(images))) for images, _ in (tested, trained)))
        drawn = {
            label: (
                self._drawn(trains[trained[1][trains] == label], label, b"train"),
                self._drawn(tests[tested[1][tests] == label], label, b"test"),
            )
            for label in classes
        }
        share = min(1.0, *(self._room(block, drawn) for block in blocks))
        parts: list[list[Rows]] = [[], [], []]
        for block in blocks:
            train, val, test = (int(size // len(block) * share) for size in SIZES)
            if not (train and test):
                raise UserError(
                    f"benchmark {self}: the prepared EMNIST has too few training or test images of a class; "
                    f"prepare it again: raycl data prepare {self.source}"
                )
            for label in block:
                rows, held_back = drawn[label]
                pieces = rows[:train], rows[train : train + val], held_back[:test]
                for part, piece in zip(parts, pieces, strict=True):
                    part.append(piece)
        chosen = [np.sort(np.concatenate(part)) for part in parts]
        pool = Pool(
            Part(*trained, chosen[0]),
            Part(*trained, chosen[1]),
            Part(*tested, chosen[2]),
            names=tuple(facts["class_names"]),
        )
        return Benchmark(
            str(self), tuple(class_tasks(pool, blocks, self.id)), (1, 28, 28), similar=self.similar
        )

    def _drawn(self, rows: Rows, label: int, part: bytes) -> Rows:
        """Return the rows of a class in a random order drawn from the data seed."""
        return rows[shuffled(len(rows), self.data_seed, crc32(part), label)]

    def _room(self, block: list[int], drawn: dict[int, tuple[Rows, Rows]]) -> float:
        """Return the share of the counts that the smallest class of a task allows."""
        train, val, test = (size / len(block) for size in SIZES)
        return min(min(len(drawn[i][0]) / (train + val), len(drawn[i][1]) / test) for i in block)
