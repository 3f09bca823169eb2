"""What a method is handed: tasks, their splits, and a sequence of them with one input shape."""

from __future__ import annotations

import copyreg
import functools
import weakref
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raycl.errors import UserError

Transform = Callable[[Tensor], Tensor]
"""Pixels in [0, 1], [batch, channels, height, width], to the same: a permutation, a rotation, a style."""


Augment = Callable[[Tensor, np.random.Generator], Tensor]
"""As a `Transform`, but each sample is changed by a draw of its own: a crop, a flip."""


class Split(Protocol):
    """Samples of one task, uint8 at rest and normalised floats when taken.

    One that augments its samples for training has a method `augmented` besides, see `training_samples`.
    """

    @property
    def y(self) -> NDArray[np.int64]:
        """[n], labels 0 .. classes - 1 of the task."""
        ...

    def __len__(self) -> int: ...

    def take(self, rows: NDArray[np.int64] | slice, device: torch.device | str = "cpu") -> Tensor:
        """Inputs [len(rows), channels, height, width] in torch's default float type."""
        ...


@dataclass(frozen=True)
class ArraySplit:
    """Rows of an image array that many tasks may share; the array is never written.

    Attributes:
        images: uint8 [any, channels, height, width], usually mapped from a file.
        rows: int64 [n], which images are this split's.
        y: int64 [n], their labels within the task.
        mean, std: one number per channel, in units of [0, 1] pixels.
        transforms: applied in order to pixels in [0, 1], before normalising.
        augment: applied before the transforms where samples are drawn for training, and nowhere else.
    """

    images: NDArray[np.uint8]
    rows: NDArray[np.int64]
    y: NDArray[np.int64]
    mean: tuple[float, ...] = (0.5,)
    std: tuple[float, ...] = (0.5,)
    transforms: tuple[Transform, ...] = ()
    augment: Augment | None = None

    def __post_init__(self) -> None:
        kind = getattr(self.images, "dtype", type(self.images).__name__)
        if kind != np.uint8:  # floats in [0, 1] would be divided by 255 once more
            raise UserError(
                f"ArraySplit: images are {kind}; wanted: uint8 in 0..255, which raycl.benchmarks.as_images "
                "makes of floats in [0, 1]"
            )
        for name in (
            "images",
            "rows",
            "y",
        ):  # runs share them: a method that writes there fails, and no other
            object.__setattr__(self, name, _read_only(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: NDArray[np.int64] | slice, device: torch.device | str = "cpu") -> Tensor:
        pixels, left = self._at_rest(rows), self.transforms
        while left and hasattr(left[0], "on_bytes"):  # a byte is moved faster than a float
            pixels, left = left[0].on_bytes(pixels), left[1:]
        return self._normalised(_floats(pixels, device), left)

    def augmented(
        self, rows: NDArray[np.int64], rng: np.random.Generator, device: torch.device | str = "cpu"
    ) -> Tensor:
        """As `take`, with a draw of `augment` for each sample."""
        x = _floats(self._at_rest(rows), device)
        return self._normalised(x if self.augment is None else self.augment(x, rng), self.transforms)

    def _at_rest(self, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        return np.take(self.images, self.rows[rows], axis=0)  # a copy, made faster than by indexing

    def _normalised(self, x: Tensor, transforms: Sequence[Transform]) -> Tensor:
        for transform in transforms:
            x = transform(x)
        mean, std = _per_channel(self.mean, self.std, x.dtype, x.device)
        # What a change hands out may be seen elsewhere, or hold a number twice: it is not written to.
        return (x.sub(mean) if transforms or self.augment else x.sub_(mean)).div_(std)


_VIEWS: weakref.WeakValueDictionary[int, NDArray[Any]] = weakref.WeakValueDictionary()


def _read_only(array: Any) -> Any:
    """The same array, seen through a view that nobody can write to; one view for each array."""
    if not isinstance(array, np.ndarray) or not array.flags.writeable:
        return array
    known = _VIEWS.get(id(array))  # a view keeps its array, so that no other takes its place
    if known is not None and known.base is array:
        return known
    view = array.view()
    view.flags.writeable = False
    if view.base is array:
        _VIEWS[id(array)] = view
    return view


def _floats(pixels: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """Pixels in [0, 1]."""
    return torch.from_numpy(pixels).to(device).to(torch.get_default_dtype()).div_(255)


@functools.lru_cache(maxsize=256)
def _per_channel(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Both as [1, channels, 1, 1]; making them costs as much as a pass over a small batch."""
    first, second = (torch.tensor(v, dtype=dtype, device=device).view(1, -1, 1, 1) for v in (mean, std))
    return first, second


@dataclass(frozen=True)
class Task:
    """One task: labels 0 .. classes - 1, and three splits that share no image; `val` may be empty."""

    index: int
    name: str
    classes: int
    train: Split
    val: Split
    test: Split
    kind: str = ""  # which family it comes from, in sequences that mix several
    class_names: tuple[str, ...] = ()  # what the labels 0, 1, .. mean, where the source says
    home: Benchmark | None = field(default=None, init=False, repr=False, compare=False)

    def __reduce__(self) -> Any:
        """A task travels as (benchmark, index): its data stay where they are."""
        if self.home is not None and self.home.recipe is not None:
            return _task_of, (self.home, self.index)
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Benchmark:
    """A sequence of tasks of one input shape.

    Attributes:
        name: as a study writes it, e.g. ``digits_split(size=28)``.
        tasks: in the order in which they are learnt.
        input_shape: (channels, height, width).
        subset: why its numbers must not stand beside published ones, or "".
        similar: whether the tasks resemble one another, as the field uses the word; None if mixed.
        recipe: how to make it again, (function, arguments), so that it pickles as a name.
        notes: what who plans runs on it should know of its data, a sentence each; in no key.
    """

    name: str
    tasks: tuple[Task, ...]
    input_shape: tuple[int, int, int]
    subset: str = ""
    similar: bool | None = None
    recipe: tuple[Callable[..., Benchmark], tuple[Any, ...]] | None = field(default=None, repr=False)
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[int, ...]:
        """Number of classes of each task."""
        return tuple(task.classes for task in self.tasks)

    def __post_init__(self) -> None:
        for task in self.tasks:
            object.__setattr__(task, "home", self)

    def __reduce__(self) -> Any:
        if self.recipe is not None:
            return self.recipe
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]


def _task_of(benchmark: Benchmark, index: int) -> Task:
    return benchmark.tasks[index]


def augments(split: Split) -> bool:
    """Whether the split draws its training samples anew each time."""
    return bool(getattr(split, "augment", None))


def training_samples(
    split: Split, rows: NDArray[np.int64], rng: np.random.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Samples for a training step: augmented from `rng` where the split does that, else as they are."""
    return split.augmented(rows, rng, device) if augments(split) else split.take(rows, device)  # type: ignore[attr-defined]


class Pooled:
    """Several tasks' splits as one, each row with its task: joint training and replay."""

    def __init__(self, parts: Sequence[tuple[int, Split]]) -> None:
        self.parts = [(task, split) for task, split in parts if len(split)]
        sizes = [len(split) for _, split in self.parts]
        self.starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)

    def __len__(self) -> int:
        return int(self.starts[-1])

    @functools.cached_property
    def y(self) -> NDArray[np.int64]:
        return np.concatenate([split.y for _, split in self.parts] or [np.empty(0, np.int64)])

    @functools.cached_property
    def tasks(self) -> NDArray[np.int64]:
        """[n], the task of each row."""
        return np.repeat(np.array([task for task, _ in self.parts], np.int64), np.diff(self.starts))

    @property
    def augment(self) -> bool:
        """Whether any part augments its samples."""
        return any(augments(split) for _, split in self.parts)

    def take(self, rows: NDArray[np.int64] | slice, device: torch.device | str = "cpu") -> Tensor:
        return self._gathered(rows, lambda split, mine: split.take(mine, device))

    def augmented(
        self, rows: NDArray[np.int64], rng: np.random.Generator, device: torch.device | str = "cpu"
    ) -> Tensor:
        """As `take`, each part augmented in its own way."""
        return self._gathered(rows, lambda split, mine: training_samples(split, mine, rng, device))

    def _gathered(
        self, rows: NDArray[np.int64] | slice, take: Callable[[Split, NDArray[np.int64]], Tensor]
    ) -> Tensor:
        wanted = np.arange(len(self))[rows]
        part = np.searchsorted(self.starts, wanted, side="right") - 1
        out: Tensor | None = None
        for index in np.unique(part):
            mine = np.flatnonzero(part == index)
            x = take(self.parts[index][1], wanted[mine] - self.starts[index])
            if out is None:
                out = x.new_empty((len(wanted), *x.shape[1:]))
            out[torch.from_numpy(mine).to(x.device)] = x
        assert out is not None, "take() of no rows"
        return out


@dataclass(frozen=True)
class Batch:
    """Samples for one update.

    Attributes:
        x: [n, channels, height, width], normalised.
        y: [n] labels within the task.
        task: the task's index, or a LongTensor [n] where batches mix tasks (`Method.mixed_batches`).
        epoch: from 0.
        index: of this batch in the epoch, from 0.
        of: batches in an epoch.
        start: samples of this epoch before this batch.
        samples: samples in an epoch.
    """

    x: Tensor
    y: Tensor
    task: int | Tensor
    epoch: int = 0
    index: int = 0
    of: int = 1
    start: int = 0
    samples: int = 0

    def __len__(self) -> int:
        return len(self.y)


class Update(Protocol):
    """One step of the optimiser: ``update()`` clips the gradients and steps."""

    @property
    def lr(self) -> float: ...

    def __call__(self) -> None: ...

    def preview(self) -> list[Tensor]:
        """The change ``update()`` would make to each trained tensor; leaves everything as it was."""
        ...
