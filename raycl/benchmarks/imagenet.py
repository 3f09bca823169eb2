"""This module defines benchmarks made from ImageNet.

They use images of 32 x 32 pixels (SPG), images of 224 x 224 (ImpressLearn), or several data sets
(ImageNet-to-Sketch: Piggyback, KSM).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar
from zlib import crc32

import numpy as np

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe
from raycl.benchmarks.families import blocks_of, class_tasks
from raycl.benchmarks.pools import COLOURS, Part, Pool, Rows, by_class, three_parts
from raycl.benchmarks.prepared import Arrays
from raycl.benchmarks.settings import DataSeed, HeldOut
from raycl.benchmarks.transforms import CenterCrop, Flip, RandomResizedCrop, Scramble
from raycl.benchmarks.windows import FirstTasks, Window, fixed_blocks, sequence_length
from raycl.tasks import Benchmark


def spread(rows: Rows, count: int) -> Rows:
    """Return `count` rows at equal distances; if the rows are ordered by class, the sample is stratified."""
    return rows[(2 * np.arange(count) + 1) * len(rows) // (2 * count)] if count else rows[:0]


def _names(source: str) -> tuple[str, ...]:
    return tuple(sources.facts(source).get("class_names", ()))  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class _Imagenet32(FirstTasks):
    """ImageNet at 32 x 32, with class and task order drawn from the run's seed (SPG).

    A stratified subset of each task's images is drawn: on average, each class gives 1,000 training images,
    100 held-out images and 50 images of the validation set, which serve as the test. Smaller data give
    training and held-out images in the same proportion.

    Attributes:
        scrambled: Whether to read the pixels as SPG's code does, to compare with its numbers.
        data_seed: The seed of the class order and of the draws, in addition to the run's seed.
    """

    source: ClassVar[str] = "imagenet32"
    similar: ClassVar[bool | None] = False

    scrambled: bool = False
    data_seed: DataSeed = 0

    @property
    def quota(self) -> tuple[int, int, int]:
        """The numbers of train, val and test images that a task should have."""
        each = 1000 // self.count
        return 1000 * each, 100 * each, 50 * each

    def counts(self) -> tuple[int, int, int] | None:
        return self.quota

    def deviations(self) -> tuple[str, ...]:
        text = "pixels are where they belong; SPG's code reads the bytes of an image in another order"
        return () if self.scrambled else (f"{text} (scrambled)",)

    def build(self, seed: int) -> Benchmark:
        arrays, words = sources.arrays(self.source, self.id), (seed, self.data_seed)
        labels, tested = arrays["train_labels"], arrays["val_labels"]
        classes, each = np.intersect1d(labels, tested).tolist(), 1000 // self.count
        count = sequence_length(self, len(classes), each, self.tasks)
        blocks = blocks_of(classes[: count * each], count, *words)[: self.tasks]
        drawn = self._drawn(labels, tested, blocks, words)
        mean, std = COLOURS["imagenet"]
        pool = Pool(
            Part(arrays["train_images"], labels, drawn[0]),
            Part(arrays["train_images"], labels, drawn[1]),
            Part(arrays["val_images"], tested, drawn[2]),
            mean,
            std,
            (Scramble(),) if self.scrambled else (),
            names=_names(self.source),
        )
        return Benchmark(
            str(self), tuple(class_tasks(pool, blocks, self.id)), (3, 32, 32), similar=self.similar
        )

    def _drawn(
        self, labels: Rows, tested: Rows, blocks: Sequence[Sequence[int]], words: Sequence[int]
    ) -> tuple[Rows, Rows, Rows]:
        """Return the rows of train, val and test of all tasks."""
        train, val, test = self.quota
        train_rows, test_rows = (_rows_by_class(found, words) for found in (labels, tested))
        parts: list[list[Rows]] = [[], [], []]
        for block in blocks:
            rows = np.concatenate([train_rows[label] for label in block])
            total = min(len(rows), train + val)
            chosen = spread(rows, total)
            held = spread(np.arange(total), total * val // (train + val))
            parts[0].append(np.delete(chosen, held))
            parts[1].append(chosen[held])
            rows = np.concatenate([test_rows[label] for label in block])
            parts[2].append(spread(rows, min(len(rows), test)))
        first, second, third = (np.sort(np.concatenate(part)) for part in parts)
        return first, second, third


def _rows_by_class(labels: Rows, words: Sequence[int]) -> dict[int, Rows]:
    """Return the rows of each class, shuffled."""
    order = by_class(labels, *words, crc32(b"subset"))
    kinds, starts = np.unique(labels[order], return_index=True)
    return dict(zip(kinds.tolist(), np.split(order, starts[1:]), strict=True))


@dataclass(frozen=True, kw_only=True)
class Imagenet32Hundred(_Imagenet32):
    """ImageNet at 32 x 32 in 100 tasks of 10 classes (SPG's I-100)."""

    id: ClassVar[str] = "imagenet32_100"
    summary: ClassVar[str] = "ImageNet at 32 x 32, 100 tasks of 10 classes"
    counted_by: ClassVar[str] = "SPG's code"
    count: ClassVar[int] = 100

    tasks: int = 100


@dataclass(frozen=True, kw_only=True)
class Imagenet32Fifty(_Imagenet32):
    """ImageNet at 32 x 32 in 50 tasks of 20 classes (SPG's I-50)."""

    id: ClassVar[str] = "imagenet32_50"
    summary: ClassVar[str] = "ImageNet at 32 x 32, 50 tasks of 20 classes"
    count: ClassVar[int] = 50

    tasks: int = 50


@dataclass(frozen=True, kw_only=True)
class Imagenet32TwoHundred(_Imagenet32):
    """ImageNet at 32 x 32 in 200 tasks of 5 classes (SPG's I-200)."""

    id: ClassVar[str] = "imagenet32_200"
    summary: ClassVar[str] = "ImageNet at 32 x 32, 200 tasks of 5 classes"
    count: ClassVar[int] = 200

    tasks: int = 200

    def counts(self) -> tuple[int, int, int] | None:
        return None  # five small classes of ImageNet may have fewer than the required 5,500 images together


@dataclass(frozen=True, kw_only=True)
class Imagenet100(Window):
    """ImageNet in 100 tasks of 10 classes in one fixed order, 224 x 224 (ImpressLearn's Split ImageNet).

    The order is NumPy's ``RandomState(1).permutation(1000)`` of the sorted classes, as in SupSup. Training
    images are cropped and flipped at random; otherwise the central square is used. Tasks have about 13,000
    training images, and 500 images of the validation set serve as the test; `val=0.1` holds out a tenth of
    the training images for a search. The new tasks of the paper are the last five: ``imagenet_100(first=95,
    tasks=5)``.
    """

    id: ClassVar[str] = "imagenet_100"
    source: ClassVar[str] = "imagenet"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "ImageNet at 224 x 224, 100 tasks of 10 classes in one fixed order"
    count: ClassVar[int] = 100

    tasks: int = 100
    val: HeldOut = 0.0
    data_seed: DataSeed = 0

    def build(self, seed: int) -> Benchmark:
        pool = _large(sources.arrays(self.source, self.id), self.source, self.val, self.data_seed)
        tasks = class_tasks(pool, fixed_blocks(self, len(pool.classes)), self.id)
        return Benchmark(str(self), tuple(tasks), (3, 224, 224), similar=self.similar)


def _large(arrays: Arrays, source: str, val: float, data_seed: int) -> Pool:
    """Return a pool of 224 x 224 pictures, as networks for ImageNet expect them.

    Pictures that are stored at this size are flipped in training but not cropped.
    """
    held = "val" if "val_images" in arrays else "test"
    trained = arrays["train_images"], arrays["train_labels"]
    tested = arrays[f"{held}_images"], arrays[f"{held}_labels"]
    larger = trained[0].shape[-1] > 224
    mean, std = COLOURS["imagenet"]
    return Pool(
        *three_parts(trained, tested, val, data_seed),
        mean,
        std,
        # A randomly cropped picture has the final size already, so this crop does not change it.
        (CenterCrop(224),) if larger else (),
        RandomResizedCrop(224) if larger else Flip(),
        _names(source),
    )


_SKETCH = {"cubs": "CUBS", "cars": "Cars", "flowers": "Flowers", "wikiart": "WikiArt", "sketch": "Sketch"}


@dataclass(frozen=True, kw_only=True)
class ImagenetToSketch(Recipe):
    """ImageNet, CUBS, Cars, Flowers, WikiArt and Sketch, one data set per task, 224 x 224 (Piggyback, KSM).

    The pictures of CUBS and Cars are already cut to their objects and are only flipped in training. The
    others are also cropped at random in training; otherwise their central square is used. All are normalised
    as ImageNet is. The tasks are the published ones and differ in size; `val` holds out a share of each class
    for a search.
    """

    id: ClassVar[str] = "imagenet_to_sketch"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "ImageNet, CUBS, Cars, Flowers, WikiArt, Sketch: one data set per task"

    imagenet: bool = True
    val: HeldOut = 0.0
    data_seed: DataSeed = 0

    def titles(self) -> dict[str, str]:
        """Return the names of the tasks by source, in order."""
        return ({"imagenet": "ImageNet"} if self.imagenet else {}) | _SKETCH

    def needs(self) -> tuple[str, ...]:
        return tuple(self.titles())

    def build(self, seed: int) -> Benchmark:
        tasks = []
        for index, (source, title) in enumerate(self.titles().items()):
            pool = _large(sources.arrays(source, self.id), source, self.val, self.data_seed)
            (task,) = class_tasks(pool, [pool.classes], source, [title])
            tasks.append(replace(task, index=index))
        return Benchmark(str(self), tuple(tasks), (3, 224, 224), similar=self.similar)
