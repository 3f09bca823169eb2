"""This module writes the samples of torch's Datasets to a file, from which `npz` makes tasks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from raycl.benchmarks.arrays import as_images
from raycl.benchmarks.prepared import shown
from raycl.errors import UserError

Source: TypeAlias = Any
"""A Dataset: it has a length, and its items are (image, label) or (image, label, number of the task)."""


def save_npz(
    file: str | Path,
    train: Source | Callable[[], Source],
    test: Source | Callable[[], Source],
    val: Source | Callable[[], Source] | None = None,
) -> Path:
    """Write the samples of Datasets to a file for ``npz(path=...)``, unless the file exists.

    Images may be PIL images, tensors or arrays; all of them must have one size, and floats must lie in
    [0, 1]. So leave `Normalize`, and what is random, out of a Dataset's transform: raycl normalises.

    Args:
        file: The file, whose name ends in .npz.
        train: The Dataset for training, or a function without arguments that returns it. The function is
            called only if the file does not exist yet.
        test: Likewise for the test.
        val: Likewise for validation; with None, `npz` holds out a share of the training images.

    Returns:
        The path of the file.

    Raises:
        UserError: A sample cannot be used; the message names its Dataset and its index.
    """
    path = Path(file)
    if path.suffix != ".npz":
        raise UserError(f"save_npz: {shown(path)} must end in .npz")
    if path.exists():
        return path
    arrays: dict[str, NDArray[Any]] = {}
    for part, given in (("train", train), ("test", test), ("val", val)):
        if given is not None:
            arrays |= _arrays_of(given if hasattr(given, "__getitem__") else given(), part)
    with_tasks = [part for part in ("train", "test", "val") if f"t_{part}" in arrays]
    if with_tasks and any(f"x_{part}" in arrays for part in {"train", "test", "val"} - {*with_tasks}):
        raise UserError(
            f"save_npz: only {', '.join(with_tasks)} has items (image, label, task): give all of them or none"
        )
    draft = path.with_name(f".{path.stem}-draft.npz")
    try:
        np.savez_compressed(draft, allow_pickle=False, **arrays)
        draft.replace(path)
    except OSError as error:
        raise UserError(f"save_npz: {shown(path)} cannot be written ({error.strerror or error})") from None
    finally:
        draft.unlink(missing_ok=True)
    return path


def _arrays_of(dataset: Source, part: str) -> dict[str, NDArray[Any]]:
    """Return the images, the labels and, if there are any, the tasks of a Dataset, by name."""
    images: list[NDArray[np.uint8]] = []
    numbers: list[Sequence[int]] = []
    for index in range(len(dataset)):
        place = f"save_npz: {part}[{index}]"
        item = dataset[index]
        if not (isinstance(item, tuple | list) and len(item) in (2, 3)):
            raise UserError(
                f"{place} is {type(item).__name__}; expected: (image, label) or (image, label, task)"
            )
        image = as_images(np.asarray(item[0])[None], f"{place}: the image")[0]
        if images and image.shape != images[0].shape:
            raise UserError(
                f"{place} is an image of shape {image.shape}, and {part}[0] of {images[0].shape}: resize "
                "them to one size in the Dataset's transform"
            )
        try:
            numbers.append([int(number) for number in item[1:]])
        except (TypeError, ValueError):
            raise UserError(f"{place} has label {str(item[1])[:40]!r}; expected: an integer") from None
        images.append(image)
        if len(numbers[-1]) != len(numbers[0]):
            raise UserError(f"{place} has {len(item)} parts, and {part}[0] has {len(numbers[0]) + 1}")
    if not images:
        raise UserError(f"save_npz: {part} has no samples")
    columns = np.array(numbers, np.int64).T
    names = (f"y_{part}", f"t_{part}")[: len(columns)]
    return {f"x_{part}": np.stack(images), **dict(zip(names, columns, strict=True))}
