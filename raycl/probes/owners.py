"""Which weights belong to which task of a pruned network: shares by layer, and bytes (PackNet, CPG).

An owner is a task's number from 1, as a tensor of the weight's shape; 0 is free.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from torch import Tensor

from raycl.probes.gates import diagnostics_of


def owner_diagnostics(owners: Sequence[Tensor], layers: Sequence[str], task: int) -> dict[str, Any]:
    """Shares after `task`, over all layers and by layer, as plain JSON; later tasks change nothing about it.

    `free_share` and `owned_share` are of a layer's weights: free after the task, and owned by it.
    `survivor_share` is what it owns of what it was given, and left out where that was nothing.
    """
    counts = {
        "all": [owner.numel() for owner in owners],
        "free": [int(((owner == 0) | (owner > task + 1)).sum()) for owner in owners],
        "owned": [int((owner == task + 1).sum()) for owner in owners],
    }
    room = [a + b for a, b in zip(counts["free"], counts["owned"], strict=True)]
    shares = {
        "free_share": shares_of(counts["free"], counts["all"]),
        "owned_share": shares_of(counts["owned"], counts["all"]),
        "survivor_share": shares_of(counts["owned"], room),
    }
    return diagnostics_of(shares, layers)


def shares_of(counts: Sequence[int], of: Sequence[int]) -> list[float]:
    """count / of, of each layer and last of all together; NaN where that is of nothing."""
    pairs = zip([*counts, sum(counts)], [*of, sum(of)], strict=True)
    return [count / whole if whole else math.nan for count, whole in pairs]


def bytes_of(tensors: Iterable[Tensor]) -> int:
    """Of all but counters of batches, which nothing reads."""
    return sum(t.numel() * t.element_size() for t in tensors if t.is_floating_point())
