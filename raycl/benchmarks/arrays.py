"""This module makes benchmarks from a user's own arrays, for recipes in a user's own file and for `npz`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raycl.benchmarks.checks import compared
from raycl.benchmarks.families import split_tasks, task
from raycl.benchmarks.pools import Labelled, Part, Pool, statistics, three_parts
from raycl.errors import UserError
from raycl.tasks import Benchmark, Transform

Numbers = Sequence[float] | None  # one number per channel; None: measure them on the training images
NAMES = ("x_train", "y_train", "x_test", "y_test")
_BLOCK_BYTES = 2**24  # how many bytes of floats are rounded at once


def split_by_class(
    name: str,
    x_train: ArrayLike,
    y_train: ArrayLike,
    x_test: ArrayLike,
    y_test: ArrayLike,
    *,
    tasks: int,
    val: float = 0.1,
    seed: int = 0,
    mean: Numbers = None,
    std: Numbers = None,
) -> Benchmark:
    """Return a benchmark with one task for each block of consecutive labels; labels start at 0 in each task.

    Test images that are also training images are reported in the benchmark's `notes`.

    Args:
        name: The name of the benchmark.
        x_train: Training images or features, in any form that `as_images` accepts.
        y_train: Training labels [n], which are integers and not negative.
        x_test: Test images or features, in any form that `as_images` accepts.
        y_test: Test labels [n], which are integers and not negative.
        tasks: The number of blocks; if they cannot be equal, the first ones are larger.
        val: The share of each class's training images that becomes validation.
        seed: The seed that selects these images.
        mean: The mean of each channel in units of [0, 1] pixels, by default measured on all training images.
        std: The standard deviation of each channel, in the same units and with the same default.

    Raises:
        UserError: The arrays do not fit together, or there are fewer than two classes per task.
    """
    pool = pool_of((x_train, y_train, x_test, y_test), val, seed, mean, std)
    notes = compared(pool.train.images, pool.test.images)
    return replace(split(name, pool, tasks), notes=notes)


def split(name: str, pool: Pool, tasks: int) -> Benchmark:
    """Return a benchmark as `split_by_class` does, from images that are already divided."""
    if not isinstance(tasks, int | np.integer) or not 1 <= tasks <= len(pool.classes) // 2:
        raise UserError(
            f"tasks = {tasks} must be 1 to {len(pool.classes) // 2}: there are {len(pool.classes)} classes, "
            "and a task needs at least 2"
        )
    return _benchmark(name, pool, split_tasks(pool, tasks, name), similar=False)


def whole(
    name: str,
    x_train: ArrayLike,
    y_train: ArrayLike,
    x_test: ArrayLike,
    y_test: ArrayLike,
    *,
    transforms: Sequence[Sequence[Transform]],
    val: float = 0.1,
    seed: int = 0,
    mean: Numbers = None,
    std: Numbers = None,
) -> Benchmark:
    """Return a benchmark with all classes in every task, where task i is seen through ``transforms[i]``.

    The tasks share one set of arrays. The other arguments and the errors are those of `split_by_class`.
    """
    pool = pool_of((x_train, y_train, x_test, y_test), val, seed, mean, std)
    labels = [(int(label),) for label in pool.classes]
    cut, names = pool.cut(labels), pool.named(labels)
    made = [
        task(index, f"{name} {index}", cut, len(pool.classes), name, list(own), names)
        for index, own in enumerate(transforms)
    ]
    if not made:
        raise UserError(
            "transforms is empty: give a list of transforms for each task, such as [[], [Rotate(90)]]"
        )
    notes = compared(pool.train.images, pool.test.images)
    return replace(_benchmark(name, pool, made, similar=None), notes=notes)


def as_images(x: ArrayLike, name: str = "x") -> NDArray[np.uint8]:
    """Return images or features as a uint8 array [n, channels, height, width].

    Accepted shapes are [n, channels, h, w] and [n, h, w, channels] with 1 or 3 channels (tested in this
    order), [n, h, w], and features [n, d], which become [n, 1, 1, d]. Floats must lie in [0, 1] and are
    rounded to 255ths; False and True become 0 and 255.

    Raises:
        UserError: The shape, type or range is not supported; the message contains both what was given and
            what is expected.
    """
    found = _array(x, name)
    if found.ndim == 4 and found.shape[1] not in (1, 3) and found.shape[3] in (1, 3):
        found = np.moveaxis(found, 3, 1)
    elif found.ndim == 3:
        found = found[:, None]
    elif found.ndim == 2:
        found = found[:, None, None]
    if found.ndim != 4 or found.shape[1] not in (1, 3) or not found.size:
        raise UserError(
            f"{name} has shape {np.shape(x)}; expected: [n, height, width], [n, height, width, 1 or 3], "
            "[n, 1 or 3, height, width] or [n, features]"
        )
    if found.dtype == np.bool_:
        found = found.astype(np.uint8) * np.uint8(255)
    elif found.dtype != np.uint8:
        found = _quantised(found, name)
    return np.ascontiguousarray(found, dtype=np.uint8)


def _array(x: ArrayLike, name: str) -> NDArray[Any]:
    try:
        found: NDArray[Any] = np.asarray(x)
    except (ValueError, TypeError, RuntimeError) as error:  # ragged lists, tensors on a GPU or with gradients
        raise UserError(f"{name} is not an array of numbers ({str(error).splitlines()[0][:100]})") from None
    if np.ma.is_masked(x):
        raise UserError(f"{name} is a masked array, whose masked values would be used: fill it first")
    return found


def _quantised(x: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if not np.issubdtype(x.dtype, np.floating):
        raise UserError(f"{name} is {x.dtype}; expected: uint8 in 0..255, or floats in [0, 1]")
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):  # the negation also rejects NaN
        if np.isnan(low + high):
            raise UserError(f"{name} contains {int(np.isnan(x).sum())} NaN: replace or remove them")
        raise UserError(f"{name} contains floats in [{low:g}, {high:g}]; scale them to [0, 1], or use uint8")
    if 0 < high <= 2 / 255:
        raise UserError(
            f"{name} contains floats in [{low:g}, {high:g}], which become at most three levels when they are "
            "rounded to 255ths; were they divided by 255 twice? scale them to [0, 1]"
        )
    made = np.empty(x.shape, np.uint8)
    rows = max(1, _BLOCK_BYTES // max(1, x[:1].nbytes))
    for start in range(0, len(x), rows):  # the intermediate floats need up to eight times the memory
        made[start : start + rows] = np.rint(x[start : start + rows] * 255)
    return made


def labels_of(y: ArrayLike, name: str, count: int) -> NDArray[np.int64]:
    """Return labels as int64 [count].

    Raises:
        UserError: They are not integers from 0 on, or not as many as there are samples.
    """
    found = _array(y, name)
    if found.shape != (count,):
        remedy = f"; reshape it with {name}.reshape(-1)" if found.size == count else ""
        raise UserError(
            f"{name} has shape {found.shape}; expected: ({count},), one label for each sample{remedy}"
        )
    if not np.issubdtype(found.dtype, np.integer):
        raise UserError(f"{name} contains {found.dtype}; labels must be integers from 0 to 1000000")
    if found.min() < 0 or found.max() > 1_000_000:
        wrong = found.min() if found.min() < 0 else found.max()
        raise UserError(f"{name} contains {wrong}; labels must be integers from 0 to 1000000")
    return found.astype(np.int64)


def pool_of(
    given: Sequence[ArrayLike],
    val: float,
    seed: int,
    mean: Numbers,
    std: Numbers,
    *,
    validation: Labelled | None = None,
    groups: NDArray[np.int64] | None = None,
    last: bool = False,
) -> Pool:
    """Return the images divided into train, val and test.

    Args:
        given: x_train, y_train, x_test and y_test, as in `split_by_class`.
        val: As in `split_by_class`.
        seed: As in `split_by_class`.
        mean: As in `split_by_class`.
        std: As in `split_by_class`.
        validation: The images and labels of val, so that none are held out.
        groups: The groups of training images that each give a share to val; by default their labels.
        last: Whether the last images of each group are held out, and none are drawn.

    Raises:
        UserError: As `split_by_class`.
    """
    x_train, y_train, x_test, y_test = as_arrays(given)
    if not 0 <= val < 1:
        raise UserError(f"val = {val:g} is outside 0..1")
    if mean is None or std is None:
        measured = statistics(x_train)
        mean, std = measured[0] if mean is None else mean, measured[1] if std is None else std
    fits = np.shape(mean) == np.shape(std) == (x_train.shape[1],) and np.isfinite([*mean, *std]).all()
    if not fits or min(std) <= 0:
        raise UserError(f"mean = {mean} and std = {std} must have {x_train.shape[1]} numbers, std above 0")
    share = 0.0 if validation is not None else val
    parts = three_parts((x_train, y_train), (x_test, y_test), share, seed, groups=groups, last=last)
    if validation is not None:
        parts = parts[0], Part(*validation, np.arange(len(validation[1]))), parts[2]
    rare = np.setdiff1d(y_train, y_train[parts[0].rows])
    if len(rare):
        have = int((y_train == rare[0]).sum())
        raise UserError(
            f"class {rare[0]}: val = {val:g} holds out all of its training images ({have}); lower val, or "
            "add images of the class"
        )
    return Pool(*parts, tuple(mean), tuple(std))


def as_arrays(given: Sequence[ArrayLike]) -> tuple[NDArray[Any], ...]:
    """Return the four arrays `NAMES` as uint8 images and int64 labels.

    Raises:
        UserError: `as_images` does not accept one of them, or they do not fit together.
    """
    x_train, x_test = (as_images(given[i], NAMES[i]) for i in (0, 2))
    y_train, y_test = labels_of(given[1], NAMES[1], len(x_train)), labels_of(given[3], NAMES[3], len(x_test))
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UserError(
            f"x_train contains samples of shape {x_train.shape[1:]} and x_test of {x_test.shape[1:]}: "
            "they must agree"
        )
    missing = np.setxor1d(y_train, y_test)
    if len(missing):
        raise UserError(f"label {missing[0]} occurs in only one of y_train and y_test")
    return x_train, y_train, x_test, y_test


def _benchmark(name: str, pool: Pool, tasks: Sequence[Any], similar: bool | None) -> Benchmark:
    channels, height, width = pool.train.images.shape[1:]
    return Benchmark(name, tuple(tasks), (channels, height, width), similar=similar)
