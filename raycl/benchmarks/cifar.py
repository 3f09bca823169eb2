"""This module defines benchmarks made from CIFAR-10 and CIFAR-100, by the rules of five papers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, ClassVar, Literal, TypeAlias

import numpy as np

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe
from raycl.benchmarks.families import block_numbers, blocks_of, class_tasks
from raycl.benchmarks.pools import COLOURS, Pool, statistics, three_parts
from raycl.benchmarks.settings import DataSeed, HeldOut, Range
from raycl.benchmarks.transforms import CropFlip
from raycl.benchmarks.windows import Window
from raycl.tasks import ArraySplit, Benchmark, Task

Norm: TypeAlias = Literal["imagenet", "cifar", "supsup", "task"]
ClassOrder: TypeAlias = Literal["seeded", "id"]


@dataclass(frozen=True, kw_only=True)
class _Cifar(Recipe):
    """Tasks of blocks of classes, with a part of the training images held out.

    Attributes:
        norm: The name of the mean and standard deviation; "task" measures them on each task's training
            images.
        data_seed: The seed of the held-out part (and of the class order, if that is seeded).
    """

    source: ClassVar[str] = "cifar100"
    similar: ClassVar[bool | None] = False
    augments: ClassVar[bool] = False  # whether training images are cropped and flipped

    norm: Norm = "cifar"
    val: HeldOut = 0.0
    data_seed: DataSeed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.norm not in (*COLOURS, "task"):
            raise ValueError(f"norm = {self.norm!r} is none of {', '.join(COLOURS)}, task")

    def tasks_of(
        self,
        blocks: Sequence[Sequence[int]],
        words: Sequence[int],
        titles: Sequence[str] = (),
        per_task: bool = False,
    ) -> Benchmark:
        """Return a benchmark with one task for each block of labels.

        Args:
            blocks: The labels of each task.
            words: The integers from which the held-out part is drawn.
            titles: The names of the tasks; by default a task is named after its labels.
            per_task: Whether a share of each task is held out, and not of each class.
        """
        arrays = sources.arrays(self.source, self.id)
        facts: dict[str, Any] = sources.facts(self.source)
        labels = arrays["train_labels"]
        groups = block_numbers(labels, blocks) if per_task else labels
        trained = arrays["train_images"], labels
        tested = arrays["test_images"], arrays["test_labels"]
        mean, std = COLOURS["cifar" if self.norm == "task" else self.norm]
        pool = Pool(
            *three_parts(trained, tested, self.val, *words, groups=groups),
            mean,
            std,
            augment=CropFlip() if self.augments else None,
            names=tuple(facts["class_names"]),
        )
        tasks = class_tasks(pool, blocks, self.id, titles)
        if self.norm == "task":
            tasks = [_own_statistics(task) for task in tasks]
        return Benchmark(str(self), tuple(tasks), (3, 32, 32), similar=self.similar)


def _own_statistics(task: Task) -> Task:
    """Return the task, normalised by mean and standard deviation of its own training images (KSM)."""
    train = task.train
    assert isinstance(train, ArraySplit)
    mean, std = statistics(train.images, train.rows)
    splits = [
        replace(s, mean=mean, std=std) for s in (train, task.val, task.test) if isinstance(s, ArraySplit)
    ]
    return replace(task, train=splits[0], val=splits[1], test=splits[2])


@dataclass(frozen=True, kw_only=True)
class _Split100(_Cifar):
    """CIFAR-100 in `count` blocks of classes.

    Attributes:
        class_order: "seeded" draws class and task order from the run's seed (SPG), "id" sorts them by label
            (PRM).
    """

    count: ClassVar[int]
    settings_order: ClassVar[tuple[str, ...]] = ("class_order", "norm", "val", "data_seed")

    class_order: ClassOrder = "seeded"
    norm: Norm = "imagenet"
    val: HeldOut = 0.1

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
    """CIFAR-100 in 10 tasks of 10 classes.

    SPG draws class and task order from the run's seed; PRM sorts the classes by label.
    """

    id: ClassVar[str] = "cifar100_10"
    summary: ClassVar[str] = "CIFAR-100, 10 tasks of 10 classes"
    counted_by: ClassVar[str] = "PRM's Table 1"
    count: ClassVar[int] = 10


@dataclass(frozen=True, kw_only=True)
class Cifar100Twenty(_Split100):
    """CIFAR-100 in 20 tasks of 5 classes, with class and task order drawn from the run's seed (SPG)."""

    id: ClassVar[str] = "cifar100_20"
    summary: ClassVar[str] = "CIFAR-100, 20 tasks of 5 classes"
    counted_by: ClassVar[str] = "SPG's code"
    count: ClassVar[int] = 20


@dataclass(frozen=True, kw_only=True)
class _FiveByLabel(_Cifar):
    """Five tasks of consecutive classes, with 15 % of the training images held out (PMASK)."""

    classes: ClassVar[int]

    val: HeldOut = 0.15

    def counts(self) -> tuple[int, int, int] | None:
        return (8500, 1500, 2000) if self.val == 0.15 else None

    def build(self, seed: int) -> Benchmark:
        return self.tasks_of(np.arange(self.classes).reshape(5, -1).tolist(), (self.data_seed,))


