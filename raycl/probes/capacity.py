"""Capacity of a backbone that a sequence of masks uses, and reuse of weights among masks (PMASK, section 7).

There is one mask per task, packed layer by layer, and all masks belong to one backbone. Random masks of
density s leave the share (1 - s)^t of the weights unused after t tasks, and have a lift of 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from raycl.probes.overlap import Bits, ones


def kept_share(mask: Bits, sizes: Sequence[int]) -> list[float]:
    """Return the share of weights that a mask keeps, |M| / n, for each layer and finally for all layers."""
    counts = [ones(layer) for layer in mask]
    return [*(k / n for k, n in zip(counts, sizes, strict=True)), sum(counts) / sum(sizes)]


def unions(masks: Sequence[Bits]) -> list[list[NDArray[np.uint8]]]:
    """Return, for every t, packed bits of the weights that tasks 0, ..., t use."""
    found: list[list[NDArray[np.uint8]]] = []
    for mask in masks:
        before = found[-1] if found else [np.zeros_like(layer) for layer in mask]
        found.append([a | b for a, b in zip(before, mask, strict=True)])
    return found


def capacity_used(masks: Sequence[Bits], sizes: Sequence[int]) -> NDArray[np.float64]:
    """Return [T, layers + 1]: the share of weights that any task up to t uses; the last column is overall."""
    return np.array([kept_share(union, sizes) for union in unions(masks)])


def reuse(masks: Sequence[Bits]) -> NDArray[np.float64]:
    """Return [T, T]: the share of the weights of mask t (column) that mask i (row) keeps as well.

    This is |M^t and M^i| / |M^t|, and NaN if mask t is empty.
    """
    out = np.full((len(masks), len(masks)), np.nan)
    for t, mask in enumerate(masks):
        own = sum(ones(layer) for layer in mask)
        for i, other in enumerate(masks):
            shared = sum(ones(a & b) for a, b in zip(mask, other, strict=True))
            out[i, t] = shared / own if own else np.nan
    return out


def reuse_lift(masks: Sequence[Bits], sizes: Sequence[int]) -> NDArray[np.float64]:
    """Return [T, layers + 1]: the share of mask t that earlier tasks use, over their share of all weights.

    The expected value is 1 for random masks. The lift is NaN for the first task, where mask t is empty, and
    where earlier tasks use no weights.
    """
    out = np.full((len(masks), len(sizes) + 1), np.nan)
    used = unions(masks)
    for t in range(1, len(masks)):
        chance = kept_share(used[t - 1], sizes)
        own = [ones(layer) for layer in masks[t]]
        inside = [ones(a & b) for a, b in zip(masks[t], used[t - 1], strict=True)]
        shares = zip([*inside, sum(inside)], [*own, sum(own)], chance, strict=True)
        out[t] = [
            both / count / by_chance if count and by_chance else np.nan for both, count, by_chance in shares
        ]
    return out
