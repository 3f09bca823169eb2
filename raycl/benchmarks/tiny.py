"""Task sequences made of Tiny ImageNet; the labelled validation set is what they are tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

import numpy as np

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe, within
from raycl.benchmarks.families import blocks_of, class_tasks
from raycl.benchmarks.pools import COLOURS, Part, Pool, stratified
from raycl.benchmarks.transforms import RandomResizedCrop
from raycl.errors import UserError
from raycl.tasks import Augment, Benchmark


def sequence_length(recipe: Recipe, classes: int, each: int, wanted: int) -> int:
    """How many tasks of `each` classes the prepared data make.

    Raises:
        UserError: fewer than `wanted`; names as many as there are.
    """
    there = classes // each
    if wanted > there:
        remedy = f"take {recipe.id}(tasks={there})" if there else f"{each} are a task"
        raise UserError(
            f"benchmark {recipe}: {classes} classes of {', '.join(recipe.needs())} are prepared; {remedy}"
        )
    return there


class _Tiny(Recipe):
    """What they share: blocks of classes, a part of the training images held out.

    Fields:
        tasks: the first so many of the sequence.
        val: share of the training images that is held out.
        data_seed: of what is held out (and, where the class order is seeded, of that too).
    """

    source: ClassVar[str] = "tiny_imagenet"
    similar: ClassVar[bool | None] = False
    count: ClassVar[int]  # tasks in the whole sequence
    tasks: int
    val: float
    data_seed: int

    def __post_init__(self) -> None:
        within("tasks", self.tasks, 1, self.count)
        within("val", self.val, 0, 0.9)
        within("data_seed", self.data_seed, 0, 2**32 - 1)

    def counts(self) -> tuple[int, int, int] | None:
        whole = 100_000 // self.count
        return (whole * 9 // 10, whole // 10, 10_000 // self.count) if self.val == 0.1 else None

    def classes(self) -> int:
        """How many classes are prepared."""
        sources.arrays(self.source, self.id)  # says what to do where it is not here
        return len(sources.facts(self.source)["wnids"])  # type: ignore[arg-type]

    def tasks_of(
        self,
        blocks: Sequence[Sequence[int]],
        words: Sequence[int],
        side: int,
        augment: Augment | None = None,
        per_task: bool = False,
    ) -> Benchmark:
        """A task for each block of labels.

        Args:
            words: of the draw of what is held out.
            per_task: hold out a share of each task, and not of each class.
        """
        arrays = sources.arrays(self.source, self.id)
        images, labels = arrays[f"train_images_{side}"], arrays["train_labels"]
        tested = arrays[f"val_images_{side}"], arrays["val_labels"]
        groups = labels
        if per_task:
            place = np.full(self.classes(), len(blocks), np.int64)  # classes of no task are one group more
            for number, block in enumerate(blocks):
                place[list(block)] = number
            groups = place[labels]
        train, val, _ = stratified(groups, self.val, 0.0, *words, crc32(b"val"))
        mean, std = COLOURS["imagenet"]
        pool = Pool(
            Part(images, labels, train),
            Part(images, labels, val),
            Part(*tested, np.arange(len(tested[1]))),
            mean,
            std,
            augment=augment,
            names=tuple(sources.facts(self.source)["class_names"]),  # type: ignore[arg-type]
        )
        tasks = class_tasks(pool, blocks, self.id)
        return Benchmark(str(self), tuple(tasks), (3, side, side), similar=self.similar)


class _Seeded(_Tiny):
    """At 32 x 32, class and task order from the run's seed (SPG)."""

    def build(self, seed: int) -> Benchmark:
        classes, each = self.classes(), 200 // self.count
        count, words = sequence_length(self, classes, each, self.tasks), (seed, self.data_seed)
        # The held-out share is drawn in the whole sequence, so that `tasks` changes nothing but its length.
        blocks = blocks_of(range(count * each), count, *words)
        made = self.tasks_of(blocks, words, 32, per_task=True)
        return Benchmark(made.name, made.tasks[: self.tasks], made.input_shape, similar=self.similar)


@dataclass(frozen=True, kw_only=True)
class TinyTen(_Seeded):
    """Tiny ImageNet at 32 x 32 in 10 tasks of 20 classes (SPG's T-10)."""

    id: ClassVar[str] = "tiny_10"
    summary: ClassVar[str] = "Tiny ImageNet at 32 x 32, 10 tasks of 20 classes"
    count: ClassVar[int] = 10

    tasks: int = 10
    val: float = 0.1
    data_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TinyTwenty(_Seeded):
    """Tiny ImageNet at 32 x 32 in 20 tasks of 10 classes (SPG's T-20)."""

    id: ClassVar[str] = "tiny_20"
    summary: ClassVar[str] = "Tiny ImageNet at 32 x 32, 20 tasks of 10 classes"
    count: ClassVar[int] = 20

    tasks: int = 20
    val: float = 0.1
    data_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TinyFifty(_Seeded):
    """Tiny ImageNet at 32 x 32 in 50 tasks of 4 classes (SPG's T-50)."""

    id: ClassVar[str] = "tiny_50"
    summary: ClassVar[str] = "Tiny ImageNet at 32 x 32, 50 tasks of 4 classes"
    count: ClassVar[int] = 50

    tasks: int = 50
    val: float = 0.1
    data_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TinyHundred(_Seeded):
    """Tiny ImageNet at 32 x 32 in 100 tasks of 2 classes (SPG's T-100)."""

    id: ClassVar[str] = "tiny_100"
    summary: ClassVar[str] = "Tiny ImageNet at 32 x 32, 100 tasks of 2 classes"
    count: ClassVar[int] = 100

    tasks: int = 100
    val: float = 0.1
    data_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Tiny64Twenty(_Tiny):
    """Tiny ImageNet at 64 x 64 in 20 tasks of 10 classes in one fixed order, a stand-in for `imagenet_100`.

    The order is NumPy's ``RandomState(1).permutation(200)``, as there; so are the random crops and flips in
    training. The last five tasks are ``tiny64_20(first=15, tasks=5)``.
    """

    id: ClassVar[str] = "tiny64_20"
    summary: ClassVar[str] = "Tiny ImageNet at 64 x 64, 20 tasks of 10 classes in one fixed order"
    windows: ClassVar[bool] = True
    count: ClassVar[int] = 20

    tasks: int = 20
    first: int = 0
    val: float = 0.1
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        within("first", self.first, 0, self.count - 1)
        within("tasks", self.tasks, 1, self.count - self.first)

    def build(self, seed: int) -> Benchmark:
        classes = self.classes()
        count = sequence_length(self, classes, 10, self.first + self.tasks)
        blocks = np.random.RandomState(1).permutation(classes)[: count * 10].reshape(count, 10)
        window = blocks[self.first : self.first + self.tasks].tolist()
        return self.tasks_of(window, (self.data_seed,), 64, RandomResizedCrop(64))
