"""This module defines benchmarks made from Tiny ImageNet, whose labelled validation set is the test set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from raycl.benchmarks import sources
from raycl.benchmarks.families import block_numbers, blocks_of, class_tasks
from raycl.benchmarks.pools import COLOURS, Pool, three_parts
from raycl.benchmarks.settings import DataSeed, HeldOut
from raycl.benchmarks.transforms import RandomResizedCrop
from raycl.benchmarks.windows import FirstTasks, Window, fixed_blocks, sequence_length
from raycl.tasks import Augment, Benchmark


@dataclass(frozen=True, kw_only=True)
class _Tiny(FirstTasks):
    """Tasks of blocks of classes, with a part of the training images held out.

    Attributes:
        data_seed: The seed of the held-out part (and of the class order, if that is seeded).
    """

    source: ClassVar[str] = "tiny_imagenet"
    similar: ClassVar[bool | None] = False

    val: HeldOut = 0.1
    data_seed: DataSeed = 0

    def counts(self) -> tuple[int, int, int] | None:
        whole = 100_000 // self.count
        return (whole * 9 // 10, whole // 10, 10_000 // self.count) if self.val == 0.1 else None

    def classes(self) -> int:
        """Return how many classes are prepared."""
        sources.arrays(self.source, self.id)  # raises an error with instructions if the data are missing
        return len(sources.facts(self.source)["wnids"])  # type: ignore[arg-type]

    def tasks_of(
        self,
        blocks: Sequence[Sequence[int]],
        words: Sequence[int],
        side: int,
        augment: Augment | None = None,
        per_task: bool = False,
    ) -> Benchmark:
        """Return a benchmark with one task for each block of labels.

        Args:
            blocks: The labels of each task.
            words: The integers from which the held-out part is drawn.
            side: The height and width of the images in pixels.
            augment: The augmentation of training images.
            per_task: Whether a share of each task is held out, and not of each class.
        """
        arrays = sources.arrays(self.source, self.id)
        facts: dict[str, Any] = sources.facts(self.source)
        labels = arrays["train_labels"]
        groups = block_numbers(labels, blocks) if per_task else labels
        trained = arrays[f"train_images_{side}"], labels
        tested = arrays[f"val_images_{side}"], arrays["val_labels"]
        mean, std = COLOURS["imagenet"]
        pool = Pool(
            *three_parts(trained, tested, self.val, *words, groups=groups),
            mean,
            std,
            augment=augment,
            names=tuple(facts["class_names"]),
        )
        tasks = class_tasks(pool, blocks, self.id)
        return Benchmark(str(self), tuple(tasks), (3, side, side), similar=self.similar)


@dataclass(frozen=True, kw_only=True)
class _Seeded(_Tiny):
    """Tasks of 32 x 32 images, with class and task order drawn from the run's seed (SPG)."""

    def build(self, seed: int) -> Benchmark:
        classes, each = self.classes(), 200 // self.count
        count, words = sequence_length(self, classes, each, self.tasks), (seed, self.data_seed)
        # The held-out share is drawn for the whole sequence, so that `tasks` changes only the length.
        blocks = blocks_of(range(count * each), count, *words)
        made = self.tasks_of(blocks, words, 32, per_task=True)
        return Benchmark(made.name, made.tasks[: self.tasks], made.input_shape, similar=self.similar)


@dataclass(frozen=True, kw_only=True)
class TinyTen(_Seeded):
    """Tiny ImageNet at 32 x 32 in 10 tasks of 20 classes (SPG's T-10)."""

    id: ClassVar[str] = "tiny_10"
    summary: ClassVar[str] = "Tiny ImageNet at 32 x 32, 10 tasks of 20 classes"
    counted_by: ClassVar[str] = "SPG's code"
    count: ClassVar[int] = 10

    tasks: int = 10


@dataclass(frozen=True, kw_only=True)
class TinyTwenty(_Seeded):
    """Tiny ImageNet at 32 x 32 in 20 tasks of 10 classes (SPG's T-20)."""

    id: ClassVar[str] = "tiny_20"
    summary: ClassVar[str] = "Tiny ImageNet at 32 x 32, 20 tasks of 10 classes"
    counted_by: ClassVar[str] = "SPG's code"
    count: ClassVar[int] = 20

    tasks: int = 20


@dataclass(frozen=True, kw_only=True)
class TinyFifty(_Seeded):
    """Tiny ImageNet at 32 x 32 in 50 tasks of 4 classes (SPG's T-50)."""

    id: ClassVar[str] = "tiny_50"
    summary: ClassVar[str] = "Tiny ImageNet at 32 x 32, 50 tasks of 4 classes"
    count: ClassVar[int] = 50

    tasks: int = 50


@dataclass(frozen=True, kw_only=True)
class TinyHundred(_Seeded):
    """Tiny ImageNet at 32 x 32 in 100 tasks of 2 classes (SPG's T-100)."""

    id: ClassVar[str] = "tiny_100"
    summary: ClassVar[str] = "Tiny ImageNet at 32 x 32, 100 tasks of 2 classes"
    count: ClassVar[int] = 100

    tasks: int = 100


@dataclass(frozen=True, kw_only=True)
class Tiny64Twenty(_Tiny, Window):
    """Tiny ImageNet at 64 x 64 in 20 tasks of 10 classes in one fixed order, a stand-in for `imagenet_100`.

    As in `imagenet_100`, the order is NumPy's ``RandomState(1).permutation(200)``, and training images are
    cropped and flipped at random. The last five tasks are ``tiny64_20(first=15, tasks=5)``.
    """

    id: ClassVar[str] = "tiny64_20"
    summary: ClassVar[str] = "Tiny ImageNet at 64 x 64, 20 tasks of 10 classes in one fixed order"
    count: ClassVar[int] = 20

    tasks: int = 20

    def build(self, seed: int) -> Benchmark:
        blocks = fixed_blocks(self, self.classes())
        return self.tasks_of(blocks, (self.data_seed,), 64, RandomResizedCrop(64))
