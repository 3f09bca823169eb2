"""This module defines pools of images with a fixed division, from which the tasks of a benchmark are cut.

A pool is divided once into train, val and test. Tasks share the images and, where they contain the same
samples, also the row numbers, so that 250 permuted tasks need no more memory than one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from raycl.tasks import ArraySplit, Augment, Transform

Rows = NDArray[np.int64]
Labelled: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images, and one label for each

GREY_MEAN, GREY_STD = 0.1307, 0.3081  # measured on MNIST's training images, and used by every grey source
COLOURS = {  # mean and standard deviation of red, green and blue, by the name of their origin
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # SPG
    "cifar": ((125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)),  # PRM, PMASK
    "supsup": ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),  # ImpressLearn
}


def shuffled(count: int, *words: int) -> Rows:
    """Return 0 .. count - 1 in an order that depends on `words` alone, whatever NumPy's version is.

    Words must not be negative. Zeros at the end have no effect, so draws of one kind must use equally many
    words.
    """
    # NumPy promises that the raw bits of a seeded PCG64 stay the same, but not the methods of Generator.
    return np.argsort(_bits(count, words), kind="stable").astype(np.int64)


def uniform(count: int, *words: int) -> NDArray[np.float64]:
    """Return `count` numbers in [0, 1) that depend on `words` alone, whatever NumPy's version is."""
    return (_bits(count, words) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _bits(count: int, words: Sequence[int]) -> NDArray[np.uint64]:
    return np.asarray(np.random.PCG64(np.random.SeedSequence(words)).random_raw(count), dtype=np.uint64)


def by_class(labels: NDArray[np.int64], *words: int) -> Rows:
    """Return all rows, ordered by class and shuffled within each class."""
    order = shuffled(len(labels), *words)
    return order[np.argsort(labels[order], kind="stable")]


def stratified(
    labels: NDArray[np.int64], val: float, test: float, *words: int, last: bool = False
) -> tuple[Rows, Rows, Rows]:
    """Return the sorted rows of train, val and test; every class gives its share to within one sample.

    Args:
        labels: The class of each sample, [n].
        val: The share of val in [0, 1); floor(val * n) rows are taken.
        test: The share of test in [0, 1); ceil(test * n) rows are taken.
        words: The integers from which the division is drawn.
        last: Whether nothing is drawn, and val has the last rows of each class, and test those before.
    """
    parts: list[list[Rows]] = [[], [], []]
    order = len(labels) - 1 - np.argsort(labels[::-1], kind="stable") if last else by_class(labels, *words)
    ends = np.cumsum(np.unique(labels, return_counts=True)[1]).tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        # Shares are rounded on the running total, so that the rounding errors of the classes do not add up.
        n_val = math.floor(val * end) - math.floor(val * start)
        n_test = math.ceil(test * end) - math.ceil(test * start)
        pieces = np.split(order[start:end], [n_val, n_val + n_test])
        for part, piece in zip((parts[1], parts[2], parts[0]), pieces, strict=True):
            part.append(piece)
    train, held, tested = (np.sort(np.concatenate([*part, np.empty(0, np.int64)])) for part in parts)
    return train, held, tested


def statistics(
    images: NDArray[np.uint8], rows: Rows | None = None
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the mean and standard deviation of each channel in units of [0, 1] pixels.

    A channel that is constant gets a standard deviation of 1.
    """
    levels = np.arange(256) / 255
    rows = np.arange(len(images)) if rows is None else rows
    means, stds = [], []
    for channel in range(images.shape[1]):
        # A histogram gives exact results and needs no copy of the images as floats.
        counts = np.zeros(256, np.int64)
        for start in range(0, len(rows), 1024):
            some = images[rows[start : start + 1024], channel]
            counts += np.bincount(some.reshape(-1), minlength=256)
        mean = float(np.average(levels, weights=counts))
        means.append(mean)
        stds.append(float(np.sqrt(np.average((levels - mean) ** 2, weights=counts))) or 1.0)
    return tuple(means), tuple(stds)


class Part(NamedTuple):
    """Some rows of an image array.

    Attributes:
        images: uint8 [any, channels, height, width].
        labels: int64 [any], the source's labels of all images.
        rows: int64 [n], the rows that belong to this part.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    rows: Rows


def three_parts(
    trained: Labelled,
    tested: Labelled,
    val: float,
    *words: int,
    groups: NDArray[np.int64] | None = None,
    last: bool = False,
) -> tuple[Part, Part, Part]:
    """Return train, val and test of a source with training and test images.

    A share of the training images becomes val.

    Args:
        trained: The training images and labels.
        tested: The test images and labels.
        val: The share of the training images that is held out.
        words: The integers from which the held-out images are drawn.
        groups: The groups of training images that each give their share, [n]; by default their labels.
        last: Whether the last images of each group are held out, and none are drawn.
    """
    images, labels = trained
    groups = labels if groups is None else groups
    train, held, _ = stratified(groups, val, 0.0, *words, crc32(b"val"), last=last)
    return Part(images, labels, train), Part(images, labels, held), Part(*tested, np.arange(len(tested[1])))


class Cut(NamedTuple):
    """The three splits of a future task."""

    train: ArraySplit
    val: ArraySplit
    test: ArraySplit


@dataclass(frozen=True)
class Pool:
    """Train, val and test images of one source, in a division that all kinds of tasks keep.

    Attributes:
        train: The training images.
        val: The validation images.
        test: The test images.
        mean: One number per channel of the transformed images, in units of [0, 1] pixels.
        std: One number per channel, in the same units.
        transforms: Transforms that are applied last, after those of a task.
        augment: The augmentation of training images.
        names: The names of the source's labels, by label; empty if the source has none.
    """

    train: Part
    val: Part
    test: Part
    mean: tuple[float, ...] = (GREY_MEAN,)
    std: tuple[float, ...] = (GREY_STD,)
    transforms: tuple[Transform, ...] = ()
    augment: Augment | None = None
    names: tuple[str, ...] = ()

    @property
    def classes(self) -> list[int]:
        """The labels that occur among the training images, in ascending order."""
        return [int(label) for label in np.unique(self.train.labels[self.train.rows])]

    def cut(self, labels: Sequence[Sequence[int]]) -> Cut:
        """Return the images whose label is in `labels`; those in ``labels[c]`` become class c."""
        known = [int(part.labels.max(initial=-1)) for part in (self.train, self.val, self.test)]
        table = np.full(max(known) + 1, -1, np.int64)
        for number, group in enumerate(labels):
            table[list(group)] = number
        splits = []
        for part in (self.train, self.val, self.test):
            y = table[part.labels[part.rows]]
            chosen = y >= 0
            rows = part.rows if chosen.all() else part.rows[chosen]
            augment = self.augment if part is self.train else None
            splits.append(
                ArraySplit(part.images, rows, y[chosen], self.mean, self.std, self.transforms, augment)
            )
        return Cut(*splits)

    def named(self, labels: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """Return the names of the classes that `cut` makes of `labels`.

        If the source has no names, its labels serve as names.
        """
        names = self.names
        return tuple(" ".join(names[label] if names else str(label) for label in group) for group in labels)

    def shard(self, index: int, of: int, *words: int) -> Pool:
        """Return one of `of` disjoint parts whose splits have equal sizes to within one sample per class."""

        def dealt(part: Part) -> Part:
            order = by_class(part.labels[part.rows], *words)
            return part._replace(rows=np.sort(part.rows[order[index::of]]))  # as cards are dealt

        return replace(self, train=dealt(self.train), val=dealt(self.val), test=dealt(self.test))
