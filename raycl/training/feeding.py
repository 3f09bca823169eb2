"""Inputs of a split on the device, kept while fits of the same data follow one another."""

from __future__ import annotations

import torch
from torch import Tensor

from raycl.tasks import Split

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
