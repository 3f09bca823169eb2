"""This module makes tasks from a pool of images: by class, by permutation, by rotation and by writer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.pools import Cut, Pool, shuffled, uniform
from raycl.benchmarks.transforms import Affine, Permute, Rotate, Style
from raycl.tasks import Task, Transform

EACH = tuple((label,) for label in range(10))  # every digit is a class of its own
PARITY = (tuple(range(0, 10, 2)), tuple(range(1, 10, 2)))


def task(
    index: int,
    name: str,
    cut: Cut,
    classes: int,
    kind: str,
    transforms: Sequence[Transform] = (),
    class_names: tuple[str, ...] = (),
) -> Task:
    """Return a task that shows three splits through `transforms`.

    The task shares the row numbers and labels of the splits; nothing is copied.
    """
    train, val, test = (replace(split, transforms=(*transforms, *split.transforms)) for split in cut)
    return Task(index, name, classes, train, val, test, kind, class_names)


def split_tasks(pool: Pool, count: int, kind: str) -> list[Task]:
    """Return one task for each of `count` blocks of consecutive labels; the larger blocks come first."""
    return class_tasks(pool, [block.tolist() for block in np.array_split(pool.classes, count)], kind)


def class_tasks(
    pool: Pool, blocks: Sequence[Sequence[int]], kind: str, titles: Sequence[str] = ()
) -> list[Task]:
    """Return one task for each block of labels, which become classes 0, 1, .. in the order of the block.

    Args:
        titles: The names of the tasks; by default a task is named after its labels.
    """
    made = []
    for index, block in enumerate(blocks):
        labels = [(int(label),) for label in block]
        name = titles[index] if titles else "classes " + " ".join(str(label) for label in block)
        made.append(task(index, name, pool.cut(labels), len(labels), kind, class_names=pool.named(labels)))
    return made


def blocks_of(labels: Sequence[int], count: int, *words: int) -> list[list[int]]:
    """Return the classes in blocks, in an order that depends on `words` alone.

    The classes are shuffled and cut into blocks, and then the blocks are shuffled as well, as SPG does.
    """
    order = [labels[place] for place in shuffled(len(labels), *words, crc32(b"classes"))]
    blocks = [[int(label) for label in block] for block in np.array_split(order, count)]
    return [blocks[place] for place in shuffled(count, *words, crc32(b"tasks"))]


def block_numbers(labels: NDArray[np.int64], blocks: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return the number of the block that contains each label.

    Labels that are in no block get the number of blocks, which is one more than the last block's number.
    """
    most = max(int(labels.max(initial=0)), *(max(block) for block in blocks))
    numbers = np.full(most + 1, len(blocks), np.int64)
    for number, block in enumerate(blocks):
        numbers[list(block)] = number
    return numbers[labels]


def permuted_tasks(pool: Pool, count: int, data_seed: int, kind: str, first: int = 0) -> list[Task]:
    """Return tasks of all digits, each with a fixed pixel permutation drawn from (data_seed, task number)."""
    cut, pixels = pool.cut(EACH), math.prod(pool.train.images.shape[2:])
    return [
        task(
            i,
            f"permutation {number}",
            cut,
            10,
            kind,
            [Permute(shuffled(pixels, data_seed, number))],
            pool.named(EACH),
        )
        for i, number in enumerate(range(first, first + count))
    ]


def turned_tasks(pool: Pool, angles: Sequence[float], kind: str, nearest: bool = False) -> list[Task]:
    """Return tasks of all digits, each rotated anticlockwise by its angle in degrees."""
    cut = pool.cut(EACH)
    return [
        # A task of angle 0 gets no transform, so that its images are not even interpolated.
        task(
            index,
            f"turned by {angle:g} degrees",
            cut,
            10,
            kind,
            [Rotate(angle, nearest)] if angle else [],
            pool.named(EACH),
        )
        for index, angle in enumerate(angles)
    ]


def writer_tasks(
    pool: Pool, count: int, labels: Sequence[Sequence[int]], data_seed: int, kind: str
) -> list[Task]:
    """Return tasks that each show a disjoint shard of the images in the style of one pseudo-writer."""
    return [
        task(
            writer,
            f"writer {writer}",
            pool.shard(writer, count, data_seed, crc32(b"shard")).cut(labels),
            len(labels),
            kind,
            [hand(data_seed, writer)],
            pool.named(labels),
        )
        for writer in range(count)
    ]


def hand(data_seed: int, writer: int) -> Style:
    """Return the style of a pseudo-writer: rotation, slant, size, position, contrast and brightness."""
    turn, slant, wide, high, right, down, contrast, light = (
        2 * uniform(8, data_seed, crc32(b"style"), writer) - 1
    ).tolist()  # each number is in [-1, 1)
    angle = math.radians(12 * turn)
    cos, sin, shear = math.cos(angle), math.sin(angle), 0.25 * slant
    x_scale, y_scale = 1 + 0.12 * wide, 1 + 0.12 * high
    affine: Affine = (
        (x_scale * cos, y_scale * (shear * cos - sin), 0.08 * right),
        (x_scale * sin, y_scale * (shear * sin + cos), 0.08 * down),
    )
    return Style(affine, contrast=1 + 0.3 * contrast, brightness=0.1 * light)
