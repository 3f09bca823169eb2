"""This module defines `split`, which divides any labelled source into blocks of consecutive labels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe
from raycl.benchmarks.families import split_tasks
from raycl.benchmarks.pools import COLOURS, GREY_MEAN, GREY_STD, Pool, three_parts
from raycl.benchmarks.settings import DataSeed, HeldOut, within
from raycl.errors import UserError
from raycl.tasks import Benchmark

CLASSES = {
    "svhn": 10,
    "usps": 10,
    "mnist": 10,
    "fashion_mnist": 10,
    "emnist_balanced": 47,
    "emnist_byclass": 62,
    "emnist_mnist": 10,
    "cifar10": 10,
    "cifar100": 100,
}


@dataclass(frozen=True, kw_only=True)
class Split(Recipe):
    """The classes of a source, divided by label into `tasks` tasks; the larger tasks come first.

    Grey images are normalised by MNIST's mean and standard deviation, colour images by CIFAR's
    (`pools.COLOURS`); no statistics are measured. The training and test images are those of the source, even
    where the same pixels occur in both; `val` is the share of each class's training images that is held out.
    """

    id: ClassVar[str] = "split"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "any labelled source, split by class"

    source: str = "svhn"  # type: ignore[misc]  # a setting here, but fixed in other recipes
    tasks: int = 5
    val: HeldOut = 0.1
    data_seed: DataSeed = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.source not in CLASSES:
            raise ValueError(f"source = {self.source!r} is none of {', '.join(CLASSES)}")
        within("tasks", self.tasks, 1, CLASSES[self.source] // 2)

    def build(self, seed: int) -> Benchmark:
        arrays = sources.arrays(self.source, self.id)
        facts: dict[str, Any] = sources.facts(self.source)
        trained = arrays["train_images"], arrays["train_labels"]
        tested = arrays["test_images"], arrays["test_labels"]
        for part, (_, labels) in (("training", trained), ("test", tested)):
            lacking = CLASSES[self.source] - len(np.unique(labels))
            if lacking:
                title = sources.source(self.source).title
                raise UserError(
                    f"benchmark {self}: the prepared {title} has no {part} images of {lacking} of "
                    f"its {CLASSES[self.source]} classes: prepare the complete data set"
                )
        channels, height, width = trained[0].shape[1:]
        mean, std = ((GREY_MEAN,), (GREY_STD,)) if channels == 1 else COLOURS["cifar"]
        pool = Pool(
            *three_parts(trained, tested, self.val, self.data_seed),
            mean,
            std,
            names=tuple(facts["class_names"]),
        )
        tasks = split_tasks(pool, self.tasks, self.id)
        return Benchmark(str(self), tuple(tasks), (channels, height, width), similar=self.similar)
