"""Benchmarks from a user's own arrays: the `npz` recipe, and helpers for recipes in a user's own file."""

from __future__ import annotations

import functools
import hashlib
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar
from zlib import crc32

import numpy as np
from numpy.typing import ArrayLike, NDArray

from raycl.benchmarks.base import Recipe, within
from raycl.benchmarks.families import split_tasks, task
from raycl.benchmarks.pools import Part, Pool, statistics, stratified
from raycl.benchmarks.prepared import Contents, Folder, data_root, shown
from raycl.errors import UserError
from raycl.tasks import Benchmark, Transform

Numbers = Sequence[float] | None  # one per channel, or measured on the training images
NAMES = ("x_train", "y_train", "x_test", "y_test")


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
    """The classes in blocks of consecutive labels, a block a task; labels start at 0 in each.

    Args:
        x_train, x_test: images or features as `as_images` takes them.
        y_train, y_test: whole numbers [n], any that are not negative.
        tasks: how many blocks; where they cannot be equal the first ones are larger.
        val: share of the training images, per class, that becomes validation.
        seed: which images these are.
        mean, std: per channel, in units of [0, 1] pixels; measured on all training images if not given.

    Raises:
        UserError: arrays that do not fit together, or fewer than two classes a task.
    """
    pool = _pool((x_train, y_train, x_test, y_test), val, seed, mean, std)
    if not 1 <= tasks <= len(pool.classes) // 2:
        raise UserError(
            f"tasks = {tasks}: {len(pool.classes)} classes make 1..{len(pool.classes) // 2} tasks"
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
    """All classes in every task, task i seen through ``transforms[i]``; the tasks share one set of arrays.

    Other arguments and errors as for `split_by_class`.
    """
    pool = _pool((x_train, y_train, x_test, y_test), val, seed, mean, std)
    cut = pool.cut([(label,) for label in pool.classes])
    made = [
        task(index, f"{name} {index}", cut, len(pool.classes), name, list(changes))
        for index, changes in enumerate(transforms)
    ]
    return _benchmark(name, pool, made, similar=None)


def as_images(x: ArrayLike, name: str = "x") -> NDArray[np.uint8]:
    """Whatever a user has as uint8 [n, channels, height, width].

    Taken are [n, channels, h, w], [n, h, w, channels] (1 or 3 channels, looked for in this order), [n, h, w]
    and features [n, d], which become [n, 1, 1, d]. Floats must lie in [0, 1] and are rounded to 255ths.

    Raises:
        UserError: another shape or range; names both.
    """
    found: NDArray[Any] = np.asarray(x)
    if found.ndim == 4 and found.shape[1] not in (1, 3) and found.shape[3] in (1, 3):
        found = np.moveaxis(found, 3, 1)
    elif found.ndim == 3:
        found = found[:, None]
    elif found.ndim == 2:
        found = found[:, None, None]
    if found.ndim != 4 or found.shape[1] not in (1, 3) or not found.size:
        raise UserError(
            f"{name} has shape {np.shape(x)}; wanted: [n, height, width], [n, height, width, 1 or 3], "
            "[n, 1 or 3, height, width] or [n, features]"
        )
    if found.dtype != np.uint8:
        found = _quantised(found, name)
    return np.ascontiguousarray(found, dtype=np.uint8)


def _quantised(x: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if not np.issubdtype(x.dtype, np.floating):
        raise UserError(f"{name} is {x.dtype}; wanted: uint8 in 0..255, or floats in [0, 1]")
    low, high = float(x.min()), float(x.max())
    if not (low >= 0 and high <= 1):  # refuses NaN too
        raise UserError(f"{name} holds floats in [{low:g}, {high:g}]; scale them to [0, 1], or give uint8")
    return np.asarray(np.rint(x * 255), dtype=np.uint8)


def _labels(y: ArrayLike, name: str, count: int) -> NDArray[np.int64]:
    found = np.asarray(y)
    if found.shape != (count,):
        raise UserError(f"{name} has shape {found.shape}; wanted: one label for each of {count} samples")
    if not np.issubdtype(found.dtype, np.integer) or found.min() < 0 or found.max() > 1_000_000:
        raise UserError(f"{name} is {found.dtype} and must be whole numbers from 0 to 1000000")
    return found.astype(np.int64)


def _pool(given: Sequence[ArrayLike], val: float, seed: int, mean: Numbers, std: Numbers) -> Pool:
    x_train, y_train, x_test, y_test = _checked(given)
    if not 0 <= val < 1:
        raise UserError(f"val = {val:g} is outside 0..1")
    if mean is None or std is None:
        measured = statistics(x_train)
        mean, std = measured[0] if mean is None else mean, measured[1] if std is None else std
    if not len(mean) == len(std) == x_train.shape[1] or min(std) <= 0:
        raise UserError(f"mean = {mean} and std = {std} must hold {x_train.shape[1]} numbers, std above 0")
    train, held, _ = stratified(y_train, val, 0.0, seed, crc32(b"val"))
    rare = np.setdiff1d(y_train, y_train[train])
    if len(rare):
        raise UserError(f"class {rare[0]} has too few images to hold out val = {val:g} of them")
    return Pool(
        Part(x_train, y_train, train),
        Part(x_train, y_train, held),
        Part(x_test, y_test, np.arange(len(y_test))),
        tuple(mean),
        tuple(std),
    )


def _checked(given: Sequence[ArrayLike]) -> tuple[NDArray[Any], ...]:
    x_train, x_test = (as_images(given[i], NAMES[i]) for i in (0, 2))
    y_train, y_test = _labels(given[1], NAMES[1], len(x_train)), _labels(given[3], NAMES[3], len(x_test))
    if x_train.shape[1:] != x_test.shape[1:]:
        raise UserError(f"x_train holds {x_train.shape[1:]} and x_test {x_test.shape[1:]}: they must agree")
    missing = np.setxor1d(y_train, y_test)
    if len(missing):
        raise UserError(f"label {missing[0]} occurs in only one of y_train and y_test")
    return x_train, y_train, x_test, y_test


def _benchmark(name: str, pool: Pool, tasks: Sequence[Any], similar: bool | None) -> Benchmark:
    channels, height, width = pool.train.images.shape[1:]
    return Benchmark(name, tuple(tasks), (channels, height, width), similar=similar)


@dataclass(frozen=True, kw_only=True)
class Npz(Recipe):
    """A user's own file of x_train, y_train, x_test and y_test, its classes split into tasks.

    The arrays are as `split_by_class` takes them: floats must lie in [0, 1] and are rounded to 255ths. The
    file is unpacked into the data folder once and mapped from there.
    """

    id: ClassVar[str] = "npz"
    similar: ClassVar[bool | None] = False
    summary: ClassVar[str] = "your own .npz file of x_train, y_train, x_test, y_test, split by class"

    path: str = ""
    tasks: int = 5
    val: float = 0.1
    data_seed: int = 0

    def __post_init__(self) -> None:
        if not self.path:
            raise ValueError("path is missing: name the .npz file, as in npz(path='mine.npz')")
        within("tasks", self.tasks, 1, 100_000)
        within("val", self.val, 0, 0.9)
        within("data_seed", self.data_seed, 0, 2**32 - 1)
        # Workers have another current folder.
        object.__setattr__(self, "path", str(Path(self.path).expanduser().absolute()))

    def identity(self) -> dict[str, str]:
        """The file's checksum.

        Raises:
            UserError: there is no such file.
        """
        file = Path(self.path)
        try:
            facts = file.stat()
            return {"sha256": _checksum(self.path, facts.st_mtime_ns, facts.st_size)}
        except OSError as error:
            raise UserError(f"benchmark npz: cannot read {shown(file)}: {error.strerror}") from None

    def build(self, seed: int) -> Benchmark:
        checksum = self.identity()["sha256"]
        remedy = f"delete {shown(data_root() / 'npz' / checksum)}, it will be written again"
        folder = Folder(data_root() / "npz" / checksum, Path(self.path).name, remedy)
        if not folder.begun:
            folder.fill(self._read, size=0)
        mapped = folder.open()
        try:
            return split_by_class(
                str(self),
                *(mapped[name] for name in NAMES),
                tasks=self.tasks,
                val=self.val,
                seed=self.data_seed,
                mean=mapped["mean"].tolist(),
                std=mapped["std"].tolist(),
            )
        except ValueError as error:
            raise UserError(f"benchmark npz: {shown(Path(self.path))}: {error}") from None

    def _read(self) -> Contents:
        file = shown(Path(self.path))
        try:
            with open(self.path, "rb") as raw, np.load(raw, allow_pickle=False) as found:
                missing = [name for name in NAMES if name not in found]
                if missing:
                    raise ValueError(f"no array {missing[0]} (it holds: {', '.join(found) or 'nothing'})")
                arrays = dict(zip(NAMES, _checked([found[name] for name in NAMES]), strict=True))
        except (ValueError, zipfile.BadZipFile, EOFError) as error:
            raise UserError(f"benchmark npz: {file}: {str(error).splitlines()[0]}") from None
        mean, std = statistics(arrays["x_train"])
        return Contents(arrays | {"mean": np.array(mean), "std": np.array(std)})


@functools.lru_cache(maxsize=64)
def _checksum(path: str, modified: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
