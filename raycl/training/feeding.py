"""Access to the samples of a split on the device, with a cache for consecutive fits on the same data."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raycl.tasks import Split, augments, training_samples

RESIDENT_BYTES = {"cpu": 2**25, "cuda": 2**32}  # a split of up to this size is kept on the device as a whole

EVALUATION_BATCH = 256
CONVOLUTION_BATCH = 128

_CACHE: list[tuple[Split, torch.device, torch.dtype, Tensor]] = []


def evaluation_batch(modules: Iterable[nn.Module], device: torch.device) -> int:
    """Return the number of samples that are evaluated at once.

    It is smaller for convolutions on a CPU, because the outputs of their layers should fit in its cache.
    """
    convolves = device.type == "cpu" and any(isinstance(m, nn.modules.conv._ConvNd) for m in modules)
    return CONVOLUTION_BATCH if convolves else EVALUATION_BATCH


def forget_inputs() -> None:
    """Empty the cache of inputs."""
    _CACHE.clear()


def cached(split: Split, device: torch.device) -> Tensor:
    """Return all normalised inputs of a split on a device, from the cache where possible.

    The most recently used splits are cached, because consecutive fits and trials read the same ones again.
    """
    dtype = torch.get_default_dtype()
    for i, (known, where, kind, inputs) in enumerate(_CACHE):
        if known is split and where == device and kind == dtype:
            _CACHE.append(_CACHE.pop(i))
            return inputs
    inputs = split.take(slice(None), device)
    _CACHE.append((split, device, dtype, inputs))
    budget = 2 * RESIDENT_BYTES.get(device.type, RESIDENT_BYTES["cuda"])
    while sum(t.numel() * t.element_size() for *_, t in _CACHE) > budget:
        del _CACHE[0]
    return inputs


def rows_of(
    split: Split, device: torch.device, augment: np.random.Generator | None
) -> Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]:
    """Return a function from row numbers to inputs and labels of the split, on the device.

    All inputs are normalised and moved to the device at once if they fit in `RESIDENT_BYTES`; otherwise each
    batch is when it is requested. Samples are augmented if `augment` is given and the split supports it.
    """
    y = torch.from_numpy(np.array(split.y)).to(device)  # A copy, because several runs share the labels.
    n = len(split)
    if augment is not None and augments(split):
        return lambda rows: (
            training_samples(split, rows, augment, device),
            y[torch.from_numpy(rows).to(device)],
        )
    one = split.take(np.zeros(1, np.int64), device) if n else None
    fits = one is not None and one.numel() * one.element_size() * n <= RESIDENT_BYTES.get(
        device.type, RESIDENT_BYTES["cuda"]
    )
    if fits:
        inputs = cached(split, device)
        return lambda rows: (
            inputs.index_select(0, t := torch.from_numpy(rows).to(device)),
            y.index_select(0, t),
        )
    return lambda rows: (split.take(rows, device), y[torch.from_numpy(rows).to(device)])