@dataclass(frozen=True, kw_only=True)
class Cifar100Five(_FiveByLabel):
    """CIFAR-100 in 5 tasks of 20 classes by label (PMASK)."""

    id: ClassVar[str] = "cifar100_5"
    summary: ClassVar[str] = "CIFAR-100, 5 tasks of 20 classes by label"
    classes: ClassVar[int] = 100


@dataclass(frozen=True, kw_only=True)
class Cifar10Five(_FiveByLabel):
    """CIFAR-10 in 5 tasks of 2 classes by label (PMASK)."""

    id: ClassVar[str] = "cifar10_5"
    source: ClassVar[str] = "cifar10"
    summary: ClassVar[str] = "CIFAR-10, 5 tasks of 2 classes by label"
    classes: ClassVar[int] = 10


@dataclass(frozen=True, kw_only=True)
class _Augmented(_Cifar):
    """20 tasks of 5 classes with crops and flips in training; `val=0.1` holds out 250 images per task."""

    augments: ClassVar[bool] = True

    def counts(self) -> tuple[int, int, int] | None:
        return {0.0: (2500, 0, 500), 0.1: (2250, 250, 500)}.get(self.val)


@dataclass(frozen=True, kw_only=True)
class Cifar100Fixed(_Augmented, Window):
    """CIFAR-100 in 20 tasks of 5 classes in one fixed order, with crops and flips in training (ImpressLearn).

    The order is NumPy's ``RandomState(0).permutation(100)``, as in the code of SupSup's authors. The new
    tasks of the paper are the last five: ``cifar100_20_fixed(first=15, tasks=5)``. `val=0.1` holds out 250
    images per task for a search.
    """

    id: ClassVar[str] = "cifar100_20_fixed"
    summary: ClassVar[str] = "CIFAR-100, 20 tasks of 5 classes in one fixed order"
    count: ClassVar[int] = 20

    tasks: int = 20
    norm: Norm = "supsup"

    def build(self, seed: int) -> Benchmark:
        order = _FIXED_ORDER.reshape(20, 5)[self.first : self.first + self.tasks]
        return self.tasks_of(order.tolist(), (self.data_seed,))


_FIXED_ORDER = np.random.RandomState(0).permutation(100)


@dataclass(frozen=True, kw_only=True)
class Cifar100Super(_Augmented):
    """The 20 superclasses of CIFAR-100 as tasks, 5 classes each, in the order of their labels (KSM, CPG).

    Training images are cropped and flipped; each task is normalised by its own training images. `val=0.1`
    holds out 250 images per task for a search.

    Attributes:
        first: The task, counted from 1, that is moved to the front.
        tasks: The number of tasks, counted from the first one.
    """

    id: ClassVar[str] = "cifar100_super"
    summary: ClassVar[str] = "CIFAR-100, its 20 superclasses, 5 classes each"
    settings_order: ClassVar[tuple[str, ...]] = ("first", "tasks", "norm", "val", "data_seed")

    first: Annotated[int, Range(1, 20)] = 1
    tasks: Annotated[int, Range(1, 20)] = 20
    norm: Norm = "task"

    def build(self, seed: int) -> Benchmark:
        arrays = sources.arrays(self.source, self.id)
        fine, coarse = arrays["train_labels"], arrays["train_coarse"]
        names: Any = sources.facts(self.source)["coarse_names"]
        order = [self.first - 1, *(i for i in range(20) if i != self.first - 1)][: self.tasks]
        blocks = [np.unique(fine[coarse == i]).tolist() for i in order]
        return self.tasks_of(blocks, (self.data_seed,), [str(names[i]) for i in order])


@dataclass(frozen=True, kw_only=True)
class _Whole10(_Augmented):
    """CIFAR-10 as one task."""

    source: ClassVar[str] = "cifar10"

    def counts(self) -> tuple[int, int, int] | None:
        return None

    def build(self, seed: int) -> Benchmark:
        return self.tasks_of([range(10)], (self.data_seed,), [sources.source(self.source).title])


@dataclass(frozen=True, kw_only=True)
class CifarToSuper(Recipe):
    """CIFAR-10, then the first five superclasses of CIFAR-100, a small stand-in for ImageNet-to-Sketch.

    As there, the first task is much larger and more general than the others, each of which has classes that
    resemble one another. Training images are cropped and flipped, and all tasks are normalised by the same
    mean and standard deviation. `val` holds out a share of each class's training images for a search.
    """

    id: ClassVar[str] = "cifar_to_super"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "CIFAR-10, then five superclasses of CIFAR-100: one per task"

    val: HeldOut = 0.0
    data_seed: DataSeed = 0

    def needs(self) -> tuple[str, ...]:
        return ("cifar10", "cifar100")

    def build(self, seed: int) -> Benchmark:
        shared: dict[str, Any] = {"norm": "cifar", "val": self.val, "data_seed": self.data_seed}
        parts = (_Whole10(**shared), Cifar100Super(tasks=5, **shared))
        tasks = [task for part in parts for task in part.build(seed).tasks]
        numbered = tuple(replace(task, index=index) for index, task in enumerate(tasks))
        return Benchmark(str(self), numbered, (3, 32, 32), similar=self.similar)
