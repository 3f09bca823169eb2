"""Task sequences made of CIFAR-10 and CIFAR-100, by the rules of five papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, TypeAlias
from zlib import crc32

import numpy as np

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe, within
from raycl.benchmarks.families import blocks_of, class_tasks
from raycl.benchmarks.pools import COLOURS, Part, Pool, statistics, stratified
from raycl.benchmarks.transforms import CropFlip
from raycl.tasks import ArraySplit, Benchmark, Task

Norm: TypeAlias = Literal["imagenet", "cifar", "supsup", "task"]
ClassOrder: TypeAlias = Literal["seeded", "id"]


class _Cifar(Recipe):
    """What they share: blocks of classes, a part of each task's training images held out.

    Fields:
        val: share of the training images that is held out.
        norm: whose mean and standard deviation; "task" measures them on each task's training images.
        data_seed: of what is held out (and, where the class order is seeded, of that too).
    """

    similar: ClassVar[bool | None] = False
    coarse: ClassVar[bool] = False  # labels are superclasses
    augments: ClassVar[bool] = False  # crops and flips in training
    val: float
    norm: Norm
    data_seed: int

    def __post_init__(self) -> None:
        within("val", self.val, 0, 0.9)
        within("data_seed", self.data_seed, 0, 2**32 - 1)
        if self.norm not in (*COLOURS, "task"):
            raise ValueError(f"norm = {self.norm!r} is none of {', '.join(COLOURS)}, task")

    def tasks_of(self, blocks: Sequence[Sequence[int]], words: Sequence[int], titles: Sequence[str] = (),
                 per_task: bool = False) -> Benchmark:  # fmt: skip
        """A task for each block of labels.

        Args:
            words: of the draw of what is held out.
            per_task: hold out a share of each task, and not of each class.
        """
        arrays = sources.arrays(self.source, self.id)
        facts = sources.facts(self.source)
        images, labels = arrays["train_images"], arrays["train_labels"]
        tested = arrays["test_images"], arrays["test_labels"]
        groups = arrays["train_coarse"] if self.coarse else labels
        if per_task:
            place = np.zeros(int(labels.max()) + 1, np.int64)
            for number, block in enumerate(blocks):
                place[list(block)] = number
            groups = place[labels]
        train, val, _ = stratified(groups, self.val, 0.0, *words, crc32(b"val"))
        mean, std = COLOURS["cifar" if self.norm == "task" else self.norm]
        pool = Pool(
            Part(images, labels, train),
            Part(images, labels, val),
            Part(*tested, np.arange(len(tested[1]))),
            mean,
            std,
            augment=CropFlip() if self.augments else None,
            names=tuple(facts["class_names"]),  # type: ignore[arg-type]
        )
        tasks = class_tasks(pool, blocks, self.id, titles)
        if self.norm == "task":
            tasks = [_own_statistics(task) for task in tasks]
        return Benchmark(str(self), tuple(tasks), (3, 32, 32), similar=self.similar)


def _own_statistics(task: Task) -> Task:
    """The task normalised by mean and standard deviation of its own training images (KSM)."""
    train = task.train
    assert isinstance(train, ArraySplit)
    mean, std = statistics(train.images, train.rows)
    splits = [
        replace(s, mean=mean, std=std) for s in (train, task.val, task.test) if isinstance(s, ArraySplit)
    ]
    return replace(task, train=splits[0], val=splits[1], test=splits[2])


class _Split100(_Cifar):
    """CIFAR-100 in so many blocks of classes, in seeded order (SPG) or by label (PRM)."""

    source: ClassVar[str] = "cifar100"
    count: ClassVar[int]
    class_order: ClassOrder

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.class_order not in ("seeded", "id"):
            raise ValueError(f"class_order = {self.class_order!r} is not 'seeded' or 'id'")

    def counts(self) -> tuple[int, int, int] | None:
        whole = 50_000 // self.count
        return (whole * 9 // 10, whole // 10, 10_000 // self.count) if self.val == 0.1 else None

    def build(self, seed: int) -> Benchmark:
        labels = list(range(100))
        if self.class_order == "id":
            blocks = [block.tolist() for block in np.array_split(labels, self.count)]
            return self.tasks_of(blocks, (self.data_seed,))
        words = (seed, self.data_seed)
        return self.tasks_of(blocks_of(labels, self.count, *words), words, per_task=True)


@dataclass(frozen=True, kw_only=True)
class Cifar100Ten(_Split100):
    """CIFAR-100 in 10 tasks of 10 classes. SPG: class and task order from the run's seed; PRM: by label."""

    id: ClassVar[str] = "cifar100_10"
    summary: ClassVar[str] = "CIFAR-100, 10 tasks of 10 classes"
    count: ClassVar[int] = 10

    class_order: ClassOrder = "seeded"
    norm: Norm = "imagenet"
    val: float = 0.1
    data_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Cifar100Twenty(_Split100):
    """CIFAR-100 in 20 tasks of 5 classes, class and task order from the run's seed (SPG)."""

    id: ClassVar[str] = "cifar100_20"
    summary: ClassVar[str] = "CIFAR-100, 20 tasks of 5 classes"
    count: ClassVar[int] = 20

    class_order: ClassOrder = "seeded"
    norm: Norm = "imagenet"
    val: float = 0.1
    data_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Cifar100Five(_Cifar):
    """CIFAR-100 in 5 tasks of 20 classes by label, 15 % of the training images held out (PMASK)."""

    id: ClassVar[str] = "cifar100_5"
    source: ClassVar[str] = "cifar100"
    summary: ClassVar[str] = "CIFAR-100, 5 tasks of 20 classes by label"

    norm: Norm = "cifar"
    val: float = 0.15
    data_seed: int = 0

    def counts(self) -> tuple[int, int, int] | None:
        return (8500, 1500, 2000) if self.val == 0.15 else None

    def build(self, seed: int) -> Benchmark:
        return self.tasks_of([list(range(i, i + 20)) for i in range(0, 100, 20)], (self.data_seed,))


