"""This module checks a user's own benchmark before anything is trained on it.

A label without an output unit, or a test image that is also a training image, would still give a result. The
first is therefore an error, and the second is reported in a note.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raycl.errors import UserError
from raycl.tasks import ArraySplit, Benchmark, Split, Task

MOST_BYTES = 2**28  # the most bytes of images whose pixels are compared each time they are loaded
_BLOCK = 4096  # how many images are copied at once


def a_benchmark(made: Any, name: str) -> Benchmark:
    """Return what a recipe's `build` returned, if it is a benchmark.

    Raises:
        UserError: It is something else.
    """
    if not isinstance(made, Benchmark):
        raise UserError(
            f"benchmark {name}: build(self, seed) returned {type(made).__name__}, not a Benchmark"
        )
    return made


def checked(made: Benchmark, name: str) -> Benchmark:
    """Return the benchmark, with a note if test samples are also training samples.

    Raises:
        UserError: The tasks contradict what the benchmark states; the message contains task, split and value.
    """
    place = f"benchmark {name}"
    _check_shape(made, place)
    for position, task in enumerate(made.tasks):
        if not isinstance(task, Task):
            raise UserError(f"{place}: tasks[{position}] is {type(task).__name__}, not a Task")
        _check_task(task, position, made.input_shape, f"{place}: task {position + 1}")
    return made if made.notes else replace(made, notes=_shared(made))


def _check_shape(made: Benchmark, place: str) -> None:
    shape = made.input_shape
    if not (isinstance(shape, tuple) and len(shape) == 3 and all(type(n) is int and n > 0 for n in shape)):
        raise UserError(
            f"{place}: input_shape = {shape!r} must be three positive integers: channels, height, width"
        )
    if not isinstance(made.tasks, tuple) or not made.tasks:
        raise UserError(f"{place}: tasks = {str(made.tasks)[:60]} must be a tuple of at least one Task")


def _check_task(task: Task, position: int, shape: tuple[int, int, int], place: str) -> None:
    if task.index != position:
        raise UserError(f"{place}: index = {task.index!r}; expected: {position}, its place in the sequence")
    if type(task.classes) is not int or task.classes < 1:
        raise UserError(f"{place}: classes = {task.classes!r} must be an integer of at least 1")
    if task.class_names and len(task.class_names) != task.classes:
        raise UserError(f"{place}: class_names has {len(task.class_names)} names for {task.classes} classes")
    for part in ("train", "val", "test"):
        split: Split = getattr(task, part)
        where = f"{place}: {part}"
        if not (hasattr(split, "y") and hasattr(split, "take") and hasattr(split, "__len__")):
            raise UserError(f"{where} is {type(split).__name__}, which should have y, take and a length")
        _check_labels(split, task.classes, where)
        if isinstance(split, ArraySplit):
            _check_arrays(split, where)
        if len(split):
            _check_sample(split, shape, where)
        elif part != "val":
            raise UserError(f"{where} is empty: give it at least one sample")


def _check_labels(split: Split, classes: int, where: str) -> None:
    y = split.y
    if not isinstance(y, np.ndarray) or y.shape != (len(split),):
        have = f"shape {y.shape}" if isinstance(y, np.ndarray) else f"type {type(y).__name__}"
        raise UserError(
            f"{where}: y has {have}; expected: an array of {len(split)} labels, one for each sample"
        )
    if y.dtype != np.int64:
        raise UserError(
            f"{where}: y is {y.dtype}; expected: int64 (convert integers with y.astype(np.int64))"
        )
    low, high = (int(y.min()), int(y.max())) if len(y) else (0, 0)
    if low < 0 or high >= classes:
        odd = low if low < 0 else high
        raise UserError(f"{where}: label {odd} is outside 0..{classes - 1}, because classes = {classes}")


def _check_arrays(split: ArraySplit, where: str) -> None:
    rows, images = split.rows, split.images
    if images.ndim != 4:
        raise UserError(f"{where}: images have shape {images.shape}; expected: [n, channels, height, width]")
    if not isinstance(rows, np.ndarray) or rows.ndim != 1 or not np.issubdtype(rows.dtype, np.integer):
        raise UserError(f"{where}: rows must be a one-dimensional array of integers, such as np.arange(n)")
    if len(rows) and (rows.min() < 0 or rows.max() >= len(images)):
        odd = int(rows.min() if rows.min() < 0 else rows.max())
        raise UserError(
            f"{where}: row {odd} is outside 0..{len(images) - 1}, because there are {len(images)} images"
        )
    for name, values in (("mean", split.mean), ("std", split.std)):
        numbers = isinstance(values, tuple) and all(
            isinstance(v, int | float) and math.isfinite(v) for v in values
        )
        if not numbers or not values or (name == "std" and min(values) <= 0):
            low = ", above 0" if name == "std" else ""
            raise UserError(f"{where}: {name} = {values!r} must be a tuple of numbers{low}, one per channel")


def _check_sample(split: Split, shape: tuple[int, int, int], where: str) -> None:
    numbers = [len(v) for v in (split.mean, split.std)] if isinstance(split, ArraySplit) else []
    if any(n not in (1, shape[0]) for n in numbers):
        raise UserError(
            f"{where}: mean and std have {numbers[0]} and {numbers[1]} numbers for {shape[0]} channels: "
            "give one number, or one for each channel"
        )
    x = split.take(np.arange(1))
    if not isinstance(x, torch.Tensor) or tuple(x.shape) != (1, *shape):
        have = f"shape {tuple(x.shape)[1:]}" if isinstance(x, torch.Tensor) else f"type {type(x).__name__}"
        raise UserError(f"{where}: a sample has {have}; expected: {shape}, the benchmark's input_shape")
    if x.dtype != torch.get_default_dtype() or not bool(torch.isfinite(x).all()):
        kind = f"{x.dtype}".removeprefix("torch.")
        raise UserError(
            f"{where}: a sample is {kind} and must consist of finite numbers of torch's default float type"
        )


def digests(images: NDArray[np.uint8], rows: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
    """Return a number for each image, 64 bits of a checksum, which is equal for equal pixels."""
    chosen = np.arange(len(images)) if rows is None else rows
    found = np.empty(len(chosen), np.int64)
    for start in range(0, len(chosen), _BLOCK):
        some = np.ascontiguousarray(images[chosen[start : start + _BLOCK]])
        for place, image in enumerate(some, start):
            seen = hashlib.blake2b(image.data, digest_size=8).digest()
            found[place] = int.from_bytes(seen, "little", signed=True)
    return found


def same_pixels(train: NDArray[np.int64], test: NDArray[np.int64]) -> tuple[str, ...]:
    """Return a note that test images are also training images, or () if none is.

    Args:
        train: The digests of the training images, as made by `digests`.
        test: The digests of the test images.
    """
    count = int(np.isin(test, train).sum())
    images = "images are" if count != 1 else "image is"
    which = "training images" if count != 1 else "a training image"
    return (f"{count} of {len(test)} test {images} also {which} (same pixels)",) if count else ()


def compared(train: NDArray[np.uint8], test: NDArray[np.uint8], limit: int = MOST_BYTES) -> tuple[str, ...]:
    """Return the note of `same_pixels` for images.

    More than `limit` bytes are not compared, because that would take too long; the result is then ().
    """
    if train is test:
        return same_pixels(np.zeros(1, np.int64), np.zeros(len(test), np.int64))
    return same_pixels(digests(train), digests(test)) if train.nbytes + test.nbytes <= limit else ()


def _shared(made: Benchmark) -> tuple[str, ...]:
    """Return notes on tasks whose test samples are also training samples.

    Samples are compared by their pixels or, if there are too many, by their rows.
    """
    pairs = [
        (t.train, t.test)
        for t in made.tasks
        if isinstance(t.train, ArraySplit) and isinstance(t.test, ArraySplit)
    ]
    distinct = {(id(s.images), id(s.rows)): s for pair in pairs for s in pair}
    size = sum(len(s) * s.images[:1].nbytes for s in distinct.values())
    by_pixels = size <= MOST_BYTES
    known: dict[tuple[int, int], NDArray[np.int64]] = {}

    def seen(split: ArraySplit) -> NDArray[np.int64]:
        key = id(split.images), id(split.rows)
        if key not in known:
            known[key] = digests(split.images, split.rows) if by_pixels else split.rows
        return known[key]

    return _overlap_note(pairs, len(made.tasks), seen, by_pixels)


def _overlap_note(
    pairs: Sequence[tuple[ArraySplit, ArraySplit]],
    tasks: int,
    seen: Callable[[ArraySplit], NDArray[np.int64]],
    by_pixels: bool,
) -> tuple[str, ...]:
    hits = of = where = 0
    for train, test in pairs:
        count = 0
        if by_pixels or train.images is test.images:
            count = int(np.isin(seen(test), seen(train)).sum())
        hits, of, where = hits + count, of + len(test), where + bool(count)
    how = "same pixels" if by_pixels else "same rows"
    if not hits:
        return ()
    overlap = f"{hits} of {of} test samples are also training samples of their task ({how})"
    return (f"{overlap}, in {where} of {tasks} tasks",)
