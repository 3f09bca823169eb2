"""Inputs of a split on the device, kept while fits of the same data follow one another."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raycl.tasks import Split, augments, training_samples

RESIDENT_BYTES = {"cpu": 2**25, "cuda": 2**32}  # a split up to this size is normalised once per fit

_CACHE: list[tuple[Split, torch.device, torch.dtype, Tensor]] = []


def forget_inputs() -> None:
    """Let go of the inputs that are remembered."""
    _CACHE.clear()


def cached(split: Split, device: torch.device) -> Tensor:
    """All inputs of a split; recent ones are remembered, since fits and trials walk the same ones again."""
    dtype = torch.get_default_dtype()
    for i, (known, where, kind, held) in enumerate(_CACHE):
        if known is split and where == device and kind == dtype:
            _CACHE.append(_CACHE.pop(i))
            return held
    held = split.take(slice(None), device)
    _CACHE.append((split, device, dtype, held))
    budget = 2 * RESIDENT_BYTES.get(device.type, RESIDENT_BYTES["cuda"])
    while sum(t.numel() * t.element_size() for *_, t in _CACHE) > budget:
        del _CACHE[0]
    return held


def rows_of(
    split: Split, device: torch.device, augment: np.random.Generator | None
) -> Callable[[NDArray[np.int64]], tuple[Tensor, Tensor]]:
    """Rows of the split on the device: all of them at once where they fit, else as they are asked for."""
    y = torch.from_numpy(np.array(split.y)).to(device)  # a copy: the labels are shared by runs
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
        held = cached(split, device)
        return lambda rows: (
            held.index_select(0, t := torch.from_numpy(rows).to(device)),
            y.index_select(0, t),
        )
    return lambda rows: (split.take(rows, device), y[torch.from_numpy(rows).to(device)])