@dataclass(frozen=True, kw_only=True)
class Cifar10Five(_Cifar):
    """CIFAR-10 in 5 tasks of 2 classes by label, 15 % of the training images held out (PMASK)."""

    id: ClassVar[str] = "cifar10_5"
    source: ClassVar[str] = "cifar10"
    summary: ClassVar[str] = "CIFAR-10, 5 tasks of 2 classes by label"

    norm: Norm = "cifar"
    val: float = 0.15
    data_seed: int = 0

    def counts(self) -> tuple[int, int, int] | None:
        return (8500, 1500, 2000) if self.val == 0.15 else None

    def build(self, seed: int) -> Benchmark:
        return self.tasks_of([[i, i + 1] for i in range(0, 10, 2)], (self.data_seed,))


@dataclass(frozen=True, kw_only=True)
class Cifar100Fixed(_Cifar):
    """CIFAR-100 in 20 tasks of 5 classes in one fixed order, crops and flips in training (ImpressLearn).

    The order is NumPy's ``RandomState(0).permutation(100)``, as SupSup's authors have it. New tasks are the
    last five: ``cifar100_20_fixed(first=15, tasks=5)``. `val=0.1` holds out 250 images a task for a search.
    """

    id: ClassVar[str] = "cifar100_20_fixed"
    source: ClassVar[str] = "cifar100"
    summary: ClassVar[str] = "CIFAR-100, 20 tasks of 5 classes in one fixed order"
    augments: ClassVar[bool] = True
    windows: ClassVar[bool] = True

    tasks: int = 20
    first: int = 0
    norm: Norm = "supsup"
    val: float = 0.0
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        within("first", self.first, 0, 19)
        within("tasks", self.tasks, 1, 20 - self.first)

    def counts(self) -> tuple[int, int, int] | None:
        return {0.0: (2500, 0, 500), 0.1: (2250, 250, 500)}.get(self.val)

    def build(self, seed: int) -> Benchmark:
        order = _FIXED_ORDER.reshape(20, 5)[self.first : self.first + self.tasks]
        return self.tasks_of(order.tolist(), (self.data_seed,))


_FIXED_ORDER = np.random.RandomState(0).permutation(100)


@dataclass(frozen=True, kw_only=True)
class Cifar100Super(_Cifar):
    """The 20 superclasses of CIFAR-100, 5 classes each, in the order of their labels (KSM, CPG).

    `first` moves one of the tasks, counted from 1, to the front. Crops and flips in training; normalised by
    each task's own training images. `val=0.1` holds out 250 images a task for a search.
    """

    id: ClassVar[str] = "cifar100_super"
    source: ClassVar[str] = "cifar100"
    summary: ClassVar[str] = "CIFAR-100, its 20 superclasses, 5 classes each"
    augments: ClassVar[bool] = True

    first: int = 1
    tasks: int = 20
    norm: Norm = "task"
    val: float = 0.0
    data_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        within("first", self.first, 1, 20)
        within("tasks", self.tasks, 1, 20)

    def counts(self) -> tuple[int, int, int] | None:
        return {0.0: (2500, 0, 500), 0.1: (2250, 250, 500)}.get(self.val)

    def build(self, seed: int) -> Benchmark:
        arrays = sources.arrays(self.source, self.id)
        fine, coarse = arrays["train_labels"], arrays["train_coarse"]
        names = sources.facts(self.source)["coarse_names"]
        order = [self.first - 1, *(i for i in range(20) if i != self.first - 1)][: self.tasks]
        blocks = [np.unique(fine[coarse == i]).tolist() for i in order]
        return self.tasks_of(blocks, (self.data_seed,), [str(names[i]) for i in order])  # type: ignore[index]
