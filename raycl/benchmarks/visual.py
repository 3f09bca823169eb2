"""This module defines six small data sets as tasks, a small-scale stand-in for ImageNet-to-Sketch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar
from zlib import crc32

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from raycl.benchmarks import sources
from raycl.benchmarks.base import Recipe
from raycl.benchmarks.families import class_tasks
from raycl.benchmarks.pools import COLOURS, GREY_MEAN, GREY_STD, Part, Pool, Rows, by_class, stratified
from raycl.benchmarks.settings import DataSeed, HeldOut
from raycl.benchmarks.transforms import Channels
from raycl.tasks import Benchmark

TRAIN, TEST = 2000, 600  # the most images of a task, with equally many of each class
TINY_CLASSES, ALPHABETS = 20, 10  # the first ones are used
DRAWERS = 15  # how many of Omniglot's 20 people draw for training; the others draw for testing


@dataclass(frozen=True)
class Pad:
    """A black border of `pixels` pixels on each side."""

    pixels: int

    def __call__(self, x: Tensor) -> Tensor:
        return F.pad(x, (self.pixels,) * 4)


@dataclass(frozen=True, kw_only=True)
class SmallVisual(Recipe):
    """Six data sets of 3 x 32 x 32 images, one per task.

    They are CIFAR-100, CIFAR-10, FashionMNIST, MNIST, Omniglot and Tiny ImageNet. A task has at most 2,000
    training and 600 test images, with the same number of each class. The classes of Omniglot are its
    alphabets (the first ten that are prepared); 15 of the 20 people draw for training, the others for
    testing. Tiny ImageNet contributes its first 20 classes. Grey images of 28 x 28 get a border of 2 and
    three equal channels.

    Each source is normalised by its usual numbers: both CIFARs by CIFAR's, Tiny ImageNet by ImageNet's, grey
    images by MNIST's. `val` holds out a share of each class's training images for a search.
    """

    id: ClassVar[str] = "small_visual"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "CIFAR-100, CIFAR-10, Fashion, MNIST, Omniglot, Tiny ImageNet: one per task"

    val: HeldOut = 0.0
    data_seed: DataSeed = 0

    def needs(self) -> tuple[str, ...]:
        return tuple(_PARTS)

    def build(self, seed: int) -> Benchmark:
        tasks = []
        for index, (source, part) in enumerate(_PARTS.items()):
            (task,) = class_tasks(*self._pool(source, part), source, [sources.source(source).title])
            tasks.append(replace(task, index=index))
        return Benchmark(str(self), tuple(tasks), (3, 32, 32), similar=self.similar)

    def _pool(self, source: str, part: Callable[[str], _Given]) -> tuple[Pool, list[list[int]]]:
        """Return the source's images, limited and divided, and its classes as the one block of a task."""
        given = part(self.id)
        classes = np.intersect1d(given.train.labels[given.train.rows], given.test.labels[given.test.rows])
        classes = classes[: given.classes]
        words = (self.data_seed, crc32(source.encode()))
        train, test = (
            _balanced(side, classes, limit, *words, crc32(name))
            for side, limit, name in ((given.train, TRAIN, b"train"), (given.test, TEST, b"test"))
        )
        learnt, held, _ = stratified(train.labels[train.rows], self.val, 0.0, *words, crc32(b"val"))
        grey = given.train.images.shape[1] == 1
        mean, std = ((GREY_MEAN,) * 3, (GREY_STD,) * 3) if grey else COLOURS[given.norm]
        pool = Pool(
            train._replace(rows=train.rows[learnt]),
            train._replace(rows=train.rows[held]),
            test,
            mean,
            std,
            (Pad(2), Channels(3)) if grey else (),
            names=given.names,
        )
        return pool, [classes.tolist()]


@dataclass(frozen=True)
class _Given:
    """The images and classes that a source offers.

    Attributes:
        train: The training images.
        test: The test images.
        names: The names of the source's labels.
        classes: How many of its classes are used, counted from the first.
        norm: The name of the mean and standard deviation of colour images in `pools.COLOURS`.
    """

    train: Part
    test: Part
    names: tuple[str, ...]
    classes: int
    norm: str = "imagenet"


def _balanced(part: Part, classes: Rows, limit: int, *words: int) -> Part:
    """Return at most `limit` images, the same number of each class as far as there are enough."""
    order = part.rows[by_class(part.labels[part.rows], *words)]
    each = [order[part.labels[order] == label][: limit // len(classes)] for label in classes]
    return part._replace(rows=np.sort(np.concatenate(each)))


def _usual(
    source: str, classes: int, norm: str = "imagenet", train: str = "train_images", test: str = "test_images"
) -> Callable[[str], _Given]:
    """Return a function that reads a source which has a training and a test part of its own."""

    def part(benchmark: str) -> _Given:
        arrays = sources.arrays(source, benchmark)
        sides = []
        for name in (train, test):
            labels = arrays[f"{name.partition('_')[0]}_labels"]
            sides.append(Part(arrays[name], labels, np.arange(len(labels))))
        return _Given(sides[0], sides[1], _names(source, "class_names"), classes, norm)

    return part


def _omniglot(benchmark: str) -> _Given:
    arrays = sources.arrays("omniglot", benchmark)
    images, labels, drawers = arrays["images_28"], arrays["alphabets"], arrays["drawers"]
    sides = [Part(images, labels, np.flatnonzero(side)) for side in (drawers < DRAWERS, drawers >= DRAWERS)]
    return _Given(sides[0], sides[1], _names("omniglot", "alphabet_names"), ALPHABETS)


def _names(source: str, fact: str) -> tuple[str, ...]:
    return tuple(sources.facts(source)[fact])  # type: ignore[arg-type]


_PARTS: dict[str, Callable[[str], _Given]] = {
    "cifar100": _usual("cifar100", 100, "cifar"),
    "cifar10": _usual("cifar10", 10, "cifar"),
    "fashion_mnist": _usual("fashion_mnist", 10),
    "mnist": _usual("mnist", 10),
    "omniglot": _omniglot,
    "tiny_imagenet": _usual("tiny_imagenet", TINY_CLASSES, train="train_images_32", test="val_images_32"),
}
