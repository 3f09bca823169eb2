"""Selection of the top scores of a mask, without sorting them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raycl import devices

SAMPLED = 4096  # in layers with more weights the threshold is bracketed with the help of a sample


REACH = 0.004  # the share of a layer's ranks that is searched on either side of the last threshold


class Threshold:
    """Exact search for the smallest rank that a mask keeps.

    It is fastest if ranks change little between calls, because only ranks between two brackets are
    partitioned. The brackets first lie around the threshold of the last call. If the threshold is not between
    them, they are estimated from a sample (Floyd and Rivest, SELECT, 1975). If it is not between those
    either, all ranks are partitioned.
    """

    def __init__(self, n: int) -> None:
        self.work = np.empty((2, n), np.bool_)
        self.near: tuple[float, float] | None = None

    def __call__(self, ranks: NDArray[Any], ones: int) -> tuple[float, int]:
        """Return the threshold of a mask with `ones` ones, and how many of the ranks equal to it to drop.

        Args:
            ranks: The ranks [n] of a layer.
            ones: The number of ranks to keep.
        """
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
        """Return the same as `__call__` if the threshold lies between the brackets, else None."""
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
    """Return two ranks between which the threshold lies with high probability."""
    # An odd step avoids sampling a single column, or a single position of all kernels.
    step = round(len(ranks) ** (1 / 3)) | 1
    sample = ranks[::step].copy()
    size = len(sample)
    middle, margin = (1 - density) * size, 3 * math.sqrt(size * density * (1 - density)) + 1
    low, high = max(int(middle - margin), 0), math.ceil(middle + margin)
    sample.partition([low, min(high, size - 1)])
    return float(sample[low]) if low else -math.inf, float(sample[high]) if high < size else math.inf


class Selection:
    """Operation that writes 1.0 where a rank is among the largest of its row, and 0.0 elsewhere.

    Among equal ranks, later ones are kept first.

    Args:
        ones: Number of ranks to keep in each row.
        n: Length of a row.
        device: Device of the ranks. On a GPU, only operations that do not wait for the device are used, with
            shapes that do not depend on values, so that the selection can be captured in a CUDA graph.
    """

    def __init__(self, ones: Sequence[int], n: int, device: torch.device) -> None:
        self.ones, self.n = ones, n
        self.thresholds = [Threshold(n) for _ in ones]
        self.at_once = not devices.on_cpu(device)
        count = torch.tensor(ones).unsqueeze(1)
        self.count = count.to(device)
        bounds = torch.where(count <= 0, math.inf, -math.inf)  # thresholds of rows that keep nothing, or all
        self.bounds = bounds.to(device, torch.get_default_dtype())
        inside = sorted({k for k in ones if 0 < k < n})
        self.groups = [
            (k, torch.tensor([i for i, one in enumerate(ones) if one == k]).to(device)) for k in inside
        ]

    def __call__(self, ranks: Tensor, out: Tensor) -> None:
        """Select from `ranks` [rows, n] and write the result to `out` [rows, n]."""
        if self.at_once:
            self.all_rows(ranks, out)
            return
        for row, wanted, mask, threshold in zip(ranks, self.ones, out, self.thresholds, strict=True):
            least, surplus = threshold(row.numpy(), wanted)
            torch.ge(row, least, out=mask)
            if surplus:
                mask[(row == least).nonzero()[:surplus, 0]] = 0

    def all_rows(self, ranks: Tensor, out: Tensor) -> None:
        """Compute the same with batched operations only."""
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
