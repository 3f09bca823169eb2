"""Task sequences made of MNIST. All keep to one division of the images, whatever the tasks are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar
from zlib import crc32

import numpy as np

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe
from raycl.benchmarks.families import permuted_tasks, split_tasks, turned_tasks
from raycl.benchmarks.pools import Part, Pool, shuffled, stratified
from raycl.benchmarks.settings import DataSeed, HeldOut, Range, within
from raycl.tasks import Benchmark, Task


@dataclass(frozen=True, kw_only=True)
class _Mnist(Recipe):
    """What the MNIST benchmarks share.

    Fields:
        val: share of the training images, per class, that is held out; 0 as in the papers' final runs.
        limit_train, limit_test: how many images to use, 0 for all: the first of a fixed shuffle.
    """

    source: ClassVar[str] = "mnist"

    val: HeldOut = 0.1
    limit_train: Annotated[int, Range(0, 60_000)] = 0
    limit_test: Annotated[int, Range(0, 10_000)] = 0

    def pool(self) -> Pool:
        """The images, limited and divided."""
        arrays = sources.arrays("mnist", self.id)
        images, labels = arrays["train_images"], arrays["train_labels"]
        rows = _first(len(labels), self.limit_train, b"train")
        train, val, _ = stratified(labels[rows], self.val, 0.0, crc32(b"val"))
        tested = arrays["test_images"], arrays["test_labels"]
        return Pool(
            Part(images, labels, rows[train]),
            Part(images, labels, rows[val]),
            Part(*tested, _first(len(tested[1]), self.limit_test, b"test")),
            names=tuple(map(str, range(10))),
        )

    def sequence(self, tasks: Sequence[Task]) -> Benchmark:
        """The tasks as a benchmark that owns up to its limits."""
        limits = (("training", self.limit_train, 60_000), ("test", self.limit_test, 10_000))
        notes = [f"{limit} of {of} {part} images" for part, limit, of in limits if 0 < limit < of]
        return Benchmark(str(self), tuple(tasks), (1, 28, 28), ", ".join(notes), self.similar)


def _first(count: int, limit: int, part: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Rows of the first `limit` images of a fixed shuffle, sorted; all of them for 0."""
    if not 0 < limit < count:
        return np.arange(count)
    return np.sort(shuffled(count, 0, crc32(part))[:limit])


@dataclass(frozen=True, kw_only=True)
class _Sequence(_Mnist):
    """All ten digits in every task, changed in another way in each.

    Fields:
        data_seed: of the changes.
        first: number of the first task in the fixed sequence of all tasks.
    """

    windows: ClassVar[bool] = True
    settings_order: ClassVar[tuple[str, ...]] = (
        "tasks",
        "val",
        "limit_train",
        "limit_test",
        "data_seed",
        "first",
    )

    tasks: int = 10  # the most there may be is each benchmark's own
    data_seed: DataSeed = 0
    first: int = 0

    def counts(self) -> tuple[int, int, int] | None:
        if self.limit_train or self.limit_test:
            return None
        return {0.0: (60_000, 0, 10_000), 0.1: (54_000, 6_000, 10_000)}.get(self.val)


@dataclass(frozen=True, kw_only=True)
class PermutedMnist(_Sequence):
    """All ten digits in every task, behind a fixed permutation of the pixels; the first task has one too."""

    id: ClassVar[str] = "permuted_mnist"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "MNIST, pixels permuted anew in each task"

    tasks: Annotated[int, Range(1, 1000)] = 10
    first: Annotated[int, Range(0, 1_000_000)] = 0

    def build(self, seed: int) -> Benchmark:
        return self.sequence(permuted_tasks(self.pool(), self.tasks, self.data_seed, self.id, self.first))


@dataclass(frozen=True, kw_only=True)
class RotatedMnist(_Sequence):
    """All ten digits in every task, turned by a whole number of degrees that the task's name tells."""

    id: ClassVar[str] = "rotated_mnist"
    version: ClassVar[int] = 2  # 2: nearest pixel instead of bilinear
    similar: ClassVar[bool | None] = True
    summary: ClassVar[str] = "MNIST, each task turned by another angle"

    tasks: Annotated[int, Range(1, 359)] = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        within("first", self.first, 0, 359 - self.tasks)

    def angles(self) -> list[int]:
        """Degrees, one a task, in 1..359 and all different; number n of the sequence is always the same."""
        drawn = shuffled(359, self.data_seed, crc32(b"angle"))[self.first : self.first + self.tasks] + 1
        return [int(angle) for angle in drawn]

    def build(self, seed: int) -> Benchmark:
        return self.sequence(turned_tasks(self.pool(), self.angles(), self.id, nearest=True))


@dataclass(frozen=True, kw_only=True)
class MnistSplit(_Mnist):
    """Two digits a task: 0 and 1, 2 and 3, and so on."""

    id: ClassVar[str] = "mnist_split"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "MNIST, two digits a task (5 tasks)"

    def build(self, seed: int) -> Benchmark:
        return self.sequence(split_tasks(self.pool(), 5, self.id))
