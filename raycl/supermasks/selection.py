"""Which scores a mask keeps, found without sorting them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SAMPLED = 4096  # layers with more weights are selected from by way of a sample


REACH = 0.004  # share of a layer's ranks that is looked through on either side of the last threshold


class Threshold:
    """Finds the smallest rank in a mask, exactly and without a sort, and best where ranks move little.

    Only what lies between two brackets is partitioned. They are where the threshold was the last time or, if
    that misses, come from a sample (Floyd and Rivest, SELECT, 1975); if that misses too, all is partitioned.
    """

    def __init__(self, n: int) -> None:
        self.work = np.empty((2, n), np.bool_)
        self.near: tuple[float, float] | None = None

    def __call__(self, ranks: NDArray[Any], ones: int) -> tuple[float, int]:
        """The threshold of a mask of `ones`, and how many ranks [n] equal to it are too many."""
        n = len(ranks)
        if ones <= 0:
            return math.inf, 0
        if ones >= n:
            return -math.inf, 0
        found = self._between(ranks, ones, self.near) if self.near else None
        if found is None and n > SAMPLED:
            found = self._between(ranks, ones, _brackets(ranks, ones / n))
        return found or _largest(ranks, ones)

    def _between(
        self, ranks: NDArray[Any], ones: int, brackets: tuple[float, float]
    ) -> tuple[float, int] | None:
        """The same if it lies between the brackets."""
        (low, high), (up, down) = brackets, self.work
        np.greater_equal(ranks, high, out=up)
        np.greater_equal(ranks, low, out=down)
        above = int(np.count_nonzero(up))
        if not above < ones <= np.count_nonzero(down):
            self.near = None
            return None
        middle = ranks[np.flatnonzero(np.logical_xor(up, down, out=up))]
        least, surplus = _largest(middle, ones - above)
        reach = REACH * len(ranks) / len(middle) * (high - low)
        self.near = (least - reach, least + reach) if math.isfinite(reach) else None
        return least, surplus


def _largest(ranks: NDArray[Any], ones: int) -> tuple[float, int]:
    lower = len(ranks) - ones
    parted = np.partition(ranks, lower)
    return float(parted[lower]), int(np.count_nonzero(parted[:lower] == parted[lower]))


def _brackets(ranks: NDArray[Any], density: float) -> tuple[float, float]:
    """Two ranks that nearly always have the threshold between them."""
    step = round(len(ranks) ** (1 / 3)) | 1  # odd: no walk along a column or a corner of the kernels
    sample = ranks[::step].copy()
    size = len(sample)
    middle, margin = (1 - density) * size, 3 * math.sqrt(size * density * (1 - density)) + 1
    low, high = max(int(middle - margin), 0), math.ceil(middle + margin)
    sample.partition([low, min(high, size - 1)])
    return float(sample[low]) if low else -math.inf, float(sample[high]) if high < size else math.inf


class Selection:
    """Writes 1.0 where a rank is among the largest of its row, else 0.0; among equals the later is kept.

    Args:
        ones: how many are kept in each row of `n`.
        device: on a GPU nothing waits for the device, and all shapes are known beforehand.
    """

    def __init__(self, ones: Sequence[int], n: int, device: torch.device) -> None:
        self.ones, self.n = ones, n
        self.thresholds = [Threshold(n) for _ in ones]
        self.at_once = device.type != "cpu"
        count = torch.tensor(ones).unsqueeze(1)
        self.count = count.to(device)
        bounds = torch.where(count <= 0, math.inf, -math.inf)  # of rows that keep nothing, or all
        self.bounds = bounds.to(device, torch.get_default_dtype())
        inside = sorted({k for k in ones if 0 < k < n})
        self.groups = [
            (k, torch.tensor([i for i, one in enumerate(ones) if one == k]).to(device)) for k in inside
        ]

    def __call__(self, ranks: Tensor, out: Tensor) -> None:
        """`ranks` and `out`: [rows, n]."""
        if self.at_once:
            self.all_rows(ranks, out)
            return
        for row, wanted, mask, threshold in zip(ranks, self.ones, out, self.thresholds, strict=True):
            least, surplus = threshold(row.numpy(), wanted)
            torch.ge(row, least, out=mask)
            if surplus:
                mask[(row == least).nonzero()[:surplus, 0]] = 0

    def all_rows(self, ranks: Tensor, out: Tensor) -> None:
        """The same by batched operations alone."""
        least = self.bounds.to(ranks.dtype)
        for wanted, rows in self.groups:
            whole = len(rows) == len(ranks)
            found = (
                (ranks if whole else ranks[rows]).kthvalue(self.n - wanted + 1, dim=1, keepdim=True).values
            )
            least = found if whole else least.index_copy(0, rows, found)
        chosen, equal = ranks >= least, ranks == least
        surplus = chosen.sum(1, keepdim=True) - self.count
        chosen &= ~(equal & (equal.cumsum(1, dtype=torch.int32) <= surplus))
        out.copy_(chosen)
