"""Images with a fixed division into train, val and test, from which the tasks of a benchmark are cut.

Tasks share the images and, where they hold the same samples, the row numbers: 250 permuted tasks cost one.
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
Labelled: TypeAlias = tuple[NDArray[np.uint8], NDArray[np.int64]]  # images, and a label for each

GREY_MEAN, GREY_STD = 0.1307, 0.3081  # of MNIST's training images; every grey source uses them
COLOURS = {  # mean and standard deviation of red, green and blue, by whose numbers they are
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),  # SPG
    "cifar": ((125.3 / 255, 123.0 / 255, 113.9 / 255), (63.0 / 255, 62.1 / 255, 66.7 / 255)),  # PRM, PMASK
    "supsup": ((0.491, 0.482, 0.447), (0.247, 0.243, 0.262)),  # ImpressLearn
}


def shuffled(count: int, *words: int) -> Rows:
    """0 .. count - 1 in an order that depends on `words` alone, whatever NumPy's version.

    Words are not negative, and zeros at the end count for nothing: give draws of one kind equally many.
    """
    # The raw bits of a seeded PCG64 are promised to stay; the methods of Generator are not.
    return np.argsort(_bits(count, words), kind="stable").astype(np.int64)


def uniform(count: int, *words: int) -> NDArray[np.float64]:
    """`count` numbers in [0, 1) that depend on `words` alone, whatever NumPy's version."""
    return (_bits(count, words) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _bits(count: int, words: Sequence[int]) -> NDArray[np.uint64]:
    return np.asarray(np.random.PCG64(np.random.SeedSequence(words)).random_raw(count), dtype=np.uint64)


def by_class(labels: NDArray[np.int64], *words: int) -> Rows:
    """All rows, class after class, shuffled within each."""
    order = shuffled(len(labels), *words)
    return order[np.argsort(labels[order], kind="stable")]


def stratified(labels: NDArray[np.int64], val: float, test: float, *words: int) -> tuple[Rows, Rows, Rows]:
    """Rows of train, val and test, sorted; every class gives its share, give or take one sample.

    Args:
        labels: [n].
        val, test: shares of n in [0, 1); floor(val * n) and ceil(test * n) rows are taken.
    """
    parts: list[list[Rows]] = [[], [], []]
    order = by_class(labels, *words)
    ends = np.cumsum(np.unique(labels, return_counts=True)[1]).tolist()
    for start, end in zip([0, *ends], ends, strict=False):
        # Shares are rounded on the running total, so that the small errors of the classes do not add up.
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
    """Mean and standard deviation of each channel in units of [0, 1] pixels; a flat channel has std 1."""
    levels = np.arange(256) / 255
    rows = np.arange(len(images)) if rows is None else rows
    means, stds = [], []
    for channel in range(images.shape[1]):
        # A histogram is exact, and needs no float copy of the images.
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
        labels: int64 [any], the source's labels, for all images.
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
) -> tuple[Part, Part, Part]:
    """Train, val and test of a source that has training and test images: a share of the former becomes val.

    Args:
        words: of the draw of what is held out.
        groups: [n], the kinds of training images that each give their share; by default their labels.
    """
    images, labels = trained
    train, held, _ = stratified(labels if groups is None else groups, val, 0.0, *words, crc32(b"val"))
    return Part(images, labels, train), Part(images, labels, held), Part(*tested, np.arange(len(tested[1])))


class Cut(NamedTuple):
    """The three splits of a task to be."""

    train: ArraySplit
    val: ArraySplit
    test: ArraySplit


@dataclass(frozen=True)
class Pool:
    """Train, val and test images of one source, divided once; tasks of whatever kind keep to the division.

    Attributes:
        mean, std: one number per channel of what comes out, in units of [0, 1] pixels.
        transforms: applied last, after a task's own.
        augment: of training images.
        names: of the source's labels, by label; empty where the source names none.
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
        """The images whose label is in `labels`; those in ``labels[c]`` become class c."""
        known = [int(part.labels.max(initial=-1)) for part in (self.train, self.val, self.test)]
        table = np.full(max(known) + 1, -1, np.int64)
        for number, group in enumerate(labels):
            table[list(group)] = number
        splits = []
        for part in (self.train, self.val, self.test):
            y = table[part.labels[part.rows]]
            kept = y >= 0
            rows = part.rows if kept.all() else part.rows[kept]
            augment = self.augment if part is self.train else None
            splits.append(
                ArraySplit(part.images, rows, y[kept], self.mean, self.std, self.transforms, augment)
            )
        return Cut(*splits)

    def named(self, labels: Sequence[Sequence[int]]) -> tuple[str, ...]:
        """What the classes that `cut` makes of `labels` are called, where the source names its labels."""
        return tuple(" ".join(self.names[label] for label in group) for group in labels) if self.names else ()

    def shard(self, index: int, of: int, *words: int) -> Pool:
        """One of `of` disjoint parts of equal size, give or take one sample a class, in each split."""

        def dealt(part: Part) -> Part:
            order = by_class(part.labels[part.rows], *words)
            return part._replace(rows=np.sort(part.rows[order[index::of]]))  # as cards are dealt

        return replace(self, train=dealt(self.train), val=dealt(self.val), test=dealt(self.test))
