"""Access to the samples of a split on the device, with a cache for consecutive fits on the same data."""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl import devices
from raycl.tasks import Pooled, Split, augments, training_samples

# A split of up to this size is kept on the device as a whole.
RESIDENT_BYTES = {"cpu": 2**25, "accelerator": 2**32}

EVALUATION_BATCH = 256
CONVOLUTION_BATCH = 128

Parts: TypeAlias = Sequence[tuple[int, Tensor]]
"""The tasks of a batch in ascending order, each with the positions of its samples in the batch."""


def evaluation_batch(modules: Iterable[nn.Module], device: torch.device) -> int:
    """Return the number of samples that are evaluated at once.

    It is smaller for convolutions on a CPU, because the outputs of their layers should fit in its cache.
    """
    convolves = devices.on_cpu(device) and any(isinstance(m, nn.modules.conv._ConvNd) for m in modules)
    return CONVOLUTION_BATCH if convolves else EVALUATION_BATCH


class _Inputs:
    """Inputs of the most recently used splits, up to a number of bytes.

    Entries are found by the identity of the split, which an entry keeps alive.
    """

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[int, torch.device, torch.dtype], tuple[Split, Tensor]] = OrderedDict()
        self._bytes = 0

    def get(self, split: Split, device: torch.device, dtype: torch.dtype) -> Tensor | None:
        if (found := self._known.get(key := (id(split), device, dtype))) is None:
            return None
        self._known.move_to_end(key)
        return found[1]

    def put(self, split: Split, device: torch.device, dtype: torch.dtype, inputs: Tensor, most: int) -> None:
        self._known[id(split), device, dtype] = split, inputs
        self._bytes += inputs.nbytes
        while self._bytes > most:
            _, (_, oldest) = self._known.popitem(last=False)
            self._bytes -= oldest.nbytes

    def __len__(self) -> int:
        return len(self._known)

    def clear(self) -> None:
        self._known.clear()
        self._bytes = 0


_CACHE = _Inputs()


def forget_inputs() -> None:
    """Empty the cache of inputs."""
    _CACHE.clear()


def resident_bytes(device: torch.device) -> int:
    """Return the size up to which a split is kept on a device as a whole."""
    return RESIDENT_BYTES["cpu" if devices.on_cpu(device) else "accelerator"]


def resident(split: Split, device: torch.device) -> Tensor | None:
    """Return all normalised inputs of a split on a device, or None if they are too large to be kept there.

    The most recently used splits are cached, because consecutive fits and trials read the same ones again.
    """
    dtype = torch.get_default_dtype()
    if (known := _CACHE.get(split, device, dtype)) is not None or not len(split):
        return known
    first = split.take(np.zeros(1, np.int64), device)
    if first.numel() * first.element_size() * len(split) > resident_bytes(device):
        return None
    inputs = split.take(slice(None), device)
    _CACHE.put(split, device, dtype, inputs, 2 * resident_bytes(device))
    return inputs


class Feed:
    """The batches of one pass over a split, on the device.

    What an accelerator needs to know about the order of the samples is sent to it once, so that no batch
    waits for it. All inputs are normalised and sent at once as well if they fit in `RESIDENT_BYTES`;
    otherwise each batch is when it is requested. Samples are augmented if `augment` is given and the split
    supports it.

    Args:
        split: The samples.
        order: Row numbers in the order of the pass.
        size: Number of samples in a batch; the last one may have fewer.
        device: Device of the batches.
        augment: Source of the random numbers of augmentation.
    """

    def __init__(
        self,
        split: Split,
        order: NDArray[np.int64],
        size: int,
        device: torch.device,
        augment: np.random.Generator | None = None,
    ) -> None:
        self.order, self.size = order, size
        labels = devices.sent(torch.from_numpy(np.array(split.y)), device)  # a copy: runs share the labels
        self._places = devices.sent(torch.from_numpy(order), device)  # on a CPU a view of the order
        self._labels = labels.index_select(0, self._places)
        self._take = _taking(split, device, augment)
        self._mixture = _Mixture(split.tasks[order], size, device) if isinstance(split, Pooled) else None

    def __len__(self) -> int:
        return math.ceil(len(self.order) / self.size)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor, Tensor | None, Parts]:
        """Return inputs, labels, and for a pooled split the task of each sample and the batch's `Parts`."""
        now = slice(index * self.size, (index + 1) * self.size)
        x, y = self._take(self.order[now], self._places[now]), self._labels[now]
        if self._mixture is None:
            return x, y, None, ()
        return x, y, self._mixture.tasks[now], self._mixture.parts(index)


class _Mixture:
    """The tasks of the samples of a pass over a pooled split.

    Attributes:
        tasks: task of each sample on the device, [n].
    """

    def __init__(self, tasks: NDArray[np.int64], size: int, device: torch.device) -> None:
        batches = [tasks[start : start + size] for start in range(0, len(tasks), size)]
        positions = [np.argsort(batch, kind="stable") for batch in batches]
        self._counts = [np.unique(batch, return_counts=True) for batch in batches]
        self._size = size
        self._positions = devices.sent(torch.from_numpy(np.concatenate([*positions, tasks[:0]])), device)
        self.tasks = devices.sent(torch.from_numpy(tasks), device)

    def parts(self, index: int) -> Parts:
        """Return the `Parts` of a batch."""
        tasks, counts = self._counts[index]
        sizes = counts.tolist()
        positions = self._positions[index * self._size :][: sum(sizes)].split(sizes)
        return list(zip(tasks.tolist(), positions, strict=True))


def _taking(
    split: Split, device: torch.device, augment: np.random.Generator | None
) -> Callable[[NDArray[np.int64], Tensor], Tensor]:
    """Return a function to the inputs of rows, which it is given both as an array and on the device."""
    if augment is not None and augments(split):
        return lambda rows, _: training_samples(split, rows, augment, device)
    inputs = resident(split, device)
    if inputs is not None:
        return functools.partial(_rows, inputs)
    return lambda rows, _: split.take(rows, device)


def _rows(inputs: Tensor, _: NDArray[np.int64], places: Tensor) -> Tensor:
    return inputs.index_select(0, places)
