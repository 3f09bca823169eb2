"""Data types that a method receives: tasks, splits, batches, and a benchmark, the sequence of tasks."""

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

from raycl import devices
from raycl.errors import UserError

Transform = Callable[[Tensor], Tensor]
"""Function from pixels in [0, 1], [batch, channels, height, width], to pixels of the same range and layout,
e.g. a permutation, a rotation or a style."""


Augment = Callable[[Tensor, np.random.Generator], Tensor]
"""Function like a `Transform` that changes each sample at random, e.g. by a crop or a flip."""


class Split(Protocol):
    """Samples of one task, stored as uint8 and returned as normalised floats.

    A split that augments its samples for training also has a method `augmented`; see `training_samples`.
    """

    @property
    def y(self) -> NDArray[np.int64]:
        """Labels [n] of the task, in 0 .. classes - 1."""
        ...

    def __len__(self) -> int: ...

    def take(self, rows: NDArray[np.int64] | slice, device: torch.device | str = "cpu") -> Tensor:
        """Return inputs [len(rows), channels, height, width] in torch's default float type."""
        ...


@dataclass(frozen=True, eq=False)
class Inputs:
    """How stored images become the inputs of a network: transforms, then normalisation.

    Attributes:
        shape: (channels, height, width) of the stored images.
        mean, std, transforms: as in `ArraySplit`.
    """

    shape: tuple[int, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    transforms: tuple[Transform, ...] = ()

    def __call__(self, pixels: NDArray[np.uint8], device: torch.device | str = "cpu") -> Tensor:
        """Return the inputs that images [n, channels, height, width] are for a network."""
        left = self.transforms
        while left and hasattr(left[0], "on_bytes"):  # bytes are moved faster than floats
            pixels, left = left[0].on_bytes(pixels), left[1:]
        return self.normalised(_floats(pixels, device), left)

    def normalised(self, x: Tensor, transforms: Sequence[Transform], shared: bool = False) -> Tensor:
        """Return pixels in [0, 1] as inputs.

        Args:
            x: Pixels in [0, 1].
            transforms: Transforms that are still to be applied.
            shared: Whether others may use `x`, so that it is not modified in place.
        """
        for transform in transforms:
            x = transform(x)
        mean, std = _per_channel(self.mean, self.std, x.dtype, x.device)
        # A transform may return a tensor that others use or whose elements share memory.
        return (x.sub(mean) if transforms or shared else x.sub_(mean)).div_(std)


@dataclass(frozen=True)
class ArraySplit:
    """Rows of an image array that many tasks may share; the array is never written.

    Attributes:
        images: uint8 [any, channels, height, width], usually mapped from a file.
        rows: int64 [n], indices of the images that belong to this split.
        y: int64 [n], labels of these images within the task.
        mean, std: one number per channel, for pixels in [0, 1].
        transforms: functions applied in order to pixels in [0, 1], before normalisation.
        augment: function applied before the transforms to training samples only, or None.
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
        if kind != np.uint8:  # floats in [0, 1] would be divided by 255 a second time
            raise UserError(
                f"ArraySplit: images are {kind} but should be uint8 in 0..255; "
                "raycl.benchmarks.as_images converts floats in [0, 1]"
            )
        # Runs share these arrays. With read-only views, a method that writes to them fails by itself instead
        # of changing the data of other runs.
        for name in ("images", "rows", "y"):
            object.__setattr__(self, name, _read_only(getattr(self, name)))

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def x(self) -> NDArray[np.uint8]:
        """The images of the split as they are stored, uint8 [n, channels, height, width]; a copy."""
        return self._at_rest(slice(None))

    @property
    def inputs(self) -> Inputs:
        """How images like these become the inputs of a network."""
        return Inputs(tuple(map(int, self.images.shape[1:])), self.mean, self.std, self.transforms)

    def take(self, rows: NDArray[np.int64] | slice, device: torch.device | str = "cpu") -> Tensor:
        return self.inputs(self._at_rest(rows), device)

    def augmented(
        self, rows: NDArray[np.int64], rng: np.random.Generator, device: torch.device | str = "cpu"
    ) -> Tensor:
        """Return inputs as `take` does, each sample changed at random by `augment`."""
        x = _floats(self._at_rest(rows), device)
        if self.augment is None:
            return self.inputs.normalised(x, self.transforms)
        return self.inputs.normalised(self.augment(x, rng), self.transforms, shared=True)

    def _at_rest(self, rows: NDArray[np.int64] | slice) -> NDArray[np.uint8]:
        return np.take(self.images, self.rows[rows], axis=0)  # makes a copy, faster than indexing does


_VIEWS: weakref.WeakValueDictionary[int, NDArray[Any]] = weakref.WeakValueDictionary()


def _read_only(array: Any) -> Any:
    """Return a read-only view of the array, always the same view for the same array."""
    if not isinstance(array, np.ndarray) or not array.flags.writeable:
        return array
    known = _VIEWS.get(id(array))  # the view keeps its array alive, so its id is not reused
    if known is not None and known.base is array:
        return known
    view = array.view()
    view.flags.writeable = False
    if view.base is array:
        _VIEWS[id(array)] = view
    return view


def _floats(pixels: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """Return the pixels as floats in [0, 1]."""
    return devices.sent(torch.from_numpy(pixels), device).to(torch.get_default_dtype()).div_(255)


@functools.lru_cache(maxsize=256)
def _per_channel(
    mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Return both as tensors [1, channels, 1, 1].

    They are cached because making them costs as much as a pass over a small batch.
    """
    first, second = (torch.tensor(v, dtype=dtype, device=device).view(1, -1, 1, 1) for v in (mean, std))
    return first, second


@dataclass(frozen=True)
class Task:
    """One task with labels 0 .. classes - 1 and three splits that share no image; `val` may be empty."""

    index: int
    name: str
    classes: int
    train: Split
    val: Split
    test: Split
    kind: str = ""  # the family of tasks it belongs to, in benchmarks that mix several
    class_names: tuple[str, ...] = ()  # names of the labels 0, 1, .., if the data source has them
    home: Benchmark | None = field(default=None, init=False, repr=False, compare=False)

    def __reduce__(self) -> Any:
        """Pickle the task as (benchmark, index), so that its data are not copied."""
        if self.home is not None and self.home.recipe is not None:
            return _task_of, (self.home, self.index)
        return copyreg.__newobj__, (type(self),), self.__dict__  # type: ignore[attr-defined]


@dataclass(frozen=True)
class Benchmark:
    """A sequence of tasks with one input shape.

    Attributes:
        name: name as a study writes it, e.g. ``digits_split(size=28)``.
        tasks: tasks in the order in which they are learnt.
        input_shape: (channels, height, width).
        subset: reason why its results must not be compared with published ones, or "".
        similar: whether the tasks are similar to one another in the sense of the literature; None if the
            sequence mixes similar and dissimilar tasks.
        recipe: (function, arguments) that make the benchmark again; it is pickled as this pair, without data.
        notes: facts about the data for whoever plans runs on it, one sentence each; they are in no key.
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
    """Return whether the split changes its training samples at random each time they are taken."""
    return bool(getattr(split, "augment", None))


def training_samples(
    split: Split, rows: NDArray[np.int64], rng: np.random.Generator, device: torch.device | str = "cpu"
) -> Tensor:
    """Return samples for a training step, augmented with `rng` if the split augments its samples."""
    return split.augmented(rows, rng, device) if augments(split) else split.take(rows, device)  # type: ignore[attr-defined]


class Pooled:
    """Splits of several tasks joined into one that knows each row's task, for joint training and replay."""

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
        """Task of each row, [n]."""
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
        """Return inputs as `take` does, each part augmented in its own way."""
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
            out[devices.sent(torch.from_numpy(mine), x.device)] = x
        assert out is not None, "take() needs at least one row"
        return out


@dataclass(frozen=True)
class Batch:
    """Samples for one update.

    Attributes:
        x: inputs [n, channels, height, width], normalised.
        y: labels [n] within the task.
        task: index of the task, or a LongTensor [n] where batches mix tasks (`Method.mixed_batches`).
        epoch: index of the epoch, from 0.
        index: index of this batch in the epoch, from 0.
        of: number of batches in an epoch.
        start: number of samples of this epoch before this batch.
        samples: number of samples in an epoch.
        parts: for batches that mix tasks, each task in ascending order with the positions [its samples] of
            its samples in the batch; use `by_task`, which finds them where they are not given.
    """

    x: Tensor
    y: Tensor
    task: int | Tensor
    epoch: int = 0
    index: int = 0
    of: int = 1
    start: int = 0
    samples: int = 0
    parts: Sequence[tuple[int, Tensor]] = ()

    def __len__(self) -> int:
        return len(self.y)

    def by_task(self) -> Sequence[tuple[int, Tensor]]:
        """Return each task of the batch in ascending order, with the positions of its samples.

        The training loop gives them in `parts`. For another batch they are read from `task`, for which an
        accelerator makes the program wait.
        """
        if isinstance(self.task, int):
            return [(self.task, torch.arange(len(self), device=self.y.device))]
        if self.parts:
            return self.parts
        return [(int(task), (self.task == task).nonzero()[:, 0]) for task in self.task.unique()]


class Update(Protocol):
    """One step of the optimiser: ``update()`` clips the gradients and steps."""

    @property
    def lr(self) -> float:
        """Present learning rate."""
        ...

    def __call__(self) -> None: ...

    def preview(self) -> list[Tensor]:
        """Return the change that ``update()`` would make to each trained tensor, without making it."""
        ...
