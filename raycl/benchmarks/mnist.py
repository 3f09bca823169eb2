"""This module defines benchmarks made from MNIST, which all use one division of the images."""

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
    """The settings and images that all MNIST benchmarks share.

    Attributes:
        val: The share of each class's training images that is held out; 0 as in the papers' final runs.
        limit_train: The number of training images to use, which are the first of a fixed shuffle; 0 means
            all.
        limit_test: The same for the test images.
    """

    source: ClassVar[str] = "mnist"

    val: HeldOut = 0.1
    limit_train: Annotated[int, Range(0, 60_000)] = 0
    limit_test: Annotated[int, Range(0, 10_000)] = 0

    def pool(self) -> Pool:
        """Return the images, limited in number and divided into train, val and test."""
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
        """Return the tasks as a benchmark whose `subset` states the limits."""
        limits = (("training", self.limit_train, 60_000), ("test", self.limit_test, 10_000))
        notes = [f"{limit} of {of} {part} images" for part, limit, of in limits if 0 < limit < of]
        return Benchmark(str(self), tuple(tasks), (1, 28, 28), ", ".join(notes), self.similar)


def _first(count: int, limit: int, part: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """Return the sorted rows of the first `limit` images of a fixed shuffle; 0 means all images."""
    if not 0 < limit < count:
        return np.arange(count)
    return np.sort(shuffled(count, 0, crc32(part))[:limit])


@dataclass(frozen=True, kw_only=True)
class _Sequence(_Mnist):
    """Tasks of all ten digits, which are transformed differently in each task.

    Attributes:
        data_seed: The seed of the transforms.
        first: The number of the first task in the fixed sequence of all tasks.
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

    tasks: int = 10  # each benchmark sets its own maximum
    data_seed: DataSeed = 0
    first: int = 0

    def counts(self) -> tuple[int, int, int] | None:
        if self.limit_train or self.limit_test:
            return None
        return {0.0: (60_000, 0, 10_000), 0.1: (54_000, 6_000, 10_000)}.get(self.val)


@dataclass(frozen=True, kw_only=True)
class PermutedMnist(_Sequence):
    """Tasks of all ten digits, each with a fixed permutation of the pixels, including the first task."""

    id: ClassVar[str] = "permuted_mnist"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "MNIST, pixels permuted differently in each task"

    tasks: Annotated[int, Range(1, 1000)] = 10
    first: Annotated[int, Range(0, 1_000_000)] = 0

    def build(self, seed: int) -> Benchmark:
        return self.sequence(permuted_tasks(self.pool(), self.tasks, self.data_seed, self.id, self.first))


@dataclass(frozen=True, kw_only=True)
class RotatedMnist(_Sequence):
    """Tasks of all ten digits, each rotated by an integer angle in degrees, which the task's name states."""

    id: ClassVar[str] = "rotated_mnist"
    version: ClassVar[int] = 2  # 2: nearest pixel instead of bilinear
    similar: ClassVar[bool | None] = True
    summary: ClassVar[str] = "MNIST, each task rotated by a different angle"

    tasks: Annotated[int, Range(1, 359)] = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        within("first", self.first, 0, 359 - self.tasks)

    def angles(self) -> list[int]:
        """Return the angle of each task in degrees; the angles are different integers in 1..359.

        Task number n of the sequence always has the same angle, whatever `first` and `tasks` are.
        """
        drawn = shuffled(359, self.data_seed, crc32(b"angle"))[self.first : self.first + self.tasks] + 1
        return [int(angle) for angle in drawn]

    def build(self, seed: int) -> Benchmark:
        return self.sequence(turned_tasks(self.pool(), self.angles(), self.id, nearest=True))


@dataclass(frozen=True, kw_only=True)
class MnistSplit(_Mnist):
    """Five tasks of two digits each: 0 and 1, 2 and 3, and so on."""

    id: ClassVar[str] = "mnist_split"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "MNIST, two digits per task (5 tasks)"

    def build(self, seed: int) -> Benchmark:
        return self.sequence(split_tasks(self.pool(), 5, self.id))
